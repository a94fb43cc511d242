"""Axes: from values to places on paper, and the round numbers to write beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis from values `low`..`high` to places `start`..`end` (pixels)."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = 0.5 if high == low else (value - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round values within the axis."""
        if self.log:
            return log_ticks(self.low, self.high, count)
        return linear_ticks(self.low, self.high, count)


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten that lie within low..high."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999), 10 * power)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, last + 1)]


def log_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return powers of ten within low..high, or 1-2-5 steps where that leaves too few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [10.0**k for k in decades if low * 0.999 <= 10.0**k <= high * 1.001]
    if len(tens) >= 3:
        step = max(1, math.ceil(len(tens) / (count + 1)))
        return tens[::step]
    fine = [m * 10.0**k for k in decades for m in (1, 2, 5) if low * 0.999 <= m * 10.0**k <= high * 1.001]
    return fine or [low, high]


def padded(values: Sequence[float], *, share: float = 0.06, floor: float | None = None) -> tuple[float, float]:
    """Return a range around values with a little air; it does not go below `floor`."""
    low, high = min(values), max(values)
    air = (high - low) * share or abs(high) * 0.1 or 1.0
    low = low - air if floor is None or low - air >= floor else floor
    return low, high + air


def tick_text(value: float) -> str:
    """Write a tick: short, with thousands set apart."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", "−")
    text = f"{value:,.0f}".replace(",", "\u202f") if size >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")
