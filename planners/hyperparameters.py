"""Hyper-parameters of a Gaussian process: the maximum a posteriori with analytic gradients, and draws around it.

The model is a Matérn-5/2 kernel with one length scale per parameter, whose prior grows with the dimension as in BoTorch
(Hvarfner et al., "Vanilla Bayesian Optimization Performs Great in High Dimensions", ICML 2024), and a weakly
regularised output scale. With few parameters distances may also be oblique: what matters in a process is often a
combination of knobs (acid against base, dose against time), and a model that can only stretch the axes needs points
all along a slanted ridge to follow it. Written out in numpy because a campaign fits a few dozen points hundreds of
times: this is some twenty times faster than the same fit through automatic differentiation, which leaves time for
several starts, and it carries nothing from one fit to the next.

A few dozen points leave the hyper-parameters uncertain; a planner that takes the likeliest ones for certain writes a
parameter off for good after a handful of points (De Ath et al., "How Bayesian Should Bayesian Optimisation Be?",
2021). So predictions are averaged over draws from their posterior: importance resampling from Student distributions
around the modes that the starts found, all proposals weighed in one batch. Whether distances are oblique at all is
averaged over in the same way, with even odds beforehand: a few points may always be explained by some slant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky
from scipy.optimize import minimize
from scipy.special import gammaincinv, gammaln, logsumexp, ndtri
from scipy.stats import qmc

Matrix = NDArray[np.float64]

LENGTH_BOUNDS = (math.log(0.05), math.log(50.0))
NOISE_BOUNDS = (math.log(1e-6), math.log(1.0))
SCALE_BOUNDS = (math.log(0.05), math.log(50.0))
NOISE_PRIOR = (-6.0, 2.0)
"""Mean and sd of the log of the noise variance, outcomes standardised: a broad belief around 5 % of their spread."""
SCALE_PRIOR = (0.0, 1.0)
JITTER = 1e-8
STARTS = ((0.5, 1e-3), (2.0, 1e-2), (0.25, 1e-4))
"""Length scale (for one parameter) and noise variance from which a minimum is sought."""
MANY = 120
"""Number of points from which a single start has to do, and the likeliest hyper-parameters are taken for certain."""

SLANT_PRIOR = 0.5
"""Sd of how much of one parameter is mixed into another, both as shares of their ranges."""
SLANT_BOUND = 3.0
FEW = 6
"""Number of numeric parameters up to which distances may be oblique: the slants grow with its square."""

DRAWS = 16
"""Draws of the hyper-parameters; a power of two."""
PROPOSALS = 1024
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
    """What distances are taken in, output scale, noise variance per point (n,), constant mean, log evidence.

    `metric` (d, d) maps rows to coordinates in which a distance of 1 is one length scale; it is lower triangular.
    """

    metric: Matrix
    scale: float
    noise: Matrix
    mean: float
    evidence: float


@dataclass(frozen=True)
class Shape:
    """How a vector of hyper-parameters is read, for rows (n, d) with columns in `groups` (d,).

    It holds the logs of one length scale per group and of the output scale, the log of the noise variance unless that
    is known, and the slants, one for each pair of columns that may be mixed (none unless `is_oblique`).
    """

    groups: NDArray[np.int_]
    known: bool
    is_oblique: bool = True

    @cached_property
    def count(self) -> int:
        """Number of length scales."""
        return int(self.groups.max()) + 1

    @cached_property
    def pairs(self) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
        """Row and column in the metric of every slant: pairs of numeric columns, none where there are many."""
        single = [c for c in range(len(self.groups)) if int((self.groups == self.groups[c]).sum()) == 1]
        found = [(i, j) for i in single for j in single if j < i] if self.is_oblique and len(single) <= FEW else []
        rows, columns = np.array(found, dtype=int).reshape(-1, 2).T
        return rows, columns

    @property
    def first(self) -> int:
        """Place of the first slant."""
        return self.count + (1 if self.known else 2)

    @property
    def size(self) -> int:
        """Number of hyper-parameters."""
        return self.first + len(self.pairs[0])

    def start(self, length: float, noise: float) -> Matrix:
        """Return a vector with equal length scales and no slant."""
        theta = np.zeros(self.size)
        theta[: self.count] = math.log(length)
        if not self.known:
            theta[self.count + 1] = math.log(noise)
        return theta

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Bounds of each."""
        noise = [] if self.known else [NOISE_BOUNDS]
        slants = [(-SLANT_BOUND, SLANT_BOUND)] * len(self.pairs[0])
        return [LENGTH_BOUNDS] * self.count + [SCALE_BOUNDS] + noise + slants

    def metric(self, thetas: Matrix) -> Matrix:
        """Return the metrics (…, d, d) of vectors (…, t)."""
        # Beyond these lengths nothing changes any more, and the squares would overflow.
        inverse = np.exp(-np.clip(thetas[..., : self.count], -6.0, 6.0))[..., self.groups]
        found = inverse[..., None] * np.eye(len(self.groups))
        i, j = self.pairs
        found[..., i, j] = inverse[..., i] * thetas[..., self.first :]
        return found

    def penalty(self, thetas: Matrix) -> Matrix:
        """Return the negative log prior (…,), up to a constant."""
        middle, sd = self._prior
        return np.asarray(0.5 * np.square((thetas - middle) / sd).sum(axis=-1))

    def penalty_gradient(self, theta: Matrix) -> Matrix:
        """Return its gradient (t,) at one vector."""
        middle, sd = self._prior
        return np.asarray((theta - middle) / np.square(sd))

    @cached_property
    def _prior(self) -> tuple[Matrix, Matrix]:
        length = length_prior(self.count)
        noise = [] if self.known else [NOISE_PRIOR]
        slants = [(0.0, SLANT_PRIOR)] * len(self.pairs[0])
        table = np.array([length] * self.count + [SCALE_PRIOR] + noise + slants)
        return table[:, 0], table[:, 1]


def squared_gaps(rows: Matrix, groups: NDArray[np.int_]) -> Matrix:
    """Return squared distances per group of columns: rows (n, d) give (g, n, n)."""
    gaps = np.square(rows[:, None, :] - rows[None, :, :])
    return np.stack([gaps[:, :, groups == g].sum(axis=2) for g in range(int(groups.max()) + 1)])


def squared_distances(coordinates: Matrix) -> Matrix:
    """Return squared distances (…, n, n) of coordinates (…, n, d)."""
    squares = np.square(coordinates).sum(axis=-1)
    products = coordinates @ np.swapaxes(coordinates, -1, -2)
    return np.asarray(np.maximum(squares[..., :, None] + squares[..., None, :] - 2.0 * products, 0.0))


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
    metric = np.eye(len(groups)) / (0.5 * math.sqrt(int(groups.max()) + 1))
    noise = np.full(len(y), 1e-2) if variances is None else variances + 1e-4
    return Hyperparameters(metric, 1.0, noise, float(np.mean(y)), -math.inf)


@dataclass(frozen=True)
class Fit:
    """The likeliest hyper-parameters if distances may be oblique, and how to weigh all of them.

    `draw` returns the likeliest of the likelier structure, oblique or along the axes, and equally weighted draws from
    the posterior of both; `weigh` returns the structures that it draws from (none where there are many points).
    """

    likeliest: Hyperparameters
    draw: Callable[[], tuple[Hyperparameters, list[Hyperparameters]]]
    weigh: Callable[[], list[Weighed]]


@dataclass(frozen=True)
class Weighed:
    """One structure: its posterior, the least loss and its vector, vectors (k, t) and the log worth (k,) of each."""

    posterior: Posterior
    optimum: tuple[float, Matrix]
    thetas: Matrix
    log_weights: Matrix


@dataclass(frozen=True)
class Posterior:
    """Hyper-parameters of one structure given rows (n, d), standardised outcomes y (n,) and known variances (n,)."""

    shape: Shape
    rows: Matrix
    y: Matrix
    fixed: Matrix

    def loss(self, theta: Matrix) -> tuple[float, Matrix]:
        """Return the negative log posterior, up to a constant, and its gradient at one vector (t,)."""
        return self.terms(theta)[:2]

    def terms(self, theta: Matrix, extra: Matrix | None = None) -> tuple[float, Matrix, Matrix, Matrix]:
        """Return loss, gradient, the loss's gradient by the covariance (n, n), and the weights (n,) of the residuals.

        `extra` (n, n) is added to the covariance.
        """
        shape, rows, y, n = self.shape, self.rows, self.y, len(self.y)
        count, (i, j) = shape.count, shape.pairs
        metric = shape.metric(theta)
        scale = math.exp(theta[count])
        alike, slope = correlation(squared_distances(rows @ metric.T))
        kernel = scale * alike
        sigma = 0.0 if shape.known else math.exp(theta[count + 1])
        covariance = kernel.copy()
        covariance[np.diag_indices(n)] += self.fixed + sigma + JITTER
        if extra is not None:
            covariance += extra
        try:
            factor = cholesky(covariance, lower=True, check_finite=False)
        except LinAlgError:
            return 1e10, np.zeros_like(theta), np.zeros((n, n)), np.zeros(n)
        inverse = cho_solve((factor, True), np.eye(n), check_finite=False)
        ones = inverse.sum(axis=1)
        mean = float(ones @ y) / float(ones.sum())
        residual = y - mean
        alpha = inverse @ residual
        value = 0.5 * float(residual @ alpha) + float(np.log(np.diag(factor)).sum()) + float(shape.penalty(theta))
        gradient = shape.penalty_gradient(theta)
        inner = 0.5 * (inverse - np.outer(alpha, alpha))
        # Derivative by the squared distances, summed over pairs of points, then by the metric.
        pull = -0.5 * scale * inner * slope
        by_metric = 4.0 * metric @ (rows.T @ (pull.sum(axis=1)[:, None] * rows) - rows.T @ pull @ rows)
        gradient[:count] -= np.bincount(shape.groups, weights=(by_metric * metric).sum(axis=1), minlength=count)
        gradient[count] += (inner * kernel).sum()
        if not shape.known:
            gradient[count + 1] += float(np.trace(inner)) * sigma
        gradient[shape.first :] += by_metric[i, j] * np.diag(metric)[i]
        return value, gradient, inner, alpha

    def optima(self) -> list[tuple[float, Matrix]]:
        """Return the minima of the loss that the starts lead to, the least first."""
        found: list[tuple[float, Matrix]] = []
        for length, noise in STARTS[: 1 if len(self.y) > MANY else None]:
            start = self.shape.start(length * math.sqrt(self.shape.count), noise)
            bounds = self.shape.bounds
            result = minimize(self.loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200})
            if math.isfinite(result.fun) and result.fun < 1e9:
                found.append((float(result.fun), np.asarray(result.x)))
        return sorted(found, key=lambda optimum: optimum[0])

    def finished(self, theta: Matrix, loss: float = math.inf, extra: Matrix | None = None) -> Hyperparameters:
        """Return a vector's hyper-parameters; their evidence follows from the loss. `extra` as in `terms`."""
        count, n = self.shape.count, len(self.y)
        metric, scale = self.shape.metric(theta), math.exp(theta[count])
        noises: Matrix = self.fixed + (0.0 if self.shape.known else math.exp(theta[count + 1])) + JITTER
        covariance = scale * correlation(squared_distances(self.rows @ metric.T))[0] + np.diag(noises)
        if extra is not None:
            covariance += extra
        ones = np.linalg.solve(covariance, np.ones(n))
        evidence = -loss - 0.5 * n * math.log(2.0 * math.pi)
        return Hyperparameters(metric, scale, noises, float(ones @ self.y) / float(ones.sum()), evidence)

    def proposals(self, optima: Sequence[tuple[float, Matrix]]) -> tuple[Matrix, Matrix]:
        """Return vectors (k, t) and the log (k,) of what each is worth; the sum over all grows with the evidence."""
        least, best = optima[0]
        modes = [best]
        for value, theta in optima[1:]:
            if value < least + WORTH and all(float(np.abs(theta - mode).max()) > SAME for mode in modes):
                modes.append(theta)
        thetas, log_density = propose(modes, [curvature(self.loss, mode) for mode in modes])
        # The density of the slants' prior is what the structures' posteriors differ in.
        slants = len(self.shape.pairs[0])
        constant = slants * (math.log(SLANT_PRIOR) + 0.5 * math.log(2.0 * math.pi))
        return thetas, -losses(thetas, self.rows, self.y, self.shape, self.fixed) - constant - log_density


def fit(rows: Matrix, y: Matrix, groups: NDArray[np.int_], variances: Matrix | None = None) -> Fit:
    """Fit to rows (n, d) and standardised outcomes y (n,); with `variances` (n,) the noise is taken as known.

    Raises:
        FitFailed: if every start ended in a matrix that is not positive definite or a value that is not finite.
    """
    fixed = variances if variances is not None else np.zeros(len(y))
    oblique = Posterior(Shape(groups, variances is not None), rows, y, fixed)
    optima = oblique.optima()
    if not optima:
        raise FitFailed(f"the covariance of {len(y)} points was not positive definite from any start")
    likeliest = oblique.finished(optima[0][1], optima[0][0])

    def weigh() -> list[Weighed]:
        if len(y) > MANY:
            return []
        structures = [(oblique, optima)]
        if len(oblique.shape.pairs[0]):
            straight = replace(oblique, shape=replace(oblique.shape, is_oblique=False))
            if found := straight.optima():
                structures.append((straight, found))
        return [Weighed(posterior, found[0], *posterior.proposals(found)) for posterior, found in structures]

    def draw() -> tuple[Hyperparameters, list[Hyperparameters]]:
        if len(y) > MANY:
            return likeliest, [likeliest]
        weighed = weigh()
        likelier = weighed[int(np.argmax([logsumexp(one.log_weights) for one in weighed]))]
        owners = [(one.posterior, theta) for one in weighed for theta in one.thetas]
        picks = resample(np.concatenate([one.log_weights for one in weighed]))
        drawn = [owner.finished(theta) for owner, theta in (owners[k] for k in picks)]
        return likelier.posterior.finished(likelier.optimum[1], likelier.optimum[0]), drawn

    return Fit(likeliest, draw, weigh)


def resample(log_weights: Matrix) -> list[int]:
    """Return `DRAWS` places among weights (k,), each as often as it is worth: the same every time."""
    weights = np.exp(log_weights - log_weights.max())
    places = (np.arange(DRAWS) + 0.5) / DRAWS
    picks = np.searchsorted(np.cumsum(weights) / weights.sum(), places).clip(max=len(weights) - 1)
    return [int(k) for k in picks]


def losses(thetas: Matrix, rows: Matrix, y: Matrix, shape: Shape, fixed: Matrix, extra: Matrix | None = None) -> Matrix:
    """Return the negative log posterior (k,), up to a constant, of many vectors of hyper-parameters (k, t) at once.

    `fixed` (n,) is the known part of the noise variance. Outcomes may differ from vector to vector: y (k, n) then;
    `extra` (k, n, n) is added to the covariances.
    """
    count, n = shape.count, len(rows)
    coordinates = rows @ np.swapaxes(shape.metric(thetas), -1, -2)
    covariances = np.exp(thetas[:, count])[:, None, None] * correlation(squared_distances(coordinates))[0]
    noise = 0.0 if shape.known else np.exp(thetas[:, count + 1])[:, None]
    covariances[:, np.arange(n), np.arange(n)] += fixed + noise + JITTER
    if extra is not None:
        covariances += extra
    factors, failed = torch.linalg.cholesky_ex(torch.as_tensor(covariances))
    sides = torch.as_tensor(np.stack([y, np.ones(y.shape)], axis=-1)).expand(len(thetas), n, 2)
    solved = torch.linalg.solve_triangular(factors, sides, upper=False)
    products = (solved.mT @ solved).numpy()
    value = 0.5 * (products[:, 0, 0] - products[:, 0, 1] ** 2 / products[:, 1, 1])
    value += factors.diagonal(dim1=-2, dim2=-1).log().sum(-1).numpy() + shape.penalty(thetas)
    return np.where(np.isfinite(value) & (failed.numpy() == 0), value, np.inf)


def curvature(loss: Callable[[Matrix], tuple[float, Matrix]], theta: Matrix) -> Matrix:
    """Return the Hessian of a loss by central differences of its gradient."""
    step = 1e-3
    rows = [(loss(theta + step * e)[1] - loss(theta - step * e)[1]) / (2.0 * step) for e in np.eye(len(theta))]
    return 0.5 * (np.stack(rows) + np.stack(rows).T)


def propose(modes: Sequence[Matrix], curvatures: Sequence[Matrix]) -> tuple[Matrix, Matrix]:
    """Return proposals (k, t), the same every time, and the log density of each."""
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
    constant = gammaln(0.5 * (FREEDOM + size)) - gammaln(0.5 * FREEDOM) - 0.5 * size * math.log(FREEDOM * math.pi)
    densities = []
    for mode, root in zip(modes, roots, strict=True):
        far = np.square((thetas - mode) @ root).sum(axis=1)
        log_volume = float(np.log(np.abs(np.linalg.det(root)))) + constant - math.log(len(modes))
        densities.append(log_volume - 0.5 * (FREEDOM + size) * np.log1p(far / FREEDOM))
    return thetas, np.logaddexp.reduce(densities, axis=0)
