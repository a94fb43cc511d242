"""Signed orders about an instrument rather than an experiment: take it over, hand it back, release it, move an axis.

An order is canonical text with the gate's signature over it: kind, instrument, by, at, nonce, reason, expires_at (None
where it does not expire), and what its kind needs: `tenure`, the nonce of the take-over that it stands on; a release
also `holder`, a move `axis`, `value` and `latch`. It is kept as an event of the site; what carries it is worth nothing
without the signature.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from athanor.memory.canonical import CanonicalError, canonical, parse
from athanor.memory.decisions import BadSignature, ForgedDecision
from athanor.memory.signing import PublicKey, verify

OrderKind = Literal["take_over", "hand_back", "release", "move"]

FIELDS: dict[str, frozenset[str]] = {
    "take_over": frozenset(),
    "hand_back": frozenset({"tenure"}),
    "release": frozenset({"tenure", "holder"}),
    "move": frozenset({"tenure", "axis", "value", "latch"}),
}
"""What the body of each kind holds besides what all have."""

COMMON = frozenset({"kind", "instrument", "by", "at", "nonce", "reason", "expires_at"})


@dataclass(frozen=True)
class Order:
    """An order as it travels: the canonical text and the signature over it."""

    body: str
    signature: str

    def as_dict(self) -> dict[str, str]:
        """The order as a JSON object."""
        return asdict(self)


def terms_of(order: Order) -> dict[str, Any]:
    """Return what an order says, whoever wrote it; `at` and `expires_at` as times.

    Raises:
        ForgedDecision: it is not the canonical text of an order.
    """
    try:
        terms = parse(order.body)
        is_canonical = canonical(terms) == order.body
    except (CanonicalError, TypeError) as error:
        raise ForgedDecision(f"an order that cannot be read: {error}") from error
    if not isinstance(terms, dict) or not is_canonical:
        raise ForgedDecision("an order that is not the canonical text of an object")
    kind = terms.get("kind")
    if not isinstance(kind, str) or kind not in FIELDS or set(terms) != COMMON | FIELDS[kind]:
        raise ForgedDecision(f"an order of kind {kind!r} with {', '.join(sorted(terms))} is none of ours")
    if not all(isinstance(terms[name], str) and terms[name] for name in ("instrument", "by", "nonce")):
        raise ForgedDecision("an order needs an instrument, a person and a nonce")
    terms["at"] = _moment(terms["at"])
    terms["expires_at"] = None if terms["expires_at"] is None else _moment(terms["expires_at"])
    if kind in ("take_over", "move") and terms["expires_at"] is None:
        raise ForgedDecision(f"an order of kind {kind} needs a time at which it expires")
    return terms


def check(order: Order, public: PublicKey) -> dict[str, Any]:
    """Return what an order says that the gate has signed.

    Raises:
        BadSignature: the signature is not the gate's.
        ForgedDecision: it is not an order.
    """
    if not verify(public, order.body, order.signature):
        raise BadSignature("an order whose signature is not the gate's")
    return terms_of(order)


def _moment(text: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise ForgedDecision(f"an order with the time {text!r}") from error
    if moment.tzinfo is None:
        raise ForgedDecision(f"an order with a time without a zone: {text!r}")
    return moment.astimezone(UTC)
