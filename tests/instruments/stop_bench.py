"""A bench for the tests of the stop: hardware that is a file, so that it moves on whoever dies, and a worker to abuse.

Imported by tests and by the recovery process (as laboratory `file-bench`); run as `python stop_bench.py SOCKET MODE`
it is a worker.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Bench:
    """Axes moving at constant speed; state in one file, replaced atomically."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bench.json"

    def load(self) -> dict[str, dict[str, Any]]:
        return json.loads(self.path.read_text())

    def save(self, axes: dict[str, dict[str, Any]]) -> None:
        fresh = self.path.with_name(f"bench.{os.getpid()}.{threading.get_ident()}")
        fresh.write_text(json.dumps(axes))
        fresh.replace(self.path)

    def lay_out(self, **axes: float) -> None:
        """Axes at rest, named with their position."""
        self.save({name: {"origin": at, "target": at, "began": 0.0, "speed": 1.0} for name, at in axes.items()})

    def move(self, name: str, target: float, speed: float, **manners: Any) -> None:
        axes = self.load()
        axes[name] = {"origin": self.position(name), "target": target, "began": time.time(), "speed": speed, **manners}
        self.save(axes)

    def position(self, name: str) -> float:
        axis = self.load()[name]
        gone = axis["speed"] * (time.time() - axis["began"])
        way = axis["target"] - axis["origin"]
        return axis["target"] if gone >= abs(way) else axis["origin"] + gone * (1 if way > 0 else -1)

    def stop(self, name: str) -> None:
        axes = self.load()
        if axes[name].get("ignores_stop"):
            return
        if axes[name].get("hangs"):
            threading.Event().wait()
        at = self.position(name)
        axes[name] |= {"origin": at, "target": at}
        self.save(axes)

    def is_moving(self) -> bool:
        return any(self.position(name) != axis["target"] for name, axis in self.load().items())


class Axis:
    """Movable by nobody: the bench moves it. `stop` is a coroutine function where the axis says so."""

    _guard = threading.Lock()

    def __init__(self, bench: Bench, name: str) -> None:
        self.name = name
        self._bench = bench
        if name.startswith("async_"):
            self.stop = self._stop_async

    def stop(self, success: bool = False) -> None:
        if self._bench.load()[self.name].get("hangs"):
            threading.Event().wait()
        with self._guard:
            self._bench.stop(self.name)

    async def _stop_async(self, success: bool = False) -> None:
        with self._guard:
            self._bench.stop(self.name)

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": self._bench.position(self.name), "timestamp": time.time()}}


def connect(folder: Path) -> Any:
    bench = Bench(folder)
    return SimpleNamespace(
        axes={name: Axis(bench, name) for name in bench.load()},
        detectors=[],
        prepare_run=None,
        is_moving=bench.is_moving,
        is_connected=bench.path.exists,
        close=lambda: None,
    )


class Laboratory:
    name = "file-bench"

    def connect(self, place: Any, options: Any) -> Any:
        return connect(place.directory)


LABORATORY = Laboratory()


def work(path: str, mode: str) -> None:
    """A worker: `obedient`, `latching` (and says so), `busy` (hears, but never comes to rest), `deaf`."""
    state = {"state": "running"}
    aborts = 0
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(16)
    Path(path).with_name("worker.pid").write_text(f"{os.getpid()}\n")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    log = Path(path).with_name("aborts")

    def beat(sock: socket.socket) -> None:
        try:
            while True:
                sock.sendall(json.dumps({"event": "heartbeat", "experiment": "x.1", "t": 0, **state}).encode() + b"\n")
                time.sleep(0.05)
        except OSError:
            return

    def serve(sock: socket.socket) -> None:
        nonlocal aborts
        for line in sock.makefile("rb"):
            message = json.loads(line)
            if mode == "deaf":
                continue
            aborts += 1
            log.write_text(str(aborts))
            if mode != "busy":
                state["state"] = "idle"
            answer = {"id": message["id"], "ok": True, **({"latched": True} if mode == "latching" else {})}
            sock.sendall(json.dumps(answer).encode() + b"\n")

    while True:
        sock, _ = listener.accept()
        if mode != "deaf":
            threading.Thread(target=beat, args=(sock,), daemon=True).start()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    work(*sys.argv[1:])
