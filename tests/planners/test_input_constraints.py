from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from athanor.planners import (
    Cardinality,
    Categorical,
    Condition,
    ConstraintViolated,
    Continuous,
    Exclusion,
    Integer,
    InvalidPoint,
    LinearConstraint,
    NonlinearConstraint,
    Objective,
    Ordinal,
    Problem,
)

from .problems import EVERYTHING

PARAMETERS = [
    Continuous("temperature", 20, 160, unit="degC"),
    Categorical("solvent", ["DMF", "EtOH", "water"]),
    Continuous("a", 0, 1, unit="mg"),
    Continuous("b", 0, 2, unit="mg"),
    Integer("c", 0, 5, unit="mg"),
    Ordinal("d", [0, 0.5, 2], unit="mg"),
    Continuous("rate", 1e-3, 10, log=True),
]
GRAMS = Continuous("a", 0, 1, unit="g")
GOAL = [Objective("f", "maximize")]
POINT = {"temperature": 100.0, "solvent": "DMF", "a": 0.5, "b": 0.0, "c": 0, "d": 0.0, "rate": 1.0}
HOT = Exclusion({"solvent": "DMF", "temperature": {"above": 120}})
FEW = Cardinality(["a", "b", "c", "d"], at_most=2, at_least=1, threshold=0.05)
CURVED = NonlinearConstraint("a * temperature + log10(rate)", lower=10.0, upper=80.0)
ALL = Problem(PARAMETERS, GOAL, [HOT, FEW, CURVED])


@st.composite
def conditions(draw, parameter):
    if isinstance(parameter, Categorical):
        values = draw(st.lists(st.sampled_from(parameter.values), min_size=1, max_size=2, unique=True))
        return values[0] if len(values) == 1 else values
    low, high = float(parameter.from_unit(0.0)), float(parameter.from_unit(1.0))
    one, other = sorted(low + (high - low) * draw(st.integers(1, 9)) / 10 for _ in range(2))
    kinds = [{"above": one}, {"below": other}] + ([{"between": (one, other)}] if one < other else [])
    if not isinstance(parameter, Continuous):
        kinds.append(list(parameter.levels)[: draw(st.integers(1, 2))])
    return draw(st.sampled_from(kinds))


@st.composite
def inputs(draw, parameters=tuple(PARAMETERS)):
    """A constraint on parameters that each make sense; some leave nothing."""
    kind = draw(st.sampled_from(["excluded", "cardinality", "nonlinear"]))
    if kind == "excluded":
        chosen = draw(st.lists(st.sampled_from(parameters), min_size=2, max_size=3, unique_by=lambda p: p.name))
        return Exclusion({p.name: draw(conditions(p)) for p in chosen})
    if kind == "cardinality":
        names = draw(st.permutations(["a", "b", "c", "d"]))[: draw(st.integers(2, 4))]
        most = draw(st.integers(1, len(names)))
        threshold = draw(st.sampled_from([0.05, 0.3] if most == len(names) else [None, 0.05, 0.3]))
        return Cardinality(names, at_most=most, at_least=draw(st.integers(0, most)), threshold=threshold)
    text = draw(
        st.sampled_from(["a**2 + (b/2)**2", "a*temperature", "log(temperature - 60)", "rate * b", "sqrt(a) + c"])
    )
    bound = draw(st.floats(0.05, 5.0))
    return NonlinearConstraint(text, **draw(st.sampled_from([{"upper": bound}, {"lower": bound}])))


@given(st.lists(inputs(), max_size=4))
def test_every_problem_survives_json(constraints):
    try:
        problem = Problem(PARAMETERS, GOAL, constraints)
    except ValidationError as error:
        assert "never so" in str(error) or "every point" in str(error)
        return
    again = Problem.model_validate_json(problem.model_dump_json())
    assert again == problem
    assert again.digest() == problem.digest()
    assert [str(c) for c in again.input_constraints] == [str(c) for c in constraints]


def test_problems_without_them_are_what_they_were():
    assert EVERYTHING.digest() == "2c5ef6fb325894f9ae8bb23e9b1fef561979219d42a8c88506916661d2b8b4db"
    assert EVERYTHING.input_constraints == ()


@pytest.mark.parametrize(
    ("changes", "constraint", "match"),
    [
        ({"temperature": 120.1}, HOT, r"solvent\+temperature = '120.1|DMF, 120.1'.*Change solvent or temperature"),
        ({"b": 0.5, "c": 1}, FEW, r"at least 1 and at most 2 of a, b, c, d non-zero.*Set 1 of a, b, c to 0"),
        ({"a": 0.0}, FEW, "Give 1 of a, b, c, d a value above 0"),
        ({"b": 0.049}, FEW, "Set b to 0 or to 0.05 at least"),
        ({"temperature": 120.0, "a": 0.9}, CURVED, "comes to 108 here: change a or temperature or rate"),
    ],
)
def test_a_point_that_violates_is_refused_with_constraint_and_remedy(changes, constraint, match):
    with pytest.raises(ConstraintViolated, match=match) as error:
        ALL.validate_point({**POINT, **changes})
    assert isinstance(error.value, InvalidPoint)
    assert error.value.constraint == str(constraint)
    assert ALL.validate_point({**POINT, **changes}, linear=False)  # what was measured was measured


@pytest.mark.parametrize(
    "changes", [{}, {"temperature": 120.0}, {"solvent": "EtOH", "temperature": 150.0}, {"b": 0.05}, {"d": 0.5}]
)
def test_what_lies_on_a_bound_is_allowed(changes):
    assert ALL.validate_point({**POINT, **changes})


def test_rounding_is_no_violation():
    problem = Problem([Continuous("a", 0, 1), Continuous("b", 0, 9)], GOAL, [NonlinearConstraint("a*b", upper=0.3)])
    assert problem.validate_point({"a": 0.1, "b": 3.0})  # 0.30000000000000004
    with pytest.raises(ConstraintViolated):
        problem.validate_point({"a": 0.1, "b": 3.00001})


def test_no_value_is_a_violation():
    problem = Problem([Continuous("a", -1, 1)], GOAL, [NonlinearConstraint("log(a)", upper=5.0)])
    assert problem.validate_point({"a": 0.5})
    with pytest.raises(ConstraintViolated, match="no finite value here"):
        problem.validate_point({"a": -0.5})


@pytest.mark.parametrize(
    ("condition", "holds", "fails"),
    [
        ("DMF", ["DMF"], ["EtOH"]),
        (["DMF", "water"], ["DMF", "water"], ["EtOH"]),
        ({"above": 3}, [3.1, 4], [3, 3 + 1e-12, 2]),
        ({"below": 3}, [2.9], [3, 3 - 1e-12, 4]),
        ({"above": 1, "below": 3}, [2], [1, 3, 0]),
        ({"between": [1, 3]}, [1, 2, 3, 3 + 1e-12], [0.9, 3.1]),
        (2, [2, 2.0], [3]),
    ],
)
def test_conditions_say_when_they_hold(condition, holds, fails):
    found = Condition.model_validate(condition)
    assert all(found.holds(value) for value in holds)
    assert not any(found.holds(value) for value in fails)
    assert Condition.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Exclusion({}), "at least 1"),
        (lambda: Exclusion({"a": {}}), "give one of"),
        (lambda: Exclusion({"a": {"above": 1, "equals": 2}}), "give one of"),
        (lambda: Exclusion({"a": {"above": 2, "below": 1}}), "never both"),
        (lambda: Exclusion({"a": {"between": [2, 1]}}), "lower number first"),
        (lambda: Exclusion({"a": True}), "no condition"),
        (lambda: Exclusion({"a": {"over": 1}}), "Extra inputs"),
        (lambda: Cardinality(["a", "b"]), "give at_most"),
        (lambda: Cardinality(["a", "b"], at_most=2), "give at_most"),
        (lambda: Cardinality(["a", "a"], at_most=1), "named twice"),
        (lambda: Cardinality(["a", "b"], at_most=1, at_least=2), "more than"),
        (lambda: NonlinearConstraint("a*b"), "give lower"),
        (lambda: NonlinearConstraint("a*b", lower=1, upper=1), "below upper"),
        (lambda: NonlinearConstraint("a^b", upper=1), "for a power"),
        (lambda: Problem(PARAMETERS, GOAL, [Exclusion({"q": 1})]), "q is no parameter.*use temperature"),
        (lambda: Problem(PARAMETERS, GOAL, [Exclusion({"solvent": "oil"})]), "not one of the listed"),
        (lambda: Problem(PARAMETERS, GOAL, [Exclusion({"solvent": {"above": 1}})]), "no order"),
        (lambda: Problem(PARAMETERS, GOAL, [Exclusion({"temperature": {"above": 160}})]), "never so within 20..160"),
        (lambda: Problem(PARAMETERS, GOAL, [Exclusion({"c": {"between": [2.1, 2.9]}})]), "never so"),
        (lambda: Problem(PARAMETERS, GOAL, [Exclusion({"temperature": [20, 30]})]), "takes no list"),
        (lambda: Problem(PARAMETERS, GOAL, [Exclusion({"temperature": {"above": 10}})]), "every point"),
        (lambda: Problem(PARAMETERS, GOAL, [Cardinality(["a", "rate"], 1)]), "never zero"),
        (lambda: Problem(PARAMETERS, GOAL, [Cardinality(["a", "solvent"], 1)]), "categorical"),
        (lambda: Problem(PARAMETERS, GOAL, [Cardinality(["a", "b"], 1, threshold=1.5)]), "below the threshold"),
        (
            lambda: Problem([GRAMS, PARAMETERS[4]], GOAL, [Cardinality(["a", "c"], 1, 0, 0.1)]),
            "several units",
        ),
        (lambda: Problem(PARAMETERS, GOAL, [NonlinearConstraint("q*2", upper=1)]), "q is no parameter"),
        (lambda: Problem(PARAMETERS, GOAL, [NonlinearConstraint("solvent*2", upper=1)]), "categorical"),
    ],
)
def test_impossible_constraints_are_refused(make, match):
    with pytest.raises(ValidationError, match=match):
        make()


def test_the_order_of_conditions_does_not_matter():
    one, other = ({"a": {"above": 0.5}, "b": {"below": 1}}, {"b": {"below": 1}, "a": {"above": 0.5}})
    assert str(Exclusion(one)) == str(Exclusion(other)) == "excluded: a > 0.5 and b < 1"
    assert Exclusion(one).names == Exclusion(other).names


def test_sums_are_judged_before_and_apart():
    problem = Problem(PARAMETERS, GOAL, [LinearConstraint({"a": 1, "b": 1}, upper=1.0), HOT])
    assert problem.linear_constraints != () and problem.input_constraints == (HOT,)
    with pytest.raises(InvalidPoint, match=r"1·a \+ 1·b ≤ 1"):
        problem.validate_point({**POINT, "a": 0.9, "b": 0.9, "temperature": 150.0})
