from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from athanor.governance.gate import BatchRefused, Gate, GateError, SameHands, authors
from athanor.memory import decisions
from athanor.memory.canonical import canonical, parse
from athanor.memory.decisions import ForgedDecision
from athanor.memory.errors import InvalidRecord, StaleRevision
from athanor.memory.ledger import Ledger
from athanor.memory.records import Campaign, Experiment, Value, new_id, revision_of
from athanor.memory.signing import GateKey, verify
from athanor.memory.verify import verify as verify_ledger

ENVELOPE = {"t": {"low": 10.0, "high": 90.0}, "solvent": {"allowed": ["EtOH", "MeCN"]}}


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    with Ledger.create(home / "ledger.db") as opened:
        opened.add_campaign(
            Campaign(
                id="c1", name="n", question="q", spec={}, problem={}, problem_hash="h", laboratory="bench",
                instrument="reactor", simulated=True, seed=1, autonomy="approve_each",
            )
        )  # fmt: skip
        yield opened


@pytest.fixture
def key(tmp_path: Path) -> GateKey:
    return GateKey.load_or_create(tmp_path / "gate")


@pytest.fixture
def gate(ledger: Ledger, key: GateKey) -> Gate:
    return Gate(ledger, key, "Ada")


@pytest.fixture
def propose(ledger: Ledger) -> Callable[..., Experiment]:
    def make(**values: Value) -> Experiment:
        ordinal = ledger.next_ordinal("c1")
        point: dict[str, Value] = values or {"t": 50.0, "n": 3, "solvent": "EtOH"}
        revision = revision_of(
            campaign="c1", ordinal=ordinal, values=point, purpose="explore", registration_id=None, block=None, arm=None,
            replicates=1, problem_hash="h",
        )  # fmt: skip
        return ledger.add_experiment(
            Experiment(id=f"c1.{ordinal}", campaign_id="c1", ordinal=ordinal, values=point, revision=revision)
        )

    return make


def test_an_approval_is_signed_and_bound(gate: Gate, ledger: Ledger, key: GateKey, propose: Any) -> None:
    experiment = propose()
    decision = gate.approve(experiment.id, experiment.revision[:6].upper(), latch=4, ttl=timedelta(hours=2))
    stored = ledger.decision(decision.id)
    assert stored == decision
    assert verify(key.public, stored.body, stored.signature)
    body = parse(stored.body)
    assert {
        name: body[name] for name in ("kind", "campaign", "experiment", "revision", "instrument", "latch", "by")
    } == {
        "kind": "approve",
        "campaign": "c1",
        "experiment": experiment.id,
        "revision": experiment.revision,
        "instrument": "reactor",
        "latch": 4,
        "by": "Ada",
    }
    assert body["nonce"] == stored.nonce and body["expires_at"] > body["at"]
    approved = ledger.experiment(experiment.id)
    assert (approved.state, approved.decision_id) == ("approved", decision.id)
    assert decisions.check(stored, key.public) == body
    assert verify_ledger(ledger, gate=key.public).is_clean


@pytest.mark.parametrize("prefix", ["", "abcde", "zzzzzz", "a" * 65, "------"])
def test_a_prefix_that_is_none_is_refused(gate: Gate, propose: Any, prefix: str) -> None:
    with pytest.raises(GateError, match="6 or more hex digits"):
        gate.approve(propose().id, prefix, 0)


def test_another_revision_is_refused_with_the_present_one(gate: Gate, propose: Any) -> None:
    experiment = propose()
    other = f"{(int(experiment.revision[:8], 16) + 1) % 16**8:08x}"
    for decide in (lambda: gate.approve(experiment.id, other, 0), lambda: gate.reject(experiment.id, other, "no")):
        with pytest.raises(StaleRevision, match=experiment.revision[:12]):
            decide()


def test_a_decided_revision_is_refused_with_who_decided(gate: Gate, ledger: Ledger, key: GateKey, propose: Any) -> None:
    experiment = propose()
    gate.reject(experiment.id, experiment.revision, "too hot")
    assert ledger.experiment(experiment.id).reason == "too hot"
    with pytest.raises(StaleRevision, match="rejected, not proposed: reject by Ada"):
        Gate(ledger, key, "Bob").approve(experiment.id, experiment.revision, 0)


def test_an_edit_supersedes_and_is_proposed_anew(gate: Gate, ledger: Ledger, key: GateKey, propose: Any) -> None:
    old = propose()
    new = gate.edit(old.id, old.revision[:8], {"t": 60, "n": 4.0}, "gentler", 0)
    assert ledger.experiment(old.id).state == "superseded"
    stored = ledger.experiment(new.id)
    assert stored == new
    assert stored.values == {"t": 60.0, "n": 4, "solvent": "EtOH"}
    assert [type(stored.values[name]) for name in ("t", "n")] == [float, int]
    assert (stored.state, stored.parent_id, stored.purpose, stored.registration_id) == (
        "proposed",
        old.id,
        "operator",
        None,
    )
    body = decisions.check(ledger.decisions("c1")[0], key.public)
    assert body["replacement"] == {"experiment": new.id, "revision": new.revision, "values": new.values}
    with pytest.raises(StaleRevision, match=f"superseded by {new.id}"):
        gate.approve(old.id, old.revision, 0)
    gate.approve(new.id, new.revision, 0)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"t": 50.0},
        {"unknown": 1.0},
        {"t": "hot"},
        {"solvent": 3},
        {"t": True},
        {"t": float("nan")},
        {"t": float("inf")},
    ],
)
def test_an_edit_that_makes_no_sense_changes_nothing(
    gate: Gate, ledger: Ledger, propose: Any, values: dict[str, Value]
) -> None:
    experiment = propose()
    with pytest.raises(GateError):
        gate.edit(experiment.id, experiment.revision, values, "why", 0)
    assert ledger.experiment(experiment.id).state == "proposed"


def test_an_edit_takes_the_next_ordinal_when_another_was_faster(
    gate: Gate, ledger: Ledger, propose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = propose()
    propose()
    answers = iter([2, 2, 3])
    monkeypatch.setattr(ledger, "next_ordinal", lambda campaign: next(answers))
    assert gate.edit(old.id, old.revision, {"t": 60.0}, "why", 0).ordinal == 3


def test_a_grant_says_within_what(gate: Gate, ledger: Ledger, key: GateKey) -> None:
    grant = gate.grant("c1", "reactor", 2, ENVELOPE, 40, timedelta(hours=24))
    body = decisions.check(ledger.decision(grant.id), key.public)
    assert body["envelope"] == {
        "parameters": ENVELOPE, "max_experiments": 40, "replicates": 1, "autonomy": "auto_within_limits"
    }  # fmt: skip
    assert "experiment" not in body and "revision" not in body
    assert (grant.kind, grant.experiment_id, body["latch"]) == ("grant", None, 2)
    with pytest.raises(InvalidRecord, match="reactor"):
        gate.grant("c1", "furnace", 2, ENVELOPE, 40)


@pytest.mark.parametrize(
    "envelope",
    [
        {},
        {"t": {"low": 2, "high": 1}},
        {"t": {"low": float("nan"), "high": 1}},
        {"t": {"low": float("-inf"), "high": 1}},
        {"t": {"low": 1}},
        {"t": {"allowed": []}},
        {"t": {"allowed": [True]}},
        {"t": {"low": 1, "high": 2, "allowed": [1]}},
        {"t": None},
        {"t": {"low": "1", "high": "2"}},
    ],
)
def test_an_envelope_that_is_none_is_refused(gate: Gate, ledger: Ledger, envelope: Any) -> None:
    with pytest.raises(GateError):
        gate.grant("c1", "reactor", 0, envelope, 40)
    assert ledger.decisions("c1") == []


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=-1), timedelta(days=1000)])
def test_times_and_numbers_that_make_no_sense_are_refused(gate: Gate, propose: Any, ttl: timedelta) -> None:
    experiment = propose()
    with pytest.raises(GateError):
        gate.approve(experiment.id, experiment.revision, 0, ttl)
    with pytest.raises(GateError, match="latch"):
        gate.approve(experiment.id, experiment.revision, -1)
    for count in (0, -1, True):
        with pytest.raises(GateError):
            gate.grant("c1", "reactor", 0, ENVELOPE, count)


def test_reasons_and_names_are_needed(gate: Gate, ledger: Ledger, key: GateKey, propose: Any) -> None:
    experiment = propose()
    with pytest.raises(GateError, match="reason"):
        gate.reject(experiment.id, experiment.revision, " ")
    with pytest.raises(GateError, match="reason"):
        gate.edit(experiment.id, experiment.revision, {"t": 1.0}, "", 0)
    with pytest.raises(GateError, match="name"):
        Gate(ledger, key, " ")


def test_a_doubt_is_settled_by_a_person(gate: Gate, ledger: Ledger, key: GateKey, propose: Any) -> None:
    experiment = propose()
    with pytest.raises(StaleRevision, match="not in_doubt"):
        gate.settle(experiment.id, "completed", "looked")
    approval = gate.approve(experiment.id, experiment.revision, 0)
    lease = ledger.acquire_lease("instrument:reactor", "p1", 60)
    ledger.commit_intent(experiment.id, approval.id, "reactor", "p1", lease.epoch)
    ledger.set_experiment_state(experiment.id, "in_doubt", "worker lost")
    with pytest.raises(GateError, match="not_started"):
        gate.settle(experiment.id, "running", "looked")  # type: ignore[arg-type]
    decision = gate.settle(experiment.id, "not_started", "the valve never opened")
    assert ledger.experiment(experiment.id).state == "not_started"
    assert decisions.check(decision, key.public)["as"] == "not_started"


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        ({}, "at least one"),
        ({"y": {"mean": float("nan"), "sem": None}}, "y cannot be"),
        ({"y": {"mean": True, "sem": None}}, "y cannot be"),
        ({"y": {"mean": 1.0, "sem": -0.1}}, "standard error of y"),
        ({"y": {"mean": 1.0, "sem": float("inf")}}, "standard error of y"),
    ],
)
def test_a_settlement_takes_no_outcome_that_is_no_measurement(
    gate: Gate, propose: Any, outcomes: Any, words: str
) -> None:
    experiment = propose()
    with pytest.raises(GateError, match=words):
        gate.settle(experiment.id, "completed", "read off", outcomes)
    with pytest.raises(GateError, match="has no outcomes"):
        gate.settle(experiment.id, "failed", "read off", {"y": {"mean": 1.0, "sem": None}})


@given(mean=st.floats(allow_nan=False, allow_infinity=False), sem=st.none() | st.floats(0, 1e300))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_outcomes_entered_by_a_person_are_signed_as_they_were_said(
    gate: Gate, ledger: Ledger, key: GateKey, propose: Any, mean: float, sem: float | None
) -> None:
    experiment = propose()
    approval = gate.approve(experiment.id, experiment.revision, 0)
    lease = ledger.acquire_lease("instrument:reactor", "p1", 60)
    ledger.commit_intent(experiment.id, approval.id, "reactor", "p1", lease.epoch)
    ledger.set_experiment_state(experiment.id, "in_doubt", "worker lost")
    decision = gate.settle(experiment.id, "completed", "read off", {"y": {"mean": mean, "sem": sem}})
    assert decisions.check(decision, key.public)["outcomes"] == {"y": {"mean": mean, "sem": sem}}
    assert ledger.experiment(experiment.id).state == "completed"


COLUMNS = ["kind", "campaign_id", "experiment_id", "revision", "body", "signature", "decided_by", "reason",
           "expires_at", "nonce"]  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(column=st.sampled_from(COLUMNS), data=st.data())
def test_a_row_changed_by_hand_is_worth_nothing(
    gate: Gate, ledger: Ledger, key: GateKey, propose: Any, column: str, data: st.DataObject
) -> None:
    experiment = propose()
    decision = gate.approve(experiment.id, experiment.revision, 0, reason="fine")
    changes: dict[str, Any] = {
        "kind": "reject",
        "expires_at": decision.expires_at + timedelta(days=300) if decision.expires_at else None,
        "revision": "0" * 64,
        "body": canonical({**parse(decision.body), "latch": data.draw(st.integers(1, 99))}),
        "signature": data.draw(st.sampled_from(["", decision.signature[:-8] + "AAAAAAA=", "A" * 88])),
    }
    forged = decision.model_copy(update={column: changes.get(column, "other")})
    with pytest.raises(ForgedDecision):
        decisions.check(forged, key.public)


def test_a_row_put_in_by_hand_is_worth_nothing(ledger: Ledger, key: GateKey, propose: Any, tmp_path: Path) -> None:
    """Whoever can write the file, and has a key of his own, still has not the gate's."""
    experiment = propose()
    own = Gate(ledger, GateKey.load_or_create(tmp_path / "own"), "Mallory")
    decision = own.approve(experiment.id, experiment.revision, 0)
    assert not verify(key.public, decision.body, decision.signature)
    with pytest.raises(ForgedDecision, match="signature is not the gate's"):
        decisions.check(ledger.decision(decision.id), key.public)
    identifier = new_id("decision")
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.execute(
            "INSERT INTO decision SELECT ?, campaign_id, experiment_id, kind, revision, body, signature, decided_by, "
            "reason, expires_at, ?, created_at, 9999 FROM decision LIMIT 1",
            (identifier, identifier),
        )
        connection.commit()
    report = verify_ledger(ledger, gate=key.public)
    assert {problem.kind for problem in report.problems} == {"decision", "table"}


# -- two pairs of eyes, and several at once ---------------------------------------------------------------------------


def asking(ledger: Ledger) -> None:
    """Have campaign c1 ask that nobody approves their own."""
    ledger.add_campaign(
        Campaign(
            id="c2", name="n", question="q", spec={"policy": {"proposer_may_not_approve": True}}, problem={},
            problem_hash="h", laboratory="bench", instrument="reactor", simulated=True, seed=1, autonomy="approve_each",
        )
    )  # fmt: skip


def of_person(ledger: Ledger, by: str | None) -> Experiment:
    """A proposal of a person, or of the campaign itself."""
    ordinal = ledger.next_ordinal("c2")
    point: dict[str, Value] = {"t": 50.0}
    revision = revision_of(
        campaign="c2", ordinal=ordinal, values=point, purpose="operator" if by else "explore", registration_id=None,
        block=None, arm=None, replicates=1, problem_hash="h",
    )  # fmt: skip
    return ledger.add_experiment(
        Experiment(
            id=f"c2.{ordinal}", campaign_id="c2", ordinal=ordinal, values=point, revision=revision,
            purpose="operator" if by else "explore", source="operator" if by else "planner",
            candidate={"by": by} if by else {},
        )
    )  # fmt: skip


def test_nobody_approves_their_own_where_it_is_asked_for(ledger: Ledger, key: GateKey) -> None:
    asking(ledger)
    ada, bob, eve = (Gate(ledger, key, name) for name in ("Ada", "bob", "Eve"))
    own = of_person(ledger, "ada")
    with pytest.raises(SameHands, match="colleague"):
        ada.approve(own.id, own.revision, 0)
    assert ledger.experiment(own.id).state == "proposed"
    edited = bob.edit(own.id, own.revision, {"t": 60.0}, "safer", 0)
    again = eve.edit(edited.id, edited.revision, {"t": 61.0}, "safer", 0)
    assert authors(ledger, again) == ["Eve", "ada"]
    for gate in (ada, eve):
        with pytest.raises(SameHands):
            gate.approve(again.id, again.revision, 0)
    assert bob.approve(again.id, again.revision, 0).decided_by == "bob"
    campaigns = of_person(ledger, None)
    assert authors(ledger, campaigns) == [] and ada.approve(campaigns.id, campaigns.revision, 0)


def test_who_put_up_what_is_known_of_older_ledgers_too(ledger: Ledger, key: GateKey) -> None:
    asking(ledger)
    old = of_person(ledger, "x").model_copy(update={"candidate": {"why": {"detail": "proposed by ada"}}})
    assert authors(ledger, old) == ["ada"]


def test_a_batch_is_approved_whole_or_not_at_all(
    gate: Gate, ledger: Ledger, propose: Callable[..., Experiment]
) -> None:
    ranges = {"t": {"low": 10.0, "high": 50.0}, "n": {"low": 3, "high": 3}, "solvent": {"allowed": ["EtOH"]}}
    first, second = propose(), propose()
    beyond = propose(t=math.nextafter(50.0, 51.0), n=3, solvent="EtOH")
    asked = {one.id: one.revision for one in (first, second, beyond)}
    with pytest.raises(BatchRefused) as refused:
        gate.approve_batch("c1", asked, 0, ranges, 5)
    assert list(refused.value.refused) == [beyond.id] and ledger.decisions("c1") == []
    with pytest.raises(BatchRefused, match="one more"):
        gate.approve_batch("c1", {first.id: first.revision, second.id: second.revision}, 0, ranges, 1)
    made = gate.approve_batch("c1", {first.id: first.revision[:8], second.id: second.revision}, 0, ranges, 2)
    assert [decision.experiment_id for decision in made] == [first.id, second.id]
    assert {ledger.experiment(one.id).state for one in (first, second)} == {"approved"}
    for decision in made:
        assert decisions.check(decision, gate._key.public)["batch"]["max_experiments"] == 2
    for wrong in ({}, {"t": {"low": 2.0, "high": 1.0}}):
        with pytest.raises(GateError):
            gate.approve_batch("c1", {beyond.id: beyond.revision}, 0, wrong, 1)
    with pytest.raises(GateError, match="nothing to approve"):
        gate.approve_batch("c1", {}, 0, ranges, 1)


def test_a_batch_of_which_one_is_decided_meanwhile_is_none(
    gate: Gate, ledger: Ledger, key: GateKey, propose: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = {"t": {"low": 10.0, "high": 50.0}, "n": {"low": 3, "high": 3}, "solvent": {"allowed": ["EtOH"]}}
    first, second = propose(), propose()
    decide_all = ledger.decide_all

    def late(made: Any) -> None:
        Gate(ledger, key, "Bob").reject(second.id, second.revision, "no")
        decide_all(made)

    monkeypatch.setattr(ledger, "decide_all", late)
    with pytest.raises(BatchRefused, match="reject by Bob"):
        gate.approve_batch("c1", {first.id: first.revision, second.id: second.revision}, 0, ranges, 2)
    assert ledger.experiment(first.id).state == "proposed"
