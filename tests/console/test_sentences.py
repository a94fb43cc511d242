"""Rows in words: every kind that the ledger writes, and what nobody foresaw."""

from __future__ import annotations

from pathlib import Path

import pytest

from athanor.console.sentences import _EVENTS, _ROWS, LONGEST, sentence
from athanor.memory.canonical import canonical
from athanor.memory.ledger import Ledger
from benchmarks.large_ledger import fill


def test_every_row_of_a_campaign_is_told(home: Path) -> None:
    with Ledger.create(home / "ledger.db") as ledger:
        fill(ledger, experiments=30, campaigns=1)
        told = {row.kind: sentence(row.kind, row.body) for row in ledger.journal()}
        [campaign] = ledger.campaigns()
    for kind, said in told.items():
        assert kind in _ROWS, f"{kind} has no words of its own"
        assert "(" not in said.what or kind in ("document", "lease"), f"{kind} was told by its fields: {said.what}"
    assert told["decision"].who == "made-up person" and "granted autonomy" in told["decision"].what
    assert told["campaign_state"].what == f"campaign {campaign.id}: queued → running"
    assert "→" in told["experiment_state"].what and "temperature" in told["experiment"].what


@pytest.mark.parametrize(
    ("kind", "body", "who", "what", "is_refused"),
    [
        (
            "api_refused",
            {"login": "eve", "needs": "read", "path": "/x"},
            "eve",
            "was refused /x, which needs read",
            True,
        ),
        ("sign_in_refused", {"login": "eve", "source": "", "code": "x"}, "eve", "refused the sign-in", True),
        (
            "person_added",
            {"login": "a", "name": "A", "role": "owner", "by": "eve"},
            "eve",
            "added a (A) as owner",
            False,
        ),
        ("manual_move", {"instrument": "oven", "code": None, "by": "ada"}, "ada", "moved oven by hand", False),
        (
            "manual_move",
            {"instrument": "oven", "code": "limit", "detail": "too hot", "by": "ada"},
            "ada",
            "too hot",
            True,
        ),
        ("something_new", {"by": "ada", "which": [1, 2], "nonce": "x"}, "ada", "something new (which 1, 2)", False),
        ("api_refused", {"login": "eve"}, "eve", "api refused", True),
    ],
)
def test_events(kind: str, body: dict[str, object], who: str, what: str, is_refused: bool) -> None:
    said = sentence("event", canonical({"id": "event-1", "kind": kind, "body": body}))
    assert (said.who, said.kind, said.is_refused) == (who, kind, is_refused)
    assert what in said.what


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"body":3}', '{"$float":"x"}', "[" * 100_000])
def test_nothing_that_lies_in_the_journal_breaks_it(text: str) -> None:
    for kind in (*_ROWS, "event", "of another release", ""):
        said = sentence(kind, text)
        assert said.what and len(said.what) <= LONGEST
    for kind in _EVENTS:
        for body in ({}, {"by": 3}, dict.fromkeys(("by", "login", "code", "rows", "first"))):
            assert sentence("event", canonical({"kind": kind, "body": body})).what


def test_a_sentence_is_one_short_line() -> None:
    said = sentence("event", canonical({"kind": "x", "body": {"reason": "a\nb " * 1000}}))
    assert len(said.what) == LONGEST and "\n" not in said.what
