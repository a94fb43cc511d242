"""`athanor sandbox serve` as a developer uses it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SERVE = [sys.executable, "-m", "athanor.console", "sandbox", "serve"]


def test_it_serves_until_ctrl_c_and_leaves_nothing_behind(home: Path, tmp_path: Path) -> None:
    profile = tmp_path / "reactor.yaml"
    command = [*SERVE, "snar-flow", "--protocol", "scpi", "--profile", str(profile)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60.0
        while not profile.exists() and server.poll() is None:
            assert time.monotonic() < deadline, "it does not start"
            time.sleep(0.01)
        # The command became the server: to end one is to end the other.
        assert (home / "served" / "snar-flow-scpi" / "serve.pid").read_text() == f"{server.pid}\n"
        server.send_signal(signal.SIGINT)
        printed, said = server.communicate(timeout=30)
    finally:
        server.kill()
        server.wait()
    assert server.returncode == 0, said
    assert printed == profile.read_text()
    assert "Ctrl-C ends it" in said and str(profile) in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["snar-flo", "--protocol", "scpi"], 1, "unknown laboratory 'snar-flo'"),
        (["snar-flow", "--protocol", "modbus"], 2, "invalid choice: 'modbus'"),
        (["snar-flow", "--protocol", "scpi", "--host", "192.0.2.1"], 1, "--expose"),
    ],
)
def test_it_says_what_it_cannot_do(words: list[str], code: int, said: str, home: Path) -> None:
    done = subprocess.run([*SERVE, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert said in done.stderr and "Traceback" not in done.stderr
