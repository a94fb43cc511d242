"""Problems that designs are tested on, and what to do with their points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from athanor.planners import Categorical, Continuous, DesignOptions, DesignPlanner, LinearConstraint, Objective, Problem
from athanor.planners.problem import Value

GOAL = [Objective("yield", "maximize")]


def cube(p: int) -> Problem:
    return Problem([Continuous(name, -1, 1) for name in "ABCDEFGHIJK"[:p]], GOAL)


def mixture(q: int) -> Problem:
    names = "abcdef"[:q]
    return Problem([Continuous(n, 0, 1) for n in names], GOAL, [LinearConstraint(dict.fromkeys(names, 1), equals=1)])


def planner(problem: Problem, design: Any, seed: int = 0, **options: Any) -> DesignPlanner:
    return DesignPlanner(problem, seed, options=DesignOptions(design, **options))


def table(points: Sequence[dict[str, Value]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([[float(value) for value in point.values()] for point in points])


def category(name: str, m: int) -> Categorical:
    return Categorical(name, [f"{name}{i}" for i in range(m)])


def unit(name: str) -> Continuous:
    return Continuous(name, 0, 1)
