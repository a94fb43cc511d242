from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from athanor.agents.hypotheses.claims import check_claim
from athanor.agents.reasoners.protocol import Situation
from athanor.agents.reasoners.replies import InvalidReply, parse_reply, reply_schema, strip_wrapping

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
fields = ["claim", "rationale", "prior", "cites", "kind", "outcome", "parameter", "low", "high", "direction", "margin"]


def parse(text: str, situation: Situation, limit: int = 2) -> Any:
    return parse_reply(text, situation, situation.parsed_problem(), limit, tainted=False)


@given(json_values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_arbitrary_json_is_refused_in_words(situation: Situation, value: Any) -> None:
    for text in (json.dumps(value), json.dumps({"hypotheses": [value]})):
        try:
            found = parse(text, situation)
        except InvalidReply as error:
            assert 0 < len(str(error)) <= 1600
        else:
            assert found == ()


@given(field=st.sampled_from(fields), value=json_values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_whatever_a_good_answer_is_changed_to_stays_within_the_problem(
    endpoint: Any, situation: Situation, field: str, value: Any
) -> None:
    item = json.loads(json.dumps(endpoint.answer()["hypotheses"][0]))
    (item if field in item else item["claim"])[field] = value
    try:
        found = parse(json.dumps({"hypotheses": [item]}), situation)
    except InvalidReply:
        return
    for proposal in found:
        check_claim(proposal.claim, situation.parsed_problem())
        assert 0.01 <= proposal.prior <= 0.99 and set(proposal.cites) <= {f"s.{i}" for i in range(1, 5)} | {
            "m1",
            "s.H1",
        }
        assert proposal.rationale.isprintable()


def test_an_empty_list_is_a_good_answer(situation: Situation) -> None:
    assert parse('{"hypotheses": []}', situation) == ()


def test_control_characters_do_not_reach_a_terminal(endpoint: Any, situation: Situation) -> None:
    [proposal] = parse(json.dumps(endpoint.answer(rationale="a\x1b[2Jb\r\nc")), situation)
    assert proposal.rationale == "a [2Jb  c"


def test_an_endless_answer_is_not_parsed(situation: Situation) -> None:
    with pytest.raises(InvalidReply, match="at most 50000 are read"):
        parse(" " * 60_000, situation)


def test_wrapping() -> None:
    assert strip_wrapping("<think>a\nb</think>{}") == "{}"
    assert strip_wrapping("```\n{}\n```") == "{}" and strip_wrapping(" {} ") == "{}"
    assert strip_wrapping("Here: ```json\n{}\n```") != "{}"


def test_the_schema_names_parameters_and_outcomes(situation: Situation) -> None:
    schema = json.dumps(reply_schema(situation.parsed_problem(), 3))
    assert '"maxItems": 3' in schema and '"enum": ["temperature", "time", "stages"]' in schema
    for word in ("p_value", "verdict", "approv"):
        assert word not in schema
