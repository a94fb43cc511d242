"""Finding the point with the largest acquisition value, in any mix of continuous and discrete parameters.

Raw points are scored, the best and most different ones are climbed (batched L-BFGS-B, or SLSQP under constraints on
parameters); with discrete parameters the climb alternates with moves to neighbouring levels, and where only some of the
amounts may be non-zero with moves to others. A climb stays in its start's branch (`athanor.planners.input_space`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from botorch.exceptions.warnings import OptimizationWarning
from botorch.generation.gen import gen_candidates_scipy
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from athanor.planners.hyperparameters import Matrix
from athanor.planners.input_space import Curve
from athanor.planners.problem import Categorical
from athanor.planners.space import Space

RESTARTS = 8
RESTARTS_CONSTRAINED = 4
"""Starts under constraints on parameters, where each is climbed by itself."""
RAW = 256
NEAR = 64
"""Raw points drawn around the points that are good already."""
MAXITER = 60
FTOL = 1e-7
ROUNDS = 4
APART = 0.05
STEEP = 1e6
"""Slope of a nonlinear constraint where it has none that is finite."""
CHUNK = 128

Acquisition = Callable[[Tensor], Tensor]


def maximize(acquisition: Acquisition, space: Space, seeds: Matrix, seed: int) -> tuple[Matrix, Matrix]:
    """Return rows (r, d) and acquisition values (r,), best first: local optima reached from several starts.

    `seeds` (s, d) are good points known already; at least one start is at one of them. `acquisition` takes
    (b, 1, d) and returns (b,).
    """
    if space.inputs is not None:
        seeds = _feasible(space, space.project(seeds))  # what was measured may lie anywhere
    rows = _raw(space, seeds, seed)
    values = evaluate(acquisition, rows)
    starts = _starts(rows, values, len(seeds), RESTARTS_CONSTRAINED if space.is_constrained else RESTARTS)
    if space.relaxable_columns:
        # First as if whole numbers were real: a constraint couples them, and no single step may be an improvement.
        relaxed, _ = _climb(acquisition, space, starts, relax=True)
        starts = np.concatenate([starts, _feasible(space, space.project(relaxed))])
    if space.continuous_columns:
        starts, values = _climb(acquisition, space, starts)
    else:
        values = evaluate(acquisition, starts)
    if space.levels or (space.inputs is not None and space.inputs.has_moves):
        for _ in range(ROUNDS):
            moved, gained = _step(acquisition, space, starts, values)
            if not gained.any():
                break
            starts, values = moved, evaluate(acquisition, moved)
            if space.continuous_columns:
                starts[gained], values[gained] = _climb(acquisition, space, starts[gained])
    rows = np.concatenate([starts, rows])
    values = np.concatenate([values, evaluate(acquisition, rows[len(starts) :])])
    order = np.argsort(-values, kind="stable")
    return rows[order], values[order]


def evaluate(acquisition: Acquisition, rows: Matrix) -> Matrix:
    """Return the acquisition values (n,) of rows (n, d)."""
    with torch.no_grad():
        parts = [acquisition(part.unsqueeze(-2)) for part in torch.as_tensor(rows).split(CHUNK)]
    return np.nan_to_num(torch.cat(parts).numpy(), nan=-np.inf)


def _raw(space: Space, seeds: Matrix, seed: int) -> Matrix:
    rows = [seeds, space.sample(RAW, seed)]
    if len(seeds):
        rng = np.random.default_rng([seed, 1])
        around = seeds[rng.integers(0, len(seeds), NEAR)] + rng.normal(0.0, 0.08, (NEAR, space.width))
        # Optima often lie on a bound: some neighbours have a coordinate pushed onto one.
        push = rng.random(around.shape) < 0.15
        around = np.where(push, np.round(rng.random(around.shape)), np.clip(around, 0.0, 1.0))
        switch = rng.random((NEAR, len(space.slices))) < 0.3
        for i, levels in space.levels.items():
            drawn = levels[rng.integers(0, len(levels), NEAR)]
            around[:, space.slices[i]] = np.where(switch[:, [i]], drawn, around[:, space.slices[i]])
        rows.append(_feasible(space, space.project(around)))
    return np.concatenate(rows)


def _feasible(space: Space, rows: Matrix) -> Matrix:
    return rows[space.is_feasible(rows)]


def _starts(rows: Matrix, values: Matrix, known: int, count: int) -> Matrix:
    """Pick the best rows that are apart from each other; the first is the best of the known good points."""
    chosen: list[int] = [int(np.argmax(values[:known]))] if known else []
    for i in np.argsort(-values, kind="stable"):
        if len(chosen) >= count:
            break
        if all(float(np.abs(rows[i] - rows[j]).max()) > APART for j in chosen):
            chosen.append(int(i))
    return rows[chosen]


def _climb(acquisition: Acquisition, space: Space, starts: Matrix, relax: bool = False) -> tuple[Matrix, Matrix]:
    """Climb from each start, discrete columns held (relaxed: categories alone); one that finds nothing stays."""
    columns = [c for c in space.discrete_columns if not (relax and c in space.relaxable_columns)]
    x = torch.as_tensor(starts).unsqueeze(-2)
    bounds = torch.zeros(space.width, dtype=torch.double), torch.ones(space.width, dtype=torch.double)
    if not space.is_constrained:
        held = {c: x[:, :, c] for c in columns} or None
        found, values = _quietly(
            x,
            acquisition,
            bounds[0],
            bounds[1],
            options={"maxiter": MAXITER, "ftol": FTOL, "factr": None},
            fixed_features=held,
        )
        return _keep_better(acquisition, starts, found.squeeze(-2).detach().numpy(), values.numpy())
    rows = []
    for start in x:
        held_ = columns
        if space.inputs is not None:
            low, high = (torch.as_tensor(bound[0]) for bound in space.inputs.bounds(start.numpy()))
            start, bounds = start.clamp(low, high), (low, high)
            held_ = sorted({*columns, *torch.nonzero(low >= high).flatten().tolist()})
            if len(held_) == space.width:  # nothing to climb in this branch
                rows.append(start.reshape(-1).numpy())
                continue
        constraints = {
            "inequality_constraints": _torch(space.inequalities, held_),
            "equality_constraints": _torch(space.equalities, held_),
            "nonlinear_inequality_constraints": _curves(space, held_),
        }
        options: dict[str, Any] = {"maxiter": MAXITER, "ftol": FTOL}
        if not any(constraints.values()):
            options["factr"] = None  # it is L-BFGS-B then
        found, _ = _quietly(
            start.unsqueeze(0),
            acquisition,
            bounds[0],
            bounds[1],
            options=options,
            fixed_features={c: float(start[0, c]) for c in held_} or None,
            **constraints,
        )
        rows.append(found.reshape(-1).detach().numpy())
    if relax:
        return np.stack(rows), np.empty(0)
    projected = space.project(np.stack(rows))
    values_ = evaluate(acquisition, projected)
    values_[~space.is_feasible(projected)] = -np.inf
    return _keep_better(acquisition, starts, projected, values_)


def _quietly(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """Climb without the warning that a line search found nothing better, which BoTorch shows whatever the filter.

    Nothing is lost: the point the search stood at is kept, and compared with where it started.
    """
    with warnings.catch_warnings(record=True) as caught:
        found, values = gen_candidates_scipy(*args, **kwargs)
    for warning in caught:
        if not issubclass(warning.category, (OptimizationWarning, NumericalWarning)):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return found, values


def _keep_better(acquisition: Acquisition, before: Matrix, after: Matrix, values: Matrix) -> tuple[Matrix, Matrix]:
    old = evaluate(acquisition, before)
    better = values > old
    return np.where(better[:, None], after, before), np.where(better, values, old)


def _torch(
    constraints: Sequence[tuple[Matrix, float]], held: Sequence[int]
) -> list[tuple[Tensor, Tensor, float]] | None:
    found = []
    for row, bound in constraints:
        columns = np.flatnonzero(row)
        if set(columns.tolist()) <= set(held):
            continue
        found.append((torch.as_tensor(columns), torch.as_tensor(row[columns]), bound))
    return found or None


def _curves(space: Space, held: Sequence[int]) -> list[tuple[Callable[[Tensor], Tensor], bool]] | None:
    """Return a function of a row (d,), at least 0 where it is feasible, for each bound that free columns matter to."""
    found: list[tuple[Callable[[Tensor], Tensor], bool]] = [
        (partial(_room, curve, which), True)
        for curve in (space.inputs.curves if space.inputs is not None else ())
        if not {column for column, *_ in curve.places.values()} <= set(held)
        for which in range((curve.lower is not None) + (curve.upper is not None))
    ]
    return found or None


def _room(curve: Curve, which: int, row: Tensor) -> Tensor:
    """Return how far inside a bound a row is, -1 and flat where that is not known: the climb then turns back."""
    with torch.enable_grad():
        at = row.detach().requires_grad_()
        sides, valid = curve.room(at, torch)
        [slope] = torch.autograd.grad(sides[which], at)
    if not bool(valid):
        return row.sum() * 0.0 - 1.0
    # A slope may be infinite on the edge of where the expression is defined.
    slope = torch.nan_to_num(slope, nan=0.0, posinf=STEEP, neginf=-STEEP)
    return sides[which].detach() + (slope * (row - row.detach())).sum()


def _step(
    acquisition: Acquisition, space: Space, rows: Matrix, values: Matrix
) -> tuple[Matrix, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Move each row to its best neighbour in the discrete parameters, where there is a better one."""
    neighbours: list[Matrix] = []
    owners: list[int] = []
    for k, row in enumerate(rows):
        for i, levels in space.levels.items():
            at = int(np.argmin(np.square(levels - row[space.slices[i]]).sum(axis=1)))
            if isinstance(space.problem.parameters[i], Categorical):
                others = [j for j in range(len(levels)) if j != at]
            else:
                others = [j for j in (at - 1, at + 1) if 0 <= j < len(levels)]
            for j in others:
                near = row.copy()
                near[space.slices[i]] = levels[j]
                neighbours.append(near)
                owners.append(k)
        for near in space.inputs.neighbours(row) if space.inputs is not None else ():
            neighbours.append(near)
            owners.append(k)
    if not neighbours:
        return rows, np.zeros(len(rows), dtype=bool)
    moved = space.project(np.stack(neighbours))
    gains = evaluate(acquisition, moved)
    gains[~space.is_feasible(moved)] = -np.inf
    result, gained = rows.copy(), np.zeros(len(rows), dtype=bool)
    owner = np.array(owners)
    for k in range(len(rows)):
        own = np.flatnonzero(owner == k)
        best = own[int(np.argmax(gains[own]))]
        if gains[best] > values[k] + 1e-9:
            result[k], gained[k] = moved[best], True
    return result, gained
