"""The executor where there is no worker: what is found, and what is said. With one: tests/system/test_worker.py."""

from __future__ import annotations

import pytest
from rig import Rig

from athanor.instruments.executor import InstrumentBusy, WorkerLost
from athanor.instruments.laboratory import InstrumentUnavailable
from athanor.instruments.spool import Header, StartedLog


def mark(rig: Rig, intent_id: str, experiment: str) -> None:
    StartedLog(rig.place).mark(Header(intent_id, experiment, rig.campaign, "decision", rig.place.name, True))


def test_without_a_worker_nothing_can_be_dispatched(rig: Rig) -> None:
    executor = rig.executor()
    assert executor.status() is None
    for call in (lambda: executor.dispatch(rig.intent()), lambda: executor.abort("x"), executor.pause, executor.resume):
        with pytest.raises(WorkerLost, match="no worker answers"):
            call()
    executor.shutdown()


def test_reconciling_tells_what_was_started_from_what_was_not(rig: Rig) -> None:
    never, started, done = rig.intent(), rig.intent(), rig.intent()
    mark(rig, started.id, started.experiment_id)
    rig.ledger.set_experiment_state(done.experiment_id, "refused", reason="test")
    executor = rig.executor()
    found = executor.reconcile(rig.ledger)
    assert len(found) == 2
    assert "may be dispatched again" in found[0] and "in doubt" in found[1]
    assert [rig.state(intent) for intent in (never, started, done)] == ["dispatched", "in_doubt", "refused"]
    assert len(executor.reconcile(rig.ledger)) == 1


def test_waiting_for_a_dead_worker_says_what_is_known(rig: Rig) -> None:
    never, started = rig.intent(), rig.intent()
    mark(rig, started.id, started.experiment_id)
    executor = rig.executor()
    with pytest.raises(WorkerLost, match="nothing moved"):
        executor.wait(never.experiment_id, rig.ledger)
    assert rig.state(never) == "dispatched"
    with pytest.raises(WorkerLost, match="unknown"):
        executor.wait(started.experiment_id, rig.ledger)
    assert rig.state(started) == "in_doubt"
    executor.wait(started.experiment_id, rig.ledger)


def test_a_busy_instrument_is_an_unavailable_one() -> None:
    error = InstrumentBusy("reactor", "it runs camp.1")
    assert isinstance(error, InstrumentUnavailable)
    assert "reactor" in str(error) and "camp.1" in str(error) and error.remedy


def test_a_worker_that_is_silent_while_it_starts_is_not_taken_for_one_that_ends(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = rig.executor()
    silent = iter([WorkerLost("silent", hung=True)] * 9)

    def is_ready() -> bool:
        for error in silent:
            raise error
        return True

    monkeypatch.setattr(executor, "_is_ready", is_ready)
    executor.ensure()

    def ends() -> bool:
        raise WorkerLost("it is gone")

    monkeypatch.setattr(executor, "_is_ready", ends)
    with pytest.raises(InstrumentUnavailable, match="as soon as it has started"):
        executor.ensure()
