"""The worker process: what it refuses, what it survives, and what is known when it does not."""

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
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "instruments"))

from rig import POINT, Rig, make_rig_fixture, new_campaign, rig_fixture, until  # noqa: F401 - fixtures

from athanor.instruments.executor import InstrumentBusy, LocalExecutor, Refused, WorkerLost
from athanor.instruments.laboratory import InstrumentUnavailable
from athanor.instruments.latch import Latch
from athanor.memory.places import keys_dir
from athanor.memory.records import Intent
from athanor.memory.signing import GateKey


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


class Tampering:
    """Ways in which what stands behind an intent is not what it should be; each returns the code of the refusal."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def decision(self, intent: Intent, column: str, value: Any) -> None:
        self.rig.alter(f"UPDATE decision SET {column} = ? WHERE id = ?", value, intent.decision_id)  # noqa: S608

    def unsigned(self, intent: Intent) -> str:
        self.decision(intent, "signature", "")
        return "decision.unsigned"

    def signed_with_another_key(self, intent: Intent) -> str:
        folder = self.rig.place.directory / "stolen"
        body = self.rig.ledger.decision(intent.decision_id).body
        self.decision(intent, "signature", GateKey.load_or_create(folder).sign(body))
        return "decision.signature"

    def signature_of_something_else(self, intent: Intent) -> str:
        self.decision(intent, "body", self.rig.ledger.decision(intent.decision_id).body.replace("tester", "master"))
        return "decision.signature"

    def no_signature_at_all(self, intent: Intent) -> str:
        self.decision(intent, "signature", "not base64 \u00e9")
        return "decision.signature"

    def rejected_after_all(self, intent: Intent) -> str:
        self.rig.resign(intent, kind="reject")
        self.decision(intent, "kind", "reject")
        return "decision.kind"

    def said_to_be_a_grant(self, intent: Intent) -> str:
        self.decision(intent, "kind", "grant")
        return "decision.mismatch"

    def approval_of_another_experiment(self, intent: Intent) -> str:
        other = self.rig.approve(self.rig.propose())
        self.rig.alter("UPDATE intent SET decision_id = ? WHERE id = ?", other.id, intent.id)
        return "decision.mismatch"

    def approval_in_another_campaign(self, intent: Intent) -> str:
        self.rig.resign(intent, campaign="other")
        return "decision.mismatch"

    def expired(self, intent: Intent) -> str:
        past = "2026-01-01T00:00:00.000000Z"
        self.rig.resign(intent, expires_at=past)
        self.decision(intent, "expires_at", past)
        return "decision.expired"

    def expiry_moved_in_the_row_only(self, intent: Intent) -> str:
        self.decision(intent, "expires_at", "2099-01-01T00:00:00.000000Z")
        return "decision.mismatch"

    def never_expiring(self, intent: Intent) -> str:
        self.rig.resign(intent, expires_at=None)
        self.decision(intent, "expires_at", None)
        return "decision.mismatch"

    def for_another_instrument(self, intent: Intent) -> str:
        self.rig.resign(intent, instrument="other")
        return "instrument.wrong"

    def intent_for_another_instrument(self, intent: Intent) -> str:
        self.rig.ledger.acquire_lease("instrument:other", self.rig.lease.holder, 600)
        self.rig.alter("UPDATE intent SET instrument = 'other' WHERE id = ?", intent.id)
        return "instrument.wrong"

    def latch_used_since(self, intent: Intent) -> str:
        latch = Latch(self.rig.place)
        latch.engage("test", "tester")
        latch.reset("looked at it", "tester")
        return "latch.changed"

    def values_altered(self, intent: Intent) -> str:
        point = json.dumps({**POINT, "temperature": 61.0}, sort_keys=True, separators=(",", ":"))
        self.rig.alter("UPDATE experiment SET point = ? WHERE id = ?", point, intent.experiment_id)
        return "revision.changed"

    def replicates_altered(self, intent: Intent) -> str:
        self.rig.alter("UPDATE experiment SET replicates = 50 WHERE id = ?", intent.experiment_id)
        return "revision.changed"


TAMPERINGS = [name for name in vars(Tampering) if not name.startswith("_") and name != "decision"]


def test_nothing_moves_that_is_not_approved(rig: Rig) -> None:
    executor = rig.executor()
    executor.ensure()
    for name in TAMPERINGS:
        intent = rig.intent()
        code = getattr(Tampering(rig), name)(intent)
        with pytest.raises(Refused) as caught:
            executor.dispatch(intent)
        assert caught.value.code == code, (name, caught.value)
        assert caught.value.final, name
        until(lambda: rig.state(intent) == "refused")  # noqa: B023
        assert (rig.ledger.experiment(intent.experiment_id).reason or "").startswith(code), name
    for state in ("approved", "rejected", "superseded", "withdrawn", "running", "completed", "in_doubt"):
        intent = rig.intent()
        rig.alter("UPDATE experiment SET state = ? WHERE id = ?", state, intent.experiment_id)
        with pytest.raises(Refused) as caught:
            executor.dispatch(intent)
        assert caught.value.code == ("superseded" if state == "superseded" else "experiment.state"), state
        assert rig.state(intent) == state
    assert rig.witness("set", "motion", "run") == []
    good = rig.intent()
    executor.dispatch(good)
    executor.wait(good.experiment_id, rig.ledger)
    assert rig.state(good) == "completed"
    with pytest.raises(Refused, match="already_started"):
        executor.dispatch(good)
    rig.alter("UPDATE experiment SET state = 'dispatched' WHERE id = ?", good.experiment_id)
    with pytest.raises(Refused, match="already_started"):
        executor.dispatch(good)
    assert [line["intent"] for line in rig.witness("run")] == [good.id]


def test_nothing_moves_while_the_stop_is_latched(rig: Rig) -> None:
    executor = rig.executor()
    executor.ensure()
    intent = rig.intent()
    Latch(rig.place).engage("smoke", "tester")
    with pytest.raises(Refused, match=r"latch\.engaged.*smoke"):
        executor.dispatch(intent)
    until(lambda: rig.state(intent) == "refused")
    assert rig.witness("set") == []


def test_points_outside_the_limits_do_not_reach_the_controller_however_well_signed(rig: Rig) -> None:
    executor = rig.executor()
    executor.ensure()
    codes = {
        "limit.above": [120.000001, 1e300, 10**30],
        "limit.below": [29.999999, -1e300, -(10**30), 0],
        "limit.type": ["60", "nan", ""],
    }
    for code, values in codes.items():
        for value in values:
            intent = rig.intent({**POINT, "temperature": value})
            with pytest.raises(Refused) as caught:
                executor.dispatch(intent)
            assert caught.value.code == code, value
            assert caught.value.final
    for point in ({**POINT, "pressure": 1.0}, {}):
        with pytest.raises(Refused, match=r"limit\.unknown"):
            executor.dispatch(rig.intent(point) if point else _empty(rig))
    for bad in ('{"$float":"nan"}', '{"$float":"inf"}', "true", "null", "[60.0]"):
        intent = rig.intent()
        point = json.dumps(POINT, sort_keys=True).replace("60.0", bad)
        rig.alter("UPDATE experiment SET point = ? WHERE id = ?", point, intent.experiment_id)
        with pytest.raises(Refused):
            executor.dispatch(intent)
    assert rig.witness("set", "motion", "run") == []


def _empty(rig: Rig) -> Intent:
    intent = rig.intent()
    experiment = rig.ledger.experiment(intent.experiment_id).model_copy(update={"values": {}})
    revision = experiment.expected_revision("p" * 64)
    rig.alter("UPDATE experiment SET point = '{}', revision = ? WHERE id = ?", revision, experiment.id)
    rig.resign(intent, revision=revision)
    return intent


def test_a_grant_lets_so_many_run_inside_its_envelope_and_no_more(rig: Rig) -> None:
    executor = rig.executor()
    executor.ensure()
    envelope = {name: {"low": value * 0.9, "high": value * 1.1} for name, value in POINT.items()}
    grant = rig.gate.grant(rig.campaign, rig.place.name, Latch(rig.place).read().count, envelope, 2)

    def granted(point: dict[str, float]) -> Intent:
        experiment = rig.propose(point)
        rig.ledger.set_experiment_state(experiment.id, "approved", decision_id=grant.id)
        return rig.commit(experiment, grant)

    for _ in range(2):
        intent = granted(POINT)
        executor.dispatch(intent)
        executor.wait(intent.experiment_id, rig.ledger)
        assert rig.state(intent) == "completed"
    with pytest.raises(Refused, match=r"grant\.exhausted"):
        executor.dispatch(granted(POINT))
    # Approved one by one it may still run; inside the limits but outside the grant it may not.
    outside = rig.intent({**POINT, "temperature": 90.0})
    rig.alter("UPDATE intent SET decision_id = ? WHERE id = ?", grant.id, outside.id)
    with pytest.raises(Refused, match=r"grant\."):
        executor.dispatch(outside)
    fresh = rig.gate.grant(rig.campaign, rig.place.name, Latch(rig.place).read().count, envelope, 5)
    rig.alter("UPDATE intent SET decision_id = ? WHERE id = ?", fresh.id, outside.id)
    rig.alter("UPDATE experiment SET state = 'dispatched' WHERE id = ?", outside.experiment_id)
    with pytest.raises(Refused, match=r"grant\.envelope.*temperature"):
        executor.dispatch(outside)
    assert len(rig.witness("run")) == 2


def test_who_has_lost_the_instrument_cannot_move_it(rig: Rig) -> None:
    executor = rig.executor()
    executor.ensure()
    intent = rig.intent()
    rig.ledger.release_lease(rig.lease)
    with pytest.raises(Refused, match=r"lease\.fenced"):
        executor.dispatch(intent)
    newer = rig.ledger.acquire_lease(rig.lease.resource, "another process", 600)
    with pytest.raises(Refused, match=r"lease\.fenced.*passed"):
        executor.dispatch(intent)
    with pytest.raises(Refused, match=r"lease\.fenced.*not exist"):
        executor.dispatch(intent, newer.epoch + 1)
    assert rig.state(intent) == "dispatched"
    executor.dispatch(intent, newer.epoch)
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"
    # Also when the ledger is set back, the worker has not forgotten.
    later = rig.propose()
    decision = rig.approve(later)
    rig.alter("UPDATE lease SET epoch = 1, holder = ? WHERE resource = ?", rig.lease.holder, rig.lease.resource)
    with pytest.raises(Refused, match=r"lease\.fenced"):
        executor.dispatch(rig.commit(later, decision), 1)


def test_intents_that_do_not_exist_and_requests_that_make_no_sense(rig: Rig) -> None:
    executor = rig.executor()
    executor.ensure()
    client = executor._client
    assert client is not None
    for fields, code in (
        ({"intent": "intent-nowhere", "epoch": 1}, "intent.unknown"),
        ({"intent": 7, "epoch": 1}, "request.malformed"),
        ({"intent": "x", "epoch": True}, "request.malformed"),
        ({}, "request.malformed"),
    ):
        with pytest.raises(Refused) as caught:
            client.call("dispatch", **fields)
        assert caught.value.code == code
    for verb in ("fly", "resume", "pause"):
        with pytest.raises(Refused):
            client.call(verb)
    assert client.call("status")["state"] == "idle"


def test_a_locked_ledger_is_a_refusal_and_not_a_hang(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the ledger out of reach nothing is started, and control goes on being served."""
    executor = rig.executor()
    executor.ensure()
    intent = rig.intent()
    hidden = rig.ledger.path.with_suffix(".away")
    rig.ledger.close()
    rig.ledger.path.rename(hidden)
    try:
        with pytest.raises(Refused, match=r"ledger\.unavailable"):
            executor.dispatch(intent)
        assert executor.status()["state"] == "idle"  # type: ignore[index]
    finally:
        hidden.rename(rig.ledger.path)


def slow(make_rig: Callable[..., Rig], **options: Any) -> tuple[Rig, LocalExecutor]:
    """An instrument whose motions take their time."""
    rig = make_rig(time_scale=1.0, **options)
    executor = rig.executor()
    executor.ensure()
    return rig, executor


def start(rig: Rig, executor: LocalExecutor) -> Intent:
    """An experiment that is under way and moving."""
    intent = rig.intent({**POINT, "temperature": 110.0})
    executor.dispatch(intent)
    until(lambda: rig.witness("motion") and rig.state(intent) == "running")
    return intent


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
    os.kill(rig.pid("worker"), signal.SIGSTOP)
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
