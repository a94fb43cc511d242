"""Error control over all hypotheses of a campaign: e-LOND as they arrive, e-BH when it is over.

e-LOND (Xu & Ramdas, "Online multiple testing with e-values", AISTATS 2024) gives the t-th registered hypothesis the
level α_t = α γ_t (1 + discoveries among those registered before it, known at its registration) with Σ γ_t = 1, and
decides once its e-value reaches 1/α_t. The level is fixed at registration and stored there. The false discovery rate
is at most α under any dependence, so hypotheses may share runs. If every null is true, the chance of any false verdict
is at most α, by Ville's inequality and Σ α γ_t ≤ α alone. Supported and refuted verdicts are two families, each at α.

The proof needs stopped e-values: for directional claims our stopping rules look at nothing but the scale-invariant
statistic that the e-value is built on; for irrelevance claims (two bounds) simulation stands in for a proof.

e-BH (Wang & Ramdas, JRSS-B 84 (2022) 822) is applied to the final e-values of a campaign for its report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

ALPHA = 0.05
"""Default level of each family of a campaign."""


def gamma(position: int) -> float:
    """Share γ_t = 6/(π² t²) of α for the t-th registration, t from 1. The shares add up to 1."""
    if position < 1:
        raise ValueError(f"positions count from 1, not {position}")
    return 6.0 / (math.pi**2 * position**2)


def elond_level(position: int, discoveries: int = 0, alpha: float = ALPHA) -> float:
    """The level α_t of the hypothesis registered `position`-th, after `discoveries` earlier ones in its family."""
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    if not 0 <= discoveries < position:
        raise ValueError(f"{discoveries} discoveries cannot precede registration {position}")
    return min(alpha, alpha * gamma(position) * (1 + discoveries))


def e_bh(log_e_values: Sequence[float], alpha: float = ALPHA) -> list[bool]:
    """The e-BH decisions at level α, in the order given: true where the null is rejected.

    The k largest e-values are rejected for the largest k whose k-th largest is ≥ m/(k α), m being their number.
    """
    m = len(log_e_values)
    order = sorted(range(m), key=lambda i: -log_e_values[i])
    last = 0
    for k, i in enumerate(order, start=1):
        if log_e_values[i] >= math.log(m / (k * alpha)):
            last = k
    rejected = set(order[:last])
    return [i in rejected for i in range(m)]
