"""Names for the processes that hold leases, and whether one of them still lives."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path


def holder() -> str:
    """A name for one sitting of this process, `host:pid:start:random`, which nobody else ever has."""
    return f"{process_name()}:{secrets.token_hex(3)}"


def process_name(pid: int | None = None) -> str:
    """A name for a process of this computer, by default our own, `host:pid:start`; no other ever has the same."""
    number = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}:{number}:{_start(number)}"


def is_process_gone(name: str) -> bool:
    """Whether the process of that `process_name` has ended for certain."""
    return is_gone(f"{name}:")


def is_gone(name: str) -> bool:
    """Whether the process of that name has ended for certain; one on another host is never known to have."""
    parts = name.rsplit(":", 3)
    if len(parts) != 4 or parts[0] != socket.gethostname() or not parts[1].isdigit():
        return False
    pid, start = parts[1], parts[2]
    return _start(int(pid)) != start


def _start(pid: int) -> str:
    """When a process started, as the system tells it; `gone` when there is no such process."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        # Field 22, counted after the command name, which may hold spaces. A zombie has ended.
        fields = stat.read_text().rpartition(")")[2].split()
        return "gone" if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        pass
    if Path("/proc/self/stat").exists():
        return "gone"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    return "running"  # no /proc here (macOS): a process of that number lives, which is the cautious answer
