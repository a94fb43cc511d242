"""What an instrument reads now, and how that went in the last minutes, for whoever looks.

An instrument is read once a second for everybody together, while somebody looks, and a little longer; nothing is moved,
started or written. What is kept is a short ring in the memory of this process: it begins when somebody began to look,
and says so. A value that cannot be read is None with the reason, never the value of before and never zero.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

log = logging.getLogger(__name__)

PERIOD_S = 1.0
KEPT = 600
"""Points that are kept of each signal: ten minutes."""
IDLE_S = 60.0
"""Seconds after which an instrument that nobody looks at is not read any more."""
FIRST_S = 2.0
"""Seconds that the first look may take before it is answered without one."""
READ_S = 1.5

Value = float | int | str | bool


@dataclass(frozen=True)
class Known:
    """One signal: its value now, or why there is none and when it was last known (Unix seconds, None: never).

    `points` are (Unix seconds, value) in order, None where it could not be read.
    """

    value: Value | None
    trouble: str | None
    known_at: float | None
    points: tuple[tuple[float, Value | None], ...]


@dataclass(frozen=True)
class Reading:
    """What is known at one moment.

    `at` is when it was read, `since` when the ring began, both Unix seconds, None before the first look. `moving` is
    None when nobody can tell. `axes` come from the recovery process, whose line is its own; `signals` and `interlocks`
    from the worker. `trouble` says why a whole line is silent.
    """

    at: float | None = None
    since: float | None = None
    moving: bool | None = None
    axes: Mapping[str, Known] = field(default_factory=dict)
    signals: Mapping[str, Known] = field(default_factory=dict)
    interlocks: Mapping[str, tuple[bool | None, str | None]] = field(default_factory=dict)
    axes_trouble: str | None = None
    worker_trouble: str | None = None


@dataclass
class _Trace:
    """What is kept of one signal."""

    points: deque[tuple[float, Value | None]] = field(default_factory=lambda: deque(maxlen=KEPT))
    value: Value | None = None
    trouble: str | None = None
    known_at: float | None = None

    def add(self, at: float, value: Value | None, trouble: str | None) -> None:
        self.value, self.trouble = value, trouble if value is None else None
        self.points.append((at, value))
        if value is not None:
            self.known_at = at

    def known(self) -> Known:
        return Known(self.value, self.trouble, self.known_at, tuple(self.points))


class Gauge:
    """One instrument, read once a second in a thread of its own until nobody looks any more."""

    def __init__(self, place: InstrumentPlace, clock: Callable[[], float] = time.time) -> None:
        self._place = place
        self._clock = clock
        self._guard = threading.Lock()
        self._axes: dict[str, _Trace] = {}
        self._signals: dict[str, _Trace] = {}
        self._reading = Reading()
        self._asked = time.monotonic()
        self._first = threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._work, name=f"gauge-{place.name}", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether it reads no more."""
        return self._ended.is_set()

    def look(self, wait_s: float) -> Reading:
        """What is known; waits for the first look, at most so long."""
        self._asked = time.monotonic()
        self._first.wait(wait_s)
        with self._guard:
            reading = self._reading
            axes = {name: trace.known() for name, trace in self._axes.items()}
            signals = {name: trace.known() for name, trace in self._signals.items()}
        return Reading(
            reading.at,
            reading.since,
            reading.moving,
            axes,
            signals,
            reading.interlocks,
            reading.axes_trouble,
            reading.worker_trouble,
        )

    def end(self) -> None:
        """Read no more."""
        self._ended.set()

    def _work(self) -> None:
        while True:
            try:
                self.read()
            except Exception:  # whatever it was, those who look see how old it is
                log.exception("%s could not be read", self._place.name)
            self._first.set()
            if self._ended.wait(PERIOD_S):
                return
            if time.monotonic() - self._asked > IDLE_S:
                self._ended.set()
                return

    def read(self) -> None:
        """Look once. Never waits longer than the lines' own limits."""
        positions, failures, moving, axes_trouble = _positions(self._place)
        signals, interlocks, worker_trouble = _signals(self._place)
        at = self._clock()
        with self._guard:
            for name in {*self._axes, *positions}:
                why = axes_trouble or failures.get(name) or "it did not say where it is"
                self._axes.setdefault(name, _Trace()).add(at, positions.get(name), why)
            for name in {*self._signals, *signals}:
                value, why_not = signals.get(name, (None, worker_trouble))
                self._signals.setdefault(name, _Trace()).add(at, value, why_not or "it did not answer")
            since = self._reading.since or at
            self._reading = Reading(
                at,
                since,
                moving,
                interlocks=interlocks,
                axes_trouble=axes_trouble,
                worker_trouble=worker_trouble,
            )


class Gauges:
    """The gauges of a site, one for each instrument that somebody looks at."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._gauges: dict[Path, Gauge] = {}

    def look(self, place: InstrumentPlace, wait_s: float = FIRST_S) -> Reading:
        """What an instrument reads; the first who asks begins the ring."""
        with self._guard:
            self._gauges = {key: gauge for key, gauge in self._gauges.items() if not gauge.is_over}
            key = place.directory.resolve()
            gauge = self._gauges.get(key)
            if gauge is None:
                gauge = self._gauges[key] = Gauge(place)
        return gauge.look(wait_s)

    def close(self) -> None:
        """Read nothing any more."""
        with self._guard:
            for gauge in self._gauges.values():
                gauge.end()
            self._gauges.clear()


def _positions(place: InstrumentPlace) -> tuple[dict[str, Any], dict[str, str], bool | None, str | None]:
    """Where the axes are, why not, whether any moves, and why the whole line says nothing."""
    from athanor.instruments.standing import positions

    try:
        answer = positions(place, READ_S)
    except TimeoutError:
        return {}, {}, None, "its recovery process does not answer in time"
    except (OSError, ValueError):
        return {}, {}, None, "nothing is connected to it now"
    trouble = None if answer.get("connected") else "its recovery process has lost the instrument"
    found = answer.get("positions") or {}
    return found if trouble is None else {}, answer.get("failures") or {}, answer.get("moving"), trouble


def _signals(
    place: InstrumentPlace,
) -> tuple[dict[str, tuple[Value | None, str | None]], dict[str, tuple[bool | None, str | None]], str | None]:
    """What the worker reads besides, how the interlocks stand, and why it says nothing."""
    from athanor.instruments.wire import Client, WorkerLost
    from athanor.instruments.words import Refused

    try:
        client = Client(place.sockets / "worker.sock")
    except WorkerLost as error:
        return {}, {}, "its worker hangs" if error.hung else "no worker is running"
    try:
        answer = client.call("signals", timeout_s=3.0)
    except Refused as error:
        return {}, {}, str(error)
    except WorkerLost as error:
        return {}, {}, "its worker does not answer in time" if error.hung else "no worker is running"
    finally:
        client.close()
    signals = {name: (one["value"], one["trouble"]) for name, one in answer["signals"].items()}
    return signals, {one["name"]: (one["holds"], one["detail"]) for one in answer["interlocks"]}, None
