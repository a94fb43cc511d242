from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from athanor.instruments.protocols.client import (
    Client,
    NotConnected,
    Quality,
    Refused,
    SignalSpec,
    TimedOut,
    Value,
    WrongType,
)
from athanor.instruments.protocols.pv_access import PvAccessClient
from tests.instruments.protocols.conformance import CONNECT_S, REPLY_S, Conformance, connected, play, until
from tests.instruments.protocols.ioc_rig import IocRig, free_port


class PvaServer(IocRig):
    """A server of its own process, by p4p."""

    protocol = "pv-access"
    package = "p4p"
    extra = "epics"
    module = "tests.instruments.protocols.pva_server"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port(socket.SOCK_STREAM)
        self.search_port = free_port(socket.SOCK_DGRAM)
        self.address = f"127.0.0.1:{self.search_port}"

    def environment(self) -> dict[str, str]:
        return {
            "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1",
            "EPICS_PVAS_SERVER_PORT": str(self.port),
            "EPICS_PVAS_BROADCAST_PORT": str(self.search_port),
            "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_PVAS_BEACON_ADDR_LIST": "127.0.0.1",
        }


class TestPvAccess(Conformance):
    rig_class = PvaServer


@pytest.fixture
def server() -> Iterator[PvaServer]:
    rig = PvaServer()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


def pv(name: str, kind: str = "float", **options: str) -> SignalSpec:
    """A signal on one of the server's PVs."""
    whole = PvaServer.prefix + name
    return SignalSpec.model_validate({"read": whole, "write": whole, "type": kind, "options": options}).named("d", name)


async def there_and_back(client: Client, signal: SignalSpec, value: Value) -> Value | None:
    await client.write(signal, value, REPLY_S)
    return (await client.read(signal, REPLY_S)).value


def test_every_type_of_pv_goes_there_and_back(server: PvaServer) -> None:
    async def body() -> None:
        async with connected(server) as client:
            for name, kind, value in [
                ("MODE", "str", "Fast"),
                ("MODE", "int", 1),
                ("MODE", "bool", False),
                ("FLAG", "bool", True),
                ("SHORT", "int", -32768),
                ("SHORT", "float", 12.0),
                ("BYTE", "int", 255),
                ("COUNT", "bool", True),
                ("LONG", "int", 2**63 - 1),
                ("SINGLE", "float", 0.25),
                ("SETPOINT", "int", 3),
                ("LABEL", "str", "µ-stage, and longer than any old string of forty bytes"),
            ]:
                assert await there_and_back(client, pv(name, kind), value) == value, (name, kind)
            assert await there_and_back(client, pv("SETPOINT", put="callback"), 0.1 + 0.2) == 0.1 + 0.2

    play(body)


def test_what_does_not_fit_is_refused_before_it_is_sent(server: PvaServer) -> None:
    async def body() -> None:
        async with connected(server) as client:
            for name, kind, value in [
                ("SHORT", "int", 32768),
                ("SHORT", "float", 0.5),
                ("BYTE", "int", -1),
                ("SINGLE", "float", 1e39),
                ("LABEL", "float", 1.0),
                ("SETPOINT", "str", "1"),
                ("SETPOINT", "int", 2**53 + 1),
                ("SPECTRUM", "float", 1.0),
                ("MODE", "float", 1.0),
                ("MODE", "int", 3),
                ("MODE", "str", "Sideways"),
            ]:
                with pytest.raises((WrongType, Refused), match=rf"d\.{name}"):
                    await client.write(pv(name, kind), value, REPLY_S)
            for name, kind in [("SPECTRUM", "float"), ("MODE", "float"), ("LABEL", "int"), ("MEASURED", "str")]:
                with pytest.raises(WrongType, match=rf"d\.{name}"):
                    await client.read(pv(name, kind), REPLY_S)
            await client.write(pv("LONG", "int"), 2**53 + 1, REPLY_S)
            with pytest.raises(WrongType, match="not exact"):
                await client.read(pv("LONG"), REPLY_S)
            assert server.puts == []

    play(body)


def test_a_server_that_goes_in_the_middle_of_a_put_may_have_taken_it(server: PvaServer) -> None:
    async def body() -> None:
        async with connected(server) as client:
            put = asyncio.ensure_future(client.write(pv("SLOW"), 1.0, CONNECT_S))
            await until(lambda: ("SLOW", 1.0) in server.puts, "the put arrives")
            server.drop()
            server.restore()
            with pytest.raises((NotConnected, TimedOut), match=r"d\.SLOW.*may have taken effect"):
                await put
            assert (await client.read(pv("SLOW"), REPLY_S)).value == 0.0
            assert server.puts == [("SLOW", 1.0)], "what failed is not sent again"

    play(body)


def test_what_the_server_refuses_is_refused(server: PvaServer) -> None:
    async def body() -> None:
        async with connected(server) as client:
            with pytest.raises(Refused, match=r"d\.LOCKED.*it is locked"):
                await client.write(pv("LOCKED"), 2.0, REPLY_S)

    play(body)


@pytest.mark.parametrize(
    ("alarm", "quality", "words"),
    [
        ("0,0,", Quality.GOOD, ""),
        ("2,3,HIHI", Quality.GOOD, "MAJOR alarm: HIHI"),
        ("1,3,LOW_ALARM", Quality.GOOD, "MINOR alarm: LOW"),
        ("1,2,", Quality.UNCERTAIN, "MINOR alarm: driver"),
        ("3,1,lamp is off", Quality.BAD, "INVALID alarm: lamp is off"),
        ("4,6,", Quality.BAD, "UNDEFINED alarm: undefined"),
    ],
)
def test_the_alarm_is_the_quality(server: PvaServer, alarm: str, quality: Quality, words: str) -> None:
    async def body() -> None:
        async with connected(server) as client:
            await client.write(pv("ALARM", "str"), alarm, REPLY_S)
            reading = await client.read(pv("ALARMED"), REPLY_S)
            assert (reading.value, reading.quality, reading.detail) == (2.5, quality, words)

    play(body)


def test_the_time_is_the_server_s(server: PvaServer) -> None:
    async def body() -> None:
        async with connected(server) as client:
            assert (await client.read(pv("STAMPED"), REPLY_S)).timestamp == 1_000_000_000.25

    play(body)


def test_each_controller_has_its_own_addresses(server: PvaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPICS_PVA_ADDR_LIST", "127.0.0.1:1")
    other = PvaServer()
    try:
        other.start()
        server.plant.measured, other.plant.measured = 1.0, 2.0

        async def body() -> None:
            async with connected(server) as one, connected(other) as two:
                assert (await one.read(pv("MEASURED"), REPLY_S)).value == 1.0
                assert (await two.read(pv("MEASURED"), REPLY_S)).value == 2.0

        play(body)
    finally:
        other.close()


def test_options_are_checked_when_it_is_made() -> None:
    for options in ({}, {"probe": "X", "port": 1}):
        with pytest.raises(ValueError, match=r"probe|port"):
            PvAccessClient("127.0.0.1", options, "server")
    with pytest.raises(ValueError, match="address"):
        PvAccessClient("", {"probe": "X"}, "server")
