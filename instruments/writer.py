"""From the spool to the ledger: a thread of its own in a living worker, or anyone who finds a dead worker's spool."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from athanor.instruments.spool import Backlog, Ending, Header, SpooledRun, outcome_of, spooled, was_started
from athanor.instruments.words import FINISHED
from athanor.memory.canonical import parse
from athanor.memory.errors import IllegalTransition, LedgerBusy, LedgerFull
from athanor.memory.records import Run, SpooledDocument

if TYPE_CHECKING:
    from pathlib import Path

    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace

log = logging.getLogger(__name__)

DIED = "the worker died before the run's end was known"


def store(ledger: Ledger, header: Header, first: int, documents: list[tuple[str, str]], uid: str | None = None) -> str:
    """Put consecutive documents of a run into the ledger, with its run row and the change to `running`; the run's uid.

    `first` is the position of the first of them. May be repeated: what is there is left alone.
    """
    if first == 0:
        start = parse(documents[0][1])
        uid = str(start["uid"])
        if ledger.run_for(header.experiment) is None:
            ledger.start_run(
                Run(
                    uid=uid,
                    experiment_id=header.experiment,
                    intent_id=header.intent,
                    instrument=header.instrument,
                    simulated=header.simulated,
                    started_at=_time(start["time"]),
                )
            )
        advance(ledger, header.experiment, Ending("running", None))
    assert uid is not None
    ledger.ingest_documents(
        [
            SpooledDocument(run_uid=uid, position=position, name=name, body=body)
            for position, (name, body) in enumerate(documents, start=first)
        ]
    )
    name, body = documents[-1]
    if name == "stop":
        stop = parse(body)
        count = sum(stop.get("num_events", {}).values())
        ledger.stop_run(uid, _time(stop["time"]), stop["exit_status"], stop.get("reason") or None, count)
    return uid


def advance(ledger: Ledger, experiment: str, ending: Ending) -> None:
    """Change an experiment's state; a change that is already made, or that came too late, is left as it is."""
    found = ledger.experiment(experiment).state
    if found not in FINISHED and found != ending.state:
        try:
            ledger.set_experiment_state(experiment, ending.state, reason=ending.reason, expect={found})
            return
        except IllegalTransition:
            changed = ledger.experiment(experiment).state
            if changed == found:
                raise  # the rules do not allow it, and nobody else was faster
            found = changed
    if found != ending.state and ending.state != "running":
        log.warning("%s is %s and stays so, not %s: %s", experiment, found, ending.state, ending.reason)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def settle(ledger: Ledger, place: InstrumentPlace, run: SpooledRun) -> Ending | None:
    """Move a dead worker's run into the ledger and remove it from the spool; what became of its experiment.

    None when it was provably never started: then its experiment is left as it is.
    """
    if run.documents:
        store(ledger, run.header, 0, run.documents)
    ending = run.ending or outcome_of(run.documents)
    if ending is None and was_started(place, run.header.intent):
        ending = Ending("in_doubt", DIED)
    if ending is not None:
        advance(ledger, run.header.experiment, ending)
    run.path.unlink(missing_ok=True)
    return ending


def drain(ledger: Ledger, place: InstrumentPlace) -> dict[str, str]:
    """Move everything that a dead worker has left into the ledger; the state of each experiment concerned.

    Only for the holder of the instrument's lock.
    """
    found: dict[str, str] = {}
    for run in spooled(place):
        ending = settle(ledger, place, run)
        if ending is not None:
            found[run.header.experiment] = ending.state
    return found


@dataclass(frozen=True)
class _Document:
    header: Header
    name: str
    body: str
    size: int


@dataclass(frozen=True)
class _End:
    header: Header
    ending: Ending
    path: Path | None  # the spool file to remove; None: only the state changes


@dataclass(frozen=True)
class _Left:
    run: SpooledRun


_Item = _Document | _End | _Left


class Writer:
    """Takes what a worker has spooled and moves it into the ledger, in order; retries for as long as it is locked."""

    RETRY_S = 0.2

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        place: InstrumentPlace,
        backlog: Backlog,
        on_stored: Callable[[str, str], None],
    ) -> None:
        self._open = ledger
        self._place = place
        self._backlog = backlog
        self._on_stored = on_stored
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._positions: dict[str, tuple[str, int]] = {}  # intent → run uid, next position
        self._broken: set[str] = set()
        self.unstored: dict[str, str] = {}
        """Experiments whose documents the ledger has refused, and why: they stay in the spool."""
        self._ended = threading.Event()
        self.trouble: str | None = None
        """Why the ledger does not take anything now, or None."""
        self._thread = threading.Thread(target=self._work, name="ledger-writer", daemon=True)

    def start(self) -> None:
        """Begin with what an earlier worker left behind."""
        for run in spooled(self._place):
            self._queue.put(_Left(run))
        self._thread.start()

    def document(self, header: Header, name: str, body: str, size: int) -> None:
        """Hand over a document that is in the spool."""
        self._queue.put(_Document(header, name, body, size))

    def end(self, header: Header, ending: Ending, path: Path | None) -> None:
        """Hand over what became of an experiment; `path`, its spool file, is removed when the ledger has everything."""
        self._queue.put(_End(header, ending, path))

    def finish(self, timeout_s: float) -> bool:
        """Let the thread end after what it has; whether it did in time. What it has not done stays in the spool."""
        self._queue.put(None)
        return self._ended.wait(timeout_s)

    def _work(self) -> None:
        for batch in self._batches():
            while not self._is_broken(batch):
                try:
                    self._write(batch)
                    self.trouble = None
                    break
                except (LedgerBusy, LedgerFull, OSError) as error:  # it will pass
                    self._note(error)
                    time.sleep(self.RETRY_S)
                except Exception as error:
                    # Nothing is lost: the spool file stays, and the next worker tries again.
                    self._note(error)
                    for item in batch:
                        header = item.run.header if isinstance(item, _Left) else item.header
                        self._broken.add(header.intent)
                        self.unstored[header.experiment] = str(self.trouble)
                    log.exception("the ledger did not take a run's documents")
                    break
        self._ended.set()

    def _is_broken(self, batch: list[_Item]) -> bool:
        head = batch[0]
        return not isinstance(head, _Left) and head.header.intent in self._broken

    def _note(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self.trouble:
            log.warning("ledger: %s", text)
        self.trouble = text

    def _batches(self) -> Iterator[list[_Item]]:
        """Items as they come; consecutive documents of one run together."""
        batch: list[_Item] = []
        while True:
            item = self._queue.get()
            while True:
                together = item is not None and _is_more(batch, item)
                if not together and batch:
                    yield batch
                    batch = []
                if item is None:
                    return
                batch.append(item)
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            yield batch
            batch = []

    def _write(self, batch: list[_Item]) -> None:
        head = batch[0]
        if isinstance(head, _Left):
            ending = settle(self._open(), self._place, head.run)
            if ending is not None:
                self._on_stored(head.run.header.experiment, ending.state)
        elif isinstance(head, _End):
            advance(self._open(), head.header.experiment, head.ending)
            if head.path is not None:
                head.path.unlink(missing_ok=True)
                self._positions.pop(head.header.intent, None)
            self._on_stored(head.header.experiment, head.ending.state)
        else:
            documents = [item for item in batch if isinstance(item, _Document)]
            uid, first = self._positions.get(head.header.intent, (None, 0))
            uid = store(self._open(), head.header, first, [(item.name, item.body) for item in documents], uid)
            self._positions[head.header.intent] = (uid, first + len(documents))
            self._backlog.add(-sum(item.size for item in documents))
            if documents[0].name == "start":
                self._on_stored(head.header.experiment, "running")


def _is_more(batch: list[_Item], item: _Item) -> bool:
    return bool(
        batch
        and isinstance(item, _Document)
        and isinstance(batch[-1], _Document)
        and batch[-1].header.intent == item.header.intent
    )
