"""A profile whose axes are classes of both ophyd families, on a soft IOC: limits, runs and stops hold for them, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from athanor.agents.campaign import open_campaign
from athanor.agents.spec import LaboratorySpec, parse
from athanor.instruments.laboratory import load
from tests.instruments.protocols.ioc_rig import free_port
from tests.sandbox.serving.served import Served
from tests.system.test_served_instruments import assert_halted, moving, stands_still, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLASSES = {"temperature": "AsyncAxis", "residence_time": "ClassicAxis"}


def as_classes(path: Path) -> None:
    """Put classes in the place of two wired axes."""
    profile = yaml.safe_load(path.read_text())
    for axis, name in CLASSES.items():
        args = {"prefix": f"snar-flow:{axis}:"} | ({"near": 0.01} if name == "AsyncAxis" else {})
        profile["devices"][axis] = {
            "class": f"tests.instruments.protocols.driver_classes:{name}",
            "args": args,
            "connect_s": 20.0,
        }
    path.write_text(yaml.safe_dump(profile))


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Where the IOC is; what the drivers go by."""
    found = free_port()
    for name, value in {
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_SERVER_PORT": str(found),
        "EPICS_CA_REPEATER_PORT": str(free_port()),
        "OPHYD_CONTROL_LAYER": "caproto",
        "PYTHONPATH": str(ROOT),
    }.items():
        monkeypatch.setenv(name, value)
    return found


def serve(home: Path, folder: Path, port: int, time_scale: float) -> Served:
    server = Served(folder, "channel-access", "snar-flow", "--time-scale", str(time_scale), "--port", str(port))
    as_classes(server.path)
    return server


@pytest.fixture
def served(home: Path, tmp_path: Path, port: int) -> Iterator[Served]:
    server = serve(home, tmp_path / "served", port, 1000.0)
    yield server
    server.kill()


def begun(served: Served) -> bool:
    """Whether both classes have set their axes off."""
    return set(CLASSES) <= {line["axis"] for line in served.witness("position")}


def test_a_campaign_is_what_the_laboratory_simulates(bench: Any, home: Path, tmp_path: Path, port: int) -> None:
    served = serve(home, tmp_path / "served", port, 0.1)
    try:
        found: Any = load("snar-flow")
        spec = parse(found.campaign_file().read_text())
        changes = {"budget": {"experiments": 3}, "hypotheses": {"share": 0.0}, "planner": "random"}
        changes["laboratory"] = LaboratorySpec(profile=str(served.path)).model_dump()
        spec = type(spec).model_validate({**spec.model_dump(), **changes})
        campaign: str = open_campaign(spec, bench.ledger)
        bench.campaigns.append(campaign)
        bench.grant(campaign)
        done = bench.run(campaign)
        assert done.stdout.strip() == "succeeded", bench.ledger.campaign(campaign).reason
        experiments = {e.id: e for e in bench.ledger.experiments(campaign)}
        states = [(e.state, e.reason) for e in experiments.values()]
        assert states == [("completed", None)] * 3
        measured = [line["values"] for line in served.witness("trigger")]
        for experiment, values in zip(experiments.values(), measured, strict=True):
            assert values == pytest.approx(experiment.values, abs=0.011)
    finally:
        served.kill()


@pytest.mark.deadline
def test_stop_all_halts_every_axis(bench: Any, served: Served) -> None:
    with ExitStack() as stack:
        campaign = moving(bench, served, stack)
        until(lambda: begun(served), "both classes move")
        began = time.monotonic()
        command = [sys.executable, "-m", "athanor.console", "stop-all", "--reason", "test"]
        stopping = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = stopping.communicate(timeout=60)[0].decode()
        assert stopping.returncode == 0, said
        assert stands_still(served)
        took = max(end["mono"] for end in served.witness("end")) - began
        until(lambda: bench.ledger.experiments(campaign)[0].state == "aborted", "the experiment is aborted")
    assert took < 3.0, f"{took:.2f} s\n{said}"
    assert_halted(served)


@pytest.mark.deadline
def test_a_killed_worker_leaves_nothing_moving(bench: Any, served: Served) -> None:
    with ExitStack() as stack:
        campaign = moving(bench, served, stack)
        until(lambda: begun(served), "both classes move")
        worker = int((bench.place(campaign).sockets / "worker.pid").read_text().split()[0])
        os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: stands_still(served), "the recovery process halts it", 30.0)
        took = max(end["mono"] for end in served.witness("end")) - killed
        until(lambda: bench.ledger.experiments(campaign)[0].state == "in_doubt", "the experiment is in doubt")
    assert took < 5.0, f"{took:.2f} s"
    assert_halted(served)


def test_an_ioc_that_dies_in_motion_leaves_doubt(bench: Any, served: Served) -> None:
    with ExitStack() as stack:
        campaign = moving(bench, served, stack)
        until(lambda: begun(served), "both classes move")
        served.kill()
        until(lambda: bench.ledger.experiments(campaign)[0].state == "in_doubt", "the experiment is in doubt", 30.0)
