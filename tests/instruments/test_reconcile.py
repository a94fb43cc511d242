"""Every run without an end is looked at: spool, marks, worker, stored documents. Nothing is ever run again by it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

import pytest
from rig import Rig, new_campaign
from test_executor import mark
from test_writer import documents, header_of, leave

from athanor.instruments.config import take_lock
from athanor.instruments.quarantine import aside
from athanor.instruments.reconcile import Found, drain_dead, reconcile
from athanor.instruments.spool import spool_folder
from athanor.instruments.wire import Server, WorkerLost
from athanor.instruments.writer import DIED, store
from athanor.memory.canonical import canonical
from athanor.memory.records import Intent


def kinds(found: list[Found]) -> dict[str, str]:
    return {item.subject: item.kind for item in found}


def stored(rig: Rig, intent: Intent, status: str | None) -> None:
    """Documents in the ledger whose spool file is gone, as after a lost disk."""
    body = [(name, canonical(document)) for name, document in documents(intent, status)]
    store(rig.ledger, header_of(rig, intent), 0, body)


@pytest.mark.parametrize(("status", "state"), [("success", "completed"), ("fail", "failed"), (None, "in_doubt")])
def test_the_documents_that_the_ledger_has_are_asked(rig: Rig, status: str | None, state: str) -> None:
    intent = rig.intent()
    mark(rig, intent.id, intent.experiment_id)
    stored(rig, intent, status)
    assert rig.state(intent) == "running"
    [found] = reconcile(rig.ledger, rig.place)
    assert (found.kind, rig.state(intent)) == ("in_doubt" if status is None else "stored", state)
    assert reconcile(rig.ledger, rig.place) == []


def test_a_run_that_began_is_never_dispatched_again_even_if_its_mark_is_gone(rig: Rig) -> None:
    intent = rig.intent()
    stored(rig, intent, None)
    assert kinds(reconcile(rig.ledger, rig.place)) == {intent.experiment_id: "in_doubt"}


def test_all_campaigns_of_the_instrument_are_looked_at_and_no_others(rig: Rig) -> None:
    new_campaign(rig.ledger, "second")
    second = rig.propose(campaign="second")
    elsewhere = new_campaign(rig.ledger, "elsewhere", "ald-window")
    mine = rig.commit(second, rig.approve(second))
    mark(rig, mine.id, mine.experiment_id)
    assert kinds(reconcile(rig.ledger, rig.place)) == {mine.experiment_id: "in_doubt"}
    assert rig.ledger.experiment(mine.experiment_id).reason == DIED
    assert rig.ledger.experiments(elsewhere.id) == []


def test_what_is_set_aside_is_told_once_and_tried_again_when_asked(rig: Rig) -> None:
    intent = rig.intent()
    leave(rig, intent, "success")
    path = spool_folder(rig.place) / f"{intent.id}.jsonl"
    path.write_bytes(path.read_bytes() + b"{}\n")
    assert set(kinds(reconcile(rig.ledger, rig.place)).values()) == {"stored", "set_aside"}
    assert rig.state(intent) == "completed", "its end stands before the damage"
    assert reconcile(rig.ledger, rig.place) == []
    assert len(aside(rig.place)) == 1


@pytest.mark.parametrize("holds", ["worker.lock", "worker.start"])
def test_nothing_is_drained_while_a_worker_lives_or_is_being_started(rig: Rig, holds: str) -> None:
    intent = rig.intent()
    leave(rig, intent, "success")
    with contextlib.ExitStack() as held:
        if holds == "worker.lock":
            handle = take_lock(rig.place)
            assert handle is not None
            held.callback(os.close, handle)
        else:
            file = held.enter_context((rig.place.directory / holds).open("a"))
            fcntl.flock(file, fcntl.LOCK_EX)
        assert drain_dead(rig.ledger, rig.place) is None
        assert kinds(reconcile(rig.ledger, rig.place)) == {intent.experiment_id: "storing"}
        assert rig.state(intent) == "dispatched"
    assert drain_dead(rig.ledger, rig.place) == {intent.experiment_id: "completed"}


def test_beside_a_living_worker_a_lost_run_is_found_out(rig: Rig) -> None:
    lost = rig.intent()
    mark(rig, lost.id, lost.experiment_id)
    handle = take_lock(rig.place)
    assert handle is not None
    server = Server(rig.place.sockets / "worker.sock", lambda *_: {"pid": 1, "experiment": None, "unstored": {}})
    try:
        assert kinds(reconcile(rig.ledger, rig.place)) == {lost.experiment_id: "in_doubt"}
    finally:
        server.close()
        os.close(handle)


def test_what_a_living_worker_does_is_left_to_it(rig: Rig) -> None:
    running, refused = rig.intent(), rig.intent()
    for intent in (running, refused):
        mark(rig, intent.id, intent.experiment_id)
    facts = {"pid": 1, "experiment": running.experiment_id, "unstored": {refused.experiment_id: "it is damaged"}}
    handle = take_lock(rig.place)
    assert handle is not None
    server = Server(rig.place.sockets / "worker.sock", lambda *_: facts)
    try:
        found = reconcile(rig.ledger, rig.place)
        assert kinds(found) == {running.experiment_id: "running", refused.experiment_id: "storing"}
        assert "it is damaged" in found[1].detail
    finally:
        server.close()
        os.close(handle)


def test_a_hanging_worker_is_said_to_hang_and_nothing_is_decided(rig: Rig) -> None:
    intent = rig.intent()
    mark(rig, intent.id, intent.experiment_id)
    handle = take_lock(rig.place)
    assert handle is not None
    server = Server(rig.place.sockets / "worker.sock", lambda *_: time.sleep(5))  # type: ignore[func-returns-value]
    try:
        with pytest.raises(WorkerLost) as caught:
            reconcile(rig.ledger, rig.place)
        assert caught.value.hung
        assert rig.state(intent) == "dispatched"
    finally:
        server.close()
        os.close(handle)
