from __future__ import annotations

import pytest

from athanor.planners import Measured, Observation, RandomPlanner, SobolPlanner
from athanor.planners.problem import Continuous, Objective, OutcomeConstraint, Problem
from athanor.planners.state import StateMismatch

PROBLEM = Problem(
    [Continuous("x", 0, 1)], [Objective("f", "minimize")], [OutcomeConstraint("load", upper=1.0, probability=0.9)]
)


def seen(x: float, f: float, load: float = 0.5, status: str = "completed", **more: str) -> Observation:
    outcomes = {"f": Measured(f), "load": Measured(load)} if status == "completed" else {}
    return Observation(values={"x": x}, outcomes=outcomes, status=status, **more)  # type: ignore[arg-type]


def test_the_state_goes_to_json_and_back() -> None:
    planner = RandomPlanner(PROBLEM, seed=4)
    [candidate] = planner.suggest(1)
    planner.ingest([Observation(candidate_id=candidate.id, values=candidate.values, outcomes={"f": 1.0, "load": 0.1})])
    planner.suggest(1)
    again = RandomPlanner.from_json(planner.to_json())
    assert again.to_json() == planner.to_json()
    assert again.suggest(2) == planner.suggest(2)


def test_another_planners_state_is_refused() -> None:
    with pytest.raises(StateMismatch):
        SobolPlanner.from_json(RandomPlanner(PROBLEM).to_json())


def test_what_failed_was_rejected_or_is_pending_is_kept_apart() -> None:
    planner = RandomPlanner(PROBLEM)
    planner.ingest(
        [
            seen(0.1, 3.0),
            seen(0.2, 0.0, status="failed"),
            seen(0.3, 0.0, status="rejected"),
            seen(0.4, 0.0, status="running"),
        ]
    )
    assert [o.values["x"] for o in planner.measured] == [0.1]
    assert [o.values["x"] for o in planner.failed] == [0.2]
    assert {"x": 0.3} in planner.refused
    assert {"x": 0.4} in planner.pending


def test_the_best_meets_the_constraint_where_anything_does() -> None:
    planner = RandomPlanner(PROBLEM)
    assert planner.best() == []
    planner.ingest([seen(0.1, 1.0, load=2.0)])
    assert [b.is_feasible for b in planner.best()] == [False]
    planner.ingest([seen(0.2, 5.0), seen(0.3, 4.0)])
    [best] = planner.best()
    assert best.values == {"x": 0.3}
    assert best.is_feasible


def test_a_second_report_on_a_candidate_replaces_the_first() -> None:
    planner = RandomPlanner(PROBLEM)
    [candidate] = planner.suggest(1)
    for f in (1.0, 2.0):
        planner.ingest(
            [Observation(candidate_id=candidate.id, values=candidate.values, outcomes={"f": f, "load": 0.1})]
        )
    assert [o.outcomes["f"].mean for o in planner.measured] == [2.0]
