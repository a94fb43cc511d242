"""Starting, finding and ending the controller process of a simulated laboratory."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from athanor.instruments.detached import without_model
from athanor.instruments.laboratory import InstrumentLost, InstrumentUnavailable, ProcessFailed
from athanor.memory.places import InstrumentPlace
from athanor.sandbox.link import ControllerRefused, Link, NoController

if TYPE_CHECKING:
    from athanor.sandbox.options import Options

START_S = 60.0
"""Seconds that a controller may take to start: imports on a loaded machine, not work."""
IDLE_S = 600.0
SOCKET = "controller.sock"
PID = "controller.pid"
LOCK = "controller.lock"
WITNESS = "controller.jsonl"
LOG = "controller.log"


def ensure_controller(place: InstrumentPlace, laboratory: str, options: Options) -> None:
    """Start the controller unless one answers, and give it these options.

    Raises:
        InstrumentUnavailable: It does not start, belongs to another laboratory, or moves under other options.
    """
    try:
        link = _open(place)
    except NoController:
        _start(place, laboratory, options)
        link = _open(place)
    with contextlib.closing(link):
        if link.laboratory != laboratory:
            raise InstrumentUnavailable(
                place.name, f"its controller runs laboratory {link.laboratory}, not {laboratory}", "end that one first"
            )
        try:
            link.call("configure", options=options.to_dict())
        except ControllerRefused as error:
            raise InstrumentUnavailable(place.name, error.detail, "wait for the motion to end, or stop it") from error


def end_controller(place: InstrumentPlace, timeout_s: float = 10.0) -> None:
    """End the controller and wait until it is gone; nothing happens when there is none.

    Raises:
        InstrumentUnavailable: It does not end, or does not even answer (it may be frozen).
    """
    if not (place.sockets / LOCK).exists():
        return
    # What does not answer may still hold the lock: then it is there, and the wait below says so.
    with contextlib.suppress(NoController, InstrumentLost, TimeoutError), contextlib.closing(_open(place)) as link:
        link.call("shutdown")
    deadline = time.monotonic() + timeout_s
    with (place.sockets / LOCK).open("a") as lock:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.01)
            else:
                return
    raise InstrumentUnavailable(place.name, "its controller does not end", "end the process named in controller.pid")


def _open(place: InstrumentPlace) -> Link:
    return Link(place.sockets / SOCKET, client=f"start-{os.getpid()}")


def _start(place: InstrumentPlace, laboratory: str, options: Options) -> None:
    place.directory.mkdir(parents=True, exist_ok=True)
    place.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = place.directory / LOG
    ready, tell = os.pipe()
    command = [sys.executable, "-m", "athanor.sandbox.controller", "--place", str(place.directory)]
    command += ["--laboratory", laboratory, "--options", json.dumps(options.to_dict()), "--ready", str(tell)]
    # One numerical thread: the physics is small, and a process must not be forked with threads running.
    environment = {**without_model(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=(tell,),
                start_new_session=True,
                env=environment,
            )
        os.close(tell)
        tell = -1
        answer = _read_line(ready, START_S)
        process.wait()  # the process started here leaves a detached one behind and ends
    finally:
        os.close(ready)
        if tell >= 0:
            os.close(tell)
    if answer != "ready":
        detail = answer or f"its controller did not start; see {log}"
        raise InstrumentUnavailable(place.name, detail, "correct the cause and try again")


def _read_line(descriptor: int, timeout_s: float) -> str:
    """What the starting controller says: one line, or nothing when it died or took too long."""
    text = b""
    deadline = time.monotonic() + timeout_s
    while not text.endswith(b"\n"):
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(descriptor, 4096) if readable else b""
        if not part:
            break
        text += part
    return text.decode(errors="replace").strip()


# -- inside the controller process -------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a controller detached; returns in the process that the caller waits for as soon as that is done."""
    parser = argparse.ArgumentParser(prog="python -m athanor.sandbox.controller", description=__doc__)
    parser.add_argument("--place", type=Path, required=True, help="the instrument's folder")
    parser.add_argument("--laboratory", required=True, help="name of the simulated laboratory")
    parser.add_argument("--options", default="{}", help="its options, as JSON")
    parser.add_argument("--ready", type=int, default=None, help="descriptor told when it answers; also detaches")
    given = parser.parse_args(arguments)
    if given.ready is not None and os.fork() > 0:
        # The child has a parent that never waits for it: init reaps it, whoever started it may die.
        os._exit(0)
    place = InstrumentPlace.of(given.place.name, given.place.parent.parent)
    place.directory.mkdir(parents=True, exist_ok=True)
    place.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)

    def tell(answer: str) -> None:
        if given.ready is not None:
            with contextlib.suppress(OSError):  # whoever started us may be gone
                os.write(given.ready, answer.encode() + b"\n")
                os.close(given.ready)

    with (place.sockets / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Somebody else started one at the same moment; theirs serves both.
            return _wait_for_other(place, tell)
        return _serve(place, str(given.laboratory), str(given.options), tell)


def _wait_for_other(place: InstrumentPlace, tell: Callable[[str], None]) -> int:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            _open(place).close()
        except NoController:
            time.sleep(0.02)
        else:
            tell("ready")
            return 0
    tell(f"another controller holds {place.sockets / LOCK} but does not answer")
    return 1


def _serve(place: InstrumentPlace, name: str, options: str, tell: Callable[[str], None]) -> int:
    from athanor.instruments.laboratory import load
    from athanor.sandbox.controller import Controller, run_controller
    from athanor.sandbox.laboratory import SimulatedLaboratory
    from athanor.sandbox.options import OptionError, Options
    from athanor.sandbox.witness import Witness

    try:
        laboratory = load(name)
        if not isinstance(laboratory, SimulatedLaboratory):
            raise LookupError(f"{name} is no simulated laboratory")
        parsed = Options.parse(json.loads(options), laboratory.physics)
    except (LookupError, OptionError, ValueError) as error:
        tell(str(error))
        return 2
    with contextlib.suppress(ProcessFailed):
        laboratory.truth({})  # loads what the physics needs, so that the first measurement takes no longer than others
    path = place.sockets / SOCKET
    path.unlink(missing_ok=True)  # the lock is ours: whoever made it is gone
    pid = place.sockets / PID
    pid.write_text(f"{os.getpid()}\n", encoding="utf-8")
    witness = Witness(place.directory / WITNESS)
    idle = float(os.environ.get("ATHANOR_WORKER_IDLE_S", IDLE_S))

    async def serve() -> None:
        controller = Controller(laboratory, parsed, witness)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, controller.ending.set)
        await run_controller(controller, str(path), idle_s=idle, on_ready=lambda: tell("ready"))

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the campaign, not for the hardware
    try:
        asyncio.run(serve())
    finally:
        path.unlink(missing_ok=True)
        pid.unlink(missing_ok=True)
        witness.close()
    return 0
