"""Handovers: what the people of one shift tell those of the next, signed by both.

A handover is drafted from what is so, completed by the person who leaves, and signed by them and then by the person who
comes. What was generated cannot be edited, only generated anew; what people write beside it is theirs. Every change is
an event of the journal, and each signature names the hash of exactly what was signed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from athanor.memory.canonical import digest, time_text
from athanor.memory.errors import LedgerBusy, NotFound, Overtaken
from athanor.memory.records import new_id, storable
from athanor.memory.tail import Tail

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Event

log = logging.getLogger(__name__)

KIND = "handover"
ATTEMPTS = 50

HandoverState = Literal["draft", "signed", "accepted", "discarded"]
Verb = Literal["drafted", "refreshed", "noted", "signed", "accepted", "returned", "discarded"]
SectionId = Literal["campaigns", "approvals", "alarms", "overrides", "doubt", "stock", "decided", "remarks"]

TITLES: Mapping[SectionId, str] = {
    "campaigns": "Campaigns",
    "approvals": "Waiting for approval",
    "alarms": "Alarms",
    "overrides": "Overrides in force",
    "doubt": "Outcomes in doubt",
    "stock": "Stocks that run low",
    "decided": "Decided in this shift",
    "remarks": "Remarks",
}
"""The sections, in their order."""

LONGEST_NOTE = 5000
LONGEST_SHIFT = timedelta(days=7)
OLDEST_FACTS = timedelta(minutes=30)
"""Facts older than this are not signed for: they may not be so any more."""


class HandoverError(Exception):
    """Something that cannot be done to a handover as it stands; the message says why, `remedy` what to do."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class StaleHandover(HandoverError):
    """The handover is not what was looked at any more: somebody changed it meanwhile."""


@dataclass(frozen=True)
class Fact:
    """Something that was so when the facts were generated. `about`: the id of what it is about."""

    text: str
    about: str = ""


Facts = Mapping[SectionId, Sequence[Fact]]


@dataclass(frozen=True)
class Section:
    """A part of a handover: what was generated, and what people wrote beside it."""

    id: SectionId
    facts: tuple[Fact, ...] = ()
    note: str = ""
    noted_by: str | None = None

    @property
    def title(self) -> str:
        """What it is called."""
        return TITLES[self.id]


@dataclass(frozen=True)
class Handover:
    """A handover as it stands.

    Attributes:
        id: its id.
        state: `draft`, `signed` by who leaves, `accepted` by who comes, or `discarded`.
        outgoing: who drafted it, and leaves.
        since, until: the shift: from when, and when its facts were generated.
        revision: grows with every change.
        sections: in their order.
        signed_at, signed_sha256: when the outgoing person signed, and the hash of what.
        incoming, accepted_at, remark: who took over, when, and what they had to say.
        returned: why it was last sent back, and by whom.
    """

    id: str
    outgoing: str
    since: datetime
    until: datetime
    sections: tuple[Section, ...]
    created_at: datetime
    state: HandoverState = "draft"
    revision: int = 1
    signed_at: datetime | None = None
    signed_sha256: str | None = None
    incoming: str | None = None
    accepted_at: datetime | None = None
    remark: str = ""
    returned: str | None = None
    discarded: str | None = None

    @property
    def sha256(self) -> str:
        """The hash of everything that is signed for."""
        return digest(
            {
                "handover": self.id,
                "outgoing": self.outgoing,
                "since": time_text(self.since),
                "until": time_text(self.until),
                "sections": [
                    {
                        "id": section.id,
                        "facts": [asdict(fact) for fact in section.facts],
                        "note": section.note,
                        "noted_by": section.noted_by,
                    }
                    for section in self.sections
                ],
            }
        )

    @property
    def is_as_signed(self) -> bool:
        """Whether what it says is what was signed; true as long as nobody has signed."""
        return self.signed_sha256 in (None, self.sha256)


@dataclass
class _Told:
    newest: str | None = None
    handovers: dict[str, Handover] = field(default_factory=dict)
    entries: dict[str, list[Event]] = field(default_factory=dict)


class Handovers:
    """The handovers of one site, kept as events of its journal. For any thread and any number of processes.

    Args:
        ledger: where they are kept.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._guard = threading.Lock()
        self._told = _Told()
        self._tail = Tail(ledger, KIND)

    def all(self) -> list[Handover]:
        """Return every handover, oldest first."""
        with self._guard:
            return list(self._read().handovers.values())

    def one(self, identifier: str) -> Handover:
        """Return a handover. Raises `NotFound`."""
        with self._guard:
            found = self._read().handovers.get(identifier)
        if found is None:
            raise NotFound(KIND, identifier)
        return found

    def history(self, identifier: str) -> list[Event]:
        """Return what was done to a handover, in order."""
        with self._guard:
            return list(self._read().entries.get(identifier, ()))

    # -- what people do ------------------------------------------------------------------------------------------------

    def begin(self, by: str, since: datetime, until: datetime, facts: Facts) -> Handover:
        """Draft one.

        Raises:
            HandoverError: this person's last one is still open, or the shift makes no sense.
        """
        if not timedelta(0) <= until - since <= LONGEST_SHIFT:
            raise HandoverError("a shift began in the past, seven days ago at most", "Give another beginning.")
        identifier = new_id(KIND)

        def checked(told: _Told) -> dict[str, Any]:
            mine = [one for one in told.handovers.values() if one.outgoing == by and one.state in ("draft", "signed")]
            if mine:
                raise HandoverError(f"{by} has {mine[-1].id} open", "Finish that one, or discard it.")
            return {"since": time_text(since), **_facts_body(until, facts)}

        return self._write(identifier, "drafted", by, checked)

    def refresh(self, identifier: str, by: str, revision: int, until: datetime, facts: Facts) -> Handover:
        """Put the facts of now in the place of those it has; notes stay. Raises `HandoverError`, `NotFound`."""
        return self._change(identifier, "refreshed", by, revision, lambda old: _facts_body(until, facts))

    def note(self, identifier: str, by: str, revision: int, section: SectionId, text: str) -> Handover:
        """Write the note of a section. Raises `HandoverError`, `NotFound`."""
        text = storable(text.strip())
        if section not in TITLES or len(text) > LONGEST_NOTE:
            raise HandoverError(f"a note belongs to a section and has up to {LONGEST_NOTE} characters")
        return self._change(identifier, "noted", by, revision, lambda old: {"section": section, "note": text})

    def sign(self, identifier: str, by: str, revision: int, sha256: str) -> Handover:
        """Sign what was seen, as the person who leaves. Raises `HandoverError`, `NotFound`."""

        def checked(old: Handover) -> dict[str, Any]:
            if by != old.outgoing:
                raise HandoverError(f"{old.id} is {old.outgoing}'s to sign first", "You can sign when they have.")
            if self._ledger.now() - old.until > OLDEST_FACTS:
                raise HandoverError(
                    f"the facts of {old.id} are from {old.until:%Y-%m-%d %H:%M} UTC", "Refresh them, and read them."
                )
            return {"sha256": _same(old, sha256)}

        return self._change(identifier, "signed", by, revision, checked)

    def accept(self, identifier: str, by: str, sha256: str, remark: str = "") -> Handover:
        """Sign what was seen, as the person who comes. Raises `HandoverError`, `NotFound`."""

        def checked(old: Handover) -> dict[str, Any]:
            if by == old.outgoing:
                raise HandoverError("a handover is signed by two people, and you are the first", "Ask who comes.")
            if old.sha256 != old.signed_sha256:
                raise HandoverError(f"{old.id} is not what {old.outgoing} signed", "Send it back, and tell the owner.")
            return {"sha256": _same(old, sha256), "remark": storable(remark.strip())[:LONGEST_NOTE]}

        return self._change(identifier, "accepted", by, None, checked)

    def send_back(self, identifier: str, by: str, why: str) -> Handover:
        """Undo the first signature, so that it can be changed. Raises `HandoverError`, `NotFound`."""
        return self._change(identifier, "returned", by, None, lambda old: {"why": _needed(why)})

    def discard(self, identifier: str, by: str, why: str) -> Handover:
        """Do without a draft; it stays in the record. Raises `HandoverError`, `NotFound`."""
        return self._change(identifier, "discarded", by, None, lambda old: {"why": _needed(why)})

    def _change(
        self,
        identifier: str,
        verb: Verb,
        by: str,
        revision: int | None,
        body: Callable[[Handover], Mapping[str, Any]],
    ) -> Handover:
        def checked(told: _Told) -> Mapping[str, Any]:
            old = told.handovers.get(identifier)
            if old is None:
                raise NotFound(KIND, identifier)
            _check_state(old, verb)
            if revision is not None and revision != old.revision:
                last = told.entries[identifier][-1]
                raise StaleHandover(
                    f"{identifier} was changed by {last.body['by']} at {last.created_at:%H:%M:%S} UTC, after you "
                    "read it",
                    "Read it again; what you wrote was not stored.",
                )
            return body(old)

        return self._write(identifier, verb, by, checked)

    def _write(self, identifier: str, verb: Verb, by: str, checked: Callable[[_Told], Mapping[str, Any]]) -> Handover:
        for _ in range(ATTEMPTS):
            with self._guard:
                told = self._read()
                newest, body = told.newest, checked(told)
            event = {"handover": identifier, "verb": verb, "by": by, **body}
            try:
                self._ledger.add_event_after(KIND, event, newest)
            except Overtaken:
                continue
            return self.one(identifier)
        raise LedgerBusy(f"{identifier}: others write faster than this can be done; try again")

    def _read(self) -> _Told:
        told = self._told
        for event in self._tail.new():
            told.newest = event.id
            try:
                identifier = str(event.body["handover"])
                told.handovers[identifier] = _after(told.handovers.get(identifier), event)
            except (KeyError, TypeError, ValueError) as error:
                log.warning("event %s says nothing that can be true of a handover: %s", event.id, error)
                continue
            told.entries.setdefault(identifier, []).append(event)
        return told


_STATES: Mapping[Verb, tuple[HandoverState, str]] = {
    "refreshed": ("draft", "its facts stay as they were signed"),
    "noted": ("draft", "what was signed is not edited"),
    "signed": ("draft", "it cannot be signed again"),
    "accepted": ("signed", "only what the first has signed can be accepted"),
    "returned": ("signed", "only what waits for the second signature can be sent back"),
    "discarded": ("draft", "only a draft can be discarded"),
}


def _check_state(old: Handover, verb: Verb) -> None:
    wanted, why = _STATES[verb]
    if old.state == wanted:
        return
    by = {"signed": old.outgoing, "accepted": old.incoming}.get(old.state)
    said = f"{old.state} by {by}" if by else "still a draft" if old.state == "draft" else old.state
    remedy = "Have it sent back first." if old.state == "signed" else None
    raise HandoverError(f"{old.id} is {said}: {why}", remedy)


def _same(old: Handover, sha256: str) -> str:
    if sha256 != old.sha256:
        raise StaleHandover(f"{old.id} is not what you looked at any more", "Read it again, then sign.")
    return sha256


def _needed(why: str) -> str:
    if not why.strip():
        raise HandoverError("say why", "Give a reason: it is kept in the record.")
    return storable(why.strip())[:2000]


def _facts_body(until: datetime, facts: Facts) -> dict[str, Any]:
    return {
        "until": time_text(until),
        "facts": {
            name: [{"text": storable(f.text), "about": storable(f.about)} for f in facts.get(name, ())]
            for name in TITLES
        },
    }


def _after(old: Handover | None, event: Event) -> Handover:
    """What an event makes of a handover."""
    body, verb, by = event.body, event.body["verb"], str(event.body["by"])
    if old is None:
        return Handover(
            id=str(body["handover"]),
            outgoing=by,
            since=datetime.fromisoformat(body["since"]),
            until=datetime.fromisoformat(body["until"]),
            sections=_with_facts(tuple(Section(name) for name in TITLES), body["facts"]),
            created_at=event.created_at,
        )
    new = replace(old, revision=old.revision + 1)
    if verb == "refreshed":
        until = datetime.fromisoformat(body["until"])
        return replace(new, until=until, sections=_with_facts(old.sections, body["facts"]))
    if verb == "noted":
        return replace(
            new,
            sections=tuple(
                replace(one, note=body["note"], noted_by=by if body["note"] else None)
                if one.id == body["section"]
                else one
                for one in old.sections
            ),
        )
    if verb == "signed":
        return replace(new, state="signed", signed_at=event.created_at, signed_sha256=body["sha256"], returned=None)
    if verb == "accepted":
        return replace(new, state="accepted", incoming=by, accepted_at=event.created_at, remark=body["remark"])
    if verb == "returned":
        return replace(new, state="draft", signed_at=None, signed_sha256=None, returned=f"{body['why']} ({by})")
    if verb == "discarded":
        return replace(new, state="discarded", discarded=f"{body['why']} ({by})")
    return new


def _with_facts(sections: Sequence[Section], facts: Mapping[str, Sequence[Mapping[str, str]]]) -> tuple[Section, ...]:
    return tuple(
        replace(one, facts=tuple(Fact(str(f["text"]), str(f["about"])) for f in facts.get(one.id, ())))
        for one in sections
    )
