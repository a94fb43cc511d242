"""A Gaussian process with given hyper-parameters, in torch, with gradients in where it is evaluated.

Written out instead of using GPyTorch because a campaign's processes are tiny: evaluating one here takes a tenth of
the time, which goes into more starts of the search. BoTorch supplies the numerics of the acquisitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from athanor.planners.hyperparameters import Hyperparameters, Matrix

RESOLUTION = 1e-7
"""Variance, relative to the process's own, added where noise-free values are conditioned on."""


@dataclass(frozen=True)
class Process:
    """Posterior of one outcome on its model scale; rows (n, d)."""

    rows: Tensor
    weights: Tensor
    scale: float
    mean: float
    factor: Tensor
    alpha: Tensor

    @classmethod
    def build(cls, rows: Matrix, y: Matrix, found: Hyperparameters, groups: NDArray[np.int_]) -> Process:
        """Condition on outcomes y (n,) at rows (n, d)."""
        x = torch.as_tensor(rows)
        weights = torch.as_tensor(1.0 / found.lengths[groups])
        bare = cls(x, weights, found.scale, found.mean, torch.eye(1), torch.zeros(1))
        factor = _cholesky(bare.kernel(x, x) + torch.diag(torch.as_tensor(found.noise)), found.scale)
        residual = torch.as_tensor(y - found.mean).unsqueeze(-1)
        alpha = torch.cholesky_solve(residual, factor).squeeze(-1)
        return cls(x, weights, found.scale, found.mean, factor, alpha)

    def kernel(self, a: Tensor, b: Tensor) -> Tensor:
        """Return prior covariances (p, q) between rows (p, d) and (q, d)."""
        a, b = a * self.weights, b * self.weights
        gaps = a.square().sum(-1, keepdim=True) + b.square().sum(-1) - 2.0 * a @ b.T
        # The floor keeps the gradient of the root finite where two rows coincide.
        r = (5.0 * gaps.clamp_min(1e-20)).sqrt()
        return self.scale * (1.0 + r + r.square() / 3.0) * torch.exp(-r)

    def marginal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance (p,) of the noise-free outcome at rows (p, d)."""
        cross = self.kernel(x, self.rows)
        solved = torch.linalg.solve_triangular(self.factor, cross.T, upper=False)
        return self.mean + cross @ self.alpha, (self.scale - solved.square().sum(0)).clamp_min(1e-12 * self.scale)

    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (p,) and covariance (p, p) of the noise-free outcome at rows (p, d)."""
        cross = self.kernel(x, self.rows)
        solved = torch.linalg.solve_triangular(self.factor, cross.T, upper=False)
        return self.mean + cross @ self.alpha, self.kernel(x, x) - solved.T @ solved

    def draw(self, x: Tensor, normals: Tensor) -> Tensor:
        """Return joint samples (s, p) at rows (p, d) from standard normals (s, p)."""
        mean, covariance = self.joint(x)
        return mean + normals @ _cholesky(covariance, self.scale).T


@dataclass(frozen=True)
class Conditional:
    """One outcome, given s joint draws of its noise-free values at base rows: the view of a noisy improvement."""

    process: Process
    base: Tensor
    draws: Tensor
    factor: Tensor
    alpha: Tensor

    @classmethod
    def build(cls, process: Process, base: Tensor, normals: Tensor) -> Conditional:
        """Draw values at base rows (p, d) from normals (s, p) and condition on them."""
        draws = process.draw(base, normals)
        factor = _cholesky(process.kernel(base, base), process.scale)
        alpha = torch.cholesky_solve((draws - process.mean).T, factor)
        return cls(process, base, draws, factor, alpha)

    def marginal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means (s, p) and the common sd (p,) at rows (p, d)."""
        cross = self.process.kernel(x, self.base)
        solved = torch.linalg.solve_triangular(self.factor, cross.T, upper=False)
        variance = (self.process.scale - solved.square().sum(0)).clamp_min(1e-10 * self.process.scale)
        return self.process.mean + (cross @ self.alpha).T, variance.sqrt()


def _cholesky(covariance: Tensor, scale: float) -> Tensor:
    """Factor a covariance that may be singular to rounding, with as little added to its diagonal as it takes."""
    identity = torch.eye(len(covariance), dtype=covariance.dtype)
    jitter = RESOLUTION * scale
    while True:
        factor, failed = torch.linalg.cholesky_ex(covariance + jitter * identity)
        if not bool(failed):
            return factor
        jitter *= 10.0
        if jitter > scale:
            raise ArithmeticError("a covariance matrix is not positive definite, whatever is added to its diagonal")
