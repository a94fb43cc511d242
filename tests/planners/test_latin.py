from __future__ import annotations

from collections import Counter

import pytest
from scipy.stats import qmc

from athanor.planners import (
    Categorical,
    Continuous,
    DesignImpossible,
    Integer,
    Problem,
)
from athanor.planners.latin import centred_discrepancy, latin_hypercube

from .designs import GOAL, cube, mixture, planner
from .problems import EVERYTHING


@pytest.mark.parametrize("runs", [1, 2, 7, 40])
def test_every_column_hits_each_stratum_once(runs: int) -> None:
    problem = Problem([Continuous("x", -3, 5), Continuous("rate", 1e-3, 10, log=True)], GOAL)
    points = planner(problem, "latin-hypercube", seed=3, runs=runs).points
    for parameter in problem.parameters:
        strata = [int(parameter.to_unit(point[parameter.name]) * runs) for point in points]
        assert sorted(strata) == list(range(runs))


def test_listed_values_are_taken_equally_often() -> None:
    problem = Problem([Integer("n", 1, 4), Categorical("s", ["a", "b", "c"]), Continuous("x", 0, 1)], GOAL)
    points = planner(problem, "latin-hypercube", runs=14).points
    assert sorted(Counter(p["n"] for p in points).values()) == [3, 3, 4, 4]
    assert sorted(Counter(p["s"] for p in points).values()) == [4, 5, 5]
    few = planner(Problem([Integer("n", 0, 99), Continuous("x", 0, 1)], GOAL), "latin-hypercube", runs=4).points
    assert sorted(p["n"] for p in few) == [12, 37, 62, 87]


def test_exchanges_make_it_more_even_than_random_hypercubes() -> None:
    found = latin_hypercube(cube(5), 30, 0)
    random = [qmc.discrepancy(qmc.LatinHypercube(5, scramble=False, rng=i).random(30)) ** 0.5 for i in range(50)]
    assert found.discrepancy == pytest.approx(centred_discrepancy(found.strata))
    assert found.discrepancy < min(random)
    assert found.discrepancy < 0.75 * found.first


def test_a_hypercube_within_linear_constraints_or_an_error() -> None:
    points = planner(EVERYTHING, "latin-hypercube", runs=12).points
    assert sorted(int(float(p["a"]) * 12) for p in points) == list(range(12))
    assert len(points) == 12
    with pytest.raises(DesignImpossible, match="d-optimal or sobol"):
        planner(mixture(3), "latin-hypercube", runs=8)
