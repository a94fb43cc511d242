"""How numbers, times and names are written for people, the same on every screen and in every report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

MISSING = "—"


def number(value: float | int | str | None, digits: int = 4) -> str:
    """Write a number with at most `digits` significant digits, without a needless exponent."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 10**digits):
        return f"{int(value)}".replace("-", "−")
    size = math.floor(math.log10(abs(value)))
    if size >= 6 or size < -4:
        mantissa, exponent = f"{value:.{max(digits - 2, 0)}e}".split("e")
        text = f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"
    else:
        text = f"{value:.{max(digits - 1 - size, 0)}f}"
        if "." in text:
            text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def measured(mean: float | None, sem: float | None, unit: str | None = None) -> str:
    """Write a value with its standard error: as many decimals as two digits of the error call for."""
    tail = f" {pretty_unit(unit)}" if unit else ""
    if mean is None:
        return MISSING
    if sem is None or not math.isfinite(sem) or sem <= 0 or not math.isfinite(mean):
        return number(mean) + tail
    decimals = max(0, 1 - math.floor(math.log10(sem)))
    if decimals > 8:
        return f"{number(mean, 6)} ± {number(sem, 2)}{tail}"
    text = f"{mean:.{decimals}f} ± {sem:.{decimals}f}" if sem < 100 else f"{mean:.0f} ± {sem:.0f}"
    return text.replace("-", "−") + tail


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@lru_cache(maxsize=256)
def pretty_unit(unit: str | None) -> str:
    """Write a unit as print does: `kg/m³/h` for `kg/m^3/h`, `°C` for `degC`; nothing for none."""
    if unit in (None, "", "1"):
        return ""
    text = re.sub(r"(?:\^|\*\*)(-?\d+)", lambda power: power[1].translate(_SUPERSCRIPTS), str(unit))
    text = re.sub(r"\bdegC\b", "°C", text)
    return re.sub(r"\bu(?=[A-Za-z])", "µ", text).replace("*", "·")


def prose(text: str) -> str:
    """Return a sentence of a record with its numbers and units as in print: 310 for `3.1e+02`, m³ for `m^3`."""
    text = re.sub(r"(?<![\w.])\d+(?:\.\d+)?e[+-]?\d+\b", lambda found: number(float(found[0]), 3), text)
    text = re.sub(r"(?<=[A-Za-z])\^(-?\d+)", lambda power: power[1].translate(_SUPERSCRIPTS), text)
    return re.sub(r"\bdegC\b", "°C", text)


class HasUnits(Protocol):
    """Whatever knows the unit of a name and the order of names, such as a problem."""

    @property
    def names(self) -> Sequence[str]:
        """Return the parameters' names in order."""
        ...

    def unit(self, name: str) -> str | None:
        """Return the unit, or None."""
        ...


def settings(values: Mapping[str, float | int | str], units: HasUnits) -> str:
    """Write a point as `temperature 80 degC, ratio 3`."""
    parts = []
    for name in sorted(values, key=lambda name: units.names.index(name) if name in units.names else len(units.names)):
        value = values[name]
        unit = pretty_unit(units.unit(name))
        parts.append(f"{name} {number(value)}{f' {unit}' if unit else ''}")
    return ", ".join(parts)


def duration(seconds: float | None) -> str:
    """Write a length of time in its two largest units: `2 h 5 min`, `48 s`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{round(whole / 60)} min"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment(time: datetime | None) -> str:
    """Write a point in time in UTC, to the second."""
    return MISSING if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(time: datetime | None, now: datetime | None = None) -> str:
    """Write how long ago a time was."""
    if time is None:
        return MISSING
    return f"{duration(((now or datetime.now(UTC)) - time).total_seconds())} ago"


def count(quantity: int, thing: str, several: str | None = None) -> str:
    """Write `1 experiment`, `2 experiments`."""
    return f"{quantity} {thing if quantity == 1 else several or thing + 's'}"


def e_value(log_e: float | None) -> str:
    """Write an e-value given its natural logarithm, without overflow."""
    if log_e is None:
        return MISSING
    exponent = log_e / math.log(10)
    if exponent > 4 or exponent < -3:
        return f"10^{number(exponent, 3)}"
    return number(math.exp(log_e), 3)
