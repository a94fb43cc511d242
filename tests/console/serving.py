"""A console in a process of its own, and the end of the processes it started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from athanor.agents.campaign import shut_down_laboratory
from athanor.agents.process import STARTED
from athanor.instruments.executor import InstrumentBusy
from athanor.memory.ledger import Ledger

PASSWORD = "seven brown otters swim"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "athanor.console", "console", "--port", str(port)]
    with log.open("ab") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 60.0
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/api/v1/health").status_code == 200:
                    break
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def end_campaigns(ledger: Ledger) -> None:
    """End the processes that were started for campaigns of this ledger, and the workers of those campaigns."""
    for event in ledger.events(kinds=[STARTED]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(event.body["process"].split(":")[1]), signal.SIGKILL)
    for campaign in ledger.campaigns():
        deadline = time.monotonic() + 30.0
        while True:
            try:
                shut_down_laboratory(ledger, campaign.id)
                break
            except InstrumentBusy:  # until the worker has seen that the process it served is gone
                assert time.monotonic() < deadline, f"{campaign.id} is still served"
                time.sleep(0.05)
