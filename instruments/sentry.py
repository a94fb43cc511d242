"""Watches the interlocks while a run goes on, in a thread of its own, and ends the run when one of them trips."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from athanor.instruments.interlocks import Broken, Interlocks
from athanor.instruments.words import Tally

log = logging.getLogger(__name__)

GRACE_S = 2.0
"""Seconds for a run to end after its interlock has tripped, before Stop All is called for."""


class Watched(Protocol):
    """A run, as far as the watch is concerned."""

    over: threading.Event
    ends: str | None


class Sentry:
    """Looks every `period_s`; never waits longer than that for a signal.

    Args:
        interlocks: What must hold.
        period_s: Seconds between two looks.
        job: The run in hand, None between runs.
        is_moving: Whether an axis is under way.
        abort: Ends the run in hand and stops its axes.
        escalate: Called with the reason when the run has not ended `GRACE_S` later.
        tally: Counts the trips by code.
    """

    def __init__(
        self,
        interlocks: Interlocks,
        period_s: float,
        job: Callable[[], Watched | None],
        is_moving: Callable[[], bool],
        abort: Callable[[str], Any],
        escalate: Callable[[str], None],
        tally: Tally,
    ) -> None:
        self._interlocks = interlocks
        self._period_s = period_s
        self._job = job
        self._is_moving = is_moving
        self._abort = abort
        self._escalate = escalate
        self._tally = tally
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._watch, name="interlocks", daemon=True).start()

    def end(self) -> None:
        """Watch no more."""
        self._ended.set()

    def _watch(self) -> None:
        watched: Watched | None = None
        since = 0.0
        while not self._ended.wait(self._period_s):
            job = self._job()
            if job is None or job.ends is not None:
                continue
            if job is not watched:
                watched, since = job, time.monotonic()
            try:
                broken = self._interlocks.watch(self._period_s, since, self._is_moving())
            except Exception as error:  # a watch that fails is no watch: the run must not go on without it
                log.exception("the interlocks cannot be watched")
                broken = Broken("watch", "interlock.unknown", f"the interlocks cannot be watched: {error}")
            if broken is not None and self._job() is job:
                self._trip(job, broken)

    def _trip(self, job: Watched, broken: Broken) -> None:
        log.warning("tripped during a run: %s", broken)
        self._tally.add(broken.code)
        self._abort(str(broken))
        if not job.over.wait(GRACE_S):
            self._escalate(f"{broken}; the run did not end within {GRACE_S:g} s")
