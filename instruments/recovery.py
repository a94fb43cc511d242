"""The recovery process: it can stop one instrument whatever has become of everything else.

`python -m athanor.instruments.recovery --place DIR` is started with the worker, connects to the laboratory on its own
and serves `recovery.sock`. It outlives the worker it watches: hardware goes on moving when a process dies.

Verbs, one JSON object per line: `hello`, `stop_all {reason, by}`, `positions`, `adopt {worker_pid}`, `shutdown`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from athanor.instruments.abort import Worker
from athanor.instruments.config import Config, settle_control_layer
from athanor.instruments.deadlines import spawn
from athanor.instruments.hardware import Hardware, connect_laboratory
from athanor.instruments.ladder import StopLine, latch_facts
from athanor.instruments.latch import Latch
from athanor.instruments.line import Line, LineClosed
from athanor.memory.places import InstrumentPlace


class Recovery:
    """The process: keeps connected, serves the socket, watches the worker. Ends by itself when nobody needs it."""

    TICK_S = 0.1
    SAVE_S = 1.0

    def __init__(
        self, place: InstrumentPlace, hardware: Hardware, worker_pid: int | None = None, idle_s: float = 600.0
    ) -> None:
        self.place = place
        self.hardware = hardware
        self.latch = Latch(place)
        self.idle_s = idle_s
        self.worker = Worker(worker_pid) if worker_pid is not None else None
        self.line = StopLine(hardware, self.latch, place.sockets / "worker.sock", lambda: self.worker)
        self._path = place.sockets / "recovery.sock"
        self._config = self._config_digest()
        self._busy_at = time.monotonic()
        # Without a worker nobody answers for what moves: stop it once, then leave the instrument to people.
        self._unattended = worker_pid is None
        self._ended = threading.Event()
        self._listener: socket.socket | None = None
        self._inode = 0

    # -- life ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until nobody needs this process any more; connects in the calling thread."""
        self.listen()
        spawn(self._watch, "watch")
        spawn(self._save_latch, "latch")
        self.hardware.keep_connected()

    def listen(self) -> None:
        """Bind the socket (mode 0600, replacing a dead or hung predecessor's) and answer from threads of their own."""
        self.place.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_name(f"recovery.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(fresh))
        fresh.chmod(0o600)
        listener.listen(64)
        self._inode = fresh.stat().st_ino
        fresh.rename(self._path)
        (self.place.sockets / "recovery.pid").write_text(f"{os.getpid()}\n")
        self._listener = listener
        spawn(lambda: self._accept(listener), "accept")

    def end(self) -> None:
        """Stop serving and let `run` return."""
        self._ended.set()
        if self._is_ours():
            self._path.unlink(missing_ok=True)
            (self.place.sockets / "recovery.pid").unlink(missing_ok=True)
        if self._listener is not None:
            self._listener.close()
        self.hardware.close()

    def note(self, text: str) -> None:
        """Add a line to `recovery.log`; a full disk must not matter here."""
        with contextlib.suppress(OSError), (self.place.directory / "recovery.log").open("a") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}\n")

    def _is_ours(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def _has_worker(self) -> bool:
        return self.worker is not None and self.worker.is_alive()

    def _watch(self) -> None:
        had_worker = self._has_worker()
        while not self._ended.wait(self.TICK_S):
            has_worker = self._has_worker()
            if had_worker and not has_worker:
                self._unattended = True
                self._busy_at = time.monotonic()
            had_worker = has_worker
            if has_worker:
                self._busy_at = time.monotonic()
            elif self._unattended and not self.line.is_running:
                self._stop_unattended()
            if not self._is_ours() or not self.place.directory.is_dir():
                self.end()  # Another recovery process has taken over, or the instrument's folder is gone.
            elif not has_worker and time.monotonic() - self._busy_at > self.idle_s and not self.hardware.is_moving():
                self.note("ended: no worker for the idle period")
                self.end()

    def _save_latch(self) -> None:
        """Write a latch that the disk did not take, as soon as it does, unless it has been reset meanwhile."""
        while not self._ended.wait(self.SAVE_S):
            held = self.latch.read() if self.latch.is_held else None
            if held is not None and not held.saved and self.latch.engage(held.reason or "", held.by or "").saved:
                self.note("the latch, so far in memory only, is saved")

    def _stop_unattended(self) -> None:
        """After the worker's death, or without one from the start: whatever moves is stopped, without latching."""
        moving = self.hardware.is_moving()
        if moving is None:
            return  # Not connected (yet): asked again at the next tick.
        if not moving:
            self._unattended = False
            return
        pid = self.worker.pid if self.worker is not None else None
        self.note(f"stopping: worker {pid} died while moving" if pid else "stopping: moving without a worker")
        failures = self.hardware.stop()
        back = self.hardware.read_back()
        self.note(f"stop sent, {failures or 'taken by every axis'}; positions {back.positions}")
        self._busy_at = time.monotonic()

    # -- the socket ---------------------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        while not self._ended.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            spawn(lambda sock=sock: self._converse(sock), "converse")  # type: ignore[misc]

    def _converse(self, sock: socket.socket) -> None:
        try:
            with Line(sock) as line:
                if not line.peer.is_ours:
                    return
                while True:
                    message = line.receive()
                    self._busy_at = time.monotonic()
                    if message.get("verb") == "stop_all":
                        # Tells the caller at once that somebody is at it, before anything that may take time.
                        line.send({"id": message.get("id"), "event": "accepted", "pid": os.getpid()})
                    line.send({"id": message.get("id"), **self.answer(message)}, timeout_s=2.0)
        except (LineClosed, OSError, ValueError):
            return

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        match message.get("verb"):
            case "stop_all":
                reason = str(message.get("reason") or "no reason given")
                by = str(message.get("by") or "unknown")
                report = self.line.stop_all(reason, by)
                spawn(lambda: self.note(f"stop all by {by} ({reason}): {report}"), "note")  # the disk may hang
                return {"ok": True, **report}
            case "positions":
                back = self.hardware.read_back()
                facts = {"connected": self.hardware.is_connected, "moving": self.hardware.is_moving()}
                return {"ok": True, "positions": back.positions, "failures": back.failures, **facts}
            case "hello":
                return {"ok": True, **self._facts()}
            case "adopt":
                return self._adopt(message.get("worker_pid"))
            case "shutdown":
                if self._has_worker():
                    return _refusal("worker_alive", "a worker depends on this process; end the worker first")
                if self.hardware.is_moving():
                    return _refusal("moving", "the instrument moves; stop it first")
                threading.Timer(0.05, self.end).start()
                return {"ok": True}
            case verb:
                return _refusal("unknown_verb", f"no verb {verb!r}: hello, stop_all, positions, adopt, shutdown")

    def _facts(self) -> dict[str, Any]:
        return {
            "name": self.place.name,
            "pid": os.getpid(),
            "connected": self.hardware.is_connected,
            "trouble": self.hardware.trouble,
            "worker_pid": self.worker.pid if self.worker is not None else None,
            "worker_alive": self._has_worker(),
            "latch": latch_facts(self.latch.read()),
        }

    def _adopt(self, pid: object) -> dict[str, Any]:
        if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
            return _refusal("bad_pid", f"worker_pid must be a process id, not {pid!r}")
        if self.worker is not None and self.worker.pid != pid and self.worker.is_alive():
            return _refusal("worker_alive", f"worker {self.worker.pid} is still alive and has this recovery process")
        if self._config_digest() != self._config:
            self.note("ended: the instrument's configuration has changed")
            threading.Timer(0.05, self.end).start()
            return _refusal("config_changed", "this process was connected under another configuration; start a new one")
        self.worker = Worker(pid)
        self._unattended = False
        self._busy_at = time.monotonic()
        return {"ok": True, **self._facts()}

    def _config_digest(self) -> str:
        try:
            return hashlib.sha256((self.place.directory / "config.json").read_bytes()).hexdigest()
        except OSError:
            return ""


def _refusal(code: str, detail: str) -> dict[str, Any]:
    return {"ok": False, "code": code, "detail": detail}


def main(argv: list[str] | None = None) -> None:
    """Run the recovery process of one instrument."""
    parser = argparse.ArgumentParser(prog="python -m athanor.instruments.recovery", description=__doc__)
    parser.add_argument("--place", type=Path, required=True, help="the instrument's folder")
    parser.add_argument("--worker-pid", type=int, help="the worker to watch; later ones announce themselves (adopt)")
    args = parser.parse_args(argv)
    with contextlib.suppress(PermissionError):
        os.setsid()  # Ctrl-C in the campaign's terminal, or the worker's end, must not reach this process.
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    folder = args.place.absolute()
    place = InstrumentPlace.of(folder.name, folder.parent.parent)
    with contextlib.suppress(OSError, ValueError):  # connecting says what is wrong with it, and tries again
        settle_control_layer(Config.read(place).profile)
    hardware = Hardware(lambda: connect_laboratory(place))
    recovery = Recovery(place, hardware, args.worker_pid, float(os.environ.get("ATHANOR_WORKER_IDLE_S", "600")))
    signal.signal(signal.SIGTERM, lambda *_: recovery.end())
    recovery.run()
    os._exit(0)  # A thread may be stuck in a driver for ever; nothing is left to tidy up.


if __name__ == "__main__":
    main()
