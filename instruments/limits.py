"""Limits, checked on every single set, between whoever asks and the device, whose own limits are never relied on."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

Code = Literal[
    "limit.not_finite",
    "limit.below",
    "limit.above",
    "limit.step",
    "limit.not_allowed",
    "limit.unknown",
    "limit.type",
]


class LimitViolation(ValueError):
    """A set that was refused; nothing moved. `code` is stable, `limit` is the bound that was crossed."""

    def __init__(self, code: Code, axis: str, value: Any, limit: Any, remedy: str) -> None:
        self.code = code
        self.axis = axis
        self.value = value
        self.limit = limit
        self.remedy = remedy
        super().__init__(f"{code}: {axis} = {_shown(value)} (limit: {limit}); {remedy}")


@dataclass(frozen=True)
class Limit:
    """What one axis may be set to: an inclusive range or a list of values, in `unit`.

    `largest_step` is the largest allowed distance from the current read-back, which is known to within `tolerance`.
    """

    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[float | int | str, ...] | None = None
    largest_step: float | None = None
    integer: bool = False
    tolerance: float = 0.0
    unit: str | None = None

    def check(self, axis: str, value: Any) -> float | int | str:
        """The value as a plain number or word if it may be set; otherwise raises `LimitViolation`.

        What comes back, and nothing else, is what may be given to the device: a number type of the caller's own could
        compare one way and convert another.
        """
        if self.allowed is not None and isinstance(self.allowed[0], str):
            if not isinstance(value, str):
                raise LimitViolation("limit.type", axis, value, list(self.allowed), "give one of the allowed words")
            word = str.__str__(value)
            if word not in self.allowed:
                raise LimitViolation(
                    "limit.not_allowed", axis, value, list(self.allowed), "give one of the allowed words"
                )
            return word
        number = _number(axis, value)
        if self.allowed is not None:
            for option in self.allowed:
                if option == number:
                    return option
            raise LimitViolation("limit.not_allowed", axis, value, list(self.allowed), "give one of the allowed values")
        if self.minimum is None or self.maximum is None:
            raise unknown(axis, value)
        if number < self.minimum:
            raise LimitViolation("limit.below", axis, value, self.minimum, f"give at least {self.minimum}")
        if number > self.maximum:
            raise LimitViolation("limit.above", axis, value, self.maximum, f"give at most {self.maximum}")
        if self.integer:
            if number != int(number):
                raise LimitViolation("limit.type", axis, value, "whole numbers", "give a whole number")
            return int(number)
        return number

    def check_step(self, axis: str, value: float | int | str, current: Any) -> None:
        """Raises `LimitViolation` when the way from the read-back `current` to `value` is too long, or unknown."""
        if self.largest_step is None or isinstance(value, str):
            return
        try:
            here = _number(axis, current)
        except LimitViolation as error:
            raise LimitViolation(
                "limit.step", axis, value, self.largest_step, f"the read-back is {_shown(current)}: restore it first"
            ) from error
        if not abs(value - here) <= self.largest_step + self.tolerance:
            raise LimitViolation(
                "limit.step", axis, value, self.largest_step, f"it stands at {here}: go there in smaller steps"
            )


def unknown(axis: str, value: Any) -> LimitViolation:
    """The refusal of a set on an axis whose limits nobody stated."""
    return LimitViolation("limit.unknown", axis, value, None, "state the axis's limits in the instrument's profile")


def _number(axis: str, value: Any) -> float | int:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise LimitViolation("limit.type", axis, value, "numbers", "give a plain number")
    try:
        number = int(value) if isinstance(value, numbers.Integral) else float(value)
    except OverflowError:  # a fraction beyond the floats
        number = math.inf
    if type(number) not in (int, float):
        raise LimitViolation("limit.type", axis, value, "numbers", "give a plain number")
    if isinstance(number, float) and not math.isfinite(number):
        raise LimitViolation("limit.not_finite", axis, value, "finite numbers", "give a finite number")
    return number


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"{type(value).__name__} too large to print"
    return text if len(text) <= 80 else text[:77] + "..."


class LimitedAxis:
    """Wraps any `Movable`, classic or asynchronous, and checks every set against `limit` before the device sees it.

    `gate` is called immediately before each set reaches the device and raises to refuse it (the stop latch).
    Only what measuring needs is passed on; no other way to move the device is reachable through this object.
    """

    parent = None

    def __init__(self, device: Any, limit: Limit | None, gate: Callable[[], None] | None = None) -> None:
        self._device = device
        self._limit = limit
        self._gate = gate

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

    def check_value(self, value: Any) -> float | int | str:
        """The plain value if a set to it is inside the limits, step aside; raises `LimitViolation`."""
        if self._limit is None:
            raise unknown(self.name, value)
        return self._limit.check(self.name, value)

    def set(self, value: Any) -> Any:
        """Move to `value`; the device's status. Raises `LimitViolation`, or what the gate raises; then nothing moves.

        When the step must be measured over an asynchronous read-back, the refusal comes through the status instead.
        """
        plain = self.check_value(value)
        assert self._limit is not None
        if self._limit.largest_step is not None and not isinstance(plain, str):
            here = self._readback()
            if inspect.isawaitable(here):
                from ophyd_async.core import AsyncStatus

                return AsyncStatus(self._set_after(here, plain))
            self._limit.check_step(self.name, plain, here)
        return self._pass_on(plain)

    async def check_step(self, value: Any) -> None:
        """Raises `LimitViolation` when `value` lies outside the limits or too far from where the axis stands now."""
        plain = self.check_value(value)
        assert self._limit is not None
        if self._limit.largest_step is not None:
            here = self._readback()
            self._limit.check_step(self.name, plain, await here if inspect.isawaitable(here) else here)

    async def _set_after(self, here: Awaitable[Any], plain: float | int | str) -> None:
        assert self._limit is not None
        self._limit.check_step(self.name, plain, await here)
        await self._pass_on(plain)

    def _pass_on(self, plain: float | int | str) -> Any:
        if self._gate is not None:
            self._gate()
        return self._device.set(plain)

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
        item = reading.get(self.name) or (next(iter(reading.values())) if len(reading) == 1 else None)
        return None if item is None else item["value"]

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
        """Stop the device."""
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


def _pick(answer: Any, pick: Callable[[Any], Any]) -> Any:
    if not inspect.isawaitable(answer):
        return pick(answer)

    async def later() -> Any:
        return pick(await answer)

    return later()
