"""Live signals: read from a thread or on the devices' loop, typed, timed, and never more than one question at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from athanor.instruments import live
from athanor.instruments.limits import Limit, LimitedAxis
from athanor.instruments.live import LiveSignals, Probe
from athanor.instruments.profile import AxisSpec, DetectorSpec, OutcomeSpec, Profile


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join(5)
    made.close()


def test_a_coroutine_is_run_where_the_devices_live(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[Any] = []

    async def read() -> dict[str, Any]:
        seen.append(asyncio.get_running_loop())
        return {"value": np.float64(1.5), "timestamp": time.time()}

    sample = Probe(read, "number", loop).ask().result(5)
    assert (sample.value, type(sample.value), seen) == (1.5, float, [loop])

    def plain() -> Any:
        return read()

    assert Probe(plain, "number", loop).ask().result(5).value == 1.5


def test_a_value_that_is_old_by_its_own_time_is_stale(loop: asyncio.AbstractEventLoop) -> None:
    for age, is_stale in ((0.0, False), (60.0, True), (-60.0, True), (None, True)):
        stamp = {} if age is None else {"timestamp": time.time() - age}
        sample = Probe(lambda stamp=stamp: {"value": 1.0, **stamp}, "number", loop, 5.0).ask().result(5)  # type: ignore[misc]
        assert (sample.is_stale, sample.value) == (is_stale, None if is_stale else 1.0), age


def test_a_question_that_nobody_answers_is_asked_again_in_the_end(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, begun = [True], threading.Event()

    async def read() -> float:
        if hangs[0]:
            begun.set()
            await asyncio.Event().wait()
        return 2.0

    monkeypatch.setattr(live, "GIVE_UP_S", 0.05)
    probe = Probe(read, "number", loop)
    first = probe.ask()
    assert begun.wait(5)
    hangs[0] = False
    deadline = time.monotonic() + 5
    while (asked := probe.ask()) is first:
        assert time.monotonic() < deadline
    assert asked.result(5).value == 2.0
    assert first.cancelled()


class Classic:
    """A classic device whose position blocks."""

    name = "x"

    @property
    def position(self) -> float:
        assert threading.current_thread() is not threading.main_thread()
        return 3.0


class Asynchronous:
    name = "y"

    async def locate(self) -> dict[str, float]:
        return {"setpoint": 0.0, "readback": 4.0}


def test_axes_and_signals_of_a_profile_are_read(loop: asyncio.AbstractEventLoop) -> None:
    class Door:
        async def read(self) -> dict[str, Any]:
            return {"value": False, "timestamp": time.time()}

    profile = Profile(
        name="p",
        laboratory="p",
        simulated=True,
        axes={"x": AxisSpec(minimum=0, maximum=9), "y": AxisSpec(minimum=0, maximum=9)},
        detectors={"d": DetectorSpec(signals={"d": None})},
        outcomes={"d": OutcomeSpec(signal="d")},
        signals={"door": {"type": "bool"}},  # type: ignore[dict-item]
    )
    axes = {"x": LimitedAxis(Classic(), Limit(0, 9)), "y": LimitedAxis(Asynchronous(), Limit(0, 9))}
    signals: LiveSignals = live.connect(profile, axes, {"door": Door()}, loop)
    assert [future.result(5).value for future in signals.ask(["x", "y", "door"])] == [3.0, 4.0, False]


def test_a_look_gives_what_came_in_time_and_says_what_did_not(loop: asyncio.AbstractEventLoop) -> None:
    end = threading.Event()

    def slow() -> float:
        end.wait(60)
        return 1.0

    signals = LiveSignals({"x": Probe(lambda: 2.5, "number", loop), "y": Probe(slow, "number", loop)})
    try:
        found = signals.look(["x", "y", "none"], 0.2)
    finally:
        end.set()
    assert found == {
        "x": {"value": 2.5, "trouble": None},
        "y": {"value": None, "trouble": "it did not answer in time"},
    }
