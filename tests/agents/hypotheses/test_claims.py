from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from athanor.agents.hypotheses.claims import (
    AnyClaim,
    Effect,
    Interaction,
    InvalidClaim,
    Irrelevance,
    Range,
    Region,
    Span,
    Threshold,
    check_claim,
    claim_key,
    contains,
    parameters_of,
    parse_claim,
    subject_of,
)
from athanor.planners.problem import Categorical, Continuous, Integer, Objective, Ordinal, OutcomeConstraint, Problem

PROBLEM = Problem(
    [
        Continuous("t", 30.0, 120.0, "degC"),
        Integer("n", 1, 5),
        Ordinal("dose", [1, 2, 5]),
        Categorical("s", ["A", "B"]),
    ],
    [Objective("y", "maximize", unit="g")],
    [OutcomeConstraint("p", upper=8.0, unit="bar")],
)
BASE: dict[str, Any] = {"t": 60.0, "n": 2, "dose": 2, "s": "A"}

finite = st.floats(-1e6, 1e6)
text = st.sampled_from(["t", "n", "s", "y"])
spans = st.builds(Span, parameter=st.just("n"), low=st.just(1), high=st.integers(2, 5))
OTHERS = [
    Span(parameter="n", low=1, high=5),
    Span(parameter="n", low=4, high=2),
    Span(parameter="dose", low=1, high=2),
    Span(parameter="s", low="A", high="B"),
]
pairs = st.tuples(finite, finite).filter(lambda p: p[0] < p[1])
effects = pairs.flatmap(
    lambda p: st.builds(
        Effect,
        outcome=text,
        parameter=st.just("t"),
        low=st.just(p[0]),
        high=st.just(p[1]),
        direction=st.sampled_from(["increases", "decreases"]),
        margin=st.floats(0, 1e6),
        across=st.lists(st.sampled_from(OTHERS), max_size=2, unique_by=lambda span: span.parameter).map(tuple),
    )
)
irrelevances = pairs.flatmap(
    lambda p: st.builds(
        Irrelevance,
        outcome=text,
        parameter=st.just("t"),
        low=st.just(p[0]),
        high=st.just(p[1]),
        margin=st.floats(1e-6, 1e6),
    )
)
thresholds = pairs.flatmap(
    lambda p: st.builds(
        Threshold,
        outcome=text,
        parameter=st.just("t"),
        below=st.just(p[0]),
        threshold=st.just(p[1]),
        above=st.just(p[1]),
        direction=st.just("increases"),
    )
)
interactions = st.builds(
    Interaction,
    outcome=text,
    first=st.builds(Span, parameter=st.just("t"), low=st.just(40.0), high=st.floats(50, 100)),
    second=spans,
    direction=st.sampled_from(["positive", "negative"]),
)
regions = st.builds(
    Region,
    outcome=text,
    box=st.just({"t": Range(low=50.0, high=70.0)}),
    inside=st.just(BASE),
    outside=st.just({**BASE, "t": 100.0}),
    better=st.sampled_from(["higher", "lower"]),
)


@given(st.one_of(effects, irrelevances, thresholds, interactions, regions))
def test_every_claim_survives_json(claim: AnyClaim) -> None:
    data = json.loads(claim.model_dump_json())
    again = parse_claim(data)
    assert again == claim and claim_key(again) == claim_key(claim) and type(again) is type(claim)
    assert parameters_of(claim)


GOOD = {"kind": "effect", "outcome": "y", "parameter": "t", "low": 40.0, "high": 80.0, "direction": "increases"}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "miracle"},
        {"low": None},
        {"low": [1]},
        {"low": True},
        {"high": 40.0},
        {"margin": -0.1},
        {"margin": float("inf")},
        {"margin": "1"},
        {"direction": "up"},
        {"p_value": 0.01},
        {"across": {"parameter": "t", "low": 1.0, "high": 2.0}},
        {"across": {"parameter": "n", "low": 1, "high": 1}},
        {"across": [{"parameter": "n", "low": 1, "high": 2}, {"parameter": "n", "low": 2, "high": 3}]},
        {"across": [{"parameter": name, "low": 1, "high": 2} for name in ("n", "dose", "s")]},
        {"across": "n"},
    ],
)
def test_malformed_claims_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse_claim({**GOOD, **change})


def test_claims_written_before_there_could_be_two_spans_are_read() -> None:
    span = {"parameter": "n", "low": 1, "high": 5}
    for old, new in ((None, []), (span, [span])):
        claim = parse_claim({**GOOD, "across": old})
        assert claim == parse_claim({**GOOD, "across": new}) == Effect.model_validate({**GOOD, "across": old})
        assert claim.model_dump(mode="json")["across"] == new
    assert parse_claim(GOOD) == parse_claim({**GOOD, "across": None})


def test_a_claim_is_about_its_own_parameters_and_varies_those_it_averages_over_too() -> None:
    effect = parse_claim({**GOOD, "across": [s.model_dump() for s in (OTHERS[0], OTHERS[2])]})
    assert parameters_of(effect) == ("t", "n", "dose") and subject_of(effect) == ("t",)
    both = Interaction(outcome="y", first=OTHERS[0], second=OTHERS[2], direction="positive")
    assert parameters_of(both) == subject_of(both) == ("n", "dose")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"outcome": "z"}, "unknown outcome 'z'; the outcomes are y, p"),
        ({"parameter": "volts"}, "unknown parameter 'volts'"),
        ({"high": 121.0}, "t = 121"),
        ({"parameter": "n", "low": 1, "high": 2.5}, "not a whole number"),
        ({"parameter": "dose", "low": 1, "high": 3}, "dose = 3"),
        ({"parameter": "s", "low": "A", "high": "C"}, "s = 'C'"),
        ({"low": "cold"}, "t = 'cold'"),
        ({"across": {"parameter": "n", "low": 0, "high": 5}}, "n = 0"),
        (
            {"across": [{"parameter": "n", "low": 1, "high": 5}, {"parameter": "volts", "low": 1, "high": 5}]},
            "unknown parameter 'volts'",
        ),
    ],
)
def test_claims_that_do_not_fit_the_problem_name_what_does(change: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidClaim, match=match):
        check_claim(parse_claim({**GOOD, **change}), PROBLEM)


def test_claims_on_every_kind_of_parameter_and_outcome_fit() -> None:
    for change in (
        {},
        {"outcome": "p"},
        {"parameter": "n", "low": 1, "high": 5},
        {"parameter": "dose", "low": 1, "high": 5},
        {"parameter": "s", "low": "A", "high": "B"},
    ):
        check_claim(parse_claim({**GOOD, **change}), PROBLEM)


def test_a_region_needs_full_settings_on_its_two_sides() -> None:
    fields: dict[str, Any] = {"outcome": "y", "box": {"t": Range(low=50.0, high=70.0)}, "better": "higher"}
    with pytest.raises(ValidationError, match="does not lie in the region"):
        Region(**fields, inside={**BASE, "t": 90.0}, outside={**BASE, "t": 100.0})
    with pytest.raises(ValidationError, match="lies in the region"):
        Region(**fields, inside=BASE, outside=BASE)
    partial = Region(**fields, inside={"t": 60.0}, outside={"t": 100.0})
    with pytest.raises(InvalidClaim, match="every parameter once"):
        check_claim(partial, PROBLEM)
    assert not contains({"s": Range(low=0.0, high=1.0)}, BASE)


def test_thresholds_lie_between_their_levels() -> None:
    with pytest.raises(ValidationError, match="below < threshold"):
        Threshold(outcome="y", parameter="t", threshold=30.0, below=40.0, above=50.0, direction="increases")
    with pytest.raises(ValidationError, match="two different parameters"):
        span = Span(parameter="n", low=1, high=2)
        Interaction(outcome="y", first=span, second=span, direction="positive")
    with pytest.raises(ValidationError, match="low < high"):
        Range(low=2.0, high=1.0)
