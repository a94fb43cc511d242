"""Processes that outlive whoever starts them; what the real ones are told: tests/system/test_worker.py."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from athanor.agents.reasoners import endpoint
from athanor.instruments import detached


def test_everything_but_the_model_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (endpoint.MODEL, endpoint.BASE_URL, endpoint.API_KEY, endpoint.PRICE_IN, endpoint.PRICE_OUT)
    rest = {"PATH": "/bin", "ATHANOR_HOME": "/home", "VENDOR_MODEL": "x", "LC_ALL": "C"}
    assert detached.without_model({**dict.fromkeys(names, "secret"), **rest}) == rest
    monkeypatch.setenv(endpoint.API_KEY, "sk-secret")
    monkeypatch.setenv("VENDOR_LICENCE", "27000@there")
    own = detached.without_model()
    assert endpoint.API_KEY not in own
    assert own["VENDOR_LICENCE"] == "27000@there"


def test_it_is_told_so_has_its_own_session_and_nothing_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(endpoint.API_KEY, "sk-secret")
    code = "import os, sys; print(os.getsid(0) == os.getpid(), sys.stdin.read() == '', *os.environ, file=sys.stderr)"
    with (tmp_path / "log").open("wb") as output:
        process = detached.start([sys.executable, "-c", code], output)
    assert process.wait(30) == 0
    session, empty, *names = (tmp_path / "log").read_text().split()
    assert (session, empty) == ("True", "True")
    assert "PATH" in names and endpoint.API_KEY not in names


def test_one_that_goes_on_is_kept_and_one_that_ended_is_reaped() -> None:
    pid = detached.start([sys.executable, "-c", "import signal; signal.pause()"]).pid
    gc.collect()  # would say that a process was forgotten
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # waits for the end, and leaves it to be found
    detached.reap()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_one_that_outlives_its_starter_is_not_said_to_be_forgotten() -> None:
    code = (
        "import sys; from athanor.instruments import detached\n"
        "print(detached.start([sys.executable, '-c', 'import signal; signal.pause()']).pid)"
    )
    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, check=True)
    os.kill(int(done.stdout), signal.SIGKILL)  # it is there
    assert done.stderr == ""
