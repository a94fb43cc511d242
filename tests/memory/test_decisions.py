"""Envelopes: what lies inside, edges included, and what is said of what does not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from athanor.memory.decisions import is_inside, outside


@pytest.mark.parametrize(
    ("value", "bound", "inside"),
    [
        (1, {"low": 1, "high": 2}, True),
        (2.0, {"low": 1, "high": 2}, True),
        (math.nextafter(2.0, 3.0), {"low": 1, "high": 2}, False),
        (math.nan, {"low": 1, "high": 2}, False),
        (1, {"low": math.nan, "high": 2}, False),
        ("1", {"low": 1, "high": 2}, False),
        (1, {"low": "0", "high": "2"}, False),
        ("a", {"allowed": ["a", "b"]}, True),
        ("c", {"allowed": ["a", "b"]}, False),
        (3, {"allowed": [2, 3.0]}, True),
        (1, {}, False),
        (1, None, False),
        (1, "anything", False),
    ],
)
def test_ranges(value: Any, bound: Any, inside: bool) -> None:
    assert is_inside(value, bound) is inside


def test_a_whole_point_is_inside_or_each_parameter_is_named() -> None:
    ranges = {"t": {"low": 1, "high": 2}, "solvent": {"allowed": ["EtOH", "MeCN"]}}
    assert outside({"t": 2, "solvent": "EtOH"}, ranges) == []
    said = outside({"t": 3, "colour": 1}, ranges)
    assert said == ["solvent is missing", "t = 3 is outside 1 … 2", "the envelope says nothing of colour"]
    assert outside({"t": 1}, None) == ["the envelope names no parameters"]
    assert "EtOH, MeCN" in outside({"t": 1, "solvent": "water"}, ranges)[0]
