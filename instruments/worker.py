"""The worker process of one instrument: it alone owns the devices, and it runs nothing that was not approved.

`python -m athanor.instruments.worker --place DIR --ledger URL --gate-key FILE` reads `config.json` in the instrument's
folder, holds the instrument's lock for life and serves `worker.sock`. It outlives the campaign that started it. What it
answers stands in `requests`. Events: `heartbeat` every quarter second, `state`, and `stored` when the ledger has a new
state.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from athanor.instruments.config import Config, settle_control_layer, take_lock
from athanor.instruments.deadlines import spawn
from athanor.instruments.diary import Diary
from athanor.instruments.keeper import RecoveryKeeper
from athanor.instruments.laboratory import Devices, InstrumentUnavailable, Laboratory, load
from athanor.instruments.latch import Latch
from athanor.instruments.requests import Requests
from athanor.instruments.safeguards import Safeguards
from athanor.instruments.spool import Backlog, Ending
from athanor.instruments.wire import BEAT_S, Message, Server
from athanor.instruments.words import LOST
from athanor.memory.places import InstrumentPlace

if TYPE_CHECKING:
    from athanor.instruments.by_hand import ByHand
    from athanor.instruments.dispatch import Dispatcher
    from athanor.instruments.engine import Engine
    from athanor.instruments.takeover import TakeOver
    from athanor.instruments.writer import Writer
    from athanor.memory.ledger import Ledger
    from athanor.memory.signing import PublicKey

log = logging.getLogger(__name__)

WARM = ("athanor.instruments.dispatch", "athanor.instruments.writer", "athanor.memory.ledger")
WATCH_S = 0.1
NOTE_S = 2.0
"""Seconds between two notes of refusals in the journal."""
LEAVE_S = 5.0
"""Seconds for the ledger to take what is spooled when the worker leaves; the rest stays in the spool."""


class Worker:
    """The process: control threads that never wait for the RunEngine or the ledger, and everything they hold."""

    queue: str | None = None
    """Through what else experiments come, when it is not this worker's socket."""

    def __init__(self, place: InstrumentPlace, ledger_url: str, gate_key: Path) -> None:
        self.place = place
        self.safeguards = Safeguards(place)
        self.config = Config.read(place)
        self.profile = self.config.profile
        settle_control_layer(self.profile)
        self.digest = self.config.digest(ledger_url, gate_key)
        self.latch = Latch(place)
        self.latch.create()
        self.ending = threading.Event()
        self._ledger_url = ledger_url
        self._gate_key = gate_key
        self._ledger: Ledger | None = None
        self._ledger_guard = threading.Lock()
        self._laboratory: Laboratory | None = None
        self._devices: Devices | None = None
        self.engine: Engine | None = None
        self._writer: Writer | None = None
        self.dispatcher: Dispatcher | None = None
        self.gate: PublicKey | None = None
        self.takeover: TakeOver | None = None
        self.by_hand: ByHand | None = None
        self.state = "starting"
        self.is_parked = False
        self.lost: str | None = None
        self.asked_by: str | None = None
        """Who has last asked for a pause."""
        self.diary = Diary(self.ledger)
        self.recovery = RecoveryKeeper(place)
        self.requests = Requests(self)
        self.server = Server(place.sockets / "worker.sock", self.requests.handle)
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    # -- life ----------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect everything. Raises `InstrumentUnavailable` and whatever else makes the instrument unusable."""
        # Imports take longest here: they go on while the laboratory's controller starts.
        warm = spawn(lambda: [import_module(name) for name in WARM], "warm")
        from athanor.instruments.trust import trusted_gate

        self.gate = trusted_gate(self.place, self._gate_key)
        self._laboratory = load(self.profile.laboratory)
        self._laboratory.start(self.place, self.config.options)
        self.recovery.start()
        warm.result()
        from athanor.instruments.by_hand import ByHand
        from athanor.instruments.dispatch import Dispatcher
        from athanor.instruments.takeover import TakeOver
        from athanor.instruments.writer import Writer

        self.takeover = TakeOver(self.place, self.gate)
        self.engine = self._make_engine(self._on_engine)
        self._devices = self._laboratory.connect(self.place, self.config.options)
        self.engine.attach(self._devices)
        backlog = Backlog()
        self._writer = Writer(self.ledger, self.place, backlog, self._on_stored)
        self.dispatcher = Dispatcher(
            self.place, self.profile, self.latch, self.gate, self.engine, self._writer, backlog, self.ledger
        )
        self.by_hand = ByHand(self.place, self.profile, self.latch, self.gate, self.takeover, self.engine, self.tell)
        self._writer.start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        self.set_state("parked" if self.is_parked else "idle")

    def _make_engine(self, on_state: Callable[[str], None]) -> Engine:
        from athanor.instruments.engine import Engine

        return Engine(self.profile, on_state, self.latched, self.safeguards)

    def serve(self, idle_s: float | None, lock: int) -> None:
        """Serve until told to end, or the hardware or the instrument's folder is gone.

        If `idle_s` is given, also until nobody has been here for so many seconds. `lock` is the open lock file.
        """
        noted = time.monotonic()
        while not self.ending.wait(0.5):
            if time.monotonic() > noted + NOTE_S:
                noted = time.monotonic()
                self._note_refusals()
            unused = self.engine is None or self.engine.in_hand is None
            if idle_s is not None and unused and self.server.unused_s() > idle_s:
                log.info("ended: nobody has been here for %g s", idle_s)
                break
            if unused and os.fstat(lock).st_nlink == 0:
                log.info("ended: the folder of the instrument was deleted")
                break
        self.set_state("leaving")

    def leave(self) -> None:
        """Let the ledger take what it can, and close. What it has not taken stays in the spool."""
        if self.engine is not None and (found := self.engine.in_hand) is not None:
            self.engine.abort("the worker ends")
            found.over.wait(2.0)
        if self._writer is not None and not self._writer.finish(LEAVE_S):
            log.warning("the ledger did not take everything: it stays in the spool (%s)", self._writer.trouble)
        self._note_refusals()
        self.diary.finish(LEAVE_S)
        if self._devices is not None:
            spawn(self._devices.close, "close").exception(2.0)
        if self.lost is None:
            self.recovery.end()
            if self.profile.simulated and self._laboratory is not None:
                self._laboratory.shutdown(self.place)
        self.server.close()

    def ledger(self) -> Ledger:
        """The ledger, opened when it is first needed."""
        with self._ledger_guard:
            if self._ledger is None:
                from athanor.memory.ledger import Ledger

                self._ledger = Ledger.open(self._ledger_url)
            return self._ledger

    # -- what is told --------------------------------------------------------------------------------------------------

    def facts(self) -> Message:
        """The worker's state as every answer and heartbeat tells it."""
        job = self.engine.job if self.engine is not None else None
        return {
            # The watch sees a loss within a tenth of a second; who asks in between is not told that all is well.
            "state": "lost" if self.state != "leaving" and not self.is_connected() else self.state,
            "experiment": job.context.experiment if job is not None else None,
            "campaign": job.spool.header.campaign if job is not None else None,
            "is_pausing": job is not None and job.wants_pause and self.state != "paused",
            "is_preparing": self.requests.is_preparing,
            "recovery": self.recovery.missing,
            "ledger": self._writer.trouble if self._writer is not None else None,
            "unstored": dict(self._writer.unstored) if self._writer is not None else {},
            "refusals": self.safeguards.tally.counts(),
            "t": time.time(),
        }

    def is_connected(self) -> bool:
        """Whether the hardware is there, as far as is known; while it is being connected there is nothing to lose."""
        if self._devices is None:
            return True
        try:
            return self._devices.is_connected()
        except Exception as error:  # noqa: BLE001 - a driver that cannot even say so is not connected
            log.warning("is_connected: %s", error)
            return False

    def _beat(self) -> None:
        while True:
            self.server.broadcast({"event": "heartbeat", **self.facts()})
            time.sleep(BEAT_S)

    def set_state(self, state: str) -> None:
        """Enter a state and tell everybody; what is lost or leaving stays so."""
        if self.state == "leaving" or (self.state == "lost" and state != "leaving"):
            return
        self.state = state
        self.server.broadcast({"event": "state", **self.facts()})

    def _on_engine(self, state: str) -> None:
        if state == "paused":
            self.tell("run_paused", by=self.asked_by)
        self.set_state("parked" if state == "idle" and self.is_parked else state)

    def tell(self, kind: str, **body: Any) -> None:
        """Have an event of the run in hand, or of the site, written into the journal."""
        job = self.engine.job if self.engine is not None else None
        about = {"experiment": job.context.experiment} if job is not None else {}
        campaign = job.spool.header.campaign if job is not None else None
        self.diary.tell(campaign, kind, {"instrument": self.place.name, **about, **body})

    def _note_refusals(self) -> None:
        """Have what was refused since the last note written into the journal: one event, however many they were."""
        if counts := self.safeguards.tally.take():
            self.diary.tell(None, "refusals", {"instrument": self.place.name, "counts": counts})

    def _on_stored(self, experiment: str, state: str) -> None:
        self.server.broadcast({"event": "stored", "experiment": experiment, "stored": state})

    def latched(self) -> str | None:
        """Why Stop All is latched, or None when it is not."""
        state = self.latch.read()
        return (state.reason or "no reason given") if state.engaged else None

    # -- watching ------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """See within a tenth of a second when the hardware has gone or somebody has used Stop All."""
        assert self.engine is not None
        while not self.ending.wait(WATCH_S):
            if not self.is_connected():
                self._lose("the connection to the hardware dropped")
                return
            found = self.engine.in_hand
            if found is not None and found.ends is None and (reason := self.latched()) is not None:
                self.engine.abort(f"Stop All is latched: {reason}")

    def _lose(self, cause: str) -> None:
        """The hardware is gone: say so, in the ledger too, give the run a moment to end, and leave."""
        assert self.engine is not None and self._writer is not None
        self.lost = cause
        job = self.engine.lose(cause)
        self.set_state("lost")
        if job is not None:
            job.over.wait(0.5)
            # Also if the RunEngine hangs on the lost device: nobody has to wait for that to learn of it.
            if not job.over.is_set():
                self._writer.end(job.spool.header, Ending("in_doubt", f"{LOST}{cause}"), None)
                job.over.wait(2.0)
        self.ending.set()


W = TypeVar("W", bound=Worker)


def begin(kind: type[W], place: InstrumentPlace, ledger_url: str, gate_key: Path) -> W:
    """Make this process the worker of an instrument, whose lock it holds, and connect everything.

    Raises whatever makes the instrument unusable, after a note beside the lock has said so to who waits for it.
    """
    place.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    (place.sockets / "worker.pid").write_text(f"{os.getpid()}\n")
    (place.sockets / "place.json").write_text(json.dumps({"name": place.name, "directory": str(place.directory)}))
    exit_note = place.directory / "worker.exit"
    exit_note.unlink(missing_ok=True)
    try:
        worker = kind(place, ledger_url, gate_key)
        signal.signal(signal.SIGTERM, lambda *_: worker.ending.set())
        worker.open()
    except Exception as error:
        log.exception("the worker could not start")
        remedy = error.remedy if isinstance(error, InstrumentUnavailable) else f"see {place.directory / 'worker.log'}"
        detail = error.detail if isinstance(error, InstrumentUnavailable) else f"{type(error).__name__}: {error}"
        exit_note.write_text(json.dumps({"detail": detail, "remedy": remedy}))
        (place.sockets / "worker.sock").unlink(missing_ok=True)
        raise
    return worker


def end(worker: Worker) -> None:
    """Leave, and end this process."""
    try:
        worker.leave()
    except Exception:
        log.exception("the worker did not leave in good order")
    (worker.place.sockets / "worker.pid").unlink(missing_ok=True)
    logging.shutdown()
    os._exit(0)  # A thread may be stuck in a driver for ever, and the lock must go.


def main(argv: list[str] | None = None) -> int:
    """Run the worker of one instrument; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m athanor.instruments.worker", description=__doc__)
    parser.add_argument("--place", type=Path, required=True, help="the instrument's folder")
    parser.add_argument("--ledger", required=True, help="URL of the ledger")
    parser.add_argument("--gate-key", type=Path, required=True, help="the gate's public key")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("bluesky").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a log that cannot be written must not matter
    # The RunEngine prints, and flushes, while it aborts: on a full disk that would keep it from ending the run.
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
    folder = args.place.absolute()
    place = InstrumentPlace.of(folder.name, folder.parent.parent)
    lock = take_lock(place)
    if lock is None:
        log.error("another worker holds %s", place.name)
        return 3
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)  # Ctrl-C is for the campaign, not for the instrument
    try:
        worker = begin(Worker, place, args.ledger, args.gate_key)
    except Exception:  # noqa: BLE001 - noted and logged where it came from
        os._exit(1)
    idle_s = float(os.environ.get("ATHANOR_WORKER_IDLE_S", "600")) if worker.profile.simulated else None
    worker.serve(idle_s, lock)
    end(worker)
    return 0


if __name__ == "__main__":
    sys.exit(main())
