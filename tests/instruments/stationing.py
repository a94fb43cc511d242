"""A station in a folder, and questions to put on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from athanor.instruments.station import Answer, MeasureQuestion, RunLine, SetQuestion, Sheet, Signal, Station
from athanor.instruments.wire import Server
from athanor.memory.places import InstrumentPlace

NOW = datetime.now(UTC)
RUN = RunLine(intent="intent-1", experiment="bench-abcd.3", replicates=2)


def setting(**changes: Any) -> SetQuestion:
    fields: dict[str, Any] = {
        "id": "intent-1.001.furnace",
        "device": "furnace",
        "text": "Set it.",
        "since": NOW,
        "until": NOW + timedelta(hours=8),
        "unit": "degC",
        "value": 450.123,
        "shown": 450,
        "tolerance": 1.0,
    }
    return SetQuestion(**{**fields, **changes})


def measurement(**changes: Any) -> MeasureQuestion:
    fields: dict[str, Any] = {
        "id": "intent-1.002.balance",
        "device": "balance",
        "text": "",
        "since": NOW,
        "until": NOW + timedelta(hours=8),
        "signals": {"yield": Signal(unit="g/L", low=0, high=5), "purity": Signal()},
        "reading": 1,
        "of": 2,
    }
    return MeasureQuestion(**{**fields, **changes})


def answer(question: SetQuestion | MeasureQuestion, verb: str, **changes: Any) -> Answer:
    return Answer(question=question.id, device=question.device, verb=verb, by="anna", at=NOW, **changes)  # type: ignore[arg-type]


def sheet(*questions: SetQuestion | MeasureQuestion, **changes: Any) -> Sheet:
    fields: dict[str, Any] = {"instrument": "bench", "pid": os.getpid(), "run": RUN, "state": "asking"}
    return Sheet(**{**fields, **changes, "questions": questions})


def station(folder: Path) -> tuple[Station, InstrumentPlace]:
    place = InstrumentPlace.of("bench", folder)
    return Station(place), place


@contextmanager
def worker(place: InstrumentPlace) -> Iterator[None]:
    """Somebody listens as a worker does, in this process."""
    place.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = Server(place.sockets / "worker.sock", lambda *_: {})
    try:
        yield
    finally:
        server.close()
