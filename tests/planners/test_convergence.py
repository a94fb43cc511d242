"""Campaigns with a step budget on shifted functions, the random baseline beside them."""

from __future__ import annotations

import math
import statistics

import pytest

from athanor.planners import (
    BayesianPlanner,
    Categorical,
    Continuous,
    Integer,
    Objective,
    Observation,
    OutcomeConstraint,
    Problem,
    RandomPlanner,
)
from athanor.planners.pareto import hypervolume

from .problems import PLAIN, branin, run

BRANIN_MINIMUM = 0.397887

TWO = Problem(
    [Continuous("x", 0, 1), Continuous("y", 0, 1)],
    [Objective("near_a", "minimize", reference=0.5), Objective("near_b", "minimize", reference=0.5)],
)
TWO_BEST = 0.2064  # the straight line between the two centres, by quadrature

BOUNDED = Problem(
    [Continuous("x", 0, 1), Continuous("y", 0, 1)],
    [Objective("gain", "maximize")],
    [OutcomeConstraint("load", upper=1.0, probability=0.95)],
)

MIXED = Problem(
    [Continuous("x", 0, 1), Integer("n", 1, 12), Categorical("s", ["a", "b", "c"])], [Objective("f", "maximize")]
)


def two(v):
    return {
        "near_a": (v["x"] - 0.21) ** 2 + (v["y"] - 0.83) ** 2,
        "near_b": (v["x"] - 0.67) ** 2 + (v["y"] - 0.59) ** 2,
    }


def bounded(v):
    # Best on the circle of radius 1 around the origin, in the direction (2, 1): gain 5 ** 0.5.
    return {"gain": 2 * v["x"] + v["y"], "load": v["x"] ** 2 + v["y"] ** 2}


def mixed(v):
    bonus = {"a": 0.0, "b": 0.7, "c": 0.3}[v["s"]]
    return {"f": bonus - 3 * (v["x"] - 0.31) ** 2 - 0.03 * (v["n"] - 8) ** 2 - 0.2 * (v["x"] - 0.31) * (v["n"] - 8)}


def front(planner):
    return hypervolume(TWO, planner.observations, {"near_a": 0.5, "near_b": 0.5})


def test_one_objective():
    planner, baseline = BayesianPlanner(PLAIN, seed=1), RandomPlanner(PLAIN, seed=1)
    run(planner, lambda v: {"f": branin(v)}, 22)
    run(baseline, lambda v: {"f": branin(v)}, 22)
    assert branin(planner.best()[0].values) - BRANIN_MINIMUM < 0.1
    assert branin(baseline.best()[0].values) - BRANIN_MINIMUM > 0.1


def test_two_objectives():
    planner, baseline = BayesianPlanner(TWO, seed=1), RandomPlanner(TWO, seed=1)
    run(planner, two, 18)
    run(baseline, two, 18)
    assert front(planner) > 0.9 * TWO_BEST
    assert front(planner) > front(baseline)
    assert len(planner.best()) > 3


def test_an_outcome_constraint():
    planner = BayesianPlanner(BOUNDED, seed=1)
    run(planner, bounded, 18)
    [best] = planner.best()
    assert bounded(best.values)["load"] <= 1.0
    assert bounded(best.values)["gain"] > 0.96 * math.sqrt(5)


def test_a_mixed_space():
    planner, baseline = BayesianPlanner(MIXED, seed=1), RandomPlanner(MIXED, seed=1)
    run(planner, mixed, 20)
    run(baseline, mixed, 20)
    assert planner.best()[0].values["s"] == "b"
    assert mixed(planner.best()[0].values)["f"] > 0.66
    assert mixed(planner.best()[0].values)["f"] >= mixed(baseline.best()[0].values)["f"]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_one_objective_over_seeds(noise):
    import numpy as np

    regrets, random = [], []
    for seed in range(8):
        for kind, found in ((BayesianPlanner, regrets), (RandomPlanner, random)):
            rng = np.random.default_rng(seed)
            planner = kind(PLAIN, seed=seed)
            run(planner, lambda v, rng=rng: {"f": branin(v) + noise * rng.standard_normal()}, 30)
            found.append(branin(planner.best()[0].values) - BRANIN_MINIMUM)
    assert statistics.median(regrets) < (0.01 if noise == 0 else 0.3)
    assert statistics.median(random) > 0.5


@pytest.mark.slow
def test_wrong_advice_costs_little():
    from athanor.planners import Advice

    wrong = Advice(id="h", kind="region", center={"x": 5.0, "y": 13.0}, width={"x": 0.15, "y": 0.15})
    steps = {}
    for name, advice in (("none", []), ("wrong", [wrong])):
        steps[name] = []
        for seed in range(8):
            planner = BayesianPlanner(PLAIN, seed=seed, advice=advice)
            candidates = run(planner, lambda v: {"f": branin(v)}, 30)
            good = [k for k, c in enumerate(candidates, 1) if branin(c.values) < 1.0]
            steps[name].append(good[0] if good else 31)
    assert sum(steps["wrong"]) <= 1.2 * sum(steps["none"])


def test_observations_elsewhere_are_learnt_from():
    planner = BayesianPlanner(PLAIN, seed=1)
    planner.ingest(
        [
            Observation(
                values={"x": -5 + 15 * i / 4, "y": 15 * j / 4},
                outcomes={"f": branin({"x": -5 + 15 * i / 4, "y": 15 * j / 4})},
            )
            for i in range(5)
            for j in range(5)
        ]
    )
    [candidate] = planner.suggest(1)
    assert candidate.why.method == "qLogNEI"
