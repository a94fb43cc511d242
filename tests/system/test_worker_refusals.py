"""What the worker refuses: nothing moves that is not approved, signed, within limits and in time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "instruments"))

from rig import POINT, Rig, make_rig_fixture, rig_fixture, until  # noqa: F401 - fixtures

from athanor.instruments.executor import Refused
from athanor.instruments.latch import Latch
from athanor.memory.records import Intent
from athanor.memory.signing import GateKey


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
