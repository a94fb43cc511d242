from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from caproto.asyncio.client import Context

from athanor.instruments.laboratory import load
from athanor.sandbox.core import Core
from athanor.sandbox.options import Options
from athanor.sandbox.serving.channel_access import ChannelAccessServer
from athanor.sandbox.serving.station import Station
from athanor.sandbox.witness import Witness
from tests.sandbox.serving.behaviours import Behaviours, connect, engine, serve

__all__ = ["connect", "engine", "serve"]


class TestChannelAccess(Behaviours):
    protocol = "channel-access"


def test_it_listens_and_announces_itself_on_its_own_address_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        found: Any = load("snar-flow")
        witness = Witness(tmp_path / "controller.jsonl")
        server = ChannelAccessServer(Station(Core(found, Options(), witness)))
        try:
            address = await server.start("127.0.0.1", 0)
            assert address.startswith("127.0.0.1:")
            assert {host for host, _ in server.context.beacon_socks} == {"127.0.0.1"}
            assert set(server.context.udp_socks) == set(server.context.tcp_sockets) == {"127.0.0.1"}
        finally:
            await server.close()
            witness.close()
        with pytest.raises(OSError, match="IPv4"):
            await server.start("::1", 0)

    asyncio.run(play())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_motion_that_takes_no_time_is_told_like_a_motor_record_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classic positioners wait for the flag to rise and fall: whoever coalesced both would leave them waiting."""

    async def play() -> list[str]:
        found: Any = load("snar-flow")
        witness = Witness(tmp_path / "controller.jsonl")
        core = Core(found, Options(time_scale=0.0), witness)
        server = ChannelAccessServer(Station(core))
        seen: list[str] = []
        told = asyncio.Event()
        try:
            port = (await server.start("127.0.0.1", 0)).rsplit(":", 1)[1]
            monkeypatch.setenv("EPICS_CA_ADDR_LIST", "127.0.0.1")
            monkeypatch.setenv("EPICS_CA_AUTO_ADDR_LIST", "NO")
            monkeypatch.setenv("EPICS_CA_SERVER_PORT", port)
            client = Context()
            moving, setpoint = await client.get_pvs("snar-flow:temperature:moving", "snar-flow:temperature:setpoint")
            await asyncio.gather(moving.wait_for_connection(), setpoint.wait_for_connection())

            def take(_: Any, response: Any) -> None:
                seen.append(("No", "Yes")[int(response.data[0])])
                told.set()

            subscription = moving.subscribe(data_type="native")
            subscription.add_callback(take)
            await told.wait()
            for target in (core.axes["temperature"].position, 50.0, 60.0):
                already = len(seen)
                await setpoint.write([target], notify=True)
                while len(seen) < already + 2:
                    told.clear()
                    await asyncio.wait_for(told.wait(), 20.0)
            await subscription.clear()
            await client.disconnect()
        finally:
            await server.close()
            witness.close()
        return seen

    assert asyncio.run(play()) == ["No", *["Yes", "No"] * 3]
