"""Which parameters matter: Sobol indices of functions drawn from the model, with what the data leave open.

Indices of the predicted mean alone would call a parameter unimportant because the model knows nothing of it. So they
are taken of whole functions drawn from the posterior (Le Gratiet, Cannamela and Iooss, "A Bayesian approach for global
sensitivity analysis of (multifidelity) computer codes", 2014), over all draws of the hyper-parameters: their mean is
the estimate, their spread what the measurements leave open.

Where parameters may be set independently of each other these are the classical indices under even settings: `first`
(Martinez' estimator, 2011) is the share of the variance that one parameter explains by itself, `total` (Jansen, 1999)
the share that would remain if all others were known; their difference is interaction. Linear constraints tie
parameters together, the shares no longer add up, and two well-defined quantities take their place under even settings
of what is allowed: `first`, the share explained by knowing the parameter, which includes what the parameters tied to
it do (the correlation ratio, corrected for its bias); and `total`, the share that is left to vary when this parameter
alone moves as far as the constraints let it. A parameter of an exact sum cannot move alone and has no `total`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from athanor.planners.bayesian import BayesianPlanner, single_threaded
from athanor.planners.explanations import Importance, Interaction, Sensitivity
from athanor.planners.hyperparameters import Matrix
from athanor.planners.paths import Path, draw, in_units
from athanor.planners.space import Space, sobol
from athanor.planners.surrogate import Surrogate
from athanor.planners.uniform import constrained_rows, reach, rows_of

PATHS = 32
"""Functions drawn for one outcome."""

EVALUATIONS = 3072
"""Points at which each is evaluated, about: the error of the estimators is then near 0.03."""

BASE = (128, 512)
"""Fewest and most points that each parameter is varied around."""

PAIRED = 4
"""Parameters, the most important ones, whose pairs are looked at for interaction."""

BINS = 32
"""Parts in which a parameter's range is cut where the correlation ratio is taken."""

TRIES = 64
"""Levels tried for a discrete parameter that must keep the constraints."""

INTERVAL = (0.05, 0.95)

SEPARATE = (
    "Shares of the outcome's variance over all settings within the bounds, every setting equally likely. First: what "
    "the parameter explains by itself. Total: with its part in interactions. The intervals hold 90% of the functions "
    "that agree with the measurements."
)
TIED = (
    "Shares of the outcome's variance over all settings that the sums of parameters allow, every one equally likely. "
    "The sums tie parameters together, so the shares do not add up to one. First: what is known of the outcome once "
    "the parameter is known, with what the parameters tied to it do. Total: what varies when this parameter alone "
    "moves as far as it may; a parameter of an exact sum cannot. The intervals hold 90% of the functions that agree "
    "with the measurements."
)


_Values = Callable[[Path, Matrix], Matrix]
"""From a drawn function and rows (n, d) to the outcome (n,) in its unit."""


def sensitivity(planner: BayesianPlanner) -> Sensitivity:
    """Return Sobol indices of all outcomes as the planner's surrogate sees them.

    Raises:
        FitFailed: if too little was measured for a model.
    """
    return from_surrogate(planner.alone().surrogate())


def from_surrogate(surrogate: Surrogate) -> Sensitivity:
    """Return the Sobol indices of a fitted surrogate; a function of it alone."""
    space = surrogate.space
    with single_threaded():
        importances: list[Importance] = []
        interactions: list[Interaction] = []
        for outcome in surrogate.problem.outcomes:
            functions = draw(surrogate.outcomes[outcome], PATHS, 0)

            def values(path: Path, rows: Matrix, outcome: str = outcome) -> Matrix:
                return in_units(surrogate.outcomes[outcome], path(rows))

            if space.is_constrained:
                first, total = _tied(space, functions, values)
            else:
                first, total, shared = _separate(space, functions, values)
                names = surrogate.problem.names
                for (i, j), share in shared.items():
                    low, high = np.quantile(share, INTERVAL)
                    interactions.append(
                        Interaction(
                            outcome=outcome,
                            first=names[i],
                            second=names[j],
                            share=float(share.mean()),
                            low=float(low),
                            high=float(high),
                        )
                    )
            for i, parameter in enumerate(surrogate.problem.names):
                importances.append(_importance(outcome, parameter, first[:, i], total[:, i]))
    return Sensitivity(
        is_tied=space.is_constrained,
        what=TIED if space.is_constrained else SEPARATE,
        importances=tuple(importances),
        interactions=tuple(interactions),
    )


def pairs(found: Sensitivity, names: Sequence[str], count: int = 3) -> list[tuple[str, str]]:
    """Return the pairs of parameters that explain most of some outcome together, the most important first."""
    worth = dict.fromkeys(combinations(names, 2), 0.0)
    for outcome in dict.fromkeys(item.outcome for item in found.importances):
        first = {item.parameter: item.first for item in found.of(outcome)}
        shared = {(i.first, i.second): i.share for i in found.interactions if i.outcome == outcome}
        for pair in worth:
            worth[pair] = max(worth[pair], first[pair[0]] + first[pair[1]] + shared.get(pair, 0.0))
    return sorted(worth, key=lambda pair: -worth[pair])[:count]


def _importance(outcome: str, parameter: str, first: Matrix, total: Matrix) -> Importance:
    low, high = np.quantile(first, INTERVAL)
    is_free = bool(np.isfinite(total).all())
    total_low, total_high = np.quantile(total, INTERVAL) if is_free else (None, None)
    return Importance(
        outcome=outcome,
        parameter=parameter,
        first=float(first.mean()),
        first_low=float(low),
        first_high=float(high),
        total=float(total.mean()) if is_free else None,
        total_low=None if total_low is None else float(total_low),
        total_high=None if total_high is None else float(total_high),
    )


def _separate(
    space: Space, functions: Sequence[Path], values: _Values
) -> tuple[Matrix, Matrix, dict[tuple[int, int], Matrix]]:
    """Return first and total indices (functions, p), and what the most important pairs share, (functions,) each."""
    p = len(space.slices)
    base = _base(p + 2)
    cube = sobol(2 * p, base, 0)
    a, b = cube[:, :p], cube[:, p:]
    mixed = []
    for i in range(p):
        swapped = a.copy()
        swapped[:, i] = b[:, i]
        mixed.append(swapped)
    rows = rows_of(space, np.concatenate([a, b, *mixed]))
    at = np.stack([values(path, rows) for path in functions]).reshape(len(functions), p + 2, base)
    variance = at[:, :2].var(axis=(1, 2))
    scale = np.where(variance > 0, variance, 1.0)
    first = np.stack([_correlation(at[:, 1], at[:, 2 + i]) for i in range(p)], axis=1)
    total = np.stack([0.5 * np.square(at[:, 0] - at[:, 2 + i]).mean(axis=1) / scale for i in range(p)], axis=1)
    first, total = first.clip(0.0, 1.0), total.clip(0.0, 1.0)
    leading = sorted(np.argsort(-total.mean(axis=0), kind="stable")[:PAIRED].tolist())
    shared = {}
    for i, j in combinations(leading, 2):
        swapped = a.copy()
        swapped[:, [i, j]] = b[:, [i, j]]
        rows = rows_of(space, swapped)
        both = np.stack([values(path, rows) for path in functions])
        together = _correlation(at[:, 1], both) - first[:, i] - first[:, j]
        shared[i, j] = together.clip(0.0, 1.0)
    return first, total, shared


def _tied(space: Space, functions: Sequence[Path], values: _Values) -> tuple[Matrix, Matrix]:
    """Return correlation ratios and what each parameter moves alone, (functions, p) each; NaN where it cannot."""
    p = len(space.slices)
    base = 4 * _base(p + 1)  # drawn at random, which is less even than a Sobol sequence
    rows = constrained_rows(space, base, 0)
    at = np.stack([values(path, rows) for path in functions])
    variance = at.var(axis=1)
    scale = np.where(variance > 0, variance, 1.0)
    first = np.stack([_ratio(_bins(space, i, rows), at) for i in range(p)], axis=1)
    total = np.full((len(functions), p), np.nan)
    for i in range(p):
        moved = _moved(space, i, rows)
        if moved is not None:
            there = np.stack([values(path, moved) for path in functions])
            total[:, i] = (0.5 * np.square(at - there).mean(axis=1) / scale).clip(0.0, 1.0)
    return first, total


def _base(blocks: int) -> int:
    most = max(1, EVALUATIONS // blocks)
    return int(min(BASE[1], max(BASE[0], 2 ** math.floor(math.log2(most)))))


def _correlation(a: Matrix, b: Matrix) -> Matrix:
    """Return the correlation (functions,) of values (functions, n) each; 0 where nothing varies."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    size = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    return np.asarray((a * b).sum(axis=1) / np.where(size > 0, size, 1.0))


def _bins(space: Space, i: int, rows: Matrix) -> Matrix:
    """Return for each row the part of the parameter's range, or the level, that it lies in."""
    columns = rows[:, space.slices[i]]
    keys = np.argmax(columns, axis=1) if columns.shape[1] > 1 else columns[:, 0]
    levels = np.unique(keys)
    if i in space.levels and len(levels) <= BINS:
        return np.asarray(np.searchsorted(levels, keys))
    order = np.argsort(np.argsort(keys, kind="stable"), kind="stable")
    return np.asarray(order * BINS // len(rows))


def _ratio(parts: Matrix, at: Matrix) -> Matrix:
    """Return the share (functions,) of the variance of values (functions, n) that is between parts (n,), unbiased."""
    counts = np.bincount(parts)
    kept = np.flatnonzero(counts)
    sums = np.stack([np.bincount(parts, weights=row, minlength=len(counts))[kept] for row in at])
    counts = counts[kept]
    n, k = len(parts), len(kept)
    whole = np.square(at - at.mean(axis=1, keepdims=True)).sum(axis=1)
    between = (np.square(sums / counts - at.mean(axis=1, keepdims=True)) * counts).sum(axis=1)
    within = (whole - between) / max(n - k, 1)
    return np.asarray(((between - (k - 1) * within) / np.where(whole > 0, whole, 1.0)).clip(0.0, 1.0))


def _moved(space: Space, i: int, rows: Matrix) -> Matrix | None:
    """Return the rows with one parameter drawn anew from what the others leave it; None if they leave it nothing."""
    rng = np.random.default_rng([1, i])
    moved = rows.copy()
    if i not in space.levels:
        direction = np.zeros_like(rows)
        direction[:, space.slices[i]] = 1.0
        if any(abs(float(a[space.slices[i].start])) > 0.0 for a, _ in space.equalities):
            return None
        low, high = reach(space, rows, direction)
        moved[:, space.slices[i].start] += low + (high - low) * rng.random(len(rows))
        return moved
    if any(float(np.abs(a[space.slices[i]]).max()) > 0.0 for a, _ in space.equalities):
        return None
    levels, left = space.levels[i], np.ones(len(rows), dtype=bool)
    for _ in range(TRIES):
        tried = rows.copy()
        tried[:, space.slices[i]] = levels[rng.integers(0, len(levels), len(rows))]
        taken = left & space.is_feasible(tried)
        moved[taken], left = tried[taken], left & ~taken
    return moved
