"""What a served laboratory offers to its front ends: points that can be read, written or both, each by device and name.

Every axis has `setpoint`, `readback`, `moving` and `stop`; every detector `trigger`, `done`, `status` and its signals;
`run` has what a run is told by (`intent`, `experiment`, `ordinal`, `seed`, `replicates`, then `begin`), and
`instrument` has `name` and `stop` for all axes. A signal that is a trace does not fit a point: such a laboratory's
detectors give its outcomes instead, reduced on board as its profile says.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from athanor.instruments.reductions import ReductionFailed
from athanor.sandbox.core import Client, Core, Refusal
from athanor.sandbox.physics import Readings, Value

Kind = Literal["float", "int", "str", "bool", "command"]
RUN = "run"
INSTRUMENT = "instrument"
TOLD: Mapping[str, Literal["str", "int"]] = {
    "intent": "str",
    "experiment": "str",
    "ordinal": "int",
    "seed": "int",
    "replicates": "int",
}
"""What a run is told by, in this order, before `begin`."""


@dataclass(frozen=True)
class Answer:
    """A value, or why there is none that anybody may use; `at` is when it was measured (Unix seconds)."""

    value: Value | bool | None
    bad: str = ""
    at: float | None = None


@dataclass(frozen=True)
class Point:
    """One thing to read, to write, or both. A command is written with any value."""

    device: str
    name: str
    kind: Kind
    unit: str | None = None
    read: Callable[[], Answer] | None = None
    write: Callable[[Client, Any], None] | None = None


@dataclass
class Detector:
    """One detector and what it measured last."""

    name: str
    signals: Mapping[str, str | None]
    taken: dict[str, Answer] = field(default_factory=dict)
    is_done: bool = True
    status: str = "nothing was measured yet"
    number: int = 0


class Station:
    """The points of one laboratory's core.

    Args:
        core: The laboratory.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.name = core.laboratory.name
        self.on_measured: Callable[[], None] = lambda: None
        self.is_reduced_on_board = any(signal.length for signal in core.physics.signals)
        self.detectors = {name: Detector(name, signals) for name, signals in self._signals().items()}
        self._measuring: set[asyncio.Task[None]] = set()
        self._targets: dict[str, Value] = {axis.name: axis.rest for axis in core.physics.axes}
        self._told: dict[str, Value] = {name: "" if kind == "str" else 0 for name, kind in TOLD.items()}
        self.points: dict[tuple[str, str], Point] = {}
        for point in self._make():
            if (point.device, point.name) in self.points:
                raise ValueError(f"{self.name} has two points {point.device}.{point.name}; rename one in its profile")
            self.points[point.device, point.name] = point

    def put(self, point: Point, client: Client, value: Any) -> None:
        """Write a point for a client; raises `Refusal`, which is then in the log."""
        try:
            if point.write is None:
                raise Refusal("read_only", f"{point.device}.{point.name} cannot be written")
            point.write(client, value)
        except Refusal as refusal:
            self.core.refused(client, refusal)
            raise

    # -- points -------------------------------------------------------------------------------------------------------

    def _signals(self) -> dict[str, dict[str, str | None]]:
        profile = self.core.laboratory.profile()
        if not self.is_reduced_on_board:
            return {name: dict(detector.signals) for name, detector in profile.detectors.items()}
        return {
            name: {outcome: o.unit for outcome, o in profile.outcomes.items() if o.signal in detector.signals}
            for name, detector in profile.detectors.items()
        }

    def _make(self) -> list[Point]:
        points = [
            Point(INSTRUMENT, "name", "str", read=lambda: Answer(self.name)),
            Point(INSTRUMENT, "stop", "command", write=lambda client, _: self._ignore(self.core.stop_all(client, {}))),
        ]
        for name, told in TOLD.items():
            read, write = partial(self._read_told, name), partial(self._tell, name, told)
            points.append(Point(RUN, name, told, read=read, write=write))
        points.append(Point(RUN, "begin", "command", write=self._begin))
        for axis in self.core.physics.axes:
            kind: Kind = "str" if isinstance(axis.rest, str) else "float"
            make = partial(Point, axis.name)
            points += [
                make("setpoint", kind, axis.unit, partial(self._target, axis.name), partial(self._set, axis.name)),
                make("readback", kind, axis.unit, partial(self._position, axis.name)),
                make("moving", "bool", None, partial(self._is_moving, axis.name)),
                make("stop", "command", None, None, partial(self._stop, axis.name)),
            ]
        for detector in self.detectors.values():
            make = partial(Point, detector.name)
            points += [
                make("trigger", "command", None, None, partial(self._trigger, detector)),
                make("done", "bool", None, partial(self._is_done, detector)),
                make("status", "str", None, partial(self._status, detector)),
            ]
            points += [
                make(name, "float", unit, partial(self._reading, detector, name))
                for name, unit in detector.signals.items()
            ]
        return points

    def _ignore(self, answer: Any) -> None:
        """Nothing is to be told."""

    def _read_told(self, name: str) -> Answer:
        return Answer(self._told[name])

    def _tell(self, name: str, kind: str, client: Client, value: Any) -> None:
        is_right = isinstance(value, str) if kind == "str" else isinstance(value, int) and not isinstance(value, bool)
        if not is_right:
            raise Refusal("type", f"{RUN}.{name}: {value!r} is not a {kind}")
        self._told[name] = value

    def _begin(self, client: Client, _: Any) -> None:
        self.core.prepare(client, self._told)

    # -- axes ---------------------------------------------------------------------------------------------------------

    def _target(self, axis: str) -> Answer:
        return Answer(self._targets[axis])

    # As of the last tick, as the log has it: to look must not bring the axes up to date, which tells those who look.

    def _position(self, axis: str) -> Answer:
        return Answer(self.core.axes[axis].position)

    def _is_moving(self, axis: str) -> Answer:
        return Answer(self.core.axes[axis].motion is not None)

    def _set(self, axis: str, client: Client, value: Any) -> None:
        self.core.set(client, {"axis": axis, "value": value})
        self._targets[axis] = value

    def _stop(self, axis: str, client: Client, _: Any) -> None:
        self.core.stop(client, {"axis": axis})

    # -- detectors ----------------------------------------------------------------------------------------------------

    def _is_done(self, detector: Detector) -> Answer:
        return Answer(detector.is_done)

    def _status(self, detector: Detector) -> Answer:
        return Answer(detector.status)

    def _reading(self, detector: Detector, signal: str) -> Answer:
        return detector.taken.get(signal, Answer(None, detector.status))

    def _trigger(self, detector: Detector, client: Client, _: Any) -> None:
        measuring = self.core.trigger(client, {"detector": detector.name})
        detector.number += 1  # one that is still under way gives nothing any more: who asked for it has asked anew
        detector.taken = {}
        detector.is_done = False
        detector.status = "measuring"
        if measuring is not None:
            task = asyncio.ensure_future(self._measure(detector, detector.number, client, measuring))
            self._measuring.add(task)
            task.add_done_callback(self._measuring.discard)
        self.on_measured()

    async def _measure(
        self, detector: Detector, number: int, client: Client, measuring: Awaitable[Mapping[str, Any]]
    ) -> None:
        try:
            readings = (await measuring)["readings"]
            values = self._reduced(readings) if self.is_reduced_on_board else readings
        except (Refusal, ReductionFailed) as error:
            if isinstance(error, Refusal):
                self.core.refused(client, error)
            status = error.detail if isinstance(error, Refusal) else str(error)
            taken = dict.fromkeys(detector.signals, Answer(None, status, time.time()))
        else:
            status = "measured"
            taken = {name: _answer(name, float(values[name])) for name in detector.signals}
        if number != detector.number:
            return
        detector.taken, detector.status, detector.is_done = taken, status, True
        self.on_measured()

    def _reduced(self, readings: Readings) -> dict[str, float]:
        values = {name: axis.position for name, axis in self.core.axes.items()}
        return {name: mean for name, (mean, _) in self.core.laboratory.reduce(values, [readings]).items()}


def _answer(name: str, value: float) -> Answer:
    return Answer(value, "" if math.isfinite(value) else f"{name} reads {value}", time.time())
