"""The spool: where a run's documents are safe before the ledger has them. One file per intent, lines in order, fsync.

Beside it lie the started marks: one small file per intent, made before anything moves and never removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from athanor.instruments.words import ABORTED, FINISHED, LOST
from athanor.memory.canonical import canonical, parse

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.records import ExperimentState

LIMIT_BYTES = 512 * 1024 * 1024
"""Most that may wait for the ledger before runs fail: hours of ordinary documents."""


class SpoolFailed(RuntimeError):
    """The spool cannot take a document; the run fails rather than lose it."""


class AlreadyStarted(RuntimeError):
    """An intent was started before; it is never started again."""


@dataclass(frozen=True)
class Header:
    """What a spooled run belongs to. `decision` is the decision's nonce: the signature covers that, not its id."""

    intent: str
    experiment: str
    campaign: str
    decision: str
    instrument: str
    simulated: bool


@dataclass(frozen=True)
class Ending:
    """What became of an experiment, and why."""

    state: ExperimentState
    reason: str | None


@dataclass(frozen=True)
class SpooledRun:
    """One spool file as read back: its header, the documents as (name, canonical text), the ending if it has one.

    `damage` says from where on a file cannot be read; what stood before that is here. The header of a file that is
    damaged there is that of its started mark; a file that has neither has no header.
    """

    path: Path
    header: Header | None
    documents: list[tuple[str, str]]
    ending: Ending | None
    damage: str | None = None


@dataclass
class Backlog:
    """Bytes that wait for the ledger, counted by the RunEngine's thread and the writer's."""

    limit: int = LIMIT_BYTES
    waiting: int = 0
    _guard: Lock = field(default_factory=Lock)

    def add(self, count: int) -> int:
        """Count `count` more (or fewer) bytes; how many wait now."""
        with self._guard:
            self.waiting += count
            return self.waiting


class RunSpool:
    """The spool file of one run, open for appending. Used by one thread at a time."""

    def __init__(self, path: Path, header: Header, backlog: Backlog) -> None:
        self.path = path
        self.header = header
        self._backlog = backlog
        self._good = 0  # bytes known to be on disk
        self._broken: str | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolFailed(f"cannot open {path}: {error}") from error
        try:
            self._line({"kind": "header", **vars(header)})
            sync_folder(path.parent)
        except (SpoolFailed, OSError):
            # Left behind, it would be in the way of the next attempt, once there is room.
            self.close()
            path.unlink(missing_ok=True)
            raise

    def append(self, name: str, document: Mapping[str, Any]) -> tuple[str, int]:
        """Put one document on disk; its canonical text and the bytes it takes.

        Raises `SpoolFailed`, from then on for every document.
        """
        if self._backlog.waiting > self._backlog.limit:
            raise SpoolFailed(
                f"{self._backlog.waiting} bytes wait for the ledger (limit {self._backlog.limit}): free the ledger"
            )
        body = canonical(document)
        size = self._line({"kind": "document", "name": name, "body": body})
        self._backlog.add(size)
        return body, size

    def end(self, ending: Ending) -> None:
        """Put the run's ending on disk. Raises `SpoolFailed`."""
        self._line({"kind": "end", "state": ending.state, "reason": ending.reason})

    def close(self) -> None:
        """Close the file; it stays until the ledger has it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _line(self, content: Mapping[str, Any]) -> int:
        if self._broken is not None:
            raise SpoolFailed(self._broken)
        data = json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            self._broken = f"cannot write {self.path}: {error.strerror or error}"
            try:
                os.ftruncate(self._file, self._good)
            except OSError:
                pass  # a torn last line is ignored by the reader
            raise SpoolFailed(self._broken) from error
        self._good += len(data)
        return len(data)


def spool_folder(place: InstrumentPlace) -> Path:
    """The folder of the instrument's spool files."""
    return place.directory / "spool"


def spooled(place: InstrumentPlace) -> list[SpooledRun]:
    """The runs that the ledger does not have yet, oldest first. A torn last line, cut off by a crash, is left out."""
    folder = spool_folder(place)
    if not folder.is_dir():
        return []
    paths = sorted(folder.glob("*.jsonl"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return [run for run in (_read(path, place) for path in paths) if run is not None]


def _read(path: Path, place: InstrumentPlace) -> SpooledRun | None:
    header: Header | None = None
    documents: list[tuple[str, str]] = []
    ending: Ending | None = None
    number = 0
    try:
        for raw in _lines(path):
            number += 1
            line = json.loads(raw)
            kind = line.pop("kind")
            if kind == "header" and header is None:
                header = Header(**line)
            elif kind == "document" and header is not None and ending is None:
                name, body = _text(line, "name"), _text(line, "body")
                parse(body)
                documents.append((name, body))
            elif kind == "end" and header is not None:
                ending = _ending(line)
            else:
                raise ValueError(f"a line of kind {kind!r} is out of place")
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        detail = f"line {number}: {error or 'unreadable'}"
        return SpooledRun(path, header or _marked(place, path), documents, None, detail)
    if header is None:
        if (marked := _marked(place, path)) is not None:
            return SpooledRun(path, marked, [], None, "its header is gone")
        path.unlink(missing_ok=True)  # the crash came before the header was whole: nothing was started
        return None
    return SpooledRun(path, header, documents, ending)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line


def _text(line: Mapping[str, Any], key: str) -> str:
    if not isinstance(line[key], str):
        raise TypeError(f"its {key} is no text")
    return str(line[key])


def _ending(line: Mapping[str, Any]) -> Ending:
    if line["state"] not in FINISHED:
        raise ValueError(f"no run ends as {line['state']!r}")
    return Ending(line["state"], line["reason"])


def _marked(place: InstrumentPlace, path: Path) -> Header | None:
    """The header of the run that a file is named for, from its started mark."""
    try:
        return Header(**json.loads(mark_path(place.directory / "started", path.stem).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def outcome_of(documents: list[tuple[str, str]]) -> Ending | None:
    """What became of a run by its documents: exit status and counted events. None while there is no stop document.

    The RunEngine calls a run that was stopped early a success; only the number of events tells.
    """
    start = next((parse(body) for name, body in documents if name == "start"), None)
    stop = next((parse(body) for name, body in documents if name == "stop"), None)
    if start is None or stop is None:
        return None
    status, reason = stop["exit_status"], stop.get("reason") or None
    if reason is not None and reason.startswith(LOST):
        return Ending("in_doubt", reason)
    if status == "success":
        got, due = stop.get("num_events", {}).get("primary", 0), start["replicates"]
        if got >= due:
            return Ending("completed", None)
        return Ending("stopped_early", f"{got} of {due} readings taken" + (f"; {reason}" if reason else ""))
    if status == "abort":
        return Ending("aborted", (reason or "aborted").removeprefix(ABORTED))
    return Ending("failed", reason or "the run failed without a reason")


class StartedLog:
    """The started marks of one instrument: which intents, experiments and grants have been used. Append-only."""

    def __init__(self, place: InstrumentPlace) -> None:
        self._folder = place.directory / "started"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._intents: set[str] = set()
        self._experiments: set[str] = set()
        self._uses: dict[str, int] = {}
        for path in self._folder.iterdir():
            self._count(path.name, json.loads(path.read_bytes()))

    def has_intent(self, intent: str) -> bool:
        """Whether the intent was started."""
        return intent in self._intents or mark_path(self._folder, intent).exists()

    def has_experiment(self, experiment: str) -> bool:
        """Whether any intent of the experiment was started."""
        return experiment in self._experiments

    def uses(self, decision: str) -> int:
        """How many runs were started under the decision with this nonce."""
        return self._uses.get(decision, 0)

    def mark(self, header: Header) -> None:
        """Mark the intent as started, on disk when this returns. Raises `AlreadyStarted`, or `OSError`."""
        path = mark_path(self._folder, header.intent)
        fresh = self._folder.parent / f".started.{header.intent}"
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, json.dumps(vars(header)).encode())
            os.fsync(file)
            # A link fails when the name exists, and the name never stands without its content.
            os.link(fresh, path)
        except FileExistsError as error:
            raise AlreadyStarted(f"intent {header.intent} was started before") from error
        finally:
            os.close(file)
            fresh.unlink(missing_ok=True)
        self._count(header.intent, vars(header))
        sync_folder(self._folder)

    def _count(self, intent: str, content: Mapping[str, Any]) -> None:
        self._intents.add(intent)
        self._experiments.add(content["experiment"])
        self._uses[content["decision"]] = self._uses.get(content["decision"], 0) + 1


def was_started(place: InstrumentPlace, intent: str) -> bool:
    """Whether a mark says that the intent was started."""
    return mark_path(place.directory / "started", intent).exists()


def mark_path(folder: Path, intent: str) -> Path:
    """Where the mark of an intent lies; raises `ValueError` for an id that is no plain name."""
    if "/" in intent or intent in ("", ".", "..") or "\0" in intent or len(intent) > 200:
        raise ValueError(f"not an intent id: {intent!r}")
    return folder / intent


def sync_folder(folder: Path) -> None:
    """Make a new or removed name in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
