"""How a motion by hand ends, and orders that are used up: with devices of the test's own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.by_hand import KEPT_S, HandMove, UsedOrders
from athanor.instruments.laboratory import InstrumentLost
from athanor.instruments.limits import Limit, LimitedAxis, SetRefused
from athanor.instruments.profile import AxisSpec
from athanor.instruments.words import Refused
from athanor.memory.places import InstrumentPlace

SPEC = AxisSpec(minimum=0, maximum=100, tolerance=0.1, timeout_s=0.2)


class Axis:
    """Arrives at once, or elsewhere, or never, or fails."""

    parent = None
    name = "x"

    def __init__(self, offset: float = 0.0, never: bool = False, error: Exception | None = None) -> None:
        self.position = 1.0
        self.offset, self.never, self.error = offset, never, error
        self.stops = self.begun = 0

    def set(self, value: float) -> Any:
        from ophyd_async.core import AsyncStatus

        self.begun += 1

        async def move() -> None:
            if self.error is not None:
                raise self.error
            if self.never:
                await asyncio.Event().wait()
            self.position = value + self.offset

        return AsyncStatus(move())

    async def stop(self, success: bool = True) -> None:
        self.stops += 1

    async def locate(self) -> dict[str, Any]:
        return {"setpoint": self.position, "readback": self.position}


def carry_out(axis: Axis, value: Any = 5.0, gate: Callable[[], None] | None = None, **fields: Any) -> HandMove:
    hand = HandMove("x", value, **fields)
    asyncio.run(hand.carry_out(LimitedAxis(axis, Limit(0, 100), gate), SPEC))
    return hand


def test_it_arrives(tmp_path: Path) -> None:
    axis = Axis(offset=0.05)
    hand = carry_out(axis)
    assert (hand.before, hand.after, hand.failure, axis.stops) == (1.0, 5.05, None, 0)


@pytest.mark.parametrize(
    ("axis", "code", "detail", "stops"),
    [
        (Axis(offset=1.0), "move.elsewhere", "stands at 6.0", 0),
        (Axis(never=True), "move.timeout", "was stopped", 1),
        (Axis(error=ValueError("odd")), "move.failed", "ValueError: odd", 1),
        (Axis(error=InstrumentLost("cable")), "instrument.lost", "cable", 1),
        (Axis(error=TimeoutError("x did not reach 5")), "move.failed", "did not reach", 1),
    ],
)
def test_why_it_did_not_arrive(axis: Axis, code: str, detail: str, stops: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("athanor.instruments.by_hand.MARGIN_S", 0.0)
    hand = carry_out(axis)
    assert hand.failure is not None and (hand.failure.code, axis.stops) == (code, stops)
    assert detail in hand.failure.detail
    assert hand.after == axis.position, "where it stands is told all the same"


def test_what_was_refused_is_not_even_stopped() -> None:
    """Stopping may mean something to a device that holds its value: who set nothing stops nothing."""

    def shut() -> None:
        raise SetRefused("writes.off", "new tubing")

    for axis, options, code in ((Axis(), {"value": 101.0}, "limit.above"), (Axis(), {"gate": shut}, "writes.off")):
        hand = carry_out(axis, **options)  # type: ignore[arg-type]
        assert hand.failure is not None and hand.failure.code == code
        assert (axis.begun, axis.stops, hand.after) == (0, 0, 1.0)


def test_one_that_was_ended_says_so_even_if_its_device_calls_that_a_success() -> None:
    hand = carry_out(Axis(), ends="Stop All: smoke")
    assert hand.failure is not None and str(hand.failure) == "move.stopped: Stop All: smoke"
    hand = carry_out(Axis(error=OSError("broken pipe")), lost="the connection dropped", ends="x")
    assert hand.failure is not None and hand.failure.code == "instrument.lost"


def test_an_order_is_used_up_once_and_remembered_long_enough(tmp_path: Path) -> None:
    place = InstrumentPlace.of("reactor", tmp_path)
    used = UsedOrders(place)
    used.use("a" * 32)
    used.use("b" * 32)
    for again in (used, UsedOrders(place)):
        with pytest.raises(Refused, match=r"order\.used"):
            again.use("a" * 32)
    for nonce in ("../" + "a" * 30, "", "A" * 32, "a" * 100):
        with pytest.raises(Refused, match=r"order\.malformed"):
            used.use(nonce)
    past = time.time() - KEPT_S - 60
    os.utime(place.directory / "orders" / ("b" * 32), (past, past))
    UsedOrders(place)
    assert [path.name for path in (place.directory / "orders").iterdir()] == ["a" * 32]


def test_an_order_that_cannot_be_marked_moves_nothing(tmp_path: Path) -> None:
    place = InstrumentPlace.of("reactor", tmp_path)
    used = UsedOrders(place)
    (place.directory / "orders").rmdir()
    with pytest.raises(Refused, match=r"order\.unmarked"):
        used.use("a" * 32)
