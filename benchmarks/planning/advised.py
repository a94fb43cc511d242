"""Advice to a planner whose problem has a known answer: good, wrong, adversarial, and good with its labels permuted.

Each is one region as a hypothesis would state it, given before the first experiment. It says where good results lie,
with a standard deviation of 15 % of every range.

`good`: centred 5 % of each range (standard deviation) off the optimum.
`wrong`: half of each range away from the optimum, round the corner where need be; other options.
`adversarial`: at the decoy: among the better quarter of many points, the one farthest from the optimum.
`permuted`: the good region with what it says of each continuous parameter told of another one, all moved on by the same
number of places, such that the region is as far from the optimum as that makes it. Where the optimum lies at the same
place of every axis (Ackley, Levy, Rosenbrock, Griewank), shifts and turns alone set it apart, and it is half right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from athanor.planners.advice import Advice
from athanor.planners.problem import Categorical, Problem, Value
from benchmarks.planning.problems import Instance

KINDS = ("good", "wrong", "adversarial", "permuted")
WIDTH = 0.15
"""Standard deviation of an advised region, as a share of each parameter's range."""
MISS = 0.05
"""By which good advice misses the optimum, likewise."""
LOOKED = 512
"""Points among which an adversary, who knows the function, looks for a decoy."""


def decoy(
    problem: Problem, points: Sequence[Mapping[str, Value]], best: Mapping[str, Value], share: float
) -> Mapping[str, Value]:
    """Of the first `share` of points, which are ordered from the best to the worst, the one farthest from the best."""
    ideal = problem.to_unit(best)
    return max(points[: int(len(points) * share)], key=lambda values: math.dist(problem.to_unit(values), ideal))


def advice(kind: str, posed: Instance) -> list[Advice]:
    """The advice of that kind. Raises `KeyError` naming the kinds there are."""
    problem, best = posed.problem, posed.best
    rng = np.random.default_rng([posed.seed, 2028])
    at = np.array(problem.to_unit(best))
    options = np.array([isinstance(p, Categorical) for p in problem.parameters])
    near = np.where(options, at, np.clip(at + MISS * rng.standard_normal(len(at)), 0.0, 1.0))
    if kind == "good":
        centre = _values(problem, near, best)
    elif kind == "wrong":
        centre = _values(problem, (at + 0.5) % 1.0, _others(problem, best))
    elif kind == "adversarial":
        cube = rng.random((LOOKED, len(at)))
        centre = dict(decoy(problem, sorted(map(problem.from_unit, cube.tolist()), key=posed.truth), best, 0.25))
    elif kind == "permuted":
        rolls = [np.roll(near[~options], k) for k in range(1, int((~options).sum()))]
        moved = near.copy()
        moved[~options] = max(rolls, key=lambda row: float(np.square(row - at[~options]).sum()))
        centre = _values(problem, moved, best)
    else:
        raise KeyError(f"no advice {kind!r}; there are {', '.join(KINDS)}")
    return [Advice(id=kind, kind="region", center=centre, width=dict.fromkeys(centre, WIDTH))]


def _values(problem: Problem, position: np.ndarray, options: Mapping[str, Value]) -> dict[str, Value]:
    values = problem.from_unit(position.tolist())
    return values | {p.name: options[p.name] for p in problem.parameters if isinstance(p, Categorical)}


def _others(problem: Problem, best: Mapping[str, Value]) -> dict[str, Value]:
    return {
        p.name: next(level for level in p.values if level != best[p.name])
        for p in problem.parameters
        if isinstance(p, Categorical)
    }
