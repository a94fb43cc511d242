from __future__ import annotations

import numpy as np

from athanor.planners import Observation, SobolPlanner
from athanor.planners.problem import Categorical, Continuous, Integer, Objective, Problem

from .problems import EVERYTHING

SQUARE = Problem([Continuous("x", 0, 1), Continuous("y", 0, 1)], [Objective("f", "maximize")])


def test_points_fill_the_space_more_evenly_than_chance() -> None:
    rows = np.array([[c.values["x"], c.values["y"]] for c in SobolPlanner(SQUARE, seed=3).suggest(64)])
    counts = np.histogram2d(rows[:, 0], rows[:, 1], bins=8, range=[[0, 1], [0, 1]])[0]
    # A (0, 6, 2)-net in base 2: one point in each of the 64 squares; 64 random points leave about 23 of them empty.
    assert counts.min() == counts.max() == 1


def test_the_number_decides_and_points_satisfy_everything() -> None:
    planner = SobolPlanner(EVERYTHING, seed=1)
    first = planner.suggest(20)
    for candidate in first:
        assert EVERYTHING.validate_point(candidate.values)
        assert candidate.why.method == "scrambled Sobol"
    [again] = SobolPlanner(EVERYTHING, seed=1).suggest(1, number=7)
    assert again == first[6]
    assert SobolPlanner(EVERYTHING, seed=2).suggest(1)[0].values != first[0].values


def test_a_small_space_is_exhausted_before_a_point_is_repeated_and_then_it_says_so() -> None:
    small = Problem([Integer("n", 1, 3), Categorical("s", ["a", "b"])], [Objective("f", "maximize")])
    planner = SobolPlanner(small, seed=0)
    seen = []
    for _ in range(6):
        [candidate] = planner.suggest(1)
        assert candidate.why.fallback is None
        planner.ingest([Observation(candidate_id=candidate.id, values=candidate.values, outcomes={"f": 1.0})])
        seen.append(tuple(candidate.values.values()))
    assert len(set(seen)) == 6
    assert planner.suggest(1)[0].why.fallback is not None
