from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from athanor.instruments.hardware import Hardware
from athanor.instruments.laboratory import InstrumentUnavailable


class Axis:
    def __init__(self, name: str, stop: Callable[[], Any] = lambda: None) -> None:
        self.name = name
        self.stopped: list[bool] = []
        self._stop = stop

    def stop(self, success: bool = True) -> Any:
        self.stopped.append(success)
        return self._stop()

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": 1.5, "timestamp": 0.0}}


def devices(*axes: Any, **changes: Any) -> Any:
    fields = {
        "axes": {axis.name: axis for axis in axes},
        "is_moving": lambda: False,
        "is_connected": lambda: True,
        "close": lambda: None,
    }
    return SimpleNamespace(**{**fields, **changes})


def connected(*axes: Any, **changes: Any) -> Hardware:
    hardware = Hardware(lambda: devices(*axes, **changes))
    assert hardware.connect()
    return hardware


def fail() -> None:
    raise OSError("driver")


def test_every_axis_is_stopped_whatever_the_others_do() -> None:
    good, bad = Axis("good"), Axis("bad", fail)
    hung, plain = Axis("hung", threading.Event().wait), SimpleNamespace(name="plain")
    hardware = connected(bad, hung, plain, good)
    began = time.monotonic()
    failures = hardware.stop(timeout_s=0.3)
    assert time.monotonic() - began < 2.0
    assert good.stopped == [False], "a stopped motion is not a success"
    assert failures == {"bad": "OSError: driver", "hung": "no answer in time"}


def test_coroutines_run_on_a_loop_and_end_at_the_deadline() -> None:
    async def never() -> None:
        import asyncio

        await asyncio.Event().wait()

    failures = connected(Axis("x", never)).stop(timeout_s=0.2)
    assert list(failures) == ["x"]


def test_reads_back_what_can_be_read() -> None:
    good, bad = Axis("good"), Axis("bad")
    bad.read = fail  # type: ignore[method-assign,assignment]
    back = connected(good, bad).read_back()
    assert back.positions == {"good": 1.5, "bad": None}
    assert back.failures == {"bad": "OSError: driver"}


@pytest.mark.parametrize("is_moving", [fail, threading.Event().wait])
def test_an_instrument_that_does_not_say_is_not_still(is_moving: Callable[[], Any]) -> None:
    hardware = connected(Axis("x"), is_moving=is_moving)
    assert hardware.is_moving(timeout_s=0.05) is None


def test_a_question_that_hangs_is_asked_once() -> None:
    asked = []
    hardware = connected(Axis("x"), is_moving=lambda: asked.append(1) or threading.Event().wait())  # type: ignore[func-returns-value]
    assert [hardware.is_moving(timeout_s=0.02) for _ in range(5)] == [None] * 5
    assert len(asked) == 1


def test_connects_again_when_the_line_was_lost() -> None:
    lines: list[Any] = []

    def connect() -> Any:
        if len(lines) == 1:
            lines.append(None)
            raise InstrumentUnavailable("x", "its controller is off")
        line = SimpleNamespace(is_up=True)
        lines.append(line)
        return devices(Axis("x"), is_connected=lambda: line.is_up)

    hardware = Hardware(connect)
    hardware.RETRY_S = 0.02
    keeper = threading.Thread(target=hardware.keep_connected)
    keeper.start()
    try:
        wait_until(lambda: hardware.is_connected)
        assert (hardware.generation, hardware.trouble) == (1, None)
        lines[0].is_up = False
        wait_until(lambda: hardware.generation == 2)
        assert len(lines) == 3, "one attempt failed in between"
        assert hardware.is_connected
    finally:
        hardware.close()
        keeper.join(5)
    assert not hardware.is_connected
    assert hardware.stop() == {"instrument": "not connected: the connection was lost"}
    assert hardware.is_moving() is None


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_laboratory_that_cannot_be_connected_is_told() -> None:
    hardware = Hardware(fail)  # type: ignore[arg-type]
    assert not hardware.connect()
    assert hardware.trouble == "not connected: driver"
