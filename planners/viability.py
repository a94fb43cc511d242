"""Where does the process work at all? A Gaussian-process classifier on completed against failed points.

Laplace's approximation with a probit likelihood (Rasmussen & Williams 2006, ch. 3), hyper-parameters by the
approximate evidence over a small grid, coordinate by coordinate: deterministic, and milliseconds for tens of points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import norm
from torch import Tensor

from athanor.planners.hyperparameters import Matrix, squared_gaps
from athanor.planners.space import Space

LENGTHS = (0.15, 0.3, 0.6, 1.2, 4.0)
SCALE = 4.0
"""Prior variance of the latent function: wide enough for near certainty on either side."""
BASE = (0.25, 0.75)
"""Least and greatest belief that a point works about which nothing is known."""
LENGTH_PRIOR = (math.log(0.6), 0.8)
SWEEPS = 2


@dataclass(frozen=True)
class Viability:
    """Predicts P(the process works) in the space's rows; `threshold` is where it starts to weigh on a choice."""

    rows: Tensor
    mean: float
    lengths: Tensor
    weights: Tensor
    inverse: Tensor

    def probability(self, rows: Tensor) -> Tensor:
        """Return P(viable) for rows (…, d), shape (…)."""
        scaled = rows / self.lengths
        gaps = (scaled.unsqueeze(-2) - (self.rows / self.lengths)).square().sum(dim=-1)
        cross = SCALE * torch.exp(-0.5 * gaps)
        mean = self.mean + cross @ self.weights
        variance = (SCALE - ((cross @ self.inverse) * cross).sum(dim=-1)).clamp_min(1e-9)
        return torch.special.ndtr(mean / (1.0 + variance).sqrt())


def fit(space: Space, worked: Matrix, failed: Matrix) -> Viability | None:
    """Fit to rows where the process worked and rows where it failed; None without a failure."""
    if len(failed) == 0:
        return None
    rows = np.concatenate([worked, failed])
    labels = np.concatenate([np.ones(len(worked)), -np.ones(len(failed))])
    # Far from every point the belief is the share that worked so far: where most fails, strangers are not trusted.
    share = min(max((len(worked) + 2.0) / (len(rows) + 3.0), BASE[0]), BASE[1])
    prior = float(norm.ppf(share)) * math.sqrt(1.0 + SCALE)
    gaps = squared_gaps(rows, space.groups)
    count = len(gaps)
    lengths = np.full(count, 0.6)

    def quality(candidate: Matrix) -> float:
        z = (np.log(candidate) - LENGTH_PRIOR[0]) / LENGTH_PRIOR[1]
        return _laplace(gaps, labels, candidate, prior)[0] - 0.5 * float(z @ z)

    best = quality(lengths)
    for _ in range(SWEEPS):
        for g in range(count):
            for length in LENGTHS:
                trial = lengths.copy()
                trial[g] = length
                value = quality(trial)
                if value > best + 1e-9:
                    best, lengths = value, trial
    _, weights, inverse = _laplace(gaps, labels, lengths, prior)
    return Viability(
        torch.as_tensor(rows),
        prior,
        torch.as_tensor(lengths[space.groups]),
        torch.as_tensor(weights),
        torch.as_tensor(inverse),
    )


def _laplace(gaps: Matrix, labels: Matrix, lengths: Matrix, prior: float) -> tuple[float, Matrix, Matrix]:
    """Return approximate log evidence, weights K⁻¹(f̂ − m), and (K + W⁻¹)⁻¹."""
    n = len(labels)
    kernel = SCALE * np.exp(-0.5 * np.tensordot(lengths**-2.0, gaps, axes=1)) + 1e-8 * np.eye(n)
    a = np.zeros(n)
    f = np.full(n, prior)
    root = np.ones(n)
    factor = cho_factor(np.eye(n), lower=True)
    for _ in range(30):
        z = labels * f
        ratio = np.exp(norm.logpdf(z) - norm.logcdf(z))
        slope = labels * ratio
        curvature = np.maximum(ratio * (ratio + z), 1e-10)
        root = np.sqrt(curvature)
        factor = cho_factor(np.eye(n) + root[:, None] * kernel * root[None, :], lower=True)
        b = curvature * (f - prior) + slope
        a = b - root * cho_solve(factor, root * (kernel @ b))
        updated = prior + kernel @ a
        done = float(np.abs(updated - f).max()) < 1e-8
        f = updated
        if done:
            break
    evidence = -0.5 * float(a @ (f - prior)) + float(norm.logcdf(labels * f).sum())
    evidence -= float(np.log(np.diag(factor[0])).sum())
    inverse = root[:, None] * cho_solve(factor, np.diag(root))
    return evidence, a, inverse
