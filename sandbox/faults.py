"""The fault schedule of a simulated laboratory: what goes wrong, in which experiments, by how much.

Faults are a pure function of the experiment's ordinal, so that a campaign with faults repeats exactly.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from athanor.sandbox.physics import AxisModel, Readings, SignalModel

FAULTS: Mapping[str, str] = {
    "dropout": "the detector does not answer a trigger",
    "drift": "readings grow by `size` (relative) per experiment, from experiment `at` on",
    "stuck": "the axis stops half way and never reaches its target",
    "nan": "the signal reads NaN",
    "disconnect": "the connection drops at the first trigger of the run",
}
_FIELDS = {
    "dropout": {"kind", "at", "count"},
    "drift": {"kind", "at", "count", "signal", "size"},
    "stuck": {"kind", "at", "count", "axis"},
    "nan": {"kind", "at", "count", "signal"},
    "disconnect": {"kind", "at", "count"},
}
DRIFT_SIZE = 0.02


class OptionError(ValueError):
    """An option of a simulated laboratory that cannot be used; the message names it and what exists instead."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: One of `FAULTS`.
        at: Ordinal of the first experiment it strikes.
        count: How many experiments it strikes; None for all that follow.
        target: Axis (stuck) or signal (drift, nan); None for every one.
        size: Relative growth of the reading per experiment (drift).
    """

    kind: str
    at: int
    count: int | None = 1
    target: str | None = None
    size: float = DRIFT_SIZE

    def strikes(self, ordinal: int) -> bool:
        """Whether the experiment with this ordinal is struck."""
        return ordinal >= self.at and (self.count is None or ordinal < self.at + self.count)

    def hits(self, name: str) -> bool:
        """Whether this axis or signal is meant."""
        return self.target is None or self.target == name

    def to_dict(self) -> dict[str, Any]:
        """The option as it is written in a campaign file."""
        body: dict[str, Any] = {"kind": self.kind, "at": self.at, "count": self.count}
        if self.target is not None:
            body["axis" if self.kind == "stuck" else "signal"] = self.target
        if self.kind == "drift":
            body["size"] = self.size
        return body


@dataclass(frozen=True)
class FaultSchedule:
    """Every fault of one laboratory."""

    faults: tuple[Fault, ...] = field(default=())

    def active(self, kind: str, ordinal: int) -> list[Fault]:
        """The faults of a kind that strike an experiment."""
        return [fault for fault in self.faults if fault.kind == kind and fault.strikes(ordinal)]

    def is_active(self, kind: str, ordinal: int, name: str | None = None) -> bool:
        """Whether a fault of this kind strikes the experiment (and this axis or signal)."""
        return any(name is None or fault.hits(name) for fault in self.active(kind, ordinal))

    def alter(self, readings: Readings, ordinal: int) -> Readings:
        """Readings with drift and NaN faults applied."""
        altered = dict(readings)
        for name, value in readings.items():
            factor = 1.0
            for fault in self.active("drift", ordinal):
                if fault.hits(name):
                    factor += fault.size * (ordinal - fault.at + 1)
            if self.is_active("nan", ordinal, name):
                factor = math.nan
            if factor != 1.0:
                altered[name] = [factor * v for v in value] if isinstance(value, list) else factor * value
        return altered

    @classmethod
    def parse(cls, entries: Any, axes: Sequence[AxisModel], signals: Sequence[SignalModel]) -> FaultSchedule:
        """Check a list of faults as written in a campaign file.

        Raises:
            OptionError: Unknown kind, field, axis or signal, or a number that makes no sense.
        """
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise OptionError(f"faults: a list is needed, not {entries!r}")
        names = {"axis": [a.name for a in axes], "signal": [s.name for s in signals]}
        return cls(tuple(_fault(f"faults[{n}]", entry, names) for n, entry in enumerate(entries)))


def _fault(where: str, entry: Any, names: Mapping[str, Sequence[str]]) -> Fault:
    if not isinstance(entry, Mapping):
        raise OptionError(f"{where}: a mapping such as {{kind: dropout, at: 3}} is needed, not {entry!r}")
    kind = str(entry.get("kind"))
    if kind not in FAULTS:
        raise unknown(f"{where}.kind", kind, FAULTS)
    for key in entry:
        if key not in _FIELDS[kind]:
            raise unknown(f"{where} ({kind})", str(key), _FIELDS[kind])
    at = entry.get("at", 0)
    if isinstance(at, bool) or not isinstance(at, int) or at < 0:
        raise OptionError(f"{where}.at: the ordinal of an experiment is needed (0, 1, 2, ...), not {at!r}")
    count = entry.get("count", None if kind == "drift" else 1)
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise OptionError(f"{where}.count: a number of experiments >= 1 or null is needed, not {count!r}")
    sort = "axis" if kind == "stuck" else "signal"
    target = entry.get(sort)
    if target is not None and target not in names[sort]:
        raise unknown(f"{where}.{sort}", str(target), names[sort])
    size = finite(f"{where}.size", entry.get("size", DRIFT_SIZE))
    return Fault(kind=kind, at=at, count=count, target=target, size=size)


def finite(where: str, value: Any, *, minimum: float | None = None) -> float:
    """A finite number from an option. Raises OptionError naming the option otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise OptionError(f"{where}: a finite number is needed, not {value!r}")
    if minimum is not None and value < minimum:
        raise OptionError(f"{where}: must be >= {minimum:g}, not {value!r}")
    return float(value)


def unknown(where: str, name: str, existing: Iterable[str]) -> OptionError:
    """An error for an unknown name that says what exists and what was probably meant."""
    known = sorted(existing)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return OptionError(f"{where}: there is no {name!r}{hint} It can be: {', '.join(known)}")
