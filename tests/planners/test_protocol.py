from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from athanor.planners import (
    BayesianPlanner,
    Candidate,
    Measured,
    Observation,
    Planner,
    Predicted,
    RandomPlanner,
    SobolPlanner,
    Why,
)
from athanor.planners.protocol import MEASURED, PENDING, Compromise, Status, Tradeoff

from .problems import PLAIN

VALUES = st.dictionaries(st.text("abc", min_size=1), st.one_of(st.integers(-9, 9), st.floats(-1, 1), st.text("xy")))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        Tradeoff,
        nearest=VALUES,
        distance=st.floats(0, 1),
        improvement=st.none() | NUMBERS,
        compromise=st.none()
        | st.builds(
            Compromise,
            kind=st.sampled_from(["improves", "extends", "between", "behind"]),
            objective=st.none() | st.text("f", min_size=1),
            values=VALUES,
            changes=st.dictionaries(st.text("fg", min_size=1), NUMBERS),
        ),
    )
    | st.none()
)
def test_trade_offs_survive_json_and_are_left_out_where_there_are_none(traded):
    why = Why(method="m", detail="d", tradeoff=traded)
    assert Why.model_validate_json(why.model_dump_json()) == why
    assert ("tradeoff" in why.model_dump()) == (traded is not None)


@given(VALUES, st.dictionaries(st.text("fg", min_size=1), NUMBERS), st.sampled_from(get_args(Status)))
def test_observations_survive_json(values, outcomes, status):
    seen = Observation(candidate_id=None, values=values, outcomes=outcomes, status=status)
    again = Observation.model_validate_json(seen.model_dump_json())
    assert again == seen
    assert [type(v) for v in again.values.values()] == [type(v) for v in seen.values.values()]


def test_numbers_become_measurements():
    seen = Observation(values={"x": 1}, outcomes={"f": 2, "g": Measured(3.0, 0.1)})
    assert seen.outcomes == {"f": Measured(2.0), "g": Measured(3.0, 0.1)}
    assert seen.status == "completed"


@pytest.mark.parametrize("bad", [math.nan, math.inf, True, "1", None])
def test_outcomes_are_finite_numbers(bad):
    with pytest.raises(ValidationError):
        Observation(values={"x": 1}, outcomes={"f": bad})


def test_errors_are_not_negative():
    with pytest.raises(ValidationError):
        Measured(1.0, -0.1)
    with pytest.raises(ValidationError):
        Predicted(1.0, -0.1)


def test_a_status_is_an_experiment_state():
    with pytest.raises(ValidationError, match="status"):
        Observation(values={"x": 1}, status="done")
    assert set(get_args(Status)) >= PENDING | MEASURED
    assert not PENDING & MEASURED


def test_candidates_survive_json():
    why = Why(method="qLogNEI", detail="why not.", advice=("h1: used",))
    candidate = Candidate(id="c", number=1, values={"x": 1.0}, predicted={"f": Predicted(0.1, 0.2)}, why=why)
    assert Candidate.model_validate_json(candidate.model_dump_json()) == candidate


@pytest.mark.parametrize("kind", [BayesianPlanner, SobolPlanner, RandomPlanner])
def test_planners_meet_the_protocol(kind):
    assert isinstance(kind(PLAIN), Planner)
