"""The exercise of one axis: interrupted, on lists and whole numbers, under a rate, and too fast to be halted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from athanor.instruments.exercise import Exercise
from athanor.instruments.findings import Finding
from athanor.instruments.limits import LimitedAxis
from athanor.instruments.profile import AxisSpec


class Motor:
    """An axis that goes there at once, or only when it is let."""

    name = "stage"

    def __init__(self, here: Any, is_held: bool = False) -> None:
        self.here = here
        self.sets: list[Any] = []
        self.stops = 0
        self.has_begun = asyncio.Event()
        self.goes = asyncio.Event()
        if not is_held:
            self.goes.set()

    def set(self, value: Any) -> Any:
        async def move() -> None:
            self.has_begun.set()
            await self.goes.wait()
            self.here = value

        self.sets.append(value)
        return asyncio.ensure_future(move())

    async def stop(self, success: bool = True) -> None:
        self.stops += 1

    async def locate(self) -> dict[str, Any]:
        return {"setpoint": self.here, "readback": self.here}


def play(motor: Motor, spec: AxisSpec, gate: Callable[[], None] = lambda: None) -> Exercise:
    return Exercise("stage", LimitedAxis(motor, spec.limit(), gate), spec, gate)


def exercised(here: Any, **spec: Any) -> tuple[list[Finding], Motor]:
    async def run() -> tuple[list[Finding], Motor]:
        motor = Motor(here)
        return await play(motor, AxisSpec(**spec)).run(), motor

    return asyncio.run(run())


def test_what_is_interrupted_is_halted() -> None:
    async def run() -> Motor:
        motor = Motor(0.0, is_held=True)
        going = asyncio.ensure_future(play(motor, AxisSpec(minimum=0, maximum=50)).run())
        await asyncio.wait_for(motor.has_begun.wait(), 10)
        going.cancel()
        with pytest.raises(asyncio.CancelledError):
            await going
        return motor

    motor = asyncio.run(run())
    assert motor.sets == [0.5] and motor.stops == 1


def test_what_is_over_at_once_is_no_proof_of_a_stop() -> None:
    found, motor = exercised(10.0, minimum=0, maximum=50)
    assert [finding.status for finding in found] == ["ok", "not checked", "ok"]
    assert "before it could be halted" in found[1].reason
    assert motor.here == 10.0


def test_a_list_is_gone_to_the_next_value_and_back() -> None:
    found, motor = exercised("water", allowed=("water", "ethanol"))
    assert motor.sets == ["ethanol", "water"] and motor.stops == 0
    assert found[1].status == "not checked"
    found, motor = exercised(3, allowed=(2, 3, 5), largest_step=1)
    assert motor.sets == [2, 3]
    found, motor = exercised(5, allowed=(2, 5), largest_step=1)
    assert motor.sets == [] and [finding.status for finding in found] == ["not checked"]


def test_whole_numbers_stay_whole() -> None:
    _, motor = exercised(4, minimum=0, maximum=60, integer=True, largest_step=2.5)
    assert motor.sets == [5, 7, 5, 4] and motor.here == 4
    assert all(isinstance(value, int) for value in motor.sets)


@pytest.mark.parametrize("here", [60.0, float("nan"), None])
def test_from_outside_the_limits_nothing_is_moved(here: Any) -> None:
    found, motor = exercised(here, minimum=0, maximum=50)
    assert motor.sets == [] and [finding.status for finding in found] == ["not checked"]


def test_a_rate_is_kept_to() -> None:
    found, motor = exercised(10.0, minimum=0, maximum=50, largest_rate=200.0)
    assert [finding.status for finding in found] == ["ok", "not checked", "ok"], found
    assert motor.here == 10.0


def test_an_axis_that_reads_elsewhere_is_a_fault() -> None:
    async def run() -> list[Finding]:
        motor = Motor(0.0)

        async def locate() -> dict[str, Any]:
            return {"setpoint": motor.here, "readback": motor.here * 0.9}

        motor.locate = locate  # type: ignore[method-assign]
        return await play(motor, AxisSpec(minimum=0, maximum=50, tolerance=0.01)).run()

    found = asyncio.run(run())
    assert found[0].status == "fault" and "reads 0.45" in found[0].reason
