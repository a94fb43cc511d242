from __future__ import annotations

import numpy as np
import pytest

from athanor.planners import Categorical, Continuous, Integer, LinearConstraint, Objective, Problem
from athanor.planners.space import InfeasibleSpace, Space, sobol

from .problems import EVERYTHING, PLAIN

GOAL = [Objective("f", "maximize")]


def test_points_survive_encoding():
    space = Space(EVERYTHING)
    rows = space.sample(32, seed=3)
    again = space.encode([space.decode(row) for row in rows])
    assert np.abs(again - rows).max() < 2e-5
    assert rows.shape == (32, 9)


def test_samples_meet_every_constraint_and_use_every_level():
    space = Space(EVERYTHING)
    points = [EVERYTHING.validate_point(space.decode(row)) for row in space.sample(64, seed=1)]
    assert {p["solvent"] for p in points} == {"EtOH", "MeCN", "water"}
    assert {p["dose"] for p in points} == {1, 2, 5}
    assert min(p["a"] for p in points) < 0.1 < 0.9 < max(p["a"] for p in points)


def test_samples_depend_on_the_seed_alone():
    space = Space(EVERYTHING)
    assert np.array_equal(space.sample(16, seed=5), Space(EVERYTHING).sample(16, seed=5))
    assert not np.array_equal(space.sample(16, seed=5), space.sample(16, seed=6))


def test_mixtures_fill_their_simplex():
    mixture = Problem(
        [Continuous(n, 0, 1) for n in "abc"], GOAL, [LinearConstraint({"a": 1, "b": 1, "c": 1}, equals=1.0)]
    )
    space = Space(mixture)
    rows = space.sample(128, seed=0)
    assert np.abs(rows.sum(axis=1) - 1).max() < 1e-6
    assert (rows.min(axis=1) > 0.1).mean() > 0.1  # the inside, not the faces alone
    assert (rows.min(axis=1) < 0.05).mean() > 0.1


def test_projection_is_the_nearest_feasible_point():
    mixture = Problem(
        [Continuous("a", 0, 1), Continuous("b", 0, 1)], GOAL, [LinearConstraint({"a": 1, "b": 1}, equals=1)]
    )
    projected = Space(mixture).project(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.2], [0.9, 0.3]]))
    assert projected == pytest.approx(np.array([[0.5, 0.5], [1, 0], [0.4, 0.6], [0.8, 0.2]]), abs=1e-6)


def test_discrete_values_are_held_while_the_rest_moves():
    problem = Problem(
        [Integer("n", 1, 5), Continuous("x", 0, 10)], GOAL, [LinearConstraint({"n": 1, "x": 1}, equals=6)]
    )
    space = Space(problem)
    for row in space.sample(20, seed=0):
        point = problem.validate_point(space.decode(row))
        assert point["n"] + point["x"] == pytest.approx(6)


def test_constraints_that_exclude_each_other_are_refused():
    problem = Problem(
        [Continuous("a", 0, 1), Continuous("b", 0, 1)],
        GOAL,
        [LinearConstraint({"a": 1, "b": 1}, upper=0.5), LinearConstraint({"a": 1, "b": 1}, lower=0.9)],
    )
    with pytest.raises(InfeasibleSpace, match=r"0\.5"):
        Space(problem).sample(8, seed=0)


def test_a_finite_space_is_listed_once():
    problem = Problem([Integer("n", 1, 3), Categorical("s", ["a", "b"])], GOAL)
    space = Space(problem)
    assert space.combinations == 6
    assert len(space.sample(64, seed=0)) == 6


def test_unit_positions_and_rows_agree():
    space = Space(EVERYTHING)
    cube = sobol(7, 16, 0)
    rows = space.from_cube(cube)
    again = space.from_cube(np.clip(space.to_cube(rows), 0, 1))
    discrete = space.discrete_columns
    assert np.array_equal(again[:, [6]], rows[:, [6]]) or discrete
    assert Space(PLAIN).to_cube(Space(PLAIN).from_cube(cube[:, :2])) == pytest.approx(cube[:, :2])
