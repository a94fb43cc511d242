"""Read a campaign back as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from athanor.agents.byhand import by_hand
from athanor.agents.spec import Spec

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Observation


def best(ledger: Ledger, campaign_id: str) -> list[dict[str, Any]]:
    """The planner's incumbent, or its Pareto set, from everything observed so far.

    Kept as an event, so that it is computed once per state of knowledge.
    """
    campaign = ledger.campaign(campaign_id)
    observations = ledger.observations(campaign_id)
    measured = [o for o in observations if o.outcomes]
    if not measured:
        return []
    for event in reversed(ledger.events(campaign_id)):
        if event.kind == "best" and event.body["observations"] == len(observations):
            stored: list[dict[str, Any]] = event.body["best"]
            return stored
    from athanor.agents.planning import PlannerProcess

    spec = Spec.model_validate(campaign.spec)
    by_experiment = {e.id: e for e in ledger.experiments(campaign_id)}
    items = [
        {
            "candidate_id": by_experiment[o.experiment_id].candidate.get("id") if o.experiment_id else None,
            "values": o.values,
            "outcomes": o.outcomes,
            "status": o.status,
        }
        for o in newest(observations)
    ]
    planner = PlannerProcess()
    try:
        request = {
            "op": "best",
            "planner": "bayesian",
            "problem": campaign.problem,
            "seed": spec.seed,
            "observations": items,
        }
        found: list[dict[str, Any]] = planner.ask(request)["best"]
    finally:
        planner.close()
    ledger.add_event(campaign_id, "best", {"observations": len(observations), "best": found})
    return found


def newest(observations: Sequence[Observation]) -> list[Observation]:
    """The newest revision of each observation, in the order of their first."""
    return list({o.experiment_id or o.id: o for o in observations}.values())


def results(ledger: Ledger, campaign_id: str) -> dict[str, Any]:
    """The whole campaign as one JSON-ready object: `campaign state best hypotheses experiments by_hand`."""
    campaign = ledger.campaign(campaign_id)
    observations = {o.experiment_id: o for o in ledger.observations(campaign_id) if o.experiment_id}
    registrations = {r.hypothesis_id: r for r in ledger.registrations(campaign_id)}
    experiments = []
    for e in ledger.experiments(campaign_id):
        run = ledger.run_for(e.id)
        o = observations.get(e.id)
        experiments.append(
            {
                "id": e.id,
                "values": e.values,
                "outcomes": o.outcomes if o else {},
                "state": e.state,
                "reason": (o.reason if o else None) or e.reason,
                "source": e.source,
                "purpose": e.purpose,
                "run": run.uid if run else None,
                "why": e.candidate.get("why"),
            }
        )
    hypotheses = []
    for h in ledger.hypotheses(campaign_id):
        registration = registrations.get(h.id)
        rows = ledger.evidence(registration_id=registration.id) if registration else []
        hypotheses.append(
            {
                "id": h.id,
                "statement": h.statement,
                "kind": h.kind,
                "proposer": h.proposer,
                "prior": h.prior,
                "state": h.state,
                "reason": h.reason,
                "verdict": h.verdict,
                "log_e_support": rows[-1].log_e_support if rows else 0.0,
                "log_e_refute": rows[-1].log_e_refute if rows else 0.0,
                "blocks": len(rows),
            }
        )
    return {
        "campaign": campaign.id,
        "name": campaign.name,
        "state": campaign.state,
        "reason": campaign.reason,
        "simulated": campaign.simulated,
        "seed": campaign.seed,
        "best": best(ledger, campaign_id),
        "hypotheses": hypotheses,
        "experiments": experiments,
        "by_hand": by_hand(ledger, campaign_id),
    }
