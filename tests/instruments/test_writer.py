"""From the spool to the ledger: in order, once, whatever is repeated, locked or cut off."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import Any

import pytest
from rig import Rig, until
from sqlalchemy import event

from athanor.instruments.spool import Backlog, Ending, Header, RunSpool, StartedLog, spool_folder, spooled
from athanor.instruments.writer import DIED, Writer, advance, drain
from athanor.memory.canonical import canonical
from athanor.memory.records import Intent


def header_of(rig: Rig, intent: Intent) -> Header:
    return Header(intent.id, intent.experiment_id, rig.campaign, intent.decision_id, rig.place.name, True)


def documents(intent: Intent, status: str | None = "success", events: int = 1) -> list[tuple[str, dict[str, Any]]]:
    uid = f"run-of-{intent.experiment_id}"
    found: list[tuple[str, dict[str, Any]]] = [("start", {"uid": uid, "time": 1.0, "replicates": 1})]
    found += [("event", {"seq_num": n, "time": 2.0}) for n in range(events)]
    if status is not None:
        stop = {"exit_status": status, "time": 3.0, "num_events": {"primary": events}, "reason": ""}
        found.append(("stop", stop))
    return found


def leave(rig: Rig, intent: Intent, status: str | None, ending: Ending | None = None, started: bool = True) -> None:
    """What a worker has left behind that died at some point of a run."""
    header = header_of(rig, intent)
    run = RunSpool(spool_folder(rig.place) / f"{intent.id}.jsonl", header, Backlog())
    if started:
        StartedLog(rig.place).mark(header)
        for name, document in documents(intent, status):
            run.append(name, document)
        if ending is not None:
            run.end(ending)
    run.close()


@pytest.mark.parametrize(
    ("status", "ending", "started", "state"),
    [
        ("success", None, True, "completed"),
        ("success", Ending("completed", None), True, "completed"),
        ("abort", None, True, "aborted"),
        ("fail", None, True, "failed"),
        (None, None, True, "in_doubt"),
        ("fail", Ending("in_doubt", "instrument lost: cable"), True, "in_doubt"),
        (None, None, False, "dispatched"),
    ],
)
def test_what_a_dead_worker_has_left_is_stored(
    rig: Rig, status: str | None, ending: Ending | None, started: bool, state: str
) -> None:
    intent = rig.intent()
    leave(rig, intent, status, ending, started)
    found = drain(rig.ledger, rig.place)
    assert found == ({intent.experiment_id: state} if started else {})
    assert rig.state(intent) == state
    assert spooled(rig.place) == []
    if started:
        run = rig.ledger.run_for(intent.experiment_id)
        assert run is not None
        assert [item.name for item in rig.ledger.documents(run.uid)] == [name for name, _ in documents(intent, status)]
        assert (run.stopped_at is None) == (status is None)
    if state == "in_doubt" and ending is None:
        assert rig.ledger.experiment(intent.experiment_id).reason == DIED


def test_a_crash_between_storing_and_removing_changes_nothing(rig: Rig) -> None:
    intent = rig.intent()
    leave(rig, intent, "success")
    [run] = spooled(rig.place)
    kept = run.path.read_bytes()
    drain(rig.ledger, rig.place)
    before = rig.ledger.changes()
    run.path.write_bytes(kept)
    drain(rig.ledger, rig.place)
    assert rig.ledger.changes() == before
    assert rig.state(intent) == "completed"


def test_a_state_that_came_too_late_is_left_as_it_is(rig: Rig) -> None:
    intent = rig.intent()
    advance(rig.ledger, intent.experiment_id, Ending("in_doubt", "lost"))
    advance(rig.ledger, intent.experiment_id, Ending("failed", "later"))
    advance(rig.ledger, intent.experiment_id, Ending("in_doubt", "again"))
    assert rig.ledger.experiment(intent.experiment_id).reason == "lost"


def test_a_locked_ledger_is_waited_for_and_nobody_waits_for_the_writer(rig: Rig) -> None:
    before = threading.active_count()
    stored: list[tuple[str, str]] = []
    backlog = Backlog()
    writer = Writer(lambda: rig.ledger, rig.place, backlog, lambda *what: stored.append(what))
    writer.start()
    intent = rig.intent()
    header = header_of(rig, intent)
    run = RunSpool(spool_folder(rig.place) / f"{intent.id}.jsonl", header, backlog)
    with contextlib.closing(sqlite3.connect(rig.ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for name, document in documents(intent, events=3):
            body, size = run.append(name, document)
            writer.document(header, name, body, size)
        run.end(Ending("completed", None))
        run.close()
        writer.end(header, Ending("completed", None), run.path)
        until(lambda: writer.trouble is not None)
        assert backlog.waiting > 0 and run.path.exists() and rig.state(intent) == "dispatched"
        other.execute("ROLLBACK")
    until(lambda: (intent.experiment_id, "completed") in stored)
    assert rig.state(intent) == "completed"
    assert writer.trouble is None and backlog.waiting == 0 and not run.path.exists()
    assert writer.finish(5)
    assert threading.active_count() <= before + 5


def test_what_the_ledger_will_not_take_stays_in_the_spool(rig: Rig) -> None:
    writer = Writer(lambda: rig.ledger, rig.place, Backlog(), lambda *_: None)
    writer.start()
    intent = rig.intent()
    header = header_of(rig, intent)
    run = RunSpool(spool_folder(rig.place) / f"{intent.id}.jsonl", header, Backlog())
    run.append("start", {"uid": "u"})
    run.close()
    writer.document(header, "start", '{"uid":"u"}', 1)  # no time: cannot become a run
    writer.end(header, Ending("completed", None), run.path)
    assert writer.finish(10)
    assert writer.trouble is not None and "time" in writer.trouble
    assert run.path.exists() and rig.state(intent) == "dispatched"


def test_a_full_disk_is_waited_for(rig: Rig) -> None:
    with rig.ledger._reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    full = threading.Event()
    full.set()

    @event.listens_for(rig.ledger._engine, "begin")
    def _limit(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages if full.is_set() else 10**6}")

    intent = rig.intent()
    header = header_of(rig, intent)
    writer = Writer(lambda: rig.ledger, rig.place, Backlog(), lambda *_: None)
    writer.start()
    for name, document in documents(intent):
        writer.document(header, name, canonical({**document, "padding": "x" * 500_000}), 1)
    writer.end(header, Ending("completed", None), None)
    until(lambda: writer.trouble is not None)
    assert "full" in str(writer.trouble) and not writer.unstored
    full.clear()
    until(lambda: rig.state(intent) == "completed")
    assert writer.finish(5)
