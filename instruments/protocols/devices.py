"""Axes and detectors over a client, as ophyd-async devices: values scaled, verified, and never silently bad."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bluesky.protocols import Location, Movable, Stoppable, Triggerable
from event_model import DataKey
from ophyd_async.core import AsyncLocatable, AsyncStatus, SignalBackend, SignalR, StandardReadable
from ophyd_async.core import StandardReadableFormat as Format

from athanor.instruments.profile import AxisSpec, DetectorSpec
from athanor.instruments.protocols.client import (
    BadQuality,
    Client,
    NotConnected,
    Quality,
    Reading,
    Refused,
    SignalSpec,
    Value,
    typed,
    within,
)
from athanor.instruments.protocols.wiring import AxisWiring, DetectorWiring

MARGIN_S = 1.0
"""What a client is given beyond its deadline before we stop waiting for it."""
STILL = 3
"""At least so many looks in a row at a controller that is done, but elsewhere, before the motion counts as failed."""

_SEVERITY = {Quality.GOOD: 0, Quality.UNCERTAIN: 1, Quality.BAD: 2}
_KINDS = {
    float: {"dtype": "number", "dtype_numpy": "<f8"},
    int: {"dtype": "integer", "dtype_numpy": "<i8"},
    bool: {"dtype": "boolean", "dtype_numpy": "|b1"},
    str: {"dtype": "string", "dtype_numpy": "|S40"},
}


class Wire:
    """One signal over its client: with a deadline, in the signal's unit, and no value that nobody may use.

    Args:
        client: The connection to the signal's controller.
        spec: The signal, with the names that errors are to use.
        reply_s: Seconds that one answer may take.
    """

    def __init__(self, client: Client, spec: SignalSpec, reply_s: float) -> None:
        self.client = client
        self.spec = spec
        self.reply_s = reply_s

    async def read(self) -> Reading:
        """The value now, scaled. Raises `SignalError`; `BadQuality` for NaN, infinity, nothing and bad quality."""
        spec = self.spec
        async with within(spec, self.reply_s + MARGIN_S, "read"):
            reading = await self.client.read(spec, self.reply_s)
        said = f" ({reading.detail})" if reading.detail else ""
        if reading.quality is Quality.BAD:
            raise BadQuality.on(spec, f"the controller calls {reading.value!r} bad{said}", "see to the sensor")
        if reading.value is None:
            raise BadQuality.on(spec, f"the controller has no value{said}", "see to the sensor")
        raw = typed(spec, reading.value)
        value = spec.engineering(raw)
        if isinstance(value, float) and not math.isfinite(value):
            raise BadQuality.on(spec, f"the value is {value}{said}", "see to the sensor")
        return Reading(value, reading.timestamp, reading.quality, reading.detail)

    async def write(self, value: Value) -> None:
        """Write a value in the signal's unit. Raises `SignalError`."""
        spec = self.spec
        raw = typed(spec, spec.raw(value))
        if isinstance(raw, float) and not math.isfinite(raw):
            raise Refused.on(spec, f"{raw} is no value to write", "give a finite number")
        async with within(spec, self.reply_s + MARGIN_S, "write"):
            await self.client.write(spec, raw, self.reply_s)

    @property
    def datatype(self) -> type[Any]:
        """What a reading is in Python: a whole number that is scaled is a float."""
        if self.spec.type == "int" and (self.spec.scale != 1 or self.spec.offset != 0):
            return float
        return {"float": float, "int": int, "str": str, "bool": bool}[self.spec.type]


class WiredBackend(SignalBackend[Any]):
    """What ophyd-async reads: the wire's readings, with the controller's own time and quality."""

    def __init__(self, wire: Wire, unit: str | None, fetch: Callable[[], Awaitable[Reading]]) -> None:
        self._wire = wire
        self._unit = unit
        self._fetch = fetch
        super().__init__(wire.datatype)

    def source(self, name: str, read: bool) -> str:
        """Where the value comes from."""
        spec = self._wire.spec
        return f"{self._wire.client.address} {(spec.read if read else spec.write) or ''}".rstrip()

    async def connect(self, timeout: float) -> None:
        """Nothing: the client is connected, and who owns the device probes it."""

    async def put(self, value: Any) -> None:
        """Write the value."""
        await self._wire.write(value)

    async def get_datakey(self, source: str) -> DataKey:
        """What a reading is."""
        key: dict[str, Any] = {"source": source, "shape": [], **_KINDS[self._wire.datatype]}
        if self._unit is not None:
            key["units"] = self._unit
        return DataKey(**key)

    async def get_reading(self) -> Any:
        """The value with its time."""
        reading = await self._fetch()
        return {
            "value": reading.value,
            "timestamp": reading.timestamp,
            "alarm_severity": _SEVERITY[reading.quality],
        }

    async def get_value(self) -> Any:
        """The value."""
        return (await self._fetch()).value

    async def get_setpoint(self) -> Any:
        """The value: a set point has a device of its own."""
        return await self.get_value()

    def set_callback(self, callback: Any) -> None:
        """Refuse: these signals are asked, they do not call."""
        if callback is not None:
            raise Refused.on(self._wire.spec, "it cannot be monitored", "read it instead")


@dataclass
class _Motion:
    """One set under way; `over` is set when something else ends it."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""
    is_success: bool = False

    def end(self, reason: str, is_success: bool = False) -> None:
        if not self.over.is_set():
            self.reason, self.is_success = reason, is_success
            self.over.set()


class WiredAxis(StandardReadable, AsyncLocatable[Any], Movable[Any], Stoppable):
    """An axis over a client. Its read-back carries the axis's own name.

    Args:
        name: Name of the axis in the profile.
        spec: Its unit, its tolerance (in that unit) and the seconds that a motion may take.
        wiring: Its signals, and when a set is done.
        client: The connection to its controller.
    """

    def __init__(self, name: str, spec: AxisSpec, wiring: AxisWiring, client: Client) -> None:
        self._client = client
        self._tolerance = spec.tolerance
        self._timeout_s = spec.timeout_s
        self._wiring = wiring
        self._wires = {
            part: Wire(client, signal.named(name, part), wiring.reply_s) for part, signal in wiring.signals().items()
        }
        self._back = self._wires.get("readback", self._wires["setpoint"])
        self._sent: Value | None = None
        self._motion: _Motion | None = None
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            self.readback: SignalR[Any] = SignalR(WiredBackend(self._back, spec.unit, self._back.read))
        super().__init__(name=name)

    def set_name(self, name: str, *, child_name_separator: str | None = None) -> None:
        """Name the device, and its read-back alike."""
        super().set_name(name, child_name_separator=child_name_separator)
        self.readback.set_name(name)

    async def probe(self) -> None:
        """Read once what can be read. Raises `SignalError`, but not for a value that is merely bad now."""
        for part, wire in self._wires.items():
            if wire.spec.read is not None and part != "stop":
                with suppress(BadQuality):
                    await wire.read()

    @AsyncStatus.wrap
    async def set(self, value: Value) -> None:
        """Move; done as the wiring's `verify` says.

        Raises:
            TimeoutError: Not done in time.
            SignalError: A signal failed; `NotConnected` when the line broke, and where the axis ends up is unknown.
            RuntimeError: The motion was stopped, or replaced by another, or ended elsewhere.
        """
        if self._motion is not None:
            self._motion.end("sent elsewhere")
        motion = self._motion = _Motion()
        self._sent = value
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._wires["setpoint"].write(value)
                if self._wiring.verify == "accepted":
                    await self._see_accepted(value)
                elif self._wiring.verify == "readback":
                    await self._see_arrived(value, motion)
        except TimeoutError:
            raise TimeoutError(f"{self.name} did not reach {value!r} within {self._timeout_s:g} s") from None
        finally:
            if self._motion is motion:
                self._motion = None
        if motion.over.is_set() and not motion.is_success:
            here = await self._here()
            raise RuntimeError(f"{self.name} was {motion.reason} at {here} on its way to {value!r}")

    async def stop(self, success: bool = True) -> None:
        """Halt where it is; `success` says whether a motion under way counts as done. Returns when it is accepted.

        Raises:
            SignalError: The stop did not reach the controller, or the axis has none.
        """
        motion = self._motion
        try:
            await self._halt()
        except BaseException as error:
            if motion is not None:
                motion.end(f"to be stopped, which failed ({error}),")
            raise
        if motion is not None:
            motion.end("stopped", success)

    async def locate(self) -> Location[Any]:
        """Where the axis was last sent, by us or else as the controller says, and where it is."""
        here = (await self._back.read()).value
        sent: Value | None = self._sent
        if sent is None:
            setpoint = self._wires["setpoint"]
            sent = here if setpoint.spec.read is None else (await setpoint.read()).value
        return {"setpoint": sent, "readback": here}

    async def is_moving(self) -> bool:
        """Whether it moves, as its controller says; without a `done` signal, whether two looks differ."""
        done = self._wires.get("done")
        if done is not None:
            return (await done.read()).value != self._wiring.done_value
        first = (await self._back.read()).value
        await asyncio.sleep(self._wiring.poll_s)
        second = (await self._back.read()).value
        assert first is not None and second is not None
        return not self._is_at(first, second)

    # -- parts --------------------------------------------------------------------------------------------------------

    async def _halt(self) -> None:
        how = self._wiring.stop
        if how == "hold":
            here = (await self._wires["readback"].read()).value
            assert here is not None
            await self._wires["setpoint"].write(here)
            self._sent = here
        elif how is None:
            raise Refused(self.name, "stop", "the axis has no stop", "give the device `stop:` in the profile")
        else:
            await self._wires["stop"].write(self._wiring.stop_value)

    async def _here(self) -> str:
        try:
            return repr((await self._back.read()).value)
        except RuntimeError as error:
            return f"an unknown place ({error})"

    async def _see_accepted(self, value: Value) -> None:
        taken = (await self._wires["setpoint"].read()).value
        assert taken is not None
        if not self._is_at(taken, value):
            raise Refused.on(
                self._wires["setpoint"].spec,
                f"it was set to {value!r}, and the controller took {taken!r}",
                "compare its limits and resolution with the profile's",
            )

    async def _see_arrived(self, value: Value, motion: _Motion) -> None:
        done = self._wires.get("done")
        began = elsewhere = time.monotonic()
        arrived: float | None = None
        has_moved = False
        still = 0
        while not motion.over.is_set():
            if not self._client.is_connected:
                spec = self._back.spec
                raise NotConnected.on(spec, f"the line broke on the way to {value!r}", "see where the axis stands")
            is_done = done is None or (await done.read()).value == self._wiring.done_value
            here = (await self._back.read()).value
            assert here is not None
            now = time.monotonic()
            if is_done and self._is_at(here, value):
                arrived = now if arrived is None else arrived
                if now - arrived >= self._wiring.stable_s:
                    return
            else:
                arrived = None
            # Done, yet elsewhere: some controllers are slow to begin, so a motion that was never seen gets a while.
            if done is None or not is_done or arrived is not None:
                still, elsewhere = 0, now
            elif has_moved or now - began > self._wiring.reply_s:
                still += 1
            if still >= STILL and now - elsewhere >= self._wiring.lag_s and self._wiring.stable_s == 0:
                raise RuntimeError(f"{self.name} ended at {here!r} on its way to {value!r}: stopped, or stuck?")
            has_moved = has_moved or not is_done
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wiring.poll_s):  # `wait_for` may lose a cancellation
                    await motion.over.wait()

    def _is_at(self, here: Value, value: Value) -> bool:
        if isinstance(here, str) or isinstance(value, str):
            return here == value
        # A read-back may differ from its set point by the rounding of one conversion of units.
        return abs(here - value) <= self._tolerance + 4 * math.ulp(max(abs(value), 1.0))


class WiredDetector(StandardReadable, Triggerable):
    """A detector over a client; every signal is read under its own name.

    Args:
        name: Name of the detector in the profile.
        spec: Its signals' units, and the seconds that a reading may take.
        wiring: Its signals, and what triggers them.
        client: The connection to its controller.
    """

    def __init__(self, name: str, spec: DetectorSpec, wiring: DetectorWiring, client: Client) -> None:
        self._client = client
        self._timeout_s = spec.timeout_s
        self._wiring = wiring
        self._signals = {
            signal: Wire(client, found.named(name, signal), wiring.reply_s) for signal, found in wiring.signals.items()
        }
        self._trigger = self._wire(name, "trigger", wiring.trigger)
        self._done = self._wire(name, "done", wiring.done)
        self._taken: dict[str, Reading] = {}
        with self.add_children_as_readables(Format.HINTED_UNCACHED_SIGNAL):
            for signal, wire in self._signals.items():
                setattr(self, signal, SignalR(WiredBackend(wire, spec.signals.get(signal), self._latest(wire))))
        super().__init__(name=name)

    def _wire(self, name: str, part: str, signal: SignalSpec | None) -> Wire | None:
        return None if signal is None else Wire(self._client, signal.named(name, part), self._wiring.reply_s)

    def _latest(self, wire: Wire) -> Callable[[], Awaitable[Reading]]:
        async def fetch() -> Reading:
            if (reading := self._taken.get(wire.spec.name)) is None:
                raise BadQuality.on(wire.spec, "nothing was measured yet", "trigger the detector first")
            return reading

        return fetch

    def set_name(self, name: str, *, child_name_separator: str | None = None) -> None:
        """Name the device; its signals keep their own names."""
        super().set_name(name, child_name_separator=child_name_separator)
        for signal in self._signals:
            getattr(self, signal).set_name(signal)

    async def probe(self) -> None:
        """Read every signal once. Raises `SignalError`, but not for a value that is merely bad now."""
        for wire in [*self._signals.values(), *([self._done] if self._done else [])]:
            with suppress(BadQuality):
                await wire.read()

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Measure once, and keep what every signal reads then; a failure leaves no reading at all.

        Raises:
            TimeoutError: Not done in time.
            SignalError: A signal failed, or its value is one that nobody may use.
        """
        self._taken = {}
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._trigger is not None:
                    await self._trigger.write(self._wiring.trigger_value)
                while self._done is not None and (await self._done.read()).value != self._wiring.done_value:
                    await asyncio.sleep(self._wiring.poll_s)
                taken = {signal: await wire.read() for signal, wire in self._signals.items()}
        except TimeoutError:
            raise TimeoutError(f"{self.name} did not measure within {self._timeout_s:g} s") from None
        self._taken = taken
