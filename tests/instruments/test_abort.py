from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from athanor.instruments.abort import Abort, Worker

BENCH = Path(__file__).with_name("stop_bench.py")


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ath-") as name:
        yield Path(name) / "worker.sock"


@pytest.fixture(params=["obedient", "latching", "busy", "deaf"])
def worker(request: pytest.FixtureRequest, path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [sys.executable, str(BENCH), str(path), request.param], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    yield request.param, process
    process.kill()
    process.communicate()


def test_what_a_worker_says_is_taken_for_what_it_is(path: Path, worker: tuple[str, subprocess.Popen[str]]) -> None:
    mode, process = worker
    abort = Abort(path, "leak", "rivera", time.monotonic() + 1.0)
    abort.wait(1.5)
    assert abort.pid == process.pid
    assert abort.is_still == (mode in ("obedient", "latching"))
    assert abort.has_latched == (mode == "latching")
    assert abort.state == {"busy": "running", "deaf": None}.get(mode, "idle")


def test_without_a_worker_it_is_over_at_once(path: Path) -> None:
    abort = Abort(path, "leak", "rivera", time.monotonic() + 5.0)
    abort.wait(1.0)
    assert (abort.is_over, abort.is_still, abort.pid) == (True, False, None)


@pytest.mark.parametrize("is_frozen", [False, True])
def test_kills_frozen_or_not(is_frozen: bool) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    if is_frozen:
        os.kill(child.pid, signal.SIGSTOP)
    worker = Worker(child.pid)
    assert worker.is_alive()
    assert worker.kill(5.0)
    assert not worker.is_alive(), "dead also before its parent has asked"
    assert child.wait(5) == -signal.SIGKILL


def test_a_process_that_never_was() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    worker = Worker(child.pid)
    assert not worker.is_alive()
    assert worker.kill(), "nothing left to kill is as good as killed"
