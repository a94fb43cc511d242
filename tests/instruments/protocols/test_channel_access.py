from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

from athanor.instruments.protocols.channel_access import ChannelAccessClient
from athanor.instruments.protocols.client import (
    Client,
    NotConnected,
    Quality,
    Refused,
    SignalError,
    SignalSpec,
    TimedOut,
    Value,
    WrongType,
)
from tests.instruments.protocols.conformance import CONNECT_S, REPLY_S, SHORT_S, Conformance, connected, play, until
from tests.instruments.protocols.ioc_rig import IocRig, free_port


class SoftIoc(IocRig):
    """A soft IOC of its own process, by caproto."""

    protocol = "channel-access"
    package = "epicscorelibs"
    extra = "epics"
    module = "tests.instruments.protocols.soft_ioc"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port(socket.SOCK_DGRAM)
        self.address = f"127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        return {
            "EPICS_CA_SERVER_PORT": str(self.port),
            "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        }


class TestChannelAccess(Conformance):
    rig_class = SoftIoc


@pytest.fixture
def ioc() -> Iterator[SoftIoc]:
    rig = SoftIoc()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


def pv(name: str, kind: str = "float", **options: str) -> SignalSpec:
    """A signal on one of the IOC's PVs."""
    whole = SoftIoc.prefix + name
    return SignalSpec.model_validate({"read": whole, "write": whole, "type": kind, "options": options}).named("d", name)


async def there_and_back(client: Client, signal: SignalSpec, value: Value) -> Value | None:
    await client.write(signal, value, REPLY_S)
    return (await client.read(signal, REPLY_S)).value


def test_every_type_of_pv_goes_there_and_back(ioc: SoftIoc) -> None:
    async def body() -> None:
        async with connected(ioc) as client:
            for name, kind, value in [
                ("MODE", "str", "Fast"),
                ("MODE", "int", 1),
                ("MOVING", "bool", True),
                ("SHORT", "int", -32768),
                ("SHORT", "float", 12.0),
                ("COUNT", "int", 2**31 - 1),
                ("COUNT", "bool", False),
                ("SINGLE", "float", 0.25),
                ("SETPOINT", "int", 3),
                ("LABEL", "str", "µ-stage"),
                ("NOTES", "str", "longer than the forty bytes that a string has: " + "x" * 100),
                ("NOTES", "str", "short"),
            ]:
                assert await there_and_back(client, pv(name, kind), value) == value, (name, kind)

    play(body)


def test_what_does_not_fit_is_refused_before_it_is_sent(ioc: SoftIoc) -> None:
    async def body() -> None:
        async with connected(ioc) as client:
            for name, kind, value in [
                ("SHORT", "int", 32768),
                ("SHORT", "float", 0.5),
                ("COUNT", "int", 2**31),
                ("SINGLE", "float", 1e39),
                ("LABEL", "float", 1.0),
                ("SETPOINT", "str", "1"),
                ("SETPOINT", "int", 2**53 + 1),
                ("LABEL", "str", "x" * 40),
                ("NOTES", "str", "x" * 200),
                ("SPECTRUM", "float", 1.0),
                ("MODE", "float", 1.0),
            ]:
                with pytest.raises((WrongType, Refused), match=rf"d\.{name}"):
                    await client.write(pv(name, kind), value, REPLY_S)
            for name, kind in [("SPECTRUM", "float"), ("MODE", "float"), ("LABEL", "int"), ("MEASURED", "str")]:
                with pytest.raises(WrongType, match=rf"d\.{name}"):
                    await client.read(pv(name, kind), REPLY_S)
            assert ioc.puts == []

    play(body)


def test_what_the_ioc_refuses_is_refused(ioc: SoftIoc) -> None:
    async def body() -> None:
        async with connected(ioc) as client:
            locked, mode = pv("LOCKED", put="callback"), pv("MODE", "str", put="callback")
            for signal, value in [(locked, 2.0), (pv("READBACK"), 2.0), (mode, "Sideways")]:
                with pytest.raises(Refused, match=rf"d\.{signal.name}"):
                    await client.write(signal, value, REPLY_S)

    play(body)


def test_a_plain_put_does_not_wait_for_the_record(ioc: SoftIoc) -> None:
    async def body() -> None:
        async with connected(ioc) as client:
            await client.write(pv("SLOW"), 1.0, REPLY_S)
            await until(lambda: ("SLOW", 1.0) in ioc.puts, "the put arrives")
            with pytest.raises(TimedOut, match="may have taken effect"):
                await client.write(pv("SLOW", put="callback"), 2.0, SHORT_S)

    play(body)


def test_an_ioc_that_goes_in_the_middle_of_a_put_may_have_taken_it(ioc: SoftIoc) -> None:
    async def body() -> None:
        async with connected(ioc) as client:
            put = asyncio.ensure_future(client.write(pv("SLOW", put="callback"), 1.0, CONNECT_S))
            await until(lambda: ("SLOW", 1.0) in ioc.puts, "the put arrives")
            ioc.drop()
            ioc.restore()
            with pytest.raises(NotConnected, match=r"d\.SLOW.*may have taken effect"):
                await put
            assert (await client.read(pv("SLOW"), CONNECT_S)).value == 0.0
            assert ioc.puts == [("SLOW", 1.0)], "what failed is not sent again"

    play(body)


@pytest.mark.parametrize(
    ("severity", "status", "quality", "words"),
    [
        (0, 0, Quality.GOOD, ""),
        (2, 3, Quality.GOOD, "MAJOR alarm: HIHI"),
        (1, 9, Quality.UNCERTAIN, "MINOR alarm: COMM"),
        (3, 17, Quality.BAD, "INVALID alarm: UDF"),
    ],
)
def test_the_alarm_is_the_quality(ioc: SoftIoc, severity: int, status: int, quality: Quality, words: str) -> None:
    async def body() -> None:
        async with connected(ioc) as client:
            await client.write(pv("SEVERITY", "int"), severity, REPLY_S)
            await client.write(pv("STATUS", "int"), status, REPLY_S)
            reading = await client.read(pv("ALARMED"), REPLY_S)
            assert (reading.value, reading.quality, reading.detail) == (2.5, quality, words)

    play(body)


def test_the_time_is_the_ioc_s(ioc: SoftIoc) -> None:
    async def body() -> None:
        async with connected(ioc) as client:
            assert (await client.read(pv("STAMPED"), REPLY_S)).timestamp == 1_000_000_000.25

    play(body)


def test_each_controller_has_its_own_addresses(ioc: SoftIoc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPICS_CA_ADDR_LIST", "127.0.0.1:1")
    other = SoftIoc()
    try:
        other.start()
        ioc.plant.measured, other.plant.measured = 1.0, 2.0

        async def body() -> None:
            async with connected(ioc) as one, connected(other) as two:
                assert (await one.read(pv("MEASURED"), REPLY_S)).value == 1.0
                assert (await two.read(pv("MEASURED"), REPLY_S)).value == 2.0
                other.drop()
                with pytest.raises(SignalError):
                    await two.read(pv("MEASURED"), SHORT_S)
                assert (one.is_connected, two.is_connected) == (True, False)

        play(body)
    finally:
        other.close()
    assert os.environ["EPICS_CA_ADDR_LIST"] == "127.0.0.1:1"


def test_many_wait_for_the_same_pv_and_all_get_it(ioc: SoftIoc) -> None:
    async def body() -> None:
        async with connected(ioc) as client:
            ioc.drop()
            reads = [asyncio.ensure_future(client.read(pv("COUNT", "int"), CONNECT_S)) for _ in range(20)]
            await asyncio.sleep(0)
            ioc.restore()
            assert {reading.value for reading in await asyncio.gather(*reads)} == {7}

    play(body)


def test_options_are_checked_when_it_is_made() -> None:
    for options in ({}, {"probe": "X", "silence_s": 0}, {"probe": "X", "silence_s": "long"}, {"probe": "X", "port": 1}):
        with pytest.raises(ValueError, match=r"probe|silence_s|port"):
            ChannelAccessClient("127.0.0.1", options, "ioc")
    with pytest.raises(ValueError, match="address"):
        ChannelAccessClient("", {"probe": "X"}, "ioc")
