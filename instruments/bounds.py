"""What an axis may be set to, and the refusal of everything else. Nothing here touches a device."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any, Literal

PACE_S = 1.0
"""Seconds between two steps of a walk whose only limit is a rate."""

Code = Literal[
    "limit.not_finite",
    "limit.below",
    "limit.above",
    "limit.step",
    "limit.rate",
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
        super().__init__(f"{code}: {axis} = {shown(value)} (limit: {limit}); {remedy}")


class SetRefused(RuntimeError):
    """A set that nothing about its value forbids, refused all the same; nothing moved. `code` is stable."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


@dataclass(frozen=True)
class Limit:
    """What one axis may be set to: an inclusive range or a list of values, in `unit`.

    `largest_step` is the largest allowed distance from the current read-back, which is known to within `tolerance`.
    `largest_rate` (`unit` per second) is the fastest that the device may be asked to go: the distance from the
    read-back, over the time since the last set, of which no more than `move_s` counts; before the first set of a
    session `move_s` counts, the seconds that one motion may take. With `walk` a set that is farther or faster than
    that is not refused but made in steps, each of which is checked.
    """

    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[float | int | str, ...] | None = None
    largest_step: float | None = None
    integer: bool = False
    tolerance: float = 0.0
    unit: str | None = None
    largest_rate: float | None = None
    move_s: float = 10.0
    walk: bool = False

    @property
    def is_relative(self) -> bool:
        """Whether what may be set depends on where the axis stands."""
        return self.largest_step is not None or self.largest_rate is not None

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
        number = number_of(axis, value)
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
        here = self._here("limit.step", axis, value, current)
        if not abs(value - here) <= self.largest_step + self.tolerance:
            raise LimitViolation(
                "limit.step", axis, value, self.largest_step, f"it stands at {here}: go there in smaller steps"
            )

    def check_rate(self, axis: str, value: float | int | str, current: Any, elapsed_s: float | None) -> None:
        """Raises `LimitViolation` when going from `current` to `value` now asks the device to go too fast.

        `elapsed_s` are the seconds since the last set, None before the first.
        """
        if self.largest_rate is None or isinstance(value, str):
            return
        here = self._here("limit.rate", axis, value, current)
        counted = self.move_s if elapsed_s is None else min(elapsed_s, self.move_s)
        if not abs(value - here) <= self.largest_rate * counted:
            remedy = f"it stands at {here} and {counted:g} s count: wait, or let it walk there (`walk: true`)"
            raise LimitViolation("limit.rate", axis, value, f"{self.largest_rate} per s", remedy)

    def next_step(self, axis: str, value: float | int, current: Any) -> float | int:
        """Where a walk to `value` goes next from the read-back `current`. Raises `LimitViolation` if that is unknown.

        A step is as large as `largest_step`; without one, what `largest_rate` allows in a second.
        """
        here = self._here("limit.step", axis, value, current)
        longest = self.largest_step if self.largest_step is not None else (self.largest_rate or 0.0) * PACE_S
        if self.integer:
            longest = max(1, math.floor(longest))
        if abs(value - here) <= longest:
            return value
        step = here + math.copysign(longest, value - here)
        return (math.floor(step) if value > here else math.ceil(step)) if self.integer else step

    def way(self, axis: str, value: float | int, current: Any) -> float:
        """How far it is to `value`. Raises `LimitViolation` when the read-back `current` does not say."""
        code: Code = "limit.step" if self.largest_step is not None else "limit.rate"
        return abs(value - self._here(code, axis, value, current))

    def _here(self, code: Code, axis: str, value: Any, current: Any) -> float | int:
        try:
            return number_of(axis, current)
        except LimitViolation as error:
            bound = self.largest_step if code == "limit.step" else self.largest_rate
            remedy = f"the read-back is {shown(current)}: restore it first"
            raise LimitViolation(code, axis, value, bound, remedy) from error


def unknown(axis: str, value: Any) -> LimitViolation:
    """The refusal of a set on an axis whose limits nobody stated."""
    return LimitViolation("limit.unknown", axis, value, None, "state the axis's limits in the instrument's profile")


def number_of(axis: str, value: Any) -> float | int:
    """The value as Python's own finite number. Raises `LimitViolation` for everything that is none."""
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


def shown(value: Any) -> str:
    """The value as a message shows it."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"{type(value).__name__} too large to print"
    return text if len(text) <= 80 else text[:77] + "..."
