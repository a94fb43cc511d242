"""The demonstration as a newcomer runs it: the same twice, hypotheses settled both ways, nothing sent anywhere."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from athanor.memory.errors import LedgerError
from athanor.memory.ledger import Ledger

pytestmark = pytest.mark.slow

WATCH = """
import os, sys
def _watch(event, args, path=os.environ["ATHANOR_TEST_CONNECTIONS"]):
    if event in ("socket.connect", "socket.sendto"):
        text = args[1] if isinstance(args[1], (str, bytes)) else args[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        text = args[0]
    else:
        return
    with open(path, "a") as file:
        file.write(f"{event} {text!r}\\n")
with open(os.environ["ATHANOR_TEST_CONNECTIONS"], "a") as file:
    file.write(f"watched {sys.argv}\\n")
sys.addaudithook(_watch)
"""


def demo(folder: Path, *words: str, before: tuple[str, ...] = (), **environment: str) -> dict[str, Any]:
    folder.mkdir()
    command = [*before, sys.executable, "-m", "athanor.console", "demo", "--seed", "1", "--json", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=500, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def killed_and_resumed(folder: Path, *moments: int) -> dict[str, Any]:
    """The demo, SIGKILLed when so many of its experiments have been taken in, each time resumed by the command line."""
    folder.mkdir()
    ledger = folder / "athanor-demo" / "ledger.db"
    words = ["demo", "--seed", "1", "--json"]
    for moment in moments:
        process = subprocess.Popen(
            [sys.executable, "-m", "athanor.console", *words],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 300
            while taken_in(ledger) < moment:
                assert process.poll() is None and time.monotonic() < deadline
                threading.Event().wait(0.02)
        finally:
            process.kill()
            process.wait()
        with Ledger.open(ledger, anchor=None) as opened:
            [campaign] = opened.campaigns()
        assert campaign.state == "running"
        words = ["resume", campaign.id, "--json", "--ledger", str(ledger)]
    done = subprocess.run(
        [sys.executable, "-m", "athanor.console", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def taken_in(ledger: Path) -> int:
    with contextlib.suppress(LedgerError), Ledger.open(ledger, anchor=None) as opened:
        return sum(len(opened.observations(campaign.id)) for campaign in opened.campaigns())
    return 0


def test_the_same_twice_and_killed_with_hypotheses_settled_both_ways(home: Path, tmp_path: Path) -> None:
    watched, log = tmp_path / "site", tmp_path / "connections"
    watched.mkdir()
    (watched / "sitecustomize.py").write_text(WATCH)
    first = demo(tmp_path / "one", PYTHONPATH=str(watched), ATHANOR_TEST_CONNECTIONS=str(log))
    second = demo(tmp_path / "two")
    third = killed_and_resumed(tmp_path / "three", 5, 14, 27)

    def essence(result: dict[str, Any]) -> list[Any]:
        runs = [(e["values"], e["outcomes"], e["state"]) for e in result["experiments"]]
        return runs + [(h["statement"], h["state"], h["log_e_support"]) for h in result["hypotheses"]]

    assert essence(first) == essence(second) == essence(third)
    assert len(first["experiments"]) == 40
    states = {h["state"] for h in first["hypotheses"]}
    assert {"supported", "refuted"} <= states

    lines = log.read_text().splitlines()
    assert sum(line.startswith("watched") for line in lines) >= 4, "the processes of the demo were not watched"
    addresses = [line.split(" ", 1)[1] for line in lines if not line.startswith("watched")]
    assert addresses, "not even the Unix sockets of the worker were seen"
    foreign = [a for a in addresses if not a.strip("b'\"").startswith(("/", "127.", "localhost", "::1"))]
    assert foreign == []


def test_with_nothing_but_loopback(home: Path, tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    probe = [unshare or "unshare", "--net", "--map-root-user", "true"]
    if unshare is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this system lets no process have a network namespace of its own")
    inside = (unshare, "--net", "--map-root-user", "sh", "-c", 'ip link set lo up 2>/dev/null; exec "$@"', "sh")
    result = demo(tmp_path / "alone", "--budget", "10", before=inside)
    assert result["state"] == "succeeded"
    assert len(result["experiments"]) == 10
