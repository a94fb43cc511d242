"""Both EPICS clients against an IOC of EPICS base itself, with records, alarms and limits as laboratories have them."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from athanor.instruments.protocols.channel_access import ChannelAccessClient
from athanor.instruments.protocols.client import Client, Quality, Refused, SignalSpec, TimedOut, WrongType
from athanor.instruments.protocols.pv_access import PvAccessClient
from tests.instruments.protocols.conformance import CONNECT_S, REPLY_S, SHORT_S, play
from tests.instruments.protocols.ioc_rig import free_port

DATABASE = Path(__file__).with_name("base_ioc.records")
PREFIX = "BASE:"
BOTH = pytest.mark.parametrize("protocol", ["channel-access", "pv-access"])


LONG = [
    ("NOTES.VAL$", "str", "longer than the forty bytes that a string has: " + "x" * 100),
    ("NOTES.VAL$", "str", ""),
]


class BaseIoc:
    """A running IOC: where each protocol finds it."""

    def __init__(self) -> None:
        ports = {name: free_port(kind) for name, kind in KINDS.items()}
        self.addresses = {
            "channel-access": f"127.0.0.1:{ports['EPICS_CA_SERVER_PORT']}",
            "pv-access": f"127.0.0.1:{ports['EPICS_PVAS_BROADCAST_PORT']}",
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")} | {
            **{name: str(port) for name, port in ports.items()},
            "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
            "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1",
            "EPICS_PVAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_PVAS_BEACON_ADDR_LIST": "127.0.0.1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "epicscorelibs.ioc", "-m", f"P={PREFIX}", "-d", str(DATABASE)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        said: list[str] = []
        for line in self.process.stderr:
            said.append(line)
            if "IOC Running" in line:
                break
        else:
            raise AssertionError("".join(said))
        self._rest = threading.Thread(target=self.process.stderr.read, daemon=True)
        self._rest.start()

    def client(self, protocol: str) -> Client:
        """A client of it."""
        made = {"channel-access": ChannelAccessClient, "pv-access": PvAccessClient}[protocol]
        return made(self.addresses[protocol], {"probe": PREFIX + "COUNT"}, "ioc")

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self._rest.join()
        assert self.process.stdin is not None and self.process.stderr is not None
        self.process.stdin.close()
        self.process.stderr.close()


KINDS = {
    "EPICS_CA_SERVER_PORT": socket.SOCK_DGRAM,
    "EPICS_PVAS_SERVER_PORT": socket.SOCK_STREAM,
    "EPICS_PVAS_BROADCAST_PORT": socket.SOCK_DGRAM,
}


@pytest.fixture(scope="module")
def ioc() -> Iterator[BaseIoc]:
    base = BaseIoc()
    try:
        yield base
    finally:
        base.close()


def pv(name: str, kind: str = "float", **options: str) -> SignalSpec:
    """A signal on one of the IOC's records."""
    whole = PREFIX + name
    return SignalSpec.model_validate({"read": whole, "write": whole, "type": kind, "options": options}).named("d", name)


@BOTH
def test_values_of_records_go_there_and_back(ioc: BaseIoc, protocol: str) -> None:
    async def body() -> None:
        client = ioc.client(protocol)
        await client.connect(CONNECT_S)
        for name, kind, value in [
            ("OVEN", "float", 0.1 + 0.2),
            ("OVEN", "float", 5e-324),
            ("OVEN", "int", -3),
            ("COUNT", "int", -(2**31)),
            ("COUNT", "float", 12.0),
            ("COUNT", "int", 7),
            ("SHUTTER", "bool", True),
            ("SHUTTER", "str", "Closed"),
            ("MODE", "str", "Fast"),
            ("MODE", "int", 1),
            ("LABEL", "str", "µ-stage"),
            *(LONG if protocol == "channel-access" else ()),
        ]:
            before = time.time()
            await client.write(pv(name, kind), value, REPLY_S)
            reading = await client.read(pv(name, kind), REPLY_S)
            assert (reading.value, reading.quality) == (value, Quality.GOOD), (name, kind)
            assert before - 1 < reading.timestamp < time.time() + 1
        await client.close()

    play(body)


@BOTH
def test_a_record_s_alarm_is_the_quality(ioc: BaseIoc, protocol: str) -> None:
    async def body() -> None:
        client = ioc.client(protocol)
        await client.connect(CONNECT_S)
        for value, words in [(50.0, ""), (150.0, "MINOR alarm: HIGH"), (250.0, "MAJOR alarm: HIHI")]:
            await client.write(pv("OVEN"), value, REPLY_S)
            reading = await client.read(pv("OVEN"), REPLY_S)
            assert (reading.value, reading.quality, reading.detail) == (value, Quality.GOOD, words)
        never = await client.read(pv("NEVER"), REPLY_S)
        assert (never.quality, never.detail) == (Quality.BAD, "INVALID alarm: UDF")
        assert abs(never.timestamp - time.time()) < 60
        await client.close()

    play(body)


@BOTH
def test_the_record_s_own_limits_show_in_the_read_back(ioc: BaseIoc, protocol: str) -> None:
    async def body() -> None:
        client = ioc.client(protocol)
        await client.connect(CONNECT_S)
        await client.write(pv("OVEN"), 1000.0, REPLY_S)
        assert (await client.read(pv("OVEN"), REPLY_S)).value == 300.0
        await client.close()

    play(body)


@BOTH
@pytest.mark.parametrize("put", ["callback", "plain"])
def test_what_a_record_refuses_is_refused(ioc: BaseIoc, protocol: str, put: str) -> None:
    async def body() -> None:
        client = ioc.client(protocol)
        await client.connect(CONNECT_S)
        for signal, value in [(pv("LOCKED", put=put), 2.0), (pv("MODE", "str", put=put), "Sideways")]:
            if (protocol, put, signal.name) == ("pv-access", "callback", "LOCKED"):
                await client.write(signal, value, REPLY_S)  # this server does not tell: only the read-back does
                continue
            with pytest.raises(Refused, match=rf"d\.{signal.name}"):
                await client.write(signal, value, REPLY_S)
        assert (await client.read(pv("LOCKED"), REPLY_S)).value == 1.0
        for value in (math.nan, 0.5):
            with pytest.raises(WrongType, match=r"d\.COUNT"):
                await client.write(pv("COUNT", put=put), value, REPLY_S)
        for name in ("", "x" * 5000):
            with pytest.raises((Refused, TimedOut)):
                await client.write(pv("").model_copy(update={"write": name}), 1.0, SHORT_S)
        await client.close()

    play(body)


@BOTH
def test_a_plain_put_does_not_wait_until_the_record_is_processed(ioc: BaseIoc, protocol: str) -> None:
    async def body() -> None:
        client = ioc.client(protocol)
        await client.connect(CONNECT_S)
        await client.read(pv("SLOW.A"), REPLY_S)
        began = time.monotonic()
        await client.write(pv("SLOW.PROC", "int"), 1, REPLY_S)
        assert time.monotonic() - began < 4.0
        with pytest.raises(TimedOut, match="may have taken effect"):
            await client.write(pv("SLOW.PROC", "int", put="callback"), 1, SHORT_S)
        await client.close()

    play(body)
