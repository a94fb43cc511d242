"""From the spool to the ledger: a thread of its own in a living worker, or anyone who finds a dead worker's spool."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from athanor.instruments.quarantine import Kind, set_aside, take_back
from athanor.instruments.spool import Backlog, Ending, Header, SpooledRun, outcome_of, spooled, was_started
from athanor.instruments.words import FINISHED
from athanor.memory.canonical import parse
from athanor.memory.errors import (
    Duplicate,
    IllegalTransition,
    InvalidRecord,
    LedgerBusy,
    LedgerError,
    LedgerFull,
    NotFound,
)
from athanor.memory.records import Run, SpooledDocument

if TYPE_CHECKING:
    from pathlib import Path

    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace

log = logging.getLogger(__name__)

DIED = "the worker died before the run's end was known"
SPOILED = "what it had written cannot be read whole"

REFUSALS = (NotFound, InvalidRecord, IllegalTransition, Duplicate, ValueError, KeyError, TypeError)
"""What is wrong with a file and will be wrong again, unlike a ledger that is locked, full or not to be opened."""


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
        stop(ledger, uid, parse(body))
    return uid


def stop(ledger: Ledger, uid: str, document: Mapping[str, Any]) -> None:
    """Note a run's end by its stop document."""
    count = sum(document.get("num_events", {}).values())
    ledger.stop_run(uid, _time(document["time"]), document["exit_status"], document.get("reason") or None, count)


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

    None when it was provably never started: then its experiment is left as it is. What the ledger cannot take is set
    aside, so that it is in nobody's way; its experiment is in doubt.

    Raises:
        LedgerBusy, LedgerFull, OSError: nothing can be stored now; it is all still there.
    """
    header = run.header
    if header is None:
        _set_aside(ledger, place, run, "damaged", run.damage or "no header")
        return None
    if header.instrument != place.name:
        _set_aside(ledger, place, run, "foreign", f"it is a run of instrument {header.instrument}")
        return None
    if not is_of(ledger, header.intent):
        _set_aside(ledger, place, run, "foreign", f"this ledger has no intent {header.intent}: it is another ledger's")
        return None
    trouble = run.damage
    try:
        if run.documents:
            store(ledger, header, 0, run.documents)
        ending = run.ending or outcome_of(run.documents)
        if ending is None and (run.documents or was_started(place, header.intent)):
            ending = Ending("in_doubt", DIED if trouble is None else f"{DIED}: {SPOILED} ({trouble})")
        if ending is not None:
            advance(ledger, header.experiment, ending)
    except REFUSALS as error:
        trouble = f"{type(error).__name__}: {error}"
        ending = Ending("in_doubt", f"{DIED}: the ledger does not take its documents ({trouble})")
        _doubt(ledger, header, ending)
        _set_aside(ledger, place, run, "refused", trouble)
        return ending
    if trouble is not None:
        _set_aside(ledger, place, run, "damaged", trouble)
    else:
        run.path.unlink(missing_ok=True)
    return ending


def is_of(ledger: Ledger, intent: str) -> bool:
    """Whether the ledger holds the intent."""
    try:
        ledger.intent(intent)
    except NotFound:
        return False
    return True


def _doubt(ledger: Ledger, header: Header, ending: Ending) -> None:
    try:
        if ledger.intent(header.intent).experiment_id == header.experiment:
            advance(ledger, header.experiment, ending)
    except REFUSALS as error:
        log.warning("%s: %s", header.experiment, error)


def _set_aside(ledger: Ledger, place: InstrumentPlace, run: SpooledRun, kind: Kind, detail: str) -> None:
    """Set a file aside and tell the ledger; one that cannot be moved now stays for the next time."""
    intent, experiment = (run.header.intent, run.header.experiment) if run.header is not None else (None, None)
    try:
        found = set_aside(place, run.path, kind, detail, intent, experiment)
    except OSError as error:
        log.warning("%s cannot be set aside (%s): %s", run.path, detail, error)
        return
    with contextlib.suppress(LedgerError):  # the note beside the file says the same
        ledger.add_event(None, "spool_set_aside", {"instrument": place.name, **asdict(found)})


def drain(ledger: Ledger, place: InstrumentPlace) -> dict[str, str]:
    """Move everything that a dead worker has left into the ledger; the state of each experiment concerned.

    Only for the holder of the instrument's lock.
    """
    found: dict[str, str] = {}
    take_back(place, lambda intent: is_of(ledger, intent))
    for run in spooled(place):
        ending = settle(ledger, place, run)
        if ending is not None and run.header is not None:
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
        # A ledger that does not answer now gets its runs back another time.
        with contextlib.suppress(LedgerError):
            take_back(self._place, lambda intent: is_of(self._open(), intent))
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
                        if header is not None:
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
            if ending is not None and head.run.header is not None:
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
