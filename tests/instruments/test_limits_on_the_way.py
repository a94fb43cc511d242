"""Rates, walks, interlocks and stops: what happens between a set and the device."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from athanor.instruments.bounds import SetRefused
from athanor.instruments.limits import Limit, LimitedAxis, LimitViolation


class Stage:
    """An asynchronous device that moves at once, or waits for `free`; it remembers every set and when."""

    name = "x"

    def __init__(self, position: float = 0.0) -> None:
        self.position = position
        self.sets: list[tuple[float, Any]] = []
        self.stops: list[bool] = []
        self.free = asyncio.Event()
        self.free.set()
        self._over = asyncio.Event()

    async def locate(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"setpoint": self.position, "readback": self.position}

    def set(self, value: Any) -> Any:
        from ophyd_async.core import AsyncStatus

        self.sets.append((time.monotonic(), value))
        self._over = asyncio.Event()

        async def move() -> None:
            waiting = [asyncio.ensure_future(event.wait()) for event in (self.free, self._over)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()
            if not self._over.is_set():
                self.position = value
            elif not self.stops[-1]:
                raise RuntimeError("stopped")

        return AsyncStatus(move())

    async def stop(self, success: bool = True) -> None:
        self.stops.append(success)
        self._over.set()

    @property
    def values(self) -> list[Any]:
        return [value for _, value in self.sets]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 20))


async def begun(device: Stage, count: int) -> None:
    while len(device.sets) < count:
        await asyncio.sleep(0.001)


def test_a_rate_is_measured_from_the_last_set_and_a_refusal_is_counted() -> None:
    async def scenario() -> None:
        device, clock, codes = Stage(), Clock(), []
        limit = Limit(-100, 100, largest_rate=2.0, move_s=30.0)
        axis = LimitedAxis(device, limit, on_refused=codes.append, clock=clock)
        with pytest.raises(LimitViolation, match=r"limit\.rate"):
            await axis.set(60.5)
        await axis.set(60.0)
        clock.now += 1.0
        with pytest.raises(LimitViolation, match=r"limit\.rate.*1 s count"):
            await axis.set(57.9)
        await axis.set(58.0)
        with pytest.raises(LimitViolation, match=r"limit\.rate"):
            await axis.check_step(57.0)
        assert device.values == [60.0, 58.0]
        assert codes == ["limit.rate"] * 2

    play(scenario)


def test_what_was_let_through_may_be_asked_for_again_but_not_from_farther_away() -> None:
    async def scenario() -> None:
        device, clock = Stage(), Clock()
        axis = LimitedAxis(device, Limit(-100, 100, largest_rate=2.0, move_s=30.0), clock=clock)
        await axis.set(60.0)
        device.position = 20.0  # it was paused on its way
        await axis.set(60.0)
        device.position = -60.0  # somebody has moved it
        with pytest.raises(LimitViolation, match=r"limit\.rate"):
            await axis.set(60.0)

    play(scenario)


def test_a_walk_makes_steps_no_longer_and_no_sooner_than_allowed() -> None:
    async def scenario() -> None:
        device = Stage()
        axis = LimitedAxis(device, Limit(0, 10, largest_step=2.5, largest_rate=25.0, walk=True))
        began = time.monotonic()
        await axis.set(9.0)
        assert device.values == [2.5, 5.0, 7.5, 9.0]
        times = [began, *(when for when, _ in device.sets)]
        for (before, after), way in zip(pairwise(times), (2.5, 2.5, 2.5, 1.5), strict=True):
            assert after - before >= way / 25.0 * 0.999
        await axis.set(8.0)
        assert device.values[-1] == 8.0

    play(scenario)


def test_a_walk_is_no_way_around_the_limits() -> None:
    async def scenario() -> None:
        device = Stage(position=-20.0)  # outside: somebody has moved it there
        axis = LimitedAxis(device, Limit(0, 10, largest_step=2.5, walk=True))
        with pytest.raises(LimitViolation, match=r"limit\.above"):
            axis.set(10.5)
        with pytest.raises(LimitViolation, match=r"limit\.below"):
            await axis.set(9.0)
        assert device.values == []

    play(scenario)


def test_the_gate_closes_a_walk_between_two_steps_also_while_it_waits() -> None:
    async def scenario() -> None:
        device, closed = Stage(), []

        def gate() -> None:
            if closed:
                raise SetRefused("writes.off", "leak")

        axis = LimitedAxis(device, Limit(0, 1000, largest_step=1.0, largest_rate=0.5, walk=True), gate, clock=Clock())
        status = axis.set(9.0)
        await asyncio.sleep(0.05)
        closed.append(True)
        with pytest.raises(SetRefused, match=r"writes\.off"):
            await status
        assert device.values == []

    play(scenario)


@pytest.mark.parametrize("success", [True, False])
def test_a_stop_ends_a_walk_and_its_step(success: bool) -> None:
    async def scenario() -> None:
        device = Stage()
        axis = LimitedAxis(device, Limit(0, 10, largest_step=1.0, walk=True))
        device.free.clear()
        status = axis.set(9.0)
        await begun(device, 1)
        assert axis.is_moving
        await axis.stop(success=success)
        if success:
            await status
        else:
            with pytest.raises(RuntimeError, match="stopped"):
                await status
        assert device.values == [1.0]
        assert not axis.is_moving

    play(scenario)


@pytest.mark.parametrize("success", [True, False])
def test_a_stop_reaches_a_set_that_has_not_reached_the_device(success: bool) -> None:
    async def scenario() -> None:
        device, free = Stage(), asyncio.Event()

        async def interlocks() -> None:
            await free.wait()

        axis = LimitedAxis(device, Limit(0, 10), interlocks=interlocks)
        status = axis.set(9.0)
        await asyncio.sleep(0.01)
        await axis.stop(success=success)
        free.set()
        if success:
            await status
        else:
            with pytest.raises(RuntimeError, match="stopped"):
                await status
        assert device.values == []
        await axis.set(8.0)
        assert device.values == [8.0]

    play(scenario)


def test_a_later_set_takes_the_place_of_one_that_is_still_on_its_way() -> None:
    async def scenario() -> None:
        device = Stage()
        axis = LimitedAxis(device, Limit(0, 100, largest_step=1.0, largest_rate=50.0, walk=True))
        first = axis.set(90.0)
        await begun(device, 2)
        second = axis.set(0.0)
        with pytest.raises(RuntimeError, match="sent elsewhere"):
            await first
        await second
        assert device.position == 0.0
        assert max(device.values) < 10.0

    play(scenario)


def test_interlocks_are_asked_at_every_step_and_their_refusals_counted() -> None:
    async def scenario() -> None:
        device, codes = Stage(), []

        async def interlocks() -> None:
            if device.position >= 3.0:
                raise SetRefused("interlock.tripped", "too far")

        axis = LimitedAxis(
            device, Limit(0, 10, largest_step=1.0, walk=True), interlocks=interlocks, on_refused=codes.append
        )
        with pytest.raises(SetRefused, match=r"interlock\.tripped"):
            await axis.set(9.0)
        assert device.values == [1.0, 2.0, 3.0]
        with pytest.raises(LimitViolation):
            axis.set(11.0)
        assert codes == ["interlock.tripped", "limit.above"]

    play(scenario)


class Classic:
    """A classic device: its status calls back from another thread."""

    name = "x"
    position = 0.0

    def __init__(self) -> None:
        self.values: list[float] = []

    def set(self, value: float) -> Any:
        from ophyd.status import Status

        self.values.append(value)
        status = Status()
        if value > 5:
            status.set_exception(ValueError("stuck"))
        else:
            self.position = value
            status.set_finished()
        return status


def test_a_classic_device_walks_and_its_failure_comes_through() -> None:
    async def scenario() -> None:
        device = Classic()
        axis = LimitedAxis(device, Limit(0, 10, largest_step=2.0, walk=True))
        await axis.set(4.5)
        assert device.values == [2.0, 4.0, 4.5]
        with pytest.raises(ValueError, match="stuck"):
            await axis.set(9.0)

    play(scenario)
