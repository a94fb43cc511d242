"""Orders of a person about an instrument, signed with the gate's key: take it over, hand it back, move an axis."""

from __future__ import annotations

import math
import secrets
from datetime import timedelta
from typing import Any

from athanor.governance.gate import GateError
from athanor.memory.canonical import canonical, time_text
from athanor.memory.ledger import Ledger
from athanor.memory.orders import Order, OrderKind
from athanor.memory.records import Value, storable
from athanor.memory.signing import GateKey

LONGEST = timedelta(days=7)
"""How long a take-over may last before it must be renewed."""
MOVE_TTL = timedelta(seconds=60)
"""How long the order to move an axis is good for: it is carried out at once or not at all."""


class Orders:
    """Signs orders for one person, and puts each into the journal before anybody can act on it.

    Args:
        ledger: where orders are kept, as events of the site.
        key: the gate's private key.
        person: who orders; a name that colleagues know.
    """

    def __init__(self, ledger: Ledger, key: GateKey, person: str) -> None:
        if not person.strip():
            raise GateError("an order needs a person's name")
        self._ledger = ledger
        self._key = key
        self.person = storable(person.strip())

    def take_over(self, instrument: str, ttl: timedelta, reason: str) -> Order:
        """Take an instrument over for `ttl`. Raises `GateError` for a time that makes no sense, or without a reason."""
        if not timedelta(0) < ttl <= LONGEST:
            raise GateError(f"a take-over for {ttl}: give a time up to {LONGEST.days} days, and renew it if need be")
        return self._sign("take_over", instrument, _needed(reason, "a take-over"), ttl)

    def hand_back(self, instrument: str, tenure: str, reason: str = "") -> Order:
        """Hand an instrument back; `tenure` is the nonce of the take-over that ends."""
        return self._sign("hand_back", instrument, reason.strip(), tenure=tenure)

    def release(self, instrument: str, tenure: str | None, holder: str | None, reason: str) -> Order:
        """End a take-over of somebody else, or one that cannot be read (None). Raises `GateError` without a reason."""
        return self._sign("release", instrument, _needed(reason, "a release"), tenure=tenure, holder=holder)

    def move(self, instrument: str, axis: str, value: Value, tenure: str, latch: int, reason: str = "") -> Order:
        """Move one axis, once, within a minute.

        Args:
            instrument: the instrument, which the person has taken over.
            axis: its axis.
            value: where to, in the axis's unit.
            tenure: the nonce of the take-over.
            latch: the count of the instrument's stop latch now; a later Stop All voids the order.
            reason: why, if there is something to say.

        Raises:
            GateError: a value that is none.
        """
        if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
            raise GateError(f"{axis} cannot be moved to {value!r}")
        return self._sign(
            "move", instrument, reason.strip(), MOVE_TTL, tenure=tenure, axis=axis, value=value, latch=latch
        )

    def _sign(self, kind: OrderKind, instrument: str, reason: str, ttl: timedelta | None = None, **more: Any) -> Order:
        moment = self._ledger.now()
        terms = {
            "kind": kind,
            "instrument": instrument,
            "by": self.person,
            "at": time_text(moment),
            "nonce": secrets.token_hex(16),
            "reason": storable(reason),
            "expires_at": None if ttl is None else time_text(moment + ttl),
            **more,
        }
        body = canonical(terms)
        order = Order(body, self._key.sign(body))
        self._ledger.add_event(None, f"{kind}_ordered", {**terms, "signature": order.signature})
        return order


def _needed(reason: str, what: str) -> str:
    if not reason.strip():
        raise GateError(f"{what} needs a reason")
    return reason.strip()
