from __future__ import annotations

import numpy as np
import pytest
import torch

from athanor.planners import BayesianPlanner, Continuous, Objective, Observation, Problem
from athanor.planners.paths import draw, in_units
from athanor.planners.space import sobol

PROBLEM = Problem([Continuous("x", 0, 1), Continuous("y", 0, 1)], [Objective("f", "maximize")])


def model_of(outcome, n=12):
    planner = BayesianPlanner(PROBLEM, seed=0)
    for x, y in sobol(2, n, 1).tolist():
        planner.ingest([Observation(values={"x": x, "y": y}, outcomes={"f": outcome(x, y)})])
    return planner.surrogate().outcomes["f"]


def test_drawn_functions_have_the_posteriors_mean_and_spread():
    rng = np.random.default_rng(0)
    model = model_of(lambda x, y: float(np.sin(6 * x) + y + 0.2 * rng.standard_normal()))
    rows = sobol(2, 64, 9)
    drawn = np.stack([path(rows) for path in draw(model, 1024, 0)])
    mean, variance = (t.numpy() for t in model.process.marginal(torch.as_tensor(rows)))
    sd = np.sqrt(variance)
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=0.15)
    assert np.median(drawn.std(axis=0) / sd) == pytest.approx(1.0, abs=0.1)
    assert (np.abs(drawn.std(axis=0) / sd - 1.0) < 0.35).all()


def test_drawn_functions_pass_through_what_is_known_exactly():
    model = model_of(lambda x, y: 3 * x - y)
    rows = model.process.rows.numpy()
    drawn = np.stack([path(rows) for path in draw(model, 16, 0)])
    known = model.process.mean[0] + model.process.factor[0] @ (model.process.factor[0].T @ model.process.alpha[0])
    assert np.abs(drawn - known.numpy()).max() < 0.1


def test_the_same_arguments_give_the_same_function():
    model = model_of(lambda x, y: x * y)
    rows = sobol(2, 8, 0)
    assert (draw(model, 3, 0)[2](rows) == draw(model, 5, 0)[2](rows)).all()
    assert (draw(model, 3, 0)[2](rows) != draw(model, 3, 1)[2](rows)).any()


def test_values_come_back_in_units_and_no_guess_is_absurd():
    plain = model_of(lambda x, y: 100.0 + 50.0 * x)
    assert plain.scale.is_linear
    y = np.array([100.0, 125.0])
    assert in_units(plain, plain.scale.to_model(y)) == pytest.approx(y)
    steep = model_of(lambda x, y: float(np.exp(9 * x)), n=20)
    assert steep.scale.kind == "log"
    assert in_units(steep, np.array([steep.scale.to_model(50.0)])) == pytest.approx([50.0])
    assert np.isfinite(in_units(steep, np.array([1e6]))).all()
