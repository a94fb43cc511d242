"""Processes of an instrument that outlive whoever starts them. Standard library only."""

from __future__ import annotations

import atexit
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO

MODEL = "ATHANOR_MODEL"
"""How the names of the variables begin that say which language model is asked, and with which key."""

_children: list[subprocess.Popen[bytes]] = []  # kept until they end, so that they are reaped and not forgotten
_lock = threading.Lock()


def start(
    command: Sequence[str],
    output: IO[bytes] | int | None = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, with nothing to read and without the model's variables.

    Args:
        command: what to start.
        output: where it writes, errors included; None: where we do.
        environment: what it is given instead of ours, the model's variables included where it is to have them.

    Raises:
        OSError: it cannot be started.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        env=without_model() if environment is None else dict(environment),
    )
    reap()
    with _lock:
        _children.append(process)
    return process


def reap() -> None:
    """Let go of those that have ended; done at every start as well."""
    with _lock:
        _children[:] = [child for child in _children if child.poll() is None]


@atexit.register
def _let_go() -> None:
    reap()
    for child in _children:
        child.returncode = 0  # outlives us on purpose: nobody is to be told that it was forgotten


def without_model(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment, by default our own, without the model's variables.

    Drivers are somebody else's code and live longer than a campaign: they have no use for its key.
    """
    given = os.environ if environment is None else environment
    return {name: value for name, value in given.items() if not name.startswith(MODEL)}
