"""The audit: who did, tried or was refused what, and whether the record of it is whole."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict

from athanor.console.api.door import Door, caller_of, desk_of
from athanor.console.api.paging import Limit, Page
from athanor.console.commands import audit as commands
from athanor.console.commands.verification import Standing
from athanor.memory.journal import SITE, chain_of
from athanor.memory.pages import Wanted

door = Door("audit")

LARGEST = 2**63 - 1
Short = Query(min_length=1, max_length=200)
Position = Annotated[int | None, Query(ge=0, le=LARGEST, description="The `next` of the page before.")]
Order = Literal["newest", "oldest"]


class AuditLine(BaseModel):
    """A row of the journal in words.

    `position` counts over the whole journal, `seq` within `chain`. `hash` covers the row, `previous` among it, which is
    the hash of the chain's row before, at the position `before`. `is_whole`: the hash is that of what the row says;
    `is_linked`: `previous` is the hash of the row before.
    """

    position: int
    chain: str
    seq: int
    campaign_id: str | None
    at: str
    who: str | None
    what: str
    kind: str
    is_refused: bool
    hash: str
    previous: str
    before: int | None
    is_whole: bool
    is_linked: bool

    @classmethod
    def of(cls, found: commands.AuditRow) -> AuditLine:
        """As it is shown."""
        row, said = found.row, found.said
        return cls(
            position=row.position,
            chain=row.chain,
            seq=row.seq,
            campaign_id=None if row.chain == SITE else row.chain.removeprefix("campaign:"),
            at=row.at,
            who=said.who,
            what=said.what,
            kind=said.kind,
            is_refused=said.is_refused,
            hash=row.hash,
            previous=row.previous,
            before=found.before,
            is_whole=found.is_whole,
            is_linked=found.is_linked,
        )


class AuditRowOut(AuditLine):
    """A row with its whole text: `body` is what the hash covers, letter by letter."""

    body: str


class FindingOut(BaseModel):
    """One thing that is wrong with the record, or worth a note. `position`: where the row stands, if it does."""

    model_config = ConfigDict(from_attributes=True)

    kind: str
    chain: str | None
    seq: int | None
    position: int | None
    detail: str


class VerificationOut(BaseModel):
    """How the verification of the record stands, or what the last one since the console started found.

    `rows` of `of` have been read. `first` is the first row of the journal that is wrong. `count` problems were found,
    of which 100 are listed. Notes are no errors.
    """

    model_config = ConfigDict(from_attributes=True)

    state: Literal["none", "running", "whole", "broken", "failed"]
    by: str | None
    began: datetime | None
    ended: datetime | None
    rows: int
    of: int
    chains: int
    count: int
    first: FindingOut | None
    problems: list[FindingOut]
    notes: list[FindingOut]
    detail: str | None

    @classmethod
    def of_job(cls, standing: Standing) -> VerificationOut:
        """As it is shown."""
        return cls.model_validate(standing)


def _wanted(
    campaign: Annotated[str | None, Short] = None,
    site: Annotated[bool, Query(description="Only what is of no campaign.")] = False,
    who: Annotated[str | None, Short] = None,
    kind: Annotated[list[str] | None, Query(max_length=50, description="Kinds of rows, or of events.")] = None,
    instrument: Annotated[str | None, Short] = None,
    since: Annotated[AwareDatetime | None, Query(description="Not before this time.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Before this time.")] = None,
    refusals: Annotated[bool, Query(description="Only what was refused.")] = False,
) -> Wanted:
    chain = SITE if site else None if campaign is None else chain_of(campaign)
    return Wanted(chain, who, tuple(kind or ()), instrument, since, until, refusals)


Filters = Annotated[Wanted, Depends(_wanted)]


@door.on("GET", "/audit/rows", "audit.read")
def rows(
    request: Request, wanted: Filters, order: Order = "newest", limit: Limit = 100, after: Position = None
) -> Page[AuditLine]:
    """The journal, a page at a time.

    A page looks at a bounded number of rows: with filters it may hold few or none, and the list goes on all the same
    as long as there is a `next`.
    """
    found, reached = commands.look(desk_of(request).ledger, wanted, limit, after, oldest_first=order == "oldest")
    return Page(items=[AuditLine.of(row) for row in found], next=None if reached is None else str(reached))


@door.on("GET", "/audit/rows/{position}", "audit.read")
def one_row(position: int, request: Request) -> AuditRowOut:
    """One row with its whole text."""
    found = commands.one(desk_of(request).ledger, max(0, min(position, LARGEST)))
    return AuditRowOut(**AuditLine.of(found).model_dump(), body=found.row.body)


@door.on("GET", "/audit/export", "audit.read")
def export(request: Request, wanted: Filters) -> StreamingResponse:
    """The journal as lines of JSON, oldest first, with every field that the hashes cover.

    Without filters the chains are whole, and anybody can check them: `hash` is the SHA-256 of the canonical text of all
    other fields. That it is taken is written down first, with who.
    """
    desk, caller = desk_of(request), caller_of(request)
    # Before the first line: who takes all but the last one has taken it, too.
    given = {name: str(value) for name, value in asdict(wanted).items() if value not in (None, (), False)}
    desk.tell("audit_exported", {"by": caller.person.login, "filters": given})
    name = f"journal-{desk.ledger.ledger_id}.jsonl"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(commands.export(desk.ledger, wanted), media_type="application/jsonl", headers=headers)


@door.on("POST", "/audit/verify", "audit.read", status=202)
def verify(request: Request) -> VerificationOut:
    """Have the whole record verified, in a process of its own; one at a time."""
    return VerificationOut.of_job(desk_of(request).verification.start(caller_of(request).person.login))


@door.on("GET", "/audit/verify", "audit.read")
def verification(request: Request) -> VerificationOut:
    """How the verification stands, or what it found."""
    return VerificationOut.of_job(desk_of(request).verification.standing())
