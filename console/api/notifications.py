"""What one was told. To take note of it ends its escalation; it approves and acknowledges nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query, Request
from pydantic import BaseModel

from athanor.console.api.door import Door, caller_of, desk_of
from athanor.console.api.paging import After, Limit, Page, page
from athanor.console.commands.notifications import NotificationCommands
from athanor.console.notify.board import TOLD, Notification

door = Door("notifications")


class NotificationOut(BaseModel):
    """Something that one was told. `path` is the page about it; `over`: why it is no news any more."""

    id: str
    what: str
    title: str
    text: str
    detail: str
    path: str
    campaign_id: str | None
    urgent: bool
    shows: bool
    """Whether the site's rules want it shown by the browser, beyond this list."""
    since: datetime
    at: datetime
    over: str | None
    is_read: bool
    read_by: list[str]
    trouble: str | None
    """Why a mail or webhook did not arrive, as yet."""

    @classmethod
    def of(cls, one: Notification, login: str) -> NotificationOut:
        """As it is shown to somebody."""
        troubles = [found.error for found in one.tries.values() if found.error]
        return cls(
            id=one.id,
            what=one.what,
            title=one.title,
            text=one.text,
            detail=one.detail,
            path=one.path,
            campaign_id=one.campaign_id,
            urgent=one.urgent,
            shows="browser" in one.by,
            since=one.since,
            at=one.at,
            over=None if one.over == TOLD else one.over,
            is_read=login in one.read_by,
            read_by=sorted(one.read_by),
            trouble=troubles[-1] if troubles else None,
        )


class RuleOut(BaseModel):
    """A rule that tells one something. `after_min`: when it comes to oneself; None: at once."""

    name: str
    what: list[str]
    by: list[str]
    urgent: bool
    after_min: float | None


class NotifyOut(BaseModel):
    """How one is told, as the site's settings have it."""

    is_set_up: bool
    email: str | None
    zone: str | None
    quiet_from: str | None
    quiet_until: str | None
    rules: list[RuleOut]


class ReadOut(BaseModel):
    """How many were taken note of."""

    count: int


@door.on("GET", "/notifications", "person")
def notifications(
    request: Request,
    unread: Annotated[bool, Query(description="Only what one has not taken note of.")] = False,
    limit: Limit = 100,
    after: After = None,
) -> Page[NotificationOut]:
    """What one was told, the newest first."""
    login = caller_of(request).person.login
    found = _commands(request).mine(unread=unread)
    return page([NotificationOut.of(one, login) for one in found], limit, after, lambda line: line.id)


@door.on("GET", "/notifications/settings", "person")
def settings(request: Request) -> NotifyOut:
    """How one is told."""
    login, found = caller_of(request).person.login, desk_of(request).settings.notifications
    me = next((person for person in found.people if person.login == login), None)
    rules = []
    for rule in found.rules:
        steps = [step.after_min for step in rule.escalate if login in step.to]
        if login in rule.to or steps:
            what = [*(what for what in rule.when if what != "event"), *rule.events]
            after_min = None if login in rule.to else steps[0]
            rules.append(RuleOut(name=rule.name, what=what, by=list(rule.by), urgent=rule.urgent, after_min=after_min))
    return NotifyOut(
        is_set_up=bool(found.rules),
        email=None if me is None else me.email,
        zone=None if me is None else me.zone,
        quiet_from=None if me is None or me.quiet is None else f"{me.quiet.start:%H:%M}",
        quiet_until=None if me is None or me.quiet is None else f"{me.quiet.end:%H:%M}",
        rules=rules,
    )


@door.on("POST", "/notifications/read", "person")
def read_all(request: Request) -> ReadOut:
    """Take note of everything one was told."""
    return ReadOut(count=_commands(request).read_all())


@door.on("POST", "/notifications/{notification}/read", "person")
def read(notification: str, request: Request) -> NotificationOut:
    """Take note of one."""
    return NotificationOut.of(_commands(request).read(notification), caller_of(request).person.login)


def _commands(request: Request) -> NotificationCommands:
    return NotificationCommands(desk_of(request).notices, caller_of(request).person.login)
