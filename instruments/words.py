"""Words that one process writes and another reads: how reasons begin, and the codes of refusals."""

from __future__ import annotations

import threading
from dataclasses import dataclass

LOST = "instrument lost: "
"""How the reason of a run begins whose hardware went away: its outcome is unknown."""

ABORTED = "aborted: "
"""How the reason of a run begins that was refused its next move because it was to end."""

FINISHED = frozenset({"completed", "failed", "aborted", "stopped_early", "in_doubt", "refused", "not_started"})
"""Experiment states in which a worker has no more to do."""

TRANSIENT = frozenset(
    {
        "config.changed",
        "instrument.busy",
        "instrument.lost",
        "instrument.starting",
        "interlock.stale",
        "interlock.tripped",
        "interlock.unknown",
        "ledger.unavailable",
        "recovery.missing",
        "spool.failed",
        "takeover.held",
        "takeover.unknown",
        "worker.error",
        "worker.parked",
        "worker.stopping",
        "writes.off",
        "lease.fenced",
        "already_started",
        "intent.unknown",
        "experiment.state",
    }
)
"""Codes of refusals that say nothing about the experiment itself: its state stays as it is."""


class Refused(Exception):
    """A request that the worker refused: nothing moved. `code` is stable and `detail` says why."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")

    @property
    def final(self) -> bool:
        """Whether the refusal concerns the experiment itself, so that it will not be dispatched again."""
        return self.code not in TRANSIENT


class Tally:
    """How often each stable code was refused with, since this process began. For any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._counts: dict[str, int] = {}
        self._fresh: dict[str, int] = {}

    def add(self, code: str) -> None:
        """Count one more."""
        with self._guard:
            for counts in (self._counts, self._fresh):
                counts[code] = counts.get(code, 0) + 1

    def counts(self) -> dict[str, int]:
        """The counts by code."""
        with self._guard:
            return dict(sorted(self._counts.items()))

    def take(self) -> dict[str, int]:
        """The counts since the last time they were taken."""
        with self._guard:
            fresh, self._fresh = self._fresh, {}
        return dict(sorted(fresh.items()))


@dataclass(frozen=True)
class Seen:
    """What somebody saw an instrument have in hand before asking: this experiment, or an axis moved by hand (None)."""

    experiment: str | None
