"""The soft IOC that our client is tested against, driven through ophyd-async's and classic ophyd's own signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.instruments.protocols.conformance import REPLY_S, connected, play
from tests.instruments.protocols.ioc_rig import ROOT, free_port
from tests.instruments.protocols.test_channel_access import SoftIoc

DEADLINE_S = 120.0


@pytest.fixture
def ioc() -> Iterator[SoftIoc]:
    rig = SoftIoc()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


def driven(ioc: SoftIoc, script: str) -> Any:
    """Run a script in a process of its own, where the environment says where the IOC is; what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
    done = subprocess.run(
        [sys.executable, "-m", f"tests.instruments.protocols.{script}", ioc.prefix],
        cwd=ROOT,
        env={
            **clean,
            "EPICS_CA_ADDR_LIST": "127.0.0.1",
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_SERVER_PORT": str(ioc.port),
            "EPICS_CA_REPEATER_PORT": str(free_port()),
            "OPHYD_CONTROL_LAYER": "caproto",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_ophyd_async_reads_sets_and_stops(ioc: SoftIoc) -> None:
    first, second = driven(ioc, "drive_ophyd_async")
    assert first == {
        "stage-setpoint": 0.1 + 0.2,
        "stage-readback": 0.1 + 0.2,
        "stage-measured": 0.625,
        "stage-label": "driven",
        "stage-mode": "Fast",
    }
    assert second["stage-setpoint"] == 1000.0
    assert 1.0 <= second["stage-readback"] < 1000.0
    assert [target for _, target in ioc.plant.moves] == [0.1 + 0.2, 1000.0]
    assert ioc.plant.stops == 1
    assert ioc.plant.position == second["stage-readback"]


def test_classic_ophyd_reads_sets_and_stops(ioc: SoftIoc) -> None:
    told = driven(ioc, "drive_ophyd")
    assert told["layer"] == "caproto"
    (event,) = told["events"]
    assert event["stage_setpoint"] == event["stage_readback"] == 2.25
    assert (event["camera_measured"], event["camera_label"], event["camera_mode"]) == (0.625, "driven", "Fast")
    assert 3.0 <= told["halted"] < 1000.0
    assert [target for _, target in ioc.plant.moves] == [2.25, 1000.0]
    assert ioc.plant.position == told["halted"]


def test_what_ophyd_set_is_what_our_client_reads(ioc: SoftIoc) -> None:
    async def body() -> None:
        async with connected(ioc) as client:
            driven(ioc, "drive_ophyd_async")
            assert (await client.read(ioc.signal("label"), REPLY_S)).value == "driven"
            assert (await client.read(ioc.signal("setpoint"), REPLY_S)).value == 1000.0
            assert (await client.read(ioc.signal("readback"), REPLY_S)).value == ioc.plant.position

    play(body)
