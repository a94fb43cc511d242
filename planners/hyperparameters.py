"""Hyper-parameters of a Gaussian process: the maximum a posteriori with analytic gradients, and draws around it.

The model is a Matérn-5/2 kernel with one length scale per parameter, whose prior grows with the dimension as in BoTorch
(Hvarfner et al., "Vanilla Bayesian Optimization Performs Great in High Dimensions", ICML 2024), and a weakly
regularised output scale. Written out in numpy because a campaign fits a few dozen points hundreds of
times: this is some twenty times faster than the same fit through automatic differentiation, which leaves time for
several starts, and it carries nothing from one fit to the next.

A few dozen points leave the hyper-parameters uncertain; a planner that takes the likeliest ones for certain writes a
parameter off for good after a handful of points (De Ath et al., "How Bayesian Should Bayesian Optimisation Be?",
2021). So predictions are averaged over draws from their posterior: importance resampling from Student distributions
around the modes that the starts found, all proposals weighed in one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky
from scipy.optimize import minimize
from scipy.special import gammaincinv, ndtri
from scipy.stats import qmc

Matrix = NDArray[np.float64]

LENGTH_BOUNDS = (math.log(0.05), math.log(50.0))
NOISE_BOUNDS = (math.log(1e-6), math.log(1.0))
SCALE_BOUNDS = (math.log(0.05), math.log(50.0))
NOISE_PRIOR = (-6.0, 2.0)
"""Mean and sd of the log of the noise variance, outcomes standardised: a broad belief around 5 % of their spread."""
SCALE_PRIOR = (0.0, 1.0)
JITTER = 1e-8
MANY = 120
"""Number of points from which a single start has to do, and the likeliest hyper-parameters are taken for certain."""

DRAWS = 16
"""Draws of the hyper-parameters; a power of two."""
PROPOSALS = 512
FREEDOM = 5.0
"""Degrees of freedom of the proposals: tails heavier than those of what is sought."""
LEAST_CURVATURE = 0.25
"""Least curvature of the log posterior believed: a proposal is at most two units wide, a little over the priors."""
SAME = 0.3
"""Largest difference in log hyper-parameters of two optima that count as one mode."""
WORTH = 5.0
"""By how much the log posterior of a mode may fall short of the best one's for proposals to be made around it."""


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


def fit(
    rows: Matrix, y: Matrix, groups: NDArray[np.int_], variances: Matrix | None = None
) -> tuple[Hyperparameters, list[Hyperparameters]]:
    """Fit to rows (n, d) and standardised outcomes y (n,); with `variances` (n,) the noise is taken as known.

    Returns:
        The likeliest hyper-parameters, and equally weighted draws from their posterior.

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
    optima: list[tuple[float, Matrix]] = []
    for length, noise in [(0.5, 1e-3), (2.0, 1e-2), (0.25, 1e-4)][: 1 if n > MANY else 3]:
        start = np.array([math.log(length * math.sqrt(count))] * count + [0.0] + ([] if known else [math.log(noise)]))
        result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200})
        if math.isfinite(result.fun) and result.fun < 1e9:
            optima.append((float(result.fun), np.asarray(result.x)))
    if not optima:
        raise FitFailed(f"the covariance of {n} points was not positive definite from any start")
    optima.sort(key=lambda optimum: optimum[0])
    least, best = optima[0]
    evidence = -least - 0.5 * n * math.log(2.0 * math.pi)

    def finished(theta: Matrix) -> Hyperparameters:
        lengths, scale = np.exp(theta[:count]), math.exp(theta[count])
        noises: Matrix = fixed + (0.0 if known else math.exp(theta[count + 1])) + JITTER
        covariance = scale * correlation(np.tensordot(lengths**-2, gaps, axes=1))[0] + np.diag(noises)
        ones = np.linalg.solve(covariance, np.ones(n))
        return Hyperparameters(lengths, scale, noises, float(ones @ y) / float(ones.sum()), evidence)

    if n > MANY:
        return finished(best), [finished(best)]
    modes = [best]
    for value, theta in optima[1:]:
        if value < least + WORTH and all(float(np.abs(theta - mode).max()) > SAME for mode in modes):
            modes.append(theta)
    thetas, log_density = _propose(modes, [_curvature(loss, mode) for mode in modes])
    log_weights = -losses(thetas, gaps, y, fixed, known) - log_density
    weights = np.exp(log_weights - log_weights.max())
    places = (np.arange(DRAWS) + 0.5) / DRAWS
    picks = np.searchsorted(np.cumsum(weights) / weights.sum(), places)
    return finished(best), [finished(thetas[min(int(k), PROPOSALS - 1)]) for k in picks]


def losses(thetas: Matrix, gaps: Matrix, y: Matrix, fixed: Matrix, known: bool) -> Matrix:
    """Return the negative log posterior (k,), up to a constant, of many hyper-parameters (k, t) at once.

    A row holds the logs of the length scales, of the output scale and, unless the noise is known, of its variance.
    """
    count, n = len(gaps), len(y)
    prior_mean, prior_sd = length_prior(count)
    # Beyond these lengths nothing changes any more, and the squares would overflow.
    shapes = correlation(np.tensordot(np.exp(-2.0 * np.clip(thetas[:, :count], -6.0, 6.0)), gaps, axes=1))[0]
    covariances = np.exp(thetas[:, count])[:, None, None] * shapes
    noise = 0.0 if known else np.exp(thetas[:, count + 1])[:, None]
    covariances[:, np.arange(n), np.arange(n)] += fixed + noise + JITTER
    factors, failed = torch.linalg.cholesky_ex(torch.as_tensor(covariances))
    sides = torch.as_tensor(np.stack([y, np.ones(n)], axis=1)).expand(len(thetas), n, 2)
    solved = torch.linalg.solve_triangular(factors, sides, upper=False)
    products = (solved.mT @ solved).numpy()
    value = 0.5 * (products[:, 0, 0] - products[:, 0, 1] ** 2 / products[:, 1, 1])
    value += factors.diagonal(dim1=-2, dim2=-1).log().sum(-1).numpy()
    value += 0.5 * np.square((thetas[:, :count] - prior_mean) / prior_sd).sum(axis=1)
    value += 0.5 * np.square((thetas[:, count] - SCALE_PRIOR[0]) / SCALE_PRIOR[1])
    if not known:
        value += 0.5 * np.square((thetas[:, count + 1] - NOISE_PRIOR[0]) / NOISE_PRIOR[1])
    return np.where(np.isfinite(value) & (failed.numpy() == 0), value, np.inf)


def _curvature(loss: Callable[[Matrix], tuple[float, Matrix]], theta: Matrix) -> Matrix:
    """Return the Hessian of a loss by central differences of its gradient."""
    step = 1e-3
    rows = [(loss(theta + step * e)[1] - loss(theta - step * e)[1]) / (2.0 * step) for e in np.eye(len(theta))]
    return 0.5 * (np.stack(rows) + np.stack(rows).T)


def _propose(modes: Sequence[Matrix], curvatures: Sequence[Matrix]) -> tuple[Matrix, Matrix]:
    """Return proposals (k, t), the same every time, and the log density of each, up to a constant."""
    size = len(modes[0])
    cube = qmc.Sobol(size + 2, rng=np.random.default_rng(1)).random(PROPOSALS).clip(1e-6, 1.0 - 1e-6)
    normals = ndtri(cube[:, :size])
    stretch = np.sqrt(FREEDOM / (2.0 * gammaincinv(0.5 * FREEDOM, cube[:, size])))
    owner = np.minimum((cube[:, size + 1] * len(modes)).astype(int), len(modes) - 1)
    thetas = np.empty((PROPOSALS, size))
    roots = []
    for k, curvature in enumerate(curvatures):
        values, vectors = np.linalg.eigh(curvature)
        root = vectors * np.sqrt(np.clip(values, LEAST_CURVATURE, 1e4))
        roots.append(root)
        own = owner == k
        thetas[own] = modes[k] + stretch[own, None] * (normals[own] @ np.linalg.inv(root))
    densities = []
    for mode, root in zip(modes, roots, strict=True):
        far = np.square((thetas - mode) @ root).sum(axis=1)
        log_volume = float(np.log(np.abs(np.linalg.det(root))))
        densities.append(log_volume - 0.5 * (FREEDOM + size) * np.log1p(far / FREEDOM))
    return thetas, np.logaddexp.reduce(densities, axis=0)
