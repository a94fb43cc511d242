"""Rates and the steps of a walk, as numbers; ranges, lists and steps are tested where they are applied."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.instruments.bounds import Limit, LimitViolation, SetRefused


def is_let_through(limit: Limit, value: float, current: Any, elapsed_s: float | None) -> bool:
    try:
        limit.check_rate("x", value, current, elapsed_s)
    except LimitViolation as error:
        assert (error.code, error.axis, error.value) == ("limit.rate", "x", value)
        return False
    return True


@pytest.mark.parametrize(
    ("value", "elapsed_s", "holds"),
    [
        (20.0, 10.0, True),
        (20.1, 10.0, False),
        (2.0, 1.0, True),
        (2.1, 1.0, False),
        (0.1, 0.0, False),
        (0.0, 0.0, True),
        (-20.0, 10.0, True),
        (60.0, None, True),  # before the first set the 30 s count that the motion may take
        (60.1, None, False),
        (60.0, 86400.0, True),
        (60.1, 86400.0, False),  # waiting for a day makes nobody faster
    ],
)
def test_the_rate_counts_the_way_over_the_time(value: float, elapsed_s: float | None, holds: bool) -> None:
    assert is_let_through(Limit(-100, 100, largest_rate=2.0, move_s=30.0), value, 0.0, elapsed_s) is holds


@pytest.mark.parametrize("current", [math.nan, math.inf, None, "near", True, [1.0]])
def test_without_a_believable_read_back_there_is_neither_rate_nor_way_nor_step(current: Any) -> None:
    limit = Limit(-100, 100, largest_rate=2.0)
    assert not is_let_through(limit, 0.0, current, 10.0)
    for ask in (limit.way, limit.next_step):
        with pytest.raises(LimitViolation, match="restore it first"):
            ask("x", 0.0, current)


@given(
    target=st.floats(-1e3, 1e3),
    here=st.floats(-1e3, 1e3),
    largest_step=st.floats(1e-2, 1e3) | st.none(),
    rate=st.floats(1e-2, 1e3) | st.none(),
)
def test_a_walk_arrives_in_steps_that_are_never_too_long(
    target: float, here: float, largest_step: float | None, rate: float | None
) -> None:
    if largest_step is None and rate is None:
        rate = 1.0
    limit = Limit(-1e3, 1e3, largest_step=largest_step, largest_rate=rate, walk=True)
    longest = largest_step if largest_step is not None else rate
    assert longest is not None
    for _ in range(5):
        step = limit.next_step("x", target, here)
        assert abs(step - here) <= longest * (1 + 1e-9)
        assert abs(target - step) <= abs(target - here)
        assert step == target or abs(step - here) >= longest * (1 - 1e-9), "no smaller than need be"
        here = step


@given(target=st.integers(-50, 50), here=st.floats(-50, 50), largest_step=st.floats(1, 20))
def test_a_walk_through_whole_numbers_stands_on_them(target: int, here: float, largest_step: float) -> None:
    limit = Limit(-50, 50, integer=True, largest_step=largest_step, walk=True)
    for _ in range(120):
        step = limit.next_step("x", target, here)
        assert step == int(step) and abs(step - here) <= largest_step
        if step == target:
            return
        here = step
    raise AssertionError("it never arrives")


def test_a_refusal_says_its_code_first() -> None:
    error = SetRefused("writes.off", "leak")
    assert (str(error), error.code, error.detail) == ("writes.off: leak", "writes.off", "leak")
