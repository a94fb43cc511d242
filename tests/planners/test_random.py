from __future__ import annotations

import numpy as np
from scipy import stats

from athanor.planners import RandomPlanner
from athanor.planners.problem import Continuous, Objective, Problem

from .problems import EVERYTHING


def test_points_are_uniform_and_log_uniform() -> None:
    problem = Problem([Continuous("x", -2, 3), Continuous("r", 1e-3, 10, log=True)], [Objective("f", "maximize")])
    points = RandomPlanner(problem, seed=5).suggest(400)
    x = np.array([c.values["x"] for c in points], float)
    r = np.log10(np.array([c.values["r"] for c in points], float))
    assert stats.kstest(x, "uniform", args=(-2, 5)).pvalue > 1e-3
    assert stats.kstest(r, "uniform", args=(-3, 4)).pvalue > 1e-3


def test_the_number_decides_and_points_satisfy_everything() -> None:
    planner = RandomPlanner(EVERYTHING, seed=1)
    points = planner.suggest(12)
    for candidate in points:
        assert EVERYTHING.validate_point(candidate.values)
    assert RandomPlanner(EVERYTHING, seed=1).suggest(1, number=9)[0] == points[8]
    assert RandomPlanner(EVERYTHING, seed=2).suggest(1)[0].values != points[0].values
