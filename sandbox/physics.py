"""What a simulated laboratory's physics must offer: axes to move, signals to read, and the truth behind them.

Physics is pure: no files, clocks, sockets or state. The same values, generator and noise give the same readings, bit
for bit, whether they are computed in the laboratory's controller process or in the caller's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from athanor.instruments.laboratory import ProcessFailed

Value: TypeAlias = float | int | str
Readings: TypeAlias = dict[str, "float | list[float]"]

__all__ = [
    "AxisModel",
    "Physics",
    "ProcessFailed",
    "Readings",
    "SignalModel",
    "Value",
    "generator",
]


@dataclass(frozen=True)
class AxisModel:
    """One actuator of a simulated laboratory.

    Attributes:
        name: Name of the axis; the same as in the profile and in a campaign's parameters.
        unit: Unit of the position, or None for a plain number or a choice.
        rest: Position before the first set.
        speed: Units per second at time scale 1 (for a number). `math.inf` moves at once at every time scale.
        kind: "number" moves through the positions in between; "choice" switches after `switch_s` seconds.
        switch_s: Seconds that a choice takes to switch at time scale 1.
    """

    name: str
    unit: str | None
    rest: Value
    speed: float = math.inf
    kind: Literal["number", "choice"] = "number"
    switch_s: float = 0.0

    def duration(self, start: Value, target: Value) -> float:
        """Seconds that the axis takes from `start` to `target` at time scale 1."""
        if self.kind == "choice":
            return 0.0 if start == target else self.switch_s
        return abs(float(target) - float(start)) / self.speed


@dataclass(frozen=True)
class SignalModel:
    """One raw signal that a trigger makes: a number, or a trace of `length` numbers.

    Attributes:
        name: Name of the signal, as in the profile.
        unit: Its unit, or None.
        length: 0 for a number, else the number of points of the trace.
    """

    name: str
    unit: str | None = None
    length: int = 0


@runtime_checkable
class Physics(Protocol):
    """The equations of one simulated laboratory."""

    @property
    def name(self) -> str:
        """Name of the laboratory, as in the entry point."""
        ...

    @property
    def axes(self) -> Sequence[AxisModel]:
        """Its axes, in the order of the profile."""
        ...

    @property
    def signals(self) -> Sequence[SignalModel]:
        """The raw signals that one trigger makes."""
        ...

    @property
    def dwell_s(self) -> float:
        """Seconds that one measurement takes at time scale 1."""
        ...

    def truth(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Outcomes without noise at these values (one per axis). Raises ProcessFailed where the process fails."""
        ...

    def readings(self, values: Mapping[str, Value], rng: np.random.Generator, noise: float) -> Readings:
        """Raw signals of one replicate.

        Args:
            values: One value per axis, in the axis' unit.
            rng: Source of all randomness of this replicate.
            noise: Relative standard deviation of the measurement (0.02 = 2 %); 0 gives noise-free signals where the
                laboratory has no noise of its own nature (such as shot noise).

        Raises:
            ProcessFailed: The process gives nothing measurable at these values.
        """
        ...


def generator(seed: int, ordinal: int, replicate: int) -> np.random.Generator:
    """The random generator of one replicate of one experiment: the only source of noise in the sandbox.

    Args:
        seed: Seed of the campaign, >= 0.
        ordinal: Ordinal of the experiment in its campaign, >= 0.
        replicate: 0 for the first measurement of the run.
    """
    return np.random.default_rng([seed, ordinal, replicate])
