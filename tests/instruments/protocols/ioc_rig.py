"""A rig whose server is a process of its own: the plant stays here, the process serves it.

Both talk in JSON lines. Here -> there: {"set": {pv: value}, "bad": whether measured is, "id": n}, {"done": n}.
There -> here: {"ready": true}, {"ack": n}, {"put": pv, "value": value, "id": n}, which waits for its `done`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from athanor.instruments.protocols.client import SignalSpec
from tests.freezing import freeze
from tests.instruments.protocols.conformance import Plant, Rig

ROOT = Path(__file__).parents[3]
START_S = 20.0
TICK_S = 0.01
SHOWN = frozenset({"measured", "label", "count", "is_good"})


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port on loopback that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ShownPlant(Plant):
    """A plant that says when a test changes what is measured."""

    def __init__(self) -> None:
        self.show: Callable[[], None] = lambda: None
        super().__init__()

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in SHOWN:
            self.show()


class IocRig(Rig):
    """Serves the plant from `module`, run as a child process that SIGSTOP stalls and SIGKILL drops."""

    module: ClassVar[str]
    has_quality = True
    prefix = "RIG:"

    plant: ShownPlant

    def __init__(self) -> None:
        super().__init__()
        self.plant = ShownPlant()
        self.options = {"probe": self.prefix + "MEASURED"}
        self.puts: list[tuple[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None
        self._writing = threading.Lock()
        self._showing = threading.Lock()
        self._acknowledged = threading.Condition()
        self._last_sent = 0
        self._last_acknowledged = 0
        self._is_ready = False
        self._is_stalled = False
        self._shown: dict[str, Any] = {}
        self._over = threading.Event()

    # -- what the rig promises --------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """What the server is told by its environment."""
        raise NotImplementedError

    def signals(self) -> dict[str, SignalSpec]:
        name = self.prefix.__add__
        return {
            "setpoint": SignalSpec(read=name("SETPOINT"), write=name("SETPOINT")),
            "readback": SignalSpec(read=name("READBACK")),
            "moving": SignalSpec(read=name("MOVING"), type="bool"),
            "stop": SignalSpec(write=name("STOP"), type="int"),
            "measured": SignalSpec(read=name("MEASURED")),
            "label": SignalSpec(read=name("LABEL"), type="str"),
            "count": SignalSpec(read=name("COUNT"), type="int"),
            "nowhere": SignalSpec(read=name("NOWHERE")),
        }

    def start(self) -> None:
        self._serve()
        self.plant.show = self._show_and_wait
        threading.Thread(target=self._tick, name="plant", daemon=True).start()

    def drop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            with self._writing:
                assert process.stdin is not None
                process.stdin.close()
        self._is_stalled = False

    def restore(self) -> None:
        self._serve()

    def stall(self) -> None:
        assert self._process is not None
        self._is_stalled = True
        with self._writing:
            freeze(self._process.pid)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)
        self._is_stalled = False
        self._show_and_wait()

    def close(self) -> None:
        self._over.set()
        self.plant.show = lambda: None
        self.drop()

    # -- the process ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
        self._is_ready = False
        self._shown = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module, self.prefix],
            cwd=ROOT,
            env=environment | self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._listen, args=(self._process,), name="listener", daemon=True).start()
        with self._acknowledged:
            assert self._acknowledged.wait_for(lambda: self._is_ready, START_S), "the server does not start"
        self._send({"set": {"SETPOINT": self.plant.target}})
        self._show_and_wait()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                said = json.loads(line)
                if "put" in said:
                    self._take(said["put"], said["value"])
                    self._show()
                    self._send({"done": said["id"]})
                    continue
                with self._acknowledged:
                    self._is_ready = self._is_ready or "ready" in said
                    self._last_acknowledged = max(self._last_acknowledged, said.get("ack", 0))
                    self._acknowledged.notify_all()

    def _take(self, name: str, value: Any) -> None:
        self.puts.append((name, value))
        if name == "SETPOINT":
            self.plant.move(value)
        elif name == "STOP":
            self.plant.stop()

    def _show(self) -> None:
        """Serve what has changed, and nothing else: clients write to some of the PVs too."""
        plant = self.plant
        with self._showing:
            now = {
                "READBACK": plant.position,
                "MOVING": plant.is_moving,
                "MEASURED": plant.measured,
                "LABEL": plant.label,
                "COUNT": plant.count,
            }
            seen = {**now, "MEASURED": (plant.measured, plant.is_good)}
            news = {name: now[name] for name in now if self._shown.get(name) != seen[name]}
            self._shown = seen
            if news:
                self._send({"set": news, "bad": not plant.is_good})

    def _show_and_wait(self) -> None:
        """What the test has changed is served when this returns; a stalled or dropped server learns it later."""
        self._show()
        if self._process is None or self._is_stalled:
            return
        number = self._last_sent
        with self._acknowledged:
            assert self._acknowledged.wait_for(lambda: self._last_acknowledged >= number, START_S)

    def _send(self, what: dict[str, Any]) -> None:
        with self._writing:
            process = self._process
            if process is None or process.stdin is None or process.stdin.closed:
                return
            self._last_sent += 1
            try:
                process.stdin.write(json.dumps({**what, "id": self._last_sent}) + "\n")
                process.stdin.flush()
            except BrokenPipeError:
                return

    def _tick(self) -> None:
        while not self._over.wait(TICK_S):
            if self._process is not None and self._is_ready and not self._is_stalled:
                self._show()
