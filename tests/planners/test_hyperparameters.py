from __future__ import annotations

import numpy as np
import pytest

from athanor.planners import hyperparameters
from athanor.planners.hyperparameters import (
    FEW,
    JITTER,
    SLANT_PRIOR,
    Shape,
    correlation,
    fit,
    length_prior,
    losses,
    squared_distances,
)

RNG = np.random.default_rng(3)
ROWS = RNG.random((14, 2))
Y = np.sin(5 * ROWS[:, 0]) + 0.3 * ROWS[:, 1] + 0.05 * RNG.standard_normal(14)
Y = (Y - Y.mean()) / Y.std()
GROUPS = np.array([0, 1])
SHAPE = Shape(GROUPS, known=False)
FREE = np.zeros(14)


def vector(found):
    """The vector behind fitted hyper-parameters of `SHAPE`."""
    lengths = 1.0 / np.diag(found.metric)
    slant = found.metric[1, 0] * lengths[1]
    return np.array([*np.log(lengths), np.log(found.scale), np.log(found.noise[0] - JITTER), slant])


def test_losses_are_those_of_a_dense_computation():
    thetas = np.array([[-0.7, 0.4, 0.2, -4.0, 0.0], [0.3, 1.5, -0.5, -2.0, -0.8]])
    expected = []
    for theta in thetas:
        slanted = np.stack([ROWS[:, 0], ROWS[:, 1] + theta[4] * ROWS[:, 0]], axis=1) / np.exp(theta[:2])
        distances = np.linalg.norm(slanted[:, None] - slanted[None], axis=2)
        covariance = np.exp(theta[2]) * correlation(distances**2)[0] + (np.exp(theta[3]) + JITTER) * np.eye(14)
        inverse = np.linalg.inv(covariance)
        residual = Y - (inverse @ Y).sum() / inverse.sum()
        value = 0.5 * residual @ inverse @ residual + 0.5 * np.linalg.slogdet(covariance)[1]
        mean, sd = length_prior(2)
        value += 0.5 * np.square((theta[:2] - mean) / sd).sum() + 0.5 * theta[2] ** 2 + 0.5 * ((theta[3] + 6) / 2) ** 2
        expected.append(value + 0.5 * (theta[4] / SLANT_PRIOR) ** 2)
    assert losses(thetas, ROWS, Y, SHAPE, FREE) == pytest.approx(expected, rel=1e-8)


def test_the_likeliest_are_a_minimum_of_the_losses():
    theta = vector(fit(ROWS, Y, GROUPS).likeliest)
    around = theta + 0.05 * np.concatenate([np.zeros((1, 5)), np.eye(5), -np.eye(5)])
    assert losses(around, ROWS, Y, SHAPE, FREE).argmin() == 0


def test_draws_follow_the_posterior(monkeypatch):
    monkeypatch.setattr(hyperparameters, "DRAWS", 512)  # enough to see a bias
    rows, y, known = ROWS[:, :1], Y, np.full(14, 0.05)
    draws = fit(rows, y, np.array([0]), known).draw()[1]
    axes = np.meshgrid(np.linspace(-5, 6, 220), np.linspace(-5, 6, 220), indexing="ij")
    grid = np.stack([a.ravel() for a in axes], axis=1)
    value = losses(grid, rows, y, Shape(np.array([0]), known=True), known)
    weights = np.exp(value.min() - value)
    mean = weights @ grid / weights.sum()
    sd = np.sqrt(weights @ np.square(grid - mean) / weights.sum())
    drawn = np.log([[1.0 / h.metric[0, 0], h.scale] for h in draws])
    assert np.abs((drawn.mean(axis=0) - mean) / sd).max() < 0.2
    assert drawn.std(axis=0) == pytest.approx(sd, rel=0.2)


def test_a_fit_is_the_same_every_time():
    first, second = fit(ROWS, Y, GROUPS), fit(ROWS, Y, GROUPS)
    for a, b in zip([first.likeliest, *first.draw()[1]], [second.likeliest, *second.draw()[1]], strict=True):
        assert np.array_equal(a.metric, b.metric)
        assert (a.scale, a.mean) == (b.scale, b.mean)


def test_a_slanted_ridge_is_recognised_and_axes_that_do_not_mix_are_left_alone():
    rows = np.random.default_rng(0).random((24, 2))
    slanted, straight = (fit(rows, (y - y.mean()) / y.std(), GROUPS).likeliest for y in ridges(rows))
    # Along the ridge x0 - x1 = const the slanted model sees next to no distance, across it much.
    along, across = (float(np.linalg.norm(slanted.metric @ step)) for step in ([1.0, 1.0], [1.0, -1.0]))
    assert across > 4.0 * along
    mixed = abs(straight.metric[1, 0] / straight.metric[1, 1])
    assert mixed < SLANT_PRIOR / 2


def ridges(rows):
    """Two outcomes: one that depends on a difference of the columns, one that depends on each by itself."""
    return np.tanh(4.0 * (rows[:, 0] - rows[:, 1])), np.sin(5.0 * rows[:, 0]) + np.cos(4.0 * rows[:, 1])


def test_categories_and_many_parameters_are_not_mixed():
    one_hot = Shape(np.array([0, 1, 1, 1, 2]), known=True)
    assert [(int(i), int(j)) for i, j in zip(*one_hot.pairs, strict=True)] == [(4, 0)]
    assert len(Shape(np.arange(FEW), known=True).pairs[0]) == FEW * (FEW - 1) // 2
    assert len(Shape(np.arange(FEW + 1), known=True).pairs[0]) == 0


def test_distances_do_not_go_below_zero():
    coordinates = np.array([[1e8, 1.0], [1e8, 1.0], [0.0, 0.0]])
    gaps = squared_distances(coordinates)
    assert gaps.min() >= 0.0
    assert gaps[0, 1] == 0.0
    assert gaps[0, 2] == pytest.approx(1e16)
