"""A whole campaign, and Stop All, on an instrument over the wire: worker and recovery process each connect to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from athanor.agents.campaign import open_campaign
from athanor.agents.spec import parse
from athanor.console.report.build import build
from tests.instruments.protocols.conformance import Rig
from tests.instruments.protocols.http_rig import HttpRig, NodeRig
from tests.instruments.protocols.mqtt_rig import MqttRig
from tests.instruments.protocols.scpi_rig import ScpiRig, VisaRig
from tests.instruments.protocols.sila_rig import SilaRig
from tests.instruments.protocols.test_modbus import ModbusRig
from tests.instruments.protocols.test_pv_access import PvaServer

pytestmark = pytest.mark.slow

CAMPAIGN = """\
name: Where the bench is brightest
question: Which position gives the most counts?
laboratory: {profile: PROFILE}
parameters:
  stage: {low: 0.0, high: 5.0, unit: mm}
objectives:
  counts: {goal: maximize}
budget: {experiments: 4}
planner: random
policy: {autonomy: auto_within_limits}
seed: 3
"""


class Bright:
    """A plant that is brightest at 2."""

    position: float

    @property
    def measured(self) -> float:
        return 10.0 - (self.position - 2.0) ** 2

    @measured.setter
    def measured(self, value: float) -> None:
        pass


RIGS = [ScpiRig, VisaRig, ModbusRig, PvaServer, HttpRig, NodeRig, SilaRig, MqttRig]
"""Channel Access and OPC UA are in `test_served_instruments.py`."""


@pytest.fixture(params=RIGS, ids=lambda kind: kind.__name__)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    rig: Rig = request.param()
    rig.plant.__class__ = type("BrightPlant", (Bright, type(rig.plant)), {})
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


def until(condition: Callable[[], Any], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.01)


def opened(bench: Any, rig: Rig, tmp_path: Path) -> str:
    """The campaign on the rig, granted."""
    profile = tmp_path / "bench.yaml"
    with profile.open("w") as file:
        YAML(typ="safe").dump(rig.profile().model_dump(mode="json", exclude_none=True), file)
    campaign: str = open_campaign(parse(CAMPAIGN.replace("PROFILE", str(profile))), bench.ledger)
    bench.campaigns.append(campaign)
    bench.grant(campaign)
    return campaign


def test_a_campaign_runs_over_the_wire(bench: Any, rig: Rig, tmp_path: Path) -> None:
    campaign = opened(bench, rig, tmp_path)
    done = bench.run(campaign)
    assert done.stdout.strip() == "succeeded", done.stderr
    experiments = bench.ledger.experiments(campaign)
    assert [experiment.state for experiment in experiments] == ["completed"] * 4
    measured = {o.experiment_id: o.outcomes["counts"]["mean"] for o in bench.ledger.observations(campaign)}
    for experiment in experiments:
        assert measured[experiment.id] == pytest.approx(10.0 - (experiment.values["stage"] - 2.0) ** 2, abs=0.01)
    assert [target for _, target in rig.plant.moves] == [experiment.values["stage"] for experiment in experiments]
    assert build(bench.ledger, campaign).instrument_title == "bench"


@pytest.mark.deadline
def test_stop_all_halts_the_wired_axis(bench: Any, rig: Rig, tmp_path: Path) -> None:
    rig.plant.speed = 0.05
    campaign = opened(bench, rig, tmp_path)
    with ExitStack() as stack:
        driving = subprocess.Popen(bench.command(campaign), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(driving.wait)
        stack.callback(driving.kill)
        until(lambda: rig.plant.is_moving, "the axis moves")
        began = time.monotonic()
        command = [sys.executable, "-m", "athanor.console", "stop-all", "--reason", "test"]
        stopping = subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        until(lambda: not rig.plant.is_moving, "the axis halts", 10.0)
        took = time.monotonic() - began
        said = stopping.communicate(timeout=30)[0].decode()
        assert stopping.returncode == 0, said
    assert took < 3.0, f"{took:.2f} s\n{said}"
    halted = rig.plant.position
    assert halted != rig.plant.target
    until(lambda: bench.ledger.experiments(campaign)[0].state == "aborted", "the experiment is aborted")
    assert rig.plant.position == halted
    assert len(rig.plant.moves) == 1


@pytest.mark.deadline
def test_a_killed_worker_leaves_the_wired_axis_halted(bench: Any, rig: Rig, tmp_path: Path) -> None:
    rig.plant.speed = 0.05
    campaign = opened(bench, rig, tmp_path)
    with ExitStack() as stack:
        driving = subprocess.Popen(bench.command(campaign), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(driving.wait)
        stack.callback(driving.kill)
        until(lambda: rig.plant.is_moving, "the axis moves")
        os.kill(int((bench.place(campaign).sockets / "worker.pid").read_text().split()[0]), signal.SIGKILL)
        began = time.monotonic()
        until(lambda: not rig.plant.is_moving, "the recovery process halts it", 30.0)
        took = time.monotonic() - began
        until(lambda: bench.ledger.experiments(campaign)[0].state == "in_doubt", "the experiment is in doubt")
    assert rig.plant.position != rig.plant.target
    assert took < 5.0, f"{took:.2f} s"
    assert len(rig.plant.moves) == 1
