"""The ladder of Stop All for one instrument, as the recovery process goes down it.

At once and side by side: call `stop()` on every axis, tell the worker to abort (it latches in memory), engage the latch
file. Without a confirmed standstill after `StopLine.GRACE_S` the worker is killed and everything stopped again.
A standstill is confirmed when the worker is idle or dead *and after that* the instrument itself says twice that
nothing moves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from athanor.instruments.abort import Abort, Worker
from athanor.instruments.deadlines import outcome, spawn
from athanor.instruments.hardware import Hardware
from athanor.instruments.latch import UNKNOWN, Latch, LatchState


class StopLine:
    """The ladder. Any number of threads may ask at once: they share one descent and get the same answer."""

    GRACE_S = 0.5
    """Time for worker and devices to come to a standstill by themselves before the worker is killed."""
    PATIENCE_S = 1.5
    """The same while we are not connected ourselves: then the worker holds the only line to the hardware."""
    LIMIT_S = 3.0
    """When the ladder ends and says what it has not been able to confirm."""
    AGAIN_S = 0.25
    """Between two rounds of `stop()` while something still moves."""
    STEP_S = 0.02

    def __init__(
        self, hardware: Hardware, latch: Latch, worker_socket: Path, worker: Callable[[], Worker | None]
    ) -> None:
        self.hardware = hardware
        self.latch = latch
        self._socket = worker_socket
        self._worker = worker
        self._guard = threading.Lock()
        self._running: Future[dict[str, Any]] | None = None
        self._descent: _Descent | None = None

    @property
    def is_running(self) -> bool:
        """Whether a stop is being carried out now."""
        running = self._running
        return running is not None and not running.done()

    def stop_all(self, reason: str, by: str) -> dict[str, Any]:
        """Stop, latch, confirm, read back. Idempotent; what a device, worker or disk does is told, never raised."""
        with self._guard:
            # One that has already made up its mind knows nothing of what has begun to move since.
            if self._running is None or self._descent is None or self._descent.is_decided:
                self._descent = _Descent(self, reason, by)
                self._running = spawn(self._descent.run, "stop-all")
            running = self._running
        return running.result()


class _Descent:
    """One way down the ladder."""

    def __init__(self, line: StopLine, reason: str, by: str) -> None:
        self.line = line
        self.reason, self.by = reason, by
        self.began = time.monotonic()
        self.end = self.began + line.LIMIT_S
        # The disk comes last and in a thread of its own: one that does not answer must hold nothing up.
        self.stops = [(line.hardware.generation, self.began, spawn(line.hardware.stop, "stop"))]
        self.abort = Abort(line._socket, reason, by, self.end)
        self.saving = spawn(lambda: line.latch.engage(reason, by), "latch")
        line.hardware.retry_now()
        self.worker = line._worker()
        self.killed = False
        self.is_decided = False

    def run(self) -> dict[str, Any]:
        hardware = self.line.hardware
        quiet = 0
        while True:
            fate = self._fate()
            if self._is_time_to_kill(fate):
                self.killed = True
                assert self.worker is not None
                self.worker.kill()
                self._stop_again()
                fate = self._fate()
            moving = hardware.is_moving()
            generation, asked, _ = self.stops[-1]
            if hardware.generation != generation or (moving and time.monotonic() - asked > self.line.AGAIN_S):
                self._stop_again()
            quiet = quiet + 1 if moving is False and fate is not None else 0
            now = time.monotonic()
            is_out_of_reach = not hardware.is_connected and fate and now > self.began + self.line.PATIENCE_S
            if quiet >= 2 or is_out_of_reach or now > self.end:
                self.is_decided = True
                return self._report(quiet >= 2, moving, fate)
            time.sleep(self.line.STEP_S)

    def _fate(self) -> str | None:
        """What has become of the worker: "parked", "killed", "absent", or None while it may still move something."""
        if self.abort.pid is not None and (self.worker is None or self.abort.pid != self.worker.pid):
            self.worker = Worker(self.abort.pid)  # Another worker than the one we watched has the socket.
        if self.worker is None:
            return "absent" if self.abort.is_over else None
        if not self.worker.is_alive():
            return "killed" if self.killed else "absent"
        if self.abort.is_still and (self.abort.has_latched or self._is_saved()):
            return "parked"
        return None

    def _is_saved(self) -> bool:
        return self.saving.done() and self.saving.result().saved

    def _is_time_to_kill(self, fate: str | None) -> bool:
        if self.killed or self.worker is None or not self.worker.is_alive():
            return False
        if self.line.hardware.is_connected:
            return time.monotonic() > self.began + self.line.GRACE_S
        return fate is None and time.monotonic() > self.began + self.line.PATIENCE_S

    def _stop_again(self) -> None:
        hardware = self.line.hardware
        self.stops.append((hardware.generation, time.monotonic(), spawn(hardware.stop, "stop")))

    def _report(self, confirmed: bool, moving: bool | None, fate: str | None) -> dict[str, Any]:
        hardware = self.line.hardware
        notes = []
        if not confirmed:
            notes.append(
                "something still moves"
                if moving
                else (hardware.trouble or "the instrument does not say whether it moves")
                if moving is None
                else "nothing moves now, but the worker could not be stopped"
            )
        if self.killed:
            notes.append("the worker was killed: it did not come to rest in time")
        *_, (_, _, last) = self.stops
        failures, _ = outcome(last, time.monotonic() + (0.2 if confirmed else 0.0))
        failures = {"stop()": "has not answered"} if failures is None else failures
        if hardware.is_connected:
            notes.extend(f"{axis}: {wrong}" for axis, wrong in sorted(failures.items()))
        back = hardware.read_back() if hardware.is_connected else None
        if back is not None:
            notes.extend(f"{axis} cannot be read: {wrong}" for axis, wrong in sorted(back.failures.items()))
        latch, _ = outcome(self.saving, max(self.end, time.monotonic() + 0.5))
        if latch is None:
            detail = "the disk has not answered in time"
            latch = LatchState(UNKNOWN, True, self.reason, self.by, saved=False, detail=detail)
        if not latch.saved:
            notes.append(f"the latch is held in memory only: {latch.detail}")
        return {
            "confirmed": confirmed,
            "positions": back.positions if back is not None else {},
            "worker": fate or "not stopped",
            "elapsed_s": round(time.monotonic() - self.began, 3),
            "detail": "; ".join(notes) or "everything stands still",
            "moving": moving,
            "connected": hardware.is_connected,
            "latch": latch_facts(latch),
        }


def latch_facts(latch: LatchState) -> dict[str, Any]:
    """What is told of a latch over the line."""
    return {"count": latch.count, "engaged": latch.engaged, "saved": latch.saved, "reason": latch.reason}
