"""A ledger of its own for each test, and a maker of records that fit together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.memory.canonical import canonical, digest
from athanor.memory.ledger import Ledger
from athanor.memory.records import (
    Campaign,
    Decision,
    Evidence,
    Experiment,
    Hypothesis,
    ModelCall,
    Observation,
    Registration,
    Run,
    SpooledDocument,
    new_id,
    now,
    revision_of,
)


class Maker:
    """Makes records with plain defaults; keyword arguments change them."""

    problem_hash = "problem-1"

    def campaign(self, identifier: str = "c1", **changes: Any) -> Campaign:
        fields: dict[str, Any] = {
            "id": identifier,
            "name": f"Campaign {identifier}",
            "question": "Which conditions make the most?",
            "spec": {"seed": 1},
            "problem": {"parameters": ["t"]},
            "problem_hash": self.problem_hash,
            "laboratory": "bench",
            "instrument": "reactor",
            "simulated": True,
            "seed": 1,
            "autonomy": "approve_each",
        }
        return Campaign(**{**fields, **changes})

    def experiment(self, ordinal: int = 1, campaign: str = "c1", **changes: Any) -> Experiment:
        fields: dict[str, Any] = {
            "id": f"{campaign}.{ordinal}",
            "campaign_id": campaign,
            "ordinal": ordinal,
            "values": {"t": 10.0 + ordinal},
            "purpose": "explore",
            **changes,
        }
        if "revision" not in fields:
            fields["revision"] = revision_of(
                campaign=campaign,
                ordinal=ordinal,
                values=fields["values"],
                purpose=fields["purpose"],
                registration_id=fields.get("registration_id"),
                block=fields.get("block"),
                arm=fields.get("arm"),
                replicates=fields.get("replicates", 1),
                problem_hash=self.problem_hash,
            )
        return Experiment(**fields)

    def decision(
        self, experiment: Experiment | None, kind: str = "approve", campaign: str = "c1", **more: Any
    ) -> Decision:
        changes = more.pop("changes", {})
        body = {"kind": kind, **more}
        return Decision(
            **{
                "id": new_id("decision"),
                "campaign_id": campaign,
                "experiment_id": experiment.id if experiment else None,
                "kind": kind,
                "revision": experiment.revision if experiment else None,
                "body": canonical(body),
                "signature": "",
                "decided_by": "Ada",
                "reason": "",
                "nonce": new_id("nonce"),
                **changes,
            }
        )

    def hypothesis(self, ordinal: int = 1, campaign: str = "c1", **changes: Any) -> Hypothesis:
        fields: dict[str, Any] = {
            "id": f"{campaign}.H{ordinal}",
            "campaign_id": campaign,
            "ordinal": ordinal,
            "kind": "effect",
            "statement": "Warmer gives more product",
            "rationale": "Arrhenius",
            "claim": {"kind": "effect", "parameter": "t", "direction": "up"},
            "proposer": "statistical",
            "prior": 0.7,
        }
        return Hypothesis(**{**fields, **changes})

    def registration(self, hypothesis: str = "c1.H1", campaign: str = "c1") -> Registration:
        body = {"contrast": [1.0, -1.0], "margin": 0.1}
        return Registration(
            id=f"{hypothesis}.r", hypothesis_id=hypothesis, campaign_id=campaign, body=body, body_hash=digest(body)
        )

    def evidence(self, block: int = 0, experiments: tuple[str, ...] = (), registration: str = "c1.H1.r") -> Evidence:
        return Evidence(
            id=new_id("evidence"),
            registration_id=registration,
            block=block,
            experiments=list(experiments),
            statistic=0.5,
            log_e_support=1.0,
            log_e_refute=-1.0,
        )

    def run(self, experiment: str, intent: str, uid: str = "run-1") -> Run:
        return Run(
            uid=uid, experiment_id=experiment, intent_id=intent, instrument="reactor", simulated=True, started_at=now()
        )

    def documents(self, uid: str = "run-1", count: int = 3) -> list[SpooledDocument]:
        return [
            SpooledDocument(run_uid=uid, position=place, name="event", body=canonical({"seq_num": place, "t": 1.5}))
            for place in range(count)
        ]

    def observation(self, experiment: str | None = "c1.1", campaign: str = "c1", **changes: Any) -> Observation:
        fields: dict[str, Any] = {
            "id": new_id("observation"),
            "campaign_id": campaign,
            "experiment_id": experiment,
            "values": {"t": 11.0},
            "outcomes": {"yield": {"mean": 0.8, "sem": 0.01}},
            "reduction": "mean",
            "reduction_hash": "0" * 64,
        }
        return Observation(**{**fields, **changes})

    def model_call(self, campaign: str = "c1", **changes: Any) -> ModelCall:
        fields: dict[str, Any] = {
            "id": new_id("call"),
            "campaign_id": campaign,
            "purpose": "propose",
            "model": "m",
            "endpoint": "http://127.0.0.1:1",
            "request": "a long prompt",
            "request_sha256": "0" * 64,
            "response": "a reply",
            "status": "ok",
            "seconds": 0.5,
        }
        return ModelCall(**{**fields, **changes})

    def approve(self, ledger: Ledger, experiment: Experiment) -> Decision:
        decision = self.decision(experiment, campaign=experiment.campaign_id)
        ledger.decide(experiment.id, experiment.revision, decision)
        return decision

    def dispatch(self, ledger: Ledger, experiment: Experiment, holder: str = "p1") -> str:
        """Take an experiment from nothing to dispatched; return the intent's id."""
        ledger.add_experiment(experiment)
        decision = self.approve(ledger, experiment)
        lease = ledger.acquire_lease("instrument:reactor", holder, 60)
        return ledger.commit_intent(experiment.id, decision.id, "reactor", holder, lease.epoch).id

    def full(self, ledger: Ledger) -> None:
        """Fill a ledger with something of every kind."""
        ledger.add_campaign(self.campaign())
        ledger.set_campaign_state("c1", "running")
        ledger.acquire_lease("campaign:c1", "p1", 60)
        ledger.add_hypothesis(self.hypothesis())
        for state in ("reviewed", "registered"):
            ledger.set_hypothesis_state("c1.H1", state)  # type: ignore[arg-type]
        ledger.add_registration(self.registration())
        ledger.set_hypothesis_state("c1.H1", "testing")
        fields = {"purpose": "confirm", "registration_id": "c1.H1.r", "block": 0, "arm": "high"}
        intent = self.dispatch(ledger, self.experiment(1, **fields))
        ledger.start_run(self.run("c1.1", intent))
        ledger.set_experiment_state("c1.1", "running")
        ledger.ingest_documents(self.documents())
        ledger.stop_run("run-1", now(), "success", None, 1)
        ledger.set_experiment_state("c1.1", "completed")
        ledger.add_observation(self.observation())
        ledger.add_evidence(self.evidence(experiments=("c1.1",)))
        ledger.set_hypothesis_state("c1.H1", "supported", "e-value over 20", {"e": 21.5})
        ledger.add_experiment(self.experiment(2))
        ledger.set_experiment_state("c1.2", "withdrawn", "no longer wanted")
        ledger.add_model_call(self.model_call())
        ledger.add_event("c1", "note", {"text": "größer, 触媒"})
        ledger.add_event(None, "site note", {"x": float("inf")})
        ledger.request("c1", "pause", "Ada")


@pytest.fixture(scope="session")
def make() -> Maker:
    return Maker()


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    with Ledger.create(home / "ledger.db") as opened:
        yield opened


@pytest.fixture
def opening(home: Path) -> Iterator[Callable[..., Ledger]]:
    """Open ledgers that are closed when the test ends."""
    opened: list[Ledger] = []

    def open_(*args: Any, **options: Any) -> Ledger:
        opened.append(Ledger.open(*args, **options))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()
