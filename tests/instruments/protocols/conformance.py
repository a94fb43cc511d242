"""What every protocol must do, tested against a real server on loopback.

A protocol's tests write a `Rig`, which starts the server, and inherit from `Conformance`:

    class TestScpi(Conformance):
        rig_class = ScpiRig

The server serves the `Plant`: one axis that takes time to move, one measured number, a word, a count.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from bluesky.run_engine import RunEngine
from bluesky.utils import DuringTask

from athanor.instruments.laboratory import InstrumentLost, InstrumentUnavailable
from athanor.instruments.limits import LimitedAxis, LimitViolation
from athanor.instruments.plans import measure
from athanor.instruments.profile import AxisSpec, DetectorSpec, Profile
from athanor.instruments.protocols.client import (
    BadQuality,
    Client,
    MissingLibrary,
    NotConnected,
    Quality,
    SignalError,
    SignalSpec,
    TimedOut,
    WrongType,
)
from athanor.instruments.protocols.devices import WiredAxis, WiredDetector
from athanor.instruments.protocols.wired import client_class, connect_profile
from athanor.instruments.protocols.wiring import AxisWiring, DetectorWiring

CONNECT_S = 10.0
REPLY_S = 5.0
SHORT_S = 0.4
"""A deadline that is meant to pass."""
SLACK_S = 2.0
"""What a busy machine may add to a deadline."""
FAR = 1000.0
"""So far that no motion arrives there during a test."""


class Plant:
    """The truth behind a rig's server. Thread-safe; a rig reads and writes it, a test controls and asks it.

    `position` moves to the last target at `speed` units per second; `moves` are the targets taken, as (time, target).
    `is_good` says whether `measured` is of good quality, for protocols that can tell.
    """

    def __init__(self, speed: float = 20.0) -> None:
        self.speed = speed
        self.measured = 0.625
        self.label = "ready"
        self.count = 7
        self.is_good = True
        self.is_stuck = False
        self.moves: list[tuple[float, float]] = []
        self.stops = 0
        self._guard = threading.Lock()
        self._from = 0.0
        self._to = 0.0
        self._since = time.monotonic()

    def move(self, target: float) -> None:
        """Go there from where it is; a stuck axis takes the command and does not move."""
        with self._guard:
            here = self._at(time.monotonic())
            self.moves.append((time.monotonic(), target))
            self._from, self._since = here, time.monotonic()
            if not self.is_stuck:
                self._to = target

    def stop(self) -> None:
        """Halt where it is."""
        with self._guard:
            self._from = self._to = self._at(time.monotonic())
            self._since = time.monotonic()
            self.stops += 1

    @property
    def position(self) -> float:
        """Where it is now."""
        with self._guard:
            return self._at(time.monotonic())

    @property
    def target(self) -> float:
        """The last target taken; the set point that a controller shows."""
        with self._guard:
            return self.moves[-1][1] if self.moves else self._to

    @property
    def is_moving(self) -> bool:
        """Whether it is on its way."""
        with self._guard:
            return self._at(time.monotonic()) != self._to

    def _at(self, now: float) -> float:
        way = self._to - self._from
        gone = self.speed * (now - self._since)
        return self._to if gone >= abs(way) else self._from + math.copysign(gone, way)


class Rig(ABC):
    """A real server on loopback, on a free port, in a thread or process of its own. Every method returns at once.

    `stall`: connections stay open, nothing is answered; `resume` ends it. `drop`: every connection is cut and no new
    one is taken (for a protocol without connections: the server dies); `restore` serves again at the same address.
    """

    protocol: ClassVar[str]
    """The name it is registered under."""
    package: ClassVar[str | None] = None
    """The client library's top module; None when it is always installed."""
    extra: ClassVar[str] = ""
    has_quality: ClassVar[bool] = False
    """Whether `plant.is_good = False` reaches the client."""
    done_value: ClassVar[bool] = False
    """What the signal `moving` reads at standstill."""
    stop_value: ClassVar[Any] = 1
    options: Mapping[str, Any] = {}
    address: str

    def __init__(self) -> None:
        self.plant = Plant()

    @abstractmethod
    def signals(self) -> dict[str, SignalSpec]:
        """`setpoint` (write and read), `readback`, `moving` (bool), `stop` (write), `measured`, `label` (str), `count`
        (int), and `nowhere`, an address that the server does not have. All numbers but `count` are doubles."""

    @abstractmethod
    def start(self) -> None:
        """Serve; returns when it does, and sets `address`."""

    @abstractmethod
    def drop(self) -> None: ...

    @abstractmethod
    def restore(self) -> None: ...

    @abstractmethod
    def stall(self) -> None: ...

    @abstractmethod
    def resume(self) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """End the server, also one that is stalled or dropped."""

    # -- what the tests build on it ---------------------------------------------------------------------------------

    def client(self) -> Client:
        """A client, not yet connected."""
        return client_class(self.protocol)(self.address, self.options, "controller")

    def signal(self, name: str, **changes: Any) -> SignalSpec:
        """One of the signals, named as in a profile."""
        return self.signals()[name].model_copy(update={"device": "stage", "name": name, **changes})

    def axis_wiring(self, **changes: Any) -> AxisWiring:
        """The axis, as a profile wires it."""
        signals = self.signals()
        return AxisWiring(
            **{
                "controller": "controller",
                "setpoint": signals["setpoint"],
                "readback": signals["readback"],
                "done": signals["moving"],
                "done_value": self.done_value,
                "stop": signals["stop"],
                "stop_value": self.stop_value,
                "reply_s": REPLY_S,
                "poll_s": 0.01,
                **changes,
            }
        )

    def axis(self, client: Client, timeout_s: float = 20.0, **changes: Any) -> WiredAxis:
        """The axis over a connected client."""
        spec = AxisSpec(unit="mm", minimum=-10.0, maximum=FAR, tolerance=0.001, timeout_s=timeout_s)
        return WiredAxis("stage", spec, self.axis_wiring(**changes), client)

    def detector(self, client: Client) -> WiredDetector:
        """The detector over a connected client."""
        wiring = DetectorWiring(
            controller="controller", signals={"counts": self.signals()["measured"]}, reply_s=REPLY_S
        )
        return WiredDetector("camera", DetectorSpec(signals={"counts": None}), wiring, client)

    def profile(self) -> Profile:
        """A whole instrument on this server."""
        controller = {
            "protocol": self.protocol,
            "address": self.address,
            "options": dict(self.options),
            "connect_s": 10,
        }
        camera = {
            "controller": "controller",
            "signals": {"counts": self.signals()["measured"].model_dump()},
            "reply_s": REPLY_S,
        }
        return Profile.model_validate(
            {
                "name": "bench",
                "laboratory": "wired",
                "simulated": True,
                "axes": {"stage": {"unit": "mm", "minimum": -10.0, "maximum": 50.0, "tolerance": 0.001}},
                "detectors": {"camera": {"signals": {"counts": None}}},
                "outcomes": {"counts": {"signal": "counts"}},
                "controllers": {"controller": controller},
                "devices": {"stage": self.axis_wiring().model_dump(), "camera": camera},
            }
        )


@asynccontextmanager
async def connected(rig: Rig) -> AsyncIterator[Client]:
    """A connected client, closed afterwards."""
    client = rig.client()
    try:
        await client.connect(CONNECT_S)
        yield client
    finally:
        await client.close()


async def until(condition: Callable[[], bool], what: str, deadline_s: float = 10.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.005)


def play(body: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine in an event loop of its own."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await body()

    asyncio.run(bounded())


class Conformance:
    """The behaviours; every one is a promise of `Client`, `WiredAxis` or `WiredDetector`."""

    rig_class: ClassVar[type[Rig]]

    @pytest.fixture
    def rig(self) -> Iterator[Rig]:
        """The server, for this test."""
        rig = self.rig_class()
        try:
            rig.start()
            yield rig
        finally:
            rig.close()

    # -- the line ---------------------------------------------------------------------------------------------------

    def test_is_connected_tells_the_line_s_state(self, rig: Rig) -> None:
        async def body() -> None:
            client = rig.client()
            assert isinstance(client, Client)
            assert not client.is_connected
            await client.connect(CONNECT_S)
            assert client.is_connected
            await client.connect(CONNECT_S)
            await client.close()
            assert not client.is_connected
            await client.close()

        play(body)

    def test_connecting_to_nobody_ends_by_the_deadline(self, rig: Rig) -> None:
        rig.drop()

        async def body() -> None:
            client = rig.client()
            began = time.monotonic()
            with pytest.raises(NotConnected) as caught:
                await client.connect(SHORT_S)
            assert time.monotonic() - began < SHORT_S + SLACK_S
            assert rig.address in str(caught.value) and "controller" in str(caught.value)
            assert caught.value.remedy
            assert not client.is_connected
            await client.close()

        play(body)

    def test_a_missing_library_says_what_to_install(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        if rig.package is None:
            pytest.skip("this protocol needs no library; the others run this test")
        for module in [name for name in sys.modules if name.split(".")[0] == rig.package]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, rig.package, None)

        async def body() -> None:
            client = rig.client()
            with pytest.raises(MissingLibrary, match=rf"athanor-lab\[{rig.extra}\]"):
                await client.connect(CONNECT_S)
            await client.close()

        play(body)

    # -- values -----------------------------------------------------------------------------------------------------

    def test_reads_every_type_with_time_and_quality(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                expected: dict[str, Any] = {
                    "measured": 0.625,
                    "readback": 0.0,
                    "label": "ready",
                    "count": 7,
                    "moving": rig.done_value,
                }
                for name, value in expected.items():
                    reading = await client.read(rig.signal(name), REPLY_S)
                    assert (reading.value, type(reading.value)) == (value, type(value)), name
                    assert reading.quality is Quality.GOOD
                    assert abs(reading.timestamp - time.time()) < 60

        play(body)

    def test_a_written_double_arrives_with_all_its_digits(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                for value in (0.1 + 0.2, -1 / 3, 1e-300, 5e-324, 2.0**53, 123456.789012345):
                    await client.write(rig.signal("setpoint"), value, REPLY_S)
                    await until(lambda value=value: rig.plant.target == value, f"{value!r} is the target")  # type: ignore[misc]
                    assert (await client.read(rig.signal("setpoint"), REPLY_S)).value == value

        play(body)

    def test_a_value_of_another_type_is_an_error(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                with pytest.raises(WrongType, match=r"stage\.label.*float"):
                    await client.read(rig.signal("label", type="float"), REPLY_S)
                for wrong in ("fast", True):
                    with pytest.raises(WrongType, match=r"stage\.setpoint"):
                        await client.write(rig.signal("setpoint"), wrong, REPLY_S)
                assert rig.plant.moves == []

        play(body)

    def test_an_address_that_does_not_exist_is_named(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                with pytest.raises(SignalError, match=r"stage\.nowhere") as caught:
                    await client.read(rig.signal("nowhere"), 1.0)
                assert not isinstance(caught.value, NotConnected)
                assert (await client.read(rig.signal("measured"), REPLY_S)).value == 0.625

        play(body)

    def test_not_a_number_is_never_handed_on(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                detector = rig.detector(client)
                await detector.trigger()
                assert (await detector.read())["counts"]["value"] == 0.625
                for value in (math.nan, math.inf):
                    rig.plant.measured = value
                    with pytest.raises(BadQuality, match=r"camera\.counts"):
                        await detector.trigger()
                        await asyncio.sleep(0)
                rig.plant.measured = 0.75
                await detector.trigger()
                assert (await detector.read())["counts"]["value"] == 0.75

        play(body)

    def test_bad_quality_is_never_handed_on(self, rig: Rig) -> None:
        if not rig.has_quality:
            pytest.skip("nothing on this line can say that a value is bad; the guide says so")
        rig.plant.is_good = False

        async def body() -> None:
            async with connected(rig) as client:
                reading = await client.read(rig.signal("measured"), REPLY_S)
                assert reading.quality is Quality.BAD
                assert reading.detail
                with pytest.raises(BadQuality, match=r"camera\.counts"):
                    await rig.detector(client).trigger()

        play(body)

    # -- a server that stalls ---------------------------------------------------------------------------------------

    def test_a_stalled_server_costs_no_more_than_the_deadline(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                await client.read(rig.signal("measured"), REPLY_S)
                rig.stall()
                began = time.monotonic()
                with pytest.raises(TimedOut, match=r"stage\.measured"):
                    await client.read(rig.signal("measured"), SHORT_S)
                assert time.monotonic() - began < SHORT_S + SLACK_S
                began = time.monotonic()
                with pytest.raises(SignalError, match=r"stage\.setpoint"):
                    await client.write(rig.signal("setpoint"), 1.0, SHORT_S)
                assert time.monotonic() - began < SHORT_S + SLACK_S

        play(body)

    def test_a_write_that_was_not_acknowledged_says_that_it_may_have_worked(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                await client.write(rig.signal("setpoint"), 0.0, REPLY_S)
                rig.stall()
                with pytest.raises(TimedOut, match="may have taken effect"):
                    await client.write(rig.signal("setpoint"), 1.0, SHORT_S)

        play(body)

    def test_a_late_answer_is_not_taken_for_the_next_one(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                rig.stall()
                with pytest.raises(TimedOut):
                    await client.read(rig.signal("measured"), SHORT_S)
                rig.plant.count = 11
                rig.resume()
                assert (await client.read(rig.signal("count"), CONNECT_S)).value == 11
                assert (await client.read(rig.signal("label"), CONNECT_S)).value == "ready"

        play(body)

    # -- motion -----------------------------------------------------------------------------------------------------

    def test_a_set_is_done_when_the_read_back_is_there(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                axis = rig.axis(client)
                await axis.set(1.5)
                assert rig.plant.position == pytest.approx(1.5, abs=0.001)
                assert not rig.plant.is_moving
                reading = (await axis.read())["stage"]
                assert reading["value"] == pytest.approx(1.5, abs=0.001)
                location = await axis.locate()
                assert location["setpoint"] == 1.5
                assert location["readback"] == pytest.approx(1.5, abs=0.001)

        play(body)

    def test_a_set_verified_by_the_set_point_does_not_wait_for_the_motion(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                await rig.axis(client, verify="accepted").set(FAR)
                assert rig.plant.target == FAR
                assert rig.plant.position < FAR

        play(body)

    def test_a_set_that_is_not_verified_asks_nothing(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                nowhere = rig.signals()["nowhere"]  # a question would fail
                axis = rig.axis(client, verify="none", done=None, readback=nowhere)
                await axis.set(FAR)
                await until(lambda: rig.plant.target == FAR, "the command arrives")
                assert rig.plant.position < FAR

        play(body)

    def test_stop_in_motion_halts_it(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                axis = rig.axis(client)
                status = axis.set(FAR)
                await until(lambda: rig.plant.position > 0.1, "it moves")
                await axis.stop(success=False)
                await until(lambda: not rig.plant.is_moving, "it halts")
                with pytest.raises(RuntimeError, match="stage was stopped at"):
                    await status
                halted = rig.plant.position
                assert halted < FAR / 2
                await axis.set(halted + 1)
                assert rig.plant.position == pytest.approx(halted + 1, abs=0.001)

        play(body)

    def test_stop_at_standstill_is_taken(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                await rig.axis(client).stop()
                await until(lambda: rig.plant.stops == 1, "the stop arrives")

        play(body)

    def test_an_axis_that_does_not_arrive_is_an_error_in_time(self, rig: Rig) -> None:
        rig.plant.is_stuck = True

        async def body() -> None:
            async with connected(rig) as client:
                began = time.monotonic()
                with pytest.raises((TimeoutError, SignalError, RuntimeError), match="stage"):
                    await rig.axis(client, timeout_s=1.0).set(5.0)
                assert time.monotonic() - began < 1.0 + SLACK_S

        play(body)

    def test_a_set_outside_the_limits_never_reaches_the_line(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                axis = rig.axis(client)
                limited = LimitedAxis(axis, AxisSpec(minimum=0.0, maximum=2.0, largest_step=1.0).limit())
                for value in (2.1, -0.1, math.nan, math.inf, "1"):
                    with pytest.raises(LimitViolation):
                        limited.set(value)
                with pytest.raises(LimitViolation, match=r"limit\.step"):
                    await limited.set(1.5)
                assert rig.plant.moves == []
                await limited.set(0.5)
                assert rig.plant.target == 0.5

        play(body)

    # -- a line that breaks -----------------------------------------------------------------------------------------

    def test_a_disconnect_in_mid_motion_is_seen_and_named(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                axis = rig.axis(client, reply_s=1.0)
                status = axis.set(FAR)
                await until(lambda: rig.plant.position > 0.1, "it moves")
                rig.drop()
                with pytest.raises(NotConnected, match=r"stage\.\w+") as caught:
                    await asyncio.wait_for(status.task, 5.0)
                assert isinstance(caught.value, InstrumentLost), "it must count as lost, not as failed"
                assert not client.is_connected
                assert len(rig.plant.moves) == 1, "a motion is never commanded twice"

        play(body)

    def test_a_client_connects_again_by_itself(self, rig: Rig) -> None:
        async def body() -> None:
            async with connected(rig) as client:
                assert (await client.read(rig.signal("count"), REPLY_S)).value == 7
                rig.drop()
                with pytest.raises(SignalError) as caught:
                    await client.read(rig.signal("count"), 1.0)
                assert isinstance(caught.value, (NotConnected, TimedOut))
                await until(lambda: not client.is_connected, "the client knows")
                with pytest.raises((NotConnected, TimedOut), match=r"stage\.setpoint"):
                    await client.write(rig.signal("setpoint"), 1.0, 1.0)
                rig.plant.count = 8
                rig.restore()
                assert (await client.read(rig.signal("count"), CONNECT_S)).value == 8
                assert client.is_connected
                await client.write(rig.signal("setpoint"), 2.0, REPLY_S)
                await until(lambda: rig.plant.target == 2.0, "the write arrives")
                assert [target for _, target in rig.plant.moves] == [2.0], "what failed is not sent later"

        play(body)

    # -- a whole instrument -----------------------------------------------------------------------------------------

    def test_a_run_over_the_wire_gives_whole_documents(self, rig: Rig) -> None:
        engine = RunEngine({}, context_managers=[], during_task=DuringTask(), call_returns_result=True)
        profile = rig.profile()
        devices = connect_profile(profile)
        try:
            assert devices.is_connected()
            assert not devices.is_moving()
            axes = {name: LimitedAxis(axis, profile.limits()[name]) for name, axis in devices.axes.items()}
            documents: list[tuple[str, Mapping[str, Any]]] = []
            engine(
                measure(axes, devices.detectors, {"stage": 2.0}, 3, 0.0, {}, tolerances={"stage": 0.001}),
                lambda name, document: documents.append((name, document)),
            )
            events = [document["data"] for name, document in documents if name == "event"]
            assert [event["counts"] for event in events] == [0.625] * 3
            assert [event["stage"] for event in events] == [pytest.approx(2.0, abs=0.001)] * 3
            assert documents[-1][1]["exit_status"] == "success"
        finally:
            devices.close()
        assert not devices.is_connected()

    @pytest.mark.parametrize("moment", ["motion", "measurement"])
    def test_a_run_that_is_cut_is_lost_and_the_next_one_is_whole(self, rig: Rig, moment: str) -> None:
        engine = RunEngine({}, context_managers=[], during_task=DuringTask(), call_returns_result=True)
        is_cut = False

        def cut(message: Any) -> None:
            nonlocal is_cut
            is_time = message.command == "trigger" if moment == "measurement" else rig.plant.position > 0.1
            if is_time and not is_cut:
                is_cut = True
                rig.drop()

        def run(target: float) -> list[tuple[str, Mapping[str, Any]]]:
            documents: list[tuple[str, Mapping[str, Any]]] = []
            devices = connect_profile(rig.profile())
            try:
                axes = {name: LimitedAxis(axis, rig.profile().limits()[name]) for name, axis in devices.axes.items()}
                engine(
                    measure(axes, devices.detectors, {"stage": target}, 2, 0.0, {}, tolerances={"stage": 0.001}),
                    lambda name, document: documents.append((name, document)),
                )
                return documents
            finally:
                devices.close()

        engine.msg_hook = cut
        with pytest.raises(Exception) as caught:
            run(40.0 if moment == "motion" else 1.0)
        assert is_cut
        causes = [caught.value]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
            causes.append(cause)
        assert any(isinstance(cause, InstrumentLost) for cause in causes), "it must count as lost, not as failed"
        assert any("controller" in str(cause) or "stage" in str(cause) or "camera" in str(cause) for cause in causes)
        assert [target for _, target in rig.plant.moves] == [40.0 if moment == "motion" else 1.0]
        rig.plant.stop()
        rig.restore()
        documents = run(2.0)
        events = [document["data"] for name, document in documents if name == "event"]
        assert [event["counts"] for event in events] == [0.625] * 2
        assert documents[-1][1]["exit_status"] == "success"
        assert [target for _, target in rig.plant.moves][1:] == [2.0], "what was cut is not sent later"

    def test_an_instrument_that_is_off_is_unavailable(self, rig: Rig) -> None:
        RunEngine({}, context_managers=[], during_task=DuringTask(), call_returns_result=True)
        profile = rig.profile()
        hasty = {name: spec.model_copy(update={"connect_s": SHORT_S}) for name, spec in profile.controllers.items()}
        rig.drop()
        with pytest.raises(InstrumentUnavailable, match="controller"):
            connect_profile(profile.model_copy(update={"controllers": hasty}))
