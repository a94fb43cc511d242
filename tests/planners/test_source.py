from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.planners import Categorical, Continuous, Measured, Objective, Problem
from athanor.planners.source import LEAST, Source, SourcePoint

PROBLEM = Problem(
    [Continuous("x", 0, 10), Continuous("y", 1, 100, log=True), Categorical("s", ["a", "b"])],
    [Objective("f", "maximize")],
)


def point(x=1.0, y=10.0, s="a", f=1.0, **outcomes):
    return SourcePoint(
        values={"x": x, "y": y, "s": s}, outcomes={k: Measured(v) for k, v in {"f": f, **outcomes}.items()}
    )


def source(points, **fields):
    return Source(name="old", points=points, **fields)


numbers = st.floats(allow_nan=False, allow_infinity=False)
points = st.builds(
    SourcePoint,
    values=st.fixed_dictionaries({"x": numbers, "n": st.integers(-5, 5), "s": st.text("ab é", max_size=4)}),
    outcomes=st.dictionaries(
        st.sampled_from("fg"), st.builds(Measured, numbers, st.none() | st.floats(0, 9)), min_size=1
    ),
)


@given(st.lists(points, min_size=1, max_size=4), st.lists(st.text("a;", max_size=5), max_size=2))
def test_a_source_survives_json(found, notes):
    whole = source(found, origin="campaign a-1", notes=notes)
    assert Source.model_validate_json(whole.model_dump_json()) == whole


def test_what_has_no_place_in_the_problem_is_left_out_and_said():
    found = source(
        [
            *[point(x=float(k)) for k in range(LEAST)],
            point(x=-9.0),  # outside, but within reach
            point(x=25.0),
            point(y=-1.0),
            point(y=0.001),
            point(s="c"),
            point(s="c"),
        ]
    )
    usable, notes = found.validate_for(PROBLEM).usable(PROBLEM)
    assert len(usable) == LEAST + 1
    assert notes == [
        "1 point left out: x lies more than its range's width outside the range",
        "1 point left out: y is not above 0, and is on a logarithmic scale here",
        "1 point left out: y lies more than its range's width outside the range",
        "2 points left out: s is c, which is no choice here",
    ]


def test_what_it_knows_nothing_about_is_said():
    found = source([SourcePoint(values={"x": float(k)}, outcomes={"f": Measured(1.0)}) for k in range(LEAST)])
    assert found.validate_for(PROBLEM).usable(PROBLEM)[1] == ["nothing known about y, s"]


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([SourcePoint(values={"z": 1.0}, outcomes={"f": Measured(1.0)})], "z is no parameter; use x, y, s"),
        ([point(s=1.0)], "point 1: s = 1.0 is not a word"),
        ([point(), point(x="a")], "point 2: x = 'a' is not a number"),
        ([point()] * (LEAST - 1), "5 usable points of one outcome are needed; it has f at 4"),
        ([point(s="c")] * LEAST, r"5 usable .* it has none of its outcomes \(5 points left out: s is c"),
        (
            [SourcePoint(values={"x": 1.0}, outcomes={"g": Measured(1.0)})] * LEAST,
            "5 usable .* it has none of its outcomes",
        ),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(points, said):
    with pytest.raises(ValueError, match=f"source old: {said}"):
        source(points).validate_for(PROBLEM)


def test_all_points_give_the_same_parameters():
    with pytest.raises(ValueError, match="point 2 and point 1 do not both give s, y"):
        source([point(), SourcePoint(values={"x": 1.0}, outcomes={"f": Measured(1.0)})])


def test_reading_one_loads_nothing_heavy():
    code = "import sys, athanor.planners.source; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
