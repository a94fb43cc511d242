"""How numbers, times and units are written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.console import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0.0, "0"),
        (3.0, "3"),
        (-2.5, "−2.5"),
        (0.00012345, "0.0001234"),
        (1234567.0, "1.23e6"),
        (9411.3, "9411"),
        (math.nan, "not a number"),
        (math.inf, "∞"),
        ("ethanol", "ethanol"),
    ],
)
def test_number(value: float | str | None, text: str) -> None:
    assert wording.number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_a_number_reads_back_within_its_digits(value: float) -> None:
    read = float(wording.number(value).replace("−", "-"))
    assert math.isclose(read, value, rel_tol=5e-3, abs_tol=1e-300)


@pytest.mark.parametrize(
    ("mean", "sem", "text"),
    [
        (12.3456, 0.123, "12.35 ± 0.12"),
        (10034.2, 132.0, "10034 ± 132"),
        (0.98765, 0.00012, "0.98765 ± 0.00012"),
        (5.0, None, "5"),
        (None, None, "—"),
        (-1.5, 0.25, "−1.50 ± 0.25"),
    ],
)
def test_measured_keeps_the_decimals_the_error_calls_for(mean: float, sem: float | None, text: str) -> None:
    assert wording.measured(mean, sem) == text


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("kg/m^3/h", "kg/m³/h"),
        ("degC", "°C"),
        ("m**-1", "m⁻¹"),
        (None, ""),
        ("1", ""),
        ("mol/L", "mol/L"),
        ("us", "µs"),
    ],
)
def test_units_as_in_print(unit: str | None, text: str) -> None:
    assert wording.pretty_unit(unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (48, "48 s"), (125, "2 min 5 s"), (7500, "2 h 5 min"), (90000, "1 d 1 h")]
)
def test_duration(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_e_values_never_overflow() -> None:
    assert wording.e_value(5000.0) == "10^2171"
    assert wording.e_value(math.log(64)) == "64"
    assert wording.e_value(None) == "—"


def test_prose_rewrites_numbers_and_units_and_nothing_else() -> None:
    assert wording.prose("sty 1.17e+04 ± 3.1e+02 kg/m^3/h at 80 degC") == "sty 11700 ± 310 kg/m³/h at 80 °C"
    assert wording.prose("probability 3e-05 of 2^k, run 8e4f") == "probability 3e−5 of 2^k, run 8e4f"


def test_settings_follow_the_problems_order() -> None:
    from athanor.planners.problem import Continuous, Objective, Problem

    problem = Problem([Continuous("b", 0, 1, unit="degC"), Continuous("a", 0, 1)], [Objective("y", "maximize")])
    assert wording.settings({"a": 0.5, "b": 1.0}, problem) == "b 1 °C, a 0.5"
