"""Everything that can be said of a planner's model at once, from one fit."""

from __future__ import annotations

from athanor.planners import calibration, sensitivity
from athanor.planners.bayesian import BayesianPlanner
from athanor.planners.explanations import Explanation
from athanor.planners.findings import Label, default_label
from athanor.planners.health import health
from athanor.planners.hyperparameters import FitFailed
from athanor.planners.landscape import landscape

PAIRS = 3
"""Maps that are drawn: of the pairs of parameters that matter most."""


def explain(planner: BayesianPlanner, label: Label = default_label, pairs: int = PAIRS) -> Explanation:
    """Return what is said of a planner's model; `label` says how findings name a measurement.

    A function of what was ingested, not of earlier data: what is said is judged by this campaign's own measurements.
    Too little for a model is said by `health`, not raised.
    """
    planner = planner.alone()
    try:
        surrogate = planner.surrogate()
    except FitFailed:
        return Explanation(health=health(planner, label=label))
    calibrations = calibration.from_surrogate(surrogate)
    importance = sensitivity.from_surrogate(surrogate)
    chosen = sensitivity.pairs(importance, surrogate.problem.names, pairs)
    return Explanation(
        health=health(planner, calibrations, label),
        calibrations=calibrations,
        sensitivity=importance,
        landscape=landscape(planner, chosen),
        notes=tuple(surrogate.notes),
    )
