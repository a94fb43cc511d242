"""Maps of the model over two parameters at a time: predictions, and where everything that must hold is likely to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from athanor.planners import viability
from athanor.planners.bayesian import BayesianPlanner, single_threaded
from athanor.planners.diagnostics import base_point
from athanor.planners.explanations import Grid, Landscape, Map
from athanor.planners.hyperparameters import Matrix
from athanor.planners.problem import Continuous, Value
from athanor.planners.space import Space, sobol
from athanor.planners.surrogate import Surrogate
from athanor.planners.uniform import constrained_rows, rows_of

STEPS = 25
"""Positions along each axis of a map; a discrete parameter has its levels, thinned to no more."""

SHARES = 2048
"""Points at which it is counted how much of the space is likely to meet the constraints."""

ROUNDS = 60
"""Projections, one constraint after the other, by which the other parameters of a sum give way."""


def landscape(planner: BayesianPlanner, pairs: Sequence[tuple[str, str]], n: int = STEPS) -> Landscape:
    """Return maps over pairs of parameters (by name) through the incumbent, n positions along each axis.

    Raises:
        FitFailed: if too little was measured for a model.
        KeyError: for a name that is no parameter of the problem.
    """
    surrogate = planner.surrogate()
    space = surrogate.space
    with single_threaded():
        base = base_point(planner, surrogate)
        works = viability.fit(space, surrogate.rows, space.encode([o.values for o in planner.failed]))
        maps = tuple(_map(surrogate, works, base, first, second, n) for first, second in pairs)
        feasible, likely = _shares(surrogate)
    return Landscape(base=base, maps=maps, feasible_share=feasible, likely_share=likely)


def positions(space: Space, name: str, n: int) -> list[Value]:
    """Return up to n values along a parameter: evenly spaced, or its levels."""
    parameter = space.problem.parameter(name)
    if isinstance(parameter, Continuous):
        return [parameter.from_unit(k / (n - 1)) for k in range(n)]
    levels: list[Value] = list(parameter.levels)
    if len(levels) <= n:
        return levels
    return [levels[k] for k in np.unique(np.linspace(0, len(levels) - 1, n).round().astype(int)).tolist()]


def _map(
    surrogate: Surrogate,
    works: viability.Viability | None,
    base: Mapping[str, Value],
    first: str,
    second: str,
    n: int,
) -> Map:
    space, problem = surrogate.space, surrogate.problem
    across, up = positions(space, first, n), positions(space, second, n)
    rows = space.encode([{**base, first: a, second: b} for b in up for a in across])
    held = [space.slices[problem.names.index(name)].start for name in (first, second)]
    rows = _give_way(space, rows, held)
    mean, sd = surrogate.predict_rows(rows)
    shape = (len(up), len(across))

    def grid(values: Matrix) -> Grid:
        return tuple(tuple(row) for row in values.reshape(shape).tolist())

    return Map(
        first=first,
        second=second,
        first_values=tuple(across),
        second_values=tuple(up),
        mean={name: grid(mean[:, i]) for i, name in enumerate(problem.outcomes)},
        sd={name: grid(sd[:, i]) for i, name in enumerate(problem.outcomes)},
        feasible=grid(surrogate.feasibility(rows).prod(axis=1)) if problem.outcome_constraints else None,
        works=None if works is None else grid(works.probability(torch.as_tensor(rows)).numpy()),
        allowed=tuple(tuple(row) for row in space.is_feasible(rows).reshape(shape).tolist()),
    )


def _give_way(space: Space, rows: Matrix, held: Sequence[int]) -> Matrix:
    """Return rows whose other continuous columns have moved until the linear constraints hold, where they can."""
    free = [c for c in space.continuous_columns if c not in held]
    if not space.is_constrained or not free:
        return rows
    rows = rows.copy()
    planes = [(a, b, False) for a, b in space.inequalities] + [(a, b, True) for a, b in space.equalities]
    planes = [(a, b, is_exact) for a, b, is_exact in planes if float(np.abs(a[free]).max()) > 0.0]
    for _ in range(ROUNDS):
        for a, b, is_exact in planes:
            gap = b - rows @ a
            gap = gap if is_exact else np.maximum(gap, 0.0)
            rows[:, free] += np.outer(gap / float(a[free] @ a[free]), a[free])
            rows[:, free] = rows[:, free].clip(0.0, 1.0)
    return rows


def _shares(surrogate: Surrogate) -> tuple[float | None, float | None]:
    if not surrogate.problem.outcome_constraints:
        return None, None
    space = surrogate.space
    cube = sobol(len(space.slices), SHARES, 0)
    rows = constrained_rows(space, SHARES, 0) if space.is_constrained else rows_of(space, cube)
    return float(surrogate.is_feasible(rows).mean()), float((surrogate.feasibility(rows).prod(axis=1) >= 0.5).mean())
