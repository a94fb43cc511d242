"""Building and connecting the devices of a wired instrument, with every failure kept. Loads bluesky."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from bluesky.protocols import Movable, Readable, Stoppable, Triggerable
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd_async.core import Device

from athanor.instruments.laboratory import Devices, RunContext
from athanor.instruments.profile import Profile
from athanor.instruments.protocols.client import BadQuality, Client
from athanor.instruments.protocols.desk import Desk
from athanor.instruments.protocols.devices import MARGIN_S, Wire, WiredAxis, WiredDetector
from athanor.instruments.protocols.manual import ManualAxis, ManualDetector
from athanor.instruments.protocols.wired import Faults, client_class
from athanor.instruments.protocols.wiring import AxisWiring, ClassWiring, DetectorWiring, ManualWiring
from athanor.instruments.station import Placed, Station

CLOSE_S = 2.0
TRACK_S = 0.1
READ_S = 2.0
LOST_AFTER = 2
"""So many reads of an axis in a row have failed when the instrument is lost."""
STILL_S = 0.3
"""An axis that does not say whether it moves stands when its read-back has not changed for so long."""
FRESH_S = 1.0


class LiveWire:
    """A signal that interlocks read at any moment."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def read(self) -> dict[str, Any]:
        """Its value now, with the controller's own time. Raises `SignalError`."""
        reading = await self._wire.read()
        return {"value": reading.value, "timestamp": reading.timestamp}


class Wired:
    """One instrument while it is built, and afterwards.

    Args:
        profile: What it is made of.
        place: Where people are asked; None where nothing is going to be run.
    """

    def __init__(self, profile: Profile, place: Placed | None = None) -> None:
        self._profile = profile
        order = [*profile.axes, *profile.detectors]
        self._desk = Desk(None if place is None else Station(place), profile.name, order)
        self._is_manual = any(isinstance(wiring, ManualWiring) for wiring in profile.devices.values())
        self._clients: dict[str, Client] = {}
        self._failures: dict[str, BaseException] = {}
        self._made: dict[str, Any] = {}
        self._live: dict[str, LiveWire] = {}
        self._tracks: list[Track] = []

    async def connect(self) -> None:
        """Build and connect everything, or raise `Faults` with all that failed and close what was open."""
        try:
            self._make_clients()
            await self._each({f"controller {name}": self._open(name) for name in self._clients})
            making = {f"device {name}": self._make(name) for name in self._profile.devices}
            await self._each({**making, **{f"signal {name}": self._tap(name) for name in self._profile.signals}})
            if self._failures:
                raise Faults(self._profile.name, self._failures)
            self._tracks = [Track(axis) for name in self._profile.axes if needs_track(axis := self._made[name])]
        except BaseException:
            await self.close()
            raise

    async def _each(self, work: Mapping[str, Coroutine[Any, Any, None]]) -> None:
        results = await asyncio.gather(*work.values(), return_exceptions=True)
        for place, result in zip(work, results, strict=True):
            if isinstance(result, Exception):
                self._failures[place] = result
            elif isinstance(result, BaseException):
                raise result

    def _make_clients(self) -> None:
        for name, spec in self._profile.controllers.items():
            try:
                self._clients[name] = client_class(spec.protocol)(spec.address, spec.options, name)
            except Exception as error:  # noqa: BLE001 - one bad controller does not hide the rest
                self._failures[f"controller {name}"] = error

    async def _open(self, name: str) -> None:
        wait_s = self._profile.controllers[name].connect_s
        try:
            async with asyncio.timeout(wait_s + MARGIN_S):
                await self._clients[name].connect(wait_s)
        except TimeoutError:
            raise TimeoutError(f"did not connect within {wait_s:g} s") from None

    async def _make(self, name: str) -> None:
        wiring = self._profile.devices[name]
        if isinstance(wiring, ClassWiring):
            self._made[name] = await self._make_class(name, wiring)
            return
        if isinstance(wiring, ManualWiring):
            self._made[name] = self._make_manual(name, wiring)
            return
        client = self._clients.get(wiring.controller)
        if client is None or not client.is_connected:
            return  # the controller's own failure says why
        device: WiredAxis | WiredDetector
        if isinstance(wiring, AxisWiring):
            device = WiredAxis(name, self._profile.axes[name], wiring, client)
        else:
            device = WiredDetector(name, self._profile.detectors[name], wiring, client)
        await device.connect(timeout=wiring.reply_s)
        if not isinstance(wiring, DetectorWiring) or wiring.probe:
            await device.probe()
        self._made[name] = device

    def _make_manual(self, name: str, wiring: ManualWiring) -> ManualAxis | ManualDetector:
        if name in self._profile.axes:
            return ManualAxis(name, self._profile.axes[name], wiring, self._desk)
        return ManualDetector(name, self._profile.detectors[name], wiring, self._desk)

    async def _tap(self, name: str) -> None:
        spec = self._profile.signals[name]
        client = self._clients.get(spec.controller or "")
        if client is None or not client.is_connected:
            return
        live = LiveWire(Wire(client, spec.wire().named("signals", name), spec.reply_s))
        with suppress(BadQuality):
            await live.read()
        self._live[name] = live

    async def _make_class(self, name: str, wiring: ClassWiring) -> Any:
        module, _, attribute = wiring.entry.partition(":")
        kind = getattr(import_module(module), attribute)
        try:
            async with asyncio.timeout(wiring.connect_s + MARGIN_S):
                # In a thread, as drivers expect: making one may block, and must not stop this loop.
                device = await asyncio.to_thread(kind, **wiring.args, name=name)
                if isinstance(device, Device):
                    await device.connect(timeout=wiring.connect_s)
                elif hasattr(device, "wait_for_connection"):
                    await asyncio.to_thread(device.wait_for_connection, timeout=wiring.connect_s)
        except TimeoutError as error:
            said = f" ({error})" if str(error) else ""
            raise TimeoutError(f"{wiring.entry} did not connect within {wiring.connect_s:g} s{said}") from error
        is_axis = name in self._profile.axes
        needed: tuple[Any, ...] = (Movable, Readable, Stoppable) if is_axis else (Triggerable, Readable)
        if lacking := [protocol.__name__ for protocol in needed if not isinstance(device, protocol)]:
            raise TypeError(f"{wiring.entry} is not {' and not '.join(lacking)}; give a class that is")
        return device

    def devices(self) -> Devices:
        """What the worker uses."""
        must_tell = bool(self._profile.prepare) or self._is_manual
        return Devices(
            axes={name: self._made[name] for name in self._profile.axes},
            detectors=[self._made[name] for name in self._profile.detectors],
            prepare_run=(lambda run: call_in_bluesky_event_loop(self._prepare(run))) if must_tell else None,
            is_moving=lambda: bool(call_in_bluesky_event_loop(self._is_moving())),
            close=lambda: call_in_bluesky_event_loop(self.close(), timeout=CLOSE_S + MARGIN_S),
            is_connected=self._is_connected,
            signals=dict(self._live),
        )

    async def _prepare(self, run: RunContext) -> None:
        """Tell station and controllers of a run, one thing after the other. Raises `SignalError` or `OSError`."""
        self._desk.begin(run)
        for told in self._profile.prepare:
            wire = Wire(self._clients[told.controller], told.signal.named("prepare", ""), told.reply_s)
            await wire.write(told.render(run))

    def _is_connected(self) -> bool:
        classic = (getattr(device, "connected", True) for device in self._made.values())
        lines = (client.is_connected for client in self._clients.values())
        return all(lines) and all(classic) and not any(track.is_lost for track in self._tracks)

    async def _is_moving(self) -> bool:
        tracks = {id(track.axis): track for track in self._tracks}
        axes = [self._made[name] for name in self._profile.axes]
        return any(await asyncio.gather(*(_moves(axis, tracks.get(id(axis))) for axis in axes)))

    async def close(self) -> None:
        """Close every line; never raises."""
        for track in self._tracks:
            track.end()
        closing = [asyncio.ensure_future(client.close()) for client in self._clients.values()]
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_S)


class Track:
    """Follows where an axis of somebody else's class stands, since its device says neither that it moves nor that it is
    there. What its own process began is all that many drivers know of; this sees what others began, too.
    """

    def __init__(self, axis: Any) -> None:
        self.axis = axis
        self._last: Any = None
        self._read_at = self._changed_at = time.monotonic()
        self._missed = 0
        self._task = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(READ_S):
                    reading = await _outcome(self.axis.read)
                now, values = time.monotonic(), {field: item["value"] for field, item in reading.items()}
                self._changed_at = self._changed_at if values == self._last else now
                self._last, self._read_at, self._missed = values, now, 0
            except Exception:  # noqa: BLE001 - whatever a driver raises, it was not read
                self._missed += 1
            await asyncio.sleep(TRACK_S)

    @property
    def is_lost(self) -> bool:
        """Whether it does not answer any more."""
        return self._missed >= LOST_AFTER

    def is_moving(self) -> bool:
        """Whether it has just been elsewhere. Raises `TimeoutError` when it has not been read lately."""
        now = time.monotonic()
        if now > self._read_at + FRESH_S:
            raise TimeoutError(f"{self.axis.name} has not been read for {now - self._read_at:.1f} s")
        return now < self._changed_at + STILL_S

    def end(self) -> None:
        """Follow it no longer."""
        self._task.cancel()


def needs_track(axis: Any) -> bool:
    """Whether an axis is of somebody else's class, and does not itself know whether its line is there, or it moves."""
    return not isinstance(axis, WiredAxis | ManualAxis) and (isinstance(axis, Device) or not _tells(axis))


def _tells(axis: Any) -> bool:
    """Whether `moving` of classic ophyd is what the controller says, and not what this process has begun."""
    return getattr(axis, "done", None) is not None or hasattr(axis, "motor_is_moving")


async def _moves(axis: Any, track: Track | None) -> bool:
    """Whether an axis moves, whoever has set it: by its class, by its controller, or by where it stands."""
    if isinstance(axis, ManualAxis):
        return False
    if (ask := getattr(axis, "is_moving", None)) is not None:
        return bool(await _outcome(ask))
    if isinstance(axis, Device) and (done := getattr(axis, "motor_done_move", None)) is not None:
        return not await done.get_value()
    if track is None:
        return bool(await asyncio.to_thread(getattr, axis, "moving"))
    return track.is_moving() or getattr(axis, "moving", False) is True


async def _outcome(call: Callable[[], Any]) -> Any:
    """What a method gives that may be a coroutine function, or block."""
    if inspect.iscoroutinefunction(call):
        return await call()
    found = await asyncio.to_thread(call)
    return await found if inspect.isawaitable(found) else found


def build(profile: Profile, place: Placed | None = None) -> Devices:
    """What `connect_profile` promises."""
    wired = Wired(profile, place)
    call_in_bluesky_event_loop(wired.connect())
    return wired.devices()
