from __future__ import annotations

import numpy as np
import pytest

from athanor.planners import Categorical, Continuous, Integer, LinearConstraint, Objective, Problem
from athanor.planners.space import Space, sobol
from athanor.planners.uniform import constrained_rows, reach, rows_of

GOAL = [Objective("f", "maximize")]
TRIANGLE = Problem([Continuous("a", 0, 1), Continuous("b", 0, 1)], GOAL, [LinearConstraint({"a": 1, "b": 1}, upper=1)])


def test_every_level_has_its_share():
    space = Space(Problem([Integer("n", 1, 3), Categorical("c", ["a", "b"]), Continuous("x", 0, 9)], GOAL))
    rows = rows_of(space, sobol(3, 3 * 1024, 0))
    assert [float((rows[:, 0] == v).mean()) for v in (0.0, 0.5, 1.0)] == pytest.approx([1 / 3] * 3, abs=0.01)
    assert rows[:, 1].mean() == pytest.approx(0.5, abs=0.01)
    assert (rows[:, 1] + rows[:, 2] == 1).all()
    assert rows[:, 3].mean() == pytest.approx(0.5, abs=0.01)


def test_a_triangle_is_filled_evenly():
    rows = constrained_rows(Space(TRIANGLE), 4096, 0)
    assert (rows.sum(axis=1) <= 1 + 1e-9).all() and (rows >= 0).all()
    assert rows.mean(axis=0) == pytest.approx([1 / 3, 1 / 3], abs=0.02)
    assert rows.var(axis=0) == pytest.approx([1 / 18, 1 / 18], rel=0.08)
    assert np.corrcoef(rows.T)[0, 1] == pytest.approx(-0.5, abs=0.04)


def test_a_mixture_keeps_its_sum_and_is_filled_evenly():
    mixture = Problem(
        [Continuous(n, 0, 1) for n in "abc"], GOAL, [LinearConstraint({"a": 1, "b": 1, "c": 1}, equals=1)]
    )
    rows = constrained_rows(Space(mixture), 4096, 0)
    assert rows.sum(axis=1) == pytest.approx(1.0)
    # A Dirichlet distribution with ones: variance 1/18.
    assert rows.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert rows.var(axis=0) == pytest.approx([1 / 18] * 3, rel=0.08)


def test_levels_change_where_the_constraint_allows_it():
    problem = Problem(
        [Continuous("x", 0, 10), Integer("n", 0, 10), Categorical("c", ["p", "q"])],
        GOAL,
        [LinearConstraint({"x": 1, "n": 1}, upper=10)],
    )
    space = Space(problem)
    rows = constrained_rows(space, 4096, 1)
    assert space.is_feasible(rows).all()
    # The share of n is proportional to the room it leaves x: 10 − n of 55.
    shares = [float((np.round(rows[:, 1] * 10) == n).mean()) for n in range(11)]
    assert shares == pytest.approx([(10 - n) / 55 for n in range(11)], abs=0.025)
    assert rows[:, 2].mean() == pytest.approx(0.5, abs=0.03)


def test_reach_ends_at_the_first_bound():
    low, high = reach(Space(TRIANGLE), np.array([[0.2, 0.3]]), np.array([[1.0, 0.0]]))
    assert (low[0], high[0]) == pytest.approx((-0.2, 0.5))


def test_the_same_arguments_give_the_same_rows():
    assert (constrained_rows(Space(TRIANGLE), 64, 3) == constrained_rows(Space(TRIANGLE), 64, 3)).all()
