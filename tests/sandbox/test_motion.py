"""Positions as a function of time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.sandbox.motion import Axis
from athanor.sandbox.physics import AxisModel

FINITE = st.floats(-1e6, 1e6)


def axis(position: float = 0.0, speed: float = 2.0) -> Axis:
    return Axis(AxisModel("x", "mm", position, speed=speed), position)


@given(FINITE, FINITE, st.floats(0.0, 1.0))
def test_motion_stays_between_its_ends_and_ends_exactly_on_target(start: float, target: float, part: float) -> None:
    moving = axis(start)
    motion = moving.begin(1, target, 100.0, 1.0, is_stuck=False)
    assert min(start, target) - 1e-6 <= moving.advance(100.0 + part * motion.duration) <= max(start, target) + 1e-6  # type: ignore[operator]
    assert moving.advance(101.0 + motion.duration) == target
    assert motion.is_over(101.0 + motion.duration)


def test_speed_and_time_scale_give_the_duration() -> None:
    assert axis(speed=2.0).begin(1, 10.0, 0.0, 1.0, is_stuck=False).duration == 5.0
    assert axis(speed=2.0).begin(1, 10.0, 0.0, 0.1, is_stuck=False).duration == 0.5
    assert axis(speed=math.inf).begin(1, 10.0, 0.0, 1.0, is_stuck=False).duration == 0.0


@pytest.mark.parametrize("target", [1e308, -1e308, 5e-324])
def test_no_finite_target_makes_an_axis_that_never_knows_where_it_is(target: float) -> None:
    for scale in (0.0, 1.0):
        moving = axis(-1e308 if target > 0 else 1e308)
        motion = moving.begin(1, target, 0.0, scale, is_stuck=False)
        assert math.isfinite(motion.duration)
        assert moving.advance(motion.duration) == target


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_a_stuck_axis_stops_half_way_and_is_never_over(scale: float) -> None:
    moving = axis()
    motion = moving.begin(1, 10.0, 0.0, scale, is_stuck=True)
    assert moving.advance(1e6) == 5.0
    assert not motion.is_over(1e6)


def test_a_choice_switches_at_the_end_of_its_time() -> None:
    valve = Axis(AxisModel("solvent", None, "EtOH", kind="choice", switch_s=2.0), "EtOH")
    valve.begin(1, "MeCN", 0.0, 1.0, is_stuck=False)
    assert valve.advance(1.9) == "EtOH"
    assert valve.advance(2.0) == "MeCN"
    stuck = valve.begin(2, "EtOH", 10.0, 1.0, is_stuck=True)
    assert valve.advance(99.0) == "MeCN" and not stuck.is_over(99.0)


def test_numbers_do_not_move_to_words() -> None:
    with pytest.raises(TypeError, match="numbers"):
        axis().begin(1, "far", 0.0, 1.0, is_stuck=False)
