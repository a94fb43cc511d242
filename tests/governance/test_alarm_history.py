"""Alarms in the journal: written once, read again, whoever writes at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from athanor.governance.alarm_catalogue import CATALOGUE, INTERLOCK, STOCK, STOP_ALL, WORKER_LOST
from athanor.governance.alarm_history import KIND, Alarms
from athanor.governance.alarms import CLOCK, Condition, IllegalAct
from athanor.memory.errors import NotFound
from athanor.memory.ledger import Ledger
from athanor.memory.verify import verify

STOPPED = Condition(STOP_ALL, "reactor", "smoke", occurrence="1", instrument="reactor", simulated=True)
LOST = Condition(WORKER_LOST, "reactor", "gone", instrument="reactor", simulated=True)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(home: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger.create(home / "ledger.db", clock=clock) as made:
        yield made


def alarms(ledger: Ledger) -> Alarms:
    return Alarms(ledger, CATALOGUE)


def test_another_process_reads_what_one_wrote(ledger: Ledger, clock: Clock) -> None:
    one, other = alarms(ledger), alarms(ledger)
    assert other.all() == []
    one.raise_(STOPPED)
    clock.now += timedelta(minutes=1)
    one.act("stop-all.engaged~reactor", "acknowledged", "ada", "on my way")
    one.raise_(LOST)
    one.act("worker.lost~reactor", "shelved", "ada", "it is being mended", timedelta(hours=2))
    assert other.all() == one.all() == alarms(ledger).all()
    stopped, lost = other.all()
    assert (stopped.state, stopped.priority, stopped.simulated, stopped.acknowledged_by) == (
        "acknowledged",
        "critical",
        True,
        "ada",
    )
    assert lost.hidden is not None and lost.hidden.until == clock.now + timedelta(hours=2)
    assert [(e.verb, e.by, e.state) for e in other.history("stop-all.engaged~reactor")] == [
        ("raised", CLOCK, "unacknowledged"),
        ("acknowledged", "ada", "acknowledged"),
    ]
    assert len(other.history()) == 4 and verify(ledger).is_clean


def test_one_is_raised_once_however_many_see_it(ledger: Ledger) -> None:
    watchers = [alarms(ledger) for _ in range(6)]
    start = threading.Barrier(len(watchers))
    told: list[object] = []

    def see(watcher: Alarms) -> None:
        start.wait()
        told.append(watcher.raise_(STOPPED))

    threads = [threading.Thread(target=see, args=(watcher,)) for watcher in watchers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in told) == 1
    assert len(ledger.events(kinds=[KIND])) == 1


def test_of_two_who_acknowledge_one_is_told_that_it_was_done(ledger: Ledger) -> None:
    alarms(ledger).raise_(STOPPED)
    people = {name: alarms(ledger) for name in ("ada", "bob", "eve")}
    start = threading.Barrier(len(people))
    refused: list[str] = []

    def acknowledge(name: str) -> None:
        start.wait()
        try:
            people[name].act("stop-all.engaged~reactor", "acknowledged", name, "seen")
        except IllegalAct as error:
            refused.append(str(error))

    threads = [threading.Thread(target=acknowledge, args=(name,)) for name in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by = alarms(ledger).one("stop-all.engaged~reactor").acknowledged_by
    assert len(refused) == 2 and all(f"already, by {by}" in text for text in refused)


def test_a_shelf_ends_at_its_time_whoever_looks(ledger: Ledger, clock: Clock) -> None:
    one = alarms(ledger)
    one.raise_(LOST)
    one.act("worker.lost~reactor", "shelved", "ada", "later", timedelta(hours=1))
    clock.now += timedelta(minutes=59)
    assert one.expire() == [] and one.one("worker.lost~reactor").state == "shelved"
    clock.now += timedelta(minutes=1)
    other = alarms(ledger)
    other.act("worker.lost~reactor", "acknowledged", "bob", "I see")
    assert one.expire() == []
    assert [entry.verb for entry in one.history()] == ["raised", "shelved", "unshelved", "acknowledged"]
    one.act("worker.lost~reactor", "shelved", "bob", "again", timedelta(hours=1))
    clock.now += timedelta(hours=2)
    assert [alarm.state for alarm in one.expire()] == ["unacknowledged"]


def test_what_explains_another_hides_it_from_the_first_moment(ledger: Ledger) -> None:
    one = alarms(ledger)
    one.explain(LOST, "stop-all.engaged~reactor")
    one.raise_(LOST)
    assert one.one("worker.lost~reactor").state == "suppressed"
    assert not any(entry.was_shown for entry in one.history())
    assert one.explain(LOST, "stop-all.engaged~reactor") is None
    one.unexplain("worker.lost~reactor")
    assert one.one("worker.lost~reactor").state == "unacknowledged" and one.history()[-1].was_shown


def test_people_do_not_say_what_is_so(ledger: Ledger) -> None:
    one = alarms(ledger)
    with pytest.raises(NotFound):
        one.act("stop-all.engaged~none", "acknowledged", "ada", "x")
    one.raise_(STOPPED)
    for verb in ("raised", "cleared"):
        with pytest.raises(ValueError, match="no person"):
            one.act("stop-all.engaged~reactor", verb, "ada", "x")  # type: ignore[arg-type]


def test_the_past_stays_as_it_was_when_the_catalogue_changes(ledger: Ledger) -> None:
    before = alarms(ledger)
    before.raise_(Condition(INTERLOCK, "reactor", "open"))
    before.act("interlock.open~reactor", "acknowledged", "ada", "seen")
    before.clear("interlock.open~reactor")
    after = Alarms(ledger, {STOCK: CATALOGUE[STOCK]})
    assert after.all() == before.all() and after.one("interlock.open~reactor").state == "latched_acknowledged"
    assert after.act("interlock.open~reactor", "reset", "ada", "closed").state == "normal"


def test_an_event_that_says_nothing_true_is_passed_over(ledger: Ledger) -> None:
    ledger.add_event(None, KIND, {"alarm": "x"})
    one = alarms(ledger)
    one.raise_(STOPPED)
    ledger.add_event(None, KIND, {**ledger.events(kinds=[KIND])[-1].body, "verb": "sung"})
    assert [alarm.state for alarm in one.all()] == ["unacknowledged"]
    assert one.clear("stop-all.engaged~reactor") is not None
