"""What people do with handovers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from athanor.console.commands.refused import Refused
from athanor.console.shift import facts
from athanor.governance.handover import HandoverError, StaleHandover

if TYPE_CHECKING:
    from collections.abc import Callable

    from athanor.console.conditions import Site
    from athanor.governance.alarm_history import Alarms
    from athanor.governance.handover import Handover, Handovers, SectionId

SHIFT = timedelta(hours=12)
"""How long a shift is taken to have been where no handover says when it began."""


class HandoverCommands:
    """Commands of one person. Each raises `Refused` (or `StaleHandover`) and `NotFound`.

    Args:
        handovers: the handovers of the site.
        site: what their facts are read from.
        alarms: its alarms.
        person: whose name they carry.
    """

    def __init__(self, handovers: Handovers, site: Site, alarms: Alarms, person: str) -> None:
        self._handovers = handovers
        self._site = site
        self._alarms = alarms
        self._person = person

    def begin(self, since: datetime | None = None) -> Handover:
        """Draft one for the shift since a moment, or since the last handover, half a day ago at most."""
        until = self._site.ledger.now()
        began = since or self._last(until)
        return _told(lambda: self._handovers.begin(self._person, began, until, facts(self._site, self._alarms, began)))

    def refresh(self, handover_id: str, revision: int) -> Handover:
        """Put what is so now in the place of the facts; notes stay."""
        since = self._handovers.one(handover_id).since
        until = self._site.ledger.now()
        found = facts(self._site, self._alarms, since)
        return _told(lambda: self._handovers.refresh(handover_id, self._person, revision, until, found))

    def note(self, handover_id: str, revision: int, section: SectionId, text: str) -> Handover:
        """Write the note of a section; an empty one takes it away."""
        return _told(lambda: self._handovers.note(handover_id, self._person, revision, section, text))

    def sign(self, handover_id: str, revision: int, sha256: str, confirmation: str) -> Handover:
        """Sign what was seen, as the person who leaves. `confirmation`: one's own login, typed."""
        self._confirmed(confirmation)
        return _told(lambda: self._handovers.sign(handover_id, self._person, revision, sha256))

    def accept(self, handover_id: str, sha256: str, confirmation: str, remark: str = "") -> Handover:
        """Sign what was seen, as the person who comes. `confirmation`: one's own login, typed."""
        self._confirmed(confirmation)
        return _told(lambda: self._handovers.accept(handover_id, self._person, sha256, remark))

    def send_back(self, handover_id: str, reason: str) -> Handover:
        """Undo the first signature, so that it can be changed."""
        return _told(lambda: self._handovers.send_back(handover_id, self._person, reason))

    def discard(self, handover_id: str, reason: str) -> Handover:
        """Do without a draft; it stays in the record."""
        return _told(lambda: self._handovers.discard(handover_id, self._person, reason))

    def _confirmed(self, typed: str) -> None:
        if typed.strip() != self._person:
            raise Refused("the signature is not yours", f"Type your own login, {self._person}, to sign.")

    def _last(self, now: datetime) -> datetime:
        ends = [one.until for one in self._handovers.all() if one.state == "accepted" and one.until <= now]
        return max([now - SHIFT, *ends])


def _told(do: Callable[[], Handover]) -> Handover:
    try:
        return do()
    except StaleHandover:
        raise
    except HandoverError as error:
        raise Refused(str(error), error.remedy) from error
