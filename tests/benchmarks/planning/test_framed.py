"""Boxes that a seed cuts and turns: the answer stays inside, and no place is special."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.planners.problem import Categorical, Continuous, Integer, Objective, Problem
from benchmarks.planning.constrained import CONSTRAINED
from benchmarks.planning.framed import Framed, Study, frame
from benchmarks.planning.problems import SHIFT
from benchmarks.planning.several import SEVERAL

STUDIES = CONSTRAINED | SEVERAL
SEEDS = st.integers(0, 10_000)


@given(st.sampled_from(sorted(STUDIES)), SEEDS, st.data())
def test_a_box_lies_in_the_published_one_and_holds_what_must_stay(name: str, seed: int, data: st.DataObject) -> None:
    study, found = STUDIES[name], frame(STUDIES[name], seed)
    assert found.problem.objectives == study.problem.objectives
    assert found.problem.constraints == study.problem.constraints
    for was, now in zip(study.problem.parameters, found.problem.parameters, strict=True):
        assert isinstance(was, Continuous | Integer) and isinstance(now, Continuous | Integer)
        first, last = study.keep.get(was.name, (was.low, was.high))
        assert was.low <= now.low <= first and last <= now.high <= was.high
        assert now.high - now.low >= (1.0 - 2.0 * SHIFT) * (was.high - was.low) - 1e-9
    row = data.draw(
        st.lists(st.floats(0.0, 1.0), min_size=len(found.problem.parameters), max_size=len(found.problem.names))
    )
    study.problem.validate_point(found.inside(found.problem.from_unit(row)))


def test_axes_are_cut_at_both_ends_and_turned() -> None:
    boxes = [frame(STUDIES["zdt4"], seed) for seed in range(200)]
    axes = [found.problem.parameters[1] for found in boxes]
    lows, highs = np.array([[a.low, a.high] for a in axes if isinstance(a, Continuous)]).T
    assert lows.std() > 0.2 and highs.std() > 0.2 and np.abs(lows + highs).max() > 0.5
    assert 0.35 < np.mean(["x2" in found.turned for found in boxes]) < 0.65


@given(SEEDS)
def test_a_turned_axis_runs_the_other_way_and_keeps_whole_numbers_whole(seed: int) -> None:
    found = frame(STUDIES["pressure-vessel"], seed)
    ends = [{p.name: p.from_unit(u) for p in found.problem.parameters} for u in (0.0, 1.0)]
    inside = [found.inside(values) for values in ends]
    for p in found.problem.parameters:
        first, last = (point[p.name] for point in inside)
        assert (first > last) == (p.name in found.turned)
        if isinstance(p, Integer):
            assert {first, last} == {p.low, p.high}


def test_noise_belongs_to_the_evaluation_and_the_truth_has_none() -> None:
    found: Framed = frame(STUDIES["snar-as-coded"], 1)
    values = found.problem.from_unit([0.2, 0.4, 0.7, 0.6])
    assert found.outcomes(values, 4) == found.outcomes(values, 4) != found.outcomes(values, 5)
    assert found.truths(values) == found.truths(values) != found.outcomes(values, 4)
    exact = frame(STUDIES["zdt1"], 1)
    middle = exact.problem.from_unit([0.5] * 6)
    assert exact.outcomes(middle, 4) == exact.truths(middle)


def test_options_have_no_box() -> None:
    problem = Problem([Categorical("c", ["a", "b"])], [Objective("y", goal="minimize")])
    study = Study("odd", problem, lambda x: {"y": 0.0}, lambda truths: np.zeros(1))
    with pytest.raises(TypeError, match="odd: c is categorical"):
        frame(study, 0)
