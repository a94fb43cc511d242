"""The one number that says how good everything tried so far is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.console.merit import Merit, hypervolume
from athanor.planners.problem import Continuous, Objective, OutcomeConstraint, Problem

KNOB = [Continuous("x", 0, 1)]


def problem(*objectives: Objective, bound: bool = False) -> Problem:
    constraints = [OutcomeConstraint("purity", lower=0.9)] if bound else []
    return Problem(parameters=KNOB, objectives=list(objectives), constraints=constraints)


def test_one_objective_keeps_the_best() -> None:
    merit = Merit(problem(Objective("y", goal="minimize")))
    assert [merit.add({"y": value}) for value in (3.0, 5.0, 2.0)] == [-3.0, -3.0, -2.0]


def test_a_target_counts_the_distance() -> None:
    merit = Merit(problem(Objective("y", target=4.0)))
    assert [merit.add({"y": value}) for value in (1.0, 4.5)] == [-3.0, -0.5]


def test_failed_and_infeasible_points_do_not_count() -> None:
    merit = Merit(problem(Objective("y", goal="maximize"), bound=True))
    assert merit.add({}) is None
    assert merit.add({"y": 9.0, "purity": 0.5}) is None
    assert merit.add({"y": 1.0, "purity": 0.95}) == 1.0
    assert merit.add({"y": 9.0}) == 1.0


def test_hypervolume_of_two_objectives_by_hand() -> None:
    assert hypervolume([[3, 1], [1, 3]], [0, 0]) == 3 * 1 + 1 * 2
    assert hypervolume([[3, 1], [-1, 9]], [0, 0]) == 3
    merit = Merit(problem(Objective("a", "maximize", reference=0.0), Objective("b", "minimize", reference=10.0)))
    assert merit.add({"a": 2.0, "b": 6.0}) == 8.0
    assert merit.add({"a": 1.0, "b": 9.0}) == 8.0


def test_hypervolume_of_three_objectives_by_hand() -> None:
    assert hypervolume([[2, 2, 2], [1, 1, 3]], [0, 0, 0]) == pytest.approx(8 + 1)


points = st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=1, max_size=6)


@given(points)
def test_hypervolume_counts_unit_cubes(cloud: list[list[int]]) -> None:
    cubes = {(a, b, c) for point in cloud for a in range(point[0]) for b in range(point[1]) for c in range(point[2])}
    assert hypervolume(cloud, [0, 0, 0]) == len(cubes)


@given(st.lists(st.lists(st.integers(0, 6), min_size=2, max_size=2), min_size=1, max_size=8))
def test_points_taken_one_by_one_are_worth_what_they_are_together(cloud: list[list[int]]) -> None:
    merit = Merit(problem(Objective("a", "maximize", reference=0.0), Objective("b", "maximize", reference=0.0)))
    for count, (a, b) in enumerate(cloud, 1):
        cubes = {(x, y) for point in cloud[:count] for x in range(point[0]) for y in range(point[1])}
        assert merit.add({"a": float(a), "b": float(b)}) == len(cubes)
