from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from athanor.memory import recall
from athanor.memory.ledger import Ledger
from tests.memory.conftest import Maker


@pytest.fixture
def remembered(ledger: Ledger, make: Maker) -> Ledger:
    ledger.add_campaign(make.campaign("c1", question="Which solvent for the nitro compound?"))
    ledger.add_campaign(make.campaign("c2", laboratory="other", question="How wide is the window?"))
    claims = [
        ("c1", 1, "Warmer gives more product", {"kind": "effect", "parameter": "t"}, "supported"),
        ("c1", 2, "Pressure does not matter", {"kind": "irrelevance", "parameters": ["p"]}, "refuted"),
        ("c1", 3, "Not tested yet", {"kind": "effect", "parameter": "t"}, None),
        ("c2", 1, "The optimum is warm and slow", {"kind": "region", "centre": {"t": 80.0, "v": 1.0}}, "inconclusive"),
    ]
    for campaign, ordinal, statement, claim, verdict in claims:
        changes = {"statement": statement, "claim": claim, "tainted": ordinal == 2}
        ledger.add_hypothesis(make.hypothesis(ordinal, campaign, **changes))
        if verdict:
            for state in ("reviewed", "registered", "testing", verdict):
                ledger.set_hypothesis_state(f"{campaign}.H{ordinal}", state)  # type: ignore[arg-type]
    return ledger


def test_words_find_hypotheses_and_questions(remembered: Ledger) -> None:
    [found] = recall.search(remembered, "product")
    assert (found.id, found.verdict, found.campaign_id) == ("c1.H1", "supported", "c1")
    assert {item.id for item in recall.search(remembered, "warmest warm")} == {"c1.H1", "c2.H1"}
    [question] = recall.search(remembered, "solvent")
    assert (question.kind, question.id, question.verdict) == ("campaign", "c1", None)
    assert recall.search(remembered, "pressures")[0].tainted
    assert len(recall.search(remembered, "warm product pressure", limit=2)) == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text() | st.sampled_from(['"', "a AND", "NEAR(", "x*", "kind:y", "-", "'; DROP TABLE recall"]))
def test_nothing_typed_is_taken_for_a_query(remembered: Ledger, text: str) -> None:
    recall.search(remembered, text)


def test_related_claims_have_a_verdict_and_name_the_parameter(remembered: Ledger) -> None:
    assert [item.id for item in recall.related(remembered, "bench", ["t"])] == ["c1.H1", "c2.H1"]
    assert [item.id for item in recall.related(remembered, "other", ["t"])] == ["c2.H1", "c1.H1"]
    assert [item.id for item in recall.related(remembered, "bench", ["t"], exclude_campaign="c1")] == ["c2.H1"]
    assert [item.id for item in recall.related(remembered, "bench", [])] == ["c1.H1", "c1.H2"]
    assert recall.related(remembered, "bench", ["unknown"]) == []
    assert len(recall.related(remembered, "bench", ["t", "p"], limit=2)) == 2
