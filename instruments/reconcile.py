"""After a crash: bring the ledger in line with what the workers of an instrument, dead or alive, have really done.

Asked are the spool, the started marks, the living worker and the documents that the ledger has. What has an end gets
it; what was started and has none is in doubt, and only a person says what came of it. Nothing is ever run again here.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal

from athanor.instruments.config import take_lock
from athanor.instruments.quarantine import SetAside, aside, take_back
from athanor.instruments.spool import Ending, outcome_of, spool_folder, was_started
from athanor.instruments.wire import Client, Message, WorkerLost
from athanor.instruments.writer import DIED, advance, drain, is_of, stop
from athanor.memory.canonical import parse

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.records import Experiment

LOCK_S = 0.5
"""Seconds for a dying process's lock to be let go after its socket was closed."""
STORE_S = 2.0
"""Seconds for a living worker to store the end of a run whose spool file is gone already."""

Kind = Literal["stored", "running", "storing", "waiting", "in_doubt", "set_aside"]


@dataclass(frozen=True)
class Found:
    """What was found out about one experiment, or one file that was set aside."""

    kind: Kind
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.detail}"


def drain_dead(ledger: Ledger, place: InstrumentPlace, retry: bool = False) -> dict[str, str] | None:
    """Move a dead worker's spool into the ledger; what became of each experiment. None while a worker lives.

    `retry` also tries again what the ledger had refused before.
    """
    deadline = time.monotonic() + LOCK_S
    with _undisturbed(place, deadline) as handle:
        if handle is None:
            return None
        if retry:
            take_back(place, lambda intent: is_of(ledger, intent), ("foreign", "refused"))
        return drain(ledger, place)


@contextmanager
def _undisturbed(place: InstrumentPlace, deadline: float) -> Iterator[int | None]:
    """Keep every worker from running and from being started; None when one runs, or is being started now."""
    place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (place.directory / "worker.start").open("a") as start:
        handle = None
        while (handle := _both(place, start)) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            yield handle
        finally:
            if handle is not None:
                os.close(handle)


def _both(place: InstrumentPlace, start: IO[str]) -> int | None:
    try:
        fcntl.flock(start, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    handle = take_lock(place)
    if handle is None:
        fcntl.flock(start, fcntl.LOCK_UN)
    return handle


def reconcile(ledger: Ledger, place: InstrumentPlace, retry: bool = False) -> list[Found]:
    """Look at every run of this instrument that has no end; what was found, for every experiment it concerns.

    A living worker that owns a run goes on with it. What a dead one has spooled is stored. What was never started
    stays dispatched and may be dispatched again. What was started and has no end is in doubt.

    Args:
        ledger: the campaigns' ledger.
        place: the instrument.
        retry: whether to try again what the ledger had refused before.

    Raises:
        WorkerLost: the worker hangs, so that nobody knows what it does; nothing was changed.
    """
    before = {item.file for item in aside(place)}
    drained = drain_dead(ledger, place, retry)
    found = [
        Found("in_doubt" if state == "in_doubt" else "stored", name, f"{state}, from the spool of a worker that died")
        for name, state in (drained or {}).items()
    ]
    facts = _worker(place) if drained is None else None
    for campaign in ledger.campaigns():
        if campaign.instrument == place.name:
            for experiment in ledger.experiments(campaign.id, states=["dispatched", "running"]):
                found.append(_look(ledger, place, experiment, facts, has_worker=drained is None))
    return found + [_told(item) for item in aside(place) if item.file not in before]


def _look(
    ledger: Ledger, place: InstrumentPlace, experiment: Experiment, facts: Message | None, has_worker: bool
) -> Found:
    name = experiment.id
    if facts is not None and facts["experiment"] == name:
        return Found("running", name, f"being run by worker {facts['pid']}")
    if facts is not None and (why := facts.get("unstored", {}).get(name)) is not None:
        return Found("storing", name, f"ended, and the ledger does not take its documents: {why}")
    intent = ledger.intent_for(name)
    if intent is None or not (was_started(place, intent.id) or ledger.run_for(name) is not None):
        return Found("waiting", name, "not started, may be dispatched again")
    path = spool_folder(place) / f"{intent.id}.jsonl"
    deadline = time.monotonic() + STORE_S
    # A worker removes the file when the ledger has everything, but says of an early refusal a moment later.
    while has_worker and ledger.experiment(name).state in ("dispatched", "running"):
        if path.exists() or _is_run(place, name):
            return Found("storing", name, "ended, its worker is storing it")
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    state = ledger.experiment(name).state
    if state not in ("dispatched", "running"):
        return Found("in_doubt" if state == "in_doubt" else "stored", name, state)
    run = ledger.run_for(name)
    documents = [(item.name, item.body) for item in ledger.documents(run.uid)] if run is not None else []
    ending = outcome_of(documents)
    if ending is None:
        advance(ledger, name, Ending("in_doubt", DIED))
        return Found("in_doubt", name, "started and never ended: in doubt")
    if run is not None and run.stopped_at is None:
        stop(ledger, run.uid, parse(documents[-1][1]))
    advance(ledger, name, Ending("running", None))
    advance(ledger, name, ending)
    return Found("stored", name, f"{ending.state}, by the documents in the ledger")


def _worker(place: InstrumentPlace) -> Message | None:
    """What the living worker says of itself; None when none answers. Raises `WorkerLost` when it hangs."""
    try:
        client = Client(place.sockets / "worker.sock")
    except WorkerLost as error:
        if error.hung:
            raise
        return None
    try:
        return client.call("hello", timeout_s=2.0)
    except WorkerLost as error:
        if error.hung:
            raise
        return None
    finally:
        client.close()


def _is_run(place: InstrumentPlace, experiment: str) -> bool:
    facts = _worker(place)
    return facts is not None and facts["experiment"] == experiment


def _told(item: SetAside) -> Found:
    return Found("set_aside", item.file, f"set aside as {item.kind}: {item.detail}")
