"""How often the health check accuses a healthy model, and how often it finds what is wrong with a sick one.

    python -m benchmarks health --seeds 40

Nothing is wrong with functions drawn from the kind of process that the model assumes, or smooth test functions,
measured with equal noise at scattered settings. Yet a few noisy points may leave a model that knows nothing, and to say
so is no false alarm. So every model is asked about 200 fresh measurements: it is called healthy if it explains at least
half of their variation, else weak. Each sick family has one thing wrong. Printed is the share of models with any
warning or serious finding, with its 95 % interval (Wilson), and how often each finding was made. The exit status is 1
when a warning or worse is given on more than one healthy model in ten.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from athanor.planners import BayesianPlanner, Continuous, Measured, Objective, Observation, Problem
from athanor.planners.health import health
from athanor.planners.hyperparameters import correlation, squared_distances

MOST = 0.1
FRESH = 200
KNOWS = 0.5
Rows = np.ndarray[Any, np.dtype[np.float64]]


def told(rows: Rows, y: Rows, sem: float | None = None) -> BayesianPlanner:
    """A planner that was told of outcomes y (n,) at rows (n, d)."""
    names = [f"x{i}" for i in range(rows.shape[1])]
    planner = BayesianPlanner(Problem([Continuous(n, 0, 1) for n in names], [Objective("y", "maximize")]), seed=0)
    for k, (row, value) in enumerate(zip(rows.tolist(), y.tolist(), strict=True)):
        outcomes = {"y": Measured(value, sem)}
        values = dict(zip(names, row, strict=True))
        planner.ingest([Observation(candidate_id=f"c{k}", values=values, outcomes=outcomes)])
    return planner


def own_kind(rng: np.random.Generator, d: int, n: int) -> tuple[Rows, Rows]:
    """Settings, and a function of the model's own kind there, of variance 1."""
    rows = rng.random((n, d))
    scaled = rows / (rng.uniform(0.3, 1.5, d) * math.sqrt(d))
    return rows, np.linalg.cholesky(correlation(squared_distances(scaled))[0] + 1e-9 * np.eye(n)) @ rng.standard_normal(
        n
    )


def branin(rows: Rows) -> Rows:
    """Branin's function on the unit square."""
    x, y = 15 * rows[:, 0] - 5, 15 * rows[:, 1]
    bowl = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return np.asarray(bowl + 10 * (1 - 1 / (8 * math.pi)) * np.cos(x) + 10)


Family = Callable[[np.random.Generator, int], tuple[Rows, Rows]]


def healthy() -> Iterator[tuple[str, int, float | None, Family]]:
    """Families with nothing wrong: name, measurements, the sem that is stated, and what measures so many settings."""
    for d, n in ((2, 12), (2, 30), (4, 20), (4, 40), (6, 40)):
        for noise in (0.05, 0.2):

            def draw(rng: np.random.Generator, n: int, d: int = d, noise: float = noise) -> tuple[Rows, Rows]:
                rows, y = own_kind(rng, d, n)
                return rows, 10 + y + noise * rng.standard_normal(n)

            yield f"own kind, d = {d}, n = {n}, noise {noise}", n, None, draw

    def plane(rng: np.random.Generator, n: int) -> tuple[Rows, Rows]:
        rows = rng.random((n, 2))
        return rows, branin(rows) + 2.0 * rng.standard_normal(n)

    def slope(rng: np.random.Generator, n: int) -> tuple[Rows, Rows]:
        rows = rng.random((n, 3))
        return rows, 5 + 2 * rows[:, 0] - rows[:, 1] + 0.1 * rng.standard_normal(n)

    yield "Branin, n = 30, noise 2", 30, None, plane
    yield "straight, d = 3, n = 24, sem 0.1 stated", 24, 0.1, slope


def knows(planner: BayesianPlanner, rows: Rows, y: Rows) -> bool:
    """Whether the model explains half of the variation of fresh measurements."""
    model = planner.surrogate()
    error = np.square(y - model.predict_rows(rows)[0][:, 0]).mean()
    return bool(error <= (1.0 - KNOWS) * np.var(y))


def sick() -> Iterator[tuple[str, str, Callable[[np.random.Generator], BayesianPlanner]]]:
    """Families with one thing wrong, with the finding that should say so."""

    def chance(rng: np.random.Generator) -> BayesianPlanner:
        return told(rng.random((24, 3)), rng.standard_normal(24))

    def outlier(rng: np.random.Generator) -> BayesianPlanner:
        rows, y = own_kind(rng, 2, 30)
        y = 10 + y + 0.1 * rng.standard_normal(30)
        y[int(rng.integers(30))] += 5.0
        return told(rows, y)

    def uneven(rng: np.random.Generator) -> BayesianPlanner:
        rows, y = own_kind(rng, 2, 60)
        return told(rows, 10 + y + 1.5 * rows[:, 0] ** 3 * rng.standard_normal(60))

    def repeats(rng: np.random.Generator) -> BayesianPlanner:
        rows, y = own_kind(rng, 2, 10)
        return told(np.tile(rows, (2, 1)), 10 + np.tile(y, 2) + 0.3 * rng.standard_normal(20), sem=0.1)

    def trusting(rng: np.random.Generator) -> BayesianPlanner:
        rows = np.linspace(0, 1, 80)[:, None]
        return told(rows, 3 * np.sin(3 * rows[:, 0]) + rng.standard_normal(80), sem=0.03)

    yield "nothing but chance, d = 3, n = 24", "no-better-than-mean", chance
    yield "one measurement 5 sd of the function off, n = 30", "outlier", outlier
    yield "noise from 0 to 1.5 along a parameter, n = 60", "uneven-residuals", uneven
    yield "stated sem a third of the true one, 10 settings twice", "repeats-disagree", repeats
    yield "stated sem a thirtieth of the true one, no repeats, n = 80", "overconfident", trusting


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and say whether healthy models are accused too often."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=40)
    seeds = parser.parse_args(argv).seeds
    accused = total = 0
    for k, (name, n, sem, family) in enumerate(healthy()):
        counts: Counter[str] = Counter()
        loud = {True: 0, False: 0}
        of = {True: 0, False: 0}
        for seed in range(seeds):
            rows, y = family(np.random.default_rng([seed, k]), n + FRESH)
            planner = told(rows[:n], y[:n], sem)
            found = [item for item in health(planner).findings if item.severity != "note"]
            is_healthy = knows(planner, rows[n:], y[n:])
            of[is_healthy] += 1
            loud[is_healthy] += bool(found)
            if is_healthy:
                counts.update(item.name for item in found)
        accused, total = accused + loud[True], total + of[True]
        of_weak = f"{loud[False]} of {of[False]} weak ones"
        print(f"{name}: {loud[True]} of {of[True]} healthy accused {dict(counts)}, {of_weak}", flush=True)
    ends = binomtest(accused, total).proportion_ci(method="wilson")
    print(f"all: {accused} of {total} healthy accused ({ends.low:.1%} to {ends.high:.1%})", flush=True)
    for name, wanted, draw in sick():
        said = [health(draw(np.random.default_rng([seed, 7]))).names for seed in range(seeds)]
        hit = sum(wanted in names for names in said)
        others = Counter(item for names in said for item in names if item != wanted)
        print(f"sick: {name}: {wanted} in {hit} of {seeds}; beside it {dict(others)}", flush=True)
    return int(accused > MOST * total)


if __name__ == "__main__":
    sys.exit(main())
