"""Looking at an instrument before anything runs on it: everything that is wrong, in one report.

Nothing is moved unless it is to be exercised. What works is looked at also when something else does not.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import wait
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from athanor.instruments.capabilities import card, readback_kind, stop_kind
from athanor.instruments.config import Config, settle_control_layer
from athanor.instruments.deadlines import outcome, spawn
from athanor.instruments.findings import Finding, Report, Status
from athanor.instruments.laboratory import WIRED, load
from athanor.instruments.limits import SetRefused
from athanor.instruments.protocols.wired import client_class
from athanor.instruments.protocols.wiring import AxisWiring, ClassWiring, DetectorWiring, ManualWiring
from athanor.instruments.sight import Sight
from athanor.instruments.standing import gate, positions, reserved, standing
from athanor.memory.places import InstrumentPlace

if TYPE_CHECKING:
    from athanor.instruments.bench import Bench
    from athanor.instruments.profile import Profile

SHARED = frozenset({"channel-access", "http", "mqtt", "opcua", "pv-access", "sila"})
"""Protocols whose controllers serve many clients. Others may take one at a time, and drop the worker for us."""


class Check:
    """One look at one instrument.

    Args:
        sight: What its profile says.
        place: Where it keeps its latch, its write switch and its worker's socket.
        options: The laboratory's options.
        timeout_s: Seconds that any single device may take to connect or to answer.
        exercise: Whether every axis is to be moved a little, halted in motion, and moved back.
        on_look: Told the name of each step as it begins.
    """

    def __init__(
        self,
        sight: Sight,
        place: InstrumentPlace,
        options: Mapping[str, Any] | None = None,
        *,
        timeout_s: float = 10.0,
        exercise: bool = False,
        on_look: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._sight = sight
        self._place = place
        self._options = dict(options or {})
        self._timeout_s = timeout_s
        self._wants_exercise = exercise
        self._on_look = on_look
        self.report = Report(sight.parts.name if sight.parts is not None else sight.source)

    def run(self) -> Report:
        """Look at everything. Never raises for what is wrong with the instrument."""
        self._file()
        parts = self._sight.parts
        if parts is None:
            self._say("connecting", "not checked", reason="the file cannot be read")
            return self.report
        self._limits(parts)
        self._stops(parts)
        self._on_look("worker")
        around = standing(self._place, self._wants_exercise)
        self.report.findings += around.findings
        has_worker = around.has_worker
        if not has_worker or self._is_shared(parts):
            self._look(parts, has_worker)
        else:
            self._ask_recovery(parts)
        self.report.card = card(parts, not self.report.having("fault"))
        return self.report

    def _say(
        self, step: str, status: Status, device: str = "", signal: str = "", reason: str = "", remedy: str = ""
    ) -> None:
        self.report.add(Finding(step, status, device, signal, reason, remedy))

    # -- what needs no line -------------------------------------------------------------------------------------------

    def _file(self) -> None:
        self._on_look("file")
        for problem in self._sight.problems:
            where = f"{problem.source}:{problem.line}" if problem.line is not None else problem.source
            self._say("file", "fault", problem.field or "profile", "", f"{problem.detail} ({where})", problem.remedy)
        if not self._sight.problems:
            self._say("file", "ok", reason=self._sight.source)

    def _limits(self, parts: Profile) -> None:
        for name, axis in parts.axes.items():
            if name in self._sight.aside:
                self._say("limits", "not checked", name, "", "what the file says of it is wrong")
            elif axis.limit() is None:
                said = "it has neither a finite minimum and maximum nor allowed values: it is never moved"
                self._say("limits", "fault", name, "", said, "give `minimum:` and `maximum:`, or `allowed:`")
            elif axis.minimum is not None and axis.minimum == axis.maximum:
                self._say("limits", "fault", name, "", "minimum and maximum are the same", "give it a range")
            else:
                self._say("limits", "ok", name, "", "finite")
            if readback_kind(parts.devices.get(name)) == "setpoint":
                said = "only its set point can be read: nothing says where it really is"
                self._say("read-back", "fault", name, "", said, "give `readback:`")

    def _stops(self, parts: Profile) -> None:
        for name in parts.axes:
            if parts.laboratory == WIRED and name not in parts.devices:
                self._say("stop", "not checked", name, "", "its device cannot be built")
            elif stop_kind(parts.devices.get(name)) is None:
                self._say("stop", "fault", name, "", "it cannot be stopped", "give the device `stop:`")
            elif stop_kind(parts.devices.get(name)) == "person":
                self._say("stop", "ok", name, "", "a person sets it: a stop takes the question back, and no more")
            elif not self._wants_exercise:
                self._say("stop", "not checked", name, "", "a stop is a command: it is given only with --exercise")

    # -- beside a worker ---------------------------------------------------------------------------------------------

    def _is_shared(self, parts: Profile) -> bool:
        """Whether every controller surely takes another connection beside the worker's."""
        if parts.laboratory != WIRED:
            return parts.simulated
        if any(isinstance(wiring, ClassWiring) for wiring in parts.devices.values()):
            return False
        return all(one.protocol in SHARED for one in parts.controllers.values())

    def _ask_recovery(self, parts: Profile) -> None:
        """Where the axes stand, over the connection that the recovery process has already."""
        said = "its controller may take one client at a time, so no other connection is opened beside the worker's"
        self._say("connecting", "not checked", "", "", said, "end the worker to check everything")
        for name, controller in parts.controllers.items():
            try:  # which touches neither the line nor the protocol's library
                client_class(controller.protocol)(controller.address, controller.options, name)
            except (LookupError, ValueError) as error:
                self._say("building", "fault", name, "", str(error), "correct it in the profile")
        try:
            answer = positions(self._place, self._timeout_s)
        except (OSError, ValueError) as error:
            self._say(
                "read-back", "fault", "", "", f"the recovery process does not answer: {error}", "see recovery.log"
            )
            return
        for name in parts.axes:
            if (
                trouble := answer.get("failures", {}).get(name) or answer.get("failures", {}).get("instrument")
            ) is not None:
                self._say("read-back", "fault", name, "", str(trouble), "see to the axis or its line")
            else:
                self._stands(parts, name, answer.get("positions", {}).get(name))
        for number, _ in enumerate(parts.interlocks):
            said = "the worker judges it at every set"
            self._say("interlocks", "not checked", parts.interlocks[number].name, "", said)
        if self._wants_exercise:
            self._say("exercise", "not checked", "", "", "a worker has the instrument", "end the worker first")

    # -- what is asked over the line ----------------------------------------------------------------------------------

    def _look(self, parts: Profile, has_worker: bool) -> None:
        self._on_look("connecting")
        settle_control_layer(parts)
        from athanor.instruments.bench import Bench

        if any(problem.field in ("", "name", "laboratory", "simulated") for problem in self._sight.problems):
            said = "the file does not say which instrument it is"
            self._say("connecting", "not checked", "", "", said, "put the file right first")
            return
        bench = Bench(parts, partial(gate, self._place))
        try:
            with self._ground(parts, has_worker) as place:
                try:
                    if parts.laboratory == WIRED:
                        bench.open_wired(self._timeout_s, self._place)
                    else:
                        bench.open_laboratory(place, self._options, self._timeout_s)
                    self._connected(parts, bench)
                    self._readbacks(parts, bench)
                    self._detectors(parts, bench)
                    self._interlocks(parts, bench)
                    if self._wants_exercise:
                        self._exercise(parts, bench, place, has_worker)
                finally:
                    bench.close()
        except Exception as error:  # noqa: BLE001 - starting a simulator may fail in its own ways
            self._say("connecting", "fault", parts.name, "", str(error) or type(error).__name__, "see its log")

    @contextmanager
    def _ground(self, parts: Profile, has_worker: bool) -> Iterator[InstrumentPlace]:
        """Where its laboratory is reached; a simulated one is started for the check alone, unless it is in use."""
        if not parts.simulated or parts.laboratory == WIRED or has_worker:
            yield self._place
            return
        laboratory = load(parts.laboratory)
        with TemporaryDirectory(prefix="athanor-") as folder:
            place = InstrumentPlace.of(parts.name, Path(folder))
            try:
                laboratory.start(place, self._options)
                yield place
            finally:
                laboratory.shutdown(place)
                shutil.rmtree(place.sockets, ignore_errors=True)

    def _connected(self, parts: Profile, bench: Bench) -> None:
        faulty = set()
        for one in bench.failures:
            step = "building" if one.is_building else "connecting"
            self._say(step, "fault", one.device, one.signal, one.reason, one.remedy)
            faulty.add(one.device)
        for name in (*parts.axes, *parts.detectors):
            if name in bench.axes or name in bench.detectors:
                self._say("connecting", "ok", name)
            elif name not in faulty:
                wiring = parts.devices.get(name)
                controller = wiring.controller if isinstance(wiring, AxisWiring | DetectorWiring) else None
                said = f"controller {controller} is not connected" if controller else "its device cannot be built"
                self._say("connecting", "not checked", name, "", said)

    def _readbacks(self, parts: Profile, bench: Bench) -> None:
        self._on_look("read-back")
        asked = {name: bench.probes[name].ask() for name in bench.axes}
        units = {name: spawn(lambda name=name: self._unit(bench, name), "unit") for name in bench.axes}  # type: ignore[misc]
        wait(asked.values(), self._timeout_s)
        deadline = time.monotonic() + self._timeout_s
        for name, future in asked.items():
            sample = future.result() if future.done() else None
            if sample is None:
                self._say("read-back", "fault", name, "", "no answer in time", "see to the axis or its line")
            elif isinstance(parts.devices.get(name), ManualWiring) and (sample.trouble or sample.value == ""):
                self._say("read-back", "not checked", name, "", "nobody has set it yet")
            elif sample.trouble is not None:
                self._say("read-back", "fault", name, "", sample.trouble, "see to the sensor, or correct its address")
            else:
                self._stands(parts, name, sample.value)
            unit, _ = outcome(units[name], deadline)
            if unit and parts.axes[name].unit not in (None, unit):
                said = f"the device says {unit}, the profile {parts.axes[name].unit}"
                self._say("read-back", "fault", name, "unit", said, "convert it, or correct the profile")

    def _unit(self, bench: Bench, name: str) -> str | None:
        """The unit in which the device itself says that it reads."""
        described = bench.axes[name].describe()
        if hasattr(described, "__await__"):

            async def finish() -> Any:
                return await described

            described = bench.call(finish(), self._timeout_s)
        key: Mapping[str, Any] = described.get(name) or next(iter(described.values()), {})
        unit = key.get("units")
        return unit if isinstance(unit, str) else None

    def _stands(self, parts: Profile, name: str, here: Any) -> None:
        """What a read-back says, against the limits."""
        axis = parts.axes[name]
        if here is None or (isinstance(here, float) and not math.isfinite(here)):
            self._say("read-back", "fault", name, "", f"it reads {here}", "see to the sensor")
            return
        self._say(
            "read-back", "ok", name, "", f"{here if isinstance(here, str) else f'{here:g}'} {axis.unit or ''}".strip()
        )
        is_number = isinstance(here, int | float) and not isinstance(here, bool)
        margin = axis.tolerance
        if axis.allowed is not None:
            is_inside = any(
                here == one or (is_number and not isinstance(one, str) and abs(here - one) <= margin)
                for one in axis.allowed
            )
        elif axis.minimum is not None and axis.maximum is not None:
            is_inside = is_number and axis.minimum - margin <= here <= axis.maximum + margin
        else:
            return
        if not is_inside:
            said = f"it stands at {here!r}, outside its limits"
            self._say("limits", "not now", name, "", said, "bring it inside by hand, or correct the limits")

    def _detectors(self, parts: Profile, bench: Bench) -> None:
        self._on_look("detectors")
        for name in bench.detectors:
            wiring = parts.devices.get(name)
            if name in bench.readers:
                for signal, read in bench.readers[name].items():
                    try:
                        value = bench.call(read(), self._timeout_s).value
                    except Exception as error:  # noqa: BLE001 - whatever a client raises is what is wrong
                        said, _, remedy = str(error).removeprefix(f"{name}.{signal}: ").partition("; ")
                        self._say("detectors", "fault", name, signal, said, remedy or "see to the sensor")
                    else:
                        self._say("detectors", "ok", name, signal, f"{value}")
            elif isinstance(wiring, ManualWiring):
                self._say("detectors", "not checked", name, "", "a person is asked for it in each run")
            elif isinstance(wiring, DetectorWiring) and wiring.probe:
                self._say("detectors", "ok", name, "", "its signals answer; it measures only when it is triggered")
            else:
                self._say("detectors", "not checked", name, "", "it measures only when it is triggered")

    def _interlocks(self, parts: Profile, bench: Bench) -> None:
        self._on_look("interlocks")
        for number, spec in enumerate(parts.interlocks):
            if missing := bench.missing(spec):
                said = f"it speaks of {', '.join(missing)}, which cannot be read"
                self._say("interlocks", "not now", spec.name, "", said, "put that right first")
            elif (refused := bench.interlock(number)) is not None:
                self._say("interlocks", "not now", spec.name, "", refused.detail, "no experiment runs until it holds")
            else:
                self._say("interlocks", "ok", spec.name, "", spec.require)

    # -- what moves ---------------------------------------------------------------------------------------------------

    def _exercise(self, parts: Profile, bench: Bench, place: InstrumentPlace, has_worker: bool) -> None:
        """Move every axis, one after the other, while no worker can start."""
        self._on_look("exercise")
        try:
            gate(self._place)
            if self._sight.profile is None:
                # What is put aside may be the very interlock that would have refused a move.
                raise SetRefused("config.faulty", "the file has mistakes")
            if has_worker:
                raise SetRefused("instrument.busy", "a worker has the instrument")
            # A simulator that was started for this check is nobody else's.
            is_alone = place != self._place
            with nullcontext() if is_alone else reserved(place, Config(self._sight.profile, self._options)):
                self._move(parts, bench)
        except SetRefused as refused:
            self._say("exercise", "not checked", "", "", f"nothing was moved: {refused.detail}", "put that right first")

    def _move(self, parts: Profile, bench: Bench) -> None:
        from athanor.instruments.exercise import Exercise

        for name, axis in bench.axes.items():
            if isinstance(parts.devices.get(name), ManualWiring):
                self._say("exercise", "not checked", name, "", "a person sets it")
                continue
            if parts.axes[name].limit() is None or stop_kind(parts.devices.get(name)) is None:
                self._say("exercise", "not checked", name, "", "without limits or a stop it is not moved")
                continue
            self._on_look(f"exercise: {name}")
            for finding in bench.call(Exercise(name, axis, parts.axes[name], bench.gate).run()):
                self.report.add(finding)
