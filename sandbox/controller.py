"""The controller of a simulated laboratory, in a process of its own: `python -m athanor.sandbox.controller`.

Like a real controller it goes on moving when whoever asked for the motion dies, serves several clients at once, keeps
its own log, and checks no limits: it accepts every finite number, so that the limits are shown to be ours. It speaks
JSON lines on `controller.sock`; see `OPERATIONS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from athanor.instruments.laboratory import ProcessFailed
from athanor.sandbox.laboratory import SimulatedLaboratory, measure
from athanor.sandbox.motion import Axis
from athanor.sandbox.options import OptionError, Options
from athanor.sandbox.physics import Value
from athanor.sandbox.wire import LIMIT, WireError, decode, encode
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
    """One connection."""

    def __init__(self, number: int, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.name = f"client-{number}"
        self.writer = writer
        self.tasks: set[asyncio.Task[None]] = set()

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message; a client that is gone is noticed by its reader."""
        if not self.writer.is_closing():
            self.writer.write(encode(message))

    def drop(self) -> None:
        """Cut the connection."""
        self.writer.transport.abort()


class Controller:
    """Axes, measurements and faults of one laboratory, driven by lines from any number of clients."""

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

    # -- connections ---------------------------------------------------------------------------------------------------

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        self._numbers += 1
        client = Client(self._numbers, writer)
        self.clients[client.number] = client
        self.log("connect", client=client.number)
        try:
            while line := await reader.readline():
                self._answer(client, line)
        except (ConnectionError, ValueError):
            pass  # ValueError: a line beyond LIMIT; both end the connection
        finally:
            del self.clients[client.number]
            self.last_client = time.monotonic()
            for task in client.tasks:
                task.cancel()
            self.log("disconnect", client=client.number, name=client.name)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, client: Client, line: bytes) -> None:
        try:
            request = decode(line)
        except WireError as error:
            self.log("refusal", client=client.number, code="wire", detail=str(error))
            client.send({"id": None, "ok": False, "code": "wire", "detail": str(error)})
            return
        number = request.get("id")
        try:
            operation = OPERATIONS.get(str(request.get("op")))
            if operation is None:
                raise Refusal("unknown_op", f"there is no {request.get('op')!r}; it can be {', '.join(OPERATIONS)}")
            reply = operation(self, client, request)
        except Refusal as refusal:
            self._refuse(client, number, refusal)
            return
        if isinstance(reply, Mapping):
            client.send({"id": number, "ok": True, **reply})
            return
        task = asyncio.ensure_future(self._answer_later(client, number, reply))
        client.tasks.add(task)
        task.add_done_callback(client.tasks.discard)

    async def _answer_later(self, client: Client, number: Any, reply: Awaitable[Mapping[str, Any] | None]) -> None:
        try:
            body = await reply
        except Refusal as refusal:
            self._refuse(client, number, refusal)
            return
        if body is not None:
            client.send({"id": number, "ok": True, **body})

    def _refuse(self, client: Client, number: Any, refusal: Refusal) -> None:
        self.log("refusal", client=client.number, code=refusal.code, detail=refusal.detail)
        client.send({"id": number, "ok": False, "code": refusal.code, "detail": refusal.detail})

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

    async def trigger(self, client: Client, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """Measure once at the present positions: after the dwell time, the raw readings of every signal."""
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
        await asyncio.sleep(self.physics.dwell_s * options.time_scale)
        try:
            readings = await asyncio.to_thread(measure, self.physics, values, run["seed"], ordinal, replicate, options)
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


OPERATIONS: Mapping[
    str, Callable[[Controller, Client, Mapping[str, Any]], Mapping[str, Any] | Awaitable[Mapping[str, Any] | None]]
] = {
    "hello": Controller.hello,
    "status": Controller.status,
    "configure": Controller.configure,
    "prepare": Controller.prepare,
    "set": Controller.set,
    "read": Controller.read,
    "stop": Controller.stop,
    "stop_all": Controller.stop_all,
    "trigger": Controller.trigger,
    "shutdown": Controller.shutdown,
}


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False


async def run_controller(controller: Controller, path: str, *, idle_s: float, on_ready: Callable[[], None]) -> None:
    """Serve until told to end, or until nobody was connected and nothing moved for `idle_s` seconds."""
    mask = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(controller.serve, path, limit=LIMIT)
    finally:
        os.umask(mask)
    controller.log(
        "start", laboratory=controller.laboratory.name, pid=os.getpid(), options=controller.options.to_dict()
    )
    on_ready()
    async with server:
        while not controller.ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(controller.ending.wait(), timeout=min(1.0, idle_s))
            idle = time.monotonic() - controller.last_client
            if not controller.clients and not controller.is_moving() and idle > idle_s:
                break
        server.close()
        for client in list(controller.clients.values()):
            client.writer.close()  # after what is still to be sent
        for _ in range(100):
            if not controller.clients:
                break
            await asyncio.sleep(0.01)
    controller.log("exit")


if __name__ == "__main__":
    from athanor.sandbox.process import main

    raise SystemExit(main())
