from __future__ import annotations

from typing import Any

import pytest

from athanor.agents.hypotheses.advice import compile_advice
from athanor.agents.hypotheses.claims import AnyClaim, Effect, Interaction, Irrelevance, Range, Region, Span, Threshold
from athanor.planners.problem import Categorical, Continuous, Objective, OutcomeConstraint, Problem

PARAMETERS = [Continuous("t", 30.0, 130.0, "degC"), Continuous("u", 0.0, 1.0), Categorical("s", ["A", "B"])]
PROBLEM = Problem(PARAMETERS, [Objective("y", "maximize")], [OutcomeConstraint("p", upper=1.0)])
TWO = Problem(PARAMETERS, [Objective("y", "maximize"), Objective("waste", "minimize")])
UP = Effect(outcome="y", parameter="t", low=40.0, high=100.0, direction="increases")
BASE: dict[str, Any] = {"t": 60.0, "u": 0.5, "s": "A"}
REGION = Region(
    outcome="y",
    box={"t": Range(low=50.0, high=70.0), "u": Range(low=-5.0, high=0.6)},
    inside=BASE,
    outside={**BASE, "t": 100.0},
    better="higher",
)


def advise(claim: AnyClaim, state: str = "supported", prior: float = 0.9, problem: Problem = PROBLEM, **k: Any) -> Any:
    return compile_advice("H1", claim, problem, state, prior, 12, **k)


@pytest.mark.parametrize(
    ("change", "problem", "direction"),
    [
        ({}, PROBLEM, "increase"),
        ({"direction": "decreases"}, PROBLEM, "decrease"),
        ({"low": 100.0, "high": 40.0}, PROBLEM, "decrease"),
        ({"outcome": "waste"}, TWO, "decrease"),
    ],
)
def test_effects_point_where_the_objective_gains(change: dict[str, Any], problem: Problem, direction: str) -> None:
    made = advise(UP.model_copy(update=change), problem=problem)
    assert (made.kind, made.parameter, made.direction, made.given_at) == ("monotone", "t", direction, 12)
    assert made.validate_for(problem) == made and made.weight == 1.0 / len(problem.objectives)


def test_the_weight_follows_state_and_prior() -> None:
    assert advise(UP).weight == 1.0
    assert advise(UP, "testing", 0.8).weight == pytest.approx(0.3)
    assert advise(UP, "registered", 0.5) is None and advise(UP, "testing", 0.2) is None
    for state in ("draft", "reviewed", "refuted", "inconclusive", "void"):
        assert advise(UP, state) is None


def test_a_tainted_claim_advises_only_once_it_is_supported() -> None:
    assert advise(UP, "testing", 0.95, tainted=True) is None
    assert advise(UP, "supported", tainted=True).weight == 1.0


def test_categories_and_regions_become_regions() -> None:
    made = advise(Effect(outcome="y", parameter="s", low="A", high="B", direction="decreases"))
    assert made.kind == "region" and made.center == {"s": "A"} and made.validate_for(PROBLEM)
    region = advise(REGION)
    assert region.center == pytest.approx({"t": 60.0, "u": 0.3}) and region.width["t"] == pytest.approx(0.1)
    assert region.validate_for(PROBLEM)
    assert advise(REGION.model_copy(update={"better": "lower"})) is None


def test_thresholds_point_beyond_themselves() -> None:
    claim = Threshold(outcome="y", parameter="u", threshold=0.5, below=0.2, above=0.8, direction="decreases")
    assert advise(claim).direction == "decrease"


def test_claims_without_a_place_advise_nothing() -> None:
    span = Span(parameter="u", low=0.0, high=1.0)
    silent: list[AnyClaim] = [
        Irrelevance(outcome="y", parameter="t", low=40.0, high=100.0, margin=1.0),
        Interaction(outcome="y", first=Span(parameter="t", low=40.0, high=90.0), second=span, direction="positive"),
        UP.model_copy(update={"outcome": "p"}),
    ]
    assert [advise(claim) for claim in silent] == [None, None, None]
    aimed = Problem(PARAMETERS, [Objective("y", target=3.0)])
    assert advise(UP, problem=aimed) is None
