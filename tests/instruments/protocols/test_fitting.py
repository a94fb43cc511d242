from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.instruments.protocols.client import SignalSpec, WrongType
from athanor.instruments.protocols.fitting import bounds, flag, real, whole

UNSCALED = SignalSpec(write="x").named("oven", "heat")
TENTHS = SignalSpec(write="x", scale=0.1).named("oven", "heat")


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_bounds_are_those_of_the_machine_s_integers(bits: int) -> None:
    for is_signed, letters in ((True, "bhiq"), (False, "BHIQ")):
        letter = letters[(bits // 8).bit_length() - 1]
        low, high = bounds(bits, is_signed=is_signed)
        assert struct.unpack(f">{letter}", struct.pack(f">{letter}", low)) == (low,)
        assert struct.unpack(f">{letter}", struct.pack(f">{letter}", high)) == (high,)
        for outside in (low - 1, high + 1):
            with pytest.raises(struct.error):
                struct.pack(f">{letter}", outside)


@given(st.integers(-(2**15), 2**15 - 1))
def test_a_whole_number_in_range_passes_unchanged(number: int) -> None:
    assert whole(UNSCALED, number, *bounds(16, is_signed=True), "int16") == number


@given(st.integers(-(2**15), 2**15 - 1))
def test_a_scaled_number_goes_to_the_step_it_was_made_from(step: int) -> None:
    assert whole(TENTHS, TENTHS.raw(step * 0.1), *bounds(16, is_signed=True), "int16") == step


@pytest.mark.parametrize("number", [0.5, 40_000, -40_000, math.nan, math.inf, "1", 2.0**80])
def test_what_is_not_whole_or_not_in_range_is_refused(number: Any) -> None:
    with pytest.raises(WrongType, match=r"oven\.heat"):
        whole(UNSCALED, number, *bounds(16, is_signed=True), "int16")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_is_exact(number: float) -> None:
    assert real(UNSCALED, number, "Double") == number


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_single_is_exact_where_it_can_be(number: float) -> None:
    assert real(UNSCALED, number, "Float", single=True) == number


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e39, "1", True])
def test_what_is_no_number_of_single_precision_is_refused(number: Any) -> None:
    with pytest.raises(WrongType, match=r"oven\.heat"):
        real(UNSCALED, number, "Float", single=True)


def test_a_flag_is_yes_or_no() -> None:
    assert [flag(UNSCALED, number, "Boolean") for number in (0, 1.0)] == [False, True]
    assert flag(SignalSpec(write="x", type="bool"), True, "Boolean") is True
    for wrong in (2, 0.5, math.nan):
        with pytest.raises(WrongType, match="true or false"):
            flag(UNSCALED, wrong, "Boolean")
