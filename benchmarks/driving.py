"""Campaign processes that a benchmark may kill, and the controller's log that tells what came of it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from athanor.agents import graph, nodes  # noqa: F401 - loaded once, before campaign processes are forked
from athanor.agents.campaign import run_campaign
from athanor.instruments import executor  # noqa: F401
from athanor.memory.ledger import Ledger


class Driver:
    """Forks campaign processes, one after the other, from a process that has loaded what they need."""

    def __init__(self, url: str, campaign: str, log: Path) -> None:
        self._ours, theirs = socket.socketpair()
        self._url, self._campaign, self._log = url, campaign, log
        self.pid: int | None = None
        if os.fork() == 0:
            self._ours.close()
            self._serve(theirs)
        theirs.close()
        self._lines = self._ours.makefile("r")

    def _serve(self, line: socket.socket) -> None:
        try:
            while line.recv(1):
                child = os.fork()
                if child == 0:
                    self._drive()
                line.sendall(f"{child}\n".encode())
                line.sendall(f"{os.waitpid(child, 0)[1]}\n".encode())
        finally:
            os._exit(0)

    def _drive(self) -> None:
        out = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(out, descriptor)
        status = 1
        try:
            run_campaign(self._campaign, Ledger.open(self._url))
            status = 0
        except BaseException:  # noqa: BLE001 - the end of a forked process
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def start(self) -> None:
        """Resume the campaign in a new process."""
        assert not self.is_running()
        self._ours.sendall(b"!")
        self.pid = int(self._lines.readline())

    def is_running(self) -> bool:
        """Whether the campaign process lives; reaps one that has ended."""
        if self.pid is not None and select.select([self._ours], [], [], 0)[0]:
            self._lines.readline()
            self.pid = None
        return self.pid is not None

    def close(self) -> None:
        """End the campaign process and whoever forks them."""
        if self.is_running():
            assert self.pid is not None
            os.kill(self.pid, signal.SIGKILL)
            self._lines.readline()
        self._lines.close()
        self._ours.close()
        os.wait()


class Log:
    """The controller's own log, read on from where it was left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._kept: dict[str, list[dict[str, Any]]] = {}

    def read(self, *kinds: str) -> list[dict[str, Any]]:
        """Every whole line of these kinds (`run`, `trigger`, `reading`) until now."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._at)
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._at += len(whole)
            for line in whole.splitlines():
                if b'"kind": "position"' not in line:
                    row = json.loads(line)
                    self._kept.setdefault(row["kind"], []).append(row)
        return sorted((row for kind in kinds for row in self._kept.get(kind, [])), key=lambda row: row["t"])


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
