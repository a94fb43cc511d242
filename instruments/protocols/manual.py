"""Axes that a person sets and detectors that a person reads: devices like any other, whose controller is the station.

A set is a question that somebody confirms, a trigger one that somebody answers with values. Both wait as long as the
profile allows, and end at once when the run is stopped.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bluesky.protocols import Location
from ophyd_async.core import AsyncStatus

from athanor.instruments.profile import AxisSpec, DetectorSpec
from athanor.instruments.protocols.client import BadQuality
from athanor.instruments.protocols.desk import Desk, Withdrawn
from athanor.instruments.protocols.wiring import ManualWiring
from athanor.instruments.station import Answer, MeasureQuestion, Position, RunLine, SetQuestion, Signal, Value

_NUMBER = {"dtype": "number", "dtype_numpy": "<f8"}
_TEXT = {"dtype": "string", "dtype_numpy": "|S80"}


def shown(value: Value, tolerance: float, low: float | None, high: float | None) -> Value:
    """The value with as few digits as the tolerance allows, and never outside the limits: what a person can set."""
    if isinstance(value, str | int) or not math.isfinite(value):
        return value
    for digits in range(-6, 13):
        short = round(value, digits)
        is_inside = (low is None or short >= low) and (high is None or short <= high)
        if is_inside and abs(short - value) <= tolerance / 5:
            return int(short) if short.is_integer() and abs(short) < 1e15 else short
    return value


@dataclass
class _Setting:
    """One set under way; `over` is set when something else ends it."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""
    is_success: bool = False

    def end(self, reason: str, is_success: bool = False) -> None:
        if not self.over.is_set():
            self.reason, self.is_success = reason, is_success
            self.over.set()


class ManualAxis:
    """An axis that a person sets. Its read-back is what was last confirmed, also after a restart.

    Args:
        name: Name of the axis in the profile.
        spec: Its unit, its limits, its tolerance (in that unit) and the seconds that a person may take.
        wiring: The instruction.
        desk: Where it asks.
    """

    parent = None

    def __init__(self, name: str, spec: AxisSpec, wiring: ManualWiring, desk: Desk) -> None:
        self.name = name
        self._spec = spec
        self._wiring = wiring
        self._desk = desk
        self._setting: _Setting | None = None
        self._sent: Value | None = None
        self._is_word = bool(spec.allowed and isinstance(spec.allowed[0], str))

    @property
    def hints(self) -> dict[str, Any]:
        """What displays show of it."""
        return {} if self._is_word else {"fields": [self.name]}

    @AsyncStatus.wrap
    async def set(self, value: Value) -> None:
        """Ask a person to set it; done when somebody says that it is.

        Raises:
            NobodyAnswered: Nobody did in time.
            CannotBeDone: A person said that it cannot be.
            RuntimeError: It was stopped, or is asked for anew.
        """
        if self._setting is not None:
            self._setting.end("sent elsewhere")
        setting = self._setting = _Setting()
        self._sent = value
        spec, now, before = self._spec, datetime.now(UTC), self._confirmed()
        question = self._desk.ask(
            SetQuestion(
                id="",
                device=self.name,
                text=self._wiring.instruct,
                since=now,
                until=now + timedelta(seconds=spec.timeout_s),
                unit=spec.unit,
                value=value,
                shown=shown(value, spec.tolerance, spec.minimum, spec.maximum),
                was=before.value if before is not None else None,
                tolerance=spec.tolerance,
            )
        )
        assert isinstance(question, SetQuestion)
        try:
            answer = await self._desk.answer(question, spec.timeout_s, setting.over)
        except Withdrawn:
            if setting.is_success:
                return
            reason = setting.reason or "not waited for"
            raise RuntimeError(f"{self.name} was {reason} before anybody had set it to {question.shown}") from None
        finally:
            if self._setting is setting:
                self._setting = None
        reached = question.shown if answer.value is None else answer.value
        assert self._desk.station is not None
        self._desk.station.note_position(
            self.name, Position(value=reached, by=answer.by, at=answer.at, note=answer.note)
        )

    async def stop(self, success: bool = True) -> None:
        """Ask for nothing more. What a person has in hand, nobody but that person can stop."""
        if self._setting is not None:
            self._setting.end("stopped", success)
        self._desk.stop()

    def _confirmed(self) -> Position | None:
        station = self._desk.station
        return station.position(self.name) if station is not None else None

    def _value(self, confirmed: Position | None) -> Value:
        """Where it stands; before anybody has set it what the profile says, else not a number, or no word."""
        if confirmed is not None:
            return confirmed.value
        if self._wiring.stands_at is not None:
            return self._wiring.stands_at
        return "" if self._is_word else math.nan

    async def locate(self) -> Location[Any]:
        """Where it was last sent, and where it stands as far as anybody has said."""
        here = self._value(self._confirmed())
        return {"setpoint": here if self._sent is None else self._sent, "readback": here}

    async def read(self) -> dict[str, Any]:
        """Where it stands, and who has set it, when, with which note."""
        confirmed = self._confirmed()
        when = time.time() if confirmed is None else confirmed.at.timestamp()
        said = {
            self.name: self._value(confirmed),
            f"{self.name}-set_by": "" if confirmed is None else confirmed.by,
            f"{self.name}-set_at": "" if confirmed is None else confirmed.at.isoformat(),
            f"{self.name}-note": "" if confirmed is None else confirmed.note,
        }
        return {key: {"value": one, "timestamp": when} for key, one in said.items()}

    async def describe(self) -> dict[str, Any]:
        """What `read` gives."""
        key: dict[str, Any] = {"source": "a person", "shape": [], **(_TEXT if self._is_word else _NUMBER)}
        if self._spec.unit is not None:
            key["units"] = self._spec.unit
        return {self.name: key, **_said(self.name, "set_by", "set_at", "note")}

    def stage(self) -> list[Any]:
        """Nothing to prepare."""
        return [self]

    def unstage(self) -> list[Any]:
        """The run is over."""
        self._desk.end()
        return [self]


class ManualDetector:
    """A detector that a person reads; every signal is read under its own name.

    Args:
        name: Name of the detector in the profile.
        spec: Its signals' units, and the seconds that a person may take for one reading.
        wiring: The instruction, and what is plausible.
        desk: Where it asks.
    """

    parent = None

    def __init__(self, name: str, spec: DetectorSpec, wiring: ManualWiring, desk: Desk) -> None:
        self.name = name
        self._spec = spec
        self._wiring = wiring
        self._desk = desk
        self._run: RunLine | None = None
        self._readings = 0
        self._left: list[dict[str, float]] = []
        self._answer: Answer | None = None
        self._taken: dict[str, float] | None = None

    @property
    def hints(self) -> dict[str, Any]:
        """What displays show of it."""
        return {"fields": list(self._spec.signals)}

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Ask a person for one reading; rows that were entered with an earlier one are taken first.

        Raises:
            NobodyAnswered: Nobody entered it in time.
            CannotBeDone: A person said that it cannot be measured.
            Withdrawn: The run ended.
        """
        if self._run is not self._desk.run:
            self._run, self._readings, self._left = self._desk.run, 0, []
        self._taken = None
        if not self._left:
            self._answer = await self._desk.answer(self._ask(), self._spec.timeout_s)
            self._left = list(self._answer.rows)
        self._taken = self._left.pop(0)
        self._readings += 1

    def _ask(self) -> MeasureQuestion:
        now = datetime.now(UTC)
        of = self._desk.run.replicates if self._desk.run is not None else 1
        signals = {}
        for name, unit in self._spec.signals.items():
            low, high = self._wiring.plausible.get(name, (None, None))
            signals[name] = Signal(unit=unit, low=low, high=high)
        asked = self._desk.ask(
            MeasureQuestion(
                id="",
                device=self.name,
                text=self._wiring.instruct,
                since=now,
                until=now + timedelta(seconds=self._spec.timeout_s),
                signals=signals,
                reading=min(self._readings + 1, of),
                of=of,
            )
        )
        assert isinstance(asked, MeasureQuestion)
        return asked

    async def stop(self, success: bool = True) -> None:
        """Ask for nothing more."""
        self._desk.stop()

    async def read(self) -> dict[str, Any]:
        """What the person entered, who, and when. Raises `BadQuality` before anything was."""
        answer = self._answer
        if answer is None or self._taken is None:
            remedy = "trigger the detector first"
            raise BadQuality(self.name, next(iter(self._spec.signals)), "nobody has measured yet", remedy)
        said: dict[str, Any] = {
            **self._taken,
            f"{self.name}-entered_by": answer.by,
            f"{self.name}-entered_at": answer.at.isoformat(),
            f"{self.name}-note": answer.note,
            f"{self.name}-source": answer.source,
        }
        return {key: {"value": one, "timestamp": answer.at.timestamp()} for key, one in said.items()}

    async def describe(self) -> dict[str, Any]:
        """What `read` gives."""
        keys: dict[str, Any] = {}
        for name, unit in self._spec.signals.items():
            keys[name] = {"source": "a person", "shape": [], **_NUMBER}
            if unit is not None:
                keys[name]["units"] = unit
        return {**keys, **_said(self.name, "entered_by", "entered_at", "note", "source")}

    def stage(self) -> list[Any]:
        """Nothing to prepare."""
        return [self]

    def unstage(self) -> list[Any]:
        """The run is over."""
        self._desk.end()
        return [self]


def _said(device: str, *names: str) -> dict[str, Any]:
    """Descriptions of what is known of a person's words."""
    return {f"{device}-{name}": {"source": "a person", "shape": [], **_TEXT} for name in names}
