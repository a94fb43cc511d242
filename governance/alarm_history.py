"""The alarms of a site as they stand, kept as events of its journal."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from athanor.governance.alarms import (
    CLOCK,
    PRIORITIES,
    SHOWS,
    VERBS,
    Act,
    Alarm,
    Condition,
    Definition,
    IllegalAct,
    Priority,
    State,
    Verb,
    apply,
    step,
)
from athanor.memory.canonical import time_text
from athanor.memory.errors import LedgerBusy, NotFound, Overtaken
from athanor.memory.records import storable
from athanor.memory.tail import Tail

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Event

log = logging.getLogger(__name__)

KIND = "alarm"
ATTEMPTS = 50


@dataclass(frozen=True)
class Entry:
    """One line of an alarm's history."""

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
    was_shown: bool
    """Whether it was put before people: raised, and not hidden."""


@dataclass
class _Told:
    """Everything that the events say, up to the last one read."""

    newest: str | None = None
    """The id of the last event, whether or not it could be read."""
    alarms: dict[str, Alarm] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


class Alarms:
    """The alarms of one site, kept as events of its journal. For any thread and any number of processes.

    Each change is written only if nothing was added to the history since it was read, so that of two who do the same
    one is told that it was done already.

    Args:
        ledger: where they are kept.
        catalogue: the definitions, by id.
    """

    def __init__(self, ledger: Ledger, catalogue: Mapping[str, Definition]) -> None:
        self._ledger = ledger
        self.catalogue = catalogue
        self._guard = threading.Lock()
        self._told = _Told()
        self._tail = Tail(ledger, KIND)

    def all(self) -> list[Alarm]:
        """Return every alarm that there ever was, in the order of its first time."""
        with self._guard:
            return list(self._read().alarms.values())

    def one(self, identifier: str) -> Alarm:
        """Return an alarm. Raises `NotFound`."""
        with self._guard:
            found = self._read().alarms.get(identifier)
        if found is None:
            raise NotFound(KIND, identifier)
        return found

    def history(self, identifier: str | None = None) -> list[Entry]:
        """Return what happened to one alarm, or to all, in order."""
        with self._guard:
            return [entry for entry in self._read().entries if identifier in (None, entry.alarm)]

    # -- what the conditions do ----------------------------------------------------------------------------------------

    def raise_(self, condition: Condition, why: str | None = None) -> Alarm | None:
        """Raise the alarm of a condition; None if it is active already."""
        return self._quietly(condition.alarm_id, "raised", why or condition.detail, condition=condition)

    def clear(self, identifier: str, why: str = "its condition has gone") -> Alarm | None:
        """Say that the condition has gone; None if that was said already."""
        return self._quietly(identifier, "cleared", why)

    def explain(self, condition: Condition, cause: str) -> Alarm | None:
        """Suppress an alarm for as long as another one explains it; None if it is hidden already."""
        return self._quietly(condition.alarm_id, "suppressed", f"{cause} explains it", cause=cause, condition=condition)

    def unexplain(self, identifier: str) -> Alarm | None:
        """Show an alarm again that nothing explains any more; None if it is shown."""
        return self._quietly(identifier, "unsuppressed", "what explained it has gone")

    def expire(self) -> list[Alarm]:
        """Show again what was shelved for long enough."""
        now, done = self._ledger.now(), []
        for alarm in self.all():
            if _is_over(alarm, now):
                done.append(self._quietly(alarm.id, "unshelved", "its time has run out", only=_is_over))
        return [alarm for alarm in done if alarm is not None]

    def _quietly(self, identifier: str, verb: Verb, why: str, **more: Any) -> Alarm | None:
        """What another process may have done meanwhile is no error."""
        try:
            return self._do(identifier, verb, CLOCK, why, **more)
        except IllegalAct:
            return None

    # -- what people do ------------------------------------------------------------------------------------------------

    def act(self, identifier: str, verb: Verb, by: str, why: str, lasts: timedelta | None = None) -> Alarm:
        """Do something to an alarm in a person's name; the alarm afterwards.

        Raises:
            NotFound: there never was such an alarm.
            IllegalAct: its state does not allow it.
            ValueError: not for people to do.
        """
        if verb in ("raised", "cleared"):
            raise ValueError(f"no person says that an alarm is {verb}")
        if _is_over(self.one(identifier), self._ledger.now()):
            self._quietly(identifier, "unshelved", "its time has run out", only=_is_over)
        return self._do(identifier, verb, by, why, lasts=lasts)

    def _do(
        self,
        identifier: str,
        verb: Verb,
        by: str,
        why: str,
        *,
        lasts: timedelta | None = None,
        cause: str | None = None,
        condition: Condition | None = None,
        only: Callable[[Alarm, datetime], bool] = lambda alarm, now: True,
    ) -> Alarm:
        for _ in range(ATTEMPTS):
            with self._guard:
                told = self._read()
                newest, before = told.newest, told.alarms.get(identifier)
            if before is None:
                if condition is None:
                    raise NotFound(KIND, identifier)
                before = self._new(condition)
            elif verb == "raised":
                before = self._as_defined(before)
            at = self._ledger.now()
            if not only(before, at):
                raise IllegalAct(f"{identifier} has changed meanwhile")
            until = None if lasts is None else at + lasts
            act = Act(verb, storable(by.strip()), storable(why.strip())[:2000], at, until, cause, condition)
            after = step(before, act)
            try:
                self._ledger.add_event_after(KIND, _body(after, act), newest)
            except Overtaken:
                continue
            return self.one(identifier)
        raise LedgerBusy(f"{identifier}: others write faster than this can be done; try again")

    def _new(self, condition: Condition) -> Alarm:
        identifier = condition.alarm_id
        return self._as_defined(
            Alarm(
                id=identifier,
                definition=condition.definition,
                subject=condition.subject,
                instrument=condition.instrument,
                simulated=condition.simulated,
            )
        )

    def _as_defined(self, alarm: Alarm) -> Alarm:
        """With priority and latching as the catalogue has them now; what is told already keeps its own."""
        found = self.catalogue.get(alarm.definition)
        return alarm if found is None else replace(alarm, priority=found.priority, latches=found.latches)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self) -> _Told:
        told = self._told
        for event in self._tail.new():
            try:
                _tell(told, event)
            except (KeyError, TypeError, ValueError) as error:
                log.warning("event %s says nothing that can be true of an alarm: %s", event.id, error)
            told.newest = event.id
        return told


def _is_over(alarm: Alarm, now: datetime) -> bool:
    return alarm.hidden is not None and alarm.hidden.until is not None and alarm.hidden.until <= now


def _body(after: Alarm, act: Act) -> dict[str, Any]:
    """What the event says: enough to know the alarm again without the catalogue of that day."""
    return {
        "alarm": after.id,
        "definition": after.definition,
        "subject": after.subject,
        "priority": after.priority,
        "latches": after.latches,
        "instrument": after.instrument,
        "simulated": after.simulated,
        "verb": act.verb,
        "state": after.state,
        "by": act.by,
        "why": act.why,
        "until": None if act.until is None else time_text(act.until),
        "cause": act.cause,
        "detail": after.detail,
        "occurrence": after.occurrence,
    }


def _tell(told: _Told, event: Event) -> None:
    body = event.body
    identifier, verb = str(body["alarm"]), body["verb"]
    if verb not in VERBS or body["priority"] not in PRIORITIES:
        raise ValueError(f"{verb!r}, {body['priority']!r}")
    condition = Condition(
        definition=str(body["definition"]),
        subject=str(body["subject"]),
        detail=str(body["detail"]),
        occurrence=str(body["occurrence"]),
        instrument=body["instrument"],
        simulated=bool(body["simulated"]),
    )
    before = told.alarms.get(identifier) or Alarm(
        id=identifier,
        definition=condition.definition,
        subject=condition.subject,
        instrument=condition.instrument,
        simulated=condition.simulated,
    )
    before = replace(before, priority=body["priority"], latches=bool(body["latches"]))
    until = None if body["until"] is None else datetime.fromisoformat(str(body["until"]))
    act = Act(verb, str(body["by"]), str(body["why"]), event.created_at, until, body["cause"], condition)
    after = apply(before, act)
    told.alarms[identifier] = after
    told.entries.append(
        Entry(
            id=event.id,
            alarm=identifier,
            definition=after.definition,
            subject=after.subject,
            priority=after.priority,
            verb=verb,
            state=after.state,
            by=act.by,
            why=act.why,
            at=event.created_at,
            until=until,
            detail=after.detail if verb == "raised" else "",
            was_shown=after.state == "unacknowledged" and verb in ("raised", *SHOWS),
        )
    )
