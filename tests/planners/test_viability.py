from __future__ import annotations

import numpy as np
import torch

from athanor.planners import viability
from athanor.planners.space import Space, sobol

from .problems import PLAIN

SPACE = Space(PLAIN)


def test_without_a_failure_there_is_nothing_to_learn():
    assert viability.fit(SPACE, sobol(2, 8, 0), np.empty((0, 2))) is None


def test_a_boundary_is_learnt_along_the_parameter_that_matters():
    rows = sobol(2, 32, 1)
    inside = rows[:, 0] < 0.5
    found = viability.fit(SPACE, rows[inside], rows[~inside])
    assert found is not None
    probes = torch.tensor([[0.1, 0.1], [0.1, 0.9], [0.9, 0.1], [0.9, 0.9]], dtype=torch.double)
    p = found.probability(probes).numpy()
    assert p[:2].min() > 0.8
    assert p[2:].max() < 0.2


def test_where_most_fails_strangers_are_not_trusted():
    rows = sobol(2, 16, 1)
    middle = torch.tensor([[0.99, 0.99]], dtype=torch.double)
    few = viability.fit(SPACE, rows[2:], rows[:2])
    most = viability.fit(SPACE, rows[:2], rows[2:])
    assert float(most.probability(middle)) < float(few.probability(middle))


def test_the_probability_has_gradients():
    rows = sobol(2, 8, 0)
    found = viability.fit(SPACE, rows[:5], rows[5:])
    x = torch.tensor(rows, requires_grad=True)
    found.probability(x).sum().backward()
    assert torch.isfinite(x.grad).all()
