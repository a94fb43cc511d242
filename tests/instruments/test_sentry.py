"""The watch over a run: it ends the run whose interlock trips, and calls for more when that does not help."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rig import until

from athanor.instruments import sentry
from athanor.instruments.interlocks import Broken
from athanor.instruments.sentry import Sentry
from athanor.instruments.words import Tally


class Run:
    def __init__(self) -> None:
        self.over = threading.Event()
        self.ends: str | None = None


class Stand:
    """A watch over what the test says."""

    def __init__(self) -> None:
        self.job: Run | None = None
        self.look: Callable[[], Broken | None] = lambda: None
        self.looks = 0
        self.aborted: list[str] = []
        self.escalated: list[str] = []
        self.obeys = True
        self.tally = Tally()
        interlocks: Any = self
        self.sentry = Sentry(
            interlocks, 0.01, lambda: self.job, lambda: True, self.abort, self.escalated.append, self.tally
        )
        self.sentry.start()

    def watch(self, patience_s: float, since: float, is_moving: bool) -> Broken | None:
        assert patience_s == 0.01 and is_moving and since <= time.monotonic()
        self.looks += 1
        return self.look()

    def abort(self, reason: str) -> None:
        assert self.job is not None
        self.aborted.append(reason)
        self.job.ends = reason
        if self.obeys:
            self.job.over.set()


@pytest.fixture
def stand() -> Iterator[Stand]:
    stand = Stand()
    yield stand
    stand.sentry.end()


def test_between_runs_nothing_is_read(stand: Stand) -> None:
    threading.Event().wait(0.1)
    assert stand.looks == 0
    stand.job = Run()
    until(lambda: stand.looks > 3)
    assert stand.aborted == []


def test_a_trip_ends_the_run_once(stand: Stand) -> None:
    stand.look = lambda: Broken("i", "interlock.tripped", "i: x < 2 (x = 3.0)")
    stand.job = Run()
    until(lambda: stand.aborted)
    looks = stand.looks
    threading.Event().wait(0.1)
    assert (stand.aborted, stand.looks) == (["interlock.tripped: i: x < 2 (x = 3.0)"], looks)
    assert (stand.tally.counts(), stand.escalated) == ({"interlock.tripped": 1}, [])


def test_a_run_that_does_not_end_is_stopped_by_other_means(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentry, "GRACE_S", 0.05)
    stand.obeys = False
    stand.look = lambda: Broken("i", "interlock.stale", "i: x < 2; x did not answer")
    stand.job = Run()
    until(lambda: stand.escalated)
    [reason] = stand.escalated
    assert reason.startswith("interlock.stale: i") and "did not end" in reason


def test_a_watch_that_fails_ends_the_run(stand: Stand) -> None:
    def look() -> Broken | None:
        raise ValueError("odd")

    stand.look = look
    stand.job = Run()
    until(lambda: stand.aborted)
    assert stand.aborted[0].startswith("interlock.unknown") and "odd" in stand.aborted[0]
