"""Anytime-valid evidence: an e-process for "the mean of the block statistics is at most a bound", variance unknown.

For i.i.d. normal block statistics x₁…xₙ (margin already subtracted) the e-value is the Bayes factor of a standardised
effect δ > 0, half-normal with scale g, against δ = 0, with the right-Haar prior dσ/σ on the common scale. With
s = Σx / √Σx², κ² = n + 1/g² and r = s/κ it has the closed form

    E_n = 2 (1 + n g²)^(-1/2) · (1 − r²)^(-n/2) · F_{t,n}( √n · r / √(1 − r²) )

where F_{t,n} is the distribution function of Student's t with n degrees of freedom (integrate δ, then σ). Ours is the
equal mixture over `SCALES`: 1 for effects near the noise, 8 for the large effects of a clean instrument.

Pooled variance. A block of k arms has k − 2 further contrasts, orthogonal to x and to the block mean and scaled to the
same size. Under equal noise they are independent of x, with its variance σ² and unknown means μ_j. A flat prior on the
μ_j (with dσ/σ the right-Haar prior of the group of scale and of shifts of these contrasts) leaves of each the factor
σ^(1−n) exp(−S_j/2σ²), S_j = Σ_i (u_ij − ū_j)². With S = Σ_j S_j and m = n + (k−2)(n−1) the integral over σ is
∫ σ^(−m−1) exp(−(Σx² + S)/2σ² + δ Σx/σ − nδ²/2) dσ: the form above with s = Σx / √(Σx² + S), n replaced by m in the
exponent, in √n and as degrees of freedom, and κ² = n + 1/g² kept, since only the n values of x speak of δ. As the Bayes
factor of the maximal invariant it is again a non-negative martingale under the null, if the noise of all arms is equal.

Where it is not equal, the contrasts are correlated and the pooled e-value is too sure of the noise; the unpooled one is
still exact. Ours for k > 2 is the mean of the two: an e-value wherever both are. When one arm of four has ten times the
noise of the others, three claims on the same runs still keep α = 0.05 together (measured in `tests`); at a hundred
times they do not. Pairs have no further contrasts, and there the two are one.

Validity. With mean zero, E_n is a non-negative martingale of the scale-invariant data, so P(sup_n E_n ≥ 1/α) ≤ α
(Ville), for any stopping. With a mean below zero, adding the missing constant to every x raises s, hence every E_n,
path by path: the bound holds for the whole one-sided null. The arms of a pair may have different noise, since their
difference is still normal and blocks are alike. Normality is assumed, not checked; `tests` measure what heavier tails
do.

Sources: T. L. Lai, Annals of Statistics 4 (1976) 265; Pérez-Ortiz, Lardy, de Heide & Grünwald, Annals of Statistics 52
(2024) 1410 (group-invariant e-values); Wang & Ramdas, "Anytime-valid t-tests and confidence sequences" (2025).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

SCALES: tuple[float, ...] = (1.0, 8.0)
"""Scales of the half-normal mixture over the standardised effect of one block."""

INTERVAL_SCALE = 4.0
"""Scale of the two-sided mixture behind the confidence sequence: bounded from three blocks on."""

Floats = npt.NDArray[np.float64]


class Evidence(BaseModel):
    """The evidence after `blocks` blocks. `log_e_…` are natural logarithms.

    `estimate`, `sd` and `interval` carry the unit of d. `sd` is the standard deviation of one block's d, pooled over
    the block's contrasts. `interval` is the running 95 % confidence sequence of E[d]: it covers at all block counts at
    once, with equal noise in the arms. An end is None where it is still unbounded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: int
    estimate: float
    sd: float | None
    interval: tuple[float | None, float | None]
    log_e_support: float
    log_e_refute: float


def pooled_count(n: npt.ArrayLike, others: int) -> Floats:
    """The m of the closed form: the number of blocks n, and n − 1 for each of the `others` further contrasts."""
    count = np.asarray(n, dtype=np.float64)
    result: Floats = count + others * (count - 1.0)
    return result


def log_e(
    n: npt.ArrayLike,
    total: npt.ArrayLike,
    squares: npt.ArrayLike,
    scales: Sequence[float] = SCALES,
    *,
    residual: npt.ArrayLike | None = None,
    others: int = 0,
) -> Floats:
    """Log of the one-sided e-value from sums, elementwise; with further contrasts the mean of unpooled and pooled.

    Args:
        n: number of blocks, ≥ 1.
        total: Σx of the block statistics less the null's bound, so that large values speak against the null.
        squares: Σx², the same shape.
        scales: half-normal scales g of the mixture, equal weights.
        residual: S, the squares of the further contrasts about their means, the same shape; None where there are none.
        others: number of further contrasts in a block.

    Returns:
        natural logarithm of E_n, the broadcast shape of the arguments. Where all x are zero it is E_n at s = 0.
    """
    return _log_e(n, total, np.sqrt(squares), scales, None if residual is None else np.sqrt(residual), others)


def _log_e(
    n: npt.ArrayLike,
    total: npt.ArrayLike,
    norm: npt.ArrayLike,
    scales: Sequence[float],
    residual_norm: npt.ArrayLike | None,
    others: int,
) -> Floats:
    """`log_e` from roots of the sums of squares, which do not underflow where the squares would."""
    alone = _log_bayes_factor(n, total, norm, n, scales)
    if residual_norm is None or others == 0:
        return alone
    pooled = _log_bayes_factor(n, total, np.hypot(norm, residual_norm), pooled_count(n, others), scales)
    return np.logaddexp(alone, pooled) - math.log(2.0)


def _log_bayes_factor(
    n: npt.ArrayLike, total: npt.ArrayLike, norm: npt.ArrayLike, freedom: npt.ArrayLike, scales: Sequence[float]
) -> Floats:
    """The closed form; `freedom` is m, and `norm` is √(Σx² + S)."""
    from scipy.special import stdtr

    # The mixture has an axis of its own, in front.
    g2 = np.square(np.asarray(scales, dtype=np.float64))
    arrays = (np.asarray(a, dtype=np.float64) for a in (n, total, norm, freedom))
    count, sum_x, root, m = np.broadcast_arrays(*arrays)
    g2 = g2.reshape(-1, *(1,) * count.ndim)
    # s² ≤ n by Cauchy–Schwarz; rounding must not push it over.
    s2 = np.minimum(np.square(sum_x / np.where(root > 0.0, root, 1.0)), count)
    spread = 1.0 + count * g2
    r2 = s2 * g2 / spread
    rest = 1.0 - r2
    t = np.copysign(np.sqrt(m * r2 / rest), sum_x)
    tail = np.maximum(stdtr(m, t), 1e-300)
    parts = math.log(2.0) - 0.5 * np.log(spread) - 0.5 * m * np.log(rest) + np.log(tail)
    peak = parts.max(axis=0)
    result: Floats = peak + np.log(np.exp(parts - peak).mean(axis=0))
    return result


def running_residual(residuals: npt.ArrayLike) -> Floats:
    """S after each block: the squares of the further contrasts about their means so far; (…, n, k − 2) gives (…, n)."""
    result: Floats = np.square(_running_residual_norm(residuals))
    return result


def _running_residual_norm(residuals: npt.ArrayLike) -> Floats:
    """√S after each block, by Welford's recurrence: nothing is taken away from a larger sum, nothing underflows."""
    u = np.asarray(residuals, dtype=np.float64)
    if u.shape[-1] == 0:
        return np.zeros(u.shape[:-1])
    u = u - u[..., :1, :]  # S does not depend on the means; near them, rounding takes less away
    n = np.arange(1, u.shape[-2], dtype=np.float64)[:, None]
    means = u.cumsum(axis=-2)[..., :-1, :] / n
    steps = np.zeros_like(u)
    steps[..., 1:, :] = (u[..., 1:, :] - means) * np.sqrt(n / (n + 1.0))
    result: Floats = np.hypot.accumulate(np.hypot.reduce(steps, axis=-1), axis=-1)
    return result


def log_e_above(
    x: npt.ArrayLike, bound: float, scales: Sequence[float] = SCALES, residuals: npt.ArrayLike | None = None
) -> Floats:
    """Running log e-values against the null "E[x] ≤ bound" along the last axis: shape (…, n) gives (…, n).

    `residuals`, shape (…, n, k − 2), are the further contrasts of the blocks.
    """
    shifted = np.asarray(x, dtype=np.float64) - bound
    n = np.arange(1, shifted.shape[-1] + 1, dtype=np.float64)
    total, norm = shifted.cumsum(axis=-1), np.hypot.accumulate(np.abs(shifted), axis=-1)
    if residuals is None:
        return _log_e(n, total, norm, scales, None, 0)
    return _log_e(n, total, norm, scales, _running_residual_norm(residuals), np.asarray(residuals).shape[-1])


def log_e_pair(
    d: npt.ArrayLike,
    margin: float,
    sided: Literal["greater", "within"],
    scales: Sequence[float] = SCALES,
    residuals: npt.ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """Running log e-values for and against a claim, along the last axis of the block statistics d.

    `residuals`, one axis more, are the further contrasts of the blocks.

    "greater" (E[d] > margin): support speaks against E[d] ≤ margin, refutation against E[d] ≥ margin.
    "within" (|E[d]| < margin): support is the lesser of the e-values against E[d] ≥ margin and E[d] ≤ −margin (both
    must fall); refutation is the mean of the e-values against E[d] ≤ margin and E[d] ≥ −margin (either may fall; a
    mean of e-values is an e-value under any dependence).
    """
    x = np.asarray(d, dtype=np.float64)

    def above(values: Floats, bound: float) -> Floats:
        return log_e_above(values, bound, scales, residuals)

    if sided == "greater":
        return above(x, margin), above(-x, -margin)
    support = np.minimum(above(-x, -margin), above(x, -margin))
    refute = np.logaddexp(above(x, margin), above(-x, margin)) - math.log(2.0)
    return support, refute


def confidence_sequence(
    d: Sequence[float],
    alpha: float = 0.05,
    scale: float = INTERVAL_SCALE,
    *,
    residual: float = 0.0,
    others: int = 0,
) -> tuple[float | None, float | None]:
    """The interval for E[d] that covers at all block counts at once with probability ≥ 1 − α; unit of d.

    It collects the means whose two-sided e-value (1 + n g²)^(-1/2) (1 − r²)^(-m/2) stays below 1/α, in closed form.
    `residual` is S and `others` the number of further contrasts in a block; without them m = n.
    Returns (None, None) while it is unbounded (few blocks).
    """
    n = len(d)
    if n < 2:
        return None, None
    mean = math.fsum(d) / n
    deviation = math.fsum((x - mean) ** 2 for x in d) + residual
    spread = 1.0 + n * scale * scale
    s2 = spread / scale**2 * (1.0 - (alpha / math.sqrt(spread)) ** (2.0 / float(pooled_count(n, others))))
    if s2 >= n:
        return None, None
    half = math.sqrt(s2 * deviation / (n * (n - s2)))
    return mean - half, mean + half


def weigh(
    d: Sequence[float],
    margin: float,
    sided: Literal["greater", "within"],
    scales: Sequence[float] = SCALES,
    residuals: Sequence[Sequence[float]] = (),
) -> list[Evidence]:
    """The evidence after each block, in order.

    Args:
        d: the statistic of each block.
        margin: of the claim, in the unit of d.
        sided: as in `log_e_pair`.
        scales: of the e-process.
        residuals: the further contrasts of each block, the same number in all; none for pairs.

    Raises:
        ValueError: a statistic is not finite, or blocks differ in their number of contrasts.
    """
    if not all(math.isfinite(x) for x in itertools.chain(d, *residuals)):
        raise ValueError("a block statistic is not finite")
    if not d:
        return []
    rows = list(residuals) or [()] * len(d)
    others = len(rows[0])
    if len(rows) != len(d) or any(len(row) != others for row in rows):
        raise ValueError("every block of a test has the same number of further contrasts")
    further = np.asarray(rows, dtype=np.float64).reshape(len(d), others)
    support, refute = log_e_pair(list(d), margin, sided, scales, further)
    left_over = running_residual(further)
    trail = []
    for n in range(1, len(d) + 1):
        mean = math.fsum(d[:n]) / n
        residual = float(left_over[n - 1])
        deviation = math.fsum((x - mean) ** 2 for x in d[:n]) + residual
        freedom = float(pooled_count(n, others)) - 1.0
        trail.append(
            Evidence(
                blocks=n,
                estimate=mean,
                sd=math.sqrt(deviation / freedom) if n > 1 else None,
                interval=confidence_sequence(d[:n], residual=residual, others=others),
                log_e_support=float(support[n - 1]),
                log_e_refute=float(refute[n - 1]),
            )
        )
    return trail
