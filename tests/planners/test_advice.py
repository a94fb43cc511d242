from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from athanor.planners import Advice, Categorical, Continuous, InvalidPoint, Objective, Problem
from athanor.planners.advice import BETA, EPSILON

PROBLEM = Problem(
    [Continuous("x", 0, 10), Continuous("y", 1, 100, log=True), Categorical("s", ["a", "b", "c"])],
    [Objective("f", "maximize")],
)
UP = Advice(id="h1", kind="monotone", parameter="x", direction="increase")
AROUND = Advice(id="h2", kind="region", center={"x": 8, "y": 10.0, "s": "b"}, width={"x": 0.1, "y": 0.2, "s": 0.5})


@pytest.mark.parametrize("advice", [UP, AROUND])
def test_advice_survives_json(advice):
    assert Advice.model_validate_json(advice.model_dump_json()) == advice


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.integers(0, 1000), st.floats(0, 1))
def test_the_prior_is_bounded_and_decays(position, observations, weight):
    for advice in (UP, AROUND):
        advice = advice.model_copy(update={"weight": weight})
        term = float(advice.log_prior(np.array([position]), PROBLEM, observations)[0])
        assert weight * BETA * math.log(EPSILON) / (1 + observations) - 1e-12 <= term <= 1e-12


def test_the_density_is_highest_where_the_advice_points():
    positions = np.array([[0.8, 0.5, 0.5], [0.2, 0.5, 0.5], [0.8, 0.5, 1.0]])
    region = AROUND.log_density(positions, PROBLEM)
    assert region[0] == pytest.approx(0.0)
    assert region[1] < region[0]
    assert region[2] < region[0]
    up = UP.log_density(np.array([[1.0, 0, 0], [0.5, 0, 0]]), PROBLEM)
    assert up[0] == 0.0
    assert up[1] < 0.0
    down = UP.model_copy(update={"direction": "decrease"}).log_density(np.array([[0.0, 0, 0]]), PROBLEM)
    assert down[0] == 0.0


def test_advice_given_later_counts_from_then():
    assert UP.model_copy(update={"given_at": 10}).strength(10) == BETA
    assert UP.strength(10) == pytest.approx(BETA / 11)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "monotone", "parameter": "x"},
        {"kind": "monotone", "direction": "increase"},
        {"kind": "region"},
        {"kind": "region", "center": {"x": 1.0}, "width": {"y": 0.1}},
        {"kind": "region", "center": {"x": 1.0}, "width": {"x": 0.0}},
        {"kind": "region", "center": {"x": 1.0}, "width": {"x": 0.1}, "parameter": "x"},
        {"kind": "bounds", "parameter": "x"},
        {"kind": "monotone", "parameter": "x", "direction": "increase", "weight": 2.0},
    ],
)
def test_incomplete_advice_is_refused(fields):
    with pytest.raises(ValidationError):
        Advice(id="h", **fields)


def test_advice_must_fit_the_problem():
    with pytest.raises(ValueError, match="no parameter"):
        Advice(id="h", kind="monotone", parameter="z", direction="increase").validate_for(PROBLEM)
    with pytest.raises(ValueError, match="categorical"):
        Advice(id="h", kind="monotone", parameter="s", direction="increase").validate_for(PROBLEM)
    with pytest.raises(InvalidPoint):
        Advice(id="h", kind="region", center={"x": 11.0}, width={"x": 0.1}).validate_for(PROBLEM)
