"""Axes as a beamline may have them: classes of ophyd-async and of classic ophyd, on the PVs of a served laboratory."""

from __future__ import annotations

import asyncio

from bluesky.protocols import Movable, Stoppable
from ophyd import Component, EpicsSignal, EpicsSignalRO, PVPositioner
from ophyd_async.core import AsyncStatus, StandardReadable
from ophyd_async.core import StandardReadableFormat as Format
from ophyd_async.epics.core import epics_signal_r, epics_signal_rw, epics_signal_w

LOOK_S = 0.02


class AsyncAxis(StandardReadable, Movable, Stoppable):  # type: ignore[type-arg]
    """An axis of ophyd-async, which says neither whether it moves nor whether its line is there."""

    def __init__(self, prefix: str, near: float, name: str = "") -> None:
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.readback = epics_signal_r(float, f"ca://{prefix}readback")
        self.setpoint = epics_signal_rw(float, f"ca://{prefix}setpoint")
        self.halt = epics_signal_w(int, f"ca://{prefix}stop")
        self._near = near
        self._stopped = asyncio.Event()
        self._is_success = True
        super().__init__(name=name)

    @AsyncStatus.wrap
    async def set(self, value: float) -> None:
        """Go there; done when it is there."""
        self._stopped.clear()
        await self.setpoint.set(value)
        while abs(await self.readback.get_value(cached=False) - value) > self._near:
            await asyncio.sleep(LOOK_S)
            if self._stopped.is_set():
                if not self._is_success:
                    raise RuntimeError("stopped")
                return

    async def stop(self, success: bool = False) -> None:
        """Halt it."""
        self._is_success = success
        self._stopped.set()
        await self.halt.set(1)


class ClassicAxis(PVPositioner):  # type: ignore[misc]
    """An axis of classic ophyd; its controller says whether it moves."""

    setpoint = Component(EpicsSignal, "setpoint")
    readback = Component(EpicsSignalRO, "readback")
    done = Component(EpicsSignalRO, "moving")
    done_value = 0
    stop_signal = Component(EpicsSignal, "stop")
    stop_value = 1
