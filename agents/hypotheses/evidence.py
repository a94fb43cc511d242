"""Anytime-valid evidence: an e-process for "the mean of the block statistics is at most a bound", variance unknown.

For i.i.d. normal block statistics x₁…xₙ (margin already subtracted) the e-value is the Bayes factor of a standardised
effect δ > 0, half-normal with scale g, against δ = 0, with the right-Haar prior dσ/σ on the common scale. With
s = Σx / √Σx², κ² = n + 1/g² and r = s/κ it has the closed form

    E_n = 2 (1 + n g²)^(-1/2) · (1 − r²)^(-n/2) · F_{t,n}( √n · r / √(1 − r²) )

where F_{t,n} is the distribution function of Student's t with n degrees of freedom (integrate δ, then σ). Ours is the
equal mixture over `SCALES`: 1 for effects near the noise, 8 for the large effects of a clean instrument.

Validity. With mean zero, E_n is a non-negative martingale of the scale-invariant data, so P(sup_n E_n ≥ 1/α) ≤ α
(Ville), for any stopping. With a mean below zero, adding the missing constant to every x raises s, hence every E_n,
path by path: the bound holds for the whole one-sided null. Arms may have different noise, since a block's sum is still
normal and blocks are alike. Normality is assumed, not checked; `tests` measure what heavier tails do.

Sources: T. L. Lai, Annals of Statistics 4 (1976) 265; Pérez-Ortiz, Lardy, de Heide & Grünwald, Annals of Statistics 52
(2024) 1410 (group-invariant e-values); Wang & Ramdas, "Anytime-valid t-tests and confidence sequences" (2025).
"""

from __future__ import annotations

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

    `estimate`, `sd` and `interval` carry the unit of d. `interval` is the running 95 % confidence sequence of E[d]:
    it covers at all block counts at once. An end is None where it is still unbounded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: int
    estimate: float
    sd: float | None
    interval: tuple[float | None, float | None]
    log_e_support: float
    log_e_refute: float


def log_e(n: npt.ArrayLike, total: npt.ArrayLike, squares: npt.ArrayLike, scales: Sequence[float] = SCALES) -> Floats:
    """Log of the one-sided e-value from sums, elementwise.

    Args:
        n: number of blocks, ≥ 1.
        total: Σx of the block statistics less the null's bound, so that large values speak against the null.
        squares: Σx², the same shape.
        scales: half-normal scales g of the mixture, equal weights.

    Returns:
        natural logarithm of E_n, the broadcast shape of the arguments. Where all x are zero it is E_n at s = 0.
    """
    from scipy.special import stdtr

    # The mixture has an axis of its own, in front.
    g2 = np.square(np.asarray(scales, dtype=np.float64))
    count, sum_x, sum_xx = np.broadcast_arrays(*(np.asarray(a, dtype=np.float64) for a in (n, total, squares)))
    g2 = g2.reshape(-1, *(1,) * count.ndim)
    # s² ≤ n by Cauchy–Schwarz; rounding must not push it over.
    s2 = np.minimum(np.where(sum_xx > 0.0, sum_x * sum_x / np.where(sum_xx > 0.0, sum_xx, 1.0), 0.0), count)
    spread = 1.0 + count * g2
    r2 = s2 * g2 / spread
    rest = 1.0 - r2
    t = np.copysign(np.sqrt(count * r2 / rest), sum_x)
    tail = np.maximum(stdtr(count, t), 1e-300)
    parts = math.log(2.0) - 0.5 * np.log(spread) - 0.5 * count * np.log(rest) + np.log(tail)
    peak = parts.max(axis=0)
    result: Floats = peak + np.log(np.exp(parts - peak).mean(axis=0))
    return result


def log_e_above(x: npt.ArrayLike, bound: float, scales: Sequence[float] = SCALES) -> Floats:
    """Running log e-values against the null "E[x] ≤ bound" along the last axis: shape (…, n) gives (…, n)."""
    shifted = np.asarray(x, dtype=np.float64) - bound
    n = np.arange(1, shifted.shape[-1] + 1, dtype=np.float64)
    return log_e(n, shifted.cumsum(axis=-1), (shifted * shifted).cumsum(axis=-1), scales)


def log_e_pair(
    d: npt.ArrayLike, margin: float, sided: Literal["greater", "within"], scales: Sequence[float] = SCALES
) -> tuple[Floats, Floats]:
    """Running log e-values for and against a claim, along the last axis of the block statistics d.

    "greater" (E[d] > margin): support speaks against E[d] ≤ margin, refutation against E[d] ≥ margin.
    "within" (|E[d]| < margin): support is the lesser of the e-values against E[d] ≥ margin and E[d] ≤ −margin (both
    must fall); refutation is the mean of the e-values against E[d] ≤ margin and E[d] ≥ −margin (either may fall; a
    mean of e-values is an e-value under any dependence).
    """
    x = np.asarray(d, dtype=np.float64)
    if sided == "greater":
        return log_e_above(x, margin, scales), log_e_above(-x, -margin, scales)
    support = np.minimum(log_e_above(-x, -margin, scales), log_e_above(x, -margin, scales))
    refute = np.logaddexp(log_e_above(x, margin, scales), log_e_above(-x, margin, scales)) - math.log(2.0)
    return support, refute


def confidence_sequence(
    d: Sequence[float], alpha: float = 0.05, scale: float = INTERVAL_SCALE
) -> tuple[float | None, float | None]:
    """The interval for E[d] that covers at all block counts at once with probability ≥ 1 − α; unit of d.

    It collects the means whose two-sided e-value (1 + n g²)^(-1/2) (1 − r²)^(-n/2) stays below 1/α, in closed form.
    Returns (None, None) while it is unbounded (few blocks).
    """
    n = len(d)
    if n < 2:
        return None, None
    mean = math.fsum(d) / n
    deviation = math.fsum((x - mean) ** 2 for x in d)
    spread = 1.0 + n * scale * scale
    s2 = spread / scale**2 * (1.0 - (alpha / math.sqrt(spread)) ** (2.0 / n))
    if s2 >= n:
        return None, None
    half = math.sqrt(s2 * deviation / (n * (n - s2)))
    return mean - half, mean + half


def weigh(
    d: Sequence[float], margin: float, sided: Literal["greater", "within"], scales: Sequence[float] = SCALES
) -> list[Evidence]:
    """The evidence after each block, in order. Raises ValueError if a statistic is not finite."""
    if not all(math.isfinite(x) for x in d):
        raise ValueError("a block statistic is not finite")
    if not d:
        return []
    support, refute = log_e_pair(list(d), margin, sided, scales)
    trail = []
    for n in range(1, len(d) + 1):
        mean = math.fsum(d[:n]) / n
        deviation = math.fsum((x - mean) ** 2 for x in d[:n])
        trail.append(
            Evidence(
                blocks=n,
                estimate=mean,
                sd=math.sqrt(deviation / (n - 1)) if n > 1 else None,
                interval=confidence_sequence(d[:n]),
                log_e_support=float(support[n - 1]),
                log_e_refute=float(refute[n - 1]),
            )
        )
    return trail
