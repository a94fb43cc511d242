"""How far a campaign may go by itself: reading it, granting it, ending it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, Field

from athanor.console.api.accounts import Asked
from athanor.console.api.campaigns import DecisionOut, Reason
from athanor.console.api.decisions import Envelope
from athanor.console.api.door import Door, caller_of, desk_of
from athanor.console.api.starting import Taken
from athanor.console.commands import autonomy as commands

door = Door("autonomy")


class GrantOut(Taken):
    """A signed grant. `standing`: `in force`, `ended`, `expired`, `used up` or `void` (Stop All was used since)."""

    id: str
    by: str
    reason: str
    given: datetime
    expires: datetime | None
    envelope: dict[str, Any]
    most: int
    used: int
    standing: str
    ended_by: str | None


class AutonomyOut(Taken):
    """How a campaign's experiments are let start: what its file asks for, what holds now, every grant, newest first.

    `default_envelope`, `default_experiments` and `default_expires_s` are the widest that its file has.
    """

    asked: str
    now: str
    asks_for_two: bool
    default_envelope: dict[str, Any]
    default_experiments: int
    default_expires_s: float
    units: dict[str, str | None]
    grants: list[GrantOut]


class NewGrant(Asked):
    """What to grant: for every parameter a range in its unit, so many experiments, for so long."""

    envelope: Envelope
    max_experiments: Annotated[int, Field(ge=1, le=100_000)]
    expires_s: Annotated[float, Field(gt=0, le=31 * 86400)]
    reason: Reason


class Ending(Asked):
    """Why the campaign is to go on by itself no more."""

    reason: Reason


class EndedOut(BaseModel):
    """How many grants were ended."""

    ended: int


@door.on("GET", "/campaigns/{campaign_id}/autonomy", "read")
def autonomy(campaign_id: str, request: Request) -> AutonomyOut:
    """How far a campaign may go by itself."""
    ledger = desk_of(request).ledger
    return AutonomyOut.model_validate(commands.look(ledger, ledger.campaign(campaign_id)))


@door.on("POST", "/campaigns/{campaign_id}/autonomy/grants", "autonomy.grant", status=201)
def grant(campaign_id: str, asked: NewGrant, request: Request) -> DecisionOut:
    """Let a campaign approve its own experiments inside an envelope; it counts at once."""
    desk = desk_of(request)
    made = commands.Autonomy(desk.ledger, caller_of(request).person.login)
    envelope = {name: one.plain() for name, one in asked.envelope.items()}
    ttl = timedelta(seconds=asked.expires_s)
    return DecisionOut.of(
        made.grant(desk.ledger.campaign(campaign_id), envelope, asked.max_experiments, ttl, asked.reason)
    )


@door.on("POST", "/campaigns/{campaign_id}/autonomy/end", "autonomy.grant")
def end(campaign_id: str, asked: Ending, request: Request) -> EndedOut:
    """Have each experiment wait for a person from now on; a run that has begun is finished."""
    desk = desk_of(request)
    made = commands.Autonomy(desk.ledger, caller_of(request).person.login)
    return EndedOut(ended=made.end(desk.ledger.campaign(campaign_id), asked.reason))
