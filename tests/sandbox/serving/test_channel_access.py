from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

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
