"""Stop All against whole campaigns: while moving, while the planner thinks, the model hangs, or it is frozen."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.latch import Latch

pytestmark = [pytest.mark.deadline, pytest.mark.slow]

Drive = Callable[..., subprocess.Popen[str]]


def until(condition: Callable[[], Any], seconds: float = 90.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def drive(bench: Any) -> Iterator[Drive]:
    """Drive a campaign in a process of its own, which ends with the test at the latest."""
    with contextlib.ExitStack() as processes:

        def start(campaign_id: str, **environment: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                bench.command(campaign_id),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **environment},
            )
            processes.callback(process.wait)
            processes.callback(process.kill)
            return process

        yield start


def stop_all() -> tuple[float, int]:
    """Give the command; when it was given, and its exit status."""
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "athanor.console", "stop-all", "--reason", "test"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return began, done.returncode


def last_change(bench: Any, campaign_id: str) -> float:
    return max((row["t"] for row in bench.witness(campaign_id, "position", "motion")), default=0.0)


def children(pid: int) -> list[tuple[int, str]]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, IndexError):
                continue
            if parent == pid:
                found.append((int(folder.name), command))
    return found


def athanor(bench: Any, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "athanor.console", *words, "--ledger", str(bench.ledger.path)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def resume_is_latched(bench: Any, campaign_id: str) -> None:
    """After Stop All nothing moves, whoever resumes, until a person resets it and grants autonomy anew."""
    starts = len(bench.witness(campaign_id, "run"))
    assert bench.run(campaign_id).stdout.strip() == "paused"
    assert "Stop All" in bench.ledger.campaign(campaign_id).reason
    assert len(bench.witness(campaign_id, "run")) == starts


def test_while_moving_and_what_comes_after(bench: Any, drive: Drive) -> None:
    campaign_id = bench.open(experiments=4, options={"time_scale": 0.5})
    process = drive(campaign_id)
    until(
        lambda: (
            (bench.place(campaign_id).directory / "controller.jsonl").exists()
            and len(bench.witness(campaign_id, "position")) > 3
        )
    )
    began, status = stop_all()
    assert status == 0
    assert process.wait(60) == 0
    assert last_change(bench, campaign_id) - began <= 2.0
    campaign = bench.ledger.campaign(campaign_id)
    assert campaign.state == "paused"
    [struck] = bench.ledger.experiments(campaign_id, states=["aborted", "failed", "in_doubt"])
    starts = len(bench.witness(campaign_id, "run"))
    resumed = athanor(bench, "resume", campaign_id)
    assert resumed.returncode != 0 and "athanor reset-stop" in resumed.stderr, resumed.stderr
    assert len(bench.witness(campaign_id, "run")) == starts

    assert athanor(bench, "reset-stop", "--reason", "looked at it").returncode == 0
    latch = Latch(bench.place(campaign_id))
    if struck.state == "in_doubt":
        settled = athanor(bench, "settle", struck.id, "--as", "aborted", "--reason", "stopped by hand")
        assert settled.returncode == 0, settled.stderr
    # The old grant died with the stop: the campaign now waits for a person.
    waiting = drive(campaign_id)
    proposed = until(lambda: bench.ledger.experiments(campaign_id, states=["proposed"]))[0]
    assert not bench.ledger.experiments(campaign_id, states=["dispatched", "running"])
    bench.gate.approve(proposed.id, proposed.revision, latch.read().count, timedelta(hours=1))
    until(lambda: bench.ledger.experiment(proposed.id).state in ("dispatched", "running", "completed"))
    bench.ledger.request(campaign_id, "cancel", "tester")
    assert waiting.wait(120) == 0


def test_while_the_planner_thinks(bench: Any, drive: Drive) -> None:
    campaign_id = bench.open(experiments=6)
    process = drive(campaign_id)
    until(lambda: bench.ledger.experiments(campaign_id, states=["completed"]))
    planner = next(pid for pid, command in children(process.pid) if "agents.planning" in command)
    os.kill(planner, signal.SIGSTOP)  # a fit that does not come back
    until(lambda: not bench.ledger.experiments(campaign_id, states=["approved", "dispatched", "running"]))
    began, status = stop_all()
    assert status == 0
    assert process.wait(30) == 0
    assert last_change(bench, campaign_id) - began <= 2.0
    resume_is_latched(bench, campaign_id)


def test_while_the_model_hangs(bench: Any, drive: Drive) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        campaign_id = bench.open(experiments=16, planner="sobol", hypotheses={"share": 0.4})
        process = drive(campaign_id, ATHANOR_MODEL="silent", ATHANOR_MODEL_BASE_URL=url)
        connection, _ = silent.accept()
        with connection:
            began, status = stop_all()
            assert status == 0
            assert process.wait(30) == 0
    assert last_change(bench, campaign_id) - began <= 2.0
    resume_is_latched(bench, campaign_id)


FREEZE = """
import os, runpy, signal, sqlite3, sys

def freeze(*_):
    lock = sqlite3.connect(os.environ["ATHANOR_TEST_LOCK"], isolation_level=None, timeout=30)
    lock.execute("BEGIN IMMEDIATE")
    os.kill(os.getpid(), signal.SIGSTOP)
    lock.execute("ROLLBACK")
    lock.close()

signal.signal(signal.SIGUSR1, freeze)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Drives a campaign that, on SIGUSR1, takes the ledger's write lock and freezes."""


def test_while_the_campaign_is_frozen_holding_the_ledgers_lock(bench: Any) -> None:
    campaign_id = bench.open(experiments=4, options={"time_scale": 0.5})
    command = bench.command(campaign_id)
    process = subprocess.Popen(
        [command[0], "-c", FREEZE, *command[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "ATHANOR_TEST_LOCK": str(bench.ledger.path)},
    )
    try:
        until(
            lambda: (
                (bench.place(campaign_id).directory / "controller.jsonl").exists()
                and len(bench.witness(campaign_id, "position")) > 3
            )
        )
        os.kill(process.pid, signal.SIGUSR1)
        until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(bench.ledger.path, isolation_level=None, timeout=0).execute("BEGIN IMMEDIATE")
        began, status = stop_all()
        assert status == 0
        moved = last_change(bench, campaign_id)
        assert moved - began <= 3.0
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert last_change(bench, campaign_id) == moved
    assert bench.ledger.campaign(campaign_id).state == "paused"


@pytest.mark.parametrize("process", ["worker", "controller"])
def test_a_sigkill_in_motion_is_seen_and_settled(bench: Any, drive: Drive, process: str) -> None:
    campaign_id = bench.open(experiments=3, options={"time_scale": 0.5})
    driven = drive(campaign_id)
    until(
        lambda: (
            (bench.place(campaign_id).directory / "controller.jsonl").exists()
            and len(bench.witness(campaign_id, "position")) > 3
        )
    )
    struck = int((bench.place(campaign_id).sockets / f"{process}.pid").read_text().split()[0])
    os.kill(struck, signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: bench.ledger.experiments(campaign_id, states=["in_doubt"]), 5.0)
    assert time.monotonic() - killed <= 1.0
    assert driven.wait(30) == 0
    [doubtful] = bench.ledger.experiments(campaign_id, states=["in_doubt"])
    campaign = bench.ledger.campaign(campaign_id)
    assert campaign.state == "paused"
    assert f"reconcile {doubtful.id}" in campaign.reason
    settled = athanor(bench, "settle", doubtful.id, "--as", "aborted", "--reason", "looked: it had begun to heat")
    assert settled.returncode == 0, settled.stderr
    assert bench.ledger.experiment(doubtful.id).state == "aborted"
    bench.grant(campaign_id)  # the first grant covered three starts, and the worker had made this one
    done = bench.run(campaign_id)
    assert done.stdout.strip() == "succeeded", bench.ledger.campaign(campaign_id).reason
    intents = [row["intent"] for row in bench.witness(campaign_id, "run")]
    assert len(intents) == len(set(intents))
