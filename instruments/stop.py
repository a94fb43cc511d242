"""Stop All: the software stop of every instrument on this computer. It is not a safety system.

Standard library only, and nothing between the command and the devices but one socket: no ledger, no approval, no role,
no model. Each instrument's recovery process goes down its ladder; where none answers, this module latches the
instrument, has the worker abort or kills it, and starts a new recovery process to stop the hardware.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from athanor.instruments import detached
from athanor.instruments.abort import Abort, Worker
from athanor.instruments.deadlines import outcome, spawn
from athanor.instruments.latch import Latch, LatchState
from athanor.instruments.line import Line
from athanor.memory.places import InstrumentPlace, PlaceError, home, runtime_dir

NOTICE = (
    "Stop All is a software stop, not a safety system. Where people or equipment are in danger, "
    "use the instrument's own emergency stop."
)
ACCEPT_S = 1.0
"""A recovery process that has not taken the request by then counts as hung."""
REPORT_S = 6.0
"""The end of its ladder, read-back included."""
GRACE_S = 0.5
START_S = 20.0
"""A new recovery process has to load and connect; only a doubly broken instrument waits for that."""
WORKERS = ("athanor.instruments.worker", "bluesky_queueserver", "start-re-manager")
"""What stands in the command of a process that can be a worker: our own, or one of a queue's manager."""
STOPPED, NOT_CONFIRMED, NOTHING_RUNNING = 0, 1, 3


@dataclass(frozen=True)
class StopResult:
    """What became of one instrument; nothing is claimed here that was not seen.

    `confirmed`: the worker is at rest or gone and after that the instrument itself said that nothing moves.
    `latched`: "saved", "memory" (the file could not be written) or "no". `positions` are read back after the stop.
    `worker`: "parked", "killed", "absent" or "not stopped". `steps` says what was done and seen, in order.
    """

    name: str
    directory: str
    is_running: bool
    confirmed: bool
    latched: str
    worker: str
    positions: dict[str, Any]
    elapsed_s: float
    detail: str
    steps: list[str] = field(default_factory=list)


def known_places(runtime: Path | None = None, name: str | None = None) -> list[InstrumentPlace]:
    """Every instrument this user has here: those with a note beside their sockets, and those of the data folder."""
    runtime = runtime_dir() if runtime is None else runtime
    found: dict[Path, InstrumentPlace] = {}
    for note in sorted(runtime.glob("*/place.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            fields = json.loads(note.read_text())
            place = InstrumentPlace(str(fields["name"]), Path(fields["directory"]), note.parent)
            if place.directory.is_dir():  # Else the instrument has been removed, and only its note is left.
                found[place.sockets] = place
    for sock in sorted(runtime.glob("*/recovery.sock")):
        # Its note is lost, but somebody may be listening who can stop an instrument.
        found.setdefault(sock.parent, InstrumentPlace(sock.parent.name, sock.parent, sock.parent))
    for directory in sorted((home() / "instruments").glob("*/")):
        with contextlib.suppress(PlaceError):
            place = InstrumentPlace.of(directory.name)
            found.setdefault(runtime / place.sockets.name, place)
    return [place for place in found.values() if name is None or place.name == name]


def stop_all(
    runtime: Path | None = None,
    name: str | None = None,
    reason: str = "no reason given",
    by: str | None = None,
    on_result: Callable[[StopResult], None] | None = None,
) -> list[StopResult]:
    """Stop and latch every known instrument (or those called `name`), all at the same time.

    `on_result` is called as each one is done. Raises nothing for what an instrument does; `PlaceError` if the folder
    of the sockets cannot be trusted.
    """
    places = known_places(runtime, name)
    done: queue.Queue[StopResult] = queue.Queue()
    who = by or _user()
    for place in places:
        stop = _Stop(place, reason, who)
        threading.Thread(target=lambda stop=stop: done.put(stop.run()), name=place.name, daemon=True).start()
    results = []
    for _ in places:
        result = done.get()
        results.append(result)
        if on_result is not None:
            on_result(result)
    return sorted(results, key=lambda result: (result.name, result.directory))


class _Stop:
    """Stopping one instrument."""

    def __init__(self, place: InstrumentPlace, reason: str, by: str) -> None:
        self.place = place
        self.reason = reason
        self.by = by
        self.began = time.monotonic()
        self.steps: list[str] = []

    def run(self) -> StopResult:
        try:
            report = self._ask_recovery()
            return self._result(report, True) if report is not None else self._without_recovery()
        except Exception as error:  # noqa: BLE001 - one instrument's trouble must not keep the others from being told
            self.steps.append(f"unexpected: {type(error).__name__}: {error}")
            return self._result({"detail": self.steps[-1]}, True)

    # -- the usual way ----------------------------------------------------------------------------------------------

    def _ask_recovery(self) -> dict[str, Any] | None:
        """The recovery process's report, or None when there is none or it does not answer."""
        accepted = False
        try:
            with Line.connect(self.place.sockets / "recovery.sock") as line:
                line.send({"id": 1, "verb": "stop_all", "reason": self.reason, "by": self.by})
                while True:
                    message = line.receive(time.monotonic() + (REPORT_S if accepted else ACCEPT_S))
                    if message.get("event") == "accepted":
                        accepted = True
                    elif message.get("id") == 1:
                        self.steps.append("the recovery process answered")
                        return message if message.get("ok") else None
        except (OSError, ValueError) as error:
            told = "has taken the stop but did not report" if accepted else f"does not answer ({error})"
            self.steps.append(f"the recovery process {told}")
            return None

    # -- without it -------------------------------------------------------------------------------------------------

    def _without_recovery(self) -> StopResult:
        # In a thread of its own: a disk that does not answer must not keep the worker from being stopped.
        saving = spawn(lambda: Latch(self.place).engage(self.reason, self.by), "latch")
        worker, is_worker_gone = self._stop_worker(saving)
        latch, wrong = outcome(saving, time.monotonic() + GRACE_S)
        if latch is None:
            kept = {"engaged": False}
            self.steps.append(f"not latched: {wrong}")
        else:
            kept = {"count": latch.count, "engaged": latch.engaged, "saved": latch.saved}
            self.steps.append(f"latched (count {latch.count})" if latch.saved else f"not latched: {latch.detail}")
        report: dict[str, Any] = {"worker": worker, "latch": kept}
        if worker == "absent" and self._ends_with_its_controller() and not self._has_controller():
            report["detail"] = "nothing is running for this simulated instrument"
            return self._result(report, False)
        fresh = self._fresh_recovery()
        if fresh is not None:
            # The new process sees no worker any more: what became of it was found out here.
            return self._result({**fresh, "worker": worker if is_worker_gone else fresh.get("worker")}, True)
        report["detail"] = "no recovery process: whether the hardware stands still could not be asked"
        return self._result(report, True)

    def _stop_worker(self, saving: Future[LatchState]) -> tuple[str, bool]:
        """Let the worker abort, else kill it. Returns its fate and whether it is known to move nothing more."""
        abort = Abort(self.place.sockets / "worker.sock", self.reason, self.by, time.monotonic() + GRACE_S)
        abort.wait(GRACE_S)
        worker = Worker(abort.pid) if abort.pid is not None else self._worker_by_file()
        if worker is None or not worker.is_alive():
            self.steps.append("no worker is running")
            return "absent", True
        is_latched = abort.has_latched or (saving.done() and saving.result().saved)
        if abort.is_still and is_latched:
            self.steps.append(f"worker {worker.pid} has aborted and says it is {abort.state}")
            return "parked", True
        if worker.kill():
            self.steps.append(f"worker {worker.pid} did not come to rest and was killed")
            return "killed", True
        self.steps.append(f"worker {worker.pid} was sent SIGKILL, but its end was not seen")
        return "not stopped", False

    def _worker_by_file(self) -> Worker | None:
        """The worker named in its pid file, if that number still belongs to a worker."""
        try:
            pid = int((self.place.sockets / "worker.pid").read_text().split()[0])
            command = subprocess.run(
                ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, timeout=1.0, check=False, text=True
            ).stdout
        except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
            return None
        return Worker(pid) if any(name in command for name in WORKERS) else None

    def _ends_with_its_controller(self) -> bool:
        """Whether it is a simulation in a process of this place; one on a line has its process elsewhere."""
        try:
            profile = json.loads((self.place.directory / "config.json").read_text())["profile"]
            return bool(profile["simulated"]) and profile["laboratory"] != "wired"
        except (OSError, ValueError, KeyError, TypeError):
            return not (self.place.directory / "config.json").exists()  # Never configured: nothing to move.

    def _has_controller(self) -> bool:
        try:
            Line.connect(self.place.sockets / "controller.sock").close()
        except TimeoutError:
            return True
        except OSError:
            return False
        return True

    def _fresh_recovery(self) -> dict[str, Any] | None:
        """Start a recovery process and let it stop the hardware; None when that does not come about."""
        command = [sys.executable, "-m", "athanor.instruments.recovery", "--place", str(self.place.directory)]
        try:
            process = detached.start(command)
        except OSError as error:
            self.steps.append(f"a new recovery process could not be started: {error}")
            return None
        deadline = time.monotonic() + START_S
        trouble = "it did not answer"
        for facts in self._greetings(deadline):
            if process.poll():
                trouble = f"it ended at once (status {process.returncode})"
                break
            if facts is None:
                continue
            trouble = str(facts.get("trouble") or trouble)
            if facts.get("connected") or trouble.startswith("not connected"):
                # Ours, or one that the worker has started meanwhile: either can stop the hardware.
                self.steps.append(f"a new recovery process ({facts.get('pid')}) was started")
                return self._ask_recovery()
        self.steps.append(f"a new recovery process was started, but {trouble}")
        return None

    def _greetings(self, deadline: float) -> Iterator[dict[str, Any] | None]:
        """What the recovery process says of itself, again and again until `deadline`."""
        while time.monotonic() < deadline:
            facts = None
            with contextlib.suppress(OSError, ValueError), Line.connect(self.place.sockets / "recovery.sock") as line:
                line.send({"id": 1, "verb": "hello"})
                facts = line.receive(time.monotonic() + ACCEPT_S)
            yield facts
            time.sleep(0.05)

    # -- the result -------------------------------------------------------------------------------------------------

    def _result(self, report: dict[str, Any], is_running: bool) -> StopResult:
        latch = report.get("latch") or {}
        return StopResult(
            name=self.place.name,
            directory=str(self.place.directory),
            is_running=is_running,
            confirmed=bool(report.get("confirmed")),
            latched="no" if not latch.get("engaged") else "saved" if latch.get("saved") else "memory",
            worker=str(report.get("worker") or "unknown"),
            positions=dict(report.get("positions") or {}),
            elapsed_s=round(time.monotonic() - self.began, 3),
            detail=str(report.get("detail") or "no report"),
            steps=self.steps,
        )


def exit_code(results: list[StopResult]) -> int:
    """0 only when something runs, all that runs has confirmed its standstill, and every latch is saved."""
    running = [result for result in results if result.is_running]
    if any(not result.confirmed for result in running) or any(result.latched != "saved" for result in results):
        return NOT_CONFIRMED
    return STOPPED if running else NOTHING_RUNNING


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def _describe(result: StopResult) -> str:
    if not result.is_running:
        head = "NOT RUNNING"
    else:
        head = "STANDSTILL CONFIRMED" if result.confirmed else "STANDSTILL NOT CONFIRMED: go and look"
    latched = {"saved": "latched", "memory": "LATCHED IN MEMORY ONLY", "no": "NOT LATCHED"}[result.latched]
    lines = [f"{result.name}: {head} ({result.elapsed_s:.2f} s), {latched}, worker {result.worker}", result.detail]
    if result.positions:
        lines.append("positions: " + ", ".join(f"{axis} {_number(at)}" for axis, at in result.positions.items()))
    if result.is_running and not result.confirmed:
        lines.extend(result.steps)
    lines.append(result.directory)
    return "\n    ".join(lines) + "\n"


def _number(value: Any) -> str:
    return "not readable" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def main(argv: list[str] | None = None) -> int:
    """`athanor stop-all`. Returns 0 when every running instrument has confirmed its standstill, 1 when one has not,
    3 when nothing was running (known instruments are latched all the same)."""
    parser = argparse.ArgumentParser(
        prog="athanor stop-all",
        description=f"Stop every instrument now, and keep it stopped until somebody resets it. {NOTICE}",
        epilog="Exit status: 0 standstill confirmed, 1 not confirmed for one at least, 3 nothing is running.",
    )
    parser.add_argument("--instrument", metavar="NAME", help="only this instrument")
    parser.add_argument("--reason", default="no reason given", help="why, for the record")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    args = parser.parse_args(argv)
    text = sys.stderr if args.json else sys.stdout

    def say(message: str) -> None:
        with contextlib.suppress(OSError):  # A closed terminal must not end a stop.
            text.write(message + "\n")
            text.flush()

    say(NOTICE)
    try:
        results = stop_all(None, args.instrument, args.reason, on_result=lambda result: say(_describe(result)))
    except PlaceError as error:
        say(f"NOTHING WAS STOPPED: {error}")
        return NOT_CONFIRMED
    code = exit_code(results)
    if code == NOTHING_RUNNING:
        if results:
            say("No instrument is running; those known here are latched.")
        elif args.instrument:
            names = ", ".join(sorted({place.name for place in known_places()})) or "none"
            say(f"NOTHING WAS STOPPED: no instrument is called {args.instrument!r}; known here: {names}.")
        else:
            say("No instrument is running, and none is known here.")
    if results:
        say("Nothing moves until somebody resets the stop, with a reason: athanor reset-stop --help")
    if args.json:
        facts = {
            "confirmed": code == STOPPED,
            "safety_system": False,
            "notice": NOTICE,
            "instruments": [asdict(result) for result in results],
        }
        sys.stdout.write(json.dumps(facts, default=str) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
