"""The worker as Stop All sees it, from outside: ask it to abort, follow what it says, end it. Standard library only."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from concurrent.futures import wait
from pathlib import Path

from athanor.instruments.deadlines import spawn
from athanor.instruments.line import Line

STILL = frozenset({"idle", "parked", "starting"})
"""States in which a worker moves nothing."""


class Worker:
    """The worker process as seen from outside: whether it lives, and its end if need be."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle: int | None = None
        self._dead = False
        try:
            # A handle names this very process, also after its number has been given to another.
            self._handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        except ProcessLookupError:
            self._dead = True

    def __del__(self) -> None:
        if self._handle is not None:
            os.close(self._handle)

    def is_alive(self) -> bool:
        """Whether the process runs, frozen or not."""
        if self._dead:
            return False
        if self._handle is not None:
            self._dead = bool(select.select([self._handle], [], [], 0)[0])
        else:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                self._dead = True
        return not self._dead

    def kill(self, timeout_s: float = 0.5) -> bool:
        """Kill it, frozen or not; returns whether its death was seen in time."""
        with contextlib.suppress(ProcessLookupError):
            if self._handle is not None:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            elif not self._dead:
                os.kill(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + timeout_s
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        return not self.is_alive()


class Abort:
    """One request to the worker to abort, followed until it says that it is idle."""

    def __init__(self, path: Path, reason: str, by: str, until: float) -> None:
        self.state: str | None = None
        self.has_latched = False
        self.is_still = False
        self.pid: int | None = None
        self._future = spawn(lambda: self._follow(path, reason, by, until), "abort")

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be heard."""
        return self._future.done()

    def wait(self, timeout_s: float) -> None:
        """Wait until the worker is at rest or nothing more will be heard, at most `timeout_s`."""
        wait([self._future], timeout_s)

    def _follow(self, path: Path, reason: str, by: str, until: float) -> None:
        try:
            with Line.connect(path) as line:
                self.pid = line.peer.pid
                line.send({"id": 1, "verb": "abort", "reason": f"Stop All: {reason}", "by": by, "latch": True})
                is_answered = False
                while not self.is_still:
                    message = line.receive(until)
                    if message.get("id") == 1:
                        is_answered = bool(message.get("ok"))
                        self.has_latched = bool(message.get("latched"))
                    # What it said before it had heard of the abort does not count.
                    if is_answered and "state" in message:
                        self.state = str(message["state"])
                        self.is_still = self.state in STILL
        except (OSError, ValueError):
            return  # No worker, or one that does not answer: the ladder goes on without it.
