"""What people do with alarms."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from athanor.console.commands.refused import Refused
from athanor.governance.alarms import IllegalAct, Verb

if TYPE_CHECKING:
    from athanor.governance.alarm_history import Alarms
    from athanor.governance.alarms import Alarm

SEEN = "seen"
"""Why somebody acknowledges who says nothing more."""


class AlarmCommands:
    """Commands of one person. Each raises `Refused` where the alarm's state does not allow it, and `NotFound`.

    Args:
        alarms: the alarms of the site.
        person: whose name they carry.
    """

    def __init__(self, alarms: Alarms, person: str) -> None:
        self._alarms = alarms
        self._person = person

    def acknowledge(self, alarm_id: str, reason: str = SEEN) -> Alarm:
        """Say that somebody has seen it and sees to it."""
        return self._act(alarm_id, "acknowledged", reason)

    def reset(self, alarm_id: str, reason: str) -> Alarm:
        """End one that stays though its condition has gone."""
        return self._act(alarm_id, "reset", reason)

    def shelve(self, alarm_id: str, lasts: timedelta, reason: str) -> Alarm:
        """Put it aside for so long; the more urgent it is, the shorter it may be."""
        return self._act(alarm_id, "shelved", reason, lasts)

    def unshelve(self, alarm_id: str, reason: str) -> Alarm:
        """Show it again before its time."""
        return self._act(alarm_id, "unshelved", reason)

    def suppress(self, alarm_id: str, reason: str) -> Alarm:
        """Suppress it by design, until somebody says otherwise."""
        return self._act(alarm_id, "suppressed", reason)

    def unsuppress(self, alarm_id: str, reason: str) -> Alarm:
        """Show it again."""
        return self._act(alarm_id, "unsuppressed", reason)

    def remove(self, alarm_id: str, reason: str) -> Alarm:
        """Take it out of service, as while its sensor is repaired."""
        return self._act(alarm_id, "removed", reason)

    def restore(self, alarm_id: str, reason: str) -> Alarm:
        """Put it back into service."""
        return self._act(alarm_id, "restored", reason)

    def _act(self, alarm_id: str, verb: Verb, reason: str, lasts: timedelta | None = None) -> Alarm:
        try:
            return self._alarms.act(alarm_id, verb, self._person, reason, lasts)
        except IllegalAct as error:
            raise Refused(str(error), error.remedy) from error
