"""Axes and their round numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.console.report.scale import Scale, linear_ticks, log_ticks, padded, tick_text

spans = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(spans)
def test_ticks_lie_within_and_are_few(span: tuple[float, float]) -> None:
    low, high = span
    ticks = linear_ticks(low, high)
    reach = 1e-6 * (high - low) + 1e-9
    assert 1 <= len(ticks) <= 12
    assert all(low - reach <= tick <= high + reach for tick in ticks)
    assert ticks == sorted(ticks)


@pytest.mark.parametrize(("low", "high"), [(0.01, 1.0), (1.0, 20.0), (1e-6, 1e6)])
def test_log_ticks(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)


def test_scale_maps_ends_to_ends() -> None:
    assert Scale(0, 10, 100, 200)(5) == 150
    assert Scale(1, 100, 0, 2, log=True)(10) == pytest.approx(1.0)
    assert Scale(3, 3, 0, 2)(3) == 1.0


def test_padded_respects_the_floor() -> None:
    assert padded([0.0, 10.0], floor=0.0)[0] == 0.0
    low, high = padded([5.0, 5.0])
    assert low < 5.0 < high


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12000, "12\u202f000"), (0.25, "0.25"), (-3, "−3"), (2e7, "2e7")]
)
def test_tick_text(value: float, text: str) -> None:
    assert tick_text(value) == text
