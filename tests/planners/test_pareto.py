from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.planners import Continuous, Objective, Observation, Problem
from athanor.planners.pareto import hypervolume, non_dominated, pareto

TWO = Problem([Continuous("x", 0, 1)], [Objective("gain", "maximize"), Objective("cost", "minimize")])
VECTORS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=8)


def seen(gain, cost):
    return Observation(values={"x": 0.5}, outcomes={"gain": gain, "cost": cost})


def test_only_points_nothing_beats_are_kept():
    points = [seen(1, 1), seen(2, 1), seen(3, 5), seen(2, 1), seen(0, 0)]
    assert pareto(TWO, points) == [points[1], points[2], points[4]]
    assert pareto(TWO, [*points, Observation(values={"x": 0}, outcomes={"gain": 9})]) == [
        points[1],
        points[2],
        points[4],
    ]


def test_the_hypervolume_of_boxes():
    reference = {"gain": 0.0, "cost": 10.0}
    assert hypervolume(TWO, [seen(2, 7)], reference) == pytest.approx(6)
    assert hypervolume(TWO, [seen(2, 7), seen(1, 5)], reference) == pytest.approx(8)
    assert hypervolume(TWO, [seen(-1, 7), seen(1, 11)], reference) == 0
    assert hypervolume(TWO, [], reference) == 0


def test_a_target_counts_by_its_deviation():
    problem = Problem([Continuous("x", 0, 1)], [Objective("t", target=5.0), Objective("gain", "maximize")])
    near = Observation(values={"x": 0}, outcomes={"t": 5.5, "gain": 2})
    assert hypervolume(problem, [near], {"t": 2.0, "gain": 0.0}) == pytest.approx(1.5 * 2)


@given(VECTORS)
def test_the_hypervolume_equals_counted_cells(vectors):
    names = ("u", "v", "w")
    problem = Problem([Continuous("x", 0, 1)], [Objective(n, "maximize") for n in names])
    points = [Observation(values={"x": 0}, outcomes=dict(zip(names, v, strict=True))) for v in vectors]
    cells = {(i, j, k) for a, b, c in vectors for i in range(a) for j in range(b) for k in range(c)}
    assert hypervolume(problem, points, dict.fromkeys(names, 0.0)) == pytest.approx(len(cells))


@given(VECTORS)
def test_nothing_kept_is_beaten_and_everything_dropped_is(vectors):
    kept = non_dominated(vectors)
    for i, own in enumerate(vectors):
        beaten = any(all(b >= a for a, b in zip(own, o, strict=True)) and o != own for o in vectors)
        assert (i in kept) == (not beaten and own not in vectors[:i])
