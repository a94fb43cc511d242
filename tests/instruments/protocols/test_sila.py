from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.protocols.client import (
    NotConnected,
    Option,
    Quality,
    Refused,
    SignalSpec,
    TimedOut,
    WrongType,
)
from athanor.instruments.protocols.sila import SilaClient
from athanor.instruments.protocols.sila_features import Address, load, plain
from tests.instruments.protocols.checked import report
from tests.instruments.protocols.conformance import CONNECT_S, REPLY_S, SHORT_S, Conformance, connected, play, until
from tests.instruments.protocols.sila_rig import FEATURE, SERVER, ObservableRig, SilaRig


class TestSila(Conformance):
    rig_class = SilaRig


class TestSilaObservable(Conformance):
    rig_class = ObservableRig


@pytest.fixture
def rig() -> Iterator[ObservableRig]:
    rig = ObservableRig()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


@pytest.fixture
def encrypted() -> Iterator[SilaRig]:
    rig = SilaRig()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


def signal(read: str | None = None, write: str | None = None, type: Any = "float", **options: Option) -> SignalSpec:
    return SignalSpec(read=read, write=write, type=type, options=options).named("stage", "value")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Stage.Position", ("", "Stage", "Position", ())),
        ("org.example/motion/Stage/v1.Position", ("", "org.example/motion/Stage/v1", "Position", ())),
        ("status:Stage.Travel", ("status", "Stage", "Travel", ())),
        ("result:Stage.Travel#/Way", ("result", "Stage", "Travel", ("Way",))),
        ("call:Stage.Measure#/Value", ("call", "Stage", "Measure", ("Value",))),
    ],
)
def test_an_address_is_taken_apart(text: str, parts: tuple[Any, ...]) -> None:
    assert Address.parse(text) == Address(*parts)


@pytest.mark.parametrize("text", ["", "Position", "Stage.", ".Position", "state:Stage.Travel", "Stage.Pos ition"])
def test_an_address_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("address", "options", "said"),
    [
        ("robot", {}, "host:port"),
        ("https://robot:50052", {}, "host:port"),
        ("robot:50052", {"tls": True}, "tls"),
        ("robot:50052", {"insecure": True}, "this computer.*tunnel"),
        ("10.0.0.1:50052", {"insecure": True}, "this computer"),
        ("127.0.0.1:50052", {"insecure": "yes"}, "insecure is true or false"),
        ("127.0.0.1:50052", {"insecure": True, "root_certificates": "ca.pem"}, "root_certificates with insecure"),
        ("robot:50052", {"certificate": "us.pem"}, "belong together"),
    ],
)
def test_a_controller_s_description_is_checked(address: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SilaClient(address, options, "robot")


def refusal(address: str, options: dict[str, Option]) -> str:
    """What a client says that cannot connect."""
    said = []

    async def body() -> None:
        client = SilaClient(address, options, "robot")
        with pytest.raises(NotConnected) as caught:
            await client.connect(CONNECT_S)
        assert not client.is_connected
        await client.close()
        said.append(str(caught.value))

    play(body)
    return said[0]


def test_only_the_pinned_server_is_spoken_to(encrypted: SilaRig, tmp_path: Path) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in refusal(encrypted.address, {})
    assert "no such file" in refusal(encrypted.address, {"root_certificates": str(tmp_path / "none.pem")}).lower()
    other = "00000000-0000-4000-8000-000000000000"
    told = refusal(encrypted.address, {**encrypted.options, "uuid": other})
    assert str(SERVER) in told and other in told
    refusal(encrypted.address, {"insecure": True})

    async def body() -> None:
        client = SilaClient(encrypted.address, {**encrypted.options, "uuid": str(SERVER).upper()}, "robot")
        await client.connect(CONNECT_S)
        assert client.is_connected
        await client.close()

    play(body)


def test_a_certificate_for_another_name_needs_that_name(encrypted: SilaRig) -> None:
    address = encrypted.address.replace("127.0.0.1", "localhost")
    refusal(address, dict(encrypted.options))

    async def body() -> None:
        client = SilaClient(address, {**encrypted.options, "server_name": "127.0.0.1"}, "robot")
        await client.connect(CONNECT_S)
        assert (await client.read(signal("Stage.Count", type="int"), REPLY_S)).value == 7
        await client.close()

    play(body)


def test_an_observable_command_is_followed_to_its_end(rig: ObservableRig) -> None:
    status, way = signal("status:Stage.Travel", type="bool"), signal("result:Stage.Travel")
    go = rig.signal("setpoint")

    async def body() -> None:
        async with connected(rig) as client:
            with pytest.raises(Refused, match="not started over this connection"):
                await client.read(status, REPLY_S)
            await client.write(go, 1.0e4, REPLY_S)
            assert (await client.read(status, REPLY_S)).value is False
            with pytest.raises(Refused, match="command execution not finished"):
                await client.read(way, REPLY_S)
            rig.plant.stop()
            await until(lambda: not rig.plant.is_moving, "it stands")
            while not (await client.read(status, REPLY_S)).value:
                await asyncio.sleep(0.01)
            assert (
                await client.read(way.model_copy(update={"read": "result:Stage.Travel"}), REPLY_S)
            ).value is not None
            blocked = go.model_copy(update={"options": {"parameters": '{"Mode": "blocked"}'}})
            await client.write(blocked, rig.plant.position, REPLY_S)
            with pytest.raises(Refused, match="Blocked: a cable is in the way"):
                while not (await client.read(status, REPLY_S)).value:
                    await asyncio.sleep(0.01)

    play(body)


def test_what_the_line_forgets_an_observable_command_does_not(rig: ObservableRig) -> None:
    status = signal("status:Stage.Travel", type="bool")

    async def body() -> None:
        async with connected(rig) as client:
            await client.write(rig.signal("setpoint"), 1.0e4, REPLY_S)
            rig.drop()
            with pytest.raises(NotConnected):
                await client.read(status, REPLY_S)
            rig.restore()
            assert (await client.read(status, REPLY_S)).value is False
            rig.plant.stop()

    play(body)


def test_a_command_is_read_by_calling_it(rig: ObservableRig) -> None:
    twice = signal("call:Stage.Measure#/Value", parameters='{"Average": 2}')

    async def body() -> None:
        async with connected(rig) as client:
            assert (await client.read(twice, REPLY_S)).value == 1.25
            word = signal("call:Stage.Measure#/Label", type="str", parameters='{"Average": 1}')
            assert (await client.read(word, REPLY_S)).value == "ready"
            with pytest.raises(Refused, match=r"Average.*Constraint violated"):
                await client.read(signal("call:Stage.Measure#/Value", parameters='{"Average": 11}'), REPLY_S)
            with pytest.raises(Refused, match="does not suit"):
                await client.read(signal("call:Stage.Measure#/Value"), REPLY_S)
            rig.plant.is_good = False
            with pytest.raises(Refused, match="Blocked: the shutter is closed"):
                await client.read(twice, REPLY_S)
            assert client.is_connected, "an answer is no reason to hang up"

    play(body)


def test_the_value_goes_where_it_belongs(rig: ObservableRig) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            refused = {
                "Stage.Position": "a property cannot be written",
                "status:Stage.Travel": "status: cannot be written",
                "Stage.Travel": "several parameters: Mode, Target",
                "Stage.Travel#/Speed": "no parameter Speed; use one of: Target, Mode",
                "Lift.MoveTo": "no feature Lift; use one of: SiLAService, Stage",
                "Stage.Jump": "no property or command Jump",
                "org.athanor/tests/Stage/v2.MoveTo": "no feature",
            }
            for address, said in refused.items():
                with pytest.raises(Refused, match=said):
                    await client.write(signal(write=address), 1.0, REPLY_S)
            with pytest.raises(Refused, match="is a command"):
                await client.read(signal("Stage.Halt"), REPLY_S)
            with pytest.raises(Refused, match="only an unobservable command"):
                await client.read(signal("call:Stage.Travel"), REPLY_S)
            with pytest.raises(Refused, match="no observable command"):
                await client.read(signal("status:Stage.MoveTo", type="bool"), REPLY_S)
            with pytest.raises(WrongType, match=r"stage\.value.*Real"):
                await client.write(signal(write="Stage.MoveTo", type="str"), "far", REPLY_S)
            with pytest.raises(Refused, match="no JSON object"):
                await client.write(signal(write="Stage.MoveTo", parameters="fast"), 1.0, REPLY_S)
            assert rig.plant.moves == []
            await client.write(signal(write="Stage.MoveTo#/Target", type="int"), 3, REPLY_S)
            assert rig.plant.target == 3.0

    play(body)


def test_a_structure_holds_time_and_quality(rig: ObservableRig) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            reading = await client.read(rig.signal("measured"), REPLY_S)
            assert abs(reading.timestamp - datetime.now(UTC).timestamp()) < 60
            assert (await client.read(signal("Stage.Measured#/Valid", type="bool"), REPLY_S)).value is True
            with pytest.raises(Refused, match="nothing at /Speed"):
                await client.read(signal("Stage.Measured#/Speed"), REPLY_S)
            with pytest.raises(WrongType, match="is not a float"):
                await client.read(signal("Stage.Measured"), REPLY_S)

    play(body)


def test_what_breaks_the_server_s_own_definition_is_never_a_value(rig: ObservableRig) -> None:
    count = FEATURE["Count"]
    integer = count.response_message_type().Count
    integer.value = 101
    message = count.response_message_type(Count=integer)

    async def body() -> None:
        async with connected(rig) as client:
            assert isinstance(client, SilaClient)

            async def answer(*_: Any) -> Any:
                return message

            client._call = answer  # type: ignore[method-assign]
            reading = await client.read(signal("Stage.Count", type="int"), REPLY_S)
            assert (reading.value, reading.quality) == (None, Quality.BAD)
            assert "Constraint violated" in reading.detail

    play(body)


def test_one_bad_feature_does_not_hide_the_rest() -> None:
    definition = FEATURE._feature_definition
    features = load(
        [("a/b/Path/v1", __file__), ("a/b/Torn/v1", definition[:200]), ("a/b/Stage/v1", definition)], "robot"
    )
    assert list(features.sound) == ["a/b/Stage/v1"]
    assert "no XML" in features.broken["a/b/Path/v1"]
    with pytest.raises(Refused, match="feature a/b/Torn/v1 is unusable: XMLSyntaxError"):
        features.member(signal("Torn.Position"), Address.parse("Torn.Position"))
    features.sound["c/d/Stage/v1"] = features.sound["a/b/Stage/v1"]
    with pytest.raises(Refused, match="several features Stage; write one of: a/b/Stage/v1, c/d/Stage/v1"):
        features.member(signal("Stage.Position"), Address.parse("Stage.Position"))


def test_features_of_one_name_are_never_mixed_up() -> None:
    """The library by itself knows a feature by its identifier alone, and reads one with the messages of another."""
    definition = FEATURE._feature_definition.replace("<Identifier>Stage<", "<Identifier>Lift<")
    whole = definition.replace("Real", "Integer")
    ours, theirs = "org.athanor/tests/Lift/v1", "org.other/tests/Lift/v1"
    for text in (definition, definition.replace("One axis", "An axis")):
        assert list(load([(ours, text)], "robot").sound) == [ours]
    assert "another server defined it otherwise" in load([(ours, whole)], "robot").broken[ours]
    other = load([(theirs, whole.replace("org.athanor", "org.other"))], "robot").sound[theirs]["Position"]
    message = other.to_message(3)
    assert other.to_native_type(other.response_message_type.FromString(message.SerializeToString())) == 3
    assert type(other.to_native_type(message)) is int


def test_times_and_structures_become_plain() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert plain(FEATURE["Measured"].data_type.namedtuple_type(0.5, True, [moment])) == {
        "Value": 0.5,
        "Valid": True,
        "Taken": [moment.timestamp()],
    }


def test_a_silent_server_is_tried_before_it_is_trusted_again(rig: ObservableRig) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            rig.stall()
            with pytest.raises(TimedOut):
                await client.read(rig.signal("count"), SHORT_S)
            with pytest.raises(NotConnected, match=r"stage\.setpoint.*no answer within"):
                await client.write(rig.signal("setpoint"), 1.0, SHORT_S)
            assert not client.is_connected
            rig.resume()
            assert (await client.read(rig.signal("count"), CONNECT_S)).value == 7
            assert rig.plant.moves == [], "what could not be sent is not sent later"

    play(body)


def test_a_cancelled_read_leaves_a_clean_line_and_no_thread(rig: ObservableRig) -> None:
    before = set(threading.enumerate())

    async def body() -> None:
        async with connected(rig) as client:
            rig.stall()
            for name in ("count", "label"):
                pending = asyncio.create_task(client.read(rig.signal(name), REPLY_S))
                await asyncio.sleep(0)
                pending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await pending
            rig.resume()
            assert (await client.read(rig.signal("label"), REPLY_S)).value == "ready"

    play(body)

    def left() -> list[threading.Thread]:
        return [thread for thread in set(threading.enumerate()) - before if "grpc-executor" not in thread.name]

    async def settled() -> None:
        await until(lambda: not [thread for thread in left() if "channel" in thread.name], "gRPC's threads end")

    play(settled)


def test_the_instrument_is_checked(rig: ObservableRig, home: Path) -> None:
    found = report(rig, home)
    assert found.having("fault") == [] and found.is_alive
    rig.drop()
    found = report(rig, home)
    assert not found.is_alive
