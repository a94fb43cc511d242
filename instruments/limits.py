"""Limits, checked on every single set, between whoever asks and the device, whose own limits are never relied on."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

from athanor.instruments.bounds import Code, Limit, LimitViolation, SetRefused, unknown

__all__ = ["Code", "Limit", "LimitViolation", "LimitedAxis", "SetRefused", "unknown"]

LOOK_S = 0.1
"""Seconds between two looks whether a waiting walk may go on."""
REST_S = 0.02
"""Seconds between two steps of a walk that has no rate."""


class _Order:
    """One set on its way to the device; `why` says what ended it before its time, None for a stop that was no fault."""

    def __init__(self) -> None:
        self.is_over = False
        self.why: str | None = None

    def end(self, why: str | None) -> None:
        if not self.is_over:
            self.is_over, self.why = True, why


class LimitedAxis:
    """Wraps any `Movable`, classic or asynchronous, and checks every set against `limit` before the device sees it.

    Only what measuring needs is passed on; no other way to move the device is reachable through this object.

    Args:
        device: What is moved.
        limit: What every set is held to; None refuses all.
        gate: Called immediately before each set reaches the device; raises to refuse it (the stop latch).
        interlocks: Awaited before each set, with the checks of limits behind it; raises to refuse it.
        on_refused: Told the stable code of every set that was refused.
        clock: Seconds that only ever grow.
    """

    parent = None

    def __init__(
        self,
        device: Any,
        limit: Limit | None,
        gate: Callable[[], None] | None = None,
        *,
        interlocks: Callable[[], Awaitable[None]] | None = None,
        on_refused: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._limit = limit
        self._gate = gate
        self._interlocks = interlocks
        self._on_refused = on_refused
        self._clock = clock
        self._sent: float | int | str | None = None
        self._sent_at: float | None = None
        self._let_through = 0.0  # how far from the read-back the last set was
        self._order = _Order()
        self._pending: set[int] = set()

    @property
    def name(self) -> str:
        """The device's own name."""
        return str(self._device.name)

    @property
    def limit(self) -> Limit | None:
        """The limit every set is held to."""
        return self._limit

    @property
    def hints(self) -> dict[str, Any]:
        """The device's hints for displays."""
        return getattr(self._device, "hints", {})

    @property
    def is_moving(self) -> bool:
        """Whether a set of ours is under way."""
        return bool(self._pending)

    def check_value(self, value: Any) -> float | int | str:
        """The plain value if a set to it is inside the limits, step aside; raises `LimitViolation`."""
        if self._limit is None:
            raise unknown(self.name, value)
        return self._limit.check(self.name, value)

    def set(self, value: Any) -> Any:
        """Move to `value`; the device's status. Raises `LimitViolation`, or what the gate raises; then nothing moves.

        When it takes an asynchronous read-back, an interlock or a walk, the refusal comes through the status instead.
        """
        try:
            plain = self.check_value(value)
            assert self._limit is not None
            self._order.end("sent elsewhere")
            order = self._order = _Order()
            is_relative = self._limit.is_relative and not isinstance(plain, str)
            here: Any = None
            if self._interlocks is None and not (is_relative and self._limit.walk):
                if not is_relative:
                    return self._pass_on(plain)
                here = self._readback()
                if not inspect.isawaitable(here):
                    return self._pass_on(plain, self._check_way(plain, here))
        except Exception as error:
            self._count(error)
            raise
        from ophyd_async.core import AsyncStatus

        return AsyncStatus(self._set_later(plain, here, is_relative, order))

    async def check_step(self, value: Any) -> None:
        """Raises `LimitViolation` when `value` lies outside the limits, or too far from where the axis stands now.

        A walk makes its own steps: then only the limits count.
        """
        plain = self.check_value(value)
        assert self._limit is not None
        if self._limit.is_relative and not isinstance(plain, str) and not self._limit.walk:
            self._check_way(plain, await self._where())

    async def _set_later(
        self, plain: float | int | str, here: Awaitable[Any] | None, is_relative: bool, order: _Order
    ) -> None:
        assert self._limit is not None
        try:
            if is_relative and self._limit.walk:
                assert not isinstance(plain, str)
                await self._walk(plain, order)
            else:
                way = 0.0
                if is_relative:
                    way = self._check_way(plain, await (here if here is not None else self._where()))
                if self._interlocks is not None:
                    await self._interlocks()
                if not self._is_over(order):
                    await finished(self._pass_on(plain, way))
        except Exception as error:
            self._count(error)
            raise

    async def _walk(self, plain: float | int, order: _Order) -> None:
        """Go there in steps, each no longer, and no sooner after the one before, than the limit allows."""
        assert self._limit is not None
        rate = self._limit.largest_rate
        # Nobody knows when the axis was last set before this session: the first step waits like every other.
        since = self._sent_at if self._sent_at is not None else self._clock()
        while True:
            here = await self._where()
            step = self._limit.next_step(self.name, plain, here)
            due = since + abs(step - here) / rate if rate is not None else since
            while not self._is_over(order) and (left := due - self._clock()) > 0:
                if self._gate is not None:
                    self._gate()
                await asyncio.sleep(min(left, LOOK_S))
            if self._interlocks is not None:
                await self._interlocks()
            if self._is_over(order):
                return
            # Waiting has taken time: it goes by where the axis stands now.
            here = await self._where()
            self._limit.check_step(self.name, self.check_value(step), here)
            if rate is not None and abs(step - here) > rate * (self._clock() - since) * (1 + 1e-9):
                continue
            await finished(self._pass_on(step))
            assert self._sent_at is not None
            since = self._sent_at
            if step == plain or self._is_over(order):
                return
            await asyncio.sleep(REST_S)

    def _is_over(self, order: _Order) -> bool:
        """Whether something has ended the order; raises unless that was a stop which counts as success."""
        if order.is_over and order.why is not None:
            raise RuntimeError(f"{self.name} was {order.why} on its way")
        return order.is_over

    def _check_way(self, plain: float | int | str, here: Any) -> float:
        """The way from the read-back `here`; raises `LimitViolation` when it is too long, or must be gone too fast."""
        limit = self._limit
        assert limit is not None and not isinstance(plain, str)
        limit.check_step(self.name, plain, here)
        way = limit.way(self.name, plain, here)
        # What was let through once may be asked for again, such as after a pause: it is no faster for that.
        if plain != self._sent or way > self._let_through + limit.tolerance:
            elapsed = None if self._sent_at is None else self._clock() - self._sent_at
            limit.check_rate(self.name, plain, here, elapsed)
        return way

    def _pass_on(self, plain: float | int | str, way: float = 0.0) -> Any:
        if self._gate is not None:
            self._gate()
        self._sent, self._sent_at, self._let_through = plain, self._clock(), way
        status = self._device.set(plain)
        if hasattr(status, "add_callback"):
            self._pending.add(id(status))
            status.add_callback(lambda *_: self._pending.discard(id(status)))
        return status

    def _count(self, error: Exception) -> None:
        if self._on_refused is not None and isinstance(error, (LimitViolation, SetRefused)):
            self._on_refused(error.code)

    async def _where(self) -> Any:
        here = self._readback()
        return await here if inspect.isawaitable(here) else here

    @property
    def reader(self) -> Callable[[], Any]:
        """What gives the read-back: a coroutine function when the device is asynchronous, else one that may block."""
        ask = getattr(self._device, "locate", None)
        if ask is None and not hasattr(type(self._device), "position"):
            ask = getattr(self._device, "read", None)
        return self._where if inspect.iscoroutinefunction(ask) else self._readback

    def _readback(self) -> Any:
        """The current read-back, or an awaitable of it; None when the device does not say."""
        if hasattr(self._device, "locate"):
            return _pick(self._device.locate(), lambda location: location["readback"])
        if hasattr(self._device, "position"):
            return self._device.position
        if hasattr(self._device, "read"):
            return _pick(self._device.read(), self._from_reading)
        return None

    def _from_reading(self, reading: dict[str, Any]) -> Any:
        """The field of the axis' own name, or the only one, or the only one that the device hints at."""
        hinted = [field for field in self.hints.get("fields", ()) if field in reading]
        names = [self.name] if self.name in reading else list(reading) if len(reading) == 1 else hinted
        return reading[names[0]]["value"] if len(names) == 1 else None

    async def locate(self) -> dict[str, Any]:
        """Where the axis was sent and where it is, as {"setpoint", "readback"}."""
        if hasattr(self._device, "locate"):
            location = self._device.locate()
            return dict(await location if inspect.isawaitable(location) else location)
        here = self._readback()
        if inspect.isawaitable(here):
            here = await here
        return {"setpoint": here, "readback": here}

    def stop(self, success: bool = True) -> Any:
        """Stop the device, and a walk or a set that has not reached it yet."""
        self._order.end(None if success else "stopped")
        return self._device.stop(success=success)

    def read(self) -> Any:
        """The device's reading."""
        return self._device.read()

    def describe(self) -> Any:
        """The description of the device's reading."""
        return self._device.describe()

    def read_configuration(self) -> Any:
        """The device's configuration."""
        return self._device.read_configuration() if hasattr(self._device, "read_configuration") else {}

    def describe_configuration(self) -> Any:
        """The description of the device's configuration."""
        return self._device.describe_configuration() if hasattr(self._device, "describe_configuration") else {}

    def stage(self) -> Any:
        """Stage the device if it can be staged."""
        return self._device.stage() if hasattr(self._device, "stage") else []

    def unstage(self) -> Any:
        """Unstage the device if it can be staged."""
        return self._device.unstage() if hasattr(self._device, "unstage") else []


async def finished(status: Any) -> None:
    """Wait until a status of either family is done; raises what it ended with."""
    if inspect.isawaitable(status):
        await status
    elif hasattr(status, "add_callback"):
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        status.add_callback(lambda *_: loop.call_soon_threadsafe(over.set))
        await over.wait()
        if (error := status.exception(timeout=0)) is not None:
            raise error


def _pick(answer: Any, pick: Callable[[Any], Any]) -> Any:
    if not inspect.isawaitable(answer):
        return pick(answer)

    async def later() -> Any:
        return pick(await answer)

    return later()
