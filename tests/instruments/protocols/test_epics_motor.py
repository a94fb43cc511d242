"""The motor of the guide, on a motor record: the one that caproto plays."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from athanor.instruments.profile import AxisSpec
from athanor.instruments.protocols.channel_access import ChannelAccessClient
from athanor.instruments.protocols.devices import WiredAxis
from athanor.instruments.protocols.wiring import AxisWiring
from tests.instruments.protocols.conformance import CONNECT_S, play
from tests.instruments.protocols.ioc_rig import free_port

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "connect-an-instrument.md"
STILL_S = 0.5


@pytest.fixture
def address() -> Iterator[str]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")} | {
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
    }
    ioc = subprocess.Popen(
        [sys.executable, "-m", "caproto.ioc_examples.fake_motor_record", "--prefix", "M:", "--interfaces", "127.0.0.1"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        ioc.kill()
        ioc.wait()


def guided() -> Any:
    """The guide's EPICS block, on the played motor."""
    text = next(block for block in re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "DMOV" in block)
    return YAML(typ="safe").load(text.replace("BL1:M1", "M:mtr1"))


def test_the_motor_of_the_guide_moves_and_halts(address: str) -> None:
    guide = guided()
    spec = AxisSpec(minimum=-10.0, maximum=50.0, tolerance=0.01, timeout_s=30.0)

    async def body() -> None:
        client = ChannelAccessClient(address, guide["controllers"]["ioc"]["options"], "ioc")
        await client.connect(2 * CONNECT_S)
        axis = WiredAxis("stage", spec, AxisWiring.model_validate(guide["devices"]["stage"]), client)
        await axis.set(0.5)
        assert (await axis.locate())["readback"] == pytest.approx(0.5, abs=0.01)

        status = axis.set(40.0)
        while (await axis.locate())["readback"] < 1.0:
            assert not status.done
        await axis.stop(success=False)
        with pytest.raises(RuntimeError, match="stage was stopped at"):
            await status
        halted = (await axis.locate())["readback"]
        assert halted < 40.0
        until = time.monotonic() + STILL_S
        while time.monotonic() < until:
            assert (await axis.locate())["readback"] == halted
        await client.close()

    play(body)
