"""The core of a simulated laboratory's controller: axes, motion, measurements, faults and the witness log.

Like a real controller it goes on moving when whoever asked for the motion dies, keeps its own log, and checks no
limits: it accepts every finite number, so that the limits are shown to be ours. Front ends bring the operations to it
over some line: `controller` over a Unix socket, `serving` over the protocols of real instruments.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Mapping
from typing import Any

from athanor.instruments.laboratory import ProcessFailed
from athanor.sandbox.laboratory import SimulatedLaboratory, measure
from athanor.sandbox.motion import Axis
from athanor.sandbox.options import OptionError, Options
from athanor.sandbox.physics import Value
from athanor.sandbox.witness import Witness

TICK_S = 0.01
"""Interval in seconds at which moving axes are brought up to date, logged and told to the clients."""


class Refusal(Exception):
    """An operation that the controller does not carry out; `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Client:
    """Who asks for operations and is told of motions. A front end says how it is told, and how its line is cut."""

    number = 0

    def __init__(self, name: str = "") -> None:
        self.name = name

    def send(self, message: dict[str, Any]) -> None:
        """Tell it of a `position` or of a motion that is `done`."""

    def drop(self) -> None:
        """Cut its line."""


class Core:
    """Axes, measurements and faults of one laboratory, driven by any number of clients."""

    def __init__(self, laboratory: SimulatedLaboratory, options: Options, witness: Witness) -> None:
        self.laboratory = laboratory
        self.physics = laboratory.physics
        self.options = options
        self.log = witness
        self.axes = {model.name: Axis(model, model.rest) for model in self.physics.axes}
        self.clients: dict[int, Client] = {}
        self.run: dict[str, Any] | None = None
        self.ending = asyncio.Event()
        self.last_client = time.monotonic()
        self._replicates: dict[str, int] = {}
        self._moves = 0
        self._numbers = 0
        self._ticker: asyncio.Task[None] | None = None

    # -- clients -------------------------------------------------------------------------------------------------------

    def join(self, client: Client) -> None:
        """Count a client in."""
        self._numbers += 1
        client.number = self._numbers
        client.name = client.name or f"client-{client.number}"
        self.clients[client.number] = client
        self.log("connect", client=client.number)

    def leave(self, client: Client) -> None:
        """Count a client out."""
        del self.clients[client.number]
        self.last_client = time.monotonic()
        self.log("disconnect", client=client.number, name=client.name)

    def refused(self, client: Client, refusal: Refusal) -> None:
        """Write a refusal into the log."""
        self.log("refusal", client=client.number, code=refusal.code, detail=refusal.detail)

    def _tell(self, message: dict[str, Any]) -> None:
        for client in list(self.clients.values()):
            client.send(message)

    # -- operations ----------------------------------------------------------------------------------------------------

    def hello(self, client: Client, request: Mapping[str, Any]) -> dict[str, Any]:
        """Name the client and learn who this is."""
        client.name = str(request.get("client", client.name))
        self.log("hello", client=client.number, name=client.name)
        return {"laboratory": self.laboratory.name, "pid": os.getpid(), **self.status(client, request)}

    def status(self, client: Client, request: Mapping[str, Any]) -> dict[str, Any]:
        """Positions, motion, the run in hand and the options."""
        return {
            "positions": self._positions(),
            "moving": self._moving(),
            "run": self.run,
            "options": self.options.to_dict(),
            "clients": len(self.clients),
        }

    def configure(self, client: Client, request: Mapping[str, Any]) -> dict[str, Any]:
        """Take other options; refused while an axis moves."""
        try:
            options = Options.parse(request.get("options") or {}, self.physics)
        except OptionError as error:
            raise Refusal("options", str(error)) from error
        if options != self.options:
            if self._moving():
                raise Refusal("moving", "other options cannot be taken while an axis moves; stop it first")
            self.options = options
            self.log("options", options=options.to_dict())
        return {"options": self.options.to_dict()}

    def prepare(self, client: Client, request: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a run: its intent, experiment, ordinal and seed decide noise and faults."""
        run: dict[str, Any] = {
            key: request.get(key) for key in ("intent", "experiment", "ordinal", "seed", "replicates")
        }
        for key in ("ordinal", "seed"):
            if isinstance(run[key], bool) or not isinstance(run[key], int) or run[key] < 0:
                raise Refusal("run", f"{key}: a whole number >= 0 is needed, not {run[key]!r}")
        self.run = {**run, "disconnected": False}
        self._replicates.clear()
        self.log("run", client=client.number, **run)
        return {"positions": self._positions()}

    def set(self, client: Client, request: Mapping[str, Any]) -> dict[str, Any]:
        """Start a motion and answer with its number; a `done` event tells when and how it ended."""
        axis = self._axis(request)
        value = request.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise Refusal("type", f"{axis.model.name}: a number or a word is needed, not {value!r}")
        if isinstance(value, str) != isinstance(axis.model.rest, str):
            raise Refusal("type", f"{axis.model.name}: {value!r} is not of the kind of {axis.model.rest!r}")
        if not isinstance(value, str) and not _is_finite(value):
            raise Refusal("not_finite", f"{axis.model.name}: {value!r} is not a finite number")
        now = time.monotonic()
        self._end(axis, now, "superseded")
        self._moves += 1
        is_stuck = self.run is not None and self.options.faults.is_active("stuck", self.run["ordinal"], axis.model.name)
        motion = axis.begin(self._moves, value, now, self.options.time_scale, is_stuck=is_stuck)
        self.log("set", client=client.number, axis=axis.model.name, value=value, move=motion.move)
        self.log("motion", axis=axis.model.name, move=motion.move, origin=motion.origin, target=value)
        if is_stuck:
            self.log("fault", fault="stuck", axis=axis.model.name)
        move = motion.move
        # The answer goes out before the end of a motion that takes no time.
        asyncio.get_running_loop().call_soon(self._tick)
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.ensure_future(self._tick_on())
        return {"move": move}

    def read(self, client: Client, request: Mapping[str, Any]) -> dict[str, Any]:
        """Where every axis is now."""
        return {"positions": self._positions(), "moving": self._moving(), "time": time.time()}

    def stop(self, client: Client, request: Mapping[str, Any]) -> dict[str, Any]:
        """Halt one axis where it is."""
        return self._halt([self._axis(request)], client)

    def stop_all(self, client: Client, request: Mapping[str, Any]) -> dict[str, Any]:
        """Halt every axis where it is."""
        return self._halt(list(self.axes.values()), client)

    def trigger(self, client: Client, request: Mapping[str, Any]) -> Awaitable[Mapping[str, Any]] | None:
        """Measure once at the present positions: after the dwell time, the raw readings of every signal.

        The measurement counts, and a fault strikes, at once; what is returned ends it. None: nobody will answer.
        """
        run, options = self.run, self.options
        if run is None:
            raise Refusal("not_prepared", "no run was prepared, so noise and faults are undefined; prepare one first")
        ordinal = run["ordinal"]
        detector = str(request.get("detector", "detector"))
        replicate = self._replicates.get(detector, 0)
        self._replicates[detector] = replicate + 1
        values = self._positions()
        who = {"client": client.number, "detector": detector, "replicate": replicate, "intent": run["intent"]}
        self.log("trigger", values=values, **who)
        if options.faults.is_active("disconnect", ordinal) and not run["disconnected"]:
            run["disconnected"] = True
            self.log("fault", fault="disconnect", client=client.number)
            client.drop()
            return None
        if options.faults.is_active("dropout", ordinal):
            self.log("fault", fault="dropout", detector=detector)
            return None
        return self._measure(values, run["seed"], ordinal, replicate, options, who)

    async def _measure(
        self,
        values: dict[str, Value],
        seed: int,
        ordinal: int,
        replicate: int,
        options: Options,
        who: Mapping[str, Any],
    ) -> dict[str, Any]:
        await asyncio.sleep(self.physics.dwell_s * options.time_scale)
        try:
            readings = await asyncio.to_thread(measure, self.physics, values, seed, ordinal, replicate, options)
        except ProcessFailed as error:
            raise Refusal("process_failed", error.reason) from error
        except (ArithmeticError, ValueError, TypeError, KeyError) as error:
            # The physics was asked for something outside all sense; a real process would fail too.
            raise Refusal("process_failed", f"nothing measurable at {values}: {error}") from error
        for kind in ("drift", "nan"):
            for fault in options.faults.active(kind, ordinal):
                self.log("fault", fault=kind, signal=fault.target)
        self.log("reading", **who)
        return {"readings": readings, "time": time.time()}

    def shutdown(self, client: Client, request: Mapping[str, Any]) -> dict[str, Any]:
        """End the controller."""
        self.log("shutdown", client=client.number)
        self.ending.set()
        return {}

    # -- motion --------------------------------------------------------------------------------------------------------

    def _axis(self, request: Mapping[str, Any]) -> Axis:
        axis = self.axes.get(str(request.get("axis")))
        if axis is None:
            raise Refusal("unknown_axis", f"there is no axis {request.get('axis')!r}; there is {', '.join(self.axes)}")
        return axis

    def _positions(self) -> dict[str, Value]:
        now = time.monotonic()
        for axis in self.axes.values():
            self._report(axis, now)  # so that nobody learns of a position that the log does not have
        return {name: axis.position for name, axis in self.axes.items()}

    def is_moving(self) -> bool:
        """Whether any axis is in motion."""
        return bool(self._moving())

    def _moving(self) -> list[str]:
        return [name for name, axis in self.axes.items() if axis.motion is not None]

    def _halt(self, axes: list[Axis], client: Client) -> dict[str, Any]:
        now = time.monotonic()
        for axis in axes:
            self._end(axis, now, "stopped")
            self.log("stop", client=client.number, name=client.name, axis=axis.model.name, position=axis.position)
        return {"positions": self._positions(), "moving": self._moving()}

    def _end(self, axis: Axis, now: float, reason: str) -> None:
        motion = axis.motion
        if motion is None:
            return
        self._report(axis, now)
        axis.motion = None
        is_reached = reason == "reached"
        name, move = axis.model.name, motion.move
        self.log("end", axis=name, move=move, position=axis.position, reason=reason)
        self._tell(
            {
                "event": "done",
                "axis": name,
                "move": move,
                "position": axis.position,
                "reached": is_reached,
                "reason": reason,
            }
        )

    def _report(self, axis: Axis, now: float) -> None:
        before = axis.position
        after = axis.advance(now)
        if after != before:
            self.log("position", axis=axis.model.name, position=after)
            self._tell({"event": "position", "axis": axis.model.name, "position": after})

    def _tick(self) -> None:
        now = time.monotonic()
        for axis in self.axes.values():
            if axis.motion is None:
                continue
            if axis.motion.is_over(now):
                self._end(axis, now, "reached")
            else:
                self._report(axis, now)

    async def _tick_on(self) -> None:
        while self._moving():
            await asyncio.sleep(TICK_S)
            self._tick()


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False
