"""Deaths around the worker: what it survives, and what is known when it does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "instruments"))

from rig import POINT, Rig, make_rig_fixture, rig_fixture, slow, start, until  # noqa: F401 - fixtures

from athanor.instruments.executor import Refused, WorkerLost
from tests.freezing import freeze


@pytest.mark.deadline
def test_killed_in_the_middle_the_experiment_is_in_doubt_within_a_second(make_rig: Callable[..., Rig]) -> None:
    rig, executor = slow(make_rig)
    intent = start(rig, executor)
    killed: list[float] = []

    def kill() -> None:
        killed.append(time.monotonic())
        os.kill(rig.pid("worker"), signal.SIGKILL)

    timer = threading.Timer(0.3, kill)
    timer.start()
    with pytest.raises(WorkerLost, match="outcome is unknown"):
        executor.wait(intent.experiment_id, rig.ledger)
    assert time.monotonic() - killed[0] < 1.0
    assert rig.state(intent) == "in_doubt"
    assert not list((rig.place.directory / "spool").iterdir())
    run = rig.ledger.run_for(intent.experiment_id)
    assert run is not None and run.stopped_at is None
    assert [document.name for document in rig.ledger.documents(run.uid)][:1] == ["start"]
    # Nothing starts it again, and the instrument serves the next one.
    executor.ensure()
    with pytest.raises(Refused, match="already_started"):
        executor.dispatch(intent)
    following = rig.intent({**POINT, "temperature": 61.0})
    executor.dispatch(following)
    executor.wait(following.experiment_id, rig.ledger)
    assert rig.state(following) == "completed"


@pytest.mark.deadline
def test_a_frozen_worker_is_seen_within_two_seconds_and_nothing_is_decided(make_rig: Callable[..., Rig]) -> None:
    rig, executor = slow(make_rig)
    intent = start(rig, executor)
    freeze(rig.pid("worker"))
    began = time.monotonic()
    with pytest.raises(WorkerLost, match="hangs") as caught:
        executor.wait(intent.experiment_id, rig.ledger)
    assert caught.value.hung
    assert time.monotonic() - began < 2.0
    assert rig.state(intent) == "running"
    os.kill(rig.pid("worker"), signal.SIGCONT)
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"


@pytest.mark.deadline
def test_a_dead_controller_is_seen_within_a_second(make_rig: Callable[..., Rig]) -> None:
    rig, executor = slow(make_rig)
    intent = start(rig, executor)
    worker = rig.pid("worker")
    os.kill(rig.pid("controller"), signal.SIGKILL)
    began = time.monotonic()
    executor.wait(intent.experiment_id, rig.ledger)
    assert time.monotonic() - began < 1.0
    experiment = rig.ledger.experiment(intent.experiment_id)
    assert experiment.state == "in_doubt"
    assert "instrument lost" in (experiment.reason or "")
    executor.ensure()
    assert rig.pid("worker") != worker
    following = rig.intent()
    executor.dispatch(following)
    executor.wait(following.experiment_id, rig.ledger)
    assert rig.state(following) == "completed"


def test_a_disconnect_in_a_measurement_leaves_the_outcome_unknown(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(
        faults=[{"kind": "disconnect", "at": 1}, {"kind": "dropout", "at": 2}, {"kind": "stuck", "at": 3}],
        timeout_s=1.0,
    )
    executor = rig.executor()
    for state, reason in (("in_doubt", "instrument lost"), ("failed", ""), ("failed", "")):
        executor.ensure()
        intent = rig.intent({**POINT, "temperature": 70.0})
        executor.dispatch(intent)
        executor.wait(intent.experiment_id, rig.ledger)
        experiment = rig.ledger.experiment(intent.experiment_id)
        assert experiment.state == state, experiment
        assert reason in (experiment.reason or "")
        assert experiment.reason


def test_it_outlives_the_campaign_and_is_found_again(make_rig: Callable[..., Rig], tmp_path: Path) -> None:
    rig = make_rig(time_scale=1.0)
    intent = rig.intent({**POINT, "temperature": 110.0})
    script = """
import json, sys
from pathlib import Path
from athanor.instruments.executor import LocalExecutor
from athanor.instruments.laboratory import load
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace, keys_dir
ledger = Ledger.open(sys.argv[1])
place = InstrumentPlace.of("snar-flow", ledger.path.parent)
options = json.loads(sys.argv[3])
executor = LocalExecutor(load("snar-flow").profile(), options, place, ledger.url, keys_dir() / "gate.pub")
executor.ensure()
executor.dispatch(ledger.intent(sys.argv[2]))
print("dispatched", flush=True)
executor.wait(ledger.intent(sys.argv[2]).experiment_id, ledger)
"""
    command = [sys.executable, "-c", script, rig.ledger.url, intent.id, json.dumps(rig.options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as campaign:
        assert campaign.stdout is not None and campaign.stdout.readline() == "dispatched\n"
        campaign.kill()
    worker = rig.pid("worker")
    executor = rig.executor()
    executor.ensure()
    assert rig.pid("worker") == worker
    found = executor.reconcile(rig.ledger)
    assert len(found) == 1 and intent.experiment_id in found[0]
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"
    assert len(rig.witness("run")) == 1


def test_it_finishes_alone_and_the_ledger_has_it(make_rig: Callable[..., Rig]) -> None:
    rig, executor = slow(make_rig)
    intent = start(rig, executor)
    executor.close()
    until(lambda: rig.state(intent) == "completed")
    assert rig.executor().reconcile(rig.ledger) == []


def test_a_dying_recovery_process_is_replaced(rig: Rig) -> None:
    executor = rig.executor()
    executor.ensure()
    recovery = rig.pid("recovery")
    os.kill(recovery, signal.SIGKILL)
    until(lambda: (executor.status() or {})["recovery"] is not None)
    with pytest.raises(Refused, match=r"recovery\.missing"):
        executor.dispatch(rig.intent())
    until(lambda: (executor.status() or {})["recovery"] is None)
    assert rig.pid("recovery") != recovery
    assert executor.abort("nothing") is False


def test_what_a_dead_worker_left_is_stored_by_the_next(make_rig: Callable[..., Rig]) -> None:
    rig, executor = slow(make_rig)
    intent = start(rig, executor)
    executor.close()
    os.kill(rig.pid("worker"), signal.SIGKILL)
    assert list((rig.place.directory / "spool").iterdir())
    fresh = rig.executor()
    fresh.ensure()
    until(lambda: rig.state(intent) == "in_doubt")
    until(lambda: not list((rig.place.directory / "spool").iterdir()))
    assert fresh.reconcile(rig.ledger) == []
