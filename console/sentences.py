"""Rows of the journal in words: who did what, about what. A kind that is not known yet is told by its fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from athanor.console.wording import number
from athanor.memory.canonical import CanonicalError, parse

Body = Mapping[str, Any]
LONGEST = 300
"""Characters of a sentence; the row itself says the rest."""
_PERSON = ("by", "decided_by", "login", "person", "signed_by")
_HIDDEN = frozenset({*_PERSON, "id", "campaign_id", "campaign", "created_at", "signature", "nonce", "kind", "session"})


@dataclass(frozen=True)
class Sentence:
    """A row in words.

    Attributes:
        who: a login, an account of the computer, or what acted by itself; None where nobody is named.
        what: what was done, as the rest of a sentence.
        kind: the row's kind; of an event, the event's.
        is_refused: whether something was refused.
    """

    who: str | None
    what: str
    kind: str
    is_refused: bool


def sentence(kind: str, text: str) -> Sentence:
    """Say what a row says. Never fails: what cannot be read is said to be so."""
    try:
        body = parse(text)
    except (CanonicalError, RecursionError):
        body = None
    if not isinstance(body, Mapping):
        return Sentence(None, "a row that cannot be read", kind, False)
    inner: Any = body.get("body") if kind == "event" else body
    if not isinstance(inner, Mapping):
        inner = {}
    name = str(body.get("kind", "event")) if kind == "event" else kind
    say = (_EVENTS if kind == "event" else _ROWS).get(name)
    try:
        what = _generic(name, inner) if say is None else say(inner)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        what = _generic(name, inner)
    return Sentence(_who(inner), _short(what), name, _is_refused(kind, name, inner))


def _who(body: Body) -> str | None:
    return next((str(body[name]) for name in _PERSON if isinstance(body.get(name), str) and body[name]), None)


def _is_refused(kind: str, name: str, body: Body) -> bool:
    if kind != "event":
        return name == "experiment_state" and body.get("to") == "refused"
    return "refus" in name or (name == "manual_move" and body.get("code") is not None)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _words(name: Any) -> str:
    return str(name).replace("_", " ")


def _because(body: Body, name: str = "reason") -> str:
    return f": {body[name]}" if body.get(name) else ""


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(key)} {_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value)
    return number(value) if isinstance(value, int | float | str) or value is None else str(value)


def _generic(name: str, body: Body) -> str:
    details = {key: value for key, value in body.items() if key not in _HIDDEN and value not in (None, "", [], {})}
    tail = "; ".join(f"{_words(key)} {_value(value)}" for key, value in details.items())
    return f"{_words(name)}{f' ({tail})' if tail else ''}"


def _settings(values: Body) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in values.items())


def _state(thing: str) -> Callable[[Body], str]:
    def say(body: Body) -> str:
        return f"{thing} {body[thing]}: {_words(body['from'])} → {_words(body['to'])}{_because(body)}"

    return say


def _decision(body: Body) -> str:
    about = f"{body['experiment_id'] or body['campaign_id']}"
    seen = f" at revision {body['revision'][:8]}" if body["revision"] else ""
    done = {
        "approve": "approved",
        "reject": "rejected",
        "edit": "edited",
        "grant": "granted autonomy to",
        "settle": "settled",
    }.get(body["kind"], f"decided ({body['kind']}) on")
    return f"{done} {about}{seen}{_because(body)}"


def _observation(body: Body) -> str:
    found = ", ".join(f"{name} {number(pair['mean'])}" for name, pair in body["outcomes"].items())
    about = body["experiment_id"] or body["id"]
    return f"observation of {about}, {_words(body['status'])}: {found or body['reason'] or 'nothing was measured'}"


def _lease(body: Body) -> str:
    if not body["holder"]:
        return f"{body['resource']} is nobody's now"
    return f"{body['resource']} is driven by {body['holder']} (epoch {body['epoch']})"


def _call(body: Body) -> str:
    tokens = f"{body['tokens_in']} + {body['tokens_out']} tokens"
    return f"asked the model {body['model']} ({_words(body['purpose'])}): {body['status']}, {tokens}"


def _request(body: Body) -> str:
    verb = _words(body["verb"])
    return f"the request to {body['campaign']} was met" if verb == "none" else f"asked {body['campaign']} to {verb}"


_ROWS: dict[str, Callable[[Body], str]] = {
    "ledger": lambda body: f"the ledger {body['ledger']} was made",
    "campaign": lambda body: f"opened the campaign {body['id']} on {body['instrument']}: {body['name']}",
    "campaign_state": _state("campaign"),
    "request": _request,
    "hypothesis": lambda body: f"{body['proposer']} put up the hypothesis {body['id']}: {body['statement']}",
    "hypothesis_state": _state("hypothesis"),
    "registration": lambda body: f"{body['hypothesis_id']} was registered for test, before any run that counts for it",
    "evidence": lambda body: f"evidence of block {body['block']} for {body['registration_id']}",
    "experiment": lambda body: f"{body['source']} proposed {body['id']}: {_settings(body['values'])}",
    "experiment_state": _state("experiment"),
    "decision": _decision,
    "intent": lambda body: f"the intent to run {body['experiment_id']} on {body['instrument']}",
    "run": lambda body: f"the run {body['uid'][:8]} of {body['experiment_id']} began on {body['instrument']}",
    "run_stop": lambda body: f"the run {body['run'][:8]} ended: {body['exit_status']}{_because(body)}",
    "document": lambda body: f"document {body['position']} ({body['name']}) of the run {body['run_uid'][:8]}",
    "observation": _observation,
    "model_call": _call,
    "lease": _lease,
    "sample": lambda body: f"the sample {body['id']} was added: {body['label']}",
    "sample_state": _state("sample"),
    "sample_move": lambda body: f"the sample {body['sample']} went to {body['location']}",
    "consumable": lambda body: f"the stock {body['id']} was added: {number(body['amount'])} {body['unit'] or ''}",
    "stock": lambda body: f"the stock {body['consumable']} is now {number(body['amount'])}{_because(body)}",
    "reservation": lambda body: f"reserved for {body['experiment_id']}: {_generic('', _reserved(body))}",
    "reservation_state": _state("reservation"),
}


def _reserved(body: Body) -> Body:
    return {name: body[name] for name in ("samples", "amounts", "devices")}


def _move(body: Body) -> str:
    target = body.get("targets") or {name: body[name] for name in ("axis", "to", "value") if name in body}
    what = f"{body.get('instrument', '')} by hand: {_value(target)}"
    return f"was refused to move {what}: {body.get('detail') or body['code']}" if body.get("code") else f"moved {what}"


_EVENTS: dict[str, Callable[[Body], str]] = {
    "api_refused": lambda body: f"was refused {body['path']}, which needs {body['needs']}",
    "signed_in": lambda body: f"signed in from {body['source'] or 'somewhere'}",
    "signed_out": lambda _: "signed out",
    "sign_in_refused": lambda body: f"was refused the sign-in from {body['source'] or 'somewhere'}: {body['code']}",
    "person_added": lambda body: f"added {body['login']} ({body['name']}) as {body['role']}",
    "person_role_set": lambda body: f"made {body['login']} {body['role']}, who was {body['was']}",
    "person_opened": lambda body: f"opened the account of {body['login']}",
    "person_closed": lambda body: f"closed the account of {body['login']}",
    "password_given_out": lambda body: f"gave out another password for {body['login']}",
    "password_changed": lambda _: "changed the password",
    "second_factor_begun": lambda _: "asked for a second factor",
    "second_factor_set": lambda _: "set up a second factor",
    "second_factor_removed": lambda body: f"removed the second factor of {body['login']}",
    "recovery_code_used": lambda _: "signed in with a recovery code",
    "token_issued": lambda body: f"made the token {body['label']!r} for {body['login']}: {_value(body['scopes'])}",
    "refusals": lambda body: f"{body['instrument']} refused sets: {_value(body['counts'])}",
    "manual_move": _move,
    "resumed": lambda body: f"resumed{_because(body, 'after')}",
    "waiting": lambda body: f"waiting for {body.get('for') or body.get('instrument')}",
    "audit_verified": lambda body: (
        f"had the record verified: {number(body['rows'])} rows, "
        + ("all as they were written" if body["ok"] else f"{number(body['problems'])} wrong")
    ),
    "audit_exported": lambda body: "took a copy of the journal with them" + ("" if body.get("filters") else ", whole"),
}
