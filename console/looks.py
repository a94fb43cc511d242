"""Looking at campaigns again and again: of each, what is new is read, and not all of it each time.

What `overview.look` reads anew is kept in mind here, and brought up to date by what the campaign's chain of the
journal says has happened since. All of it comes from the ledger, and may be forgotten at any time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from athanor.console import overview
from athanor.console.commands.refused import Refused
from athanor.memory.canonical import parse
from athanor.memory.journal import chain_of

if TYPE_CHECKING:
    from athanor.console.overview import Overview
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign, Event, JournalRow

MOST = 40_000
"""Experiments that are kept in mind, of all campaigns together; some kilobytes each."""
TOLD = 60
"""Lines of what happened."""
BEST = "best"
EVENTS = 200
"""Of the last so many, those that are told of."""


class Looks:
    """Looks at the campaigns of a ledger. May be used by several threads."""

    def __init__(self, ledger: Ledger, most: int = MOST) -> None:
        self._ledger = ledger
        self._most = most
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def at(self, campaign_id: str) -> Overview:
        """How a campaign stands, as `overview.look` says it, with the end of its story.

        Raises `NotFound`, and `Refused` where its problem cannot be read.
        """
        with self._guard:
            kept = self._kept.get(campaign_id)
        if kept is None:
            campaign = self._ledger.campaign(campaign_id)
            with self._guard:
                kept = self._kept.setdefault(campaign_id, _Kept(campaign))
        view = kept.read(self._ledger)
        with self._guard:
            if campaign_id in self._kept:
                self._kept.move_to_end(campaign_id)
            while len(self._kept) > 1 and sum(one.size for one in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        # What others take from the same stock is in no chain of this campaign.
        return replace(view, stocks=overview.stocks(self._ledger, view.campaign)) if view.stocks else view


class _Kept:
    """What is kept in mind of one campaign."""

    def __init__(self, campaign: Campaign) -> None:
        from athanor.planners.problem import Problem

        try:
            problem = Problem.model_validate(campaign.problem)
        except ValueError as error:
            raise Refused(f"the problem of {campaign.id} is not one that this release can read: {error}") from error
        self._guard = threading.Lock()
        self._id = campaign.id
        self._experiments: dict[str, Any] = {}
        self._found = overview.Found(problem)
        self._events: deque[Event] = deque(maxlen=TOLD)
        """The last that are told of."""
        self._noted: list[Event] = []
        """The last that says what was best."""
        self._position = 0
        self._pictured: tuple[Any, ...] | None = None
        self._redrawn_at = 0
        self._view: Overview | None = None
        self.size = 0

    def read(self, ledger: Ledger) -> Overview:
        # One at a time: of fifty who ask at once, one reads.
        with self._guard:
            # What is written meanwhile is read now or by the next look, never missed.
            reached = ledger.changes()
            if self._view is None:
                self._experiments = {item.id: item for item in ledger.experiments(self._id)}
                self._noted = ledger.events(self._id, kinds=[BEST], limit=1, newest_first=True)
                latest = ledger.events(self._id, limit=EVENTS, newest_first=True)[::-1]
                self._events = deque(filter(overview.is_told, latest), TOLD)
            elif rows := ledger.journal(chain_of(self._id), self._position):
                self._take(ledger, rows)
                reached = max(reached, rows[-1].position)
            elif not _is_due(self._view):
                self._position = max(self._position, reached)  # else all of the journal since is sought through again
                return self._view
            self._view = self._made(ledger, reached)
            self._position = max(self._position, reached)  # not before: what failed on the way is read again
            return self._view

    def _made(self, ledger: Ledger, reached: int) -> Overview:
        known = self._found.observations
        new = ledger.observations(self._id, since=known[-1].id if known else None)
        try:
            self._found.add(new)
        except BaseException:
            self._found = overview.Found(self._found.problem)  # it may have taken in a part of them
            raise
        events = [*self._noted, *self._events]
        experiments = sorted(self._experiments.values(), key=lambda item: item.ordinal)
        self.size = len(experiments)
        view = overview.view_of(ledger, ledger.campaign(self._id), experiments, self._found, events, TOLD)
        if (pictured := self._what_is_pictured(view)) != self._pictured:
            self._pictured, self._redrawn_at = pictured, reached
        return replace(view, redrawn_at=self._redrawn_at)

    def _take(self, ledger: Ledger, rows: Sequence[JournalRow]) -> None:
        from athanor.memory.records import Event

        changed: set[str] = set()
        known = {event.id for event in self._events}
        for row in rows:
            body = parse(row.body)
            if row.kind == "event" and body["id"] not in known:
                event = Event.model_validate(body)
                if event.kind == BEST:
                    self._noted = [event]
                elif overview.is_told(event):
                    self._events.append(event)
            elif row.kind == "experiment":
                changed.add(str(body["id"]))
            elif row.kind == "experiment_state":
                changed.add(str(body["experiment"]))
        for item in ledger.these_experiments(changed):
            self._experiments[item.id] = item

    def _what_is_pictured(self, view: Overview) -> tuple[Any, ...]:
        """What the pictures of a campaign show: they are the same for as long as this is."""
        used = [
            (item.ordinal, "begun" if item.state in ("dispatched", "running") else item.state)
            for item in view.experiments
            if item.state in overview.SPENT
        ]
        return len(self._found.observations), [best.values for best in view.best], used


def _is_due(view: Overview) -> bool:
    """Whether something that was put off has come back, which is in no journal."""
    now = datetime.now(UTC)
    return any(one.until <= now for one in view.deferred.values())
