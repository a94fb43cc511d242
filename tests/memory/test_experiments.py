from __future__ import annotations

import itertools
import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from athanor.memory.errors import (
    DecisionRequired,
    Duplicate,
    IllegalTransition,
    InvalidRecord,
    LeaseLost,
    LedgerError,
    NotFound,
    StaleRevision,
)
from athanor.memory.ledger import Ledger
from athanor.memory.records import now
from athanor.memory.transitions import EXPERIMENT, STATES
from athanor.memory.verify import verify
from tests.memory.conftest import Maker

# For each state, the states gone through to reach it.
PATHS: dict[str, list[str]] = {"proposed": []}
for _ in STATES["experiment"]:
    for old, following in EXPERIMENT.items():
        for new in following:
            if old in PATHS and new not in PATHS:
                PATHS[new] = [*PATHS[old], new]

ordinals = itertools.count(1)


@pytest.fixture
def running(ledger: Ledger, make: Maker) -> Ledger:
    ledger.add_campaign(make.campaign())
    return ledger


def advance(ledger: Ledger, make: Maker, identifier: str, new: str) -> None:
    """Take one legal step, with the decision it needs."""
    experiment = ledger.experiment(identifier)
    decision = None
    if new == "dispatched":
        lease = ledger.acquire_lease("instrument:reactor", "p1", 60)
        assert experiment.decision_id is not None
        ledger.commit_intent(identifier, experiment.decision_id, "reactor", "p1", lease.epoch)
        return
    kind = (
        "settle"
        if experiment.state == "in_doubt"
        else {"approved": "approve", "rejected": "reject", "superseded": "edit"}.get(new)
    )
    if kind is not None:
        decision = ledger.add_decision(make.decision(experiment, kind, **({"as": new} if kind == "settle" else {})))
    ledger.set_experiment_state(identifier, new, "because", decision.id if decision else None)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=st.sampled_from(STATES["experiment"]), new=st.sampled_from(STATES["experiment"]))
def test_every_pair_of_states(running: Ledger, make: Maker, old: str, new: str) -> None:
    experiment = running.add_experiment(make.experiment(next(ordinals)))
    for step in PATHS[old]:
        advance(running, make, experiment.id, step)
    assert running.experiment(experiment.id).state == old
    if new in EXPERIMENT[old]:
        advance(running, make, experiment.id, new)
        assert running.experiment(experiment.id).state == new
    else:
        before = running.changes()
        with pytest.raises(IllegalTransition):
            running.set_experiment_state(experiment.id, new)  # type: ignore[arg-type]
        assert running.experiment(experiment.id).state == old
        assert running.changes() == before


def test_every_state_can_be_reached() -> None:
    assert set(PATHS) == set(STATES["experiment"])


@pytest.mark.parametrize("old", list(EXPERIMENT))
def test_dispatch_is_by_intent_alone(running: Ledger, make: Maker, old: str) -> None:
    experiment = running.add_experiment(make.experiment())
    for step in PATHS[old]:
        advance(running, make, experiment.id, step)
    with pytest.raises(IllegalTransition):
        running.set_experiment_state(experiment.id, "dispatched")


def test_what_a_person_must_decide_needs_the_decision(running: Ledger, make: Maker) -> None:
    experiment = running.add_experiment(make.experiment())
    for state in ("approved", "rejected", "superseded"):
        with pytest.raises(DecisionRequired, match="signed decision"):
            running.set_experiment_state(experiment.id, state)
    wrong_kind = running.add_decision(make.decision(experiment, "reject"))
    with pytest.raises(DecisionRequired, match="reject"):
        running.set_experiment_state(experiment.id, "approved", decision_id=wrong_kind.id)
    other = running.add_experiment(make.experiment(2))
    about_another = running.add_decision(make.decision(other))
    with pytest.raises(DecisionRequired, match=r"not about c1\.1"):
        running.set_experiment_state(experiment.id, "approved", decision_id=about_another.id)
    with pytest.raises(NotFound):
        running.set_experiment_state(experiment.id, "approved", decision_id="none")
    expired = running.add_decision(make.decision(experiment, changes={"expires_at": now() - timedelta(seconds=1)}))
    with pytest.raises(DecisionRequired, match="approve again"):
        running.set_experiment_state(experiment.id, "approved", decision_id=expired.id)
    assert running.experiment(experiment.id).state == "proposed"


def test_a_grant_approves_in_its_own_campaign_only(running: Ledger, make: Maker) -> None:
    running.add_campaign(make.campaign("c2"))
    experiment = running.add_experiment(make.experiment())
    foreign = running.add_decision(make.decision(None, "grant", "c2"))
    with pytest.raises(DecisionRequired, match="campaign c2"):
        running.set_experiment_state(experiment.id, "approved", decision_id=foreign.id)
    own = running.add_decision(make.decision(None, "grant"))
    running.set_experiment_state(experiment.id, "approved", decision_id=own.id)
    assert running.experiment(experiment.id).decision_id == own.id


def test_doubt_ends_by_a_settlement_that_says_the_same(running: Ledger, make: Maker) -> None:
    make.dispatch(running, make.experiment())
    running.set_experiment_state("c1.1", "in_doubt", "worker lost")
    experiment = running.experiment("c1.1")
    with pytest.raises(DecisionRequired):
        running.set_experiment_state("c1.1", "completed")
    approval = running.add_decision(make.decision(experiment, "approve"))
    with pytest.raises(DecisionRequired, match="settle"):
        running.set_experiment_state("c1.1", "completed", decision_id=approval.id)
    settlement = running.add_decision(make.decision(experiment, "settle", **{"as": "not_started"}))
    with pytest.raises(DecisionRequired, match="not_started"):
        running.set_experiment_state("c1.1", "completed", decision_id=settlement.id)
    decision = make.decision(experiment, "settle", changes={"reason": "looked"}, **{"as": "aborted"})
    running.decide("c1.1", experiment.revision, decision)
    settled = running.experiment("c1.1")
    assert (settled.state, settled.reason, settled.decision_id) == ("aborted", "looked", experiment.decision_id)
    assert verify(running).is_clean


def test_the_expected_state_is_compared(running: Ledger, make: Maker) -> None:
    running.add_experiment(make.experiment())
    with pytest.raises(IllegalTransition, match="expected to be approved"):
        running.set_experiment_state("c1.1", "withdrawn", expect={"approved"})
    running.set_experiment_state("c1.1", "withdrawn", expect={"proposed", "approved"})


def test_the_same_experiment_twice_is_one(running: Ledger, make: Maker) -> None:
    first = running.add_experiment(make.experiment())
    assert running.add_experiment(make.experiment()) == first
    with pytest.raises(Duplicate, match="next ordinal"):
        running.add_experiment(make.experiment(values={"t": 99.0}))
    assert running.next_ordinal("c1") == 2


def test_a_revision_must_be_that_of_the_contents(running: Ledger, make: Maker) -> None:
    with pytest.raises(InvalidRecord, match="revision_of"):
        running.add_experiment(make.experiment(revision="0" * 64))
    with pytest.raises(InvalidRecord, match="proposed"):
        running.add_experiment(make.experiment(state="approved"))


def test_types_of_values_survive(running: Ledger, make: Maker) -> None:
    values = {"a": 2, "b": 2.0, "c": "EtOH", "d": -0.0}
    stored = running.add_experiment(make.experiment(values=values))
    back = running.experiment(stored.id)
    assert [type(value) for value in back.values.values()] == [int, float, str, float]
    assert back.expected_revision(make.problem_hash) == back.revision


def test_a_superseded_revision_is_refused_with_the_one_that_stands(running: Ledger, make: Maker) -> None:
    old = running.add_experiment(make.experiment())
    new = make.experiment(2, parent_id=old.id)
    running.decide(old.id, old.revision, make.decision(old, "edit"), replacement=new)
    assert running.experiment(old.id).state == "superseded"
    with pytest.raises(StaleRevision, match=rf"superseded by c1\.2@{new.revision[:12]}"):
        running.decide(old.id, old.revision, make.decision(old))
    with pytest.raises(StaleRevision, match="not the one proposed"):
        other = make.decision(new, changes={"revision": old.revision})
        running.decide(new.id, old.revision, other)
    running.decide(new.id, new.revision, make.decision(new))


def test_a_decision_that_does_not_fit_stores_nothing(running: Ledger, make: Maker) -> None:
    one, two = running.add_experiment(make.experiment()), running.add_experiment(make.experiment(2))
    before = running.changes()
    cases = [
        (make.decision(two), None),
        (make.decision(None, "grant"), None),
        (make.decision(one, "edit"), None),
        (make.decision(one, "approve"), make.experiment(3, parent_id=one.id)),
        (make.decision(one, "edit"), make.experiment(3, parent_id=two.id)),
        (make.decision(one, changes={"expires_at": now() - timedelta(seconds=1)}), None),
        (make.decision(one, "settle", **{"as": "completed"}), None),
    ]
    for decision, replacement in cases:
        with pytest.raises((InvalidRecord, StaleRevision)):
            running.decide(one.id, one.revision, decision, replacement)
    assert running.changes() == before


def test_a_nonce_is_used_once(running: Ledger, make: Maker) -> None:
    one, two = running.add_experiment(make.experiment()), running.add_experiment(make.experiment(2))
    running.decide(one.id, one.revision, make.decision(one, changes={"nonce": "n"}))
    with pytest.raises(Duplicate):
        running.decide(two.id, two.revision, make.decision(two, changes={"nonce": "n"}))
    assert running.experiment(two.id).state == "proposed"


def test_an_intent_is_committed_once_by_the_holder(running: Ledger, make: Maker) -> None:
    experiment = running.add_experiment(make.experiment())
    decision = make.approve(running, experiment)
    lease = running.acquire_lease("instrument:reactor", "p1", 60)
    for holder, epoch in (("p2", lease.epoch), ("p1", lease.epoch + 1)):
        with pytest.raises(LeaseLost):
            running.commit_intent(experiment.id, decision.id, "reactor", holder, epoch)
    with pytest.raises(LeaseLost):
        running.commit_intent(experiment.id, decision.id, "other", "p1", 1)
    intent = running.commit_intent(experiment.id, decision.id, "reactor", "p1", lease.epoch)
    assert running.experiment(experiment.id).state == "dispatched"
    assert running.commit_intent(experiment.id, decision.id, "reactor", "p1", lease.epoch) == intent
    assert running.intent(intent.id) == intent == running.intent_for(experiment.id)
    assert running.intents("c1") == [intent]


def test_no_intent_without_approval_or_by_one_who_lost_the_campaign(running: Ledger, make: Maker) -> None:
    experiment = running.add_experiment(make.experiment())
    decision = running.add_decision(make.decision(experiment))
    lease = running.acquire_lease("instrument:reactor", "p1", 60)
    with pytest.raises(IllegalTransition):
        running.commit_intent(experiment.id, decision.id, "reactor", "p1", lease.epoch)
    running.set_experiment_state(experiment.id, "approved", decision_id=decision.id)
    running.acquire_lease("campaign:c1", "p2", 60)
    with pytest.raises(LeaseLost, match="campaign:c1"):
        running.commit_intent(experiment.id, decision.id, "reactor", "p1", lease.epoch)
    assert running.intent_for(experiment.id) is None


def test_an_approval_can_expire_before_the_intent(running: Ledger, make: Maker) -> None:
    experiment = running.add_experiment(make.experiment())
    decision = make.decision(experiment, changes={"expires_at": now() + timedelta(hours=1)})
    running.decide(experiment.id, experiment.revision, decision)
    lease = running.acquire_lease("instrument:reactor", "p1", 60)
    running._clock = lambda: now() + timedelta(hours=2)
    with pytest.raises(DecisionRequired, match="expired"):
        running.commit_intent(experiment.id, decision.id, "reactor", "p1", lease.epoch)


def test_another_instrument_than_the_campaign_s_is_refused(running: Ledger, make: Maker) -> None:
    experiment = running.add_experiment(make.experiment())
    decision = make.approve(running, experiment)
    lease = running.acquire_lease("instrument:furnace", "p1", 60)
    with pytest.raises(InvalidRecord, match="reactor"):
        running.commit_intent(experiment.id, decision.id, "furnace", "p1", lease.epoch)


APPROVER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from athanor.governance.gate import Gate
from athanor.memory.errors import StaleRevision
from athanor.memory.ledger import Ledger
from athanor.memory.places import keys_dir
from athanor.memory.signing import GateKey

ledger = Ledger.open(sys.argv[1])
gate = Gate(ledger, GateKey.load_or_create(keys_dir()), sys.argv[2])
revision = ledger.experiment("c1.1").revision
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()

def approve(_):
    try:
        gate.approve("c1.1", revision[:8], 0)
        return "accepted"
    except StaleRevision as error:
        assert "approved" in str(error), error
        return "refused"

with ThreadPoolExecutor(10) as pool:
    sys.stdout.write(" ".join(pool.map(approve, range(10))))
"""


def test_of_fifty_approvals_at_once_one_is_accepted(running: Ledger, make: Maker) -> None:
    running.add_experiment(make.experiment())
    command = [sys.executable, "-c", APPROVER, running.url]
    processes = [
        subprocess.Popen([*command, f"person {n}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for n in range(5)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = " ".join(process.communicate(timeout=60)[0] for process in processes).split()
    assert [process.returncode for process in processes] == [0] * 5
    assert sorted(answers) == ["accepted"] + ["refused"] * 49
    assert len(running.decisions("c1")) == 1
    assert verify(running).is_clean


def test_errors_are_the_ledger_s() -> None:
    for error in (StaleRevision, LeaseLost, Duplicate, NotFound, IllegalTransition, DecisionRequired, InvalidRecord):
        assert issubclass(error, LedgerError)
