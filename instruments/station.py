"""The manual station of an instrument: what a person is asked and what was answered, as files in its folder.

The worker alone writes the sheet of questions; the person's side lays one answer beside each, whole or not at all and
never a second one. A question carries the intent of its run, which is never started twice, so that an answer counts
for no other run; and it lies there whether a worker is alive to read it or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from athanor.instruments.line import Line, LineClosed

Value = float | int | str
Standing = Literal["nothing", "waiting", "orphan", "withdrawn"]

SHEET = "asked.json"
LOOK_S = 0.5
"""Seconds within which a living worker accepts a connection."""


class Placed(Protocol):
    """What is needed of an instrument's place."""

    @property
    def name(self) -> str:
        """The instrument's name."""
        ...

    @property
    def directory(self) -> Path:
        """The instrument's folder."""
        ...

    @property
    def sockets(self) -> Path:
        """The folder of its sockets."""
        ...


class StationError(RuntimeError):
    """Something about the station's files; the message names the file and the remedy."""


class AlreadyAnswered(StationError):
    """Somebody was faster: a question is answered once."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        device = answer.device
        when = f"{answer.at.astimezone():%H:%M:%S}"
        super().__init__(f"{device} was answered already, by {answer.by} at {when}; a question is answered once")


class Part(BaseModel):
    """Base of what lies in the files: immutable, nothing unknown, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Signal(Part):
    """One value to be measured: its unit, and the range outside which nobody believes it."""

    unit: str | None = None
    low: float | None = None
    high: float | None = None


class Question(Part):
    """What every question has. `refused` is why the last answer to it did not count."""

    id: str
    device: str
    text: str
    since: datetime
    until: datetime
    refused: str | None = None


class SetQuestion(Question):
    """An axis that a person is to set: to `value`, written for a person as `shown`, which differs within tolerance."""

    kind: Literal["set"] = "set"
    unit: str | None = None
    value: Value
    shown: Value
    was: Value | None = None
    tolerance: float = 0.0


class MeasureQuestion(Question):
    """Signals that a person is to measure: reading number `reading` of `of`."""

    kind: Literal["measure"] = "measure"
    signals: Annotated[dict[str, Signal], Field(min_length=1)]
    reading: int = 1
    of: int = 1

    @property
    def left(self) -> int:
        """Readings that the run still takes, this one included."""
        return max(1, self.of - self.reading + 1)


AnyQuestion = Annotated[SetQuestion | MeasureQuestion, Field(discriminator="kind")]


class RunLine(Part):
    """The run that asks."""

    intent: str
    experiment: str
    replicates: int

    @property
    def campaign(self) -> str:
        """The campaign's id."""
        return self.experiment.rpartition(".")[0]


class Sheet(Part):
    """Everything that is asked at one moment.

    `asking`: a person is waited for. `withdrawn`: nothing is asked any more, `why` says what came between; what was
    asked last stands there still. `over`: the run has ended.
    """

    instrument: str
    pid: int
    run: RunLine
    state: Literal["asking", "withdrawn", "over"]
    why: str = ""
    questions: tuple[AnyQuestion, ...] = ()


class Answer(Part):
    """What a person said to one question. `done` and `enter` to a setting, `enter` to a measurement, `cannot` to both.

    `value` is where an axis was really set; `rows` are readings by signal, one after the other from number `reading`
    on. `source` says how it came: from the terminal, as words of a command, or from which file with which SHA-256.
    """

    question: str
    device: str
    verb: Literal["done", "enter", "cannot"]
    value: Value | None = None
    rows: tuple[dict[str, float], ...] = ()
    reading: int = 1
    reason: str = ""
    by: Annotated[str, Field(min_length=1, max_length=200)]
    note: Annotated[str, Field(max_length=2000)] = ""
    source: str = "command"
    at: datetime


class Position(Part):
    """Where a person has set an axis."""

    value: Value
    by: str
    at: datetime
    note: str = ""


T = TypeVar("T", bound=Part)


class Station:
    """The files of one instrument's station."""

    def __init__(self, place: Placed) -> None:
        self.name = place.name
        self.folder = place.directory / "station"
        self._socket = place.sockets / "worker.sock"

    # -- the sheet ----------------------------------------------------------------------------------------------------

    def sheet(self) -> Sheet | None:
        """What is asked, None when nothing ever was. Raises `StationError` for a file that cannot be read."""
        return _read(self.folder / SHEET, Sheet)

    def write(self, sheet: Sheet) -> None:
        """Put a sheet in the place of the one before. Raises `OSError`."""
        self._write(SHEET, sheet)

    def standing(self, sheet: Sheet | None) -> Standing:
        """How it stands with a sheet: whether a person is waited for, or the worker that asked is gone."""
        if sheet is None or sheet.state == "over" or not sheet.questions:
            return "nothing"
        if not self._lives(sheet.pid):
            return "orphan"
        return "waiting" if sheet.state == "asking" else "withdrawn"

    def _lives(self, pid: int) -> bool:
        """Whether that worker still listens: its process alone may be a dead one that nobody has buried."""
        try:
            with Line.connect(self._socket, LOOK_S) as line:
                return line.peer.pid in (None, pid)
        except LineClosed:
            return False
        except OSError:  # it does not accept in time: frozen, or busy
            return True

    def withdraw(self, why: str) -> None:
        """Ask for nothing more, from a process other than the one that asked. Never raises: a stop goes on."""
        with contextlib.suppress(OSError, StationError):
            sheet = self.sheet()
            if sheet is not None and sheet.state == "asking":
                self.write(sheet.model_copy(update={"state": "withdrawn", "why": why}))

    # -- answers ------------------------------------------------------------------------------------------------------

    def answer(self, question: str) -> Answer | None:
        """The answer to a question, None as long as there is none. Raises `StationError` for one that is damaged."""
        return _read(self._answer_path(question), Answer)

    def give(self, answer: Answer) -> None:
        """Lay an answer down. Raises `AlreadyAnswered`, or `OSError`."""
        target = self._answer_path(answer.question)
        fresh = self._fresh(target.parent, answer)
        try:
            os.link(fresh, target)  # whole, and only if there is none
        except FileExistsError:
            there = self.answer(answer.question)
            assert there is not None
            raise AlreadyAnswered(there) from None
        finally:
            fresh.unlink(missing_ok=True)
        _sync(target.parent)

    def set_aside(self, question: str) -> None:
        """Let a question be answered again; the answer that did not count is kept beside it. Raises `OSError`."""
        path = self._answer_path(question)
        number = 1
        while (aside := path.with_suffix(f".refused-{number}")).exists():
            number += 1
        path.replace(aside)
        _sync(path.parent)

    def answers(self, intent: str) -> list[Answer]:
        """Every answer that was given to a run's questions, in the order in which they were asked."""
        folder = self.folder / "answers"
        paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
        found = [_read(path, Answer) for path in paths if path.name.startswith(f"{intent}.")]
        return [answer for answer in found if answer is not None]

    def _answer_path(self, question: str) -> Path:
        if "/" in question or question.startswith("."):
            raise StationError(f"{question!r} is no question's id; look with `athanor station {self.name}`")
        return self.folder / "answers" / f"{question}.json"

    # -- where the axes stand -----------------------------------------------------------------------------------------

    def position(self, axis: str) -> Position | None:
        """Where a person has set an axis last, None when nobody has. Raises `StationError` for a damaged file."""
        return _read(self.folder / "positions" / f"{axis}.json", Position)

    def note_position(self, axis: str, position: Position) -> None:
        """Remember where an axis stands now. Raises `OSError`."""
        self._write(f"positions/{axis}.json", position)

    # -- what happened ------------------------------------------------------------------------------------------------

    def log(self, kind: str, **fields: Any) -> None:
        """Add a line to the station's own log; a disk that takes nothing is no reason to stop."""
        line = json.dumps({"kind": kind, "at": datetime.now(UTC).isoformat(), **fields}, default=str)
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.folder / "log.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, line.encode() + b"\n")
            finally:
                os.close(handle)

    # -- files --------------------------------------------------------------------------------------------------------

    def _write(self, name: str, content: Part) -> None:
        target = self.folder / name
        fresh = self._fresh(target.parent, content)
        try:
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
        _sync(target.parent)

    def _fresh(self, folder: Path, content: Part) -> Path:
        """A file of its own with the content, on disk when this returns."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f".{os.getpid()}.{threading.get_ident()}.new"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(content.model_dump_json(indent=1).encode() + b"\n")
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return path


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StationError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise StationError(f"{path} is damaged ({first['msg']}); move it away and answer again") from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
