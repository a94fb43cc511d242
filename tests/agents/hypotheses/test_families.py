from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.agents.hypotheses.families import e_bh, elond_level, gamma


def test_the_shares_add_up_to_one() -> None:
    total = math.fsum(gamma(t) for t in range(1, 200_000))
    assert 0.9999 < total < 1.0
    with pytest.raises(ValueError, match="count from 1"):
        gamma(0)


def test_levels_follow_the_rule() -> None:
    assert elond_level(1) == pytest.approx(0.05 * 6 / math.pi**2)
    assert elond_level(3, 2) == pytest.approx(3 * elond_level(3))
    with pytest.raises(ValueError, match="cannot precede"):
        elond_level(2, 2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        elond_level(1, 0, 1.5)


@given(st.lists(st.floats(-10, 30), max_size=30))
def test_e_bh_rejects_from_the_top_and_follows_its_definition(log_values: list[float]) -> None:
    decisions = e_bh(log_values, 0.05)
    m, k = len(log_values), sum(decisions)
    rejected = [v for v, d in zip(log_values, decisions, strict=True) if d]
    kept = [v for v, d in zip(log_values, decisions, strict=True) if not d]
    if rejected:
        assert min(rejected) >= math.log(m / (0.05 * k)) and (not kept or min(rejected) >= max(kept))
    ordered = sorted(log_values, reverse=True)
    assert k == max((i for i, v in enumerate(ordered, 1) if v >= math.log(m / (0.05 * i))), default=0)


def test_e_bh_by_hand() -> None:
    assert e_bh([math.log(61), 0.0, 0.0]) == [True, False, False]
    assert e_bh([math.log(59), 0.0, 0.0]) == [False, False, False]
    assert e_bh([math.log(31), math.log(30.5), 0.0]) == [True, True, False]
