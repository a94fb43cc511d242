"""Hyper-parameters of a Gaussian process by maximum a posteriori, with analytic gradients.

The model is a Matérn-5/2 kernel with one length scale per parameter, whose prior grows with the dimension as in BoTorch
(Hvarfner et al., "Vanilla Bayesian Optimization Performs Great in High Dimensions", ICML 2024), and a weakly
regularised output scale. Written out in numpy because a campaign fits a few dozen points hundreds of
times: this is some twenty times faster than the same fit through automatic differentiation, which leaves time for
several starts, and it carries nothing from one fit to the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky
from scipy.optimize import minimize

Matrix = NDArray[np.float64]

LENGTH_BOUNDS = (math.log(0.05), math.log(50.0))
NOISE_BOUNDS = (math.log(1e-6), math.log(1.0))
SCALE_BOUNDS = (math.log(0.05), math.log(50.0))
NOISE_PRIOR = (-6.0, 2.0)
"""Mean and sd of the log of the noise variance, outcomes standardised: a broad belief around 5 % of their spread."""
SCALE_PRIOR = (0.0, 1.0)
JITTER = 1e-8
MANY = 120
"""Number of points from which a single start has to do."""


class FitFailed(RuntimeError):
    """No start led to a usable fit: says why."""


@dataclass(frozen=True)
class Hyperparameters:
    """Length scale per group of columns, output scale, noise variance per point, constant mean, log evidence."""

    lengths: Matrix
    scale: float
    noise: Matrix
    mean: float
    evidence: float


def squared_gaps(rows: Matrix, groups: NDArray[np.int_]) -> Matrix:
    """Return squared distances per group of columns: rows (n, d) give (g, n, n)."""
    gaps = np.square(rows[:, None, :] - rows[None, :, :])
    return np.stack([gaps[:, :, groups == g].sum(axis=2) for g in range(int(groups.max()) + 1)])


def correlation(gaps: Matrix) -> tuple[Matrix, Matrix]:
    """Return the Matérn-5/2 correlation at squared scaled distances, and minus twice its derivative there."""
    r = np.sqrt(5.0 * gaps)
    decay = np.exp(-r)
    return (1.0 + r + r * r / 3.0) * decay, 5.0 / 3.0 * (1.0 + r) * decay


def length_prior(parameters: int) -> tuple[float, float]:
    """Return mean and sd of the log length scale for that many parameters."""
    return math.sqrt(2.0) + 0.5 * math.log(parameters), math.sqrt(3.0)


def last_resort(rows: Matrix, y: Matrix, groups: NDArray[np.int_], variances: Matrix | None) -> Hyperparameters:
    """Return fixed middling hyper-parameters for when no fit succeeds."""
    count = int(groups.max()) + 1
    noise = np.full(len(y), 1e-2) if variances is None else variances + 1e-4
    return Hyperparameters(np.full(count, 0.5 * math.sqrt(count)), 1.0, noise, float(np.mean(y)), -math.inf)


def fit(rows: Matrix, y: Matrix, groups: NDArray[np.int_], variances: Matrix | None = None) -> Hyperparameters:
    """Fit to rows (n, d) and standardised outcomes y (n,); with `variances` (n,) the noise is taken as known.

    Raises:
        FitFailed: if every start ended in a matrix that is not positive definite or a value that is not finite.
    """
    gaps = squared_gaps(rows, groups)
    count, n = len(gaps), len(y)
    prior_mean, prior_sd = length_prior(count)
    known = variances is not None
    fixed = variances if variances is not None else np.zeros(n)

    def loss(theta: Matrix) -> tuple[float, Matrix]:
        lengths = theta[:count]
        scale = math.exp(theta[count])
        weights = np.exp(-2.0 * lengths)
        shape, slope = correlation(np.tensordot(weights, gaps, axes=1))
        kernel = scale * shape
        sigma = 0.0 if known else math.exp(theta[count + 1])
        covariance = kernel.copy()
        covariance[np.diag_indices(n)] += fixed + sigma + JITTER
        try:
            factor = cholesky(covariance, lower=True, check_finite=False)
        except LinAlgError:
            return 1e10, np.zeros_like(theta)
        inverse = cho_solve((factor, True), np.eye(n), check_finite=False)
        ones = inverse.sum(axis=1)
        mean = float(ones @ y) / float(ones.sum())
        residual = y - mean
        alpha = inverse @ residual
        value = 0.5 * float(residual @ alpha) + float(np.log(np.diag(factor)).sum())
        inner = 0.5 * (inverse - np.outer(alpha, alpha))
        weighted = inner * kernel
        gradient = np.empty_like(theta)
        gradient[:count] = weights * np.tensordot(gaps, scale * inner * slope, axes=2)
        gradient[count] = weighted.sum()
        z = (lengths - prior_mean) / prior_sd
        value += 0.5 * float(z @ z)
        gradient[:count] += z / prior_sd
        z_scale = (theta[count] - SCALE_PRIOR[0]) / SCALE_PRIOR[1]
        value += 0.5 * z_scale**2
        gradient[count] += z_scale / SCALE_PRIOR[1]
        if not known:
            gradient[count + 1] = float(np.trace(inner)) * sigma
            z_noise = (theta[count + 1] - NOISE_PRIOR[0]) / NOISE_PRIOR[1]
            value += 0.5 * z_noise**2
            gradient[count + 1] += z_noise / NOISE_PRIOR[1]
        return value, gradient

    bounds = [LENGTH_BOUNDS] * count + [SCALE_BOUNDS] + ([] if known else [NOISE_BOUNDS])
    best: tuple[float, Matrix] | None = None
    for length, noise in [(0.5, 1e-3), (2.0, 1e-2), (0.25, 1e-4)][: 1 if n > MANY else 3]:
        start = np.array([math.log(length * math.sqrt(count))] * count + [0.0] + ([] if known else [math.log(noise)]))
        result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200})
        if math.isfinite(result.fun) and result.fun < 1e9 and (best is None or result.fun < best[0]):
            best = (float(result.fun), np.asarray(result.x))
    if best is None:
        raise FitFailed(f"the covariance of {n} points was not positive definite from any start")
    theta = best[1]
    lengths, scale = np.exp(theta[:count]), math.exp(theta[count])
    noises: Matrix = fixed + (0.0 if known else math.exp(theta[count + 1])) + JITTER
    covariance = scale * correlation(np.tensordot(lengths**-2, gaps, axes=1))[0] + np.diag(noises)
    ones = np.linalg.solve(covariance, np.ones(n))
    mean = float(ones @ y) / float(ones.sum())
    evidence = -best[0] - 0.5 * n * math.log(2.0 * math.pi)
    return Hyperparameters(lengths, scale, noises, mean, evidence)
