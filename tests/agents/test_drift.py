"""The chart of a reference keeps its promise by simulation: few false alarms, quick true ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from athanor.agents import drift
from athanor.agents.drift import Spread

CHARTS = 20_000
STATED = Spread(sd=1.0)


def top(baseline: int, planned: int, spread: Spread, alpha: float = drift.ALPHA) -> float:
    return drift.limit(baseline, planned, alpha, is_known=spread.sd is not None, df=spread.df)


def upper(share: float, count: int = CHARTS) -> float:
    """The one-sided 99 % bound on a probability of which `share` was seen."""
    return share + 2.326 * math.sqrt(max(share, 1 / count) * (1 - share) / count)


@pytest.mark.parametrize(
    ("baseline", "planned", "spread"),
    [(5, 12, Spread()), (12, 16, Spread()), (12, 24, Spread()), (5, 12, STATED), (5, 20, STATED)],
)
def test_at_most_one_steady_campaign_in_a_hundred_is_paused(baseline: int, planned: int, spread: Spread) -> None:
    generator = np.random.default_rng(2024)
    alarms = 0
    for _ in range(4):  # the limit aims below 1 %, so that 80,000 campaigns can show it
        x = generator.standard_normal((CHARTS, planned))
        x = 40.0 + 3.0 * x if spread.sd is None else x
        alarms += int((drift.scores(x, baseline, spread)[0] > top(baseline, planned, spread)).any(axis=1).sum())
    assert upper(alarms / (4 * CHARTS), 4 * CHARTS) <= 0.01
    assert alarms / (4 * CHARTS) > 0.005  # and it is no alarm that never rings


@pytest.mark.parametrize("df", [4, 11])
def test_a_spread_known_from_an_earlier_baseline_keeps_the_promise(df: int) -> None:
    generator = np.random.default_rng(5)
    x = generator.standard_normal((CHARTS, 12))
    earlier = Spread(squares=generator.chisquare(df, CHARTS), df=df)  # type: ignore[arg-type]
    share = float((drift.scores(x, 6, earlier)[0] > top(6, 12, earlier)).any(axis=1).mean())
    assert share <= 0.0115


def shifted(baseline: int, planned: int, spread: Spread, size: float = 4.0, within: int = 3) -> float:
    """How often a shift at a random reference after the baseline is seen within so many references of it."""
    generator = np.random.default_rng(7)
    at = generator.integers(baseline, planned - within + 1, CHARTS)
    x = generator.standard_normal((CHARTS, planned)) + size * (np.arange(planned) >= at[:, None])
    is_out = drift.scores(x, baseline, spread)[0] > top(baseline, planned, spread)
    window = at[:, None] + np.arange(within)
    return float(np.take_along_axis(is_out, window, axis=1).any(axis=1).mean())


@pytest.mark.parametrize(
    ("baseline", "planned", "spread", "least"),
    [
        (5, 12, STATED, 0.98),  # what a campaign that states its spread does by itself
        (5, 20, STATED, 0.98),
        (12, 16, Spread(), 0.95),  # and one that does not
        (15, 24, Spread(), 0.95),
        (6, 12, Spread(squares=11.0, df=11), 0.95),  # after a new level was accepted
    ],
)
def test_four_sd_are_seen_within_three_references(baseline: int, planned: int, spread: Spread, least: float) -> None:
    assert shifted(baseline, planned, spread) >= least


def test_a_baseline_of_five_does_not_know_its_spread_well_enough() -> None:
    assert 0.5 < shifted(5, 15, Spread()) < 0.7  # as the guide says
    assert 0.90 < shifted(12, 24, Spread()) < 0.95


def test_a_slow_drift_is_found_that_no_single_reference_shows() -> None:
    generator = np.random.default_rng(9)
    x = generator.standard_normal((CHARTS, 20)) + 0.5 * np.maximum(0, np.arange(20) - 11)
    best, newer = drift.scores(x, 12, Spread())
    is_out = best > top(12, 20, Spread())
    assert is_out.any(axis=1).mean() > 0.85
    first = is_out.argmax(axis=1)
    assert (newer[np.arange(CHARTS), first][is_out.any(axis=1)] > 1).mean() > 0.8


def test_scores_do_not_depend_on_unit_or_level() -> None:
    x = np.random.default_rng(3).standard_normal((50, 15))
    here, there = drift.scores(x, 5, Spread())[0], drift.scores(1e3 - 25.0 * x, 5, Spread())[0]
    assert np.allclose(here, there, rtol=1e-6)


def test_reading_a_chart_is_scoring_it_and_its_limits_are_those_of_the_next_reading() -> None:
    values = [100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 99.9, 100.3]
    for spread in (Spread(), Spread(sd=0.8), Spread(squares=3.0, df=6)):
        h = top(6, 12, spread)
        steady = drift.read(values, 6, h, spread)
        assert [r.is_out for r in steady] == [False] * 8
        assert drift.change(steady, spread) is None
        last = steady[-1]
        assert last.low is not None
        assert last.high is not None
        for edge, sign in ((last.high, 1), (last.low, -1)):
            inside = drift.read([*values[:-1], edge - sign * 1e-6], 6, h, spread)[-1]
            outside = drift.read([*values[:-1], edge + sign * 1e-6], 6, h, spread)[-1]
            assert outside.is_out
            assert inside.score < outside.score


def test_the_alarm_says_how_far_and_since_when() -> None:
    values = [10.0, 10.2, 9.8, 10.1, 9.9, 10.0, 10.9, 11.1, 11.0]
    readings = drift.read(values, 5, 3.4, Spread(sd=0.2))
    found = drift.change(readings[:8], Spread(sd=0.2))
    assert found is not None
    assert (found.index, found.newer) == (6, 1)
    assert found.before == pytest.approx(10.0)
    assert found.after == pytest.approx(10.9)
    assert found.shift == pytest.approx(4.5)


def test_replicates_bound_the_spread_from_below() -> None:
    lucky = [5.0, 5.001, 4.999, 5.0, 5.0005, 5.02]
    assert drift.read(lucky, 5, 3.5)[-1].is_out
    assert not drift.read(lucky, 5, 3.5, sems=[0.01] * 6)[-1].is_out


def test_readings_without_any_spread_alarm_at_a_change_and_not_at_rounding() -> None:
    assert not any(r.is_out for r in drift.read([1 / 3] * 8, 5, 3.5))
    rounded = [1 / 3] * 7 + [1 / 3 + 1e-16]
    assert not any(r.is_out for r in drift.read(rounded, 5, 3.5))
    assert drift.read([1 / 3] * 7 + [0.4], 5, 3.5)[-1].is_out


def test_a_huge_jump_is_an_alarm_and_no_overflow() -> None:
    found = drift.change(drift.read([1.0, 1.1, 0.9, 1.0, 1.05, 1e12], 5, 3.6))
    assert found is not None
    assert found.shift > 1e10


def test_a_limit_is_the_same_every_time() -> None:
    drift.limit.cache_clear()
    first = drift.limit(5, 9)
    drift.limit.cache_clear()
    assert drift.limit(5, 9) == first
    assert drift.limit(5, 5) == math.inf
    with pytest.raises(ValueError, match="too small"):
        drift.limit(5, 9, 1e-5)


@pytest.mark.parametrize("count", range(1, 60))
def test_the_tested_splits_leave_the_baseline_whole(count: int) -> None:
    sizes = drift.lengths(5 + count, 5)
    assert sizes[:8] == list(range(1, min(count, 8) + 1))
    assert max(sizes) <= count
    assert sizes == sorted(set(sizes))


def chain(rate: float, generator: np.random.Generator) -> tuple[list[int], list[float], np.ndarray]:
    """References at every 5th experiment after a baseline of 8, on a level that wanders; and the level itself."""
    at = [*range(1, 9), *range(14, 74, 6)]
    level = np.concatenate([np.zeros(8), np.cumsum(generator.normal(0.0, math.sqrt(rate), 72))])
    return at, [float(level[a - 1] + generator.normal()) for a in at], level


def test_no_drift_adds_nothing_most_of_the_time() -> None:
    generator = np.random.default_rng(11)
    added = []
    for _ in range(400):
        at, values, _ = chain(0.0, generator)
        added.append(drift.drift_error(40, at, values, 8, 1.0))
    assert np.mean(np.array(added) > 0) < 0.2
    assert np.sqrt(np.mean(np.square(added))) < 0.5  # sd of one reference


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_what_drift_adds_is_what_the_level_is_off(rate: float) -> None:
    generator = np.random.default_rng(13)
    added, off = [], []
    for _ in range(600):
        at, values, level = chain(rate, generator)
        for ordinal in (16, 35, 70):
            added.append(drift.drift_error(ordinal, at, values, 8, 1.0) ** 2)
            off.append(level[ordinal - 1] ** 2)
    assert np.mean(added) == pytest.approx(np.mean(off), rel=0.35)


def test_drift_is_zero_before_there_is_a_reference_after_the_baseline() -> None:
    assert drift.drift_error(7, [1, 2, 3, 4, 5], [1.0, 1.1, 0.9, 1.0, 1.0], 5, 0.1) == 0.0
    assert drift.wander([1, 2], [1.0, 9.0], 5, 0.1) == 0.0


def test_the_next_reference_tells_more() -> None:
    at, values = [1, 2, 3, 4, 5, 10, 15], [0.0, 0.1, -0.1, 0.0, 0.0, 5.0, 9.0]
    early = drift.drift_error(9, at[:6], values[:6], 5, 0.1)
    assert 3.0 < early < 5.0
    assert drift.drift_error(12, at[:6], values[:6], 5, 0.1) > drift.drift_error(11, at[:6], values[:6], 5, 0.1) > 5.0
    assert 5.0 < drift.drift_error(12, at, values, 5, 0.1) < 8.0
