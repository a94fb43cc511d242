"""Moving an axis a little and back, and halting it in motion, to see that it does what its profile says.

Everything goes through `LimitedAxis`, so limits, interlocks, the latch and the write switch hold as in a run.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from athanor.instruments.bounds import LimitViolation, SetRefused
from athanor.instruments.findings import Finding, Status
from athanor.instruments.limits import LimitedAxis, finished
from athanor.instruments.profile import AxisSpec

SMALL = 0.01
"""Part of the range that the first move goes."""
LONG = 0.1
"""Part of the range that the move goes which is halted, if the largest step allows it."""
LOOK_S = 0.02
MARGIN_S = 1.0
STILL = 3
"""So many looks in a row at one place mean standstill."""


class Exercise:
    """The exercise of one axis.

    Args:
        name: The axis.
        axis: The axis behind its limits.
        spec: Its limits, tolerance and times.
        gate: Raises `SetRefused` when nothing may move; asked all the while, so that Stop All ends the exercise too.
    """

    def __init__(self, name: str, axis: LimitedAxis, spec: AxisSpec, gate: Callable[[], None]) -> None:
        self._name = name
        self._axis = axis
        self._spec = spec
        self._gate = gate
        self._has_moved = False

    async def run(self) -> list[Finding]:
        """Move, halt, move back; what was found. Whatever happens, the axis is halted and, if it may be, sent back."""
        try:
            return await self._play()
        except asyncio.CancelledError:
            if self._has_moved:
                await self._stop()
            raise

    async def _play(self) -> list[Finding]:
        try:
            origin = await self._where()
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, nothing was moved
            return [self._found("fault", f"nothing was moved: {_said(error)}", "see to its read-back")]
        if (aim := self._aim(origin)) is None:
            return [
                self._found("not checked", f"it stands at {origin!r}, from where there is no move within its limits")
            ]
        found: list[Finding] = []
        try:
            found.append(await self._small(origin, aim))
            found.append(await self._halt(aim))
        except SetRefused as error:
            found.append(self._found("not now", f"refused: {error.detail}", "see why, then exercise it again"))
            await self._stop()
            return [*found, await self._stands()]
        except Exception as error:  # noqa: BLE001 - whatever a driver raises
            await self._stop()
            found.append(self._found("fault", _said(error), "see to the axis before anything runs on it"))
        found.append(await self._back(origin))
        return found

    # -- the moves ----------------------------------------------------------------------------------------------------

    async def _small(self, origin: Any, aim: Any) -> Finding:
        await self._go(aim)
        here = await self._where()
        if not self._is_at(here, aim):
            said = f"it was sent to {aim!r} and reads {here!r}, beyond its tolerance of {self._spec.tolerance:g}"
            return self._found("fault", said, "compare tolerance and settling with the controller's")
        way = "" if isinstance(aim, str) else f", {abs(aim - origin):g}{self._unit} from {origin:g}"
        return self._found("ok", f"moved to {_shown(aim)}{way}, and the read-back followed")

    async def _halt(self, start: Any) -> Finding:
        """Begin a longer move and halt it on the way."""
        if self._spec.allowed is not None:
            return self._found("not checked", "it is not halted between two allowed values")
        goal = self._farther(start)
        if goal is None:
            return self._found("not checked", "no move within its limits is long enough to be halted")
        await self._wait_for_rate(abs(goal - start))
        moving = asyncio.ensure_future(finished(self._axis.set(goal)))
        try:
            too_late = self._found("not checked", f"the move to {goal:g} was over before it could be halted")
            if not await self._is_on_its_way(moving, start):
                return too_late
            await self._send_stop()
            if self._is_at(await self._where(), goal):
                return too_late  # it may have arrived before the stop was taken
            with suppress(RuntimeError):  # that it was stopped is no failure
                await asyncio.wait_for(moving, self._spec.longest_move_s + MARGIN_S)
        finally:
            moving.cancel()
            with suppress(BaseException):
                await moving
        here = await self._standstill()
        if here is None:
            return self._found("fault", "it still moves after its stop", "see to its stop before anything runs on it")
        if self._is_at(here, goal):
            said = f"it was told to stop on its way to {goal:g} and went on to {here:g}"
            return self._found("fault", said, "see to its stop before anything runs on it")
        return self._found("ok", f"halted at {here:g} on its way to {goal:g}")

    async def _back(self, origin: Any) -> Finding:
        """Back to where it stood, in steps that its limits allow."""
        try:
            here = await self._where()
            while not self._is_at(here, origin):
                await self._go(self._towards(here, origin))
                after = await self._where()
                if self._is_at(after, here):
                    raise RuntimeError(f"it does not leave {after!r}")
                here = after
        except SetRefused as error:
            return self._found("not now", f"not moved back to {_shown(origin)}: {error.detail}", "move it back by hand")
        except Exception as error:  # noqa: BLE001 - whatever a driver raises
            await self._stop()
            return self._found("fault", f"not moved back to {_shown(origin)}: {_said(error)}", "move it back by hand")
        return self._found("ok", f"moved back to {_shown(origin)}")

    async def _go(self, value: Any) -> None:
        if not isinstance(value, str):
            await self._wait_for_rate(abs(value - await self._where()))
        self._has_moved = True
        moving = asyncio.ensure_future(finished(self._axis.set(value)))
        deadline = asyncio.get_running_loop().time() + self._spec.longest_move_s + MARGIN_S
        try:
            while not moving.done():
                if asyncio.get_running_loop().time() > deadline:
                    raise TimeoutError(f"not at {value!r} within {self._spec.longest_move_s:g} s")
                await asyncio.wait({moving}, timeout=LOOK_S)
                self._gate()
            await moving
        finally:
            moving.cancel()
            with suppress(BaseException):
                await moving
        await asyncio.sleep(self._spec.settle_s)

    async def _wait_for_rate(self, way: float) -> None:
        """A set that comes too soon after the one before is refused: the rate counts the time between them."""
        if self._spec.largest_rate is not None and not self._spec.walk and self._has_moved:
            await asyncio.sleep(1.05 * way / self._spec.largest_rate)

    async def _is_on_its_way(self, moving: asyncio.Future[None], start: float) -> bool:
        """Whether it was seen to leave `start` before the move was over; raises what the move failed with."""
        while not moving.done():
            if not self._is_at(await self._where(), start) and not moving.done():
                return True
            self._gate()
            await asyncio.wait({moving}, timeout=LOOK_S / 4)
        await moving
        return False

    async def _standstill(self) -> float | None:
        """Where it has come to rest; None when it has not within the time of one motion."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._spec.timeout_s
        last, still = await self._where(), 0
        while still < STILL:
            if loop.time() > deadline:
                return None
            await asyncio.sleep(LOOK_S)
            here = await self._where()
            still = still + 1 if abs(here - last) <= max(self._spec.tolerance, 4 * math.ulp(abs(here))) else 0
            last = here
        return float(last)

    async def _send_stop(self) -> None:
        answer = self._axis.stop(success=True)
        if inspect.isawaitable(answer):
            await asyncio.wait_for(answer, self._spec.timeout_s)

    async def _stop(self) -> None:
        with suppress(Exception):
            await self._send_stop()

    async def _stands(self) -> Finding:
        try:
            here = repr(await self._where())
        except Exception as error:  # noqa: BLE001
            here = f"an unknown place ({_said(error)})"
        return self._found("not checked", f"it was halted, and stands at {here}")

    # -- where to -----------------------------------------------------------------------------------------------------

    def _aim(self, here: Any) -> Any:
        """A little way from here towards the middle of the limits; None when there is none."""
        spec = self._spec
        with suppress(LimitViolation):
            here = self._axis.check_value(here)
            if spec.allowed is not None:
                return self._neighbour(here)
            assert spec.minimum is not None and spec.maximum is not None
            span = spec.maximum - spec.minimum
            way = min(max(SMALL * span, 4 * spec.tolerance), self._hop, span / 2)
            return self._along(here, way, 1.0 if here < spec.minimum + span / 2 else -1.0)
        return None

    def _farther(self, start: float) -> float | None:
        spec = self._spec
        assert spec.minimum is not None and spec.maximum is not None
        span = spec.maximum - spec.minimum
        goal = self._along(start, min(LONG * span, self._hop), 1.0 if start < spec.minimum + span / 2 else -1.0)
        return None if goal is None or abs(goal - start) <= 4 * spec.tolerance else goal

    def _along(self, here: float, way: float, sign: float) -> float | None:
        if self._spec.integer:
            way = max(1, math.floor(way))
            if way > self._hop:
                return None
        goal = here + sign * way
        with suppress(LimitViolation):
            return None if self._is_at(here, goal) else self._axis.check_value(goal)  # type: ignore[return-value]
        return None

    def _towards(self, here: Any, goal: Any) -> Any:
        if isinstance(goal, str) or self._spec.allowed is not None or abs(goal - here) <= self._hop:
            return goal
        step = here + math.copysign(self._hop, goal - here)
        return (math.floor(step) if goal > here else math.ceil(step)) if self._spec.integer else step

    @property
    def _hop(self) -> float:
        """The farthest that one set may go."""
        step = self._spec.largest_step if self._spec.largest_step is not None else math.inf
        if self._spec.walk or self._spec.largest_rate is None:
            return step
        return min(step, 0.9 * self._spec.largest_rate * self._spec.timeout_s)

    def _neighbour(self, here: Any) -> Any:
        assert self._spec.allowed is not None
        others = [value for value in self._spec.allowed if value != here]
        if isinstance(here, str):
            return others[0] if others else None
        near = [value for value in others if not isinstance(value, str) and abs(value - here) <= self._hop]
        return min(near, key=lambda value: abs(value - here), default=None)

    async def _where(self) -> Any:
        here = (await self._axis.locate())["readback"]
        return here.item() if hasattr(here, "item") else here

    def _is_at(self, here: Any, value: Any) -> bool:
        if isinstance(here, str) or isinstance(value, str):
            return bool(here == value)
        return bool(abs(here - value) <= self._spec.tolerance + 4 * math.ulp(max(abs(value), 1.0)))

    @property
    def _unit(self) -> str:
        return f" {self._spec.unit}" if self._spec.unit else ""

    def _found(self, status: Status, reason: str, remedy: str = "") -> Finding:
        return Finding("exercise", status, self._name, "", reason, remedy)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"{value:g}"


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
