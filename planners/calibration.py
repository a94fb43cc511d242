"""Leave-one-out predictions in closed form: how well a model foretells settings that it was not shown.

Whole settings are left out, not single measurements: where a setting was measured again, its other measurements would
give the answer away. For a Gaussian process with covariance K and a mean m estimated from the data, leaving out the
measurements of one setting needs no new fit (Dubrule, "Cross validation of kriging in a unique neighborhood", 1983;
Ginsbourger and Schärer, "Fast calculation of Gaussian process multiple-fold cross-validation residuals", 2021): with
P = K⁻¹ − K⁻¹11ᵀK⁻¹/(1ᵀK⁻¹1), the residuals of a group g are (P_gg)⁻¹(Py)_g, and their variances under the mean that the
others give are the diagonal of (K⁻¹_gg)⁻¹. That is O(n³) for each draw of the hyper-parameters, milliseconds here.

The draws of the hyper-parameters have seen the setting that they are asked about, and with few settings that flatters
a model grossly: of pure noise it then seems to explain a tenth, and up to a half. So for each setting the draws are
weighed by the inverse of the density they give it, which turns draws given everything into draws given the others
(Gelfand, Dey and Chang, "Model determination using predictive distributions", 1992). Against fits anew without each
setting that takes away about two thirds of what flatters, and less with a dozen points of nothing but noise. Beyond
`hyperparameters.MANY` points there is one draw, nothing to weigh, and little to flatter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_ndtr, logsumexp, ndtri_exp
from scipy.stats import t as student

from athanor.planners.bayesian import BayesianPlanner, single_threaded
from athanor.planners.explanations import Calibration, LeftOut
from athanor.planners.hyperparameters import Matrix
from athanor.planners.process import Process
from athanor.planners.surrogate import OutcomeModel, Surrogate

HALF, NINE = 0.5, 0.9
"""Probability of the central intervals whose coverage is counted."""

LEAST = 4
"""Settings below which nothing is said of calibration: a constant model needs two, and two more to be judged."""


@dataclass(frozen=True)
class _Without:
    """Predictions on the model's scale for each measurement without its setting, draw by draw: (h, n) each.

    `log_weights` (h, n) say how likely each draw is without the setting; their exponentials sum to 1 over the draws.
    """

    mean: Matrix
    variance: Matrix
    log_weights: Matrix


def calibrations(planner: BayesianPlanner) -> tuple[Calibration, ...]:
    """Return the leave-one-out calibration of every outcome that has enough settings for one.

    Raises:
        FitFailed: if too little was measured for a model.
    """
    return from_surrogate(planner.alone().surrogate())


def from_surrogate(surrogate: Surrogate) -> tuple[Calibration, ...]:
    """Return the calibrations of a fitted surrogate.

    Raises:
        ValueError: it has taken something from earlier data, with which no point is left out in closed form.
    """
    if any(model.process.borrowed is not None for model in surrogate.outcomes.values()):
        raise ValueError("this model has taken something from earlier data: use that of `planner.alone()`")
    with single_threaded():
        found = (_calibration(surrogate, name) for name in surrogate.problem.outcomes)
        return tuple(item for item in found if item is not None)


def _calibration(surrogate: Surrogate, name: str) -> Calibration | None:
    model = surrogate.outcomes[name]
    places = [i for i, o in enumerate(surrogate.observations) if name in o.outcomes]
    y = np.array([surrogate.observations[i].outcomes[name].mean for i in places])
    groups = settings(model.process.rows.numpy())
    count = int(groups.max()) + 1
    if count < LEAST:
        return None
    z = np.asarray(model.scale.to_model(y), dtype=float)
    without = _without(model.process, z, groups)
    sd = np.sqrt(without.variance)
    u = (z - without.mean) / sd
    below, above = (logsumexp(without.log_weights + log_ndtr(side * u), axis=0) for side in (1.0, -1.0))
    residuals = np.where(below < above, ndtri_exp(below), -ndtri_exp(above))
    # From densities on the model's scale to densities in the outcome's unit.
    slope = model.scale.log_slope(y) - math.log(model.scale.spread)
    own = -0.5 * u**2 - np.log(sd) - 0.5 * math.log(2.0 * math.pi)
    densities = logsumexp(without.log_weights + own, axis=0) + slope
    constant = _constant(z, groups) + slope
    mean, spread = _predicted(model, without)
    sizes = np.bincount(groups)[groups]
    weights = 1.0 / sizes / count
    means = np.array([np.average(y[groups != g], weights=weights[groups != g]) for g in range(count)])[groups]
    error, baseline = weights @ np.square(y - mean), weights @ np.square(y - means)
    chance = np.exp(np.minimum(below, above))
    by_setting = np.bincount(groups, weights=(densities - constant) / sizes)
    points = tuple(
        LeftOut(
            place=place,
            candidate_id=surrogate.observations[place].candidate_id,
            values=dict(surrogate.observations[place].values),
            measured=float(y[k]),
            sem=surrogate.observations[place].outcomes[name].sem,
            mean=float(mean[k]),
            sd=float(spread[k]),
            residual=float(residuals[k]),
            log_density=float(densities[k]),
            constant_log_density=float(constant[k]),
            repeats=int(sizes[k]),
        )
        for k, place in enumerate(places)
    )
    return Calibration(
        outcome=name,
        unit=surrogate.problem.unit(name),
        settings=count,
        r2=float(1.0 - error / baseline) if baseline > 0 else 0.0,
        coverage_50=float(weights @ (chance >= 0.5 * (1.0 - HALF))),
        coverage_90=float(weights @ (chance >= 0.5 * (1.0 - NINE))),
        log_density=float(weights @ densities),
        constant_log_density=float(weights @ constant),
        gain=float(by_setting.mean()),
        gain_error=float(by_setting.std(ddof=1) / math.sqrt(count)),
        spread=float(np.sqrt(weights @ np.square(residuals))),
        points=points,
    )


def settings(rows: Matrix) -> NDArray[np.int_]:
    """Return for each row the number of its setting, from 0: equal rows have the same one."""
    return np.asarray(np.unique(rows, axis=0, return_inverse=True)[1]).reshape(-1)


def noise(process: Process) -> Matrix:
    """Return the noise variances (h, n) that a process was conditioned with, on the model's scale."""
    total = process.factor.square().sum(-1)
    prior = process.kernel(process.rows, process.rows).diagonal(dim1=-2, dim2=-1)
    return np.asarray((total - prior).clamp_min(0.0).numpy())


def _predicted(model: OutcomeModel, found: _Without) -> tuple[Matrix, Matrix]:
    """Return mean and sd (n,) in the outcome's unit."""
    weights = np.exp(found.log_weights)
    mean = (weights * found.mean).sum(axis=0)
    variance = (weights * (found.variance + np.square(found.mean - mean))).sum(axis=0)
    return model.scale.moments(mean, variance)


def _without(process: Process, z: Matrix, groups: NDArray[np.int_]) -> _Without:
    with torch.no_grad():
        inverse = torch.cholesky_inverse(process.factor).numpy()
    means, variances, log_weights = (np.empty((len(inverse), len(z))) for _ in range(3))
    members = [np.flatnonzero(groups == g) for g in range(int(groups.max()) + 1)]
    for h, precision in enumerate(inverse):
        weights = precision.sum(axis=1)
        projected = precision - np.outer(weights, weights) / weights.sum()
        pull = projected @ z
        for own in members:
            block = np.ix_(own, own)
            residual = np.linalg.solve(projected[block], pull[own])
            means[h, own] = z[own] - residual
            variances[h, own] = np.diag(np.linalg.inv(precision[block]))
            # Minus the log density of the setting's measurements together, up to a constant.
            log_weights[h, own] = 0.5 * (
                residual @ precision[block] @ residual - np.linalg.slogdet(precision[block])[1]
            )
    return _Without(means, variances, log_weights - logsumexp(log_weights, axis=0))


def _constant(z: Matrix, groups: NDArray[np.int_]) -> Matrix:
    """Return log densities (n,) on the model's scale of each measurement under a constant fitted to other settings."""
    found = np.empty(len(z))
    middles = np.bincount(groups, weights=z) / np.bincount(groups)
    for g, middle in enumerate(middles):
        others = np.delete(middles, g)
        count = len(others)
        width = max(float(others.std(ddof=1)), 1e-9 * max(1.0, abs(float(middle)))) * math.sqrt(1.0 + 1.0 / count)
        own = groups == g
        found[own] = student.logpdf(z[own], df=count - 1, loc=float(others.mean()), scale=width)
    return found


def worst(calibration: Calibration, beyond: float) -> Sequence[LeftOut]:
    """Return the measurements whose standardised residual is larger than `beyond`, the largest first."""
    found = [p for p in calibration.points if abs(p.residual) > beyond]
    return sorted(found, key=lambda p: -abs(p.residual))
