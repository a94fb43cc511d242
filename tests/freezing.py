"""Freezing a process for a test."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path


def freeze(pid: int) -> None:
    """SIGSTOP, and wait until every thread stands: the signal only asks, and a busy machine takes its time."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    deadline = time.monotonic() + 10
    while tasks.exists() and not all(_state(task) in "TtZX" for task in tasks.iterdir()):
        assert time.monotonic() < deadline, f"{pid} does not stop"
        threading.Event().wait(0.001)


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # that thread has ended
        return "X"
