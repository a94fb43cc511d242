"""Drives the soft IOC through ophyd-async's own signals: `... drive_ophyd_async PREFIX`; prints the events, as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from bluesky import plan_stubs as bps
from bluesky.run_engine import RunEngine, call_in_bluesky_event_loop
from bluesky.utils import DuringTask
from ophyd_async.core import StandardReadable, StrictEnum
from ophyd_async.core import StandardReadableFormat as Format
from ophyd_async.epics.core import epics_signal_r, epics_signal_rw, epics_signal_w

DEADLINE_S = 20.0


class Mode(StrictEnum):
    """The choices of the IOC's mode."""

    OFF = "Off"
    SLOW = "Slow"
    FAST = "Fast"


class Stage(StandardReadable):
    """The IOC's PVs."""

    def __init__(self, prefix: str, name: str) -> None:
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.setpoint = epics_signal_rw(float, f"ca://{prefix}SETPOINT")
            self.readback = epics_signal_r(float, f"ca://{prefix}READBACK")
            self.measured = epics_signal_r(float, f"ca://{prefix}MEASURED")
            self.label = epics_signal_rw(str, f"ca://{prefix}LABEL")
            self.mode = epics_signal_rw(Mode, f"ca://{prefix}MODE")
        self.halt = epics_signal_w(int, f"ca://{prefix}STOP")
        super().__init__(name=name)


def arrive(stage: Stage, target: float) -> Iterator[Any]:
    """Wait until it is there."""
    end = time.monotonic() + DEADLINE_S
    while abs((yield from bps.rd(stage.readback)) - target) > 1e-9:
        assert time.monotonic() < end, "it does not arrive"
        yield from bps.sleep(0.01)


def plan(stage: Stage) -> Iterator[Any]:
    """Move, measure, move far away and stop on the way."""
    yield from bps.open_run()
    yield from bps.abs_set(stage.setpoint, 0.1 + 0.2, wait=True)
    yield from bps.abs_set(stage.mode, Mode.FAST, wait=True)
    yield from bps.abs_set(stage.label, "driven", wait=True)
    yield from arrive(stage, 0.1 + 0.2)
    yield from bps.trigger_and_read([stage])
    yield from bps.abs_set(stage.setpoint, 1000.0, wait=True)
    while (yield from bps.rd(stage.readback)) < 1.0:
        yield from bps.sleep(0.01)
    yield from bps.abs_set(stage.halt, 1, wait=True)
    yield from bps.trigger_and_read([stage])
    yield from bps.close_run()


def main(prefix: str) -> None:
    """Connect, play the plan, print the events."""
    engine = RunEngine({}, context_managers=[], during_task=DuringTask())
    stage = Stage(prefix, "stage")
    call_in_bluesky_event_loop(stage.connect(timeout=DEADLINE_S))
    events: list[dict[str, Any]] = []
    engine(plan(stage), lambda name, document: events.append(document["data"]) if name == "event" else None)
    sys.stdout.write(json.dumps(events) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
