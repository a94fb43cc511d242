"""What a laboratory is: a profile plus the devices it connects to. Found by name, simulated or real alike.

A package offers laboratories through the entry point group ``athanor.laboratories``; nothing here knows who they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from athanor.instruments.profile import Profile
    from athanor.memory.places import InstrumentPlace

GROUP = "athanor.laboratories"
WIRED = "wired"
"""The laboratory of every instrument whose profile says itself how it is reached; not listed, as it has no profile."""


class UnknownLaboratory(LookupError):
    """No laboratory of that name is installed."""

    def __init__(self, name: str, known: list[str]) -> None:
        self.name = name
        self.known = known
        super().__init__(f"unknown laboratory {name!r}; installed: {', '.join(known) or 'none'}")


class InstrumentUnavailable(RuntimeError):
    """The instrument cannot be connected now; nothing was moved."""

    def __init__(
        self, instrument: str, detail: str, remedy: str = "check that its controller is on and reachable"
    ) -> None:
        self.instrument = instrument
        self.detail = detail
        self.remedy = remedy
        super().__init__(f"instrument {instrument} is not available: {detail} ({remedy})")


class InstrumentLost(RuntimeError):
    """The connection to the hardware is gone while it was in use: what happened since is unknown."""


class ProcessFailed(RuntimeError):
    """The process itself failed at these conditions (no film, flooded stage, ...): a result, not a fault."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class RunContext:
    """What a device may know about the run it is about to serve.

    `ordinal` is the experiment's place in its campaign; with `seed` it determines a simulator's noise.
    """

    intent: str
    experiment: str
    ordinal: int
    seed: int
    replicates: int


@dataclass
class Devices:
    """The connected devices of one instrument, named as in its profile.

    `axes` are Movable, Readable and Stoppable; `detectors` Triggerable and Readable, each named like the detector in
    the profile (all from `bluesky.protocols`). `prepare_run` is called once before each run, outside the RunEngine's
    event loop, and may block. `is_connected` is called several times a second from another thread: it answers at once
    from what is already known, never over the line. `is_moving` may ask the controller. `signals` can be read at any
    moment, from any thread or coroutine and beside a run: each has `read()`, plain or a coroutine function, which gives
    a mapping with `value` and, in Unix seconds, `timestamp`.
    """

    axes: dict[str, Any]
    detectors: list[Any]
    prepare_run: Callable[[RunContext], None] | None = None
    is_moving: Callable[[], bool] = field(default=lambda: False)
    close: Callable[[], None] = field(default=lambda: None)
    is_connected: Callable[[], bool] = field(default=lambda: True)
    signals: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Challenge:
    """What a simulated laboratory stands for: its domain, the national-challenge area, a paragraph and the sources."""

    domain: str
    area: str
    description: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """A documented reference optimum: where it lies, the noise-free outcomes there, and how it was found."""

    values: dict[str, float | int | str]
    outcomes: dict[str, float]
    metric: str
    value: float
    method: str
    source: str


@runtime_checkable
class Laboratory(Protocol):
    """A profile plus what it connects to."""

    name: str

    def profile(self) -> Profile:
        """The instrument's devices, limits and outcomes."""
        ...

    def start(self, place: InstrumentPlace, options: Mapping[str, Any]) -> None:
        """Simulated: start the controller detached unless it runs; return when it answers. Real: nothing."""
        ...

    def shutdown(self, place: InstrumentPlace) -> None:
        """Simulated: end the controller. Real: nothing."""
        ...

    def connect(self, place: InstrumentPlace, options: Mapping[str, Any]) -> Devices:
        """Connect the devices; a RunEngine exists in this process and its event loop runs.

        Raises `InstrumentUnavailable` when the hardware does not answer.
        """
        ...


@runtime_checkable
class Simulated(Laboratory, Protocol):
    """A laboratory whose truth is known."""

    challenge: Challenge

    def truth(self, values: Mapping[str, float | int | str]) -> dict[str, float]:
        """The noise-free outcomes at a point; raises `ProcessFailed` where the process fails."""
        ...

    def simulate(
        self,
        values: Mapping[str, float | int | str],
        seed: int,
        ordinal: int,
        replicates: int,
        options: Mapping[str, Any],
    ) -> dict[str, tuple[float, float | None]]:
        """Outcomes as (mean, sem), in process, with the controller's noise: what a run with that ordinal reduces to."""
        ...

    def reference(self) -> Reference:
        """The documented reference optimum."""
        ...

    def campaign_file(self) -> Path:
        """The ready campaign file."""
        ...


@runtime_checkable
class Witnessing(Protocol):
    """A laboratory whose controller keeps a log of its own: what really reached the hardware, whoever died."""

    def witness(self, place: InstrumentPlace, intent: str) -> list[dict[str, Any]] | None:
        """The controller's log lines of one run, oldest first, each with `t` (Unix seconds) and `kind`.

        Empty when the controller never heard of the intent; None when there is no log.
        """
        ...


def names() -> list[str]:
    """The names of all installed laboratories, sorted."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load(name: str) -> Laboratory:
    """The laboratory installed under `name`; raises `UnknownLaboratory` listing those that exist."""
    if name == WIRED:
        from athanor.instruments.protocols.wired import WIRED as wired

        return wired
    for entry in entry_points(group=GROUP, name=name):
        laboratory: Laboratory = entry.load()
        return laboratory
    raise UnknownLaboratory(name, names())
