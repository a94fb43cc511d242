"""The end of the site's chain: events of some kinds, each once, as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from athanor.memory.canonical import parse
from athanor.memory.journal import SITE
from athanor.memory.records import Event

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger


class Tail:
    """Gives the site's events of some kinds: first all there are, then those that have come since.

    Looking again costs what is new, not what is there. For one thread at a time.
    """

    def __init__(self, ledger: Ledger, *kinds: str) -> None:
        self._ledger = ledger
        self._kinds = kinds
        self._position: int | None = None
        self._first: set[str] = set()

    def new(self) -> list[Event]:
        """Return the events that have not been returned yet, in order."""
        newest = self._ledger.changes()
        if self._position is None:
            found = [event for event in self._ledger.events(kinds=self._kinds) if event.campaign_id is None]
            # Some of these may have come after `newest` was read: the next look sees them once more.
            self._first = {event.id for event in found}
            self._position = newest
            return found
        if newest == self._position:
            return []
        fresh = []
        for row in self._ledger.journal(SITE, self._position):
            self._position = row.position
            if row.kind != "event":
                continue
            event = Event.model_validate(parse(row.body))
            if event.kind in self._kinds and event.id not in self._first:
                fresh.append(event)
        self._position = max(self._position, newest)
        self._first.clear()
        return fresh
