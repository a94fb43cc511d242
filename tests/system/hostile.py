"""What must be refused before it reaches an axis, and a judge of what did, by the controller's own log."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from athanor.instruments.limits import Limit

HOSTILE: list[Any] = [
    math.nan, math.inf, -math.inf, np.nan, np.float32("inf"), 1e308, -1e308, 10**400, True, False, None, "60",
    "60 degC", "333 kelvin", b"60", [60.0], {"value": 60}, 1j, Decimal("60"), np.array([60.0]), np.array(60.0), "",
]  # fmt: skip
STRANGERS = ["pressure", "Temperature", "temperature ", "temperature.setpoint", "__class__", "", "τ", "analyser"]
CLOSED_BELOW = 0.3
INTERLOCK = {"name": "dilute", "require": f"concentration < {CLOSED_BELOW} and concentration > 0", "stale_s": 5.0}
LATE_S = 0.05
"""The log has a set so much later than we sent it, at most (seconds)."""


def hostile_value(rng: random.Random, limit: Limit) -> Any:
    """Mostly what must be refused: wrong kinds and units, not finite, outside, just outside; seldom a good one."""
    values = [float(value) for value in limit.allowed or (limit.minimum, limit.maximum) if value is not None]
    low, high = min(values), max(values)
    span = high - low
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(HOSTILE)
    if kind < 0.60:
        return rng.uniform(low - 2 * span, high + 2 * span)
    if kind < 0.75:
        return rng.choice([math.nextafter(high, math.inf), math.nextafter(low, -math.inf)])
    if kind < 0.85:
        return rng.choice([low, high]) * rng.choice([60.0, 1e-3, 1e3, -1.0]) + rng.choice([0.0, 273.15])  # other units
    if kind < 0.95:
        return rng.gauss(0, 1) * 10.0 ** rng.randint(-300, 300)
    return rng.choice([np.float64, float])(rng.uniform(low, high) if limit.allowed is None else rng.choice(values))


def judge(rows: Iterable[Mapping[str, Any]], limits: Mapping[str, Limit]) -> tuple[int, list[str]]:
    """How many sets the controller has seen from us, and what is wrong with any of them.

    The client called `panel` is somebody else, who moves the concentration that the interlock looks at.
    """
    rows = list(rows)
    panel = next(row["client"] for row in rows if row["kind"] == "hello" and row["name"] == "panel")
    origins = {row["move"]: row["origin"] for row in rows if row["kind"] == "motion"}
    concentration, seen, wrong = math.nan, 0, []
    last: dict[str, float] = {}
    for row in rows:
        if row["kind"] == "refusal":
            wrong.append(f"the controller had to refuse: {row}")
        if row["kind"] != "set":
            continue
        if row["client"] == panel:
            concentration = row["value"]
            continue
        seen += 1
        limit, value, way = limits[row["axis"]], row["value"], abs(row["value"] - origins[row["move"]])
        if not 0 < concentration < CLOSED_BELOW:
            wrong.append(f"the interlock was open: {row}")
        if not (value in limit.allowed if limit.allowed is not None else limit.minimum <= value <= limit.maximum):
            wrong.append(f"outside: {row}")
        if limit.largest_step is not None and way > limit.largest_step + limit.tolerance:
            wrong.append(f"a step of {way}: {row}")
        if limit.largest_rate is not None:
            # Ours are the times that count: the log had the set before a moment later than we sent it.
            since = row["mono"] - last.get(row["axis"], -math.inf)
            if way > limit.largest_rate * min(limit.move_s, since + LATE_S):
                wrong.append(f"too fast, {way} after {since} s: {row}")
            last[row["axis"]] = row["mono"]
    return seen, wrong
