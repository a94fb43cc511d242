"""Quiet hours: whether somebody is left alone now, by the clock on their own wall."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from athanor.console.settings import Recipient


def is_quiet(person: Recipient, now: datetime) -> bool:
    """Whether it is within somebody's quiet hours; the end is not.

    Compared as the wall clock shows it, so that a night on which clocks change is as long as it is.
    """
    if person.quiet is None:
        return False
    wall = now.astimezone(ZoneInfo(person.zone)).time()
    start, end = person.quiet.start, person.quiet.end
    return start <= wall < end if start < end else wall >= start or wall < end
