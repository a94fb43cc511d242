"""Random arms, and the advantage over them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import pytest

from athanor.console.report import baseline
from athanor.instruments.laboratory import ProcessFailed
from athanor.planners.problem import Continuous, Objective, Problem

PROBLEM = Problem(parameters=[Continuous("x", 0.0, 1.0)], objectives=[Objective("y", goal="maximize")])


def truth(values: Mapping[str, float | int | str]) -> dict[str, float]:
    if float(values["x"]) > 0.9:
        raise ProcessFailed("too much")
    return {"y": float(values["x"])}


def test_arms_differ_from_each_other_and_come_back_the_same() -> None:
    arms = baseline.random_arms(PROBLEM, truth, 12, seed=4, arms=20)
    assert arms == baseline.random_arms(PROBLEM, truth, 12, seed=4, arms=20)
    assert len({arm[-1] for arm in arms}) > 10
    assert all(a is None or b is None or a <= b for arm in arms for a, b in pairwise(arm))
    assert max(arm[-1] for arm in arms if arm[-1] is not None) <= 0.9


def test_band_is_ordered_and_empty_where_most_found_nothing() -> None:
    curves: list[baseline.Curve] = [[None, 1.0], [None, 2.0], [0.5, 3.0], [None, 4.0]]
    assert baseline.band(curves, 0.5) == [None, 2.5]
    assert baseline.band(curves, 0.25)[1] <= baseline.band(curves, 0.75)[1]  # type: ignore[operator]


def test_advantage_by_hand() -> None:
    curves: list[baseline.Curve] = [[1.0, 1.0, value] for value in (1.0, 2.0, 3.0, 4.0)]
    found = baseline.advantage([0.0, 3.0, 5.0], curves)
    assert found is not None
    assert (found.median_final, found.difference, found.beaten) == (2.5, 2.5, 4)
    assert found.experiments_to_match == 2
    assert 1.0 <= found.low < found.difference < found.high <= 4.0


def test_a_campaign_behind_chance_says_so() -> None:
    found = baseline.advantage([0.0, 0.5], [[1.0, 2.0]] * 20)
    assert found is not None
    assert found.difference == -1.5
    assert found.experiments_to_match is None
    assert found.beaten == 0


def test_nothing_to_compare_is_no_advantage() -> None:
    assert baseline.advantage([None], [[1.0]]) is None
    assert baseline.advantage([1.0], [[None], [None], [None], [2.0]]) is None


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_quantile_agrees_with_the_definition(share: float) -> None:
    values = [5.0, 1.0, 3.0]
    assert min(values) <= baseline.quantile(values, share) <= max(values)
    assert baseline.quantile([-math.inf, -math.inf, 1.0], 0.25) == -math.inf
