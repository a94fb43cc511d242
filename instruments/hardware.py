"""The recovery process's own connection to the instrument: stop it, ask whether it moves, read it back.

Every call but `connect` returns by a deadline, whatever the devices do: what blocks is left behind in a thread.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from athanor.instruments.deadlines import outcome, spawn
from athanor.instruments.laboratory import Devices, load
from athanor.instruments.limits import LimitedAxis

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace


STALE_S = 2.0
"""So long after the question was asked, an answer is not used any more."""


@dataclass(frozen=True)
class ReadBack:
    """Positions per axis as read over our own connection (None: not readable, `failures` says why)."""

    positions: dict[str, Any]
    failures: dict[str, str]


def connect_laboratory(place: InstrumentPlace) -> Devices:
    """Connect to the laboratory named in the instrument's configuration, beside whatever the worker does."""
    config = json.loads((place.directory / "config.json").read_text())
    return load(config["profile"]["laboratory"]).connect(place, config.get("options") or {})


class Hardware:
    """The devices of one instrument over a connection of our own; reconnects by itself when that is lost."""

    RETRY_S = 1.0

    def __init__(self, connect: Callable[[], Devices]) -> None:
        self._connect = connect
        self._devices: Devices | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = threading.Event()
        self._closed = False
        self._asking: Future[bool] | None = None
        self._asked_at = 0.0
        self._guard = threading.Lock()
        self.trouble: str | None = "not yet connected"
        self.generation = 0
        """Grows with every new connection."""

    # -- the connection ---------------------------------------------------------------------------------------------

    def connect(self) -> bool:
        """Connect now; may block as long as the laboratory does. Returns whether it is connected."""
        if self._loop is None:
            # Devices of ophyd-async live on a RunEngine's event loop; nothing is ever run on this one.
            from bluesky.run_engine import RunEngine
            from bluesky.utils import DuringTask

            engine = RunEngine({}, context_managers=[], during_task=DuringTask(), call_returns_result=True)
            self._loop = engine.loop
        try:
            devices = self._connect()
        except Exception as error:  # noqa: BLE001 - whatever a laboratory raises, we stay and try again
            self.trouble = f"not connected: {error or type(error).__name__}"
            return False
        self._devices = devices
        self.generation += 1
        self.trouble = None
        return True

    def keep_connected(self) -> None:
        """Connect, and connect again whenever the connection is lost, until `close`. For a thread of its own."""
        while not self._closed:
            if not self.is_connected:
                self._drop()
                self.connect()
            self._wake.wait(self.RETRY_S)
            self._wake.clear()

    def _drop(self) -> None:
        stale, self._devices = self._devices, None
        if stale is not None:
            self.trouble = "not connected: the connection was lost"
            outcome(spawn(stale.close, "close"), time.monotonic() + 1.0)

    def retry_now(self) -> None:
        """Let the connecting thread try at once."""
        self._wake.set()

    @property
    def is_connected(self) -> bool:
        """Whether the line to the instrument is there."""
        devices = self._devices
        if devices is None:
            return False
        try:
            return bool(devices.is_connected())
        except Exception as error:  # noqa: BLE001
            self.trouble = f"not connected: {error}"
            return False

    def close(self) -> None:
        """End `keep_connected` and let the line go."""
        self._closed = True
        self._drop()
        self._wake.set()

    # -- what a stop needs --------------------------------------------------------------------------------------------

    def stop(self, timeout_s: float = 1.0) -> dict[str, str]:
        """Call `stop()` on every axis at once; returns what failed, by axis. Empty: all have taken it."""
        devices = self._devices
        if devices is None:
            return {"instrument": self.trouble or "not connected"}
        deadline = time.monotonic() + timeout_s
        stops = {name: spawn(partial(self._stop, axis, timeout_s), "stop") for name, axis in devices.axes.items()}
        failures = {}
        for name, future in stops.items():
            _, wrong = outcome(future, deadline)
            if wrong is not None:
                failures[name] = wrong
        return failures

    def _stop(self, axis: Any, timeout_s: float) -> None:
        stop = getattr(axis, "stop", None)
        if stop is not None:
            self._settle(partial(stop, success=False), timeout_s)

    def _settle(self, call: Callable[[], Any], timeout_s: float) -> Any:
        """Call a device method that may be plain or a coroutine function."""
        result = call()
        if not inspect.isawaitable(result):
            return result

        async def wait() -> Any:
            return await result

        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(wait(), self._loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    def is_moving(self, timeout_s: float = 0.2) -> bool | None:
        """Whether anything moves, as the instrument itself says; None when it does not say in time."""
        devices = self._devices
        if devices is None or not self.is_connected:
            return None
        with self._guard:
            # One question at a time: a line that does not answer must not collect threads.
            is_stale = self._asking is not None and self._asking.done() and time.monotonic() > self._asked_at + STALE_S
            if self._asking is None or is_stale:
                self._asking, self._asked_at = spawn(devices.is_moving, "is-moving"), time.monotonic()
            asking = self._asking
        answer, wrong = outcome(asking, time.monotonic() + timeout_s)
        with self._guard:
            # An answer that came too late for the last who asked is for the next one; each is given once.
            if asking.done() and self._asking is asking:
                self._asking = None
        return None if wrong is not None else bool(answer)

    def read_back(self, timeout_s: float = 0.5) -> ReadBack:
        """Where every axis is now."""
        devices = self._devices
        if devices is None:
            return ReadBack({}, {"instrument": self.trouble or "not connected"})
        deadline = time.monotonic() + timeout_s
        reads = {
            name: spawn(partial(self._settle, LimitedAxis(axis, None).reader, timeout_s), "read")
            for name, axis in devices.axes.items()
        }
        positions: dict[str, Any] = {}
        failures: dict[str, str] = {}
        for name, future in reads.items():
            value, wrong = outcome(future, deadline)
            positions[name] = None
            if wrong is not None or value is None:
                failures[name] = wrong or "it does not say where it is"
                continue
            positions[name] = value.item() if hasattr(value, "item") else value
        return ReadBack(positions, failures)
