"""Keeps the instrument's recovery process: one that answers, is connected, and knows which worker to watch."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from athanor.instruments import detached
from athanor.instruments.line import Line
from athanor.memory.places import InstrumentPlace

log = logging.getLogger(__name__)


class RecoveryKeeper:
    """Finds or starts the recovery process, asks it every second how it is, and starts another when it is gone."""

    ASK_S = 1.0
    ANSWER_S = 1.0
    START_S = 20.0
    """How long a fresh one may take to answer before another is started."""

    def __init__(self, place: InstrumentPlace) -> None:
        self._place = place
        self._socket = place.sockets / "recovery.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._failures = 0
        self._pid: int | None = None
        self._ended = threading.Event()
        self.missing: str | None = "the recovery process has not been started yet"
        """Why there is nobody to stop the instrument without us, or None."""

    def start(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._keep, name="recovery-keeper", daemon=True).start()

    def end(self) -> None:
        """End the recovery process as well: for a worker that leaves in good order."""
        self._ended.set()
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def _keep(self) -> None:
        while not self._ended.is_set():
            try:
                answer = self._ask("hello")
                if answer.get("worker_pid") != os.getpid():
                    answer = self._ask("adopt", worker_pid=os.getpid())
                self._judge(answer)
            except (OSError, ValueError, KeyError) as error:
                self.missing = f"the recovery process does not answer: {error}"
                self._start_unless_starting()
            self._ended.wait(self.ASK_S if self.missing is None else 0.05)

    def _judge(self, answer: dict[str, Any]) -> None:
        if not answer.get("ok"):
            # It ends by itself when it was connected under another configuration.
            self.missing = f"the recovery process did not take us: {answer.get('detail')}"
            self._start_unless_starting()
        elif not answer.get("connected"):
            self.missing = f"the recovery process is not connected: {answer.get('trouble')}"
        elif not answer["latch"]["saved"]:
            # A worker started after that stop sees nothing of it in the file.
            self.missing = f"Stop All is latched in the recovery process's memory: {answer['latch']['reason']}"
        else:
            self.missing = None
            self._failures = 0
            self._pid = int(answer["pid"])

    def _ask(self, verb: str, **fields: Any) -> dict[str, Any]:
        with Line.connect(self._socket) as line:
            line.send({"id": 1, "verb": verb, **fields})
            return line.receive(time.monotonic() + self.ANSWER_S)

    def _start_unless_starting(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                if time.monotonic() < self._started_at + self.START_S:
                    return
                log.warning("recovery process %d does not answer: killed", self._process.pid)
                self._process.kill()
                self._process.wait()
            self._process = None
            self._failures += 1
        # The second and later failures in a row wait longer and longer: a missing module must not become a busy loop.
        if self._ended.wait(min(10.0, 0.2 * self._failures**2)):
            return
        command = [sys.executable, "-m", "athanor.instruments.recovery", "--place", str(self._place.directory)]
        self._process = detached.start([*command, "--worker-pid", str(os.getpid())], None)
        self._started_at = time.monotonic()
