"""What the surrogate has learned, in numbers a reasoner can read and a report can draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr

from athanor.planners.bayesian import BayesianPlanner, single_threaded
from athanor.planners.hyperparameters import Matrix
from athanor.planners.pareto import hypervolume, pareto
from athanor.planners.problem import Categorical, Continuous, Level, Record, Value
from athanor.planners.space import sobol
from athanor.planners.surrogate import Surrogate

__all__ = ["Change", "Effects", "Pair", "Slice", "Slices", "effects", "hypervolume", "pareto", "slices"]

DRAWS = 1024
"""Draws with which beliefs on a logarithmic scale are turned into the outcome's unit."""
POINTS = 256
LEVELS = 16
REGION_POINTS = 2048
REGION_SHARE = 0.05
"""Share of the space, best predicted first, that makes up the best region."""


class Change(Record):
    """The predicted change of an outcome from `low` to `high` of one parameter, the others at the incumbent.

    `change` and `sd` (of the belief about it) are in the outcome's unit; `importance` is the parameter's first-order
    Sobol index of the predicted mean over the whole space, 0..1. A category's `low` and `high` are the values with the
    lowest and the highest prediction.
    """

    outcome: str
    parameter: str
    low: Level | str
    high: Level | str
    change: float
    sd: float
    importance: float

    @property
    def first_order(self) -> float:
        """The first-order Sobol index."""
        return self.importance

    @property
    def probability_up(self) -> float:
        """The belief that the change is an increase."""
        return float(ndtr(self.change / self.sd)) if self.sd > 0 else float(self.change > 0)


class Pair(Record):
    """The predicted interaction: change of the effect of `first` (low to high) from low to high of `second`."""

    outcome: str
    first: str
    first_low: Level | str
    first_high: Level | str
    second: str
    second_low: Level | str
    second_high: Level | str
    change: float
    sd: float


class Effects(Record):
    """Everything read off a surrogate around the incumbent; `box` is the predicted best region, numeric parameters."""

    incumbent: dict[str, Level | str]
    changes: tuple[Change, ...]
    pairs: tuple[Pair, ...]
    box: dict[str, tuple[float, float]]

    @property
    def effects(self) -> tuple[Change, ...]:
        """The changes under their other name."""
        return self.changes


class Slice(Record):
    """Predicted mean and sd of one outcome along one parameter, the others at the base point."""

    outcome: str
    parameter: str
    values: tuple[Level | str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]


class Slices(Record):
    """All slices through the base point."""

    base: dict[str, Level | str]
    slices: tuple[Slice, ...]


def effects(planner: BayesianPlanner) -> Effects:
    """Return effects, interactions and the best region as the planner's surrogate sees them.

    Raises:
        FitFailed: if too little was measured for a model.
    """
    surrogate = planner.surrogate()
    with single_threaded():
        base = base_point(planner, surrogate)
        ends = {
            (name, p.name): _ends(surrogate, base, name, i)
            for name in planner.problem.outcomes
            for i, p in enumerate(planner.problem.parameters)
        }
        changes, pairs = [], []
        for name in planner.problem.outcomes:
            shares = _first_order(surrogate, name)
            for i, parameter in enumerate(planner.problem.parameters):
                low, high = ends[name, parameter.name]
                change, sd = contrast(
                    surrogate,
                    name,
                    [{**base, parameter.name: high}, {**base, parameter.name: low}],
                    [1.0, -1.0],
                )
                changes.append(
                    Change(
                        outcome=name,
                        parameter=parameter.name,
                        low=low,
                        high=high,
                        change=change,
                        sd=sd,
                        importance=shares[i],
                    )
                )
                for other in planner.problem.parameters[i + 1 :]:
                    second = ends[name, other.name]
                    pairs.append(_pair(surrogate, name, base, parameter.name, (low, high), other.name, second))
        return Effects(incumbent=base, changes=tuple(changes), pairs=tuple(pairs), box=_box(surrogate))


def slices(planner: BayesianPlanner, n: int = 41) -> Slices:
    """Return predictions along every parameter (n positions, or all levels) through the incumbent.

    Raises:
        FitFailed: if too little was measured for a model.
    """
    surrogate = planner.surrogate()
    with single_threaded():
        base = base_point(planner, surrogate)
        found = []
        for parameter in planner.problem.parameters:
            values: Sequence[Value]
            if isinstance(parameter, Continuous):
                values = [parameter.from_unit(k / (n - 1)) for k in range(n)]
            else:
                values = parameter.levels
            points = [{**base, parameter.name: value} for value in values]
            mean, sd = surrogate.predict_rows(surrogate.space.encode(points))
            for i, name in enumerate(planner.problem.outcomes):
                found.append(
                    Slice(
                        outcome=name,
                        parameter=parameter.name,
                        values=tuple(values),
                        mean=tuple(mean[:, i].tolist()),
                        sd=tuple(sd[:, i].tolist()),
                    )
                )
    return Slices(base=base, slices=tuple(found))


def base_point(planner: BayesianPlanner, surrogate: Surrogate) -> dict[str, Value]:
    """Return the incumbent; of a Pareto set the point with the largest product of gains (the most balanced one)."""
    best = planner.best()
    if len(best) == 1:
        return dict(best[0].values)
    scores = surrogate.scores(surrogate.space.encode([b.values for b in best]))
    span = scores.max(axis=0) - scores.min(axis=0)
    gains = (scores - scores.min(axis=0)) / np.where(span > 0, span, 1.0) + 0.1
    return dict(best[int(np.argmax(gains.prod(axis=1)))].values)


def _ends(surrogate: Surrogate, base: dict[str, Value], outcome: str, i: int) -> tuple[Value, Value]:
    parameter = surrogate.problem.parameters[i]
    if not isinstance(parameter, Categorical):
        return parameter.from_unit(0.0), parameter.from_unit(1.0)
    points = [{**base, parameter.name: value} for value in parameter.values]
    column = surrogate.problem.outcomes.index(outcome)
    mean = surrogate.predict_rows(surrogate.space.encode(points))[0][:, column]
    low, high = int(np.argmin(mean)), int(np.argmax(mean))
    return parameter.values[low], parameter.values[high if high != low else (low + 1) % len(parameter.values)]


def _pair(
    surrogate: Surrogate,
    outcome: str,
    base: dict[str, Value],
    first: str,
    first_ends: tuple[Value, Value],
    second: str,
    second_ends: tuple[Value, Value],
) -> Pair:
    corners = [{**base, first: a, second: b} for b in reversed(second_ends) for a in reversed(first_ends)]
    change, sd = contrast(surrogate, outcome, corners, [1.0, -1.0, -1.0, 1.0])
    return Pair(
        outcome=outcome,
        first=first,
        first_low=first_ends[0],
        first_high=first_ends[1],
        second=second,
        second_low=second_ends[0],
        second_high=second_ends[1],
        change=change,
        sd=sd,
    )


def contrast(
    surrogate: Surrogate, outcome: str, points: Sequence[dict[str, Value]], weights: Sequence[float]
) -> tuple[float, float]:
    """Return mean and sd, in the outcome's unit, of a weighted sum of noise-free outcomes."""
    model = surrogate.outcomes[outcome]
    with torch.no_grad():
        mean, covariance = model.process.joint(torch.as_tensor(surrogate.space.encode(points)))
        w = torch.as_tensor(weights, dtype=torch.double)
        if model.scale.is_linear:
            variance = float((w @ covariance @ w).clamp_min(0.0))
            return float(w @ mean) * model.scale.spread, math.sqrt(variance) * model.scale.spread
        values, vectors = torch.linalg.eigh(covariance)
        root = vectors * values.clamp_min(0.0).sqrt()
        normals = torch.special.ndtri(torch.as_tensor(sobol(len(points), DRAWS, 0)).clamp(1e-6, 1 - 1e-6))
        drawn = model.scale.from_model(mean + normals @ root.T) @ w
        return float(drawn.mean()), float(drawn.std())


def _first_order(surrogate: Surrogate, outcome: str) -> list[float]:
    """Return first-order Sobol indices of the predicted mean under uniform settings, by averaging over the others."""
    space = surrogate.space
    column = surrogate.problem.outcomes.index(outcome)
    cube = sobol(len(space.slices), POINTS, 0)

    def mean(positions: Matrix) -> Matrix:
        return surrogate.predict_rows(space.from_cube(positions))[0][:, column]

    total = float(np.var(mean(cube)))
    shares = []
    for i in range(len(space.slices)):
        levels = len(space.levels[i]) if i in space.levels else LEVELS
        averages = []
        for k in range(min(levels, LEVELS)):
            held = cube[:: 1 + POINTS // 128].copy()
            held[:, i] = (k + 0.5) / min(levels, LEVELS)
            averages.append(float(mean(held).mean()))
        shares.append(min(1.0, float(np.var(averages)) / total) if total > 0 else 0.0)
    return shares


def _box(surrogate: Surrogate) -> dict[str, tuple[float, float]]:
    """Return low and high per numeric parameter (10 % to 90 %) of the predicted best share of the space."""
    space, problem = surrogate.space, surrogate.problem
    rows = space.sample(REGION_POINTS, 0)
    scores: Any = surrogate.scores(rows)
    if scores.shape[1] > 1:
        ranks = np.argsort(np.argsort(scores, axis=0), axis=0)
        scores = ranks.min(axis=1, keepdims=True).astype(float)
    worth = np.where(surrogate.feasibility(rows).prod(axis=1) >= 0.5, scores[:, 0], -np.inf)
    count = max(10, int(REGION_SHARE * len(rows)))
    best = rows[np.argsort(-worth, kind="stable")[:count]]
    box = {}
    for parameter, columns in zip(problem.parameters, space.slices, strict=True):
        if isinstance(parameter, Categorical):
            continue
        edges = np.quantile(best[:, columns.start], [0.1, 0.9], method="nearest")
        values = [space.problem.parameter(parameter.name).validate_value(_numeric(parameter, e)) for e in edges]
        box[parameter.name] = (float(values[0]), float(values[1]))
    return box


def _numeric(parameter: Any, position: float) -> Value:
    """Map an encoded position back to the parameter's nearest value."""
    if isinstance(parameter, Continuous):
        return parameter.from_unit(float(position))
    return min(parameter.levels, key=lambda level: abs(parameter.to_unit(level) - float(position)))
