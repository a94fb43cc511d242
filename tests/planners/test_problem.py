from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from athanor.planners import (
    Categorical,
    Continuous,
    InvalidPoint,
    LinearConstraint,
    Objective,
    OutcomeConstraint,
    Problem,
)

from .problems import EVERYTHING
from .test_parameters import parameters

POINT = {
    "temperature": 60,
    "rate": 0.1,
    "a": 0.25,
    "b": 0.75,
    "cycles": 3,
    "dose": 2,
    "solvent": "water",
}


@st.composite
def problems(draw):
    count = draw(st.integers(1, 5))
    chosen = [draw(parameters(st.just(f"p{i}"))) for i in range(count)]
    goals = st.one_of(
        st.sampled_from([{"goal": "maximize"}, {"goal": "minimize"}]),
        st.floats(-10, 10).map(lambda t: {"target": t}),
    )
    objectives = [Objective(f"o{i}", **draw(goals)) for i in range(draw(st.integers(1, 3)))]
    constraints = [OutcomeConstraint("c", upper=draw(st.floats(-5, 5)), probability=draw(st.floats(0.5, 0.99)))]
    return Problem(chosen, objectives, constraints[: draw(st.integers(0, 1))])


@given(problems())
def test_every_problem_survives_json(problem):
    again = Problem.model_validate_json(problem.model_dump_json())
    assert again == problem
    assert again.digest() == problem.digest()


@given(problems(), st.data())
def test_points_of_a_problem_are_valid(problem, data):
    position = [data.draw(st.floats(0, 1)) for _ in problem.parameters]
    point = problem.from_unit(position)
    assert problem.validate_point(point) == point
    assert len(problem.to_unit(point)) == len(position)


@given(st.sampled_from(sorted(POINT)), st.sampled_from([math.nan, math.inf, True, None, "?", 1e9, -1e9, [], 1j]))
def test_hostile_points_are_refused(name, value):
    with pytest.raises(InvalidPoint) as error:
        EVERYTHING.validate_point({**POINT, name: value})
    assert error.value.parameter == name


def test_points_come_back_typed_and_ordered():
    point = EVERYTHING.validate_point({**POINT, "cycles": 3.0, "temperature": 60})
    assert list(point) == list(EVERYTHING.names)
    assert type(point["cycles"]) is int
    assert type(point["temperature"]) is float


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({k: v for k, v in POINT.items() if k != "dose"}, "dose.*missing"),
        ({**POINT, "pressure": 1.0}, "no parameter"),
        ({**POINT, "a": 0.3}, "violates"),
        ({**POINT, "temperature": 120.0, "cycles": 20}, "violates"),
        ([1, 2], "mapping"),
    ],
)
def test_points_that_do_not_belong_are_refused(values, match):
    with pytest.raises(InvalidPoint, match=match):
        EVERYTHING.validate_point(values)


def test_measured_points_may_lie_off_a_linear_constraint():
    assert EVERYTHING.validate_point({**POINT, "a": 0.3}, linear=False)["a"] == 0.3


X = Continuous("x", 0, 1)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Problem([], [Objective("f", "maximize")]), "at least 1"),
        (lambda: Problem([X], []), "at least 1"),
        (lambda: Problem([X, X], [Objective("f", "maximize")]), "x is given twice"),
        (lambda: Problem([X], [Objective("x", "maximize")]), "both a parameter and an outcome"),
        (lambda: Problem([X], [Objective("f", "maximize"), Objective("f", "minimize")]), "f is given twice"),
        (lambda: Objective("f"), "goal"),
        (lambda: Objective("f", "maximize", target=1.0), "goal"),
        (lambda: Objective("f", "maximise"), "maximize"),
        (lambda: Objective("f", target=1.0, reference=0.0), "above 0"),
        (lambda: OutcomeConstraint("c"), "lower"),
        (lambda: OutcomeConstraint("c", upper=1, probability=1.0), "less than 1"),
        (lambda: OutcomeConstraint("c", lower=2, upper=1), "below"),
        (lambda: LinearConstraint({"x": 1}), "give lower"),
        (lambda: LinearConstraint({"x": 1}, lower=0, equals=1), "not both"),
        (lambda: LinearConstraint({"x": 0}, lower=0), "no effect"),
        (lambda: Problem([X], [Objective("f", "maximize")], [LinearConstraint({"y": 1}, lower=0)]), "no parameter"),
        (lambda: Problem([X], [Objective("f", "maximize")], [LinearConstraint({"x": 1}, lower=2)]), "only reaches"),
        (
            lambda: Problem(
                [Categorical("s", ["a", "b"])], [Objective("f", "maximize")], [LinearConstraint({"s": 1}, lower=0)]
            ),
            "categorical",
        ),
        (
            lambda: Problem(
                [Continuous("x", 1, 9, log=True)], [Objective("f", "maximize")], [LinearConstraint({"x": 1}, upper=4)]
            ),
            "logarithmic",
        ),
    ],
)
def test_impossible_problems_are_refused(make, match):
    with pytest.raises(ValidationError, match=match):
        make()


def test_scores_put_better_first():
    assert Objective("f", "maximize").score(2) > Objective("f", "maximize").score(1)
    assert Objective("f", "minimize").score(1) > Objective("f", "minimize").score(2)
    assert Objective("f", target=5).score(4) > Objective("f", target=5).score(7)
    assert Objective("f", "minimize", reference=10.7).reference_score == -10.7
    assert Objective("f", target=5, reference=2.0).reference_score == -2.0


def test_outcomes_and_units_are_found_by_name():
    assert EVERYTHING.outcomes == ("yield", "pressure")
    assert EVERYTHING.unit("yield") == "percent"
    assert EVERYTHING.unit("temperature") == "degC"
    assert EVERYTHING.unit("pressure") is None
    with pytest.raises(KeyError, match="temperature"):
        EVERYTHING.parameter("temprature")


def test_the_digest_sees_every_field():
    plain = Problem([X], [Objective("f", "maximize")])
    others = [
        Problem([Continuous("x", 0, 2)], [Objective("f", "maximize")]),
        Problem([X], [Objective("f", "minimize")]),
        Problem([X], [Objective("f", "maximize", unit="V")]),
        Problem([X], [Objective("f", "maximize")], [OutcomeConstraint("c", upper=1)]),
    ]
    assert len({p.digest() for p in [plain, *others]}) == 5


def test_equality_holds_within_rounding():
    mix = LinearConstraint({"a": 1, "b": 1, "c": 1}, equals=1.0)
    assert mix.is_satisfied({"a": 0.1, "b": 0.2, "c": 0.7})
    assert not mix.is_satisfied({"a": 0.1, "b": 0.2, "c": 0.7001})


def test_feasible_is_what_keeps_every_bound_and_was_measured():
    problem = Problem(
        [Continuous("x", 0, 1)],
        [Objective("yield", "maximize")],
        [OutcomeConstraint("purity", lower=0.9), OutcomeConstraint("load", lower=1.0, upper=2.0)],
    )
    assert problem.is_feasible({"purity": 0.9, "load": 2.0})
    assert problem.is_feasible({"purity": 1.0, "load": 1.5, "yield": math.nan})
    for change in ({"purity": 0.89}, {"load": 0.99}, {"load": 2.01}, {"load": math.nan}, {"purity": math.inf}):
        assert not problem.is_feasible({"purity": 0.95, "load": 1.5, **change})
    assert not problem.is_feasible({"purity": 0.95})
    assert Problem([Continuous("x", 0, 1)], [Objective("yield", "maximize")]).is_feasible({})
