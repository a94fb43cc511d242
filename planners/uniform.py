"""Settings drawn evenly from everything that is allowed: the measure that importance is stated under."""

from __future__ import annotations

import numpy as np

from athanor.planners.hyperparameters import Matrix
from athanor.planners.space import Space

SWEEPS = 60
"""Rounds in which every chain steps along a random direction and tries a new level of each discrete parameter."""


def rows_of(space: Space, cube: Matrix) -> Matrix:
    """Map (n, p) positions in the unit cube to (n, d) rows, every level of a discrete parameter equally likely.

    Unlike `Space.from_cube` this gives the first and the last whole number of a range the same share as the others.
    """
    rows = np.zeros((len(cube), space.width))
    for i, columns in enumerate(space.slices):
        if i in space.levels:
            levels = space.levels[i]
            rows[:, columns] = levels[np.minimum((cube[:, i] * len(levels)).astype(int), len(levels) - 1)]
        else:
            rows[:, columns.start] = cube[:, i]
    return rows


def constrained_rows(space: Space, n: int, seed: int) -> Matrix:
    """Return n rows (n, d) drawn evenly from a space with linear constraints; a function of its arguments.

    Chains start at spread feasible rows and run hit-and-run (Smith 1984) over the continuous columns, within the
    equalities; levels of discrete parameters change where the constraints allow it with all else held. Where a sum is
    fixed exactly a discrete parameter in it keeps the levels of the starts.

    Raises:
        InfeasibleSpace: if no feasible row was found.
    """
    rng = np.random.default_rng([seed, n])
    starts = space.sample(min(n, 256), seed)
    rows = starts[np.arange(n) % len(starts)].copy()
    free = space.continuous_columns
    basis = _moves(space, free)
    for _ in range(SWEEPS):
        if basis.shape[1]:
            direction = rng.standard_normal((n, basis.shape[1])) @ basis.T
            low, high = reach(space, rows, _widen(space, free, direction))
            rows[:, free] += (low + (high - low) * rng.random(n))[:, None] * direction
            rows[:, free] = rows[:, free].clip(0.0, 1.0)
        for i, levels in space.levels.items():
            tried = rows.copy()
            tried[:, space.slices[i]] = levels[rng.integers(0, len(levels), n)]
            allowed = space.is_feasible(tried)
            rows[allowed] = tried[allowed]
    return rows


def reach(space: Space, rows: Matrix, direction: Matrix) -> tuple[Matrix, Matrix]:
    """Return how far (n,) each row (n, d) may go back and forth along its direction (n, d) within what is allowed."""
    low, high = np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
    sides = [(column, gap) for column in np.eye(space.width) for gap in (0.0, 1.0)]
    planes = [(a, 0.0) if gap == 0.0 else (-a, -1.0) for a, gap in sides] + space.inequalities
    for a, b in planes:
        slack, speed = np.maximum(rows @ a - b, 0.0), direction @ a
        with np.errstate(divide="ignore", invalid="ignore"):
            step = -slack / speed
        low = np.where(speed > 1e-12, np.maximum(low, step), low)
        high = np.where(speed < -1e-12, np.minimum(high, step), high)
    return np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)


def _widen(space: Space, free: list[int], direction: Matrix) -> Matrix:
    wide = np.zeros((len(direction), space.width))
    wide[:, free] = direction
    return wide


def _moves(space: Space, free: list[int]) -> Matrix:
    """Return an orthonormal basis (f, k) of the continuous moves that change no equality."""
    if not free:
        return np.zeros((0, 0))
    if not space.equalities:
        return np.eye(len(free))
    rows = np.stack([a[free] for a, _ in space.equalities])
    _, sizes, vectors = np.linalg.svd(rows)
    rank = int((sizes > 1e-10).sum())
    return np.asarray(vectors[rank:].T)
