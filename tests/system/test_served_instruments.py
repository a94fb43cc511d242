"""Worker and recovery process on a served laboratory: the axis' own log says what happened to it."""

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

from athanor.agents.campaign import open_campaign
from athanor.agents.spec import LaboratorySpec, parse
from athanor.instruments.laboratory import load
from tests.sandbox.serving.served import PROTOCOLS, Served

pytestmark = pytest.mark.slow


@pytest.fixture(params=PROTOCOLS)
def served(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Iterator[Served]:
    # Slow enough that a motion lasts for the whole test: about half an hour.
    server = Served(tmp_path / "served", request.param, "snar-flow", "--time-scale", "1000")
    yield server
    server.kill()


def until(condition: Callable[[], Any], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.01)


def moving(bench: Any, served: Served, stack: ExitStack) -> str:
    """A campaign whose first experiment has begun to move."""
    found: Any = load("snar-flow")
    spec = parse(found.campaign_file().read_text())
    spec = spec.model_copy(update={"laboratory": LaboratorySpec(profile=str(served.path)), "planner": "random"})
    campaign: str = open_campaign(spec, bench.ledger)
    bench.campaigns.append(campaign)
    bench.grant(campaign)
    driving = subprocess.Popen(bench.command(campaign), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(driving.wait)
    stack.callback(driving.kill)
    until(lambda: len({line["axis"] for line in served.witness("position")}) >= 2, "the axes move")
    return campaign


def stands_still(served: Served) -> bool:
    """Whether every motion that began has ended."""
    begun = {line["move"] for line in served.witness("motion")}
    return begun == {line["move"] for line in served.witness("end")}


def assert_halted(served: Served) -> None:
    """Every axis was stopped on its way, and nothing moved afterwards."""
    ends = served.witness("end")
    assert {end["reason"] for end in ends} == {"stopped"}
    last = max(end["mono"] for end in ends)
    assert not [line for line in served.witness("position", "motion") if line["mono"] > last]


@pytest.mark.deadline
def test_stop_all_halts_every_axis(bench: Any, served: Served) -> None:
    with ExitStack() as stack:
        campaign = moving(bench, served, stack)
        began = time.monotonic()
        command = [sys.executable, "-m", "athanor.console", "stop-all", "--reason", "test"]
        stopping = subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
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
        worker = int((bench.place(campaign).sockets / "worker.pid").read_text().split()[0])
        os.kill(worker, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: stands_still(served), "the recovery process halts it", 30.0)
        took = max(end["mono"] for end in served.witness("end")) - killed
        until(lambda: bench.ledger.experiments(campaign)[0].state == "in_doubt", "the experiment is in doubt")
    assert took < 5.0, f"{took:.2f} s"
    assert_halted(served)


@pytest.mark.deadline
def test_stop_all_halts_what_has_lost_its_worker_and_its_recovery_process(bench: Any, served: Served) -> None:
    with ExitStack() as stack:
        campaign = moving(bench, served, stack)
        sockets = bench.place(campaign).sockets
        pids = [int((sockets / f"{name}.pid").read_text().split()[0]) for name in ("recovery", "worker")]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        until(lambda: bench.ledger.experiments(campaign)[0].state == "in_doubt", "the loss is seen")
        assert not stands_still(served), "there is something left to stop"
        command = [sys.executable, "-m", "athanor.console", "stop-all", "--reason", "test"]
        stopping = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        assert stopping.returncode == 0, stopping.stdout.decode()
        assert stands_still(served)
    assert_halted(served)
