"""Alarms: what wants an answer, and what people do with it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import BaseModel, Field

from athanor.console.api.accounts import Asked
from athanor.console.api.campaigns import Reason
from athanor.console.api.door import Door, caller_of, desk_of
from athanor.console.api.paging import After, Limit, Page, page
from athanor.console.commands.alarms import SEEN, AlarmCommands
from athanor.governance.alarm_catalogue import CATALOGUE
from athanor.governance.alarm_figures import figures
from athanor.governance.alarm_history import Entry
from athanor.governance.alarms import (
    LONGEST_SHELVED,
    PRIORITIES,
    STATES,
    Alarm,
    Definition,
    Hidden,
    Priority,
    State,
    Verb,
)

door = Door("alarms")

MOST_HOURS = 30 * 24


class HidingOut(BaseModel):
    """How an alarm is hidden, by whom, why, since and until when. `cause`: the alarm that explains it."""

    how: Hidden
    by: str
    why: str
    since: datetime
    until: datetime | None
    cause: str | None


class AlarmOut(BaseModel):
    """An alarm as it stands, with what its definition says of it.

    `needs_answer`: nobody has acknowledged it, and it is not hidden. `answer_by`: until when the response still helps.
    """

    id: str
    definition: str
    title: str
    subject: str
    instrument: str | None
    simulated: bool
    priority: Priority
    state: State
    is_active: bool
    needs_answer: bool
    detail: str
    consequence: str
    response: str
    respond_s: float
    answer_by: datetime | None
    raised_at: datetime | None
    cleared_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    changed_at: datetime | None
    count: int
    longest_shelved_s: float
    hidden: HidingOut | None

    @classmethod
    def of(cls, alarm: Alarm) -> AlarmOut:
        """As it is shown."""
        defined = CATALOGUE.get(alarm.definition) or _unknown(alarm)
        needs_answer = alarm.state in ("unacknowledged", "returned", "latched_unacknowledged")
        answer_by = None
        if alarm.state == "unacknowledged" and alarm.raised_at is not None:
            answer_by = alarm.raised_at + timedelta(seconds=defined.respond_s)
        own = {name: getattr(alarm, name) for name in cls.model_fields if hasattr(alarm, name) and name != "hidden"}
        return cls(
            **own,
            title=defined.title,
            consequence=defined.consequence,
            response=defined.response,
            respond_s=defined.respond_s,
            needs_answer=needs_answer,
            answer_by=answer_by,
            longest_shelved_s=LONGEST_SHELVED[alarm.priority].total_seconds(),
            hidden=None if alarm.hidden is None else HidingOut(**asdict(alarm.hidden)),
        )


class DefinitionOut(BaseModel):
    """A line of the catalogue. Times in seconds; `suppressed_by`: definitions that explain it while they are active."""

    id: str
    title: str
    priority: Priority
    consequence: str
    response: str
    respond_s: float
    on_delay_s: float
    off_delay_s: float
    latches: bool
    suppressed_by: list[str]
    longest_shelved_s: float


class EntryOut(BaseModel):
    """One line of the history: what became of which alarm, by whom (`athanor`: by nobody), why, and its state then."""

    id: str
    alarm: str
    definition: str
    subject: str
    priority: Priority
    verb: Verb
    state: State
    by: str
    why: str
    at: datetime
    until: datetime | None
    detail: str

    @classmethod
    def of(cls, entry: Entry) -> EntryOut:
        """As it is shown."""
        return cls(**{name: getattr(entry, name) for name in cls.model_fields})


class FloodOut(BaseModel):
    """A time with more new alarms than a person can answer; `worst`: the most within ten minutes."""

    began: datetime
    ended: datetime
    count: int
    worst: int


class FiguresOut(BaseModel):
    """How the alarms did between two moments.

    `per_hour`: new ones; `standing`: active for more than a day; `is_flood`: more than ten came in the last ten
    minutes; `shares`: of the new ones, by priority; `chattering`: three times or more within a minute.
    """

    since: datetime
    until: datetime
    raised: int
    per_hour: float
    worst_ten_minutes: int
    standing: list[str]
    floods: list[FloodOut]
    is_flood: bool
    most_frequent: list[tuple[str, int]]
    chattering: list[str]
    shares: dict[Priority, float]


class Acknowledging(Asked):
    """What whoever acknowledges has to say, if anything."""

    reason: Annotated[str, Field(min_length=1, max_length=2000)] = SEEN


class Why(Asked):
    """Why."""

    reason: Reason


class Shelving(Why):
    """Why, and for how long."""

    lasts_s: Annotated[float, Field(gt=0, le=72 * 3600)]


@door.on("GET", "/alarms", "read")
def alarms(
    request: Request,
    state: Annotated[list[State] | None, Query(description="Only those in these states.")] = None,
    priority: Annotated[list[Priority] | None, Query(description="Only those of these priorities.")] = None,
    definition: Annotated[str | None, Query(max_length=200, description="Only those of this definition.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[AlarmOut]:
    """Alarms, those that need an answer first, the most urgent and newest of them before others."""
    found = [
        alarm
        for alarm in desk_of(request).alarms.all()
        if (state is None or alarm.state in state)
        and (priority is None or alarm.priority in priority)
        and (definition is None or alarm.definition == definition)
    ]
    found.sort(key=_urgency)
    cut = page(found, limit, after, lambda alarm: alarm.id)
    return Page(items=[AlarmOut.of(alarm) for alarm in cut.items], next=cut.next)


@door.on("GET", "/alarms/{alarm_id}", "read")
def alarm(alarm_id: str, request: Request) -> AlarmOut:
    """One alarm."""
    return AlarmOut.of(desk_of(request).alarms.one(alarm_id))


@door.on("GET", "/alarms/{alarm_id}/history", "read")
def history(alarm_id: str, request: Request, limit: Limit = 100, after: After = None) -> Page[EntryOut]:
    """What happened to one alarm, the newest first."""
    found = desk_of(request).alarms
    found.one(alarm_id)
    return _entries(found.history(alarm_id), limit, after)


@door.on("GET", "/alarm-history", "read")
def everything(request: Request, limit: Limit = 100, after: After = None) -> Page[EntryOut]:
    """What happened to all alarms, the newest first."""
    return _entries(desk_of(request).alarms.history(), limit, after)


@door.on("GET", "/alarm-definitions", "read")
def definitions(limit: Limit = 100, after: After = None) -> Page[DefinitionOut]:
    """The catalogue: every alarm there can be, and what to do about it."""
    shown = [_defined(one) for one in CATALOGUE.values()]
    return page(shown, limit, after, lambda line: line.id)


@door.on("GET", "/alarm-figures", "read")
def alarm_figures(
    request: Request,
    hours: Annotated[float, Query(gt=0, le=MOST_HOURS, description="Of the last so many hours.")] = 24.0,
) -> FiguresOut:
    """How the alarms did: how many, how fast, which again and again."""
    desk = desk_of(request)
    until = desk.ledger.now()
    found = figures(desk.alarms.history(), desk.alarms.all(), until - timedelta(hours=hours), until)
    return FiguresOut.model_validate(asdict(found))


@door.on("POST", "/alarms/{alarm_id}/acknowledge", "alarm.respond")
def acknowledge(alarm_id: str, request: Request, asked: Acknowledging | None = None) -> AlarmOut:
    """Say that you have seen it and see to it."""
    return AlarmOut.of(_commands(request).acknowledge(alarm_id, (asked or Acknowledging()).reason))


@door.on("POST", "/alarms/{alarm_id}/reset", "alarm.respond")
def reset(alarm_id: str, asked: Why, request: Request) -> AlarmOut:
    """End one that stays though its condition has gone."""
    return AlarmOut.of(_commands(request).reset(alarm_id, asked.reason))


@door.on("POST", "/alarms/{alarm_id}/shelve", "alarm.respond")
def shelve(alarm_id: str, asked: Shelving, request: Request) -> AlarmOut:
    """Put it aside for a time: an hour at most if it is critical, 8 h if high, 24 h if medium, 72 h if low."""
    return AlarmOut.of(_commands(request).shelve(alarm_id, timedelta(seconds=asked.lasts_s), asked.reason))


@door.on("POST", "/alarms/{alarm_id}/unshelve", "alarm.respond")
def unshelve(alarm_id: str, asked: Why, request: Request) -> AlarmOut:
    """Show it again before its time."""
    return AlarmOut.of(_commands(request).unshelve(alarm_id, asked.reason))


@door.on("POST", "/alarms/{alarm_id}/suppress", "alarm.suppress")
def suppress(alarm_id: str, asked: Why, request: Request) -> AlarmOut:
    """Suppress it by design, until somebody says otherwise."""
    return AlarmOut.of(_commands(request).suppress(alarm_id, asked.reason))


@door.on("POST", "/alarms/{alarm_id}/unsuppress", "alarm.suppress")
def unsuppress(alarm_id: str, asked: Why, request: Request) -> AlarmOut:
    """Show it again. What another alarm explains is shown when that one ends."""
    return AlarmOut.of(_commands(request).unsuppress(alarm_id, asked.reason))


@door.on("POST", "/alarms/{alarm_id}/remove-from-service", "alarm.suppress")
def remove(alarm_id: str, asked: Why, request: Request) -> AlarmOut:
    """Take it out of service, as while its sensor is repaired."""
    return AlarmOut.of(_commands(request).remove(alarm_id, asked.reason))


@door.on("POST", "/alarms/{alarm_id}/return-to-service", "alarm.suppress")
def restore(alarm_id: str, asked: Why, request: Request) -> AlarmOut:
    """Put it back into service."""
    return AlarmOut.of(_commands(request).restore(alarm_id, asked.reason))


def _commands(request: Request) -> AlarmCommands:
    return AlarmCommands(desk_of(request).alarms, caller_of(request).person.login)


def _entries(found: list[Entry], limit: int, after: str | None) -> Page[EntryOut]:
    cut = page(found[::-1], limit, after, lambda entry: entry.id)
    return Page(items=[EntryOut.of(entry) for entry in cut.items], next=cut.next)


def _urgency(alarm: Alarm) -> tuple[Any, ...]:
    at = alarm.raised_at or alarm.changed_at
    return STATES.index(alarm.state), PRIORITIES.index(alarm.priority), 0.0 if at is None else -at.timestamp(), alarm.id


def _defined(one: Definition) -> DefinitionOut:
    fields = {**asdict(one), "suppressed_by": list(one.suppressed_by)}
    return DefinitionOut(**fields, longest_shelved_s=LONGEST_SHELVED[one.priority].total_seconds())


def _unknown(alarm: Alarm) -> Definition:
    """What is said of an alarm that this release does not know."""
    return Definition(
        alarm.definition,
        alarm.definition,
        alarm.priority,
        "This release does not know this alarm.",
        "Read its history.",
        3600.0,
    )
