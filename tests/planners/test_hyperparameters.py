from __future__ import annotations

import numpy as np
import pytest

from athanor.planners.hyperparameters import JITTER, correlation, fit, length_prior, losses, squared_gaps

RNG = np.random.default_rng(3)
ROWS = RNG.random((14, 2))
Y = np.sin(5 * ROWS[:, 0]) + 0.3 * ROWS[:, 1] + 0.05 * RNG.standard_normal(14)
Y = (Y - Y.mean()) / Y.std()
GROUPS = np.array([0, 1])
FREE = np.zeros(14)


def test_losses_are_those_of_a_dense_computation():
    gaps = squared_gaps(ROWS, GROUPS)
    thetas = np.array([[-0.7, 0.4, 0.2, -4.0], [0.3, 1.5, -0.5, -2.0]])
    expected = []
    for theta in thetas:
        covariance = np.exp(theta[2]) * correlation((gaps * np.exp(-2 * theta[:2])[:, None, None]).sum(axis=0))[0]
        covariance += (np.exp(theta[3]) + JITTER) * np.eye(14)
        inverse = np.linalg.inv(covariance)
        residual = Y - (inverse @ Y).sum() / inverse.sum()
        value = 0.5 * residual @ inverse @ residual + 0.5 * np.linalg.slogdet(covariance)[1]
        mean, sd = length_prior(2)
        value += 0.5 * np.square((theta[:2] - mean) / sd).sum() + 0.5 * theta[2] ** 2 + 0.5 * ((theta[3] + 6) / 2) ** 2
        expected.append(value)
    assert losses(thetas, gaps, Y, FREE, known=False) == pytest.approx(expected, rel=1e-8)


def test_the_likeliest_are_a_minimum_of_the_losses():
    found, _ = fit(ROWS, Y, GROUPS)
    theta = np.concatenate([np.log(found.lengths), [np.log(found.scale), np.log(found.noise[0] - JITTER)]])
    around = theta + 0.05 * np.concatenate([np.zeros((1, 4)), np.eye(4), -np.eye(4)])
    values = losses(around, squared_gaps(ROWS, GROUPS), Y, FREE, known=False)
    assert values.argmin() == 0


def test_draws_follow_the_posterior():
    rows, y, known = ROWS[:, :1], Y, np.full(14, 0.05)
    _, draws = fit(rows, y, np.array([0]), known)
    axes = np.meshgrid(np.linspace(-5, 6, 220), np.linspace(-5, 6, 220), indexing="ij")
    grid = np.stack([a.ravel() for a in axes], axis=1)
    value = losses(grid, squared_gaps(rows, np.array([0])), y, known, known=True)
    weights = np.exp(value.min() - value)
    mean = weights @ grid / weights.sum()
    sd = np.sqrt(weights @ np.square(grid - mean) / weights.sum())
    drawn = np.log([[h.lengths[0], h.scale] for h in draws])
    assert np.abs(drawn.mean(axis=0) - mean).max() < 0.6 * sd.max()
    assert drawn.std(axis=0) == pytest.approx(sd, rel=0.6)


def test_a_fit_is_the_same_every_time():
    first, second = fit(ROWS, Y, GROUPS), fit(ROWS, Y, GROUPS)
    for a, b in zip([first[0], *first[1]], [second[0], *second[1]], strict=True):
        assert np.array_equal(a.lengths, b.lengths)
        assert (a.scale, a.mean) == (b.scale, b.mean)
