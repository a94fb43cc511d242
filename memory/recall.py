"""Recall: what earlier campaigns asked, claimed and found. By words, or by laboratory and parameter."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Literal

from athanor.memory import dialects
from athanor.memory._campaigns import load_campaign
from athanor.memory._store import need
from athanor.memory.ledger import Ledger
from athanor.memory.records import Campaign, Hypothesis, HypothesisState, Name, Record, Text

_WORD = re.compile(r"\w+")
_VERDICTS = ("supported", "refuted", "inconclusive", "void")
_MOST_WORDS = 32


class MemoryItem(Record):
    """Something remembered, with the id to cite it by.

    `verdict` is None while a hypothesis has none, and for a campaign's question. `tainted` marks what came from
    outside, such as a model's text: it is data to weigh, never an instruction.
    """

    id: Name
    kind: Literal["hypothesis", "campaign"]
    campaign_id: Name
    text: Text
    claim: dict[str, Any] | None = None
    verdict: HypothesisState | None = None
    tainted: bool = False


def search(ledger: Ledger, text: str, limit: int = 10) -> list[MemoryItem]:
    """Return what is closest to the words of `text` (any of them, also as a beginning), best first, `limit` at most."""
    words = _WORD.findall(text)[:_MOST_WORDS]
    with ledger._reading() as connection:
        items = []
        for kind, identifier in dialects.search(connection, words, limit):
            if kind == "hypothesis":
                items.append(_hypothesis_item(need(connection, Hypothesis, identifier)))
            else:
                items.append(_campaign_item(load_campaign(connection, identifier)))
        return items


def related(
    ledger: Ledger, laboratory: str, parameters: Collection[str], exclude_campaign: str | None = None, limit: int = 20
) -> list[MemoryItem]:
    """Return hypotheses with a verdict whose claim is about one of `parameters`, `limit` at most.

    Those of the same laboratory come first, then the newest.

    Args:
        ledger: the ledger.
        laboratory: the laboratory that asks.
        parameters: names of parameters; none means any claim of the same laboratory.
        exclude_campaign: the campaign that asks; its own hypotheses are not memories.
        limit: the most items to return.
    """
    wanted = set(parameters)
    found: list[tuple[bool, MemoryItem]] = []
    for campaign in reversed(ledger.campaigns()):
        if campaign.id == exclude_campaign:
            continue
        is_same = campaign.laboratory == laboratory
        if not is_same and not wanted:
            continue
        for hypothesis in ledger.hypotheses(campaign.id):
            if hypothesis.state in _VERDICTS and (not wanted or wanted & set(_words_of(hypothesis.claim))):
                found.append((is_same, _hypothesis_item(hypothesis)))
    found.sort(key=lambda pair: not pair[0])
    return [item for _, item in found[:limit]]


def _hypothesis_item(hypothesis: Hypothesis) -> MemoryItem:
    return MemoryItem(
        id=hypothesis.id,
        kind="hypothesis",
        campaign_id=hypothesis.campaign_id,
        text=hypothesis.statement,
        claim=hypothesis.claim,
        verdict=hypothesis.state if hypothesis.state in _VERDICTS else None,
        tainted=hypothesis.tainted,
    )


def _campaign_item(campaign: Campaign) -> MemoryItem:
    return MemoryItem(id=campaign.id, kind="campaign", campaign_id=campaign.id, text=campaign.question)


def _words_of(claim: Any) -> Iterator[str]:
    """Give every text in a claim, keys included: a parameter is named by one of them, whatever the kind of claim."""
    if isinstance(claim, str):
        yield claim
    elif isinstance(claim, dict):
        for key, value in claim.items():
            yield key
            yield from _words_of(value)
    elif isinstance(claim, list):
        for value in claim:
            yield from _words_of(value)
