from __future__ import annotations

import math

import numpy as np
import pytest

from athanor.planners import (
    BayesianPlanner,
    Categorical,
    Continuous,
    Integer,
    LinearConstraint,
    Objective,
    Observation,
    Problem,
    sensitivity,
)
from athanor.planners.explanations import Sensitivity
from athanor.planners.hyperparameters import FitFailed
from athanor.planners.space import Space

GOAL = [Objective("f", "maximize", unit="V")]
ISHIGAMI = Problem([Continuous(n, -math.pi, math.pi) for n in ("x", "y", "z")], GOAL)
TRIANGLE = Problem([Continuous("a", 0, 1), Continuous("b", 0, 1)], GOAL, [LinearConstraint({"a": 1, "b": 1}, upper=1)])
MIXED = Problem(
    [Continuous("x", 0, 10), Integer("n", 1, 3), Categorical("s", ["p", "q"]), Continuous("idle", 0, 1)], GOAL
)
MIXED_PARTS = np.array([100 / 12, 4.0 * 2 / 3, 0.25 * 4, 0.0])


def ishigami(x, y, z):
    """Ishigami and Homma 1990, a = 7, b = 0.1: first-order 0.3139, 0.4424, 0; total 0.5576, 0.4424, 0.2437."""
    return np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x)


def mixed(v):
    return v["x"] + 2.0 * v["n"] + 2.0 * (v["s"] == "q")


def told(problem, rows, outcome):
    planner = BayesianPlanner(problem, seed=0)
    space = Space(problem)
    for row in rows:
        values = space.decode(row)
        planner.ingest([Observation(values=values, outcomes={"f": outcome(values)})])
    return planner


def as_it_is(function, rows):
    return function(rows)


def test_the_estimators_know_ishigami():
    def function(rows):
        return ishigami(*(2 * math.pi * rows.T - math.pi))

    first, total, shared = sensitivity._separate(Space(ISHIGAMI), [function], as_it_is)
    assert first[0] == pytest.approx([0.3139, 0.4424, 0.0], abs=0.03)
    assert total[0] == pytest.approx([0.5576, 0.4424, 0.2437], abs=0.03)
    assert shared[0, 2] == pytest.approx(0.2437, abs=0.04)
    assert shared[0, 1] == pytest.approx(0.0, abs=0.04) and shared[1, 2] == pytest.approx(0.0, abs=0.04)


def test_a_model_with_plenty_of_data_knows_ishigami():
    space = Space(ISHIGAMI)
    planner = told(ISHIGAMI, space.sample(256, 0), lambda v: float(ishigami(v["x"], v["y"], v["z"])))
    found = sensitivity.sensitivity(planner)
    assert not found.is_tied and found.what == sensitivity.SEPARATE
    assert [i.parameter for i in found.of("f")] == ["x", "y", "z"]
    assert [i.first for i in found.of("f")] == pytest.approx([0.3139, 0.4424, 0.0], abs=0.05)
    assert [i.total for i in found.of("f")] == pytest.approx([0.5576, 0.4424, 0.2437], abs=0.05)
    pairs = {(i.first, i.second): i for i in found.interactions}
    assert pairs["x", "z"].share == pytest.approx(0.2437, abs=0.06)
    assert pairs["x", "z"].low > pairs["x", "y"].high
    # Together: 0.76, 0.56 (with what they share) and 0.44.
    assert sensitivity.pairs(found, ISHIGAMI.names) == [("x", "y"), ("x", "z"), ("y", "z")]
    assert Sensitivity.model_validate_json(found.model_dump_json()) == found


def test_an_additive_function_of_mixed_parameters():
    found = sensitivity.sensitivity(told(MIXED, Space(MIXED).sample(48, 0), mixed))
    shares = MIXED_PARTS / MIXED_PARTS.sum()
    assert [i.first for i in found.of("f")] == pytest.approx(shares.tolist(), abs=0.03)
    assert [i.total for i in found.of("f")] == pytest.approx(shares.tolist(), abs=0.03)
    assert all(i.share < 0.03 for i in found.interactions)
    for item, share in zip(found.of("f"), shares, strict=True):
        assert item.first_low - 0.02 <= share <= item.first_high + 0.02
        assert item.first_low <= item.first <= item.first_high


def test_what_little_data_leave_open_is_in_the_intervals():
    space = Space(MIXED)
    few = sensitivity.sensitivity(told(MIXED, space.sample(8, 0), mixed)).of("f")
    many = sensitivity.sensitivity(told(MIXED, space.sample(48, 0), mixed)).of("f")
    assert few[0].first_high - few[0].first_low > 3 * (many[0].first_high - many[0].first_low)
    # A parameter that nothing is known of is not called unimportant.
    assert few[3].total is not None and few[3].total_high is not None and few[3].total_high > 0.05


def test_tied_parameters_have_what_is_said_of_them():
    # f = a, even on a + b ≤ 1: V = 1/18, Var E[a|b] = V/4, E Var[a|b] = 1/24.
    first, total = sensitivity._tied(Space(TRIANGLE), [lambda rows: rows[:, 0]], as_it_is)
    assert first[0] == pytest.approx([1.0, 0.25], abs=0.04)
    assert total[0] == pytest.approx([0.75, 0.0], abs=0.04)
    found = sensitivity.sensitivity(told(TRIANGLE, Space(TRIANGLE).sample(30, 0), lambda v: v["a"]))
    assert found.is_tied and found.what == sensitivity.TIED and found.interactions == ()
    assert [i.first for i in found.of("f")] == pytest.approx([1.0, 0.25], abs=0.06)
    assert [i.total for i in found.of("f")] == pytest.approx([0.75, 0.0], abs=0.06)


def test_a_parameter_of_an_exact_sum_cannot_move_alone():
    problem = Problem(
        [Continuous("a", 0, 1), Continuous("b", 0, 1), Continuous("t", 0, 1)],
        GOAL,
        [LinearConstraint({"a": 1, "b": 1}, equals=1)],
    )
    found = sensitivity.sensitivity(told(problem, Space(problem).sample(30, 0), lambda v: v["a"] + v["t"])).of("f")
    assert [i.total is None for i in found] == [True, True, False]
    # a and b = 1 − a say the same.
    assert [i.first for i in found] == pytest.approx([0.5, 0.5, 0.5], abs=0.06)
    assert found[2].total == pytest.approx(0.5, abs=0.05)


def test_levels_move_where_the_constraint_lets_them():
    problem = Problem(
        [Continuous("x", 0, 10), Integer("n", 0, 10)], GOAL, [LinearConstraint({"x": 1, "n": 1}, upper=10)]
    )
    space = Space(problem)
    _, total = sensitivity._tied(space, [lambda rows: rows[:, 1]], as_it_is)
    rows = sensitivity.constrained_rows(space, 4096, 1)
    left = np.floor(10 - 10 * rows[:, 0] + 1e-9)
    # Given x, n is even on 0..left: variance ((left + 1)² − 1) / 12 in levels.
    expected = (((left + 1) ** 2 - 1) / 12).mean() / np.var(10 * rows[:, 1])
    assert total[0] == pytest.approx([0.0, expected], abs=0.06)


def test_a_constant_has_no_shares():
    found = sensitivity.sensitivity(told(TRIANGLE, Space(TRIANGLE).sample(6, 0), lambda v: 1.0))
    assert all(0.0 <= i.first <= 1.0 for i in found.of("f"))
    flat = np.ones((1, 64))
    assert sensitivity._correlation(flat, flat) == pytest.approx([0.0])


def test_the_same_model_gives_the_same_indices():
    planner = told(MIXED, Space(MIXED).sample(12, 0), mixed)
    assert sensitivity.sensitivity(planner) == sensitivity.sensitivity(BayesianPlanner.from_json(planner.to_json()))


def test_without_a_model_nothing_is_said():
    with pytest.raises(FitFailed):
        sensitivity.sensitivity(BayesianPlanner(MIXED))
