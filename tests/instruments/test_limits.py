"""Limits: whatever is asked for, only what lies inside reaches the device."""

from __future__ import annotations

import asyncio
import math
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.instruments.limits import Limit, LimitedAxis, LimitViolation

LOW, HIGH = 30.0, 120.0


class Recorder:
    """A device that takes anything and moves at once; it remembers every set."""

    def __init__(self, position: Any = 60.0) -> None:
        self.name = "temperature"
        self.position = position
        self.sets: list[Any] = []

    def set(self, value: Any) -> str:
        self.sets.append(value)
        self.position = value
        return "status"

    def stop(self, success: bool = True) -> None:
        self.sets.append("stop")


class Liar(float):
    """Compares as if it were inside, converts to what is far outside."""

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = float.__hash__


class Turncoat:
    """Not a number, but willing to be taken for one."""

    def __float__(self) -> float:
        return 60.0

    def __index__(self) -> int:
        return 60


ADVERSARIAL: list[Any] = [
    math.nan, math.inf, -math.inf, -0.0, 0.0, 1e308, -1e308, 5e-324, 10**400, -(10**400), 2**63, True, False, None,
    "60", "", "nan", b"60", [60.0], (60.0,), {"value": 60.0}, 60 + 0j, complex(math.nan, 0), Decimal(60), Fraction(60),
    Fraction(10**400), Liar(1e9), Liar(60.0), Turncoat(), object(), lambda: 60.0, np.float64(60), np.float64("nan"),
    np.float32("inf"), np.float16(60), np.int64(60), np.int8(-1), np.uint64(2**64 - 1), np.bool_(True), np.array(60.0),
    np.array([60.0]), np.datetime64("2026-01-01"), np.str_("60"), np.longdouble("1e400"), np.complex128(60),
    math.nextafter(LOW, -math.inf), math.nextafter(HIGH, math.inf), LOW, HIGH, 29, 30, 120, 121,
]  # fmt: skip


def candidates(count: int) -> list[Any]:
    """Random and adversarial candidates, the same ones every time."""
    source = random.Random(20261121)
    found = list(ADVERSARIAL)
    while len(found) < count:
        number = source.choice(
            [
                source.uniform(-200, 400),
                source.uniform(LOW, HIGH),
                source.gauss(0, 1) * 10 ** source.randint(-300, 300),
                source.randint(-(10**6), 10**6),
                source.randint(20, 130),
                source.choice(ADVERSARIAL),
            ]
        )
        wrap = source.choice([lambda x: x] * 5 + [np.float64, str, lambda x: [x], Liar, lambda x: x * 1000])
        try:
            found.append(wrap(number))
        except (TypeError, ValueError, OverflowError):
            found.append(number)
    return found


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:Casting complex values")
def test_ten_thousand_candidates_and_none_outside_reaches_the_device() -> None:
    device = Recorder()
    axis = LimitedAxis(device, Limit(LOW, HIGH))
    refused = 0
    tried = candidates(10_000)
    for candidate in tried:
        try:
            axis.set(candidate)
        except LimitViolation:
            refused += 1
    assert len(tried) == 10_000
    assert len(device.sets) + refused == 10_000
    assert refused > 3_000 and len(device.sets) > 1_000, "the candidates must try both sides"
    assert all(type(value) in (int, float) and LOW <= value <= HIGH for value in device.sets)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (math.nan, "limit.not_finite"),
        (-math.inf, "limit.not_finite"),
        (29.999, "limit.below"),
        pytest.param(-(10**400), "limit.below", id="deep"),
        (120.001, "limit.above"),
        pytest.param(10**5000, "limit.above", id="huge"),
        (Liar(1e9), "limit.above"),
        ("60", "limit.type"),
        (True, "limit.type"),
        (np.bool_(True), "limit.type"),
        (60 + 0j, "limit.type"),
        (Decimal(60), "limit.type"),
        (Turncoat(), "limit.type"),
        (np.array(60.0), "limit.type"),
        (None, "limit.type"),
    ],
)
def test_each_refusal_has_its_stable_code(value: Any, code: str) -> None:
    device = Recorder()
    with pytest.raises(LimitViolation) as caught:
        LimitedAxis(device, Limit(LOW, HIGH)).set(value)
    assert caught.value.code == code
    assert caught.value.axis == "temperature"
    assert caught.value.remedy in str(caught.value)
    assert device.sets == []


@pytest.mark.parametrize("value", [30, 120, 30.0, 120.0, np.float64(77.5), np.int64(31), Fraction(121, 2)])
def test_bounds_are_inclusive_and_the_device_gets_a_plain_number(value: Any) -> None:
    device = Recorder()
    assert LimitedAxis(device, Limit(LOW, HIGH)).set(value) == "status"
    assert device.sets == [value]
    assert type(device.sets[0]) in (int, float)


def test_an_axis_without_a_known_limit_is_never_moved() -> None:
    device = Recorder()
    for limit in (None, Limit(), Limit(minimum=1.0)):
        with pytest.raises(LimitViolation) as caught:
            LimitedAxis(device, limit).set(60.0)
        assert caught.value.code == "limit.unknown"
    assert device.sets == []


def test_only_allowed_values_pass_and_as_they_are_listed() -> None:
    device = Recorder(2)
    axis = LimitedAxis(device, Limit(allowed=(2, 3, 5)))
    axis.set(3.0)
    assert device.sets == [3] and type(device.sets[0]) is int
    for value in (4, 2.5, math.nan):
        with pytest.raises(LimitViolation) as caught:
            axis.set(value)
        assert caught.value.code in ("limit.not_allowed", "limit.not_finite")
    with pytest.raises(LimitViolation) as caught:
        axis.set(True)
    assert caught.value.code == "limit.type"
    assert device.sets == [3]


def test_words_are_compared_as_words() -> None:
    device = Recorder("EtOH")
    axis = LimitedAxis(device, Limit(allowed=("EtOH", "MeCN")))
    axis.set(np.str_("MeCN"))
    assert device.sets == ["MeCN"]
    for value, code in (("DMSO", "limit.not_allowed"), (1, "limit.type"), (None, "limit.type")):
        with pytest.raises(LimitViolation) as caught:
            axis.set(value)
        assert caught.value.code == code


def test_whole_numbers() -> None:
    device = Recorder(1)
    axis = LimitedAxis(device, Limit(1, 20, integer=True))
    axis.set(7.0)
    assert device.sets == [7] and type(device.sets[0]) is int
    with pytest.raises(LimitViolation) as caught:
        axis.set(7.5)
    assert caught.value.code == "limit.type"


def test_the_largest_step_counts_from_the_read_back() -> None:
    device = Recorder(60.0)
    axis = LimitedAxis(device, Limit(LOW, HIGH, largest_step=10.0))
    axis.set(70.0)
    with pytest.raises(LimitViolation) as caught:
        axis.set(80.5)
    assert caught.value.code == "limit.step"
    device.position = 79.0
    axis.set(80.5)
    assert device.sets == [70.0, 80.5]


@pytest.mark.parametrize("position", [math.nan, None, "broken", True, math.inf])
def test_without_a_believable_read_back_no_step_is_taken(position: Any) -> None:
    device = Recorder(position)
    with pytest.raises(LimitViolation) as caught:
        LimitedAxis(device, Limit(LOW, HIGH, largest_step=10.0)).set(60.0)
    assert caught.value.code == "limit.step"
    assert device.sets == []


class Later:
    """An asynchronous device: reading back takes a turn of the event loop."""

    def __init__(self, position: float) -> None:
        self.name = "temperature"
        self._position = position
        self.sets: list[Any] = []

    async def locate(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"setpoint": self._position, "readback": self._position}

    def set(self, value: Any) -> Any:
        from ophyd_async.core import AsyncStatus

        async def move() -> None:
            self.sets.append(value)

        return AsyncStatus(move())


def test_the_step_of_an_asynchronous_device_is_refused_through_its_status() -> None:
    async def scenario() -> None:
        device = Later(60.0)
        axis = LimitedAxis(device, Limit(LOW, HIGH, largest_step=10.0))
        await axis.set(70.0)
        with pytest.raises(LimitViolation, match=r"limit\.step"):
            await axis.set(70.5)
        with pytest.raises(LimitViolation, match=r"limit\.above"):
            axis.set(121.0)
        with pytest.raises(LimitViolation, match=r"limit\.step"):
            await axis.check_step(30.0)
        assert device.sets == [70.0]

    asyncio.run(scenario())


def test_the_gate_is_asked_before_every_set_and_after_the_read_back() -> None:
    class Closed(RuntimeError):
        pass

    def gate() -> None:
        raise Closed

    async def scenario() -> None:
        device = Later(60.0)
        with pytest.raises(Closed):
            LimitedAxis(device, Limit(LOW, HIGH), gate).set(70.0)
        with pytest.raises(Closed):
            await LimitedAxis(device, Limit(LOW, HIGH, largest_step=50.0), gate).set(70.0)
        assert device.sets == []

    asyncio.run(scenario())


def test_no_other_way_to_the_device_is_reachable() -> None:
    axis = LimitedAxis(Recorder(), Limit(LOW, HIGH))
    for name in ("position", "move", "put", "sets", "kickoff", "prepare"):
        assert not hasattr(axis, name)


def test_it_is_what_the_run_engine_asks_for() -> None:
    from bluesky.protocols import Locatable, Movable, Readable, Stoppable

    axis = LimitedAxis(Recorder(), Limit(LOW, HIGH))
    for protocol in (Movable, Readable, Stoppable, Locatable):
        assert isinstance(axis, protocol)
    assert axis.name == "temperature"


@given(
    value=st.one_of(st.floats(), st.integers(), st.text(), st.booleans(), st.none(), st.complex_numbers()),
    low=st.floats(-1e6, 1e6),
    width=st.floats(0, 1e6),
)
@settings(max_examples=300, deadline=None)
def test_what_is_let_through_lies_inside(value: Any, low: float, width: float) -> None:
    device = Recorder()
    try:
        LimitedAxis(device, Limit(low, low + width)).set(value)
    except LimitViolation:
        assert device.sets == []
    else:
        [got] = device.sets
        assert type(got) in (int, float) and low <= got <= low + width
