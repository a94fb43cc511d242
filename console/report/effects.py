"""What each parameter does, read off a model of all measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from athanor.console.report.data import Effects, Slice

if TYPE_CHECKING:
    from athanor.memory.records import Experiment, Observation
    from athanor.planners.problem import Problem

LEAST = 5
"""With fewer measured points a picture would show little but the model's own assumptions."""


def effects(
    problem: Problem, seed: int, observations: Sequence[Observation], experiments: Sequence[Experiment]
) -> Effects:
    """Fit the planner's surrogate to all observations and cut it along every parameter at the incumbent."""
    measured = [item for item in observations if item.outcomes]
    if len(measured) < LEAST:
        return Effects(missing=f"Only {len(measured)} experiments were measured; too few to say.")
    from athanor.planners import diagnostics
    from athanor.planners.bayesian import BayesianPlanner
    from athanor.planners.hyperparameters import FitFailed
    from athanor.planners.protocol import Observation as Seen

    planner = BayesianPlanner(problem, seed=seed)
    candidates = {item.id: item.candidate.get("id") for item in experiments}
    planner.ingest(
        [
            Seen.model_validate(
                {
                    "candidate_id": candidates.get(item.experiment_id or ""),
                    "values": item.values,
                    "outcomes": item.outcomes,
                    "status": item.status,
                }
            )
            for item in observations
        ]
    )
    try:
        return to_effects(diagnostics.slices(planner, n=41), diagnostics.effects(planner))
    except FitFailed as error:
        return Effects(missing=f"No model could be fitted: {error}.")


def to_effects(cuts: Any, found: Any) -> Effects:
    """Turn the planner's diagnostics into the report's slices."""
    shares = {(item.outcome, item.parameter): item.first_order for item in found.effects}
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
