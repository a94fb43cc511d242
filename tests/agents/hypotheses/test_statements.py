from __future__ import annotations

from typing import Any

import pytest

from athanor.agents.hypotheses.claims import parse_claim
from athanor.agents.hypotheses.statements import describe, quantity
from athanor.planners.problem import Categorical, Continuous, Objective, Problem

PROBLEM = Problem(
    [Continuous("t", 30.0, 120.0, "degC"), Continuous("u", 0.0, 1.0, "min"), Categorical("s", ["A", "B"])],
    [Objective("y", "maximize", unit="g/L")],
)
LEVELS = {"outcome": "y", "parameter": "t", "low": 40.0, "high": 80.0}
BASE = {"t": 60.0, "u": 0.5, "s": "A"}


@pytest.mark.parametrize(
    ("claim", "sentence"),
    [
        (
            {"kind": "effect", **LEVELS, "direction": "increases"},
            "Raising t from 40 degC to 80 degC increases y, other settings as at the base point.",
        ),
        (
            {
                "kind": "effect",
                **LEVELS,
                "direction": "decreases",
                "margin": 2.0,
                "across": {"parameter": "u", "low": 0.1, "high": 0.9},
            },
            "Raising t from 40 degC to 80 degC (averaged over u 0.1 min and 0.9 min) decreases y by more than 2 g/L, "
            "other settings as at the base point.",
        ),
        (
            {
                "kind": "irrelevance",
                **LEVELS,
                "margin": 1.5,
                "across": [
                    {"parameter": "u", "low": 0.1, "high": 0.9},
                    {"parameter": "s", "low": "A", "high": "B"},
                ],
            },
            "Raising t from 40 degC to 80 degC (averaged over four settings with u 0.1 min and 0.9 min, s A and B; an "
            "interaction of u and s counts as part of it) changes y by less than 1.5 g/L, other settings as at the "
            "base point.",
        ),
        (
            {"kind": "effect", "outcome": "y", "parameter": "s", "low": "A", "high": "B", "direction": "increases"},
            "Changing s from A to B increases y, other settings as at the base point.",
        ),
        (
            {"kind": "irrelevance", **LEVELS, "margin": 1.5},
            "Raising t from 40 degC to 80 degC changes y by less than 1.5 g/L, other settings as at the base point.",
        ),
        (
            {
                "kind": "threshold",
                "outcome": "y",
                "parameter": "t",
                "threshold": 60.0,
                "below": 50.0,
                "above": 70.0,
                "direction": "increases",
            },
            "Above t = 60 degC, y is higher than below it (70 degC against 50 degC).",
        ),
        (
            {
                "kind": "interaction",
                "outcome": "y",
                "first": {"parameter": "t", "low": 80.0, "high": 40.0},
                "second": {"parameter": "u", "low": 0.1, "high": 0.9},
                "direction": "negative",
            },
            "Lowering t from 80 degC to 40 degC has a smaller effect on y at u = 0.9 min than at 0.1 min.",
        ),
        (
            {
                "kind": "region",
                "outcome": "y",
                "box": {"t": {"low": 50.0, "high": 70.0}},
                "inside": BASE,
                "outside": {**BASE, "t": 100.0},
                "better": "higher",
            },
            "The best y lies in t 50 to 70 degC: it is higher at the best point inside than outside.",
        ),
    ],
)
def test_claims_read_as_plain_sentences(claim: dict[str, Any], sentence: str) -> None:
    assert describe(parse_claim(claim), PROBLEM) == sentence


def test_quantities() -> None:
    assert quantity(1234.567, "K") == "1235 K" and quantity(2, None, sign=True) == "+2" and quantity("A", None) == "A"
