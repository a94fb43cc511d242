"""The life of an alarm: what may follow what, whatever the order in which things happen."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.governance.alarm_catalogue import CATALOGUE, STOP_ALL
from athanor.governance.alarms import (
    CLOCK,
    LONGEST_SHELVED,
    PRIORITIES,
    STATES,
    VERBS,
    Act,
    Alarm,
    Condition,
    IllegalAct,
    Verb,
    alarm_id,
    check,
    step,
)

NOW = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
THERE = Condition("x.y", "reactor", "it is hot", occurrence="1")


def act(verb: Verb, minutes: float = 0.0, by: str = "ada", why: str = "because", **more: Any) -> Act:
    at = NOW + timedelta(minutes=minutes)
    if verb == "raised":
        more.setdefault("condition", THERE)
        by = CLOCK
    if verb == "shelved":
        more.setdefault("until", at + timedelta(minutes=30))
    return Act(verb, by, why, at, **more)


def alarm(**more: Any) -> Alarm:
    return Alarm(id="x.y~reactor", definition="x.y", subject="reactor", **more)


def after(*verbs: Verb, latches: bool = False, **more: Any) -> Alarm:
    made = alarm(latches=latches, **more)
    for minute, verb in enumerate(verbs):
        made = step(made, act(verb, minute))
    return made


@pytest.mark.parametrize(
    ("verbs", "latches", "state"),
    [
        ((), False, "normal"),
        (("raised",), False, "unacknowledged"),
        (("raised", "acknowledged"), False, "acknowledged"),
        (("raised", "acknowledged", "cleared"), False, "normal"),
        (("raised", "cleared"), False, "returned"),
        (("raised", "cleared", "acknowledged"), False, "normal"),
        (("raised", "cleared", "raised"), False, "unacknowledged"),
        (("raised", "acknowledged", "cleared", "raised"), False, "unacknowledged"),
        (("raised", "cleared"), True, "latched_unacknowledged"),
        (("raised", "cleared", "acknowledged"), True, "latched_acknowledged"),
        (("raised", "acknowledged", "cleared"), True, "latched_acknowledged"),
        (("raised", "acknowledged", "cleared", "reset"), True, "normal"),
        (("raised", "shelved"), False, "shelved"),
        (("raised", "shelved", "unshelved"), False, "unacknowledged"),
        (("raised", "acknowledged", "shelved", "unshelved"), False, "unacknowledged"),
        (("raised", "shelved", "cleared", "unshelved"), False, "normal"),
        (("shelved", "raised"), False, "shelved"),
        (("shelved", "raised", "cleared", "unshelved"), False, "normal"),
        (("shelved", "raised", "cleared", "unshelved"), True, "latched_unacknowledged"),
        (("raised", "suppressed"), False, "suppressed"),
        (("raised", "suppressed", "unsuppressed"), False, "unacknowledged"),
        (("raised", "removed"), False, "out_of_service"),
        (("raised", "cleared", "removed", "restored"), False, "normal"),
    ],
)
def test_what_follows_what(verbs: tuple[Verb, ...], latches: bool, state: str) -> None:
    assert after(*verbs, latches=latches).state == state


@pytest.mark.parametrize(
    ("verbs", "latches", "verb", "why"),
    [
        ((), False, "acknowledged", "normal"),
        (("raised", "acknowledged"), False, "acknowledged", "already, by ada"),
        (("raised",), False, "raised", "active already"),
        ((), False, "cleared", "not active"),
        (("raised", "acknowledged"), False, "reset", "not latched"),
        (("raised", "acknowledged"), True, "reset", "still active"),
        (("raised", "cleared"), True, "reset", "not been acknowledged"),
        (("raised", "shelved"), False, "acknowledged", "shelved until 2026-05-04 08:31 UTC, by ada"),
        (("raised", "shelved"), False, "suppressed", "shelved until"),
        (("raised", "suppressed"), False, "shelved", "suppressed by design, by ada"),
        (("raised", "removed"), False, "acknowledged", "out of service"),
        (("raised",), False, "unshelved", "not shelved: it is unacknowledged"),
        (("raised", "shelved"), False, "unsuppressed", "not suppressed by design: it is shelved"),
        (("raised", "shelved"), False, "restored", "not out of service"),
    ],
)
def test_what_is_refused_says_why(verbs: tuple[Verb, ...], latches: bool, verb: Verb, why: str) -> None:
    with pytest.raises(IllegalAct, match=why):
        step(after(*verbs, latches=latches), act(verb, 9))


def test_nothing_is_done_by_nobody_or_without_a_reason() -> None:
    for changes in ({"by": " "}, {"why": ""}):
        with pytest.raises(IllegalAct, match="who does this, and why"):
            step(after("raised"), act("acknowledged", **changes))


def test_another_occurrence_is_another_alarm() -> None:
    seen = after("raised", "acknowledged")
    again = step(seen, act("raised", 5, condition=dataclasses.replace(THERE, occurrence="2", detail="again")))
    assert (again.state, again.count, again.detail, again.acknowledged_by) == ("unacknowledged", 2, "again", None)


@pytest.mark.parametrize("priority", PRIORITIES)
def test_the_more_urgent_the_shorter_it_is_shelved(priority: Any) -> None:
    longest = LONGEST_SHELVED[priority]
    one = after("raised", priority=priority)
    assert step(one, act("shelved", until=NOW + longest)).state == "shelved"
    for until in (NOW + longest + timedelta(seconds=1), NOW, None):
        with pytest.raises(IllegalAct, match="shelved"):
            step(one, act("shelved", until=until))


def test_what_another_alarm_explains_comes_back_with_its_end_alone() -> None:
    hidden = step(after("raised"), act("suppressed", 1, by=CLOCK, cause="stop-all.engaged~reactor"))
    with pytest.raises(IllegalAct, match="for as long as stop-all"):
        step(hidden, act("unsuppressed", 2))
    assert step(hidden, act("unsuppressed", 2, by=CLOCK)).state == "unacknowledged"


acts = st.lists(
    st.tuples(st.sampled_from(VERBS), st.sampled_from(["1", "2"]), st.integers(-10, 5000), st.booleans()), max_size=40
)


@settings(max_examples=300, deadline=None)
@given(acts=acts, latches=st.booleans(), priority=st.sampled_from(PRIORITIES))
def test_whatever_happens_it_makes_sense(acts: list[Any], latches: bool, priority: Any) -> None:
    one = alarm(latches=latches, priority=priority)
    for minute, (verb, occurrence, lasts, is_ours) in enumerate(acts):
        at = NOW + timedelta(minutes=minute)
        condition = dataclasses.replace(THERE, occurrence=occurrence) if verb == "raised" else None
        until = at + timedelta(minutes=lasts) if verb == "shelved" else None
        cause = "other~reactor" if verb == "suppressed" and is_ours else None
        done = Act(verb, CLOCK if is_ours else "ada", "why", at, until, cause, condition)
        before = one
        try:
            one = step(before, done)
        except IllegalAct:
            continue
        assert one.state in STATES and one.changed_at == at
        assert (one.state == "normal") == (
            one.hidden is None and not one.is_active and one.is_acknowledged and not one.is_latched
        )
        assert not one.is_latched or latches
        assert one.count == before.count + (verb == "raised")
        assert one.is_active == (before.is_active if verb not in ("raised", "cleared") else verb == "raised")
        if one.hidden is not None:
            assert before.hidden in (None, one.hidden), "one that is hidden is hidden in one way"
            assert (one.hidden.until is not None) == (one.hidden.how == "shelved")
            if one.hidden.until is not None:
                assert one.hidden.until - one.hidden.since <= LONGEST_SHELVED[priority]
        if before.hidden is not None and one.hidden is None:
            assert one.state in ("normal", "unacknowledged", "latched_unacknowledged"), "it comes back as a new one"
        if before.state == "unacknowledged" and one.state in ("normal", "acknowledged"):
            assert verb == "acknowledged", "nothing passes unseen"
    assert way_to_normal(one).state == "normal", "there is always a way back"


def way_to_normal(one: Alarm) -> Alarm:
    at = NOW + timedelta(days=9)
    ways: tuple[Verb, ...] = ("unshelved", "unsuppressed", "restored", "cleared", "acknowledged", "reset")
    for verb in ways:
        done = Act(verb, CLOCK, "the end", at)
        try:
            check(one, done)
        except IllegalAct:
            continue
        one = step(one, done)
    return one


def test_ids_fit_into_a_path_and_are_all_different() -> None:
    assert alarm_id("stop-all.engaged", "snar-flow") == "stop-all.engaged~snar-flow"
    subjects = ["a/b", "a-b", "a b", "ä", "", ".", "..", "a/c", "x" * 300, "x" * 301, "r\n", "%2f", "r?x=1"]
    ids = [alarm_id("d", subject) for subject in subjects]
    assert len(set(ids)) == len(subjects)
    assert all(one.isascii() and not set(one) & set("/?#% \n") and len(one) < 140 for one in ids)
    assert alarm_id("d", "a/b") == alarm_id("d", "a/b")


def test_the_catalogue_says_what_to_do_and_explains_without_circles() -> None:
    assert CATALOGUE[STOP_ALL].priority == "critical"
    for one in CATALOGUE.values():
        assert one.consequence.endswith(".") and one.response.endswith(".") and one.respond_s > 0
        assert not any(one.id in CATALOGUE[other].suppressed_by for other in one.suppressed_by)
    shares = [one.priority for one in CATALOGUE.values()]
    assert shares.count("critical") <= len(shares) / 5, "what is always urgent is never urgent"
