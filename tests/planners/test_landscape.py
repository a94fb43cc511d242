from __future__ import annotations

import numpy as np
import pytest

from athanor.planners import (
    BayesianPlanner,
    Categorical,
    Continuous,
    Integer,
    LinearConstraint,
    Objective,
    Observation,
    OutcomeConstraint,
    Problem,
)
from athanor.planners.explanations import Landscape
from athanor.planners.landscape import landscape, positions
from athanor.planners.space import Space, sobol

PROBLEM = Problem(
    [Continuous("x", 0, 10), Continuous("y", 0, 1), Categorical("s", ["p", "q"])],
    [Objective("f", "maximize", unit="V")],
    [OutcomeConstraint("load", upper=5.0, probability=0.9)],
)


@pytest.fixture(scope="module")
def planner():
    made = BayesianPlanner(PROBLEM, seed=0)
    for row in Space(PROBLEM).sample(32, 0):
        v = Space(PROBLEM).decode(row)
        made.ingest([Observation(values=v, outcomes={"f": v["x"] * v["y"] + (v["s"] == "q"), "load": v["x"]})])
    return made


def test_maps_are_predictions_through_the_incumbent(planner):
    found = landscape(planner, [("x", "y"), ("x", "s")], n=7)
    [plane, split] = found.maps
    assert plane.first_values == pytest.approx(np.linspace(0, 10, 7)) and len(plane.second_values) == 7
    assert split.second_values == ("p", "q") and len(split.mean["f"]) == 2
    point = {**found.base, "x": plane.first_values[2], "y": plane.second_values[4]}
    expected = planner.surrogate().predict(point)["f"]
    assert (plane.mean["f"][4][2], plane.sd["f"][4][2]) == pytest.approx((expected.mean, expected.sd))
    assert all(all(row) for row in plane.allowed)
    assert plane.works is None
    assert Landscape.model_validate_json(found.model_dump_json()) == found


def test_the_feasibility_map_knows_where_the_constraint_holds(planner):
    [plane] = landscape(planner, [("x", "y")], n=11).maps
    assert plane.feasible is not None
    for row in plane.feasible:
        assert row[2] > 0.99 and row[8] < 0.01
    found = landscape(planner, [])
    assert found.likely_share == pytest.approx(0.5, abs=0.03)
    assert found.feasible_share is not None and found.feasible_share <= found.likely_share


def test_where_the_process_fails_is_on_the_map():
    problem = Problem([Continuous("x", 0, 1), Continuous("y", 0, 1)], [Objective("f", "maximize")])
    made = BayesianPlanner(problem, seed=0)
    for x, y in sobol(2, 24, 0).tolist():
        status = "failed" if x > 0.6 else "completed"
        made.ingest([Observation(values={"x": x, "y": y}, outcomes={"f": x} if x <= 0.6 else {}, status=status)])
    [plane] = landscape(made, [("x", "y")], n=5).maps
    assert plane.works is not None and plane.works[2][0] > 0.8 and plane.works[2][4] < 0.3
    assert plane.feasible is None


def test_a_sum_is_kept_by_the_others_and_broken_where_they_cannot():
    problem = Problem(
        [Continuous(n, 0, 1) for n in "abc"],
        [Objective("f", "maximize")],
        [LinearConstraint({"a": 1, "b": 1, "c": 1}, equals=1)],
    )
    made = BayesianPlanner(problem, seed=0)
    for row in Space(problem).sample(24, 0):
        v = Space(problem).decode(row)
        made.ingest([Observation(values=v, outcomes={"f": v["c"]})])
    [plane] = landscape(made, [("a", "b")], n=5).maps
    for i, b in enumerate(plane.second_values):
        for j, a in enumerate(plane.first_values):
            assert plane.allowed[i][j] == (a + b <= 1)
            if a + b <= 1:
                assert plane.mean["f"][i][j] == pytest.approx(1 - a - b, abs=0.1)


def test_levels_are_thinned_to_what_can_be_seen():
    space = Space(Problem([Integer("n", 0, 1000), Integer("few", 1, 4)], [Objective("f", "maximize")]))
    values = positions(space, "n", 25)
    assert len(values) == 25 and values[0] == 0 and values[-1] == 1000
    assert positions(space, "few", 25) == [1, 2, 3, 4]


def test_an_unknown_parameter_is_named(planner):
    with pytest.raises(KeyError, match="no parameter 'w'"):
        landscape(planner, [("x", "w")])
