"""Each check of single measurements speaks on data made up for it, and names the experiments."""

from __future__ import annotations

import math

import numpy as np

from athanor.planners import Categorical, Continuous, Measured, Objective, Observation, Problem

from .sick import ONE, PLANE, findings, line, scattered, told


def wavy(v):
    return math.sin(4 * v["x"]) + v["z"]


def test_an_outlier_is_named():
    rng = np.random.default_rng(0)
    points = scattered(40)

    def outcome(v):
        return wavy(v) + 0.05 * float(rng.standard_normal()) + 6.0 * (v == points[17])

    found = findings(told(PLANE, points, outcome))["outlier"]
    assert found.experiments[0] == "c17"
    assert found.seen.startswith("y does not fit") and "c17 read" in found.seen and " V where " in found.seen
    assert found.numbers["largest"] > found.numbers["beyond"] > 3


def test_noise_that_grows_along_a_parameter_is_found():
    rng = np.random.default_rng(1)
    found = findings(told(PLANE, scattered(110), lambda v: wavy(v) + 2 * v["x"] ** 3 * float(rng.standard_normal())))
    uneven = found["uneven-residuals"]
    assert uneven.severity == "warning" and uneven.numbers["ratio"] >= 2.5
    assert "where x is high" in uneven.seen


def test_noise_of_one_category_is_found():
    problem = Problem([Continuous("x", 0, 1), Categorical("cell", ["old", "new"])], [Objective("y", "maximize")])
    rng = np.random.default_rng(2)
    points = [{"x": float(x), "cell": "old" if k % 2 else "new"} for k, x in enumerate(rng.random(80))]
    widths = {"old": 1.0, "new": 0.05}
    found = findings(told(problem, points, lambda v: v["x"] + widths[v["cell"]] * float(rng.standard_normal())))
    assert "where cell is old" in found["uneven-residuals"].seen


def test_repeats_beyond_their_stated_errors_are_named():
    drift = iter(np.linspace(0.0, 3.0, 24))
    found = findings(told(ONE, line(8) * 3, lambda v: v["x"] + float(next(drift)), sem=0.05))["repeats-disagree"]
    assert found.numbers["ratio"] > 10 and found.numbers["repeats"] == 24
    assert len(found.experiments) == 3 and "V)" in found.seen
    assert {int(name[1:]) % 8 for name in found.experiments} in [{k} for k in range(8)]


def test_repeats_within_their_stated_errors_are_not():
    rng = np.random.default_rng(3)
    honest = told(ONE, line(8) * 3, lambda v: v["x"] + 0.05 * float(rng.standard_normal()), sem=0.05)
    assert "repeats-disagree" not in findings(honest)


def test_stated_errors_of_two_readings_are_not_taken_at_their_word():
    # The sem of two readings is often far too small by chance: judged as if exact, one campaign in three would be
    # accused.
    accused = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        planner = told(ONE, [], lambda v: 0.0)
        for k, v in enumerate(line(8) * 2):
            pair = v["x"] + 0.1 * rng.standard_normal(2)
            sem = abs(float(pair[0] - pair[1])) / 2
            outcome = {"y": Measured(float(pair.mean()), sem)}
            planner.ingest([Observation(candidate_id=f"c{k}", values=v, outcomes=outcome)])
        accused += "repeats-disagree" in findings(planner)
    assert accused <= 1
