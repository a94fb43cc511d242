"""What people say about experiments beside deciding on them: remarks to whoever proposed one, and deferrals.

Both are events of the campaign, so that they stand in the journal with who said it and when. A deferral is over at its
time, when a person ends it, or when the experiment is decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from athanor.memory.records import Event

REMARK = "remark"
"""`experiment`, `revision`, `by`, `text`."""
DEFERRED = "deferred"
"""`experiment`, `revision`, `by`, `reason`, `until` (ISO 8601, UTC)."""
RESUMED = "deferral_ended"
"""`experiment`, `by`."""
KINDS = (REMARK, DEFERRED, RESUMED)


@dataclass(frozen=True)
class Remark:
    """What a person had to say about an experiment."""

    experiment: str
    by: str
    text: str
    at: datetime


@dataclass(frozen=True)
class Deferral:
    """A decision that a person put off."""

    experiment: str
    by: str
    reason: str
    until: datetime
    at: datetime


def remarks(events: Iterable[Event]) -> list[Remark]:
    """Return the remarks among a campaign's events, in order."""
    return [
        Remark(str(e.body["experiment"]), str(e.body["by"]), str(e.body["text"]), e.created_at)
        for e in events
        if e.kind == REMARK
    ]


def deferrals(events: Iterable[Event], now: datetime | None = None) -> Mapping[str, Deferral]:
    """Return what is put off now, by experiment; the last word on each counts.

    Args:
        events: of one campaign, in order; those of other kinds are passed over.
        now: by default the present time.
    """
    found: dict[str, Deferral] = {}
    for event in events:
        if event.kind == DEFERRED:
            body = event.body
            until = datetime.fromisoformat(str(body["until"])).astimezone(UTC)
            name = str(body["experiment"])
            found[name] = Deferral(name, str(body["by"]), str(body["reason"]), until, event.created_at)
        elif event.kind == RESUMED:
            found.pop(str(event.body["experiment"]), None)
    moment = now or datetime.now(UTC)
    return {name: deferral for name, deferral in found.items() if deferral.until > moment}
