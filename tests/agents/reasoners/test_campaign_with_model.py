"""A misbehaving model endpoint never ends a campaign, every attempt is in the ledger, and no other host is asked."""

from __future__ import annotations

from typing import Any

import pytest

from athanor.agents import reasoners
from athanor.agents.campaign import run_campaign
from athanor.agents.reasoners.endpoint import ModelSettings
from athanor.agents.reasoners.language_model import LanguageModelReasoner

CASES = {
    "garbage": ("invalid", lambda f, other: ["%&/( not json"]),
    "truncated": ("invalid", lambda f, other: ['{"hypotheses": [{"claim": {"kind": "eff']),
    "empty": ("invalid", lambda f, other: [""]),
    "too many requests": ("error", lambda f, other: [f.Reply({"error": "slow down"}, 429, {"retry-after": "0"})]),
    "server error": ("error", lambda f, other: [f.Reply("oops", 500)]),
    "redirect": ("redirect", lambda f, other: [f.Reply("", 307, {"location": other.url + "/chat/completions"})]),
    "stall": ("timeout", lambda f, other: [f.Reply(stall=True)]),
    "out of range": (
        "invalid",
        lambda f, other: [f.answer([{"claim": {**f.CLAIM, "low": -500.0}, "rationale": "r", "prior": 7, "cites": []}])],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_campaign_completes(
    case: str, bench: Any, endpoint: Any, elsewhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, script = CASES[case]
    endpoint.says(*script(endpoint, elsewhere))
    settings = ModelSettings(
        model="fake",
        base_url=endpoint.url,
        price_in=1.0,
        price_out=10.0,
        timeout_s=8.0,
        attempts=2,
        first_wait_s=0.0,
        longest_wait_s=0.05,
    )
    monkeypatch.setattr(reasoners, "make_reasoner", lambda choice: LanguageModelReasoner(settings))
    campaign_id = bench.open(experiments=18, planner="sobol", hypotheses={"share": 0.4}, seed=2)
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    calls = bench.ledger.model_calls(campaign_id)
    assert calls
    assert {call.status for call in calls} == {status}
    assert all(call.request and call.endpoint.startswith(endpoint.url) for call in calls)
    if status == "invalid":
        assert all(call.tokens_in == 1000 and call.tokens_out == 100 and call.cost == 0.002 for call in calls)
        assert all(call.response is not None for call in calls)
    asked = bench.ledger.events(campaign_id, kinds=("asked",))
    assert asked[0].body["fallback"]
    assert bench.ledger.hypotheses(campaign_id), "the statistical reasoner did not take the step"
    assert elsewhere.requests == []
    assert len(bench.ledger.experiments(campaign_id, states=["completed"])) == 18


def test_a_good_answer_is_registered_and_tested(bench: Any, endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint.says(endpoint.answer([{"claim": endpoint.CLAIM, "rationale": "Arrhenius.", "prior": 0.8, "cites": []}]))
    settings = ModelSettings(model="fake", base_url=endpoint.url, timeout_s=30.0)
    monkeypatch.setattr(reasoners, "make_reasoner", lambda choice: LanguageModelReasoner(settings))
    campaign_id = bench.open(experiments=18, planner="sobol", hypotheses={"share": 0.4}, seed=2)
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    first = bench.ledger.hypotheses(campaign_id)[0]
    assert "temperature" in first.statement
    assert first.state in ("supported", "refuted", "inconclusive")
    assert bench.ledger.registrations(campaign_id)[0].hypothesis_id == first.id
    assert [e for e in bench.ledger.experiments(campaign_id) if e.purpose == "confirm"]
