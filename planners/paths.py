"""Functions drawn from a fitted process, cheap to evaluate at thousands of points.

A joint draw at so many points would need a matrix of their size. Here the prior is drawn as a sum of random Fourier
features (Rahimi and Recht, 2007; a Matérn-5/2 kernel is the mean of cosines whose frequencies have a Student
distribution with 5 degrees of freedom) and corrected by what was measured, exactly as a posterior is (Matheron's rule;
Wilson et al., "Efficiently Sampling Functions from Gaussian Process Posteriors", ICML 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import cho_solve
from scipy.special import chdtri, ndtri
from scipy.stats import qmc

from athanor.planners.hyperparameters import Matrix, correlation
from athanor.planners.surrogate import OutcomeModel

FEATURES = 256
"""Cosines that one drawn function is a sum of."""

SMOOTHNESS = 5.0
"""Twice the smoothness of the kernel: degrees of freedom of its frequencies."""

BEYOND = 2.0
"""How far beyond the measured outcomes, in their spreads on the model's scale, a drawn function is believed."""


@dataclass(frozen=True)
class Path:
    """One function drawn from the posterior of an outcome, on the model's scale: rows (n, d) to (n,)."""

    coordinates: Matrix
    metric: Matrix
    scale: float
    mean: float
    frequencies: Matrix
    phases: Matrix
    weights: Matrix
    correction: Matrix

    def __call__(self, rows: Matrix) -> Matrix:
        """Return the function's values (n,) at rows (n, d)."""
        at = rows @ self.metric.T
        prior = np.cos(at @ self.frequencies.T + self.phases) @ self.weights
        gaps = np.square(at).sum(axis=1)[:, None] + np.square(self.coordinates).sum(axis=1)
        gaps = np.maximum(gaps - 2.0 * at @ self.coordinates.T, 0.0)
        return np.asarray(self.mean + prior + self.scale * correlation(gaps)[0] @ self.correction)


def draw(model: OutcomeModel, count: int, seed: int) -> list[Path]:
    """Return `count` functions, in equal parts from all draws of the hyper-parameters; a function of its arguments."""
    process = model.process
    draws, n, d = len(process.scale), process.rows.shape[0], process.rows.shape[1]
    rows = process.rows.numpy()
    factors, alphas = process.factor.numpy(), process.alpha.numpy()
    found = []
    for k in range(count):
        h = k % draws
        metric, scale = process.metrics[h].numpy(), float(process.scale[h])
        cube = qmc.Sobol(d + 2, rng=np.random.default_rng([seed, k])).random(FEATURES).clip(1e-9, 1.0 - 1e-9)
        frequencies = ndtri(cube[:, :d]) * np.sqrt(SMOOTHNESS / chdtri(SMOOTHNESS, cube[:, d]))[:, None]
        phases = 2.0 * math.pi * cube[:, d + 1]
        rng = np.random.default_rng([seed, k, 1])
        weights = rng.standard_normal(FEATURES) * math.sqrt(2.0 * scale / FEATURES)
        coordinates = rows @ metric.T
        noise = np.sqrt(np.maximum(np.square(factors[h]).sum(axis=1) - scale, 0.0))
        prior = np.cos(coordinates @ frequencies.T + phases) @ weights + noise * rng.standard_normal(n)
        # What was measured pulls the mean; the prior's own values there, noise included, are taken back.
        taken = cho_solve((factors[h], True), prior)
        mean = float(process.mean[h])
        found.append(
            Path(coordinates, metric, scale, mean, frequencies, phases, weights, np.asarray(alphas[h] - taken))
        )
    return found


def in_units(model: OutcomeModel, values: Matrix) -> Matrix:
    """Return values (…) on the model's scale in the outcome's unit, cut a little beyond what was measured.

    A scale that is stretched turns a far guess into an absurd one, which would make up all of the variation.
    """
    if model.scale.is_linear:
        return np.asarray(values * model.scale.spread + model.scale.shift)
    process = model.process
    # y = K α + m for each draw: the measured outcomes on the model's scale.
    seen = (process.factor[0] @ (process.factor[0].T @ process.alpha[0]) + process.mean[0]).numpy()
    cut = np.clip(values, seen.min() - BEYOND, seen.max() + BEYOND)
    return np.asarray(model.scale.from_model(torch.as_tensor(cut)).numpy())
