from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from athanor.agents.hypotheses import registration as module
from athanor.agents.hypotheses.claims import Effect, InvalidClaim, Irrelevance, Span
from athanor.agents.hypotheses.registration import (
    RegistrationBody,
    analysis_hash,
    are_separate,
    parse_registration,
    register,
    shares_design,
)
from athanor.planners.problem import Continuous, Objective, Problem

PROBLEM = Problem([Continuous("a", 0.0, 1.0), Continuous("b", 0.0, 1.0)], [Objective("y", "maximize", unit="g")])
BASE: dict[str, Any] = {"a": 0.5, "b": 0.5}
UP = Effect(outcome="y", parameter="a", low=0.0, high=1.0, direction="increases")
NOTHING = Irrelevance(outcome="y", parameter="a", low=0.0, high=1.0, margin=2.0)


def frozen(hypothesis: str = "H1", claim: Any = UP, **changes: Any) -> RegistrationBody:
    fields: dict[str, Any] = {"position": 1, "seed": 3, "prior": 0.7, "proposer": "statistical", **changes}
    return register(hypothesis, claim, PROBLEM, BASE, **fields)


def test_a_registration_says_everything_and_survives_json() -> None:
    body = frozen(cites=("o1",), cap_blocks=6)
    again = parse_registration(json.loads(json.dumps(body.model_dump(mode="json"))))
    assert again == body
    assert body.null_support == "E[d] ≤ 0 g" and body.null_refute == "E[d] ≥ 0 g"
    assert body.support.threshold == pytest.approx(math.pi**2 / 6 / 0.05)
    assert body.problem_digest == PROBLEM.digest() and body.analysis_hash == analysis_hash()
    assert body.group == ("H1",) and body.carrier == "H1" and not body.shares_runs
    with pytest.raises(ValidationError, match="frozen"):
        body.seed = 4
    text = body.model_dump_json()
    for word in ("dropped whole", "pooled within blocks", "e-LOND", "after_blocks"):
        assert word in text


def test_irrelevance_states_both_bounds() -> None:
    body = frozen(claim=NOTHING)
    assert body.null_support == "|E[d]| ≥ 2 g" and body.null_refute == "|E[d]| ≤ 2 g"


def test_the_share_of_alpha_follows_position_and_discoveries() -> None:
    late = frozen(position=4, supported_before=2, refuted_before=0)
    first = frozen()
    assert late.support.threshold == pytest.approx(first.support.threshold * 16 / 3)
    assert late.refute.threshold == pytest.approx(first.refute.threshold * 16)


def test_sharing_must_be_said_on_both_sides() -> None:
    group = ("H1", "H2")
    one, two = frozen(group=group), frozen("H2", NOTHING, position=2, group=group)
    assert shares_design(one, two) and shares_design(two, one) and two.carrier == "H1"
    assert not shares_design(frozen(), two)
    other = Effect(outcome="y", parameter="b", low=0.0, high=1.0, direction="increases")
    assert not shares_design(one, frozen("H2", other, position=2, group=group))
    with pytest.raises(ValueError, match="stand once in its own group"):
        frozen("H3", group=group)


def test_claims_about_different_parameters_end_each_by_itself() -> None:
    across = (Span(parameter="b", low=0.0, high=1.0),)
    one, two = (
        UP.model_copy(update={"across": across}),
        Effect(
            outcome="y",
            parameter="b",
            low=0.0,
            high=1.0,
            direction="decreases",
            across=(Span(parameter="a", low=0.0, high=1.0),),
        ),
    )
    assert are_separate([one, two]) and not are_separate([UP, NOTHING]) and not are_separate([UP])
    group = ("H1", "H2")
    first = frozen(claim=one, group=group, ends_by_itself=True)
    second = frozen("H2", two, position=2, group=group, ends_by_itself=True)
    assert shares_design(first, second) and first.ending == "each by itself" and "last of them" in first.riding
    assert frozen().ending == "with the carrier"
    assert not shares_design(first, frozen("H2", two, position=2, group=group))


def test_registrations_of_earlier_releases_are_read() -> None:
    body = frozen().model_dump(mode="json")
    body["e_process"]["name"] = "half-normal mixture t, right-Haar scale"
    body["claim"]["across"] = None
    del body["ending"]
    assert parse_registration(body).ending == "with the carrier"


def test_what_cannot_be_tested_is_not_registered() -> None:
    with pytest.raises(InvalidClaim, match="unknown outcome"):
        frozen(claim=UP.model_copy(update={"outcome": "z"}))
    with pytest.raises(ValidationError, match="cap_blocks"):
        frozen(cap_blocks=1)


def test_the_analysis_hash_covers_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    before = analysis_hash()
    with monkeypatch.context() as fewer:
        fewer.setattr(module, "ANALYSIS_MODULES", module.ANALYSIS_MODULES[1:])
        analysis_hash.cache_clear()
        assert analysis_hash() != before
    analysis_hash.cache_clear()
    assert analysis_hash() == before
