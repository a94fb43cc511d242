"""The e-process of blocks with more than two arms: against quadrature, its guarantee, and what unequal noise does."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from athanor.agents.hypotheses.evidence import (
    SCALES,
    confidence_sequence,
    log_e,
    log_e_above,
    log_e_pair,
    pooled_count,
    running_residual,
    weigh,
)
from athanor.agents.hypotheses.families import elond_level

PATHS = 10_000
HALF_FRACTION = np.array([[1, 1, 1, 1], [-1, -1, 1, 1], [-1, 1, -1, 1], [1, -1, -1, 1]]) / 2.0
"""Rows: the block mean and the effects of three factors in the half of a 2 × 2 × 2 factorial."""


def contrasts(y: np.ndarray, own: int) -> tuple[np.ndarray, np.ndarray]:
    """The statistic of factor `own` (0 to 2) and the further contrasts, from the outcomes of four arms (last axis)."""
    z = y @ HALF_FRACTION[1:].T
    return z[..., own], np.delete(z, own, axis=-1)


def bounds(hits: np.ndarray) -> tuple[float, float]:
    """Clopper–Pearson 95 % bounds of a rate, lower and upper."""
    k, n = int(hits.sum()), hits.size
    low = float(stats.beta.ppf(0.05, k, n - k + 1)) if k else 0.0
    return low, float(stats.beta.ppf(0.95, k + 1, n - k)) if k < n else 1.0


def family_crossings(y: np.ndarray, sign: float = 1.0) -> np.ndarray:
    """Per path (shape paths, blocks, 4), whether any of three claims registered first to third is ever supported."""
    crossed = np.zeros(y.shape[0], dtype=bool)
    for position in (1, 2, 3):
        x, residuals = contrasts(y, position - 1)
        log_values = log_e_above(sign * x, 0.0, residuals=residuals)
        crossed |= (log_values >= -math.log(elond_level(position))).any(axis=-1)
    return crossed


@pytest.mark.parametrize("scale", SCALES)
def test_the_closed_form_is_the_integral(scale: float) -> None:
    """Three blocks of four arms: effect and noise integrated, the means of the two other contrasts integrated too."""
    x, u = np.array([0.9, 1.6, 0.2]), np.array([[2.0, -1.0], [2.8, -0.1], [1.1, 0.3]])
    n, others = u.shape

    def marginal(delta: float) -> float:
        t = np.linspace(-3.0, 5.0, 161)
        sigma = np.exp(t)
        own = np.prod(stats.norm.pdf(x[:, None], delta * sigma, sigma), axis=0)
        for column in u.T:  # a flat prior on the mean, integrated on a grid about where it can be
            grid = column.mean() + sigma[:, None] * np.linspace(-8.0, 8.0, 161)
            likelihood = np.prod(stats.norm.pdf(column[:, None, None], grid, sigma[:, None]), axis=0)
            own = own * integrate.trapezoid(likelihood, grid, axis=-1)
        return float(integrate.trapezoid(own, t))

    deltas = np.linspace(0.0, min(8 * scale, 14.0), 141)
    top = np.array([marginal(d) for d in deltas]) * 2 * stats.norm.pdf(deltas, 0.0, scale)
    pooled = math.log(float(integrate.simpson(top, x=deltas)) / marginal(0.0))
    alone = float(log_e(n, x.sum(), x @ x, [scale]))
    expected = float(np.logaddexp(pooled, alone)) - math.log(2.0)
    residual = float(((u - u.mean(axis=0)) ** 2).sum())
    assert float(log_e(n, x.sum(), x @ x, [scale], residual=residual, others=others)) == pytest.approx(
        expected, abs=2e-3
    )


def test_without_further_contrasts_it_is_the_evidence_of_pairs() -> None:
    d = np.random.default_rng(1).normal(0.5, 1.0, size=(50, 12))
    assert np.array_equal(log_e_above(d, 0.2), log_e_above(d, 0.2, residuals=np.empty((50, 12, 0))))
    row = d[0].tolist()
    assert weigh(row, 0.0, "within") == weigh(row, 0.0, "within", residuals=[()] * 12)
    # What pairs gave before there were blocks of more arms.
    last = weigh([0.4, 1.9, -0.3, 1.1], 0.0, "greater")[-1]
    assert (last.log_e_support, last.log_e_refute) == pytest.approx((0.22875183877354222, -2.0655446606646923))
    assert last.interval == pytest.approx((-2.3387294878635227, 3.8887294878635226))


finite = st.floats(-50, 50, allow_subnormal=False)  # of which a change of unit could leave nothing
blocks_of_three = st.lists(st.tuples(finite, finite, finite), min_size=2, max_size=12)


@given(blocks_of_three, st.floats(0.0, 20.0), finite, st.floats(1e-2, 1e2))
@settings(max_examples=200)
def test_it_grows_with_the_mean_and_depends_on_no_unit_and_on_no_other_effect(
    rows: list[tuple[float, float, float]], shift: float, other: float, unit: float
) -> None:
    data = np.array(rows)
    x, u = data[:, 0], data[:, 1:]
    if np.ptp(x) < 1e-3 * (1.0 + np.abs(x).max()):
        return
    lower = log_e_above(x, 0.0, residuals=u)
    assert np.isfinite(lower).all()
    assert (log_e_above(x + shift, 0.0, residuals=u)[1:] >= lower[1:] - 1e-9).all()
    np.testing.assert_allclose(log_e_above(unit * x, 0.0, residuals=unit * u), lower, atol=1e-6)
    np.testing.assert_allclose(log_e_above(x, 0.0, residuals=u + other), lower, atol=1e-5)


@given(blocks_of_three)
def test_the_running_residual_is_the_sum_of_squares_about_the_means(rows: list[tuple[float, float, float]]) -> None:
    u = np.array(rows)
    expected = [((u[:n] - u[:n].mean(axis=0)) ** 2).sum() for n in range(1, len(u) + 1)]
    np.testing.assert_allclose(running_residual(u), expected, atol=1e-8)
    assert pooled_count(len(u), 3) == len(u) + 3 * (len(u) - 1)


def test_its_expectation_under_the_null_is_one_at_any_time() -> None:
    """At a fixed time and at a time chosen by the evidence itself. The others' effects are large, and say nothing."""
    y = np.random.default_rng(2).normal([9.0, 5.0, -7.0, 3.0], 2.0, size=(200_000, 4, 4))
    x, residuals = contrasts(y, 0)
    x = x - float(HALF_FRACTION[1] @ [9.0, 5.0, -7.0, 3.0])
    log_values = log_e_above(x, 0.0, residuals=residuals)
    for n in (0, 1):  # later ones have means too heavy-tailed to measure
        e = np.exp(log_values[:, n])
        assert abs(np.minimum(e, 1e6).mean() - 1.0) <= 4.0 * e.std() / math.sqrt(len(e)) + 1e-3
    early = (log_values >= math.log(5.0)).argmax(axis=-1)
    stop = np.where((log_values >= math.log(5.0)).any(axis=-1), early, 3)
    e = np.exp(np.take_along_axis(log_values, stop[:, None], axis=-1)[:, 0])
    assert e.mean() - 4.0 * e.std() / math.sqrt(len(e)) <= 1.0


@pytest.mark.parametrize("mean", [0.0, -0.4])
@pytest.mark.parametrize("level", [0.05, 0.0304, 0.0034])
def test_the_null_is_rarely_rejected_however_often_one_looks(mean: float, level: float) -> None:
    x, residuals = contrasts(np.random.default_rng(3).normal(size=(PATHS, 50, 4)), 1)
    hits = (log_e_above(x + mean, 0.0, residuals=residuals) >= -math.log(level)).any(axis=-1)
    assert bounds(hits)[1] <= level


Draw = Callable[[np.random.Generator, tuple[int, int, int]], np.ndarray]


def uneven(*sds: float) -> Draw:
    return lambda rng, shape: rng.normal(size=shape) * np.array(sds)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("equal", uneven(1, 1, 1, 1)),
        ("1, 1, 1, 4", uneven(1, 1, 1, 4)),
        ("1, 1, 1, 10", uneven(1, 1, 1, 10)),
        ("10, 1, 1, 1", uneven(10, 1, 1, 1)),
        ("1, 1, 10, 10", uneven(1, 1, 10, 10)),
        ("1, 3, 9, 27", uneven(1, 3, 9, 27)),
        ("laplace", lambda rng, shape: rng.laplace(size=shape)),
        ("t3", lambda rng, shape: rng.standard_t(3, shape)),
        ("t3 in one arm", lambda rng, shape: rng.standard_t(3, shape) * np.array([1, 1, 1, 10])),
        ("exponential", lambda rng, shape: rng.exponential(size=shape) - 1.0),
    ],
)
def test_noise_that_is_neither_equal_nor_normal_keeps_the_level_of_three_claims(
    name: str, draw: Draw, sign: float
) -> None:
    """Not proven for these, only measured: any of three claims on the same blocks, looked at after each of twelve."""
    y = draw(np.random.default_rng(4), (2 * PATHS, 12, 4))
    assert bounds(family_crossings(y, sign))[1] <= 0.05


def test_the_pooled_e_value_by_itself_would_not() -> None:
    """Why the mean with the unpooled one is used: a control that can fail."""
    y = uneven(10, 1, 1, 1)(np.random.default_rng(4), (2 * PATHS, 12, 4))
    crossed = np.zeros(len(y), dtype=bool)
    for position in (1, 2, 3):
        x, u = contrasts(y, position - 1)
        both = log_e_above(x, 0.0, residuals=u)
        alone = log_e_above(x, 0.0)
        pooled = both + math.log(2.0) + np.log1p(-np.minimum(np.exp(alone - both) / 2.0, 1.0 - 1e-12))
        crossed |= (pooled >= -math.log(elond_level(position))).any(axis=-1)
    assert bounds(crossed)[0] > 0.05


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("a hundred times", uneven(1, 1, 1, 100)),
        ("one long-tailed arm", lambda rng, shape: (1.0 - rng.exponential(size=shape)) * np.array([1, 1, 1, 10])),
    ],
)
def test_the_limits_of_that(name: str, draw: Draw) -> None:
    """Known and stated: one arm a hundred times noisier, or one arm of very skewed noise, break the level."""
    y = draw(np.random.default_rng(5), (2 * PATHS, 12, 4))
    assert bounds(family_crossings(y))[0] > 0.05


def test_a_skewed_arm_breaks_the_evidence_of_pairs_too() -> None:
    d = 1.0 - np.random.default_rng(6).exponential(size=(PATHS, 12))
    assert bounds((log_e_above(d, 0.0) >= -math.log(elond_level(1))).any(axis=-1))[0] > 0.05


def test_pooling_finds_two_standard_deviations_in_seven_blocks() -> None:
    y = np.random.default_rng(7).normal(size=(PATHS, 7, 4))
    x, residuals = contrasts(y, 0)
    threshold = -math.log(elond_level(1))
    support, refute = log_e_pair(x + 2.0, 0.0, "greater", residuals=residuals)
    assert bounds((support >= threshold).any(axis=-1))[0] >= 0.90
    unpooled, _ = log_e_pair(x + 2.0, 0.0, "greater")
    assert (unpooled >= threshold).any(axis=-1).mean() <= 0.75
    assert (refute >= threshold).any(axis=-1).mean() < 0.001


@pytest.mark.parametrize("mean", [1.0, -1.0])
def test_irrelevance_is_neither_supported_nor_refuted_wrongly(mean: float) -> None:
    x, residuals = contrasts(np.random.default_rng(8).normal(size=(PATHS, 20, 4)), 2)
    support, refute = log_e_pair(x + mean, 1.0, "within", residuals=residuals)
    for log_values in (support, refute):
        assert bounds((log_values >= math.log(20.0)).any(axis=-1))[1] <= 0.05


def test_the_interval_covers_at_all_times_at_once() -> None:
    y = np.random.default_rng(9).normal(size=(1000, 15, 4))
    x, u = contrasts(y, 0)
    missed = 0
    for row, further in zip(x + 3.0, u, strict=True):
        intervals = [item.interval for item in weigh(row.tolist(), 0.0, "greater", residuals=further.tolist())]
        missed += any(low is not None and high is not None and not low <= 3.0 <= high for low, high in intervals)
    assert bounds(np.arange(1000) < missed)[0] <= 0.05
    paired, pooled = confidence_sequence([1.0, 3.0, 2.0]), confidence_sequence([1.0, 3.0, 2.0], residual=4.0, others=2)
    assert paired[0] is not None and pooled[0] is not None and pooled[0] > paired[0]


def test_weighing_pools_the_noise() -> None:
    trail = weigh([1.0, 1.2, 0.8], 0.5, "greater", residuals=[(0.0, 5.0), (0.4, 5.2), (0.2, 5.4)])
    squares = 0.08 + 0.08 + 0.08
    assert trail[-1].sd == pytest.approx(math.sqrt(squares / 6)) and trail[0].sd is None
    assert trail[-1].estimate == pytest.approx(1.0) and trail[0].interval == (None, None)
    expected = log_e(3, 1.5, 0.83, residual=0.16, others=2)
    assert trail[-1].log_e_support == pytest.approx(float(expected))
    with pytest.raises(ValueError, match="not finite"):
        weigh([1.0], 0.0, "greater", residuals=[(math.inf, 0.0)])
    with pytest.raises(ValueError, match="same number"):
        weigh([1.0, 2.0], 0.0, "greater", residuals=[(1.0, 0.0), (1.0,)])
