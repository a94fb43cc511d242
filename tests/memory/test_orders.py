"""What an order says, and that only the gate can say it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.memory.canonical import canonical
from athanor.memory.decisions import BadSignature, ForgedDecision
from athanor.memory.orders import Order, check, terms_of
from athanor.memory.signing import GateKey

MOMENT = "2026-03-01T12:00:00.000000Z"
MOVE: dict[str, Any] = {
    "kind": "move",
    "instrument": "reactor",
    "by": "ada",
    "at": MOMENT,
    "nonce": "a" * 32,
    "reason": "",
    "expires_at": MOMENT,
    "tenure": "b" * 32,
    "axis": "x",
    "value": 5.0,
    "latch": 0,
}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> GateKey:
    return GateKey.load_or_create(tmp_path_factory.mktemp("keys"))


def test_what_the_gate_has_signed_is_read_back(key: GateKey) -> None:
    body = canonical(MOVE)
    order = Order(body, key.sign(body))
    terms = check(order, key.public)
    assert terms == {
        **MOVE,
        "at": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "expires_at": datetime(2026, 3, 1, 12, tzinfo=UTC),
    }
    assert Order(**order.as_dict()) == order


@given(where=st.integers(min_value=0, max_value=10**6), to=st.characters())
def test_one_character_less_or_other_is_not_the_gates(key: GateKey, where: int, to: str) -> None:
    body = canonical(MOVE)
    order = Order(body, key.sign(body))
    at = where % len(body)
    changed = body[:at] + to + body[at + 1 :]
    if changed != body:
        with pytest.raises(BadSignature):
            check(Order(changed, order.signature), key.public)


def test_another_key_is_not_the_gate(key: GateKey, tmp_path: Path) -> None:
    body = canonical(MOVE)
    with pytest.raises(BadSignature):
        check(Order(body, GateKey.load_or_create(tmp_path).sign(body)), key.public)
    with pytest.raises(BadSignature):
        check(Order(body, "no base64"), key.public)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "dance"},
        {"kind": ["move"]},
        {"kind": "hand_back"},
        {"extra": 1},
        {"axis": None, "instrument": ""},
        {"by": 7},
        {"nonce": ""},
        {"at": None},
        {"at": "soon"},
        {"at": "2026-03-01T12:00:00"},
        {"expires_at": None},
    ],
)
def test_what_is_no_order_of_ours_is_refused_even_signed(key: GateKey, changes: dict[str, Any]) -> None:
    body = canonical({**MOVE, **changes})
    with pytest.raises(ForgedDecision):
        check(Order(body, key.sign(body)), key.public)


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", "null", canonical(MOVE) + " ", '{"a":1,"a":2}'])
def test_what_is_not_canonical_is_refused(body: str) -> None:
    with pytest.raises(ForgedDecision):
        terms_of(Order(body, ""))
