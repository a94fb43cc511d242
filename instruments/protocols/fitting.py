"""How a signal's value fits the narrower types of a controller: whole numbers of some width, and single precision."""

from __future__ import annotations

import math
import struct

from athanor.instruments.protocols.client import SignalSpec, Value, WrongType, typed


def bounds(bits: int, *, is_signed: bool) -> tuple[int, int]:
    """The least and the greatest whole number of so many bits."""
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)


def whole(spec: SignalSpec, value: Value, low: int, high: int, kind: str) -> int:
    """The value as a whole number from `low` to `high`, both included. Raises `WrongType`.

    A scaled signal goes to the nearest whole number: that is its resolution, and the read-back shows what became of
    it. An unscaled one that is not whole is refused. `kind` is the controller's name for the type.
    """
    number = typed(spec, value)
    if isinstance(number, str):
        raise WrongType.on(spec, f"{number[:80]!r} does not fit {kind}", "correct `type:` or the address")
    if not math.isfinite(number):
        raise WrongType.on(spec, f"{number!r} does not fit {kind}", "write a finite number")
    if number != round(number) and spec.scale == 1:
        raise WrongType.on(spec, f"{number!r} does not fit {kind}", "write a whole number, or give the signal a scale")
    fitted = round(number)
    if not low <= fitted <= high:
        raise WrongType.on(
            spec, f"{fitted} does not fit {kind}, {low} to {high}", "narrow the limits, or correct scale"
        )
    return fitted


def real(spec: SignalSpec, value: Value, kind: str, *, single: bool = False) -> float:
    """The value as a finite number, of single precision where asked. Raises `WrongType`."""
    number = typed(spec, value)
    if isinstance(number, (str, bool)):
        raise WrongType.on(spec, f"{number!r:.80} does not fit {kind}", "correct `type:` or the address")
    number = float(number)
    if not math.isfinite(number):
        raise WrongType.on(spec, f"{number!r} does not fit {kind}", "write a finite number")
    if not single:
        return number
    try:
        return float(struct.unpack(">f", struct.pack(">f", number))[0])
    except OverflowError as error:
        raise WrongType.on(spec, f"{number!r} does not fit {kind}", "narrow the limits, or correct scale") from error


def flag(spec: SignalSpec, value: Value, kind: str) -> bool:
    """The value as yes or no; the numbers 1 and 0 stand for them. Raises `WrongType`."""
    plain = typed(spec, value)
    if isinstance(plain, str) or plain not in (0, 1):
        raise WrongType.on(spec, f"{plain!r:.80} does not fit {kind}", "write true or false")
    return bool(plain)
