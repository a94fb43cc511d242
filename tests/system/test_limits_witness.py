"""Ten thousand random and hostile candidates against a real controller: its log has none outside the limits."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from athanor.instruments.laboratory import RunContext, load
from athanor.instruments.limits import LimitedAxis, LimitViolation
from athanor.memory.places import InstrumentPlace

CANDIDATES = 10_000
HOSTILE: list[Any] = [
    math.nan, math.inf, -math.inf, np.nan, np.float32("inf"), 1e308, -1e308, 10**400, True, False, None, "60",
    "60 degC", "333 kelvin", b"60", [60.0], {"value": 60}, 1j, Decimal("60"), np.array([60.0]), np.array(60.0), "",
]  # fmt: skip


@pytest.mark.slow
def test_no_set_outside_the_limits_reaches_the_controller(home: Path) -> None:
    import json

    from bluesky.run_engine import RunEngine, call_in_bluesky_event_loop

    laboratory: Any = load("snar-flow")
    profile = laboratory.profile()
    place = InstrumentPlace.of(profile.name, home)
    options = {"time_scale": 0, "noise": 0.0}
    laboratory.start(place, options)
    engine = RunEngine({}, context_managers=[])
    devices = laboratory.connect(place, options)
    rng = random.Random(7)
    refused = accepted = 0

    async def try_set(axis: Any, value: Any) -> None:
        await axis.set(value)

    try:
        devices.prepare_run(RunContext(intent="i", experiment="e", ordinal=1, seed=1, replicates=1))
        limits = profile.limits()
        axes = {name: LimitedAxis(device, limits[name]) for name, device in devices.axes.items()}
        for _ in range(CANDIDATES):
            name = rng.choice(list(axes))
            low, high = limits[name].minimum, limits[name].maximum
            span = high - low
            value = rng.choice(
                [
                    rng.choice(HOSTILE),
                    rng.uniform(low - span, high + span),
                    math.nextafter(high, math.inf),
                    math.nextafter(low, -math.inf),
                    rng.choice([low, high]),
                    np.float64(rng.uniform(low, high)),
                ]
            )
            try:
                call_in_bluesky_event_loop(try_set(axes[name], value), timeout=30)
                accepted += 1
            except LimitViolation:
                refused += 1
        assert accepted > 1000
        assert refused > 1000
        rows = [json.loads(line) for line in (place.directory / "controller.jsonl").read_text().splitlines()]
        sets = [row for row in rows if row["kind"] == "set"]
        assert len(sets) == accepted
        for row in sets:
            limit = limits[row["axis"]]
            assert limit.minimum <= row["value"] <= limit.maximum, row
        assert not [row for row in rows if row["kind"] == "refusal"]
    finally:
        devices.close()
        laboratory.shutdown(place)
        engine._loop.call_soon_threadsafe(engine._loop.stop)
        engine._th.join(5)
