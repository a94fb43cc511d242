from __future__ import annotations

import numpy as np
import pytest
import torch

from athanor.planners.hyperparameters import Hyperparameters
from athanor.planners.process import Conditional, Process

RNG = np.random.default_rng(5)
ROWS = RNG.random((9, 2))
Y = np.cos(4 * ROWS[:, 0]) + ROWS[:, 1]
NEW = RNG.random((4, 2))
TWO = [
    Hyperparameters(np.array([[2.5, 0.0], [0.4, 0.9]]), 1.3, np.full(9, 0.02), 0.3, 0.0),
    Hyperparameters(np.diag([1.1, 2.0]), 0.7, np.full(9, 0.10), -0.1, 0.0),
]
PROCESS = Process.build(ROWS, Y, TWO)


def dense(found):
    def kernel(a, b):
        r = np.sqrt(5) * np.linalg.norm((a[:, None] - b[None]) @ found.metric.T, axis=2)
        return found.scale * (1 + r + r * r / 3) * np.exp(-r)

    solve = np.linalg.inv(kernel(ROWS, ROWS) + np.diag(found.noise))
    cross = kernel(NEW, ROWS)
    return found.mean + cross @ solve @ (Y - found.mean), kernel(NEW, NEW) - cross @ solve @ cross.T


def test_the_posterior_is_the_mixture_of_dense_ones():
    means, covariances = (np.stack(parts) for parts in zip(*map(dense, TWO), strict=True))
    mean, covariance = PROCESS.joint(torch.as_tensor(NEW))
    assert mean.numpy() == pytest.approx(means.mean(axis=0), abs=1e-6)
    between = np.cov(means.T, ddof=0)
    assert covariance.numpy() == pytest.approx(covariances.mean(axis=0) + between, abs=1e-6)
    assert PROCESS.marginal(torch.as_tensor(NEW))[1].numpy() == pytest.approx(covariance.diagonal().numpy(), abs=1e-6)


def test_gradients_agree_with_differences():
    x = torch.as_tensor(NEW, dtype=torch.double).requires_grad_()
    assert torch.autograd.gradcheck(PROCESS.marginal, (x,), eps=1e-6, atol=1e-5)


def test_draws_and_what_they_imply_elsewhere_have_the_posterior_moments():
    normals = torch.as_tensor(np.random.default_rng(0).standard_normal((20000, 9)))
    conditional = Conditional.build(PROCESS, torch.as_tensor(ROWS), normals)
    means, sds = conditional.marginal(torch.as_tensor(NEW))
    mean, variance = PROCESS.marginal(torch.as_tensor(NEW))
    assert means.mean(0).numpy() == pytest.approx(mean.numpy(), abs=0.02)
    assert (means.var(0) + sds.square().mean(0)).numpy() == pytest.approx(variance.numpy(), rel=0.05, abs=1e-3)
