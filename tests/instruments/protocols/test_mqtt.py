from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.protocols.client import (
    BadQuality,
    NotConnected,
    Option,
    Quality,
    Refused,
    SignalSpec,
    TimedOut,
    WrongType,
)
from athanor.instruments.protocols.devices import Wire
from athanor.instruments.protocols.mqtt import MqttClient
from athanor.instruments.protocols.mqtt_access import Topic
from tests.instruments.protocols.checked import report
from tests.instruments.protocols.conformance import (
    CONNECT_S,
    FAR,
    REPLY_S,
    SHORT_S,
    Conformance,
    connected,
    play,
    until,
)
from tests.instruments.protocols.mqtt_rig import Device, Exchange, MqttRig, PeriodicRig
from tests.instruments.protocols.sila_rig import certificate


class TestMqtt(Conformance):
    rig_class = MqttRig


class TestMqttPeriodic(Conformance):
    rig_class = PeriodicRig


@pytest.fixture
def rig() -> Iterator[MqttRig]:
    rig = MqttRig()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


def signal(read: str | None = None, write: str | None = None, type: Any = "float", **options: Option) -> SignalSpec:
    return SignalSpec(read=read, write=write, type=type, options=options).named("stage", "value")


def keep(rig: MqttRig, topic: str, content: Any) -> None:
    """Have the broker retain a message."""
    payload = content if isinstance(content, str) else json.dumps(content)
    rig.device.client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10.0)


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("lab/stage", Topic("lab/stage", (), False)),
        ("lab/stage#", Topic("lab/stage", (), True)),
        ("lab/stage#/axis/0/a~1b", Topic("lab/stage", ("axis", "0", "a/b"), True)),
    ],
)
def test_an_address_is_taken_apart(text: str, topic: Topic) -> None:
    assert Topic.parse(text) == topic


@pytest.mark.parametrize("text", ["", "#/a", "lab/+/stage", "lab/#", "lab/stage#position"])
def test_an_address_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        Topic.parse(text)


@pytest.mark.parametrize(
    ("address", "options", "said"),
    [
        ("broker:1883", {}, "mqtts://host"),
        ("http://broker", {}, "mqtts://host"),
        ("mqtt://me@broker", {}, "no user"),
        ("mqtt://broker", {"qos": 2}, "qos"),
        ("mqtt://broker", {"user": "a"}, "belong together"),
        ("mqtt://broker", {"user": "a", "password_env": "B"}, "unencrypted to another computer"),
        ("mqtt://broker", {"root_certificates": "ca.pem"}, "without encryption"),
        ("mqtts://broker", {"certificate": "us.pem"}, "belong together"),
        ("mqtt://broker", {"keepalive_s": 0}, "keepalive_s"),
        ("mqtt://broker", {"alive": "lab/+"}, "no address"),
        ("mqtt://broker", {"insecure": 1}, "insecure is true or false"),
    ],
)
def test_a_controller_s_description_is_checked(address: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MqttClient(address, options, "pump")


def test_a_password_may_go_unencrypted_only_at_home_or_on_demand() -> None:
    password: dict[str, Option] = {"user": "a", "password_env": "B"}
    assert not MqttClient("mqtt://127.0.0.1", password, "pump").is_connected
    assert not MqttClient("mqtt://broker", {**password, "insecure": True}, "pump").is_connected


def test_a_signal_s_options_are_checked(rig: MqttRig) -> None:
    refused: dict[str, dict[str, Option]] = {
        "qos": {"qos": 2},
        "max_age_s is -1": {"max_age_s": -1.0},
        "nothing to compare": {"ask": "lab/get", "id": "/id"},
        "no JSON object": {"body": "[1]"},
    }

    async def body() -> None:
        async with connected(rig) as client:
            for said, options in refused.items():
                with pytest.raises(Refused, match=said):
                    await client.write(signal(write="lab/stage/set#/target", **options), 1.0, REPLY_S)
            assert rig.device.heard == []

    play(body)


def test_on_change_needs_a_sign_of_life() -> None:
    async def body() -> None:
        client = MqttClient("mqtt://127.0.0.1:9", {}, "pump")
        with pytest.raises(Refused, match="dead controller would go unnoticed"):
            await client.read(signal("lab/label", on_change=True), REPLY_S)

    play(body)


# -- the age of a message --------------------------------------------------------------------------------------------


def test_a_retained_message_is_stale_whoever_asks(rig: MqttRig) -> None:
    keep(rig, "lab/old", "5.0")

    async def body() -> None:
        async with connected(rig) as client:
            reading = await client.read(signal("lab/old"), SHORT_S)
            assert (reading.value, reading.quality) == (5.0, Quality.BAD)
            assert "stale: retained by the broker, of unknown age" in reading.detail
            reading = await client.read(signal("lab/old", max_age_s=1000.0), SHORT_S)
            assert reading.quality is Quality.BAD
            with pytest.raises(BadQuality, match=r"stage\.value.*5\.0 bad \(stale"):
                await Wire(client, signal("lab/old"), SHORT_S).read()

    play(body)


def test_a_fresh_message_outdoes_a_retained_one(rig: MqttRig) -> None:
    keep(rig, "lab/stage/position", "5.0")

    async def body() -> None:
        async with connected(rig) as client:
            pending = asyncio.create_task(client.read(signal("lab/stage/position"), REPLY_S))
            while not client._line.latest.get("lab/stage/position"):  # type: ignore[attr-defined]
                await asyncio.sleep(0.005)
            assert not pending.done()
            rig.device.tell(is_retained=True)
            reading = await pending
            assert (reading.value, reading.quality) == (0.0, Quality.GOOD)
            assert abs(reading.timestamp - time.time()) < 60

    play(body)


def test_a_message_that_came_before_the_read_counts_only_by_leave(rig: MqttRig) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            first = asyncio.create_task(client.read(signal("lab/count", type="int"), REPLY_S))
            while "lab/count" not in client._line.waiters:  # type: ignore[attr-defined]
                await asyncio.sleep(0.005)
            rig.device.tell()
            assert (await first).value == 7
            with pytest.raises(TimedOut, match=r"stage\.value: no message within 0\.4 s, the last message came \d"):
                await client.read(signal("lab/count", type="int"), SHORT_S)
            assert (await client.read(signal("lab/count", type="int", max_age_s=60.0), SHORT_S)).value == 7
            with pytest.raises(TimedOut):
                await client.read(signal("lab/count", type="int", max_age_s=0.001), SHORT_S)

    play(body)


def test_the_value_s_own_time_decides_where_there_is_one(rig: MqttRig) -> None:
    now = time.time()
    keep(rig, "lab/recent", {"v": 1.5, "t": now - 2})
    keep(rig, "lab/ancient", {"v": 1.5, "t": now - 5000})
    keep(rig, "lab/future", {"v": 1.5, "t": now + 5000})

    async def body() -> None:
        async with connected(rig) as client:
            reading = await client.read(signal("lab/recent#/v", time="/t", max_age_s=120.0), REPLY_S)
            assert (reading.value, reading.quality, reading.timestamp) == (1.5, Quality.GOOD, now - 2)
            reading = await client.read(signal("lab/ancient#/v", time="/t", max_age_s=120.0), SHORT_S)
            assert (reading.quality, reading.timestamp) == (Quality.BAD, now - 5000)
            assert "by its own time 50" in reading.detail
            assert (await client.read(signal("lab/future#/v", time="/t", max_age_s=120.0), SHORT_S)).quality == "bad"

    play(body)


def test_on_change_takes_the_last_message_while_the_controller_lives(rig: MqttRig) -> None:
    keep(rig, "lab/label", "old")
    spec = signal("lab/label", type="str", on_change=True)

    async def body() -> None:
        async with connected(rig) as client:
            reading = await client.read(spec, REPLY_S)
            assert (reading.value, reading.quality) == ("old", Quality.UNCERTAIN)
            assert "of unknown age" in reading.detail
            rig.device.tell()
            while (await client.read(spec, REPLY_S)).value != "ready":
                await asyncio.sleep(0.005)
            assert (await client.read(spec, REPLY_S)).quality is Quality.GOOD
            await asyncio.to_thread(rig.device.die)
            await until(lambda: not client.is_connected, "the last will arrives")
            with pytest.raises(NotConnected, match=r"stage\.value.*lab/status says 'offline', not 'online'"):
                await client.read(spec, SHORT_S)

    play(body)


def test_only_the_reply_to_this_read_counts(rig: MqttRig) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            pending = asyncio.create_task(client.read(rig.signal("nowhere", read="lab/state#/count", type="int"), 1.0))
            while "lab/state" not in client._line.waiters:  # type: ignore[attr-defined]
                await asyncio.sleep(0.005)
            rig.device.tell({"id": "another", "count": 99})
            assert (await pending).value == 7

    play(body)


# -- the controller's life ---------------------------------------------------------------------------------------------


def test_a_controller_that_dies_in_mid_motion_is_known_at_once(rig: MqttRig) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            axis = rig.axis(client, reply_s=30.0, timeout_s=60.0)
            status = axis.set(FAR)
            await until(lambda: rig.plant.position > 0.1, "it moves")
            await asyncio.to_thread(rig.device.die)
            with pytest.raises(NotConnected, match=r"stage\.\w+"):
                await asyncio.wait_for(status.task, 10.0)
            with pytest.raises(NotConnected, match="says 'offline'"):
                await client.write(rig.signal("stop"), 1, SHORT_S)
            again = await asyncio.to_thread(Device, rig.port, rig.plant)
            try:
                assert (await client.read(rig.signal("count"), CONNECT_S)).value == 7
                assert client.is_connected
            finally:
                await asyncio.to_thread(again.close)

    play(body)


def test_a_controller_that_is_off_is_not_connected(rig: MqttRig) -> None:
    async def body() -> None:
        for options, said in (({"alive": "lab/nobody"}, "says nothing"), ({"alive": "lab/label"}, "says nothing")):
            client = MqttClient(rig.address, options, "pump")
            with pytest.raises(NotConnected, match=f"pump.*{said}"):
                await client.connect(SHORT_S)
            assert not client.is_connected
            await client.close()
        keep(rig, "lab/mode", {"state": "idle"})
        client = MqttClient(rig.address, {"alive": "lab/mode#/state", "alive_value": "idle"}, "pump")
        await client.connect(CONNECT_S)
        assert client.is_connected
        await client.close()

    play(body)


# -- writing -----------------------------------------------------------------------------------------------------------


def test_a_value_is_sent_as_the_signal_says(rig: MqttRig) -> None:
    rig.plant.is_stuck = True
    sent = [
        (signal(write="lab/stage/go"), 0.1 + 0.2, b"0.30000000000000004"),
        (signal(write="lab/stage/go", payload="{value}"), 2.0, b"2.0"),
        (
            signal(write="lab/stage/set#/target", body='{"target": 0, "mode": "slow"}'),
            2.0,
            {"target": 2.0, "mode": "slow"},
        ),
        (signal(write="lab/stage/halt#", type="bool"), True, True),
        (signal(write="lab/stage/halt", type="int", payload="STOP NOW"), 1, b"STOP NOW"),
    ]

    async def body() -> None:
        async with connected(rig) as client:
            for spec, value, expected in sent:
                await client.write(spec, value, REPLY_S)
                await until(lambda: bool(rig.device.heard), "it arrives")
                _, payload = rig.device.heard.pop()
                assert (payload if isinstance(expected, bytes) else json.loads(payload)) == expected
            with pytest.raises(WrongType, match="has no JSON"):
                await client.write(signal(write="lab/stage/set#/target"), float("nan"), REPLY_S)
            assert rig.device.heard == []

    play(body)


def test_a_write_is_retained_only_on_demand(rig: MqttRig) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            await client.write(signal(write="lab/kept", retain=True), 1.0, REPLY_S)
            await client.write(signal(write="lab/gone"), 1.0, REPLY_S)
        async with connected(rig) as client:
            assert (await client.read(signal("lab/kept"), SHORT_S)).quality is Quality.BAD
            with pytest.raises(TimedOut):
                await client.read(signal("lab/gone"), SHORT_S)

    play(body)


def test_a_write_that_was_not_acknowledged_is_not_delivered_later(rig: MqttRig) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            await client.write(rig.signal("setpoint"), 1.0, REPLY_S)
            rig.stall()
            with pytest.raises(TimedOut, match="may have taken effect"):
                await client.write(rig.signal("setpoint"), 2.0, SHORT_S)
            assert not client.is_connected
            with pytest.raises(NotConnected, match=r"stage\.setpoint"):
                await client.write(rig.signal("setpoint"), 3.0, SHORT_S)
            rig.resume()
            await client.write(rig.signal("setpoint"), 4.0, CONNECT_S)
            await until(lambda: rig.plant.target == 4.0, "the last one arrives")
            assert 3.0 not in [target for _, target in rig.plant.moves]

    play(body)


def test_a_message_that_is_not_what_was_meant_is_named(rig: MqttRig) -> None:
    keep(rig, "lab/word", "fast")
    keep(rig, "lab/json", {"a": {"b": "fast"}})
    rig.device.client.publish("lab/bytes", b"\xff\xfe", qos=1, retain=True).wait_for_publish(10.0)
    said = {
        "lab/word": "'fast' is not a float",
        "lab/word#/a": "is no JSON",
        "lab/json#/a/b": "is not a float",
        "lab/json#/a/c": "nothing at /a/c",
        "lab/bytes": "is no text",
    }

    async def body() -> None:
        async with connected(rig) as client:
            for address, words in said.items():
                with pytest.raises((WrongType, Refused), match=rf"stage\.value.*{words}"):
                    await client.read(signal(address, on_change=True), REPLY_S)

    play(body)


# -- the broker --------------------------------------------------------------------------------------------------------


def test_an_encrypted_broker_is_known_by_its_certificate(tmp_path: Path) -> None:
    key, chain = certificate()
    files = {"certfile": tmp_path / "chain.pem", "keyfile": tmp_path / "key.pem"}
    files["certfile"].write_bytes(chain)
    files["keyfile"].write_bytes(key)
    broker = Exchange(ssl=True, **{name: str(file) for name, file in files.items()})
    address = f"mqtts://127.0.0.1:{broker.port}"

    async def body() -> None:
        for strange, options in ((address, {}), (address.replace("mqtts", "mqtt"), {})):
            client = MqttClient(strange, options, "pump")
            with pytest.raises(NotConnected, match="pump"):
                await client.connect(1.0)
            await client.close()
        client = MqttClient(address, {"root_certificates": str(files["certfile"])}, "pump")
        await client.connect(CONNECT_S)
        reading = asyncio.create_task(client.read(signal("lab/a", type="str", max_age_s=60.0), REPLY_S))
        while "lab/a" not in client._line.waiters:  # type: ignore[union-attr]
            await asyncio.sleep(0.005)
        long = "x" * 200_000
        await client.write(signal(write="lab/a", type="str"), long, REPLY_S)
        assert (await reading).value == long
        await client.close()

    try:
        play(body)
    finally:
        broker.close()


def test_a_broker_wants_the_right_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pwdlib import PasswordHash

    users = tmp_path / "users"
    users.write_text(f"athanor:{PasswordHash.recommended().hash('open sesame')}\n")
    broker = Exchange({"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(users)}})
    address = f"mqtt://127.0.0.1:{broker.port}"
    (tmp_path / "password").write_text("open sesame\n")
    known: dict[str, Option] = {"user": "athanor", "password_file": str(tmp_path / "password")}

    async def body() -> None:
        for options in ({}, {"user": "athanor", "password_env": "GUESS"}, {"user": "athanor", "password_env": "NONE"}):
            client = MqttClient(address, options, "pump")
            with pytest.raises(NotConnected, match="pump"):
                await client.connect(CONNECT_S)
            await client.close()
        client = MqttClient(address, known, "pump")
        await client.connect(CONNECT_S)
        assert client.is_connected
        await client.close()

    monkeypatch.setenv("GUESS", "open barley")
    try:
        play(body)
    finally:
        broker.close()


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts"])
def test_somebody_who_accepts_and_says_nothing_costs_no_more_than_the_deadline(scheme: str) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    client = MqttClient(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", {}, "pump")

    async def body() -> None:
        began = time.monotonic()
        with pytest.raises(NotConnected, match="pump"):
            await client.connect(SHORT_S)
        assert time.monotonic() - began < 3.0
        await client.close()

    try:
        play(body)
    finally:
        silent.close()


def test_a_cancelled_read_leaves_a_clean_line_and_no_thread(rig: MqttRig) -> None:
    before = set(threading.enumerate())

    async def body() -> None:
        async with connected(rig) as client:
            rig.stall()
            pending = asyncio.create_task(client.read(rig.signal("count"), REPLY_S))
            await asyncio.sleep(0.05)
            pending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pending
            rig.resume()
            assert (await client.read(rig.signal("count"), REPLY_S)).value == 7

    play(body)
    assert set(threading.enumerate()) <= before


def test_many_at_once_each_get_their_own_answer(rig: MqttRig) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            names = ["count", "label", "readback", "measured"] * 8
            found = await asyncio.gather(*(client.read(rig.signal(name), 20.0) for name in names))
            assert [reading.value for reading in found] == [7, "ready", 0.0, 0.625] * 8

    play(body)


def test_the_instrument_is_checked(rig: MqttRig, home: Path) -> None:
    found = report(rig, home, exercise=True)
    assert found.having("fault") == [] and found.is_alive
    rig.plant.is_stuck = True
    assert "exercise" in {finding.step for finding in report(rig, home, exercise=True).having("fault")}
    rig.drop()
    assert not report(rig, home).is_alive
