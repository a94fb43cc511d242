"""Which point a source of earlier data holds for best: worth trying first, and the first test of the source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from athanor.planners.problem import Objective, OutcomeConstraint, Problem, Value
from athanor.planners.search import maximize
from athanor.planners.source import LEAST, Source
from athanor.planners.source_model import SourceModel, encode, outcomes_of, source_model
from athanor.planners.space import Space
from athanor.planners.surrogate import Scale, standardised

SOFT = 0.1
"""Variance, of the outcome's spread, that is added where it is judged whether a bound holds."""


def promising(problem: Problem, source: Source, seed: int) -> dict[str, Value] | None:
    """Return the point of the problem that a source by itself holds for best; None if it knows no objective.

    With several objectives it is the one whose worst objective, in units of the source's spread, is best. Outcome
    constraints that the source knows count by the log of the probability that they hold. Parameters that it does not
    know are left where the search began.
    """
    space = Space(problem)
    models = {name: found for name in problem.outcomes if (found := _model(problem, source, name)) is not None}
    objectives = [o for o in problem.objectives if o.name in models]
    if not objectives:
        return None
    limits = [c for c in problem.outcome_constraints if c.name in models]
    worth = _Worth(models, objectives, limits)
    points = source.usable(problem)[0]
    rows, known = encode(space, points)
    unknown = [c for c in range(space.width) if c not in known]
    rows[:, unknown] = space.sample(1, seed)[0, unknown]
    inside = space.project(rows.clip(0.0, 1.0))
    inside = inside[space.is_feasible(inside)]
    if len(inside):
        with torch.no_grad():
            values = worth(torch.as_tensor(inside).unsqueeze(-2)).numpy()
        inside = inside[np.argsort(-values, kind="stable")[:3]]
    return space.decode(maximize(worth, space, inside, seed)[0][0])


@dataclass(frozen=True)
class _Worth:
    """What rows (b, 1, d) are worth (b,) as a source sees them."""

    models: dict[str, SourceModel]
    objectives: list[Objective]
    limits: list[OutcomeConstraint]

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.squeeze(-2)
        scores = []
        for objective in self.objectives:
            model = self.models[objective.name]
            mean = model.mean(rows)
            if objective.target is None:
                scores.append(mean if objective.goal == "maximize" else -mean)
            else:
                scores.append(-(mean - model.scale.bound(objective.target)).abs())
        total = torch.stack(scores).amin(dim=0)
        for limit in self.limits:
            model = self.models[limit.name]
            mean, sd = model.mean(rows), (model.variance(rows) + SOFT).sqrt()
            if limit.upper is not None:
                total = total + torch.special.log_ndtr((model.scale.bound(limit.upper) - mean) / sd)
            if limit.lower is not None:
                total = total + torch.special.log_ndtr((mean - model.scale.bound(limit.lower)) / sd)
        return total


def _model(problem: Problem, source: Source, name: str) -> SourceModel | None:
    y = outcomes_of(problem, source, name)[1]
    if len(y) < LEAST or float(np.std(y)) == 0.0:
        return None
    plain = standardised(Scale("plain", 0.0, 1.0), y)
    return source_model(problem.model_dump_json(), source.model_dump_json(), name, plain)
