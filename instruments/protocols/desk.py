"""The worker's side of a manual station: questions put on the sheet, answers waited for and judged."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Literal

from athanor.instruments import entries
from athanor.instruments.entries import EntryRefused
from athanor.instruments.laboratory import RunContext
from athanor.instruments.station import (
    Answer,
    AnyQuestion,
    RunLine,
    SetQuestion,
    Sheet,
    Station,
    StationError,
)

GATHER_S = 0.05
"""What is asked within so many seconds stands on one sheet from the beginning."""
POLL_S = 0.1
"""Seconds between two looks for an answer."""


class NobodyAnswered(RuntimeError):
    """A person had hours, and nobody came."""


class CannotBeDone(RuntimeError):
    """A person said that what was asked cannot be done."""


class Withdrawn(RuntimeError):
    """The question was taken back before anybody answered."""


class Desk:
    """What the devices of one instrument ask in the worker. In any other process nothing is asked: there it only stops.

    Args:
        station: Where questions and answers lie; None where the instrument is only looked at.
        instrument: The instrument's name.
        order: Devices in the order in which a person reads of them.
    """

    def __init__(self, station: Station | None, instrument: str, order: Sequence[str] = ()) -> None:
        self.station = station
        self._order = {name: number for number, name in enumerate(order)}
        self.run: RunLine | None = None
        self._instrument = instrument
        self._open: dict[str, AnyQuestion] = {}
        self._count = 0
        self._is_written = True
        self._has_sheet = False

    # -- the run ------------------------------------------------------------------------------------------------------

    def begin(self, run: RunContext) -> None:
        """A run begins: what another left open is not asked any more. Raises `OSError`."""
        self.end()
        self.run = RunLine(intent=run.intent, experiment=run.experiment, replicates=run.replicates)
        self._count = 0

    def end(self) -> None:
        """The run is over: nothing is asked any more. Raises `OSError`."""
        self._open.clear()
        if self._has_sheet:
            self._write("over")
            self._has_sheet = False
        self.run = None

    def stop(self) -> None:
        """Somebody stops the instrument, in a process where nothing runs: let nothing be asked any more."""
        if self.run is None and self.station is not None:
            self.station.withdraw("the instrument was stopped")

    # -- questions ----------------------------------------------------------------------------------------------------

    def ask(self, question: AnyQuestion) -> AnyQuestion:
        """Put a question, under an id of its own. Raises `RuntimeError` when no run asks."""
        if self.run is None or self.station is None:
            raise RuntimeError(f"{question.device}: nobody is asked outside of a run")
        self._count += 1
        asked = question.model_copy(update={"id": f"{self.run.intent}.{self._count:03d}.{question.device}"})
        self._open[asked.id] = asked
        self._is_written = False  # by the first who waits, when all who ask together have asked
        return asked

    def take_back(self, question: AnyQuestion) -> None:
        """Ask this no more. Raises `OSError`."""
        if self._open.pop(question.id, None) is not None:
            self._write("asking")

    async def answer(self, question: AnyQuestion, limit_s: float, over: asyncio.Event | None = None) -> Answer:
        """Wait for the answer that counts.

        Raises:
            NobodyAnswered: None came within `limit_s`.
            CannotBeDone: A person said so.
            Withdrawn: The question was taken back, or `over` was set.
            OSError: The disk does not take the question.
        """
        deadline = time.monotonic() + limit_s
        await asyncio.sleep(GATHER_S)
        if not self._is_written and question.id in self._open:
            self._write("asking")
        while True:
            if question.id not in self._open or (over is not None and over.is_set()):
                self.take_back(question)
                raise Withdrawn(f"{question.device}: the question was taken back")
            if (answer := self._look(self._open[question.id])) is not None:
                return answer
            left = deadline - time.monotonic()
            if left <= 0:
                self.take_back(question)
                raise NobodyAnswered(_nobody(question, limit_s))
            await asyncio.sleep(min(POLL_S, left))

    def _look(self, question: AnyQuestion) -> Answer | None:
        """The answer, once there is one that counts. Raises `CannotBeDone`."""
        station = self.station
        assert station is not None
        try:
            answer = station.answer(question.id)
            if answer is None:
                return None
            entries.check(question, answer)
        except (StationError, EntryRefused) as error:
            # Our command lays down nothing of the kind: it came another way.
            code = error.code if isinstance(error, EntryRefused) else "entry.file"
            station.log("refused", question=question.id, code=code, detail=str(error))
            station.set_aside(question.id)
            self._open[question.id] = question.model_copy(update={"refused": str(error)})
            self._write("asking")
            return None
        station.log("used", **answer.model_dump(mode="json", exclude={"at"}), answered_at=answer.at)
        self.take_back(question)
        if answer.verb == "cannot":
            # Without the device: whoever says so answers all that is asked at once.
            raise CannotBeDone(f"{answer.reason} (said {answer.by})")
        return answer

    def _write(self, state: Literal["asking", "over"]) -> None:
        assert self.run is not None and self.station is not None
        open_now = tuple(sorted(self._open.values(), key=lambda one: self._order.get(one.device, len(self._order))))
        sheet = Sheet(instrument=self._instrument, pid=os.getpid(), run=self.run, state=state, questions=open_now)
        self.station.write(sheet)
        self._is_written = self._has_sheet = True


def _nobody(question: AnyQuestion, limit_s: float) -> str:
    doing = "confirmed that it was set" if isinstance(question, SetQuestion) else "entered what it measures"
    size, unit = (3600, "h") if limit_s >= 3600 else (60, "min") if limit_s >= 60 else (1, "s")
    asked = f"asked at {question.since.astimezone():%Y-%m-%d %H:%M}"
    return f"{question.device}: nobody {doing} within {limit_s / size:.3g} {unit} ({asked})"
