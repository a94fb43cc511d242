"""Handovers between shifts: a draft from what is so, notes beside it, and two signatures."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from athanor.console.api.accounts import Asked
from athanor.console.api.campaigns import Reason
from athanor.console.api.door import Door, caller_of, desk_of
from athanor.console.api.paging import After, Limit, Page, page
from athanor.console.commands.handover import HandoverCommands
from athanor.governance.handover import (
    LONGEST_NOTE,
    Handover,
    HandoverState,
    SectionId,
    Verb,
)
from athanor.governance.handover_text import document, markdown

door = Door("handovers")


def _with_zone(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time needs a zone, such as Z")
    return moment


def _read(given: Any) -> Any:
    return datetime.fromisoformat(given) if isinstance(given, str) else given


Moment = Annotated[datetime, BeforeValidator(_read), AfterValidator(_with_zone)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="The hash of what was looked at.")]
Seen = Annotated[int, Field(ge=1, description="The revision that was looked at.")]
Confirmation = Annotated[str, Field(min_length=1, max_length=64, description="One's own login, typed.")]


class FactOut(BaseModel):
    """Something that was so. `about`: the id of what it is about."""

    text: str
    about: str


class SectionOut(BaseModel):
    """A part of a handover: what was generated, and the note beside it."""

    id: SectionId
    title: str
    facts: list[FactOut]
    note: str
    noted_by: str | None


class HandoverLine(BaseModel):
    """A handover in a list. `since` and `until`: the shift, the latter when its facts were generated."""

    id: str
    state: HandoverState
    outgoing: str
    incoming: str | None
    since: datetime
    until: datetime
    created_at: datetime
    signed_at: datetime | None
    accepted_at: datetime | None
    revision: int

    @classmethod
    def of(cls, handover: Handover) -> HandoverLine:
        """As it is shown."""
        return cls(**{name: getattr(handover, name) for name in HandoverLine.model_fields})


class HandoverOut(HandoverLine):
    """A handover in full.

    `sha256`: of what there is to sign; `is_as_signed`: whether that is what was signed, where somebody has signed.
    `returned`, `discarded`: why, and by whom.
    """

    sections: list[SectionOut]
    sha256: str
    signed_sha256: str | None
    is_as_signed: bool
    remark: str
    returned: str | None
    discarded: str | None

    @classmethod
    def of(cls, handover: Handover) -> HandoverOut:
        """As it is shown."""
        own = {name: getattr(handover, name) for name in cls.model_fields if name != "sections"}
        sections = [
            SectionOut(
                id=one.id,
                title=one.title,
                facts=[FactOut(text=fact.text, about=fact.about) for fact in one.facts],
                note=one.note,
                noted_by=one.noted_by,
            )
            for one in handover.sections
        ]
        return cls(**own, sections=sections)


class StepOut(BaseModel):
    """Something that was done to a handover."""

    id: str
    verb: Verb
    by: str
    at: datetime
    section: SectionId | None
    sha256: str | None
    why: str | None


class Beginning(Asked):
    """When the shift began; where that is not given, with the last handover, half a day ago at most."""

    since: Moment | None = None


class Refreshing(Asked):
    """What was looked at."""

    revision: Seen


class Note(Asked):
    """What to write beside a section; an empty text takes the note away."""

    revision: Seen
    section: SectionId
    text: Annotated[str, Field(max_length=LONGEST_NOTE)]


class Signature(Asked):
    """What is signed, and one's own login as the sign that it is meant."""

    revision: Seen
    sha256: Sha256
    confirmation: Confirmation


class Acceptance(Asked):
    """What is signed by who comes, with what they have to say."""

    sha256: Sha256
    confirmation: Confirmation
    remark: Annotated[str, Field(max_length=LONGEST_NOTE)] = ""


class Because(Asked):
    """Why."""

    reason: Reason


@door.on("GET", "/handovers", "read")
def handovers(
    request: Request,
    state: Annotated[list[HandoverState] | None, Query(description="Only those in these states.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[HandoverLine]:
    """Handovers, the newest first."""
    found = [one for one in reversed(desk_of(request).handovers.all()) if state is None or one.state in state]
    return page([HandoverLine.of(one) for one in found], limit, after, lambda line: line.id)


@door.on("GET", "/handovers/{handover_id}", "read")
def handover(handover_id: str, request: Request) -> HandoverOut:
    """One handover."""
    return HandoverOut.of(desk_of(request).handovers.one(handover_id))


@door.on("GET", "/handovers/{handover_id}/history", "read")
def history(handover_id: str, request: Request, limit: Limit = 100, after: After = None) -> Page[StepOut]:
    """What was done to a handover, in order."""
    found = desk_of(request).handovers
    found.one(handover_id)
    steps = [
        StepOut(
            id=event.id,
            verb=event.body["verb"],
            by=event.body["by"],
            at=event.created_at,
            section=event.body.get("section"),
            sha256=event.body.get("sha256"),
            why=event.body.get("why"),
        )
        for event in found.history(handover_id)
    ]
    return page(steps, limit, after, lambda step: step.id)


@door.on("GET", "/handovers/{handover_id}/document", "read")
def exported(
    handover_id: str,
    request: Request,
    form: Annotated[Literal["markdown", "html"], Query(description="As what.")] = "markdown",
) -> Response:
    """A handover as a file to keep or to print."""
    found = desk_of(request).handovers.one(handover_id)
    text, kind, ending = (
        (markdown(found), "text/markdown", "md") if form == "markdown" else (document(found), "text/html", "html")
    )
    # Opened from where it was saved, not within the console: there nothing may bring its own style.
    headers = {"Content-Disposition": f'attachment; filename="{found.id}.{ending}"'}
    return Response(text, media_type=f"{kind}; charset=utf-8", headers=headers)


@door.on("POST", "/handovers", "handover.write", status=201)
def begin(request: Request, asked: Beginning | None = None) -> HandoverOut:
    """Draft a handover from what is so."""
    return HandoverOut.of(_commands(request).begin((asked or Beginning()).since))


@door.on("POST", "/handovers/{handover_id}/refresh", "handover.write")
def refresh(handover_id: str, asked: Refreshing, request: Request) -> HandoverOut:
    """Put what is so now in the place of the facts; notes stay."""
    return HandoverOut.of(_commands(request).refresh(handover_id, asked.revision))


@door.on("POST", "/handovers/{handover_id}/note", "handover.write")
def note(handover_id: str, asked: Note, request: Request) -> HandoverOut:
    """Write the note of a section. Who writes on what somebody else has changed meanwhile is told."""
    return HandoverOut.of(_commands(request).note(handover_id, asked.revision, asked.section, asked.text))


@door.on("POST", "/handovers/{handover_id}/sign", "handover.write", is_for_sessions=True)
def sign(handover_id: str, asked: Signature, request: Request) -> HandoverOut:
    """Sign it as the person who leaves; from then on nothing of it changes."""
    commands = _commands(request)
    return HandoverOut.of(commands.sign(handover_id, asked.revision, asked.sha256, asked.confirmation))


@door.on("POST", "/handovers/{handover_id}/accept", "handover.write", is_for_sessions=True)
def accept(handover_id: str, asked: Acceptance, request: Request) -> HandoverOut:
    """Sign it as the person who comes, who must be another one."""
    return HandoverOut.of(_commands(request).accept(handover_id, asked.sha256, asked.confirmation, asked.remark))


@door.on("POST", "/handovers/{handover_id}/send-back", "handover.write")
def send_back(handover_id: str, asked: Because, request: Request) -> HandoverOut:
    """Undo the first signature, so that it can be changed."""
    return HandoverOut.of(_commands(request).send_back(handover_id, asked.reason))


@door.on("POST", "/handovers/{handover_id}/discard", "handover.write")
def discard(handover_id: str, asked: Because, request: Request) -> HandoverOut:
    """Do without a draft; it stays in the record."""
    return HandoverOut.of(_commands(request).discard(handover_id, asked.reason))


def _commands(request: Request) -> HandoverCommands:
    desk = desk_of(request)
    return HandoverCommands(desk.handovers, desk, desk.alarms, caller_of(request).person.login)
