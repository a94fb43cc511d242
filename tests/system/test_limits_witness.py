"""Hostile candidates and plans against a real controller: its log has no set outside the limits."""

from __future__ import annotations

import asyncio
import json
import math
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from athanor.instruments import checks, live
from athanor.instruments.deadlines import spawn
from athanor.instruments.interlocks import Interlocks
from athanor.instruments.laboratory import RunContext, load
from athanor.instruments.limits import Limit, LimitedAxis, LimitViolation, SetRefused
from athanor.instruments.profile import Profile
from athanor.instruments.words import Refused, Tally
from athanor.memory.places import InstrumentPlace
from athanor.sandbox.link import Link
from tests.engines import run_engine

CANDIDATES = 10_000
HOSTILE: list[Any] = [
    math.nan, math.inf, -math.inf, np.nan, np.float32("inf"), 1e308, -1e308, 10**400, True, False, None, "60",
    "60 degC", "333 kelvin", b"60", [60.0], {"value": 60}, 1j, Decimal("60"), np.array([60.0]), np.array(60.0), "",
]  # fmt: skip


@pytest.mark.slow
def test_no_set_outside_the_limits_reaches_the_controller(home: Path) -> None:
    from bluesky.run_engine import call_in_bluesky_event_loop

    laboratory: Any = load("snar-flow")
    profile = laboratory.profile()
    place = InstrumentPlace.of(profile.name, home)
    options = {"time_scale": 0, "noise": 0.0}
    laboratory.start(place, options)
    with run_engine():
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


PLANS = 100_000
RATE = 40.0
LATE_S = 0.05
STEP = 25.0
INTERLOCKED = {
    "axes": {
        "temperature": {"largest_step": STEP},
        "residence_time": {"largest_rate": RATE, "timeout_s": 0.02},
        "equivalents": {"allowed": [1, 2, 3, 4.5], "minimum": None, "maximum": None},
    },
    "interlocks": [{"name": "dilute", "require": "concentration < 0.3 and concentration > 0", "stale_s": 5.0}],
}
STRANGERS = ["pressure", "Temperature", "temperature ", "temperature.setpoint", "__class__", "", "τ", "analyser"]


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


@pytest.mark.slow
def test_a_hundred_thousand_hostile_plans_and_no_set_outside(home: Path) -> None:
    """Bounds, steps, rates, units, NaN, unknown devices and interlocks that open between approval and set."""
    laboratory: Any = load("snar-flow")
    found = laboratory.profile().model_dump(mode="json")
    for name, changes in INTERLOCKED["axes"].items():  # type: ignore[attr-defined]
        found["axes"][name] |= changes
    profile = Profile.model_validate({**found, "interlocks": INTERLOCKED["interlocks"]})
    place = InstrumentPlace.of(profile.name, home)
    options = {"time_scale": 0, "noise": 0.0, "timeout_s": 30.0}
    laboratory.start(place, options)
    rng = random.Random(11)
    tally = Tally()
    flips = accepted = 0
    with run_engine() as engine:
        devices = laboratory.connect(place, options)
        panel = Link(place.sockets / "controller.sock", client="panel")
        limits = profile.limits()
        # Concentration is moved by somebody else, at the panel: it is what the interlock looks at.
        names = [name for name in profile.axes if name != "concentration"]
        axes: dict[str, LimitedAxis] = {}
        signals = live.connect(
            profile, {name: LimitedAxis(devices.axes[name], limits[name]) for name in profile.axes}, {}, engine.loop
        )
        interlocks = Interlocks(profile.interlocks, signals)

        async def hold() -> None:
            await asyncio.wrap_future(spawn(interlocks.verify, "interlocks"))

        for name in names:
            axes[name] = LimitedAxis(devices.axes[name], limits[name], interlocks=hold, on_refused=tally.add)

        async def attack(plans: int) -> None:
            nonlocal flips, accepted
            await asyncio.wrap_future(panel.move("concentration", 0.2))
            for number in range(plans):
                if number % 500 == 499:
                    flips += 1
                    await asyncio.wrap_future(panel.move("concentration", 0.2 if flips % 2 == 0 else 0.4))
                name = rng.choice(names)
                if rng.random() < 0.05:
                    stranger = rng.choice(STRANGERS)
                    with pytest.raises(Refused, match=r"limit\.unknown"):
                        checks._check_values({stranger: 1.0}, profile)
                    tally.add("limit.unknown")
                    continue
                try:
                    await axes[name].set(hostile_value(rng, limits[name]))  # type: ignore[arg-type]
                    accepted += 1
                except (LimitViolation, SetRefused):
                    pass

        try:
            asyncio.run_coroutine_threadsafe(attack(PLANS), engine.loop).result(300)
        finally:
            panel.close()
            devices.close()
            laboratory.shutdown(place)
    codes = tally.counts()
    assert accepted + sum(codes.values()) == PLANS
    assert accepted > 500 and flips > 100, (accepted, codes)
    every = ["not_finite", "below", "above", "step", "rate", "not_allowed", "type", "unknown"]
    assert {code: codes[code] > 50 for code in codes} == {
        **{f"limit.{code}": True for code in every},
        "interlock.tripped": True,
    }
    judge_by_the_log(place, limits, accepted)


def judge_by_the_log(place: InstrumentPlace, limits: dict[str, Any], accepted: int) -> None:
    """Every set that the controller has seen from us, by its own account."""
    rows = [json.loads(line) for line in (place.directory / "controller.jsonl").read_text().splitlines()]
    panel = next(row["client"] for row in rows if row["kind"] == "hello" and row["name"] == "panel")
    concentration, last, seen = None, None, 0
    origins = {row["move"]: row["origin"] for row in rows if row["kind"] == "motion"}
    for row in rows:
        if row["kind"] != "set":
            continue
        if row["client"] == panel:
            concentration = row["value"]
            continue
        seen += 1
        limit, value, way = limits[row["axis"]], row["value"], abs(row["value"] - origins[row["move"]])
        assert 0 < concentration < 0.3, ("the interlock was open", row)
        if limit.allowed is not None:
            assert value in limit.allowed, row
        else:
            assert limit.minimum <= value <= limit.maximum, row
        if limit.largest_step is not None:
            assert way <= limit.largest_step + limit.tolerance, (row, way)
        if limit.largest_rate is not None:
            # Ours are the times that count: the log had the set before a moment later than we sent it.
            elapsed = limit.move_s if last is None else min(limit.move_s, row["mono"] - last + LATE_S)
            assert way <= limit.largest_rate * elapsed, (row, way)
            last = row["mono"]
    assert seen == accepted
    assert not [row for row in rows if row["kind"] == "refusal"]
