"""The devices over a client that a test plays itself; over real servers see the protocols' own tests."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

import pytest
from bluesky.protocols import Locatable, Movable, Readable, Stoppable, Triggerable

from athanor.instruments.profile import AxisSpec, DetectorSpec
from athanor.instruments.protocols.client import (
    BadQuality,
    Client,
    NotConnected,
    Quality,
    Reading,
    Refused,
    SignalSpec,
    TimedOut,
    Value,
    WrongType,
)
from athanor.instruments.protocols.devices import Wire, WiredAxis, WiredDetector
from athanor.instruments.protocols.wiring import AxisWiring, DetectorWiring
from tests.instruments.protocols.conformance import play, until


class Played:
    """A client whose signals are values, or functions that give them; it keeps what was written."""

    address = "played://here"

    def __init__(self, **values: Any) -> None:
        self.values = values
        self.written: list[tuple[str, Value]] = []
        self.is_connected = True
        self.reads = 0

    async def connect(self, deadline_s: float) -> None:
        pass

    async def read(self, signal: SignalSpec, deadline_s: float) -> Reading:
        self.reads += 1
        assert signal.read is not None
        value = self.values[signal.read]
        if callable(value):
            value = value()
        return value if isinstance(value, Reading) else Reading(value, 1234.5)

    async def write(self, signal: SignalSpec, value: Value, deadline_s: float) -> None:
        assert signal.write is not None
        self.written.append((signal.write, value))
        answer = self.values.get(f"on {signal.write}")
        if answer is not None:
            answer(value)

    async def close(self) -> None:
        self.is_connected = False


def axis(client: Played, spec: Mapping[str, Any] | None = None, **wiring: Any) -> WiredAxis:
    parts = {
        "controller": "c",
        "setpoint": {"write": "go"},
        "readback": {"read": "here"},
        "stop": {"write": "halt", "type": "int"},
        "poll_s": 0.001,
        "reply_s": 0.5,
        **wiring,
    }
    return WiredAxis(
        "stage",
        AxisSpec.model_validate({"unit": "mm", "tolerance": 0.01, "timeout_s": 5.0, **(spec or {})}),
        AxisWiring.model_validate(parts),
        client,
    )


def detector(client: Played, timeout_s: float = 5.0, **wiring: Any) -> WiredDetector:
    parts = {"controller": "c", "signals": {"counts": {"read": "counts"}}, "poll_s": 0.001, **wiring}
    spec = DetectorSpec(signals={"counts": "1/s"}, timeout_s=timeout_s)
    return WiredDetector("camera", spec, DetectorWiring.model_validate(parts), client)


def test_the_devices_meet_the_protocols() -> None:
    async def body() -> None:
        client = Played()
        assert isinstance(client, Client)
        stage, camera = axis(client), detector(client)
        for protocol in (Movable, Readable, Stoppable, Locatable):
            assert isinstance(stage, protocol)
        for protocol in (Triggerable, Readable):
            assert isinstance(camera, protocol)
        assert (stage.name, stage.readback.name) == ("stage", "stage")
        assert set(await camera.describe()) == {"counts"}

    play(body)


# -- values -----------------------------------------------------------------------------------------------------------


def test_a_reading_carries_the_controller_s_time_quality_unit_and_source() -> None:
    async def body() -> None:
        client = Played(here=Reading(2.5, 1000.25, Quality.UNCERTAIN, "last known"))
        stage = axis(client)
        assert await stage.read() == {"stage": {"value": 2.5, "timestamp": 1000.25, "alarm_severity": 1}}
        key = (await stage.describe())["stage"]
        assert (key["dtype"], key["shape"], key["units"], key["source"]) == ("number", [], "mm", "played://here here")

    play(body)


@pytest.mark.parametrize(
    ("kind", "value", "dtype"), [("float", 1.5, "number"), ("int", 3, "integer"), ("bool", True, "boolean")]
)
def test_every_type_is_described_as_it_is(kind: str, value: Value, dtype: str) -> None:
    async def body() -> None:
        camera = detector(Played(counts=value), signals={"counts": {"read": "counts", "type": kind}})
        await camera.trigger()
        assert (await camera.read())["counts"]["value"] == value
        assert (await camera.describe())["counts"]["dtype"] == dtype

    play(body)


def test_values_are_scaled_both_ways() -> None:
    async def body() -> None:
        client = Played(steps=0)
        client.values["on move"] = lambda value: client.values.update(steps=value)
        scaled = {"type": "int", "scale": 0.001, "offset": -1.0}
        stage = axis(client, setpoint={"write": "move", **scaled}, readback={"read": "steps", **scaled})
        await stage.set(2.5)
        assert client.written == [("move", 3500)]
        assert (await stage.read())["stage"]["value"] == pytest.approx(2.5)
        assert (await stage.describe())["stage"]["dtype"] == "number"

    play(body)


def test_a_fraction_is_not_quietly_rounded_for_a_whole_number() -> None:
    async def body() -> None:
        client = Played(here=2)
        stage = axis(client, setpoint={"write": "go", "type": "int"}, readback={"read": "here", "type": "int"})
        with pytest.raises(WrongType, match=r"stage\.setpoint: 2\.4 is not a int"):
            await stage.set(2.4)
        await stage.set(2.0)
        assert client.written == [("go", 2)]

    play(body)


@pytest.mark.parametrize(
    "reading",
    [
        Reading(math.nan, 0.0),
        Reading(-math.inf, 0.0),
        Reading(None, 0.0),
        Reading(1.0, 0.0, Quality.BAD, "sensor open"),
    ],
)
def test_what_nobody_may_use_is_an_error(reading: Reading) -> None:
    async def body() -> None:
        client = Played(here=reading, counts=reading)
        with pytest.raises(BadQuality, match=r"stage\.readback"):
            await axis(client).read()
        with pytest.raises(BadQuality, match=r"stage\.readback"):
            await axis(client).locate()
        with pytest.raises(BadQuality, match=r"camera\.counts"):
            await detector(client).trigger()

    play(body)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_never_written(value: float) -> None:
    async def body() -> None:
        client = Played(here=0.0)
        with pytest.raises(Refused, match=r"stage\.setpoint"):
            await axis(client).set(value)
        with pytest.raises(WrongType, match=r"stage\.setpoint"):
            await axis(client).set("far")
        assert client.written == []

    play(body)


def test_a_client_that_lies_about_the_type_or_forgets_its_deadline_is_caught() -> None:
    async def body() -> None:
        with pytest.raises(WrongType, match=r"stage\.readback"):
            await axis(Played(here="text")).read()

        class Hanging(Played):
            async def read(self, signal: SignalSpec, deadline_s: float) -> Reading:
                await asyncio.Event().wait()
                raise AssertionError

        began = time.monotonic()
        with pytest.raises(TimedOut):
            await Wire(Hanging(), SignalSpec(read="x"), 0.01).read()
        assert time.monotonic() - began < 5.0

    play(body)


# -- motion -----------------------------------------------------------------------------------------------------------


def test_a_set_that_is_not_verified_is_done_when_it_is_taken() -> None:
    async def body() -> None:
        client = Played(here=0.0)
        await axis(client, verify="none").set(5.0)
        assert client.written == [("go", 5.0)]
        assert client.reads == 0

    play(body)


def test_a_set_point_that_the_controller_changed_is_an_error() -> None:
    async def body() -> None:
        client = Played(here=0.0, target=4.0)
        stage = axis(client, verify="accepted", setpoint={"write": "go", "read": "target"})
        with pytest.raises(Refused, match=r"stage\.setpoint: it was set to 5\.0, and the controller took 4\.0"):
            await stage.set(5.0)
        await stage.set(4.0)

    play(body)


def test_a_word_is_set_and_read_back() -> None:
    async def body() -> None:
        client = Played(here="MeCN")
        client.values["on go"] = lambda value: client.values.update(here=value)
        words = {"setpoint": {"write": "go", "type": "str"}, "readback": {"read": "here", "type": "str"}}
        stage = axis(client, {"unit": None}, **words)
        await stage.set("EtOH")
        assert (await stage.read())["stage"]["value"] == "EtOH"

    play(body)


def test_a_set_waits_for_the_controller_to_be_done() -> None:
    async def body() -> None:
        client = Played(here=5.0, busy=True)
        stage = axis(client, done={"read": "busy", "type": "bool"}, done_value=False)
        status = stage.set(5.0)
        seen = client.reads
        await until(lambda: client.reads > seen + 10, "it looks again and again")
        assert not status.done
        client.values["busy"] = False
        await status

    play(body)


def test_a_set_waits_until_the_read_back_stays() -> None:
    async def body() -> None:
        here = iter([5.0, 5.2, 5.0, 4.8] + [5.0] * 10_000)
        client = Played(here=lambda: next(here))
        began = time.monotonic()
        await axis(client, stable_s=0.05).set(5.0)
        assert time.monotonic() - began >= 0.05
        assert client.reads > 5

    play(body)


def test_a_motion_that_ends_elsewhere_is_an_error_long_before_its_time() -> None:
    async def body() -> None:
        busy = iter([True, True, True])
        client = Played(here=2.0, busy=lambda: next(busy, False))
        stage = axis(client, {"timeout_s": 60.0}, done={"read": "busy", "type": "bool"}, done_value=False)
        with pytest.raises(RuntimeError, match=r"stage ended at 2\.0 on its way to 5\.0"):
            await stage.set(5.0)

    play(body)


def test_a_controller_that_is_slow_to_begin_is_waited_for() -> None:
    async def body() -> None:
        began = time.monotonic()
        client = Played(
            busy=lambda: 0.1 < time.monotonic() - began < 0.2,
            here=lambda: 5.0 if time.monotonic() - began > 0.2 else 0.0,
        )
        await axis(client, done={"read": "busy", "type": "bool"}, done_value=False).set(5.0)

    play(body)


def test_a_set_that_takes_too_long_names_the_axis() -> None:
    async def body() -> None:
        with pytest.raises(TimeoutError, match=r"stage did not reach 5\.0 within 0\.05 s"):
            await axis(Played(here=0.0), {"timeout_s": 0.05}).set(5.0)

    play(body)


def test_a_line_that_breaks_on_the_way_counts_as_lost() -> None:
    async def body() -> None:
        client = Played(here=0.0)
        status = axis(client).set(5.0)
        await until(lambda: client.reads > 2, "it is on its way")
        client.is_connected = False  # lost and found again between two looks would look like this
        with pytest.raises(NotConnected, match=r"stage\.readback: the line broke on the way to 5\.0"):
            await status

    play(body)


def test_a_second_set_replaces_the_first() -> None:
    async def body() -> None:
        client = Played(here=0.0)
        stage = axis(client)
        first = stage.set(5.0)
        await until(lambda: client.reads > 2, "it is on its way")
        client.values["here"] = 1.0
        await stage.set(1.0)
        with pytest.raises(RuntimeError, match="stage was sent elsewhere"):
            await first

    play(body)


@pytest.mark.parametrize("success", [True, False])
def test_stop_ends_the_motion_as_it_is_told_to(success: bool) -> None:
    async def body() -> None:
        client = Played(here=2.0)
        stage = axis(client)
        status = stage.set(5.0)
        await until(lambda: client.reads > 2, "it is on its way")
        await stage.stop(success=success)
        assert client.written[-1] == ("halt", 1)
        if success:
            await status
        else:
            with pytest.raises(RuntimeError, match=r"stage was stopped at 2\.0 on its way to 5\.0"):
                await status

    play(body)


def test_an_axis_can_be_held_where_it_is() -> None:
    async def body() -> None:
        client = Played(here=2.25)
        stage = axis(client, stop="hold")
        await stage.stop()
        assert client.written == [("go", 2.25)]
        assert await stage.locate() == {"setpoint": 2.25, "readback": 2.25}

    play(body)


def test_a_stop_that_fails_is_never_taken_for_one() -> None:
    async def body() -> None:
        client = Played(here=2.0)
        with pytest.raises(Refused, match=r"stage\.stop: the axis has no stop; give the device `stop:`"):
            await axis(client, stop=None).stop()
        stage = axis(client)
        status = stage.set(5.0)
        await until(lambda: client.reads > 2, "it is on its way")

        def refuse(_: Value) -> None:
            raise Refused("stage", "stop", "jammed", "push the red button")

        client.values["on halt"] = refuse
        with pytest.raises(Refused, match="jammed"):
            await stage.stop(success=True)
        with pytest.raises(RuntimeError, match="to be stopped, which failed"):
            await status

    play(body)


def test_whether_it_moves_is_the_controller_s_word_or_two_looks() -> None:
    async def body() -> None:
        told = axis(Played(here=0.0, busy=True), done={"read": "busy", "type": "bool"}, done_value=False)
        assert await told.is_moving()
        here = iter(range(100))
        assert await axis(Played(here=lambda: float(next(here)))).is_moving()
        assert not await axis(Played(here=1.0)).is_moving()

    play(body)


def test_where_it_was_sent_is_known_before_we_ever_sent_it() -> None:
    async def body() -> None:
        client = Played(here=1.0, target=3.0)
        stage = axis(client, setpoint={"write": "go", "read": "target"})
        assert await stage.locate() == {"setpoint": 3.0, "readback": 1.0}
        assert (await axis(client).locate())["setpoint"] == 1.0

    play(body)


# -- measuring --------------------------------------------------------------------------------------------------------


def test_a_detector_is_triggered_awaited_and_read_once() -> None:
    async def body() -> None:
        client = Played(counts=0.0, state="idle")

        def begin(_: Value) -> None:
            states = iter(["busy"] * 5)
            client.values["state"] = lambda: next(states, "ready")
            client.values["counts"] = 41.0

        client.values["on measure"] = begin
        camera = detector(
            client,
            trigger={"write": "measure", "type": "int"},
            done={"read": "state", "type": "str"},
            done_value="ready",
        )
        await camera.trigger()
        client.values["counts"] = 99.0
        reading = (await camera.read())["counts"]
        assert (reading["value"], reading["timestamp"]) == (41.0, 1234.5)

    play(body)


def test_a_failed_measurement_leaves_no_old_reading_behind() -> None:
    async def body() -> None:
        client = Played(counts=1.0)
        camera = detector(client)
        with pytest.raises(BadQuality, match="trigger the detector first"):
            await camera.read()
        await camera.trigger()
        client.values["counts"] = math.nan
        with pytest.raises(BadQuality):
            await camera.trigger()
        with pytest.raises(BadQuality, match="nothing was measured yet"):
            await camera.read()

    play(body)


def test_a_measurement_that_takes_too_long_names_the_detector() -> None:
    async def body() -> None:
        camera = detector(Played(counts=1.0, busy=True), 0.05, done={"read": "busy", "type": "bool"}, done_value=False)
        with pytest.raises(TimeoutError, match=r"camera did not measure within 0\.05 s"):
            await camera.trigger()

    play(body)


def test_probing_tells_an_address_that_fails_from_a_value_that_is_bad_now() -> None:
    async def body() -> None:
        await detector(Played(counts=math.nan)).probe()
        await axis(Played(here=math.nan)).probe()
        with pytest.raises(WrongType):
            await detector(Played(counts="text")).probe()
        with pytest.raises(WrongType):
            await axis(Played(here="text")).probe()

    play(body)
