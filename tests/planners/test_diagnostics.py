from __future__ import annotations

import pytest

from athanor.planners import BayesianPlanner, Categorical, Continuous, Objective, Observation, Problem, diagnostics
from athanor.planners.hyperparameters import FitFailed
from athanor.planners.space import Space

PROBLEM = Problem(
    [Continuous("x", 0, 10), Continuous("y", 0, 1), Continuous("idle", 0, 1), Categorical("s", ["a", "b"])],
    [Objective("f", "maximize", unit="V")],
)


@pytest.fixture(scope="module")
def planner():
    made = BayesianPlanner(PROBLEM, seed=0)
    space = Space(PROBLEM)
    for row in space.sample(32, 0):
        v = space.decode(row)
        f = 3 * v["x"] / 10 + v["y"] + 2 * (v["x"] / 10) * v["y"] + 0.5 * (v["s"] == "b")
        made.ingest([Observation(values=v, outcomes={"f": f})])
    return made


def test_effects_have_size_direction_and_certainty(planner):
    found = diagnostics.effects(planner)
    changes = {c.parameter: c for c in found.changes}
    base = found.incumbent
    assert changes["x"].change == pytest.approx(3 + 2 * base["y"], abs=0.3)
    assert changes["x"].probability_up > 0.99
    assert abs(changes["idle"].change) < 0.2
    assert (changes["s"].low, changes["s"].high) == ("a", "b")
    assert changes["x"].importance > changes["y"].importance > changes["idle"].importance
    assert changes["x"].first_order == changes["x"].importance
    pairs = {(p.first, p.second): p for p in found.pairs}
    assert pairs["x", "y"].change == pytest.approx(2.0, abs=0.4)
    assert abs(pairs["x", "idle"].change) < 0.4
    assert found.box["x"][0] > 5
    assert diagnostics.Effects.model_validate_json(found.model_dump_json()) == found


def test_slices_pass_through_the_incumbent(planner):
    cuts = diagnostics.slices(planner, n=5)
    assert len(cuts.slices) == 4
    x = next(s for s in cuts.slices if s.parameter == "x")
    assert x.values == (0.0, 2.5, 5.0, 7.5, 10.0)
    assert list(x.mean) == sorted(x.mean)
    assert min(x.sd) >= 0
    assert next(s for s in cuts.slices if s.parameter == "s").values == ("a", "b")


def test_too_little_data_is_said():
    with pytest.raises(FitFailed, match="needs 2"):
        diagnostics.effects(BayesianPlanner(PROBLEM))
