"""What a signed decision says, and whether its row says the same.

The body of a decision is canonical text: kind, campaign, instrument, latch, expires_at, nonce, by, at, reason; then
`experiment` and `revision`, or, for a grant, `envelope`; an edit also has `replacement`, a settlement `as` and, where
a person entered them, `outcomes`. The signature covers the body, so a row is worth only what its body says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from athanor.memory.canonical import CanonicalError, canonical, parse, time_text
from athanor.memory.errors import LedgerError
from athanor.memory.records import Decision
from athanor.memory.signing import PublicKey, verify

GRANT_ENDED = "grant_ended"
"""The event by which a person ends a grant before its time: `grant` is its id, `nonce` its nonce, `by` who ended it.

It is not signed: whoever writes it takes something away, and gives nothing."""


class ForgedDecision(LedgerError):
    """A decision that the gate has not made, or that was changed since."""


class BadSignature(ForgedDecision):
    """A decision whose signature is not the gate's."""


def body_of(decision: Decision) -> dict[str, Any]:
    """Return what a decision's body says, whoever wrote it.

    Raises:
        ForgedDecision: it is not the canonical text of an object.
    """
    try:
        body = parse(decision.body)
        is_canonical = canonical(body) == decision.body
    except CanonicalError as error:
        raise ForgedDecision(f"decision {decision.id}: its body cannot be read: {error}") from error
    if not isinstance(body, dict) or not is_canonical:
        raise ForgedDecision(f"decision {decision.id}: its body is not the canonical text of an object")
    return body


def check(decision: Decision, public: PublicKey) -> dict[str, Any]:
    """Return the body of a decision that the gate has signed and whose row agrees with it.

    Raises:
        BadSignature: the signature is not the gate's.
        ForgedDecision: a column differs from the body.
    """
    if not verify(public, decision.body, decision.signature):
        raise BadSignature(f"decision {decision.id}: its signature is not the gate's")
    body = body_of(decision)
    expires = None if decision.expires_at is None else time_text(decision.expires_at)
    columns = {
        "kind": decision.kind,
        "campaign": decision.campaign_id,
        "experiment": decision.experiment_id,
        "revision": decision.revision,
        "expires_at": expires,
        "nonce": decision.nonce,
        "by": decision.decided_by,
        "reason": decision.reason,
    }
    for name, column in columns.items():
        if body.get(name) != column:
            raise ForgedDecision(f"decision {decision.id}: its row says {name} {column!r}, its body {body.get(name)!r}")
    return body


def is_inside(value: object, bound: object) -> bool:
    """Whether a value lies in one range of an envelope: `{"low", "high"}` (inclusive) or `{"allowed": [...]}`."""
    if not isinstance(bound, Mapping):
        return False
    allowed = bound.get("allowed")
    if isinstance(allowed, list):
        return value in allowed
    low, high = bound.get("low"), bound.get("high")
    if not isinstance(value, int | float) or not isinstance(low, int | float) or not isinstance(high, int | float):
        return False
    return bool(low <= value <= high)


def outside(values: Mapping[str, object], ranges: object) -> list[str]:
    """Say where a whole point leaves an envelope's ranges, parameter by parameter; empty when it is inside."""
    if not isinstance(ranges, Mapping):
        return ["the envelope names no parameters"]
    said = [f"{name} is missing" for name in sorted(set(ranges) - set(values))]
    for name, value in values.items():
        if name not in ranges:
            said.append(f"the envelope says nothing of {name}")
        elif not is_inside(value, ranges[name]):
            said.append(f"{name} = {value} is outside {described(ranges[name])}")
    return said


def described(bound: object) -> str:
    """Write one range of an envelope."""
    if isinstance(bound, Mapping) and isinstance(bound.get("allowed"), list):
        return ", ".join(str(item) for item in bound["allowed"])
    if isinstance(bound, Mapping):
        return f"{bound.get('low')} … {bound.get('high')}"
    return str(bound)
