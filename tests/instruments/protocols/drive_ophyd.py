"""Drives the soft IOC through classic ophyd: `... drive_ophyd PREFIX`; prints what happened, as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from bluesky import plan_stubs as bps
from bluesky.run_engine import RunEngine
from bluesky.utils import DuringTask
from ophyd import Component, Device, EpicsSignal, EpicsSignalRO, PVPositioner, cl

DEADLINE_S = 20.0


class Axis(PVPositioner):  # type: ignore[misc]
    """The IOC's axis."""

    setpoint = Component(EpicsSignal, "SETPOINT")
    readback = Component(EpicsSignalRO, "READBACK")
    done = Component(EpicsSignalRO, "MOVING")
    done_value = 0
    stop_signal = Component(EpicsSignal, "STOP")
    stop_value = 1


class Camera(Device):  # type: ignore[misc]
    """What else the IOC has."""

    measured = Component(EpicsSignalRO, "MEASURED")
    label = Component(EpicsSignal, "LABEL", string=True)
    mode = Component(EpicsSignal, "MODE", string=True)


def plan(axis: Axis, camera: Camera) -> Iterator[Any]:
    """Move and measure."""
    yield from bps.open_run()
    yield from bps.abs_set(camera.mode, "Fast", wait=True)
    yield from bps.abs_set(camera.label, "driven", wait=True)
    yield from bps.mv(axis, 2.25)
    yield from bps.trigger_and_read([axis, camera])
    yield from bps.close_run()


def main(prefix: str) -> None:
    """Connect, play the plan, then move far away and stop on the way; print the events and where it halted."""
    axis, camera = Axis(prefix, name="stage"), Camera(prefix, name="camera")
    axis.wait_for_connection(timeout=DEADLINE_S)
    camera.wait_for_connection(timeout=DEADLINE_S)
    engine = RunEngine({}, context_managers=[], during_task=DuringTask())
    events: list[dict[str, Any]] = []
    engine(plan(axis, camera), lambda name, document: events.append(document["data"]) if name == "event" else None)

    axis.set(1000.0)
    end = time.monotonic() + DEADLINE_S
    while axis.readback.get() < 3.0:
        assert time.monotonic() < end, "it does not move"
        time.sleep(0.01)
    axis.stop(success=False)
    while axis.done.get() != axis.done_value:
        assert time.monotonic() < end, "it does not halt"
        time.sleep(0.01)
    told = {"layer": cl.name, "events": events, "halted": axis.readback.get()}
    sys.stdout.write(json.dumps(told) + "\n")
    axis.destroy()
    camera.destroy()


if __name__ == "__main__":
    main(sys.argv[1])
