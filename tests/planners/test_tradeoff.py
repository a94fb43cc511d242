from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from athanor.planners import (
    BayesianPlanner,
    Candidate,
    Categorical,
    Continuous,
    Measured,
    Objective,
    Observation,
    OutcomeConstraint,
    Problem,
    SobolPlanner,
    tradeoff,
)
from athanor.planners.protocol import Tradeoff

from .problems import PLAIN, branin, run

LINE = Problem([Continuous("x", 0, 10), Categorical("s", ["p", "q"])], [Objective("y", "maximize", unit="V")])
TWO = Problem(
    [Continuous("x", 0, 1), Continuous("w", 0, 1)],
    [Objective("gain", "maximize", unit="V"), Objective("cost", "minimize")],
)


def told(problem, points, outcomes, sem=None):
    planner = BayesianPlanner(problem, seed=0)
    for k, values in enumerate(points):
        means = {name: Measured(mean, sem) for name, mean in outcomes(values).items()}
        planner.ingest([Observation(candidate_id=f"c{k}", values=values, outcomes=means)])
    return planner


def weighed(planner, values):
    return tradeoff.weigh(planner.surrogate(), None, values, planner.best())


@pytest.fixture(scope="module")
def line():
    points = [{"x": x, "s": s} for x in (0.0, 2.0, 4.0, 6.0) for s in ("p", "q")]
    return told(LINE, points, lambda v: {"y": math.sin(v["x"]) + (v["s"] == "q")}, sem=0.1)


def test_improvement_is_that_of_the_two_normals(line):
    best = line.best()[0]
    values = {"x": 1.2, "s": "q"}
    found = weighed(line, values)
    surrogate = line.surrogate()
    model = surrogate.outcomes["y"]
    assert model.scale.is_linear
    mean, covariance = model.process.joint(torch.as_tensor(surrogate.space.encode([values, dict(best.values)])))
    gap = float(mean[0] - mean[1]) * model.scale.spread
    sd = math.sqrt(float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])) * model.scale.spread
    u = gap / sd
    assert found.improvement == pytest.approx(gap * norm.cdf(u) + sd * norm.pdf(u), rel=0.02)
    assert found.better == pytest.approx(norm.cdf(u), abs=0.01)
    expected = 1 - max(0.0, gap) * norm.cdf(u) / (gap * norm.cdf(u) + sd * norm.pdf(u))
    assert found.exploration == pytest.approx(expected, abs=0.03)


def test_distance_is_to_the_nearest_measured_setting(line):
    found = weighed(line, {"x": 4.5, "s": "p"})
    assert found.distance == pytest.approx(0.05)
    assert found.nearest == {"x": 4.0, "s": "p"} and found.nearest_id == "c4"
    assert weighed(line, {"x": 4.0, "s": "p"}).distance == 0.0
    assert found.feasible is None and found.works is None and found.compromise is None


def test_far_from_everything_the_hope_is_exploration_and_near_it_what_is_known(line):
    steep = told(LINE, [{"x": float(x), "s": "p"} for x in range(7)], lambda v: {"y": 3 * v["x"]}, sem=0.01)
    known = weighed(steep, {"x": 7.0, "s": "p"})
    far = weighed(line, {"x": 10.0, "s": "p"})
    assert known.exploration is not None and far.exploration is not None
    assert known.exploration < 0.1 and known.better is not None and known.better > 0.95
    assert known.improvement == pytest.approx(3.0, abs=0.3)
    assert far.exploration > 0.8
    assert "(exploitation)" in tradeoff.in_words(known, LINE) and "(exploration)" in tradeoff.in_words(far, LINE)
    assert "a gain of 2.9 V" in tradeoff.in_words(known, LINE)


def test_a_target_is_neared():
    problem = Problem([Continuous("x", 0, 1)], [Objective("y", target=0.7, unit="V")])
    planner = told(problem, [{"x": x} for x in (0.0, 0.2, 0.3, 0.4, 0.5, 0.6)], lambda v: {"y": v["x"]}, sem=0.001)
    found = weighed(planner, {"x": 0.69})
    assert found.improvement == pytest.approx(0.09, abs=0.01)
    assert "nearer to the target" in tradeoff.in_words(found, problem)


def test_on_a_stretched_scale_no_hope_is_absurd():
    problem = Problem([Continuous("x", 0, 1)], [Objective("y", "maximize")])
    planner = told(problem, [{"x": k / 40} for k in range(12)], lambda v: {"y": math.exp(30 * v["x"])})
    assert planner.surrogate().outcomes["y"].scale.kind == "log"
    found = weighed(planner, {"x": 1.0})
    best = max(o.outcomes["y"].mean for o in planner.measured)
    assert found.improvement is not None and 0 < found.improvement < 1000 * best


@pytest.fixture(scope="module")
def two():
    # Along x gain costs; w is waste of both.
    points = [{"x": x, "w": w} for x in (0.2, 0.4, 0.6, 0.8) for w in (0.0, 0.5, 1.0)]
    return told(TWO, points, lambda v: {"gain": v["x"] - 0.5 * v["w"], "cost": v["x"] ** 2 + v["w"]}, sem=1e-3)


@pytest.mark.parametrize(
    ("values", "kind", "objective"),
    [
        ({"x": 1.0, "w": 0.0}, "extends", "gain"),
        ({"x": 0.0, "w": 0.0}, "extends", "cost"),
        ({"x": 0.5, "w": 0.0}, "between", None),
        ({"x": 0.5, "w": 0.9}, "behind", None),
    ],
)
def test_it_is_said_which_compromise_is_extended(two, values, kind, objective):
    found = weighed(two, values).compromise
    assert found is not None
    assert (found.kind, found.objective) == (kind, objective)
    assert found.candidate_id in {b.candidate_id for b in two.best()}
    gain = values["x"] - 0.5 * values["w"] - (found.values["x"] - 0.5 * found.values["w"])
    assert found.changes["gain"] == pytest.approx(gain, abs=0.05)
    if kind == "behind":
        # The compromise it is held against is better in everything.
        assert found.changes["gain"] <= 0 <= found.changes["cost"]
    words = tradeoff.in_words(weighed(two, values), TWO)
    assert "V" in words and {"extends": "extend", "between": "between", "behind": "behind"}[kind] in words


def test_improving_on_a_compromise():
    points = [{"x": x, "w": w} for x in (0.2, 0.5, 0.8) for w in (0.4, 0.7, 1.0)]
    planner = told(TWO, points, lambda v: {"gain": v["x"] - v["w"], "cost": v["x"] ** 2 + v["w"]}, sem=1e-3)
    found = weighed(planner, {"x": 0.5, "w": 0.2}).compromise
    assert found is not None and found.kind == "improves"
    assert found.changes["gain"] > 0 > found.changes["cost"]


def test_without_a_feasible_point_there_is_nothing_to_beat():
    problem = Problem(
        [Continuous("x", 0, 1)], [Objective("y", "maximize")], [OutcomeConstraint("load", upper=-1.0, probability=0.9)]
    )
    planner = told(problem, [{"x": k / 5} for k in range(6)], lambda v: {"y": v["x"], "load": v["x"]})
    found = weighed(planner, {"x": 0.3})
    assert found.improvement is None and found.better is None and found.exploration is None
    assert found.feasible is not None and found.feasible < 0.1
    assert "less than 1%" in tradeoff.in_words(found, problem)


def test_every_candidate_of_a_model_carries_it_and_others_are_as_they_were():
    candidates = run(BayesianPlanner(PLAIN, seed=1, initial=4), lambda v: {"f": branin(v)}, 6)
    assert [c.why.tradeoff is None for c in candidates] == [True] * 4 + [False] * 2
    assert "tradeoff" not in candidates[0].model_dump(mode="json")["why"]
    last = candidates[-1]
    assert last.why.tradeoff is not None and last.why.tradeoff.improvement is not None
    assert Candidate.model_validate_json(last.model_dump_json()) == last
    assert last.why.detail.endswith(tradeoff.in_words(last.why.tradeoff, PLAIN))
    [plain] = SobolPlanner(PLAIN).suggest(1)
    assert set(plain.model_dump()["why"]) == {"method", "fallback", "detail", "advice"}


def test_where_the_process_may_fail_it_is_said():
    problem = Problem([Continuous("x", 0, 1)], [Objective("y", "maximize")])
    planner = told(problem, [{"x": k / 10} for k in range(6)], lambda v: {"y": v["x"]})
    planner.ingest([Observation(values={"x": x}, status="failed") for x in (0.8, 0.9, 1.0)])
    [candidate] = planner.suggest(1)
    assert candidate.why.tradeoff is not None and candidate.why.tradeoff.works is not None
    assert 0.0 < candidate.why.tradeoff.works < 1.0
    assert "The process works there at all" in candidate.why.detail


def test_words_stay_within_what_is_known():
    assert tradeoff._percent(0.004) == "less than 1%" and tradeoff._percent(0.999) == "more than 99%"
    assert tradeoff._percent(0.5) == "50%"
    other = Tradeoff(nearest={"x": 1.0}, distance=1.0)
    assert "another category" in tradeoff.in_words(other, LINE)
    assert np.isclose(other.distance, 1.0)
