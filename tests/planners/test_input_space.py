from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from athanor.planners import (
    Cardinality,
    Categorical,
    Continuous,
    Exclusion,
    Integer,
    LinearConstraint,
    NonlinearConstraint,
    Objective,
    Problem,
)
from athanor.planners.space import InfeasibleSpace, Space

from .test_input_constraints import PARAMETERS, inputs

GOAL = [Objective("out", "maximize")]
SQUARE = [Continuous("x", -1, 1), Continuous("y", -1, 1)]
MIXTURE = [Continuous(n, 0, 1) for n in "abcdef"]
TO_ONE = LinearConstraint(dict.fromkeys("abcdef", 1.0), equals=1.0)


def points(problem, n, seed=0):
    space = Space(problem)
    return [problem.validate_point(space.decode(row)) for row in space.sample(n, seed)]


@settings(max_examples=40, deadline=None)
@given(st.lists(inputs(), min_size=1, max_size=3), st.integers(0, 5), st.booleans())
def test_no_sample_and_no_projection_violates(constraints, seed, summed):
    extra = [LinearConstraint({"a": 1.0, "b": 1.0}, upper=0.9)] * summed
    try:
        problem = Problem(PARAMETERS, GOAL, [*extra, *constraints])
    except ValidationError:
        return
    space = Space(problem)
    try:
        rows = space.sample(24, seed)
    except InfeasibleSpace as error:
        assert all(str(c) in str(error) for c in constraints)
        return
    assert len(rows) and space.is_feasible(rows).all()
    anywhere = space.project(np.random.default_rng(seed).random((50, space.width)))
    for row in [*rows, *anywhere[space.is_feasible(anywhere)]]:
        problem.validate_point(space.decode(row))
    # What is feasible already stays where it is.
    assert np.abs(space.project(rows) - rows).max() < 1e-6
    assert np.array_equal(space.sample(24, seed), rows)


def test_the_least_amount_is_not_undercut_by_stepping_out_of_what_is_excluded():
    """Just below 0.3 is out of the excluded condition, and too little by less than a row used to be forgiven."""
    rules = [Cardinality(["x", "y"], threshold=0.3), Exclusion({"x": {"above": 0.3, "below": 0.4}})]
    problem = Problem([Continuous("x", 0, 1), Continuous("y", 0, 1)], GOAL, rules)
    space = Space(problem)
    at = np.concatenate([np.linspace(0.28, 0.36, 33), [0.3 - 1e-9, 0.3 - 3e-9, 0.3 - 9e-9]])
    rows = np.stack([at, np.full(len(at), 0.5)], axis=1)
    kept = rows[space.is_feasible(rows)]
    moved = space.project(rows)
    assert space.is_feasible(moved).all()
    for row in [*kept, *moved]:
        problem.validate_point({"x": float(row[0]), "y": float(row[1])})


def test_a_point_is_feasible_for_the_space_if_it_is_for_the_problem():
    problem = Problem(PARAMETERS, GOAL, [Exclusion({"solvent": "DMF", "temperature": {"between": [60, 120]}})])
    space = Space(problem)
    rng = np.random.default_rng(0)
    for cube in rng.random((200, len(PARAMETERS))):
        values = problem.from_unit(cube)
        assert space.is_feasible(space.encode([values]))[0] == problem.input_constraints[0].is_satisfied(values)


def test_a_disc_is_filled_evenly():
    found = points(Problem(SQUARE, GOAL, [NonlinearConstraint("x**2 + y**2", upper=0.25)]), 200)
    radius = np.array([np.hypot(p["x"], p["y"]) for p in found])
    assert len(found) == 200 and radius.max() <= 0.5 + 1e-9
    assert 0.15 < (radius < 0.25).mean() < 0.4  # a quarter of the area
    angle = np.arctan2([p["y"] for p in found], [p["x"] for p in found])
    assert np.histogram(angle, bins=4, range=(-np.pi, np.pi))[0].min() > 30


def test_projection_onto_a_disc_is_near_the_nearest_point():
    problem = Problem(SQUARE, GOAL, [NonlinearConstraint("x**2 + y**2", upper=0.25)])
    space = Space(problem)
    outside = np.array([[1.0, 1.0], [0.5, 1.0], [0.9, 0.4], [0.5, 0.6]])
    moved = 2.0 * space.project(outside) - 1.0
    for start, end in zip(2.0 * outside - 1.0, moved, strict=True):
        size = float(np.hypot(*start))
        nearest = start * min(1.0, 0.5 / size)
        assert np.hypot(*end) <= 0.5
        assert np.abs(end - nearest).max() < 1e-5


def test_a_thin_ring_and_a_small_corner_are_found():
    ring = Problem(SQUARE, GOAL, [NonlinearConstraint("x**2 + y**2", lower=0.5, upper=0.5001)])
    angle = [np.arctan2(p["y"], p["x"]) for p in points(ring, 40)]
    assert len(angle) == 40
    assert np.histogram(angle, bins=4, range=(-np.pi, np.pi))[0].min() >= 3
    corner = Problem([Continuous(n, 0, 1) for n in "abcde"], GOAL, [NonlinearConstraint("a*b*c*d*e", lower=0.97)])
    assert len(points(corner, 20)) == 20


@pytest.mark.parametrize("most", [1, 2, 3])
def test_mixtures_of_few_are_sparse_add_up_and_use_every_support(most):
    problem = Problem(MIXTURE, GOAL, [TO_ONE, Cardinality([*"abcdef"], at_most=most, threshold=0.1)])
    found = points(problem, 256)
    supports = {tuple(n for n in "abcdef" if p[n] > 0) for p in found}
    assert max(map(len, supports)) == most
    assert {s for s in supports if len(s) == most} == set(itertools.combinations("abcdef", most))
    assert all(p[n] == 0 or p[n] >= 0.1 - 1e-9 for p in found for n in "abcdef")


def test_amounts_with_steps_are_sparse_too():
    problem = Problem(
        [Integer("n", 0, 4), Integer("m", 0, 4), Continuous("x", 0, 2)],
        GOAL,
        [
            Cardinality([*"nmx"], at_most=2, at_least=1, threshold=2),
            LinearConstraint({"n": 1, "m": 1, "x": 1}, upper=5),
        ],
    )
    found = points(problem, 64)
    assert {p["n"] for p in found} == {0, 2, 3, 4}
    assert {p["x"] for p in found} == {0.0, 2.0}


def test_an_amount_that_must_be_there_is_no_trace():
    problem = Problem(MIXTURE, GOAL, [Cardinality([*"abcdef"], at_least=6)])
    assert min(min(p.values()) for p in points(problem, 64)) >= 1e-3 - 1e-9


def test_what_is_excluded_at_one_level_is_allowed_at_the_others():
    problem = Problem(
        [Continuous("t", 0, 100), Categorical("s", ["a", "b"])],
        GOAL,
        [Exclusion({"s": "a", "t": {"above": 30}}), Exclusion({"s": "a", "t": {"below": 20}})],
    )
    found = points(problem, 64)
    a = [p["t"] for p in found if p["s"] == "a"]
    b = [p["t"] for p in found if p["s"] == "b"]
    assert len(a) >= 4 and min(a) >= 20 and max(a) <= 30
    assert min(b) < 20 and max(b) > 80


def test_an_exclusion_may_leave_an_end_of_a_range_alone():
    problem = Problem(
        [Continuous("rate", 0.01, 10, log=True), Categorical("s", ["a", "b"])],
        GOAL,
        [Exclusion({"s": "a", "rate": {"above": 0.01}})],
    )
    found = points(problem, 40)
    assert {p["rate"] for p in found if p["s"] == "a"} == {0.01}
    assert len({p["rate"] for p in found if p["s"] == "b"}) > 10


def test_the_only_combinations_left_are_found():
    problem = Problem(
        [Integer("n", 1, 4), Categorical("s", ["a", "b", "c"])],
        GOAL,
        [Exclusion({"n": {"above": 1}, "s": ["a", "b"]}), Exclusion({"s": "c", "n": {"below": 4}})],
    )
    found = {(p["n"], p["s"]) for p in points(problem, 64)}
    assert found == {(1, "a"), (1, "b"), (4, "c")}


@pytest.mark.parametrize(
    "constraints",
    [
        [NonlinearConstraint("x**2 + y**2", upper=0.1), NonlinearConstraint("x + y", lower=1.0)],
        [NonlinearConstraint("sqrt(-1 - x**2)", lower=0.0)],
        [NonlinearConstraint("x*y", lower=7.0)],
        [Exclusion({"x": {"below": 0.2}}), Exclusion({"x": {"above": 0.1}})],
        [LinearConstraint({"x": 1, "y": 1}, equals=2.0), Exclusion({"y": {"above": 0.5}})],
    ],
)
def test_constraints_that_leave_nothing_are_named(constraints):
    with pytest.raises(InfeasibleSpace, match="points tried") as error:
        Space(Problem(SQUARE, GOAL, constraints)).sample(8, seed=0)
    assert all(str(c) in str(error.value) for c in constraints)


def test_a_mixture_that_cannot_add_up_is_named():
    low = [Continuous(n, 0, 0.3) for n in "abcdef"]
    with pytest.raises(InfeasibleSpace, match="at most 3 of"):
        Space(Problem(low, GOAL, [TO_ONE, Cardinality([*"abcdef"], 3)])).sample(8, seed=0)
    assert Space(Problem(low, GOAL, [TO_ONE, Cardinality([*"abcdef"], 4)])).sample(8, seed=0).shape == (8, 6)


def test_values_stay_short_where_the_constraint_lets_them():
    problem = Problem(
        [Continuous("t", 20, 160), Continuous("x", 0, 1)], GOAL, [NonlinearConstraint("t * x", upper=80.0)]
    )
    found = points(problem, 64)
    short = [p for p in found if round(p["t"], 5) == p["t"] and round(p["x"], 5) == p["x"]]
    assert len(short) > 32
