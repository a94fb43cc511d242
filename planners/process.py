"""A Gaussian process averaged over draws of its hyper-parameters, in torch, with gradients in where it is evaluated.

Written out instead of using GPyTorch because a campaign's processes are tiny: evaluating one here takes a tenth of
the time, which goes into more starts of the search. BoTorch supplies the numerics of the acquisitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from athanor.planners.hyperparameters import Hyperparameters, Matrix

RESOLUTION = 1e-7
"""Variance, relative to the process's own, added where noise-free values are conditioned on."""


class Borrowed(Protocol):
    """What is believed of an outcome before its own data, from elsewhere: added to a process's own, for each draw."""

    @property
    def size(self) -> Tensor:
        """Return the largest variance there is, (h, 1)."""
        ...

    def mean(self, a: Tensor) -> Tensor:
        """Return means (h, p) at rows (p, d)."""
        ...

    def variance(self, a: Tensor) -> Tensor:
        """Return variances (h, p) at rows (p, d)."""
        ...

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return covariances (h, p, q) between rows (p, d) and (q, d)."""
        ...


@dataclass(frozen=True)
class Process:
    """Posterior of one outcome on its model scale, with h draws of the hyper-parameters, all equally likely.

    Shapes: rows (n, d), metrics (h, d, d), scale and mean (h, 1), factor (h, n, n), alpha (h, n).
    """

    rows: Tensor
    metrics: Tensor
    scale: Tensor
    mean: Tensor
    factor: Tensor
    alpha: Tensor
    borrowed: Borrowed | None = None

    @classmethod
    def build(
        cls, rows: Matrix, y: Matrix, draws: Sequence[Hyperparameters], borrowed: Borrowed | None = None
    ) -> Process:
        """Condition on outcomes y (n,) at rows (n, d); `borrowed` has as many draws."""
        x = torch.as_tensor(rows)
        metrics = torch.as_tensor(np.stack([found.metric for found in draws]))
        scale = torch.tensor([[found.scale] for found in draws], dtype=torch.double)
        mean = torch.tensor([[found.mean] for found in draws], dtype=torch.double)
        noise = torch.as_tensor(np.stack([found.noise for found in draws]))
        bare = cls(x, metrics, scale, mean, torch.eye(1), torch.zeros(1), borrowed)
        factor = _cholesky(bare.kernel(x, x) + torch.diag_embed(noise), bare.size)
        residual = (torch.as_tensor(y) - bare.prior_mean(x)).unsqueeze(-1)
        alpha = torch.cholesky_solve(residual, factor).squeeze(-1)
        return cls(x, metrics, scale, mean, factor, alpha, borrowed)

    @property
    def size(self) -> Tensor:
        """The largest variance (h, 1) before any data."""
        return self.scale if self.borrowed is None else self.scale + self.borrowed.size

    def prior_mean(self, x: Tensor) -> Tensor:
        """Return the mean (h, p) before any data at rows (p, d); (h, 1) where it is constant."""
        return self.mean if self.borrowed is None else self.mean + self.borrowed.mean(x)

    def prior_variance(self, x: Tensor) -> Tensor:
        """Return the variance (h, p) before any data at rows (p, d); (h, 1) where it is constant."""
        return self.scale if self.borrowed is None else self.scale + self.borrowed.variance(x)

    def kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """Return prior covariances (h, p, q) between rows (p, d) and (q, d)."""
        own = self._own_kernel(a, b)
        return own if self.borrowed is None else own + self.borrowed.covariance(a, b)

    def _own_kernel(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = a @ self.metrics.mT, b @ self.metrics.mT
        gaps = a.square().sum(-1, keepdim=True) + b.square().sum(-1).unsqueeze(-2) - 2.0 * a @ b.mT
        # The floor keeps the gradient of the root finite where two rows coincide.
        r = (5.0 * gaps.clamp_min(1e-20)).sqrt()
        return self.scale.unsqueeze(-1) * (1.0 + r + r.square() / 3.0) * torch.exp(-r)

    def components(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and variances, each (h, p), of the noise-free outcome at rows (p, d), draw by draw."""
        cross = self.kernel(x, self.rows)
        solved = torch.linalg.solve_triangular(self.factor, cross.mT, upper=False)
        mean = self.prior_mean(x) + (cross @ self.alpha.unsqueeze(-1)).squeeze(-1)
        return mean, (self.prior_variance(x) - solved.square().sum(-2)).clamp_min(1e-12 * self.scale)

    def marginal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (p,) of the noise-free outcome at rows (p, d), over all draws."""
        mean, variance = self.components(x)
        return mean.mean(0), variance.mean(0) + mean.var(0, correction=0)

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return covariances (h, p, q) of the noise-free outcome at rows (p, d) with those at (q, d), draw by draw."""
        sides = [torch.linalg.solve_triangular(self.factor, self.kernel(self.rows, x), upper=False) for x in (a, b)]
        return self.kernel(a, b) - sides[0].mT @ sides[1]

    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (p,) and covariance (p, p) of the noise-free outcome at rows (p, d), over all draws."""
        means, covariances = self._joint(x)
        apart = means - means.mean(0)
        return means.mean(0), covariances.mean(0) + apart.T @ apart / len(means)

    def draw(self, x: Tensor, normals: Tensor) -> Tensor:
        """Return joint samples (h, s, p) at rows (p, d) from standard normals (h, s, p)."""
        mean, covariance = self._joint(x)
        return mean.unsqueeze(1) + normals @ _cholesky(covariance, self.size).mT

    def _joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cross = self.kernel(x, self.rows)
        solved = torch.linalg.solve_triangular(self.factor, cross.mT, upper=False)
        mean = self.prior_mean(x) + (cross @ self.alpha.unsqueeze(-1)).squeeze(-1)
        return mean, self.kernel(x, x) - solved.mT @ solved


@dataclass(frozen=True)
class Conditional:
    """One outcome, given s joint draws of its noise-free values at base rows: the view of a noisy improvement.

    The s draws are taken in equal parts from the h draws of the hyper-parameters, so that an improvement is averaged
    over both.
    """

    process: Process
    base: Tensor
    draws: Tensor
    factor: Tensor
    alpha: Tensor

    @classmethod
    def build(cls, process: Process, base: Tensor, normals: Tensor) -> Conditional:
        """Draw values at base rows (p, d) from normals (s, p), s a multiple of h, and condition on them."""
        parts = len(process.scale)
        draws = process.draw(base, normals.unflatten(0, (-1, parts)).transpose(0, 1))
        factor = _cholesky(process.kernel(base, base), process.size)
        alpha = torch.cholesky_solve((draws - process.prior_mean(base).unsqueeze(1)).mT, factor)
        return cls(process, base, draws.transpose(0, 1).flatten(0, 1), factor, alpha)

    def marginal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and sds, each (s, p), at rows (p, d)."""
        cross = self.process.kernel(x, self.base)
        solved = torch.linalg.solve_triangular(self.factor, cross.mT, upper=False)
        variance = self.process.prior_variance(x) - solved.square().sum(-2)
        variance = variance.clamp_min(1e-10 * self.process.scale)
        mean = self.process.prior_mean(x).unsqueeze(-1) + cross @ self.alpha  # (h, p, s/h)
        times = mean.shape[-1]
        return mean.permute(2, 0, 1).flatten(0, 1), variance.sqrt().repeat(times, 1)


def _cholesky(covariance: Tensor, scale: Tensor) -> Tensor:
    """Factor covariances (h, p, p), singular to rounding perhaps, adding as little to their diagonals as it takes."""
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype)
    jitter = RESOLUTION
    while True:
        factor, failed = torch.linalg.cholesky_ex(covariance + jitter * scale.unsqueeze(-1) * identity)
        if not bool(failed.any()):
            return factor
        jitter *= 10.0
        if jitter > 1.0:
            raise ArithmeticError("a covariance matrix is not positive definite, whatever is added to its diagonal")
