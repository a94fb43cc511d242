"""What a campaign file may ask of references, and whether they suffice."""

from __future__ import annotations

import pytest

from athanor.agents.reference_spec import ReferenceSpec, check_reference
from athanor.planners.problem import Continuous, Objective, Problem

PROBLEM = Problem([Continuous("x", 0.0, 1.0)], [Objective("a", "maximize"), Objective("b", "minimize")])


def wanted(**fields: object) -> ReferenceSpec:
    return ReferenceSpec.model_validate({"values": {"x": 0.5}, **fields})


@pytest.mark.parametrize(
    ("fields", "budget", "is_sure"),
    [
        ({"sd": {"a": 1.0, "b": 1.0}}, 200, True),
        ({"sd": {"a": 1.0}, "outcomes": ["a"]}, 200, True),
        ({"sd": {"a": 1.0}}, 200, False),  # of b nothing is known
        ({"sd": {"a": 1.0, "b": 1.0}, "baseline": 4}, 200, False),
        ({}, 60, True),  # 12 and 5 more
        ({}, 120, False),  # 12 and 12 more
        ({"baseline": 5}, 40, False),
        ({"baseline": 15, "every": 4}, 60, True),  # 15 and 9 more
    ],
)
def test_whether_a_shift_of_four_sd_is_found_for_sure(fields: dict[str, object], budget: int, is_sure: bool) -> None:
    assert wanted(**fields).is_sure(PROBLEM, budget) is is_sure


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"outcomes": ["c"]}, "c is no outcome"),
        ({"sd": {"c": 1.0}}, "c is no outcome"),
        ({"baseline": 40}, "leaves nothing of the budget of 40"),
        ({"values": {"x": 2.0}}, "reference: "),
        ({"values": {"y": 0.5}}, "reference: "),
    ],
)
def test_what_does_not_fit_the_campaign_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_reference(wanted(**fields), PROBLEM, 40)
    check_reference(wanted(), PROBLEM, 40)


def test_more_than_can_be_charted_are_refused() -> None:
    with pytest.raises(ValueError, match="raise every"):
        check_reference(wanted(every=1), PROBLEM, 1000)
