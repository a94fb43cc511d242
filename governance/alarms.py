"""Alarms: what wants a person's answer, from its first sign to the end, as one line of events of the site.

The states and their changes are those of ANSI/ISA-18.2 and IEC 62682 (OPC UA part 9 uses the same). An alarm is one
definition about one subject, such as `stop-all.engaged` of one instrument. Three things of it are kept apart: whether
its condition holds, whether somebody has acknowledged it, and whether it is hidden, for a time (shelved), for as long
as something else explains it (suppressed by design), or out of service. One that is hidden is still followed, and comes
back as a new one if its condition holds when it is shown again.

Here is what may follow what, without clock or file; `athanor.governance.alarm_history` keeps what came of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, get_args

CLOCK = "athanor"
"""Who did what no person did: the condition came or went, a time ran out."""

Priority = Literal["critical", "high", "medium", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
State = Literal[
    "unacknowledged",
    "latched_unacknowledged",
    "returned",
    "acknowledged",
    "latched_acknowledged",
    "shelved",
    "suppressed",
    "out_of_service",
    "normal",
]
STATES: tuple[State, ...] = get_args(State)
"""In the order in which they want somebody's eye."""
Hidden = Literal["shelved", "suppressed", "out_of_service"]
Verb = Literal[
    "raised",
    "cleared",
    "acknowledged",
    "reset",
    "shelved",
    "unshelved",
    "suppressed",
    "unsuppressed",
    "removed",
    "restored",
]
VERBS: tuple[Verb, ...] = get_args(Verb)

LONGEST_SHELVED: Mapping[Priority, timedelta] = {
    "critical": timedelta(hours=1),
    "high": timedelta(hours=8),
    "medium": timedelta(hours=24),
    "low": timedelta(hours=72),
}
"""How long each may be shelved: the more urgent, the sooner it is looked at again."""

HIDES: Mapping[Verb, Hidden] = {"shelved": "shelved", "suppressed": "suppressed", "removed": "out_of_service"}
SHOWS: Mapping[Verb, Hidden] = {"unshelved": "shelved", "unsuppressed": "suppressed", "restored": "out_of_service"}
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


class IllegalAct(Exception):
    """A change that an alarm's state does not allow; the message says why, `remedy` what to do instead."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Definition:
    """One line of the catalogue: what the alarm means and what is to be done.

    Attributes:
        id: stable; alarms of all times are found by it.
        title: what it is, in a few words.
        priority: how soon somebody must act, and how bad it is if nobody does.
        consequence: what happens if nobody does anything.
        response: what to do.
        respond_s: seconds within which the response still helps.
        on_delay_s, off_delay_s: seconds for which the condition must hold, or be gone, before the alarm says so.
        latches: whether it stays until a person resets it, though its condition has gone.
        suppressed_by: definitions that explain it: while one of them is active for its instrument, it is not shown.
    """

    id: str
    title: str
    priority: Priority
    consequence: str
    response: str
    respond_s: float
    on_delay_s: float = 0.0
    off_delay_s: float = 10.0
    latches: bool = False
    suppressed_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Condition:
    """Something that is so now.

    Attributes:
        definition: the definition it belongs to.
        subject: what it is about: an instrument, a campaign, an experiment, a stock, or `site`.
        detail: in a sentence, with what a person needs to know.
        since: since when, where that is known.
        occurrence: what tells this time from another one, such as the count of a latch: another occurrence is another
            alarm, though nobody saw the one before end.
        instrument: which one it is on, if on one.
        simulated: whether that is a simulated one; what cannot be told is real.
    """

    definition: str
    subject: str
    detail: str
    since: datetime | None = None
    occurrence: str = ""
    instrument: str | None = None
    simulated: bool = False

    @property
    def alarm_id(self) -> str:
        """The id of the alarm that it is the condition of."""
        return alarm_id(self.definition, self.subject)


@dataclass(frozen=True)
class Hiding:
    """How an alarm is hidden, by whom, why, since and until when. `cause`: the alarm that explains it."""

    how: Hidden
    by: str
    why: str
    since: datetime
    until: datetime | None = None
    cause: str | None = None


@dataclass(frozen=True)
class Alarm:
    """One definition about one subject, as it stands."""

    id: str
    definition: str
    subject: str
    priority: Priority = "medium"
    latches: bool = False
    instrument: str | None = None
    simulated: bool = False
    is_active: bool = False
    is_acknowledged: bool = True
    is_latched: bool = False
    hidden: Hiding | None = None
    detail: str = ""
    occurrence: str = ""
    raised_at: datetime | None = None
    cleared_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    changed_at: datetime | None = None
    count: int = 0
    """How often it was raised."""

    @property
    def state(self) -> State:
        """What it is shown as."""
        if self.hidden is not None:
            return self.hidden.how
        if self.is_active:
            return "acknowledged" if self.is_acknowledged else "unacknowledged"
        if self.is_latched:
            return "latched_acknowledged" if self.is_acknowledged else "latched_unacknowledged"
        return "normal" if self.is_acknowledged else "returned"


@dataclass(frozen=True)
class Act:
    """What happens to an alarm, by whom, why and when. The rest belongs to some verbs alone."""

    verb: Verb
    by: str
    why: str
    at: datetime
    until: datetime | None = None
    cause: str | None = None
    condition: Condition | None = None


def alarm_id(definition: str, subject: str) -> str:
    """Return the id of the alarm of a definition about a subject: the same always, and fit for a path."""
    if _PLAIN.fullmatch(subject):
        return f"{definition}~{subject}"
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", subject).strip("-.")[:40]
    return f"{definition}~{slug}-{hashlib.sha256(subject.encode('utf-8', 'replace')).hexdigest()[:10]}"


def step(alarm: Alarm, act: Act) -> Alarm:
    """Return the alarm after an act. Raises `IllegalAct` for one that its state does not allow."""
    check(alarm, act)
    return apply(alarm, act)


def check(alarm: Alarm, act: Act) -> None:
    """Return if the alarm's state allows an act. Raises `IllegalAct`."""
    if not act.by.strip() or not act.why.strip():
        raise IllegalAct("say who does this, and why", "Give a reason: it is kept in the record.")
    if act.verb == "raised":
        if act.condition is None:
            raise IllegalAct(f"{alarm.id} cannot be raised without its condition")
        if alarm.is_active and alarm.occurrence == act.condition.occurrence:
            raise IllegalAct(f"{alarm.id} is active already, since {_when(alarm.raised_at)}")
    elif act.verb == "cleared":
        if not alarm.is_active:
            raise IllegalAct(f"{alarm.id} is not active")
    elif act.verb in HIDES:
        _check_hiding(alarm, act)
    elif act.verb in SHOWS:
        _check_showing(alarm, act)
    elif alarm.hidden is not None:
        raise IllegalAct(f"{alarm.id} is {_in_words(alarm.hidden)}", "Show it again first.")
    elif act.verb == "acknowledged":
        if alarm.is_acknowledged and alarm.state == "normal":
            raise IllegalAct(f"{alarm.id} is normal: there is nothing to acknowledge")
        if alarm.is_acknowledged:
            raise IllegalAct(f"{alarm.id} was acknowledged already, by {alarm.acknowledged_by}")
    else:
        _check_reset(alarm)


def _check_hiding(alarm: Alarm, act: Act) -> None:
    if alarm.hidden is not None:
        raise IllegalAct(f"{alarm.id} is {_in_words(alarm.hidden)} already", "End that first.")
    if act.verb != "shelved":
        return
    longest = LONGEST_SHELVED[alarm.priority]
    if act.until is None or act.until <= act.at:
        raise IllegalAct("an alarm is shelved until a time to come", "Say for how long.")
    if act.until - act.at > longest:
        hours = longest.total_seconds() / 3600
        raise IllegalAct(
            f"an alarm of priority {alarm.priority} is shelved for {hours:g} h at most",
            "Shelve it for less, or have it taken out of service.",
        )


def _check_showing(alarm: Alarm, act: Act) -> None:
    how = SHOWS[act.verb]
    if alarm.hidden is None or alarm.hidden.how != how:
        raise IllegalAct(f"{alarm.id} is not {_WORDS[how]}: it is {alarm.state.replace('_', ' ')}")
    if alarm.hidden.cause is not None and act.by != CLOCK:
        raise IllegalAct(
            f"{alarm.id} is suppressed for as long as {alarm.hidden.cause} is active", "See to that one first."
        )


def _check_reset(alarm: Alarm) -> None:
    if not alarm.is_latched:
        raise IllegalAct(f"{alarm.id} is not latched: it ends by itself when its condition has gone")
    if alarm.is_active:
        raise IllegalAct(f"{alarm.id} is still active", "Put right what it says first.")
    if not alarm.is_acknowledged:
        raise IllegalAct(f"{alarm.id} has not been acknowledged", "Acknowledge it first.")


def apply(alarm: Alarm, act: Act) -> Alarm:
    """Return the alarm after an act that was done, whether or not today's rules would allow it."""
    alarm = replace(alarm, changed_at=act.at)
    if act.verb == "raised":
        return _raised(alarm, act)
    if act.verb == "cleared":
        return replace(alarm, is_active=False, cleared_at=act.at)
    if act.verb in HIDES:
        return replace(alarm, hidden=Hiding(HIDES[act.verb], act.by, act.why, act.at, act.until, act.cause))
    if act.verb in SHOWS:
        return _shown(alarm)
    if act.verb == "acknowledged":
        return replace(alarm, is_acknowledged=True, acknowledged_at=act.at, acknowledged_by=act.by)
    return replace(alarm, is_latched=False)


def _raised(alarm: Alarm, act: Act) -> Alarm:
    found = act.condition
    assert found is not None
    return replace(
        alarm,
        is_active=True,
        is_acknowledged=False,
        is_latched=alarm.latches,
        instrument=found.instrument,
        simulated=found.simulated,
        detail=found.detail,
        occurrence=found.occurrence,
        raised_at=act.at,
        cleared_at=None,
        acknowledged_at=None,
        acknowledged_by=None,
        count=alarm.count + 1,
    )


def _shown(alarm: Alarm) -> Alarm:
    # Whoever hid it has seen what was there; what holds now has to be seen anew.
    is_there = alarm.is_active or alarm.is_latched
    return replace(
        alarm,
        hidden=None,
        is_acknowledged=not is_there,
        acknowledged_at=None if is_there else alarm.acknowledged_at,
        acknowledged_by=None if is_there else alarm.acknowledged_by,
    )


_WORDS: Mapping[Hidden, str] = {
    "shelved": "shelved",
    "suppressed": "suppressed by design",
    "out_of_service": "out of service",
}


def _in_words(hidden: Hiding) -> str:
    until = "" if hidden.until is None else f" until {_when(hidden.until)}"
    return f"{_WORDS[hidden.how]}{until}, by {hidden.by} ({hidden.why})"


def _when(at: datetime | None) -> str:
    return "a time unknown" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"
