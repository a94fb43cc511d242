"""The worker process: what it runs and records, who may use it, and how it ends."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "instruments"))

from rig import POINT, Rig, make_rig_fixture, new_campaign, rig_fixture, slow, start, until  # noqa: F401 - fixtures

from athanor.agents.reasoners.endpoint import API_KEY
from athanor.instruments.executor import InstrumentBusy, LocalExecutor, Refused
from athanor.instruments.laboratory import InstrumentUnavailable
from athanor.memory.places import keys_dir
from athanor.memory.records import Intent


def test_an_experiment_is_run_and_recorded(rig: Rig) -> None:
    executor = rig.executor()
    executor.ensure()
    intent = rig.intent(replicates=3)
    events: list[dict[str, Any]] = []
    executor.dispatch(intent)
    executor.wait(intent.experiment_id, rig.ledger, events.append)
    experiment = rig.ledger.experiment(intent.experiment_id)
    assert (experiment.state, experiment.reason) == ("completed", None)
    run = rig.ledger.run_for(experiment.id)
    assert run is not None
    assert (run.exit_status, run.num_events, run.intent_id, run.simulated) == ("success", 3, intent.id, True)
    documents = [(document.name, json.loads(document.body)) for document in rig.ledger.documents(run.uid)]
    assert [name for name, _ in documents] == ["start", "descriptor", "event", "event", "event", "stop"]
    start = documents[0][1]
    expected = {
        "intent": intent.id,
        "experiment": experiment.id,
        "campaign": rig.campaign,
        "revision": experiment.revision,
        "simulated": True,
        "plan_name": "measure",
        "replicates": 3,
        "values": POINT,
    }
    assert {key: start[key] for key in expected} == expected
    assert [line["intent"] for line in rig.witness("run")] == [intent.id]
    assert {line["axis"]: line["value"] for line in rig.witness("set")} == POINT
    assert any(event.get("stored") == "completed" for event in events)
    until(lambda: not list((rig.place.directory / "spool").iterdir()))
    executor.shutdown()
    assert executor.status() is None


def test_what_it_reduces_to_is_what_the_laboratory_simulates(rig: Rig) -> None:
    from athanor.instruments.laboratory import load
    from athanor.instruments.reductions import reduce
    from athanor.memory.canonical import parse

    laboratory = load("snar-flow")
    executor = rig.executor()
    executor.ensure()
    for replicates in (1, 2):
        intent = rig.intent(replicates=replicates)
        executor.dispatch(intent)
        executor.wait(intent.experiment_id, rig.ledger)
        experiment = rig.ledger.experiment(intent.experiment_id)
        run = rig.ledger.run_for(experiment.id)
        assert run is not None
        documents = [(item.name, parse(item.body)) for item in rig.ledger.documents(run.uid)]
        reduced = reduce("mean", documents, laboratory.profile().outcomes).outcomes
        assert reduced == laboratory.simulate(POINT, 1, experiment.ordinal, replicates, {})  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["ald-window", "rare-earth-extraction", "qubit-readout"])
def test_both_device_families_run_through_the_same_worker(make_rig: Callable[..., Rig], name: str) -> None:
    from athanor.instruments.laboratory import load
    from athanor.instruments.reductions import reduce
    from athanor.memory.canonical import parse

    laboratory: Any = load(name)
    rig = make_rig(name)
    executor = rig.executor()
    executor.ensure()
    point = laboratory.reference().values
    intent = rig.intent(point, replicates=2)
    executor.dispatch(intent)
    executor.wait(intent.experiment_id, rig.ledger)
    experiment = rig.ledger.experiment(intent.experiment_id)
    assert experiment.state == "completed", experiment.reason
    run = rig.ledger.run_for(experiment.id)
    assert run is not None
    profile = laboratory.profile()
    documents = [(item.name, parse(item.body)) for item in rig.ledger.documents(run.uid)]
    reduced = reduce(profile.reduction, documents, profile.outcomes).outcomes
    assert reduced == laboratory.simulate(point, 1, experiment.ordinal, 2, {})


def test_two_campaigns_cannot_hold_one_instrument(rig: Rig) -> None:
    new_campaign(rig.ledger, "rival")
    first, second = rig.executor("camp"), rig.executor("rival")
    first.ensure()
    with pytest.raises(InstrumentBusy, match="camp"):
        second.ensure()
    anonymous = rig.executor()
    anonymous.ensure()
    experiment = rig.propose(campaign="rival")
    intent = rig.commit(experiment, rig.approve(experiment))
    with pytest.raises(InstrumentBusy, match="camp"):
        anonymous.dispatch(intent)
    assert rig.state(intent) == "dispatched"
    with pytest.raises(InstrumentBusy):
        anonymous.shutdown()
    with pytest.raises(InstrumentBusy):
        rig.executor(options={"noise": 0.1}).ensure()
    first.close()
    until(lambda: _ensured(second))  # the worker sees the line close a moment later
    anonymous.close()
    second.dispatch(intent)
    second.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"


def _ensured(executor: LocalExecutor) -> bool:
    try:
        executor.ensure()
    except InstrumentBusy:
        return False
    return True


def test_an_idle_worker_is_restarted_under_a_new_configuration(rig: Rig) -> None:
    executor = rig.executor()
    executor.ensure()
    executor.close()
    worker = rig.pid("worker")
    other = rig.executor(options={"noise": 0.5})
    other.ensure()
    assert rig.pid("worker") != worker


def test_abort_pause_resume_and_park(make_rig: Callable[..., Rig]) -> None:
    rig, executor = slow(make_rig)
    intent = start(rig, executor)
    assert executor.abort("enough")
    executor.wait(intent.experiment_id, rig.ledger)
    experiment = rig.ledger.experiment(intent.experiment_id)
    assert (experiment.state, experiment.reason) == ("aborted", "enough")
    assert not executor.abort("nothing is running")

    client = executor._client
    assert client is not None
    back = rig.intent({**POINT, "temperature": 40.0})
    executor.dispatch(back)
    executor.pause()
    until(lambda: client.call("status")["state"] == "paused")
    still = rig.witness("position", "end")
    assert client.call("status")["experiment"] == back.experiment_id
    client.call("park")
    assert rig.witness("position", "end") == still, "paused means standing still"
    executor.resume()
    executor.wait(back.experiment_id, rig.ledger)
    assert rig.state(back) == "completed"
    until(lambda: client.call("status")["state"] == "parked")
    waiting = rig.intent()
    with pytest.raises(Refused, match=r"worker\.parked"):
        executor.dispatch(waiting)
    executor.resume()
    executor.dispatch(waiting)
    until(lambda: client.call("status")["state"] == "running")
    executor.pause()
    until(lambda: client.call("status")["state"] in ("paused", "idle"))
    executor.abort("ended while paused")
    executor.wait(waiting.experiment_id, rig.ledger)
    assert rig.state(waiting) in ("aborted", "completed")


def test_an_abort_while_a_dispatch_is_being_checked_ends_it(make_rig: Callable[..., Rig]) -> None:
    rig, executor = slow(make_rig)
    client = executor._client
    assert client is not None
    outcomes = set()
    for _ in range(5):
        intent = rig.intent({**POINT, "temperature": 110.0})
        caught: list[Refused] = []

        def dispatch(intent: Intent = intent, caught: list[Refused] = caught) -> None:
            try:
                executor.dispatch(intent)
            except Refused as error:
                caught.append(error)

        thread = threading.Thread(target=dispatch)
        thread.start()
        while thread.is_alive():
            client.call("abort", reason="stop it")
        client.call("abort", reason="stop it")
        thread.join()
        executor.wait(intent.experiment_id, rig.ledger)
        outcomes.add(rig.state(intent))
    assert outcomes <= {"refused", "aborted"}
    ends = [line for line in rig.witness("end") if line.get("reached") and line.get("axis") == "temperature"]
    assert ends == []


def test_why_a_worker_does_not_start_is_said(rig: Rig) -> None:
    executor = rig.executor(options={"noise": "loud"})
    with pytest.raises(InstrumentUnavailable, match="noise"):
        executor.ensure()
    (keys_dir() / "gate.pub").write_text("no key")
    with pytest.raises(InstrumentUnavailable, match=r"gate\.pub"):
        rig.executor().ensure()


def test_sockets_are_private(rig: Rig) -> None:
    rig.executor().ensure()
    for name in ("worker.sock", "recovery.sock"):
        assert (rig.place.sockets / name).stat().st_mode & 0o777 == 0o600
    assert json.loads((rig.place.sockets / "place.json").read_text())["name"] == "snar-flow"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system does not show environments")
def test_no_process_of_the_instrument_knows_the_model_s_key(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY, "sk-very-secret")
    monkeypatch.setenv("VENDOR_LICENCE", "27000@there")
    rig = make_rig()
    executor = rig.executor()
    executor.ensure()
    until(lambda: (executor.status() or {})["recovery"] is None)
    for name in ("worker", "recovery", "controller"):
        told = Path(f"/proc/{rig.pid(name)}/environ").read_bytes()
        assert b"VENDOR_LICENCE=27000@there" in told, name
        assert b"sk-very-secret" not in told and b"ATHANOR_MODEL" not in told, name


@pytest.mark.slow
def test_without_anybody_it_ends_and_takes_its_controller_along(
    make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATHANOR_WORKER_IDLE_S", "8")  # the controller too must find it long enough to be connected
    rig = make_rig()
    executor = rig.executor()
    executor.ensure()
    pids = [rig.pid(name) for name in ("worker", "controller", "recovery")]
    executor.close()
    for name in ("worker", "controller", "recovery"):
        until(lambda: not (rig.place.sockets / f"{name}.pid").exists(), 60)  # noqa: B023
    assert len(set(pids)) == 3
    assert executor.status() is None
