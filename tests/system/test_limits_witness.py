"""Hostile candidates and plans against a real controller: its log has no set outside the limits."""

from __future__ import annotations

import asyncio
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from athanor.instruments import checks, live
from athanor.instruments.deadlines import spawn
from athanor.instruments.interlocks import Interlocks
from athanor.instruments.laboratory import RunContext, load
from athanor.instruments.limits import LimitedAxis, LimitViolation, SetRefused
from athanor.instruments.profile import Profile
from athanor.instruments.words import Refused, Tally
from athanor.memory.places import InstrumentPlace
from athanor.sandbox.link import Link
from tests.engines import run_engine
from tests.system.hostile import HOSTILE, INTERLOCK, STRANGERS, hostile_value, judge

CANDIDATES = 10_000


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
STEP = 25.0
INTERLOCKED = {
    "axes": {
        "temperature": {"largest_step": STEP},
        "residence_time": {"largest_rate": RATE, "timeout_s": 0.02},
        "equivalents": {"allowed": [1, 2, 3, 4.5], "minimum": None, "maximum": None},
    },
    "interlocks": [INTERLOCK],
}


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
    rows = [json.loads(line) for line in (place.directory / "controller.jsonl").read_text().splitlines()]
    assert judge(rows, limits) == (accepted, [])
