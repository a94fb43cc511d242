"""The axes and detectors of a simulated laboratory as classic ophyd devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
from bluesky.protocols import Location
from ophyd import Component, Device, Kind, Signal
from ophyd.status import Status

from athanor.instruments.laboratory import Devices
from athanor.instruments.profile import Profile
from athanor.memory.places import InstrumentPlace
from athanor.sandbox.connection import Connection
from athanor.sandbox.link import Link
from athanor.sandbox.options import Options
from athanor.sandbox.physics import AxisModel, Physics, SignalModel, Value


class ControllerSignal(Signal):
    """A read-only signal whose value lives in the controller; `unit` is put into its description."""

    def __init__(self, *, unit: str | None = None, source: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._unit = unit
        self._source = source

    def describe(self) -> dict[str, dict[str, Any]]:
        """The data key, with unit and source."""
        described: dict[str, dict[str, Any]] = super().describe()
        for key in described.values():
            key["source"] = self._source
            if self._unit is not None:
                key["units"] = self._unit
        return described


class ClassicAxis(Device):
    """One axis of a simulated laboratory. Its read-back carries the axis' own name.

    Args:
        model: The axis.
        link: Connection to the controller.
        timeout_s: Seconds that a motion may take.
    """

    readback = Component(ControllerSignal, kind=Kind.hinted)

    def __init__(self, model: AxisModel, link: Link, timeout_s: float) -> None:
        super().__init__(name=model.name)
        self._link = link
        self._timeout_s = timeout_s
        self._is_stop_success = True
        self._setpoint: Value = model.rest
        self.readback.name = model.name
        self.readback._unit = model.unit
        self.readback._source = f"controller://{link.laboratory}/{model.name}"
        self.readback.put(model.rest, force=True)

    @property
    def position(self) -> Value:
        """Where the axis is now, asked of the controller."""
        position: Value = self._link.call("read")["positions"][self.name]
        return position

    def read(self) -> dict[str, dict[str, Any]]:
        """The read-back, asked of the controller."""
        position = self.position
        self.readback.put(position if isinstance(position, str) else float(position), force=True)
        reading: dict[str, dict[str, Any]] = super().read()
        return reading

    def locate(self) -> Location[Any]:
        """Where the axis was last sent by us, and where it is."""
        return {"setpoint": self._setpoint, "readback": self.position}

    def set(self, value: Value) -> Status:
        """Move. The status ends with an error when the axis is stopped, is late, or the connection is gone."""
        self._is_stop_success = True
        self._setpoint = value
        status = Status(obj=self, timeout=self._timeout_s)

        def judge(done: dict[str, Any]) -> Exception | None:
            if done["reached"] or (done["reason"] == "stopped" and self._is_stop_success):
                return None
            return RuntimeError(f"{self.name} was {done['reason']} at {done['position']!r} on its way to {value!r}")

        _follow(self._link.move(self.name, value), status, judge)
        return status

    def stop(self, *, success: bool = False) -> None:
        """Halt where it is; `success` says whether a motion under way counts as done."""
        self._is_stop_success = success
        self._link.call("stop", axis=self.name)


class ClassicDetector(Device):
    """One detector of a simulated laboratory; every signal is read under its own name. Made by `detector`."""

    def __init__(self, name: str, signals: Mapping[str, SignalModel], link: Link, timeout_s: float) -> None:
        super().__init__(name=name)
        self._link = link
        self._timeout_s = timeout_s
        self._models = signals
        for model in signals.values():
            signal = getattr(self, model.name)
            signal.name = model.name
            signal._unit = model.unit
            signal._source = f"controller://{link.laboratory}/{name}/{model.name}"
            signal.put(np.zeros(model.length) if model.length else 0.0, force=True)

    def trigger(self) -> Status:
        """Measure once. The status ends with an error when the process fails, nothing answers, or the link is gone."""
        status = Status(obj=self, timeout=self._timeout_s)

        def store(answer: dict[str, Any]) -> None:
            for name, model in self._models.items():
                value = answer["readings"][name]
                getattr(self, name).put(np.asarray(value, dtype=float) if model.length else value, force=True)

        _follow(self._link.request("trigger", detector=self.name), status, store)
        return status


def detector(name: str, signals: Mapping[str, SignalModel], link: Link, timeout_s: float) -> ClassicDetector:
    """A detector with one component per signal."""
    parts = {signal: Component(ControllerSignal, kind=Kind.hinted) for signal in signals}
    made: ClassicDetector = type("ClassicDetector", (ClassicDetector,), parts)(name, signals, link, timeout_s)
    return made


def _follow(
    future: Future[dict[str, Any]], status: Status, take: Callable[[dict[str, Any]], Exception | None] | Any
) -> None:
    """End the status as the future ends; an answer that comes too late changes nothing."""

    def ended(done: Future[dict[str, Any]]) -> None:
        error = done.exception()
        if error is None and not status.done:
            error = take(done.result())
        if status.done:
            return
        if error is None:
            status.set_finished()
        else:
            status.set_exception(error)

    future.add_done_callback(ended)


def connect(place: InstrumentPlace, physics: Physics, profile: Profile, options: Options) -> Devices:
    """Connect classic ophyd devices to the controller.

    Raises:
        InstrumentUnavailable: Nothing answers on the controller's socket.
    """
    connection = Connection.open(place, physics, profile, options)
    axes = {
        name: ClassicAxis(model, connection.link, connection.axis_timeout(name))
        for name, model in connection.axes.items()
    }
    detectors = [
        detector(name, signals, connection.link, connection.detector_timeout(name))
        for name, signals in connection.detectors.items()
    ]
    return connection.devices(axes, detectors)
