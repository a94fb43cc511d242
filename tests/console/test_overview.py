"""Where a campaign stands, read from records."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from athanor.console import overview
from athanor.memory.records import Evidence, Hypothesis, Observation, Registration
from athanor.planners.problem import Continuous, Objective, OutcomeConstraint, Problem

PROBLEM = Problem(
    parameters=[Continuous("x", 0, 1)],
    objectives=[Objective("gain", "maximize"), Objective("waste", "minimize")],
    constraints=[OutcomeConstraint("purity", lower=0.9)],
)


def seen(number: int, status: str = "completed", revision: int = 1, **outcomes: float) -> Observation:
    entries: dict[str, Any] = {name: {"mean": mean, "sem": None} for name, mean in outcomes.items()}
    return Observation(
        id=f"c.{number}/o{revision}",
        campaign_id="c",
        experiment_id=f"c.{number}",
        revision_number=revision,
        values={"x": 0.5},
        outcomes=entries,
        status=status,  # type: ignore[arg-type]
        reduction="mean",
        reduction_hash="0" * 64,
    )


def test_best_is_the_feasible_pareto_set() -> None:
    observations = [
        seen(1, gain=5.0, waste=5.0, purity=0.95),
        seen(2, gain=9.0, waste=1.0, purity=0.5),
        seen(3, gain=4.0, waste=6.0, purity=0.95),
        seen(4, gain=2.0, waste=2.0, purity=0.91),
        seen(5, "failed"),
    ]
    assert [item.experiment for item in overview.best(PROBLEM, observations)] == ["c.1", "c.4"]


def test_a_new_reduction_replaces_the_old() -> None:
    observations = [seen(1, gain=5.0, waste=5.0, purity=0.95), seen(1, revision=2, gain=1.0, waste=5.0, purity=0.95)]
    [best] = overview.best(PROBLEM, observations)
    assert best.outcomes["gain"] == (1.0, None)


def test_equal_points_stand_once_in_the_front() -> None:
    assert overview.pareto([[1, 1], [1, 1], [0, 2]]) == [0, 2]


def test_thresholds_are_read_from_the_registration() -> None:
    body = {"support": {"threshold": 64.0}, "refute": {"threshold": 128.0}}
    assert overview.log_thresholds(body) == (math.log(64), math.log(128))
    assert overview.log_thresholds({}) == (None, None)


def test_a_hypothesis_line_carries_the_latest_evidence_only_of_its_own_test() -> None:
    hypothesis = Hypothesis(
        id="c.H1",
        campaign_id="c",
        ordinal=1,
        kind="effect",
        statement="s",
        rationale="r",
        claim={},
        proposer="p",
        prior=0.5,
    )
    registration = Registration(
        id="c.H1.r", hypothesis_id="c.H1", campaign_id="c", body={"support": {"threshold": 20.0}}, body_hash="0" * 64
    )

    def weighed(registration_id: str, block: int, support: float) -> Evidence:
        return Evidence(
            id=f"{registration_id}{block}",
            registration_id=registration_id,
            block=block,
            experiments=["c.1"],
            statistic=1.0,
            log_e_support=support,
            log_e_refute=-1.0,
        )

    rows = [weighed("c.H1.r", 2, 3.0), weighed("c.H1.r", 1, 1.0), weighed("c.H2.r", 9, 9.0)]
    [line] = overview.hypothesis_lines([hypothesis], [registration], rows)
    assert (line.blocks, line.log_e_support, line.log_threshold_support) == (2, 3.0, math.log(20))


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), max_size=12))
def test_the_front_is_what_no_other_point_dominates(points: list[list[int]]) -> None:
    def is_dominated(point: list[int]) -> bool:
        return any(overview.covers(other, point) and other != point for other in points)

    front = [index for index, point in enumerate(points) if not is_dominated(point) and point not in points[:index]]
    assert overview.pareto(points) == front
