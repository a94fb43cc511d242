from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from athanor.planners import Categorical, Continuous, Integer, InvalidPoint, Ordinal

NAMES = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)
FLOATS = st.floats(-1e6, 1e6)


@st.composite
def parameters(draw, name=NAMES):
    kind = draw(st.sampled_from(["continuous", "log", "integer", "ordinal", "categorical"]))
    n = draw(name)
    if kind == "continuous":
        low = draw(FLOATS)
        return Continuous(n, low, low + draw(st.floats(1e-3, 1e6)), unit=draw(st.sampled_from([None, "degC"])))
    if kind == "log":
        low = draw(st.floats(1e-6, 1.0))
        return Continuous(n, low, low * draw(st.floats(1.5, 1e6)), log=True)
    if kind == "integer":
        low = draw(st.integers(-1000, 1000))
        return Integer(n, low, low + draw(st.integers(1, 1000)))
    if kind == "ordinal":
        return Ordinal(n, sorted(draw(st.sets(st.integers(-50, 50), min_size=2, max_size=6))))
    return Categorical(n, sorted(draw(st.sets(NAMES, min_size=2, max_size=5))))


@given(parameters())
def test_every_parameter_survives_json(parameter):
    assert type(parameter).model_validate_json(parameter.model_dump_json()) == parameter


@given(parameters(), st.floats(0, 1))
def test_unit_positions_map_to_valid_values_and_back(parameter, position):
    value = parameter.from_unit(position)
    assert parameter.validate_value(value) == value
    assert type(parameter.validate_value(value)) is type(value)
    assert -1e-9 <= parameter.to_unit(value) <= 1 + 1e-9
    if isinstance(parameter, Continuous):
        assert parameter.to_unit(value) == pytest.approx(position, abs=1e-6)


@given(parameters(), st.one_of(st.sampled_from([math.nan, math.inf, -math.inf, True, False, None, "", "x", 1j, [1]])))
def test_hostile_values_are_refused(parameter, value):
    with pytest.raises(InvalidPoint) as error:
        parameter.validate_value(value)
    assert error.value.parameter == parameter.name
    assert error.value.remedy in str(error.value)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        (Continuous("t", 0, 1), 1.0000001),
        (Continuous("t", 0, 1), -1e-300),
        (Integer("n", 1, 3), 0),
        (Integer("n", 1, 3), 2.5),
        (Ordinal("d", [1, 2, 5]), 3),
        (Categorical("s", ["a", "b"]), "A"),
    ],
)
def test_values_outside_are_refused(parameter, value):
    with pytest.raises(InvalidPoint, match=r"Give"):
        parameter.validate_value(value)


def test_numbers_of_other_libraries_are_taken():
    assert Continuous("t", 0, 1).validate_value(np.float64(0.5)) == 0.5
    assert Integer("n", 1, 3).validate_value(np.int64(2)) == 2
    assert type(Integer("n", 1, 3).validate_value(2.0)) is int
    assert Ordinal("d", [1, 2.5]).validate_value(np.float32(2.5)) == 2.5
    with pytest.raises(InvalidPoint):
        Continuous("t", 0, 1).validate_value(np.bool_(True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Continuous("t", 1, 1),
        lambda: Continuous("t", 2, 1),
        lambda: Continuous("t", 0, math.inf),
        lambda: Continuous("t", math.nan, 1),
        lambda: Continuous("t", -1e308, 1.5e308),
        lambda: Continuous("t", 0, 1, log=True),
        lambda: Continuous("t", True, 3),
        lambda: Continuous("", 0, 1),
        lambda: Continuous("t", 0),
        lambda: Integer("n", 1, 1),
        lambda: Integer("n", 1.5, 3),
        lambda: Ordinal("d", [1]),
        lambda: Ordinal("d", [2, 1]),
        lambda: Ordinal("d", [1, 1]),
        lambda: Categorical("s", ["a"]),
        lambda: Categorical("s", ["a", "a"]),
        lambda: Categorical("s", ["a", 1]),
        lambda: Continuous(name="t", low=0, high=1, units="K"),
    ],
)
def test_impossible_parameters_are_refused(make):
    with pytest.raises(ValidationError):
        make()


def test_arguments_given_twice_or_too_many_are_refused():
    with pytest.raises(TypeError, match="twice"):
        Continuous("t", 0, 1, name="u")
    with pytest.raises(TypeError, match="at most"):
        Categorical("s", ["a", "b"], "unit")


def test_discrete_draws_are_equally_likely():
    dose = Ordinal("d", [1, 2, 100])
    counts = {level: sum(dose.from_unit(k / 300) == level for k in range(300)) for level in dose.levels}
    assert set(counts.values()) == {100}
