"""The axes and detectors of a simulated laboratory as ophyd-async devices."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from bluesky.protocols import Location, Movable, Stoppable, Triggerable
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd_async.core import (
    Array1D,
    AsyncLocatable,
    AsyncStatus,
    Device,
    SignalR,
    SoftSignalBackend,
    StandardReadable,
)
from ophyd_async.core import StandardReadableFormat as Format

from athanor.instruments.laboratory import Devices
from athanor.instruments.profile import Profile
from athanor.memory.places import InstrumentPlace
from athanor.sandbox.connection import Connection
from athanor.sandbox.link import Link
from athanor.sandbox.options import Options
from athanor.sandbox.physics import AxisModel, Physics, SignalModel, Value

CONNECT_S = 10.0


class ControllerSignal(SoftSignalBackend[Any]):
    """A signal whose value lives in the controller; `source` says where."""

    def __init__(self, datatype: Any, source: str, initial: Any, unit: str | None, **access: Any) -> None:
        super().__init__(datatype, initial, units=unit, **access)
        self._source = source

    def source(self, name: str, read: bool) -> str:
        """Where the value comes from."""
        return self._source


class SimulatedAxis(StandardReadable, AsyncLocatable[Any], Movable[Any], Stoppable):
    """One axis of a simulated laboratory. Its read-back carries the axis' own name.

    Args:
        model: The axis.
        link: Connection to the controller.
        timeout_s: Seconds that a motion may take.
    """

    def __init__(self, model: AxisModel, link: Link, timeout_s: float) -> None:
        self._link = link
        self._timeout_s = timeout_s
        self._setpoint: Value = model.rest
        self._is_stop_success = True
        datatype = str if isinstance(model.rest, str) else float
        backend = ControllerSignal(
            datatype, f"controller://{link.laboratory}/{model.name}", model.rest, model.unit, getter=self._position
        )
        # Uncached: a staged signal would be read from its last subscription, not from the controller.
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.readback: SignalR[Any] = SignalR(backend)
        super().__init__(name=model.name)

    def set_name(self, name: str, *, child_name_separator: str | None = None) -> None:
        """Name the device, and its read-back alike."""
        super().set_name(name, child_name_separator=child_name_separator)
        self.readback.set_name(name)

    async def _position(self) -> Value:
        answer = await self._ask("read")
        position: Value = answer["positions"][self.name]
        return position

    async def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        async with asyncio.timeout(CONNECT_S):
            return await asyncio.wrap_future(self._link.request(op, **fields))

    @AsyncStatus.wrap
    async def set(self, value: Value) -> None:
        """Move; done when the controller says that the target is reached.

        Raises:
            TimeoutError: The target is not reached in time.
            InstrumentLost: The connection is gone; where the axis ends up is unknown.
            RuntimeError: The motion was stopped, or replaced by another.
        """
        self._is_stop_success = True
        self._setpoint = value
        try:
            async with asyncio.timeout(self._timeout_s):
                done = await asyncio.wrap_future(self._link.move(self.name, value))
        except TimeoutError:
            raise TimeoutError(f"{self.name} did not reach {value!r} within {self._timeout_s:g} s") from None
        if not done["reached"] and not (done["reason"] == "stopped" and self._is_stop_success):
            raise RuntimeError(f"{self.name} was {done['reason']} at {done['position']!r} on its way to {value!r}")

    async def stop(self, success: bool = True) -> None:
        """Halt where it is; `success` says whether a motion under way counts as done."""
        self._is_stop_success = success
        await self._ask("stop", axis=self.name)

    async def locate(self) -> Location[Any]:
        """Where the axis was last sent by us, and where it is."""
        return {"setpoint": self._setpoint, "readback": await self._position()}


class SimulatedDetector(StandardReadable, Triggerable):
    """One detector of a simulated laboratory; every signal is read under its own name.

    Args:
        name: Name of the detector.
        signals: What it reads.
        link: Connection to the controller.
        timeout_s: Seconds that a measurement may take.
    """

    def __init__(self, name: str, signals: Mapping[str, SignalModel], link: Link, timeout_s: float) -> None:
        self._link = link
        self._timeout_s = timeout_s
        self._backends: dict[str, ControllerSignal] = {}
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            for signal in signals.values():
                datatype = Array1D[np.float64] if signal.length else float
                backend = ControllerSignal(
                    datatype, f"controller://{link.laboratory}/{name}/{signal.name}", None, signal.unit
                )
                self._backends[signal.name] = backend
                setattr(self, signal.name, SignalR(backend))
        super().__init__(name=name)

    def set_name(self, name: str, *, child_name_separator: str | None = None) -> None:
        """Name the device; its signals keep their own names."""
        super().set_name(name, child_name_separator=child_name_separator)
        for signal in self._backends:
            getattr(self, signal).set_name(signal)

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Measure once.

        Raises:
            TimeoutError: The detector does not answer.
            InstrumentLost: The connection is gone.
            ProcessFailed: There is nothing measurable at the present positions.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await asyncio.wrap_future(self._link.request("trigger", detector=self.name))
        except TimeoutError:
            raise TimeoutError(f"{self.name} did not answer within {self._timeout_s:g} s") from None
        for signal, backend in self._backends.items():
            backend.set_value(answer["readings"][signal])


def connect(place: InstrumentPlace, physics: Physics, profile: Profile, options: Options) -> Devices:
    """Connect ophyd-async devices to the controller. A RunEngine must exist in this process.

    Raises:
        InstrumentUnavailable: Nothing answers on the controller's socket.
    """
    connection = Connection.open(place, physics, profile, options)
    try:
        axes = {
            name: SimulatedAxis(model, connection.link, connection.axis_timeout(name))
            for name, model in connection.axes.items()
        }
        detectors = [
            SimulatedDetector(name, signals, connection.link, connection.detector_timeout(name))
            for name, signals in connection.detectors.items()
        ]

        async def connect_all() -> None:
            devices: list[Device] = [*axes.values(), *detectors]
            for device in devices:
                await device.connect(timeout=CONNECT_S)

        call_in_bluesky_event_loop(connect_all())
    except BaseException:
        connection.link.close()
        raise
    return connection.devices(dict(axes), list(detectors))
