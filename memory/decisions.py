"""What a signed decision says, and whether its row says the same.

The body of a decision is canonical text: kind, campaign, instrument, latch, expires_at, nonce, by, at, reason; then
`experiment` and `revision`, or, for a grant, `envelope`; an edit also has `replacement`, a settlement `as` and, where
a person entered them, `outcomes`. The signature covers the body, so a row is worth only what its body says.
"""

from __future__ import annotations

from typing import Any

from athanor.memory.canonical import CanonicalError, canonical, parse, time_text
from athanor.memory.errors import LedgerError
from athanor.memory.records import Decision
from athanor.memory.signing import PublicKey, verify


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
