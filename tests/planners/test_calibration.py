from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from athanor.planners import BayesianPlanner, Continuous, Measured, Objective, Observation, Problem, calibration
from athanor.planners.explanations import Calibration
from athanor.planners.hyperparameters import FitFailed, Hyperparameters, correlation, fit, squared_distances
from athanor.planners.process import Process
from athanor.planners.surrogate import Scale

from .problems import PLAIN, branin

LINE = Problem([Continuous("x", 0, 1)], [Objective("y", "maximize", unit="V")])


def told(problem, points, outcome, sem=None):
    planner = BayesianPlanner(problem, seed=0)
    name = problem.objectives[0].name
    for k, values in enumerate(points):
        planner.ingest(
            [Observation(candidate_id=f"c{k}", values=values, outcomes={name: Measured(outcome(values), sem)})]
        )
    return planner


def spread(n, seed=0):
    rng = np.random.default_rng(seed)
    return [{"x": float(15 * u - 5), "y": float(15 * v)} for u, v in rng.random((n, 2))]


def brute(rows, y, noise, metric, scale, kept):
    """Mean and variance of new measurements at the rows left out, from the rows kept alone."""
    covariance = scale * correlation(squared_distances(rows @ metric.T))[0] + np.diag(noise)
    inverse = np.linalg.inv(covariance[np.ix_(kept, kept)])
    ones = np.ones(len(kept))
    mean = float(ones @ inverse @ y[kept]) / float(ones @ inverse @ ones)
    out = [i for i in range(len(y)) if i not in kept]
    cross = covariance[np.ix_(out, kept)]
    own = covariance[np.ix_(out, out)]
    return mean + cross @ inverse @ (y[kept] - mean), np.diag(own - cross @ inverse @ cross.T)


@pytest.mark.parametrize("repeated", [False, True])
def test_the_closed_form_is_what_leaving_out_gives(repeated):
    rng = np.random.default_rng(5)
    rows = rng.random((12, 2))
    if repeated:
        rows[4] = rows[9] = rows[1]
        rows[7] = rows[2]
    y = np.sin(5 * rows[:, 0]) + rows[:, 1] + 0.1 * rng.standard_normal(12)
    metrics = [np.array([[3.0, 0.0], [0.4, 1.2]]), np.array([[1.0, 0.0], [0.0, 2.0]])]
    noises = [np.full(12, 0.02), np.linspace(0.01, 0.1, 12)]
    draws = []
    for metric, noise in zip(metrics, noises, strict=True):
        covariance = 1.5 * correlation(squared_distances(rows @ metric.T))[0] + np.diag(noise)
        ones = np.linalg.solve(covariance, np.ones(12))
        draws.append(Hyperparameters(metric, 1.5, noise, float(ones @ y) / float(ones.sum()), 0.0))
    process = Process.build(rows, y, draws)
    assert calibration.noise(process) == pytest.approx(np.stack(noises), abs=1e-6)
    groups = calibration.settings(rows)
    assert groups.max() + 1 == (9 if repeated else 12)
    found = calibration._without(process, y, groups)
    for h, draw in enumerate(draws):
        for g in range(int(groups.max()) + 1):
            out, kept = np.flatnonzero(groups == g), np.flatnonzero(groups != g)
            mean, variance = brute(rows, y, draw.noise, draw.metric, draw.scale, list(kept))
            assert found.mean[h, out] == pytest.approx(mean, abs=1e-5)
            assert found.variance[h, out] == pytest.approx(variance, rel=1e-4)


def test_a_smooth_function_is_foretold_in_its_own_units():
    [found] = calibration.calibrations(told(PLAIN, spread(40), branin))
    assert found.outcome == "f" and found.settings == 40 and len(found.points) == 40
    assert found.r2 > 0.9 and found.gain > 4 * found.gain_error > 0
    assert found.log_density - found.constant_log_density == pytest.approx(found.gain)
    errors = [p.mean - p.measured for p in found.points]
    values = [p.measured for p in found.points]
    assert np.square(errors).mean() < 0.1 * np.var(values)
    assert {p.candidate_id for p in found.points} == {f"c{k}" for k in range(40)}
    assert all(p.measured == pytest.approx(branin(p.values)) and p.sd > 0 for p in found.points)
    assert Calibration.model_validate_json(found.model_dump_json()) == found


def test_the_density_is_one_of_the_outcome_in_its_unit():
    # A unit a thousand times smaller makes the numbers a thousand times larger and the densities as much smaller.
    points = spread(20)
    [volts] = calibration.calibrations(told(PLAIN, points, branin))
    [millivolts] = calibration.calibrations(told(PLAIN, points, lambda v: 1000 * branin(v)))
    assert volts.log_density - millivolts.log_density == pytest.approx(math.log(1000), abs=0.05)
    assert volts.gain == pytest.approx(millivolts.gain, abs=0.05)
    assert volts.r2 == pytest.approx(millivolts.r2, abs=0.01)


def test_coverage_and_spread_of_a_process_of_the_models_own_kind():
    # Many draws from the prior: half of what is left out lies within the 50 % intervals, nine tenths within the 90 %.
    rng = np.random.default_rng(3)
    halves, nines, spreads = [], [], []
    for _ in range(60):
        rows = rng.random((25, 2))
        metric = np.eye(2) * rng.uniform(1.0, 3.0)
        covariance = correlation(squared_distances(rows @ metric.T))[0] + np.diag(np.full(25, 0.01))
        y = np.linalg.cholesky(covariance) @ rng.standard_normal(25)
        process = Process.build(rows, y, [Hyperparameters(metric, 1.0, np.full(25, 0.01), float(y.mean()), 0.0)])
        found = calibration._without(process, y, calibration.settings(rows))
        u = ((y - found.mean) / np.sqrt(found.variance))[0]
        halves.append((np.abs(u) <= 0.6745).mean())
        nines.append((np.abs(u) <= 1.6449).mean())
        spreads.append(np.square(u).mean())
    assert np.mean(halves) == pytest.approx(0.5, abs=0.04)
    assert np.mean(nines) == pytest.approx(0.9, abs=0.03)
    assert np.mean(spreads) == pytest.approx(1.0, abs=0.12)


def fitted(rows, y):
    return Process.build(rows, y, fit(rows, y, np.arange(2)).draw()[1])


def test_it_is_what_fitting_anew_without_each_setting_gives():
    # Draws that have seen the answer seem to know more of it than fits anew do; weighed they come much nearer to these.
    anew, weighed, flattered = [], [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows = rng.random((12, 2))
        covariance = correlation(squared_distances(rows * 1.5))[0] + 0.04 * np.eye(12)
        y = np.linalg.cholesky(covariance) @ rng.standard_normal(12)
        y = (y - y.mean()) / y.std()
        process = fitted(rows, y)
        found = calibration._without(process, y, calibration.settings(rows))
        u = (y - found.mean) / np.sqrt(found.variance)
        densities = np.exp(-0.5 * u**2) / np.sqrt(2 * math.pi * found.variance)
        assert np.exp(found.log_weights).sum(axis=0) == pytest.approx(np.ones(12))
        weighed.append(np.log((np.exp(found.log_weights) * densities).sum(axis=0)).mean())
        flattered.append(np.log(densities.mean(axis=0)).mean())
        for i in range(12):
            others = np.delete(np.arange(12), i)
            rest = fitted(rows[others], y[others])
            mean, variance = (t[:, 0].numpy() for t in rest.components(torch.as_tensor(rows[i : i + 1])))
            variance = variance + calibration.noise(rest).mean(axis=1)
            density = np.exp(-0.5 * (y[i] - mean) ** 2 / variance) / np.sqrt(2 * math.pi * variance)
            anew.append(math.log(density.mean()))
    assert np.mean(flattered) > np.mean(anew) + 0.1
    assert abs(np.mean(weighed) - np.mean(anew)) < 0.5 * (np.mean(flattered) - np.mean(anew))


def test_repeats_do_not_give_the_answer_away():
    # Pure noise between settings, each measured four times: with its repeats in sight each would be foretold well.
    rng = np.random.default_rng(2)
    levels = {round(float(x), 3): float(rng.standard_normal()) for x in np.linspace(0, 1, 12)}
    points = [{"x": x} for x in levels for _ in range(4)]
    [found] = calibration.calibrations(told(LINE, points, lambda v: levels[v["x"]] + 0.01 * rng.standard_normal()))
    assert found.settings == 12 and {p.repeats for p in found.points} == {4}
    assert sum(p.weight for p in found.points) == pytest.approx(12)
    assert found.r2 < 0.3


def test_a_constant_foretells_as_well_as_the_model_where_nothing_is_to_be_known():
    rng = np.random.default_rng(0)
    [found] = calibration.calibrations(told(PLAIN, spread(30), lambda v: float(rng.standard_normal())))
    assert found.gain < 0.1 and found.r2 < 0.2


def test_the_residual_is_exact_far_in_the_tail():
    # A model that is sure of a smooth curve with little noise, and one point a hundred of its deviations off it.
    points = [{"x": k / 19} for k in range(20)]
    surrogate = told(LINE, points, lambda v: 5.0 if v["x"] == 10 / 19 else v["x"], sem=0.05).surrogate()
    model = surrogate.outcomes["y"]
    y = np.array([o.outcomes["y"].mean for o in surrogate.observations])
    sure = Process.build(surrogate.rows, y, [Hyperparameters(np.array([[0.3]]), 1.0, np.full(20, 1e-4), 0.0, 0.0)])
    surrogate.outcomes["y"] = dataclasses.replace(model, scale=Scale("plain", 0.0, 1.0), process=sure)
    [found] = calibration.from_surrogate(surrogate)
    worst = calibration.worst(found, 5.0)
    assert worst[0].candidate_id == "c10" and worst[0].sem == 0.05
    assert 50 < worst[0].residual < math.inf and math.isfinite(worst[0].log_density)
    # In units of what the model said of it without it.
    assert worst[0].residual == pytest.approx((5.0 - worst[0].mean) / worst[0].sd, rel=1e-6)


def test_logarithmic_outcomes_are_told_in_units():
    points = [{"x": k / 29} for k in range(30)]
    planner = told(LINE, points, lambda v: math.exp(8 * v["x"]))
    assert planner.surrogate().outcomes["y"].scale.kind == "log"
    [found] = calibration.calibrations(planner)
    assert found.r2 > 0.9
    assert all(p.mean > 0 for p in found.points)


def test_too_few_settings_are_not_judged_and_none_are_refused():
    assert calibration.calibrations(told(LINE, [{"x": 0.1}, {"x": 0.5}, {"x": 0.9}], lambda v: v["x"])) == ()
    with pytest.raises(FitFailed):
        calibration.calibrations(BayesianPlanner(LINE))


def test_threads_and_gradients_stay_as_they_were():
    before = torch.get_num_threads()
    calibration.calibrations(told(PLAIN, spread(8), branin))
    assert torch.get_num_threads() == before
