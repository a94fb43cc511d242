"""What a source of earlier data knows by itself: one process per outcome, fitted to its own points, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from athanor.planners.hyperparameters import FitFailed, Matrix, fit
from athanor.planners.parameters import Categorical
from athanor.planners.problem import Problem
from athanor.planners.process import Process
from athanor.planners.source import Source, SourcePoint
from athanor.planners.space import Space

if TYPE_CHECKING:
    from athanor.planners.surrogate import Scale

SIGNAL = 0.2
"""Share of the variance of a source's own outcomes that its process must explain: one that is noise says nothing."""

MOST = 300
"""Points of a source that its process is fitted to: more are thinned out evenly."""


@dataclass(frozen=True)
class SourceModel:
    """The process of one outcome of one source, by its own points alone, with fixed hyper-parameters."""

    scale: Scale
    process: Process

    def mean(self, x: Tensor) -> Tensor:
        """Return means (p,) at rows (p, d), in units of the source's spread."""
        return self.process.components(x)[0][0]

    def variance(self, x: Tensor) -> Tensor:
        """Return variances (p,)."""
        return self.process.components(x)[1][0]

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return covariances (p, q) between rows (p, d) and (q, d)."""
        return self.process.covariance(a, b)[0]


def outcomes_of(problem: Problem, source: Source, outcome: str) -> tuple[list[SourcePoint], Matrix]:
    """Return the usable points of a source that have an outcome, and its values (n,)."""
    points = [point for point in source.usable(problem)[0] if outcome in point.outcomes]
    return points, np.array([point.outcomes[outcome].mean for point in points])


@lru_cache(maxsize=64)
def source_model(problem: str, source: str, outcome: str, scale: Scale) -> SourceModel | None:
    """Fit a source's own process of an outcome on a scale; None if it explains too little of the source's own points.

    A pure function of the JSON texts of problem and source, kept so that a campaign fits each source once.
    """
    asked, told = Problem.model_validate_json(problem), Source.model_validate_json(source)
    space = Space(asked)
    points, y = outcomes_of(asked, told, outcome)
    rows, known = encode(space, points)
    sems = [point.outcomes[outcome].sem for point in points]
    exact = np.array([s for s in sems if s is not None])
    variances = None
    if len(exact) == len(sems) and np.any(exact > 0):
        floored = np.maximum(np.square(exact), 0.05 * np.mean(np.square(exact)))
        variances = floored * np.exp(2.0 * scale.log_slope(y)) / scale.spread**2
    if len(rows) > MOST:
        kept = _thinned(rows, y)
        rows, y, variances = rows[kept], y[kept], variances if variances is None else variances[kept]
    groups = np.unique(space.groups[known], return_inverse=True)[1]
    try:
        likeliest, _ = fit(rows[:, known], scale.to_model(y), groups, variances).draw()
    except FitFailed:
        return None
    metric = np.zeros((space.width, space.width))
    metric[np.ix_(known, known)] = likeliest.metric
    model = SourceModel(scale, Process.build(rows, scale.to_model(y), [replace(likeliest, metric=metric)]))
    with torch.no_grad():
        explained = float(model.mean(torch.as_tensor(rows)).var())
    return model if explained >= SIGNAL else None


def encode(space: Space, points: Sequence[SourcePoint]) -> tuple[Matrix, list[int]]:
    """Return points as rows (n, d), with 0 where nothing is known, and the columns of which something is known.

    Values beyond a parameter's range lie beyond 0..1.
    """
    rows = np.zeros((len(points), space.width))
    known: list[int] = []
    for parameter, columns in zip(space.problem.parameters, space.slices, strict=True):
        if not points or parameter.name not in points[0].values:
            continue
        known += range(columns.start, columns.stop)
        for row, point in zip(rows, points, strict=True):
            value = point.values[parameter.name]
            if isinstance(parameter, Categorical):
                row[columns.start + parameter.values.index(str(value))] = 1.0
            else:
                row[columns] = parameter.to_unit(value)
    return rows, known


def _thinned(rows: Matrix, y: Matrix) -> list[int]:
    """Return `MOST` places: those of the least and greatest outcomes first, then each the farthest from all before."""
    order = np.argsort(y, kind="stable")
    chosen = [int(k) for k in [*order[: MOST // 8], *order[-(MOST // 8) :]]]
    gaps = np.min([np.square(rows - rows[k]).sum(axis=1) for k in chosen], axis=0)
    while len(chosen) < MOST:
        gaps[chosen] = -1.0
        chosen.append(int(np.argmax(gaps)))
        gaps = np.minimum(gaps, np.square(rows - rows[chosen[-1]]).sum(axis=1))
    return sorted(chosen)
