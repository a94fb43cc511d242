from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from asyncua import Server, ua, uamethod
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import PermissiveUserManager
from cryptography.x509.oid import ExtendedKeyUsageOID

from athanor.instruments.protocols.client import (
    NotConnected,
    Option,
    Quality,
    Refused,
    SignalError,
    SignalSpec,
    TimedOut,
    WrongType,
)
from athanor.instruments.protocols.fitting import bounds
from athanor.instruments.protocols.opcua import INTEGERS, OpcuaClient
from tests.instruments.protocols.conformance import CONNECT_S, REPLY_S, SHORT_S, Conformance, Plant, Rig, play, until
from tests.instruments.protocols.serving import Loop

URI = "urn:athanor:test"
SERVER_URI = "urn:athanor:test:server"


def now() -> datetime:
    return datetime.now(UTC)


def value(content: Any, kind: ua.VariantType, status: int = ua.StatusCodes.Good) -> ua.DataValue:
    return ua.DataValue(ua.Variant(content, kind), StatusCode=ua.StatusCode(status), SourceTimestamp=now())


START: dict[str, Any] = dict.fromkeys(INTEGERS, 0) | {
    "Boolean": False,
    "Float": 0.0,
    "Double": 0.0,
    "String": "",
    "ByteString": b"",
    "DateTime": now(),
}


class Machine:
    """An OPC UA server in a thread. Its address space is built once; every test has it listen anew."""

    def __init__(self, certificates: Path) -> None:
        self.plant = Plant()
        self.calls: list[tuple[Any, ...]] = []
        self.port = 0
        self._certificates = certificates
        self._loop = Loop()
        self._awake = threading.Event()
        self._loop.do(self._build())

    async def _build(self) -> None:
        server = self.server = Server()
        server.disable_clock()
        await server.init()
        await server.set_application_uri(SERVER_URI)
        server.set_endpoint("opc.tcp://127.0.0.1:0")
        await server.load_certificate(self._certificates / "server.der")
        await server.load_private_key(self._certificates / "server.pem")
        server.set_security_policy(
            [ua.SecurityPolicyType.NoSecurity, ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
        )
        index = await server.register_namespace(URI)
        await self._add_plant(server, index)
        await self._add_bench(server, index)
        await server.start()
        await self._binary.stop()

    @property
    def _binary(self) -> Any:
        return self.server.bserver

    def start(self) -> None:
        self._loop.do(self._binary.start())
        self.port = self._binary.port

    def drop(self) -> None:
        self._loop.do(self._binary.stop())

    def stall(self) -> None:
        self._awake.clear()
        self._loop.loop.call_soon_threadsafe(self._awake.wait, 60.0)

    def resume(self) -> None:
        self._awake.set()

    def do(self, what: Callable[[Server], Any]) -> Any:
        return self._loop.do(what(self.server))

    def reset(self) -> None:
        """As it was in the beginning, on another port."""
        self.resume()
        self.drop()
        self._binary.port = 0
        self.calls.clear()
        self.server.iserver.set_user_manager(PermissiveUserManager())

        async def clear() -> None:
            for kind, content in START.items():
                await self.server.get_node(ua.NodeId(kind, 2)).write_value(content, ua.VariantType[kind])

        self._loop.do(clear())

    def close(self) -> None:
        self.resume()
        try:
            self._loop.do(self.server.stop())
        finally:
            self._loop.close()

    async def _add_plant(self, server: Server, index: int) -> None:
        axis = await server.nodes.objects.add_object(ua.NodeId("Axis", index), "Axis")

        async def variable(name: str, content: Any, kind: ua.VariantType, read: Callable[[], Any]) -> Any:
            node = await axis.add_variable(ua.NodeId(f"Axis.{name}", index), name, content, kind)

            def answer(_node: Any, _attribute: Any) -> ua.DataValue:
                is_bad = name == "Measured" and not self.plant.is_good
                return value(read(), kind, ua.StatusCodes.BadSensorFailure if is_bad else ua.StatusCodes.Good)

            server.iserver.aspace.set_attribute_value_callback(node.nodeid, ua.AttributeIds.Value, answer)
            return node

        double = ua.VariantType.Double
        await variable("Position", 0.0, double, lambda: self.plant.position)
        await variable("Measured", 0.0, double, lambda: self.plant.measured)
        await variable("Moving", False, ua.VariantType.Boolean, lambda: self.plant.is_moving)
        await variable("Label", "", ua.VariantType.String, lambda: self.plant.label)
        await variable("Count", 0, ua.VariantType.UInt16, lambda: self.plant.count)
        target = await variable("Target", 0.0, double, lambda: self.plant.target)
        await target.set_writable()
        server.iserver.aspace.set_attribute_value_setter(
            target.nodeid, ua.AttributeIds.Value, lambda _node, _attribute, found: self.plant.move(found.Value.Value)
        )

        @uamethod
        def stop(_parent: Any) -> None:
            self.plant.stop()

        await axis.add_method(ua.NodeId("Axis.Stop", index), "Stop", stop)

    async def _add_bench(self, server: Server, index: int) -> None:
        objects = server.nodes.objects
        """A writable variable of every type, an array, and methods with none, one and two arguments."""
        for kind, content in START.items():
            node = await objects.add_variable(ua.NodeId(kind, index), kind, content, ua.VariantType[kind])
            await node.set_writable()
        number = await objects.add_variable(
            ua.NodeId("Number", index), "Number", 1.5, ua.VariantType.Double, datatype=ua.NodeId(ua.ObjectIds.Number)
        )
        await number.set_writable()
        await objects.add_variable(ua.NodeId("Fixed", index), "Fixed", 1.0)
        await objects.add_variable(ua.NodeId("Array", index), "Array", [1.0, 2.0])
        await objects.add_variable(ua.NodeId("|var|PLC.Text", index), "Text", ua.LocalizedText("ready", "en"))
        folder = await objects.add_object(ua.NodeId("|var|PLC", index), "PLC")

        @uamethod
        def go(_parent: Any, *arguments: Any) -> None:
            self.calls.append(arguments)

        def fails(_parent: Any, *_arguments: Any) -> ua.StatusCode:
            return ua.StatusCode(ua.StatusCodes.BadInvalidState)

        short = ua.VariantType.Int16
        await folder.add_method(ua.NodeId("|var|PLC.Go", index), "Go", go)
        await folder.add_method(ua.NodeId("GoTo", index), "GoTo", go, [short])
        await folder.add_method(ua.NodeId("Jump", index), "Jump", go, [short, short])
        await folder.add_method(ua.NodeId("Fails", index), "Fails", fails)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and certificates of a server, a client and a stranger."""
    folder = tmp_path_factory.mktemp("certificates")

    async def make() -> None:
        for who in ("server", "client", "stranger"):
            await setup_self_signed_certificate(
                folder / f"{who}.pem",
                folder / f"{who}.der",
                SERVER_URI if who == "server" else f"urn:athanor:test:{who}",
                "localhost",
                [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
                {},
            )

    asyncio.run(make())
    return folder


@pytest.fixture(scope="module", autouse=True)
def machine(certificates: Path) -> Iterator[Machine]:
    """The one server of these tests; building its address space takes seconds."""
    machine = OpcuaRig.machine = Machine(certificates)
    try:
        yield machine
    finally:
        machine.close()


class OpcuaRig(Rig):
    protocol = "opcua"
    package: ClassVar[str | None] = "asyncua"
    extra = "opcua"
    has_quality = True
    machine: ClassVar[Machine]

    def signals(self) -> dict[str, SignalSpec]:
        return {
            "setpoint": SignalSpec(write="ns=2;s=Axis.Target", read="ns=2;s=Axis.Target"),
            "readback": SignalSpec(read="ns=2;s=Axis.Position"),
            "moving": SignalSpec(read="ns=2;s=Axis.Moving", type="bool"),
            "stop": SignalSpec(write="call:ns=2;s=Axis|ns=2;s=Axis.Stop"),
            "measured": SignalSpec(read=f"nsu={URI};s=Axis.Measured"),
            "label": SignalSpec(read="ns=2;s=Axis.Label", type="str"),
            "count": SignalSpec(read="ns=2;s=Axis.Count", type="int"),
            "nowhere": SignalSpec(read="ns=2;s=Axis.Nowhere"),
        }

    def start(self) -> None:
        self.machine.plant = self.plant
        self.machine.start()
        self.address = f"opc.tcp://127.0.0.1:{self.machine.port}"

    def drop(self) -> None:
        self.machine.drop()

    def restore(self) -> None:
        self.machine.start()

    def stall(self) -> None:
        self.machine.stall()

    def resume(self) -> None:
        self.machine.resume()

    def close(self) -> None:
        self.machine.reset()


class TestOpcua(Conformance):
    rig_class = OpcuaRig


@pytest.fixture
def bench(machine: Machine) -> Iterator[Machine]:
    """The server, listening."""
    machine.start()
    try:
        yield machine
    finally:
        machine.reset()


def node(name: str, type: Any = "float", **more: Any) -> SignalSpec:
    address = name if "=" in name else f"ns=2;s={name}"
    return SignalSpec(read=address, write=address, type=type, **more).named("plc", "value")


@asynccontextmanager
async def line(machine: Machine, **options: Option) -> AsyncIterator[OpcuaClient]:
    client = OpcuaClient(f"opc.tcp://127.0.0.1:{machine.port}", options, "plc")
    try:
        await client.connect(CONNECT_S)
        yield client
    finally:
        await client.close()


def test_every_type_is_written_as_the_node_has_it(bench: Machine) -> None:
    async def body() -> None:
        async with line(bench) as client:
            for kind, (bits, is_signed) in INTEGERS.items():
                low, high = bounds(bits, is_signed=is_signed)
                for number in (low, high):
                    await client.write(node(kind, "int"), number, REPLY_S)
                    assert (await client.read(node(kind, "int"), REPLY_S)).value == number
                for number in (low - 1, high + 1):
                    with pytest.raises(WrongType, match=rf"plc\.value.*{kind}"):
                        await client.write(node(kind, "int"), number, REPLY_S)
                await client.write(node(kind), 3.0, REPLY_S)
                with pytest.raises(WrongType, match="whole"):
                    await client.write(node(kind), 3.5, REPLY_S)
            await client.write(node("Int16", scale=0.1), 502.99999999999994, REPLY_S)
            assert (await client.read(node("Int16", "int"), REPLY_S)).value == 503
            for real in (1 / 3, 5e-324, -1.7e308):
                await client.write(node("Double"), real, REPLY_S)
                assert (await client.read(node("Double"), REPLY_S)).value == real
            await client.write(node("Float"), 0.1, REPLY_S)
            assert (await client.read(node("Float"), REPLY_S)).value == pytest.approx(0.1, rel=1e-7)
            await client.write(node("Boolean", "bool"), True, REPLY_S)
            assert (await client.read(node("Boolean", "bool"), REPLY_S)).value is True
            await client.write(node("String", "str"), "5 µm", REPLY_S)
            assert (await client.read(node("String", "str"), REPLY_S)).value == "5 µm"
            await client.write(node("Number"), 2.5, REPLY_S)
            assert (await client.read(node("Number"), REPLY_S)).value == 2.5

    play(body)


@pytest.mark.parametrize(
    ("name", "type", "content"),
    [
        ("Double", "str", "fast"),
        ("Double", "float", math.nan),
        ("Float", "float", 1e39),
        ("String", "float", 1.0),
        ("Boolean", "int", 2),
        ("ByteString", "str", "x"),
    ],
)
def test_a_value_that_does_not_fit_the_node_is_not_sent(bench: Machine, name: str, type: Any, content: Any) -> None:
    async def body() -> None:
        async with line(bench) as client:
            with pytest.raises(WrongType, match=rf"plc\.value.*{name}"):
                await client.write(node(name, type), content, REPLY_S)

    play(body)


@pytest.mark.parametrize("name", ["Array", "DateTime", "ByteString"])
def test_what_is_no_plain_value_is_of_the_wrong_type(bench: Machine, name: str) -> None:
    async def body() -> None:
        async with line(bench) as client:
            with pytest.raises(WrongType, match=r"plc\.value"):
                await client.read(node(name), REPLY_S)

    play(body)


def test_the_status_is_the_quality_and_the_source_gives_the_time(bench: Machine) -> None:
    stamp = datetime(2026, 3, 4, 5, 6, 7, 250_000, tzinfo=UTC)

    def put(status: int, content: float | None = 2.0) -> None:
        kind = ua.VariantType.Null if content is None else ua.VariantType.Double
        found = ua.DataValue(ua.Variant(content, kind), StatusCode=ua.StatusCode(status), SourceTimestamp=stamp)

        async def write(server: Server) -> None:
            where = ua.NodeId("Double", 2)
            server.iserver.aspace.set_attribute_value_callback(where, ua.AttributeIds.Value, lambda _node, _attr: found)

        bench.do(write)

    async def body() -> None:
        async with line(bench) as client:
            await asyncio.to_thread(put, ua.StatusCodes.Good)
            reading = await client.read(node("Double"), REPLY_S)
            assert (reading.value, reading.quality, reading.detail) == (2.0, Quality.GOOD, "")
            assert reading.timestamp == stamp.timestamp()
            await asyncio.to_thread(put, ua.StatusCodes.UncertainSensorNotAccurate)
            reading = await client.read(node("Double"), REPLY_S)
            assert (reading.value, reading.quality) == (2.0, Quality.UNCERTAIN)
            assert "UncertainSensorNotAccurate" in reading.detail
            await asyncio.to_thread(put, ua.StatusCodes.BadNoCommunication)
            reading = await client.read(node("Double"), REPLY_S)
            assert (reading.value, reading.quality) == (None, Quality.BAD)
            assert "BadNoCommunication" in reading.detail
            await asyncio.to_thread(put, ua.StatusCodes.Good, None)
            assert (await client.read(node("Double"), REPLY_S)).quality is Quality.BAD

    play(body)


def test_a_value_without_a_time_has_that_of_its_arrival(bench: Machine) -> None:
    async def body() -> None:
        async with line(bench) as client:
            await client.write(node("Double"), 1.0, REPLY_S)
            before = time.time()
            reading = await client.read(node("Double"), REPLY_S)
            assert before - 1.0 <= reading.timestamp <= time.time()

    play(body)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (node("Nothing"), "BadNodeIdUnknown"),
        (node("ns=2;s=|var|PLC"), "BadAttributeIdInvalid.*variable"),
        (node("Axis=1"), "no node id"),
        (node("nsu=urn:nobody;s=Double"), "urn:athanor:test"),
        (node("call:ns=2;s=A|ns=2;s=B"), "a method cannot be read"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(bench: Machine, spec: SignalSpec, said: str) -> None:
    async def body() -> None:
        async with line(bench) as client:
            with pytest.raises(Refused, match=rf"plc\.value.*{said}"):
                await client.read(spec, REPLY_S)
            assert client.is_connected

    play(body)


def test_what_may_not_be_written_is_refused(bench: Machine) -> None:
    async def body() -> None:
        async with line(bench) as client:
            with pytest.raises(Refused, match=r"plc\.value.*(BadUserAccessDenied|BadNotWritable)"):
                await client.write(node("Fixed"), 2.0, REPLY_S)
            assert (await client.read(node("Fixed"), REPLY_S)).value == 1.0

    play(body)


def test_methods_take_the_value_they_declare(bench: Machine) -> None:
    plc = "ns=2;s=|var|PLC"

    async def body() -> None:
        async with line(bench) as client:
            await client.write(node(f"call:{plc}|ns=2;s=|var|PLC.Go"), 1, REPLY_S)
            await client.write(node(f"call:{plc}|nsu={URI};s=GoTo", "int"), 42, REPLY_S)
            assert bench.calls == [(), (42,)]
            with pytest.raises(WrongType, match="Int16"):
                await client.write(node(f"call:{plc}|ns=2;s=GoTo", "int"), 40_000, REPLY_S)
            with pytest.raises(Refused, match="more than one"):
                await client.write(node(f"call:{plc}|ns=2;s=Jump", "int"), 1, REPLY_S)
            with pytest.raises(Refused, match=r"BadInvalidState.*may have taken effect"):
                await client.write(node(f"call:{plc}|ns=2;s=Fails"), 1, REPLY_S)
            with pytest.raises(Refused, match=r"OBJECT\|METHOD"):
                await client.write(node(f"call:{plc}"), 1, REPLY_S)
            with pytest.raises(SignalError, match=r"plc\.value"):
                await client.write(node(f"call:{plc}|ns=2;s=Nothing"), 1, REPLY_S)
            assert len(bench.calls) == 2

    play(body)


def test_texts_come_out_of_their_wrapping(bench: Machine) -> None:
    async def body() -> None:
        async with line(bench) as client:
            assert (await client.read(node("ns=2;s=|var|PLC.Text", "str"), REPLY_S)).value == "ready"

    play(body)


def test_a_write_that_had_to_ask_for_the_type_first_says_that_nothing_was_written(bench: Machine) -> None:
    async def body() -> None:
        async with line(bench) as client:
            bench.stall()
            with pytest.raises(TimedOut, match="nothing was written"):
                await client.write(node("Double"), 1.0, SHORT_S)
            bench.resume()
            assert (await client.read(node("Double"), CONNECT_S)).value == 0.0

    play(body)


def test_an_idle_line_that_carries_nothing_any_more_is_noticed(bench: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("athanor.instruments.protocols.opcua.WATCH_S", 0.2)

    async def body() -> None:
        async with line(bench) as client:
            bench.stall()
            await until(lambda: not client.is_connected, "the stall is noticed")
            bench.resume()
            assert (await client.read(node("Double"), CONNECT_S)).value == 0.0
            assert client.is_connected

    play(body)


def test_many_at_once_share_one_session(bench: Machine) -> None:
    async def body() -> None:
        client = OpcuaClient(f"opc.tcp://127.0.0.1:{bench.port}", {}, "plc")
        try:
            found = await asyncio.gather(*(client.read(node("Double"), CONNECT_S) for _ in range(20)))
            assert [reading.value for reading in found] == [0.0] * 20
            assert bench.server.bserver is not None
            assert len(bench.server.bserver.clients) == 1
        finally:
            await client.close()

    play(body)


# -- who is there ------------------------------------------------------------------------------------------------------


class Doorman:
    """Lets one user in."""

    def get_user(
        self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None
    ) -> User | None:
        return User(role=UserRole.User) if (username, password) == ("operator", "sesame") else None


def test_a_user_needs_the_password_and_the_profile_does_not_hold_it(
    bench: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("sesame\n")
    bench.server.iserver.set_user_manager(Doorman())

    async def body() -> None:
        monkeypatch.setenv("PLC_PASSWORD", "sesame")
        for secret in ({"password_env": "PLC_PASSWORD"}, {"password_file": str(file)}):
            async with line(bench, user="operator", **secret) as client:
                assert (await client.read(node("Double"), REPLY_S)).value == 0.0
        monkeypatch.setenv("PLC_PASSWORD", "please")
        with pytest.raises(NotConnected, match="Bad"):
            async with line(bench, user="operator", password_env="PLC_PASSWORD"):
                pass
        with pytest.raises(NotConnected, match="Bad"):
            async with line(bench):
                pass
        monkeypatch.delenv("PLC_PASSWORD")
        with pytest.raises(NotConnected, match="PLC_PASSWORD"):
            async with line(bench, user="operator", password_env="PLC_PASSWORD"):
                pass

    play(body)


def test_an_encrypted_session_pins_the_server(bench: Machine, certificates: Path) -> None:
    options: dict[str, Option] = {
        "security": "Basic256Sha256",
        "certificate": str(certificates / "client.der"),
        "private_key": str(certificates / "client.pem"),
        "server_certificate": str(certificates / "server.der"),
    }

    async def body() -> None:
        async with line(bench, **options) as client:
            await client.write(node("Double"), 0.1, REPLY_S)
            assert (await client.read(node("Double"), REPLY_S)).value == 0.1
        for wrong in ({"server_certificate": "stranger.der"}, {"certificate": "nobody.der"}, {"mode": "Sign"}):
            changed = {name: str(certificates / file) if "." in file else file for name, file in wrong.items()}
            client = OpcuaClient(f"opc.tcp://127.0.0.1:{bench.port}", options | changed, "plc")
            with pytest.raises(NotConnected, match="plc"):
                await client.connect(2.0)  # a server need not answer what it cannot decrypt
            await client.close()

    play(body)


@pytest.mark.parametrize(
    ("address", "said"),
    [("plc:4840", "opc.tcp"), ("opc.tcp://", "opc.tcp"), ("opc.tcp://me:secret@plc", "password_env")],
)
def test_an_address_that_makes_no_sense_says_what_does(address: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        OpcuaClient(address, {}, "plc")
