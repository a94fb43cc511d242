"""What was told: every notification with its tries, as the journal's events say. Nothing of it is kept anywhere else.

Four kinds of events. `notification`: something is to be told. `notification_step`: more people are to be told of it.
`notification_try`: it is about to be sent, written before it is sent. `notification_end`: what came of a try.
`notification_read`: somebody has taken note. `notification_over`: it is no news any more. `notification_seen`: how far
the journal was looked at.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from athanor.memory.records import storable
from athanor.memory.tail import Tail

if TYPE_CHECKING:
    from athanor.console.notify.happenings import Happening
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Event

log = logging.getLogger(__name__)

KINDS = (
    "notification",
    "notification_step",
    "notification_try",
    "notification_end",
    "notification_read",
    "notification_over",
    "notification_seen",
)
MOST = 2000
"""So many notifications are remembered; of those that are over the oldest go first."""
LONGEST_TEXT = 2000
TOLD = "it was told"
"""Why something is over that does not last: nothing is left to be done, and it is news to whoever has not seen it."""


@dataclass(frozen=True)
class Try:
    """How far sending to one target has come."""

    attempt: int
    at: datetime
    is_ended: bool = False
    """Whether it is known what came of it."""
    is_done: bool = False
    """Whether it arrived, or never will."""
    error: str = ""


@dataclass(frozen=True)
class Step:
    """Whom to tell, since when."""

    number: int
    to: tuple[str, ...]
    webhooks: tuple[str, ...]
    at: datetime


@dataclass(frozen=True)
class Notification:
    """Something that was, or is to be, told."""

    id: str
    rule: str
    key: str
    group: str
    what: str
    title: str
    text: str
    detail: str
    path: str
    campaign_id: str | None
    by: tuple[str, ...]
    urgent: bool
    lasts: bool
    position: int | None
    """Its row of the journal; None for what was found by looking."""
    since: datetime
    """When it happened."""
    at: datetime
    """When it was written down."""
    not_before: datetime
    steps: tuple[Step, ...]
    tries: Mapping[str, Try] = field(default_factory=dict)
    """By target: step, channel and whom or what, such as `0:email:ada`."""
    read_by: Mapping[str, datetime] = field(default_factory=dict)
    over: str | None = None
    """Why it is no news any more; None while it is."""

    @property
    def told(self) -> frozenset[str]:
        """Everybody who is to be told so far."""
        return frozenset(login for step in self.steps for login in step.to)


@dataclass
class _Known:
    notifications: OrderedDict[str, Notification] = field(default_factory=OrderedDict)
    keys: OrderedDict[tuple[str, str], str] = field(default_factory=OrderedDict)
    groups: OrderedDict[tuple[str, str], str] = field(default_factory=OrderedDict)
    """The newest notification of each rule and group."""
    mails: dict[str, list[datetime]] = field(default_factory=dict)
    seen: int | None = None


class Board:
    """The notifications of one site. For any thread; several processes may each have one."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._guard = threading.Lock()
        self._tail = Tail(ledger, *KINDS)
        self._known = _Known()

    # -- reading -------------------------------------------------------------------------------------------------------

    def open(self) -> list[Notification]:
        """What is still news, the oldest first."""
        return [one for one in self._all() if one.over is None]

    def of(self, login: str) -> list[Notification]:
        """What somebody was told, the newest first; what is held back until later is not told yet."""
        now = self._ledger.now()
        return [one for one in reversed(self._all()) if login in one.told and one.not_before <= now]

    def one(self, identifier: str) -> Notification | None:
        """A notification that is remembered."""
        with self._guard:
            return self._read().notifications.get(identifier)

    def is_told(self, rule: str, key: str) -> bool:
        """Whether a rule has told of this."""
        with self._guard:
            return (rule, key) in self._read().keys

    def newest(self, rule: str, group: str) -> Notification | None:
        """The last that a rule has told of this group."""
        with self._guard:
            known = self._read()
            return known.notifications.get(known.groups.get((rule, group), ""))

    def seen(self) -> int | None:
        """How far the journal was looked at; None when it never was."""
        with self._guard:
            return self._read().seen

    def mails_since(self, login: str, since: datetime) -> int:
        """How many mails were sent to somebody, or may have been."""
        with self._guard:
            return sum(1 for at in self._read().mails.get(login, []) if at >= since)

    def _all(self) -> list[Notification]:
        with self._guard:
            return list(self._read().notifications.values())

    # -- writing -------------------------------------------------------------------------------------------------------

    def tell(
        self,
        rule: str,
        group: str,
        one: Happening,
        *,
        to: tuple[str, ...],
        webhooks: tuple[str, ...],
        by: tuple[str, ...],
        urgent: bool,
        not_before: datetime,
        seen: int,
    ) -> None:
        """Write down that something is to be told."""
        body = {
            "rule": rule,
            "key": one.key,
            "group": group,
            "what": one.what,
            "title": storable(one.title)[:200],
            "text": storable(one.text)[:LONGEST_TEXT],
            "detail": storable(one.detail)[:LONGEST_TEXT],
            "path": one.path,
            "campaign": one.campaign_id,
            "by": list(by),
            "urgent": urgent,
            "lasts": one.lasts,
            "position": one.position,
            "since": one.at.isoformat(),
            "not_before": not_before.isoformat(),
            "to": list(to),
            "webhooks": list(webhooks),
            "seen": seen,
        }
        self._write("notification", body)

    def step(self, one: Notification, number: int, to: tuple[str, ...], webhooks: tuple[str, ...]) -> None:
        """Write down that more people are to be told."""
        self._write(
            "notification_step",
            {"notification": one.id, "step": number, "to": list(to), "webhooks": list(webhooks)},
        )

    def attempt(self, one: Notification, target: str, attempt: int) -> None:
        """Write down that something is about to be sent."""
        self._write("notification_try", {"notification": one.id, "target": target, "attempt": attempt})

    def ended(self, identifier: str, target: str, attempt: int, *, is_done: bool, error: str = "") -> None:
        """Write down what came of it."""
        body = {"notification": identifier, "target": target, "attempt": attempt, "done": is_done}
        self._write("notification_end", {**body, "error": storable(error)[:500]})

    def read(self, some: Iterable[Notification], login: str) -> None:
        """Write down that somebody has taken note; once is enough."""
        if unread := [one.id for one in some if login not in one.read_by]:
            self._write("notification_read", {"notifications": unread, "login": login})

    def over(self, one: Notification, why: str) -> None:
        """Write down that it is no news any more."""
        self._write("notification_over", {"notification": one.id, "why": why})

    def saw(self, position: int) -> None:
        """Write down how far the journal was looked at."""
        self._write("notification_seen", {"seen": position})

    def _write(self, kind: str, body: dict[str, Any]) -> None:
        self._ledger.add_event(None, kind, body)

    # -- what the events say -------------------------------------------------------------------------------------------

    def _read(self) -> _Known:
        for event in self._tail.new():
            try:
                self._take(event)
            except (KeyError, TypeError, ValueError) as error:
                log.warning("event %s says nothing that can be true of a notification: %s", event.id, error)
        return self._known

    def _take(self, event: Event) -> None:
        known, body = self._known, event.body
        if event.kind == "notification_seen":
            known.seen = max(known.seen or 0, int(body["seen"]))
            return
        if event.kind == "notification":
            made = _made(event)
            known.notifications[made.id] = made
            _put(known.keys, (made.rule, made.key), made.id)
            _put(known.groups, (made.rule, made.group), made.id)
            known.seen = max(known.seen or 0, int(body["seen"]))
            self._forget()
            return
        for identifier in body["notifications"] if event.kind == "notification_read" else [body["notification"]]:
            one = known.notifications.get(str(identifier))
            if one is not None:
                known.notifications[one.id] = self._changed(one, event)

    def _changed(self, one: Notification, event: Event) -> Notification:
        body, at = event.body, event.created_at
        if event.kind == "notification_step":
            step = Step(int(body["step"]), tuple(body["to"]), tuple(body["webhooks"]), at)
            return one if any(s.number == step.number for s in one.steps) else replace(one, steps=(*one.steps, step))
        if event.kind == "notification_try":
            target = str(body["target"])
            if ":email:" in target:
                mails = self._known.mails.setdefault(target.split(":", 2)[2], [])
                mails.append(at)
                del mails[:-1000]
            return replace(one, tries={**one.tries, target: Try(int(body["attempt"]), at)})
        if event.kind == "notification_end":
            target, attempt = str(body["target"]), int(body["attempt"])
            began = one.tries.get(target)
            ended = Try(attempt, at if began is None else began.at, True, bool(body["done"]), str(body["error"]))
            return replace(one, tries={**one.tries, target: ended})
        if event.kind == "notification_read":
            return replace(one, read_by={str(body["login"]): at, **one.read_by})
        return replace(one, over=one.over or str(body["why"]))

    def _forget(self) -> None:
        known = self._known.notifications
        if len(known) <= MOST:
            return
        gone = [identifier for identifier, one in known.items() if one.over is not None][: len(known) - MOST]
        for identifier in gone or list(known)[: len(known) - 2 * MOST]:
            del known[identifier]


def _put(index: OrderedDict[tuple[str, str], str], key: tuple[str, str], identifier: str) -> None:
    index[key] = identifier
    index.move_to_end(key)
    while len(index) > 10 * MOST:
        index.popitem(last=False)


def _made(event: Event) -> Notification:
    body = event.body
    first = Step(0, tuple(body["to"]), tuple(body["webhooks"]), event.created_at)
    return Notification(
        id=event.id,
        rule=str(body["rule"]),
        key=str(body["key"]),
        group=str(body["group"]),
        what=str(body["what"]),
        title=str(body["title"]),
        text=str(body["text"]),
        detail=str(body["detail"]),
        path=str(body["path"]),
        campaign_id=body["campaign"],
        by=tuple(body["by"]),
        urgent=bool(body["urgent"]),
        lasts=bool(body["lasts"]),
        position=body["position"],
        since=datetime.fromisoformat(body["since"]),
        at=event.created_at,
        not_before=datetime.fromisoformat(body["not_before"]),
        steps=(first,),
    )
