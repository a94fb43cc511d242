"""Orders of a person about an instrument: signed, in the journal first, and refused where they make no sense."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from athanor.governance.gate import GateError
from athanor.governance.orders import LONGEST, MOVE_TTL, Orders
from athanor.memory.ledger import Ledger
from athanor.memory.orders import Order, check
from athanor.memory.places import keys_dir
from athanor.memory.signing import GateKey
from athanor.memory.verify import verify

HOUR = timedelta(hours=1)


@pytest.fixture
def ledger(home: Path) -> Ledger:
    return Ledger.create(home / "ledger.db")


@pytest.fixture
def key(home: Path) -> GateKey:
    return GateKey.load_or_create(keys_dir())


@pytest.fixture
def orders(ledger: Ledger, key: GateKey) -> Orders:
    return Orders(ledger, key, " ada ")


def test_each_is_signed_and_in_the_journal(ledger: Ledger, key: GateKey, orders: Orders) -> None:
    made = [
        orders.take_over("reactor", HOUR, "new tubing"),
        orders.move("reactor", "x", 5, "t" * 32, 4),
        orders.hand_back("reactor", "t" * 32),
        orders.release("reactor", None, None, "nobody can tell"),
    ]
    kinds = [check(order, key.public)["kind"] for order in made]
    assert kinds == ["take_over", "move", "hand_back", "release"]
    events = ledger.events()
    assert [event.kind for event in events] == [f"{kind}_ordered" for kind in kinds]
    assert [event.body["signature"] for event in events] == [order.signature for order in made]
    assert all(event.campaign_id is None and event.body["by"] == "ada" for event in events)
    assert len({event.body["nonce"] for event in events}) == 4
    assert not verify(ledger).problems


def test_it_holds_as_long_as_it_says(key: GateKey, orders: Orders) -> None:
    def span(order: Order) -> timedelta | None:
        terms = check(order, key.public)
        expires: timedelta | None = None if terms["expires_at"] is None else terms["expires_at"] - terms["at"]
        return expires

    assert span(orders.take_over("reactor", HOUR, "x")) == HOUR
    assert span(orders.move("reactor", "x", 5.0, "t", 0)) == MOVE_TTL
    assert span(orders.hand_back("reactor", "t")) is None


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda it: it.take_over("reactor", timedelta(0), "x"), "take-over for"),
        (lambda it: it.take_over("reactor", LONGEST + timedelta(seconds=1), "x"), "7 days"),
        (lambda it: it.take_over("reactor", HOUR, " "), "reason"),
        (lambda it: it.release("reactor", None, None, ""), "reason"),
        (lambda it: it.move("reactor", "x", True, "t", 0), "cannot be moved"),
        (lambda it: it.move("reactor", "x", float("nan"), "t", 0), "cannot be moved"),
        (lambda it: it.move("reactor", "x", float("inf"), "t", 0), "cannot be moved"),
    ],
)
def test_what_makes_no_sense_is_not_signed(
    ledger: Ledger, orders: Orders, ask: Callable[[Orders], Order], what: str
) -> None:
    with pytest.raises(GateError, match=what):
        ask(orders)
    assert ledger.events() == []


def test_it_needs_a_name(ledger: Ledger, key: GateKey) -> None:
    with pytest.raises(GateError, match="name"):
        Orders(ledger, key, " ")
