"""What each parameter does, and what is to be said of the model that says so: read off all measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from athanor.console.report.data import Effects, Slice

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Experiment, Observation
    from athanor.planners.bayesian import BayesianPlanner
    from athanor.planners.explanations import Explanation, Sensitivity
    from athanor.planners.problem import Problem
    from athanor.planners.protocol import Observation as Told

LEAST = 5
"""With fewer measured points a picture would show little but the model's own assumptions."""


def effects(
    problem: Problem, seed: int, observations: Sequence[Observation], experiments: Sequence[Experiment]
) -> tuple[Effects, Explanation | None]:
    """Fit the planner's surrogate to all observations, explain it, and cut it along each parameter at the incumbent."""
    measured = [item for item in observations if item.outcomes]
    if len(measured) < LEAST:
        return Effects(missing=f"Only {len(measured)} experiments were measured; too few to say."), None
    from athanor.planners import diagnostics
    from athanor.planners.explain import explain
    from athanor.planners.hyperparameters import FitFailed

    planner, labels = told(problem, seed, observations, experiments)
    found = explain(planner, lambda item: _label(item, labels))
    try:
        return to_effects(diagnostics.slices(planner, n=41), found.sensitivity), found
    except FitFailed as error:
        return Effects(missing=f"No model could be fitted: {error}."), found


def explained(ledger: Ledger, campaign_id: str) -> Explanation:
    """Return what is to be said of the model of one campaign's measurements.

    Raises:
        NotFound: there is no such campaign.
    """
    from athanor.console import overview
    from athanor.planners.explain import explain
    from athanor.planners.problem import Problem

    campaign = ledger.campaign(campaign_id)
    observations = overview.latest(ledger.observations(campaign_id))
    problem = Problem.model_validate(campaign.problem)
    planner, labels = told(problem, campaign.seed, observations, ledger.experiments(campaign_id))
    return explain(planner, lambda item: _label(item, labels))


def told(
    problem: Problem, seed: int, observations: Sequence[Observation], experiments: Sequence[Experiment]
) -> tuple[BayesianPlanner, dict[str, str]]:
    """Return a planner that was told of all observations, and what people call each of them."""
    from athanor.planners.bayesian import BayesianPlanner
    from athanor.planners.protocol import Observation as Seen
    from athanor.planners.state import observation_key

    planner = BayesianPlanner(problem, seed=seed)
    candidates = {item.id: item.candidate.get("id") for item in experiments}
    labels = {}
    for item in observations:
        seen = Seen.model_validate(
            {
                "candidate_id": candidates.get(item.experiment_id or ""),
                "values": item.values,
                "outcomes": item.outcomes,
                "status": item.status,
            }
        )
        planner.ingest([seen])
        if item.experiment_id:
            labels[observation_key(planner.observations[-1])] = f"#{item.experiment_id.rpartition('.')[2]}"
    return planner, labels


def _label(item: Told, labels: Mapping[str, str]) -> str:
    """Call a measurement by its experiment's number; what came from elsewhere by where it was."""
    from athanor.planners.findings import default_label
    from athanor.planners.state import observation_key

    known = labels.get(observation_key(item))
    return known or f"the measurement at {default_label(item.model_copy(update={'candidate_id': None}))}"


def to_effects(cuts: Any, importance: Sensitivity | None) -> Effects:
    """Turn the planner's diagnostics into the report's slices."""
    shares = {(item.outcome, item.parameter): item.first for item in importance.importances} if importance else {}
    return Effects(
        slices=[
            Slice(
                parameter=cut.parameter,
                outcome=cut.outcome,
                positions=list(cut.values),
                mean=list(cut.mean),
                sd=list(cut.sd),
                at=cuts.base[cut.parameter],
                share=shares.get((cut.outcome, cut.parameter)),
            )
            for cut in cuts.slices
        ],
        base=dict(cuts.base),
    )
