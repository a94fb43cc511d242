"""Choosing among the rows of a pool: a spread subset to begin with, and the row with the largest acquisition value.

Where few rows are left all of them are compared. Among many, a quick figure of every row (`athanor.planners.screening`)
says which are looked at again: the best of all, and the best of each neighbourhood, since the figure may favour one
place wrongly. These are judged by the same figure in full precision and what else is in the acquisition; the best of
those, again of all and of each neighbourhood, by the acquisition itself. Last, the rows around the best ones are
judged, until none is better.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from athanor.planners.acquisition import Chosen
from athanor.planners.hyperparameters import Matrix
from athanor.planners.pool import Pool, Rows
from athanor.planners.screening import Figure, figure
from athanor.planners.search import evaluate
from athanor.planners.surrogate import Surrogate
from athanor.planners.viability import Viability

FULL = 8192
"""Rows that are judged by the acquisition itself; if no more are left, these are all."""

SHORTLIST = 65_536
"""Rows that are judged by the quick figure in double precision."""

PLACES = 128
"""Neighbourhoods into which a pool is divided, each by its nearest of so many spread rows."""

QUICK = 2048
"""Rows of which the quick figure is taken at once."""

SAMPLE = 4096
"""Rows, drawn at random, of which a spread subset is chosen."""

TRIALS = 8
"""Rows drawn for each place in a spread subset, of which the best is taken."""

PEAKS = 3
AROUND = 256
ROUNDS = 6
"""Best rows around which others are looked for, how many there, and how often at most."""


@dataclass(frozen=True)
class Found:
    """The best row, its acquisition value, and how many rows were judged in full and in all."""

    row: int
    value: float
    judged: int
    compared: int


def spread(pool: Pool, count: int, seed: int) -> Rows:
    """Return up to `count` rows, apart and yet where rows are: the first are the same whatever the count.

    Greedy k-means++ (Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", 2007), starting in the
    middle: rows are drawn in proportion to a power of their distance from those picked before, and of a few such draws
    the one is taken that leaves the least of it to all rows. The power is the fourth and not the second: a few rows far
    from all others are to be seen before many that are alike.
    """
    rng = np.random.default_rng([seed, pool.size])
    sample = np.arange(pool.size)
    if pool.size > SAMPLE:
        sample = np.sort(rng.choice(pool.size, SAMPLE, replace=False))
    x = pool.encode(sample)
    picked = [int(np.argmin(np.square(x - x.mean(axis=0)).sum(axis=1)))]
    gaps = np.square(np.square(x - x[picked[0]]).sum(axis=1))
    while len(picked) < min(count, len(sample)) and gaps.max() > 0.0:
        cumulated = np.cumsum(gaps)
        tried = np.searchsorted(cumulated, rng.random(TRIALS) * cumulated[-1], side="right").clip(max=len(x) - 1)
        left = np.minimum(gaps, np.square(np.square(x - x[tried][:, None]).sum(axis=2)))
        best = int(np.argmin(left.sum(axis=1)))
        picked.append(int(tried[best]))
        gaps = left[best]
    return sample[picked]


def maximize(
    chosen: Chosen,
    surrogate: Surrogate,
    viability: Viability | None,
    pool: Pool,
    free: Rows,
    full: int = FULL,
    shortlist: int = SHORTLIST,
) -> Found:
    """Return the best of the free rows: of no more than `full` for sure, else as the module says."""
    if len(free) <= full:
        values = evaluate(chosen.acquisition, pool.encode(free))
        best = int(np.argmax(values))
        return Found(int(free[best]), float(values[best]), len(free), len(free))
    places = _places(pool)
    rows = free
    if len(free) > shortlist:
        quick = figure(surrogate, chosen, viability, torch.float32)
        rows = _best(free, _figures(quick, pool, free, torch.float32), places, shortlist)
    exact = figure(surrogate, chosen, viability, torch.double)
    figures = _figures(exact, pool, rows, torch.double)
    for term in chosen.acquisition.terms[1:]:
        figures += np.concatenate([term(torch.as_tensor(part)).numpy() for _, part in pool.parts(rows)])
    rows = _best(rows, figures, places, full)
    values = evaluate(chosen.acquisition, pool.encode(rows))
    return _climb(chosen, pool, free, dict(zip(rows.tolist(), values.tolist(), strict=True)))


def _figures(quick: Figure, pool: Pool, rows: Rows, dtype: torch.dtype) -> Matrix:
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), QUICK):
            part = rows[start : start + QUICK]
            encoded = pool.compact(part) if dtype == torch.float32 else pool.encode(part)
            found.append(quick(torch.as_tensor(encoded)).numpy())
    return np.nan_to_num(np.concatenate(found), nan=-np.inf, neginf=-np.inf)


def _best(rows: Rows, figures: Matrix, places: NDArray[np.uint8], count: int) -> Rows:
    """Return `count` of the rows, in order: half of them the best of all, half the best of each neighbourhood."""
    if len(rows) <= count:
        return rows
    order = np.argsort(-figures, kind="stable")
    keep = np.zeros(len(rows), dtype=bool)
    keep[order[: count // 2]] = True
    # Sorted by neighbourhood, and within it by figure.
    grouped = order[np.argsort(places[rows[order]], kind="stable")]
    edges = np.searchsorted(places[rows[grouped]], np.arange(PLACES + 1))
    share = max(1, count // 2 // PLACES)
    for low, high in pairwise(edges):
        keep[grouped[low : min(high, low + share)]] = True
    return rows[keep]


def _places(pool: Pool) -> NDArray[np.uint8]:
    """Return the neighbourhood of every row."""
    if "places" not in pool.memo:
        centres = pool.encode(spread(pool, PLACES, 0)).astype(np.float32)
        squares = np.square(centres).sum(axis=1)
        found = np.empty(pool.size, dtype=np.uint8)
        for start in range(0, pool.size, QUICK):
            part = slice(start, start + QUICK)
            found[part] = np.argmin(squares - 2.0 * pool.compact(part) @ centres.T, axis=1)
        pool.memo["places"] = found
    return np.asarray(pool.memo["places"])


def _climb(chosen: Chosen, pool: Pool, free: Rows, known: dict[int, float]) -> Found:
    """Judge the rows around the best ones known, and around better ones found so, until there are none."""
    is_free = np.zeros(pool.size, dtype=bool)
    is_free[free] = True
    seen: set[int] = set()
    for _ in range(ROUNDS):
        best = sorted(known, key=lambda row: (-known[row], row))
        peaks = [row for row in best[:PEAKS] if row not in seen]
        if not peaks:
            break
        fresh: set[int] = set()
        for peak in peaks:
            seen.add(peak)
            fresh.update(row for row in _around(pool, peak, is_free) if row not in known)
        if fresh:
            rows = np.array(sorted(fresh))
            known.update(zip(rows.tolist(), evaluate(chosen.acquisition, pool.encode(rows)).tolist(), strict=True))
    row = min(known, key=lambda row: (-known[row], row))
    return Found(row, known[row], len(known), len(free))


def _around(pool: Pool, row: int, is_free: NDArray[np.bool_]) -> list[int]:
    """Return the free rows nearest to one."""
    target = pool.compact(np.array([row]))[0]
    gaps = np.concatenate(
        [
            np.square(pool.compact(slice(start, start + QUICK)) - target).sum(axis=1)
            for start in range(0, pool.size, QUICK)
        ]
    )
    gaps[~is_free] = np.inf
    count = min(AROUND, int(is_free.sum()))
    found = np.argpartition(gaps, count - 1)[:count]
    return [int(k) for k in found]
