"""Each check of the whole model speaks on data made up for it, and names what it saw."""

from __future__ import annotations

import math

import numpy as np
import pytest

from athanor.planners import Continuous, Integer, Objective, OutcomeConstraint, Problem, hyperparameters

from .sick import ONE, PLANE, findings, line, scattered, told


def test_too_few_points_are_counted_against_the_parameters():
    found = findings(told(PLANE, scattered(3), lambda v: v["x"]))["few-points"]
    assert found.severity == "serious" and found.numbers == {"settings": 3.0, "parameters": 2.0}
    assert "3 different settings of 2 parameters" in found.seen and "from 6 settings on" in found.remedy
    assert findings(told(PLANE, scattered(5), lambda v: v["x"]))["few-points"].severity == "note"
    assert "few-points" not in findings(told(PLANE, scattered(6), lambda v: v["x"]))
    # Repeats are no new settings.
    assert "few-points" in findings(told(PLANE, scattered(3) * 4, lambda v: v["x"]))


def test_a_stuck_outcome_is_the_one_thing_said():
    found = findings(told(PLANE, scattered(12), lambda v: 4.2))
    assert set(found) == {"constant"}
    assert "y read 4.2 in all 12 measurements" in found["constant"].seen


def test_chance_is_no_better_than_the_mean():
    said = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        found = findings(told(PLANE, scattered(24, seed), lambda v, rng=rng: float(rng.standard_normal())))
        said.append(found.get("no-better-than-mean"))
    assert sum(item is not None for item in said) >= 8
    for item in said:
        if item is not None:
            assert (item.severity == "serious") == (item.numbers["gain"] <= 0)
            assert "y is foretold no" in item.seen and "24 settings" in item.seen


def test_errors_stated_too_small_make_it_overconfident():
    rng = np.random.default_rng(0)
    noisy = told(ONE, line(80), lambda v: 3 * math.sin(3 * v["x"]) + float(rng.standard_normal()), sem=0.03)
    found = findings(noisy)
    assert "overconfident" in found
    assert found["overconfident"].numbers["coverage_90"] < 0.8
    assert found["overconfident"].numbers["spread"] > 1.3


def test_errors_stated_too_large_make_it_underconfident_which_is_harmless():
    found = findings(told(ONE, line(24), lambda v: 5 * v["x"], sem=1.0))
    assert found["underconfident"].severity == "note"
    assert found["underconfident"].numbers["coverage_50"] > 0.9


def test_noise_that_explains_nearly_all_is_said():
    rng = np.random.default_rng(1)
    found = findings(told(PLANE, scattered(60), lambda v: 0.2 * v["x"] + float(rng.standard_normal())))
    assert found["mostly-noise"].numbers["share"] >= 0.8
    assert "% of the variation of y for noise" in found["mostly-noise"].seen


def test_neighbours_that_tell_nothing_put_the_length_scale_on_its_bound():
    rng = np.random.default_rng(2)
    found = findings(told(ONE, line(60), lambda v: float(rng.standard_normal()), sem=0.01))
    assert found["length-scale-at-bound"].severity == "warning"
    assert "within 5% of the range of x" in found["length-scale-at-bound"].seen


def test_a_best_point_on_the_edge_names_the_bound_to_widen():
    found = findings(told(ONE, line(12), lambda v: 2 * v["x"], sem=0.01))["best-on-the-edge"]
    assert found.severity == "note"
    assert "highest x that is allowed, 1 mm" in found.seen and "widen the range of x" in found.remedy
    low = findings(told(ONE, line(12), lambda v: -2 * v["x"], sem=0.01))["best-on-the-edge"]
    assert "lowest x that is allowed, 0 mm" in low.seen
    inside = findings(told(ONE, line(12), lambda v: -((v["x"] - 0.4) ** 2), sem=0.001))
    assert "best-on-the-edge" not in inside


def test_an_edge_that_does_not_matter_is_not_mentioned():
    problem = Problem([Continuous("x", 0, 1), Integer("idle", 1, 5)], [Objective("y", "maximize")])
    points = [{"x": k / 23, "idle": 1 + k % 5} for k in range(24)]
    assert "best-on-the-edge" not in findings(told(problem, points, lambda v: -((v["x"] - 0.4) ** 2)))


@pytest.mark.parametrize(("upper", "severity"), [(-1.0, "serious"), (0.05, "note")])
def test_nothing_feasible_is_said(upper, severity):
    problem = Problem(
        [Continuous("x", 0, 1)],
        [Objective("y", "maximize")],
        [OutcomeConstraint("load", upper=upper, probability=0.99)],
    )
    planner = told(problem, line(12), lambda v: {"y": v["x"], "load": v["x"]}, sem=0.1)
    found = findings(planner)["nothing-feasible"]
    assert found.severity == severity and found.outcome is None
    assert ("None of 12" if severity == "serious" else "1 of 12") in found.seen


def test_a_failed_fit_is_said(monkeypatch):
    def refuse(*_, **__):
        raise hyperparameters.FitFailed("not positive definite")

    monkeypatch.setattr("athanor.planners.surrogate.fit", refuse)
    found = findings(told(PLANE, scattered(12), lambda v: v["x"]))["fit-failed"]
    assert found.severity == "serious" and "not positive definite" in found.seen
