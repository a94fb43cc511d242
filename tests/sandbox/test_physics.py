"""Axes, signals and the one source of noise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from athanor.sandbox.laboratories.snar_flow import SnarFlow
from athanor.sandbox.physics import AxisModel, Physics, generator

COUNT = st.integers(0, 10_000)


@given(COUNT, COUNT, COUNT)
def test_noise_is_a_function_of_seed_ordinal_and_replicate_alone(seed: int, ordinal: int, replicate: int) -> None:
    first = generator(seed, ordinal, replicate).random(3).tolist()
    assert first == generator(seed, ordinal, replicate).random(3).tolist()
    for other in ((seed + 1, ordinal, replicate), (seed, ordinal + 1, replicate), (seed, ordinal, replicate + 1)):
        assert first != generator(*other).random(3).tolist()


def test_duration_follows_from_speed_or_switching_time() -> None:
    assert AxisModel("x", "mm", 0.0, speed=4.0).duration(10.0, 2.0) == 2.0
    assert AxisModel("x", "mm", 0.0).duration(10.0, 2.0) == 0.0
    valve = AxisModel("v", None, "a", kind="choice", switch_s=3.0)
    assert (valve.duration("a", "b"), valve.duration("a", "a")) == (3.0, 0.0)


def test_a_laboratory_meets_the_protocol() -> None:
    assert isinstance(SnarFlow(), Physics)
