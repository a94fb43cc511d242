"""An instrument opened only to be looked at: what works of it, behind its limits, and all that fails. Loads bluesky."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bluesky.run_engine import RunEngine
from bluesky.utils import DuringTask

from athanor.instruments.deadlines import outcome, spawn
from athanor.instruments.expressions import Expression
from athanor.instruments.interlocks import UNKNOWN, Interlocks, InterlockSpec
from athanor.instruments.laboratory import InstrumentUnavailable, load
from athanor.instruments.limits import LimitedAxis, SetRefused
from athanor.instruments.live import LiveSignals, Probe
from athanor.instruments.profile import Profile
from athanor.instruments.protocols.client import MissingLibrary, SignalError
from athanor.instruments.protocols.looking import Looking
from athanor.instruments.protocols.wiring import DetectorWiring

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

CLOSE_S = 3.0


@dataclass(frozen=True)
class Failure:
    """Something that could not be built or connected."""

    device: str
    signal: str
    reason: str
    remedy: str
    is_building: bool
    """Whether it failed before anything was asked over a line."""


@dataclass
class Bench:
    """What works of an instrument.

    Args:
        parts: What its profile says of it; of a faulty profile the sound parts.
        gate: Raises `SetRefused` when nothing may move.
    """

    parts: Profile
    gate: Callable[[], None]
    failures: list[Failure] = field(default_factory=list)
    axes: dict[str, LimitedAxis] = field(default_factory=dict)
    detectors: dict[str, Any] = field(default_factory=dict)
    readers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of each detector that can be read without a trigger, what reads each of its signals."""
    probes: dict[str, Probe] = field(default_factory=dict)
    """What reads every axis, and every live signal that answers."""

    def __post_init__(self) -> None:
        # Devices of ophyd-async live on a RunEngine's event loop; nothing is ever run on this one.
        engine = RunEngine({}, context_managers=[], during_task=DuringTask(), call_returns_result=True)
        self.loop: asyncio.AbstractEventLoop = engine.loop
        self._close: Callable[[], None] = lambda: None

    # -- opening ------------------------------------------------------------------------------------------------------

    def open_wired(self, timeout_s: float, place: InstrumentPlace | None = None) -> None:
        """Build and connect a wired instrument, each device by a deadline of its own, all at once.

        At `place` lies what people have said of manual axes.
        """
        looking = Looking(self.parts, timeout_s, place)
        self._close = lambda: self.call(looking.close(), CLOSE_S)
        longest = 2 * timeout_s + CLOSE_S  # controllers first, then devices; both have deadlines of their own
        for where, error in self.call(looking.look(), longest):
            kind, _, name = where.partition(" ")
            failure = _failure(name, error)
            self.failures.append(replace(failure, signal="") if kind == "controller" else failure)
        self._take(looking.made, looking.live)
        for name in self.detectors:
            wiring = self.parts.devices[name]
            if isinstance(wiring, DetectorWiring) and wiring.trigger is None and wiring.probe:
                self.readers[name] = dict(looking.readers(name))

    def open_laboratory(self, place: InstrumentPlace, options: Mapping[str, Any], timeout_s: float) -> None:
        """Connect an instrument whose laboratory has code of its own."""

        def connect() -> Any:
            return load(self.parts.laboratory).connect(place, options)

        future = spawn(connect, "connect")
        try:
            devices = future.result(timeout_s)
        except TimeoutError:
            said, remedy = f"did not connect within {timeout_s:g} s", "check that its controller is on and reachable"
            self.failures.append(Failure(self.parts.name, "", said, remedy, is_building=False))
            return
        except Exception as error:  # noqa: BLE001 - whatever a laboratory raises is what the check reports
            self.failures.append(_failure(self.parts.name, error))
            return
        self._close = devices.close
        found = {item.name: item for item in devices.detectors}
        for kind, names, there in (
            ("axis", self.parts.axes, devices.axes),
            ("detector", self.parts.detectors, found),
            ("signal", self.parts.signals, devices.signals),
        ):
            for name in names:
                if name not in there:
                    said = f"the laboratory has no such {kind}"
                    self.failures.append(Failure(name, "", said, "correct its name", is_building=True))
        self._take({**devices.axes, **found}, devices.signals)

    def _take(self, made: Mapping[str, Any], live: Mapping[str, Any]) -> None:
        limits = self.parts.limits()
        has_interlocks = bool(self.parts.interlocks)
        for name in self.parts.axes:
            if name in made:
                if not callable(getattr(made[name], "stop", None)):
                    said = "the device cannot be stopped"
                    self.failures.append(Failure(name, "stop", said, "give a class with `stop()`", is_building=True))
                self.axes[name] = LimitedAxis(
                    made[name], limits[name], self.gate, interlocks=self._verify if has_interlocks else None
                )
        self.detectors = {name: made[name] for name in self.parts.detectors if name in made}
        for name, axis in self.axes.items():
            allowed = self.parts.axes[name].allowed
            kind = "word" if allowed and isinstance(allowed[0], str) else "number"
            self.probes[name] = Probe(axis.reader, kind, self.loop)  # type: ignore[arg-type]
        for name, spec in self.parts.signals.items():
            if name in live:
                self.probes[name] = Probe(live[name].read, spec.kind, self.loop, spec.max_age_s)

    # -- asking -------------------------------------------------------------------------------------------------------

    def missing(self, spec: InterlockSpec) -> list[str]:
        """The signals that an interlock speaks of and that cannot be read."""
        return [name for name in Expression.parse(spec.require).names if name not in self.probes]

    def interlock(self, number: int) -> SetRefused | None:
        """Why an interlock does not hold now; None when it does. Its signals must be among the probes."""
        try:
            Interlocks([self.parts.interlocks[number]], LiveSignals(self.probes)).verify()
        except SetRefused as refused:
            return refused
        return None

    async def _verify(self) -> None:
        """As the engine does before every set: raises `SetRefused` unless every interlock holds."""
        for spec in self.parts.interlocks:
            if missing := self.missing(spec):
                raise SetRefused(UNKNOWN, f"{spec.name}: nobody can read {', '.join(missing)}")
        rules = Interlocks(self.parts.interlocks, LiveSignals(self.probes))
        await asyncio.shield(asyncio.wrap_future(spawn(rules.verify, "interlocks")))

    def call(self, work: Any, timeout_s: float | None = None) -> Any:
        """Run a coroutine where the devices live. Interrupted, it is cancelled first, and ends before this returns."""
        over = asyncio.Event()

        async def play() -> Any:
            try:
                return await work
            finally:
                over.set()

        future = asyncio.run_coroutine_threadsafe(play(), self.loop)
        try:
            return future.result(timeout_s)
        except BaseException:
            if not future.done():
                future.cancel()
                outcome(asyncio.run_coroutine_threadsafe(over.wait(), self.loop), time.monotonic() + CLOSE_S)
            raise

    def close(self) -> None:
        """Close every line; never raises."""
        outcome(spawn(partial(self._close), "close"), time.monotonic() + CLOSE_S)


def _failure(name: str, error: BaseException) -> Failure:
    is_building = isinstance(error, (ImportError, AttributeError, TypeError, ValueError, LookupError, MissingLibrary))
    if isinstance(error, SignalError):
        signal = error.signal if error.device == name else ""
        return Failure(name, signal, error.detail, error.remedy, is_building)
    if isinstance(error, InstrumentUnavailable):
        return Failure(name, "", error.detail, error.remedy, is_building)
    said, _, remedy = (str(error) or type(error).__name__).partition("; ")
    if isinstance(error, (ImportError, AttributeError)):
        remedy = remedy or "install the package, or correct `class:`"
    return Failure(name, "", said, remedy or "correct it in the profile", is_building)
