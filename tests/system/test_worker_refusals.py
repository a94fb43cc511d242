"""What the worker refuses: nothing moves that is not approved, signed, within limits and in time."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "instruments"))

from rig import POINT, Rig, make_rig_fixture, rig_fixture, until  # noqa: F401 - fixtures

from athanor.governance.gate import Gate
from athanor.instruments.executor import Refused
from athanor.instruments.executors import executor_for
from athanor.instruments.laboratory import InstrumentUnavailable, load
from athanor.instruments.latch import Latch
from athanor.memory.canonical import canonical
from athanor.memory.decisions import body_of
from athanor.memory.places import keys_dir
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


def test_rows_put_in_by_hand_move_nothing(rig: Rig, tmp_path: Path) -> None:
    """Decisions, grants and the intents that stand on them, inserted with what true ones have in every column."""
    executor = rig.executor()
    executor.ensure()
    true = rig.intent()
    envelope = {name: {"low": value * 0.9, "high": value * 1.1} for name, value in POINT.items()}
    approval = rig.ledger.decision(true.decision_id)
    grant = rig.gate.grant(rig.campaign, rig.place.name, Latch(rig.place).read().count, envelope, 5)
    own = GateKey.load_or_create(tmp_path / "mine")
    for decision in (approval, grant):
        for how in ("none", "copied", "own"):
            experiment, name = rig.propose(), f"{decision.kind}-{how}"
            about = {"experiment": experiment.id, "revision": experiment.revision} if decision is approval else {}
            body = canonical({**body_of(decision), **about, "nonce": name})
            signature = {"none": "", "copied": decision.signature, "own": own.sign(body)}[how]
            row = {"id": f"decision-{name}", "nonce": name, "body": body, "signature": signature}
            if decision is approval:
                row |= {"experiment_id": experiment.id, "revision": experiment.revision}
            insert_like(rig, "decision", decision.id, row)
            rig.alter(
                "UPDATE experiment SET state = 'dispatched', decision_id = ? WHERE id = ?", row["id"], experiment.id
            )
            row = {"id": f"intent-{name}", "key": name, "experiment_id": experiment.id, "decision_id": row["id"]}
            insert_like(rig, "intent", true.id, row)
            with pytest.raises(Refused) as caught:
                executor.dispatch(rig.ledger.intent(row["id"]))
            assert caught.value.code == ("decision.unsigned" if how == "none" else "decision.signature"), name
            assert caught.value.final
            until(lambda: rig.ledger.experiment(experiment.id).state == "refused")  # noqa: B023
    assert rig.witness("set", "motion", "run") == []
    executor.dispatch(true)  # what was copied from would have moved
    executor.wait(true.experiment_id, rig.ledger)
    assert [line["intent"] for line in rig.witness("run")] == [true.id]


def insert_like(rig: Rig, table: str, pattern: str, changes: dict[str, str]) -> None:
    """Put a row into the ledger's file that is another one but for some columns."""
    with contextlib.closing(sqlite3.connect(rig.ledger.path, timeout=10)) as connection, connection:
        connection.row_factory = sqlite3.Row
        (found,) = connection.execute(f"SELECT * FROM {table} WHERE id = ?", (pattern,)).fetchall()  # noqa: S608
        (position,) = connection.execute("SELECT MAX(position) + 1 FROM journal").fetchone()
        fields = {**dict(found), "position": position, **changes}
        marks = ", ".join("?" * len(fields))
        connection.execute(f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({marks})", list(fields.values()))  # noqa: S608


def test_an_executor_with_a_key_of_its_own_moves_nothing(rig: Rig, tmp_path: Path) -> None:
    """The whole interface, the ledger and a key of the attacker's: a campaign's own process could do all of it."""
    rig.executor().ensure()
    assert (rig.place.directory / "gate.pub").read_bytes() == (keys_dir() / "gate.pub").read_bytes()
    forger = Gate(rig.ledger, GateKey.load_or_create(tmp_path / "mine"), "mallory")
    experiment = rig.propose()
    decision = forger.approve(experiment.id, experiment.revision, 0)
    intent = rig.commit(experiment, decision)
    profile = load(rig.laboratory).profile()
    for _ in range(2):  # beside the worker that runs, and when there is none
        own = executor_for(profile, rig.options, rig.place, rig.ledger.url, tmp_path / "mine" / "gate.pub", None)
        rig.executors.append(own)  # type: ignore[arg-type]
        with pytest.raises(InstrumentUnavailable, match="it obeys the gate whose key is in"):
            own.ensure()
        assert rig.witness("set", "motion", "run") == []
    honest = rig.intent()
    again = rig.executor()
    again.ensure()
    again.dispatch(honest)
    again.wait(honest.experiment_id, rig.ledger)
    assert [line["intent"] for line in rig.witness("run")] == [honest.id]
    assert rig.state(intent) == "dispatched"


def test_refusals_are_counted_in_the_journal_beyond_the_life_of_a_worker(rig: Rig) -> None:
    def noted() -> dict[str, int]:
        total: dict[str, int] = {}
        for event in rig.ledger.events(None, kinds=("refusals",)):
            assert event.body["instrument"] == rig.place.name
            for code, count in event.body["counts"].items():
                total[code] = total.get(code, 0) + count
        return total

    for expected in (1, 2):
        executor = rig.executor()
        executor.ensure()
        intent = rig.intent({**POINT, "temperature": 1e6})
        with pytest.raises(Refused, match=r"limit\.above"):
            executor.dispatch(intent)
        if expected == 1:
            until(lambda: noted() == {"limit.above": 1})  # while it runs
        executor.shutdown()
        until(lambda: noted() == {"limit.above": expected})  # noqa: B023 - and as it leaves
        executor.close()


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
    until(lambda: rig.state(outside) == "refused")  # it is stored after the answer
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
