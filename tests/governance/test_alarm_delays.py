"""When a condition counts: chatter is held back, and what began before anybody looked is not late once more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from athanor.governance.alarm_delays import Deadband
from athanor.governance.alarms import Alarm, Condition, Definition, Hiding

START = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ONE = Definition("one", "One", "high", "Bad.", "Good.", 60.0, on_delay_s=5.0, off_delay_s=10.0)
CAUSE = Definition("cause", "Cause", "high", "Bad.", "Good.", 60.0, off_delay_s=0.0)
EFFECT = Definition("effect", "Effect", "high", "Bad.", "Good.", 60.0, off_delay_s=0.0, suppressed_by=("cause",))
CATALOGUE = {one.id: one for one in (ONE, CAUSE, EFFECT)}
THERE = Condition("one", "x", "it is")
ACTIVE = Alarm("one~x", "one", "x", is_active=True)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_it_must_hold_and_be_gone_for_a_while() -> None:
    band = Deadband(CATALOGUE)
    assert band.due([THERE], (), [], at(0)).raise_ == ()
    assert band.due([THERE], (), [], at(4.9)).raise_ == ()
    assert band.due([THERE], (), [], at(5)).raise_ == (THERE,)
    assert band.due([THERE], (), [ACTIVE], at(6)).raise_ == ()
    assert band.due([], (), [ACTIVE], at(7)).clear == ()
    assert band.due([], (), [ACTIVE], at(16.9)).clear == ()
    assert band.due([], (), [ACTIVE], at(17)).clear == ("one~x",)


def test_what_comes_and_goes_raises_once_and_clears_never() -> None:
    band = Deadband(CATALOGUE)
    alarms: list[Alarm] = []
    told = 0
    for second in range(600):
        due = band.due([THERE] if second < 8 or second % 9 == 0 else [], (), alarms, at(second))
        told += len(due.raise_) + len(due.clear)
        if due.raise_:
            alarms = [ACTIVE]
    assert told == 1


def test_what_is_too_short_never_counts() -> None:
    band = Deadband(CATALOGUE)
    for second in range(600):
        assert band.due([THERE] if second % 6 < 4 else [], (), [], at(second)).raise_ == ()


def test_what_began_before_anybody_looked_counts_from_then() -> None:
    early = Condition("one", "x", "it is", since=at(-60))
    assert Deadband(CATALOGUE).due([early], (), [], at(0)).raise_ == (early,)
    late = Condition("one", "x", "it is", since=at(60))
    assert Deadband(CATALOGUE).due([late], (), [], at(0)).raise_ == (), "a clock that is ahead changes nothing"


def test_another_occurrence_counts_at_once() -> None:
    again = Condition("one", "x", "it is", occurrence="2")
    assert Deadband(CATALOGUE).due([again], (), [ACTIVE], at(0)).raise_ == (again,)


def test_what_nobody_can_tell_stays_as_it_is() -> None:
    band = Deadband(CATALOGUE)
    for second in range(60):
        assert band.due([], ("one",), [ACTIVE], at(second)).clear == ()
    assert band.due([], (), [ACTIVE], at(61)).clear == (), "the time during which nobody looked is none"
    assert band.due([], (), [ACTIVE], at(71)).clear == ("one~x",)


def test_what_this_release_does_not_know_ends() -> None:
    assert Deadband(CATALOGUE).due([], (), [Alarm("old~x", "old", "x", is_active=True)], at(0)).clear == ("old~x",)


def test_what_explains_another_hides_it_on_the_same_instrument_alone() -> None:
    band = Deadband(CATALOGUE)
    cause = Condition("cause", "r1", "stop", instrument="r1")
    here = Condition("effect", "c1", "paused", instrument="r1")
    there = Condition("effect", "c2", "paused", instrument="r2")
    due = band.due([cause, here, there], (), [], at(0))
    assert due.explain == ((here, "cause~r1"),) and due.raise_ == (cause, here, there)
    active = Alarm("effect~c1", "effect", "c1", instrument="r1", is_active=True)
    assert band.due([cause, here], (), [active], at(1)).explain == ((here, "cause~r1"),), "it was there before"
    hidden = Alarm(
        "effect~c1",
        "effect",
        "c1",
        instrument="r1",
        is_active=True,
        hidden=Hiding("suppressed", "athanor", "cause~r1 explains it", at(0), cause="cause~r1"),
    )
    assert band.due([cause, here], (), [hidden], at(2)).unexplain == ()
    assert band.due([here], ("cause",), [hidden], at(3)).unexplain == (), "nobody can tell whether it has gone"
    assert band.due([here], (), [hidden], at(4)).unexplain == ("effect~c1",)
    by_hand = Alarm(
        "effect~c1", "effect", "c1", instrument="r1", hidden=Hiding("suppressed", "ada", "by design", at(0))
    )
    assert band.due([], (), [by_hand], at(5)).unexplain == (), "what a person hides a person shows"
