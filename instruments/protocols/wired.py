"""The laboratory of an instrument whose profile says itself how it is reached: builds its devices and connects them.

One bad device does not hide the rest: whatever fails while building and connecting is reported together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

from bluesky.protocols import Movable, Readable, Stoppable, Triggerable
from bluesky.run_engine import call_in_bluesky_event_loop
from ophyd_async.core import Device

from athanor.instruments.laboratory import Devices, InstrumentUnavailable
from athanor.instruments.profile import Profile, ProfileError, ProfileProblem
from athanor.instruments.protocols.client import Client, ClientClass
from athanor.instruments.protocols.devices import MARGIN_S, WiredAxis, WiredDetector
from athanor.instruments.protocols.wiring import AxisWiring, ClassWiring, DetectorWiring

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

GROUP = "athanor.protocols"
"""Entry points of this group are further protocols: a name, and a class that meets `Client`."""
CLOSE_S = 2.0

PROTOCOLS = {
    "channel-access": "channel_access:ChannelAccessClient",
    "http": "http:HttpClient",
    "modbus": "modbus:ModbusClient",
    "opcua": "opcua:OpcuaClient",
    "pv-access": "pv_access:PvAccessClient",
    "scpi": "scpi:ScpiClient",
}


class UnknownProtocol(LookupError):
    """No protocol of that name is known."""


class Faults(InstrumentUnavailable):
    """Everything that failed while an instrument was built and connected, by device or controller."""

    def __init__(self, instrument: str, failures: Mapping[str, BaseException]) -> None:
        self.failures = dict(failures)
        lines = "".join(f"\n  {place}: {error or type(error).__name__}" for place, error in failures.items())
        super().__init__(instrument, f"{len(failures)} fault{'s' * (len(failures) > 1)}{lines}\n", "put each right")


def client_class(protocol: str) -> ClientClass:
    """The client of a protocol; imports its module, and no library. Raises `UnknownProtocol`."""
    for entry in entry_points(group=GROUP, name=protocol):
        return cast(ClientClass, entry.load())
    if protocol not in PROTOCOLS:
        known = sorted({*PROTOCOLS, *(entry.name for entry in entry_points(group=GROUP))})
        raise UnknownProtocol(f"there is no protocol {protocol!r}; use one of: {', '.join(known)}")
    module, name = PROTOCOLS[protocol].split(":")
    return cast(ClientClass, getattr(import_module(f"athanor.instruments.protocols.{module}"), name))


class _Wired:
    """One instrument while it is built, and afterwards."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._clients: dict[str, Client] = {}
        self._failures: dict[str, BaseException] = {}
        self._made: dict[str, Any] = {}

    async def connect(self) -> None:
        """Build and connect everything, or raise `Faults` with all that failed and close what was open."""
        try:
            self._make_clients()
            await self._each({f"controller {name}": self._open(name) for name in self._clients})
            await self._each({f"device {name}": self._make(name) for name in self._profile.devices})
            if self._failures:
                raise Faults(self._profile.name, self._failures)
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

    async def _make_class(self, name: str, wiring: ClassWiring) -> Any:
        module, _, attribute = wiring.entry.partition(":")
        device = getattr(import_module(module), attribute)(**wiring.args, name=name)
        if isinstance(device, Device):
            await device.connect(timeout=wiring.connect_s)
        elif hasattr(device, "wait_for_connection"):
            await asyncio.to_thread(device.wait_for_connection, timeout=wiring.connect_s)
        is_axis = name in self._profile.axes
        needed: tuple[Any, ...] = (Movable, Readable, Stoppable) if is_axis else (Triggerable, Readable)
        if lacking := [protocol.__name__ for protocol in needed if not isinstance(device, protocol)]:
            raise TypeError(f"{wiring.entry} is not {' and not '.join(lacking)}; give a class that is")
        return device

    def devices(self) -> Devices:
        """What the worker uses."""
        return Devices(
            axes={name: self._made[name] for name in self._profile.axes},
            detectors=[self._made[name] for name in self._profile.detectors],
            is_moving=lambda: bool(call_in_bluesky_event_loop(self._is_moving())),
            close=lambda: call_in_bluesky_event_loop(self.close(), timeout=CLOSE_S + MARGIN_S),
            is_connected=self._is_connected,
        )

    def _is_connected(self) -> bool:
        classic = (getattr(device, "connected", True) for device in self._made.values())
        return all(client.is_connected for client in self._clients.values()) and all(classic)

    async def _is_moving(self) -> bool:
        axes = [self._made[name] for name in self._profile.axes]
        answers = await asyncio.gather(*(axis.is_moving() for axis in axes if isinstance(axis, WiredAxis)))
        return any(answers) or any(getattr(axis, "moving", False) is True for axis in axes)

    async def close(self) -> None:
        """Close every line; never raises."""
        closing = [asyncio.ensure_future(client.close()) for client in self._clients.values()]
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_S)


def connect_profile(profile: Profile) -> Devices:
    """Build and connect the devices of a wired instrument. A RunEngine must exist in this process.

    Raises:
        Faults: With everything that failed; nothing stays open.
    """
    wired = _Wired(profile)
    call_in_bluesky_event_loop(wired.connect())
    return wired.devices()


class WiredLaboratory:
    """The laboratory `wired`: every instrument's profile says itself how it is reached."""

    name = "wired"

    def profile(self) -> Profile:
        """Raise `ProfileError`: there is one per instrument, in its own file."""
        raise ProfileError(
            [
                ProfileProblem(
                    source=self.name,
                    line=None,
                    field="laboratory",
                    detail="a wired instrument has no built-in profile",
                    remedy="name its file: `laboratory: {profile: FILE}`",
                )
            ]
        )

    def start(self, place: InstrumentPlace, options: Mapping[str, Any]) -> None:
        """Nothing: the controllers are there."""

    def shutdown(self, place: InstrumentPlace) -> None:
        """Nothing: the controllers stay."""

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise `ValueError` when there is any: everything stands in the profile."""
        if options:
            raise ValueError(f"a wired instrument has no option {next(iter(options))!r}; write it into the profile")

    def connect(self, place: InstrumentPlace, options: Mapping[str, Any]) -> Devices:
        """Connect the instrument whose configuration lies at `place`. Raises `Faults`."""
        from athanor.instruments.config import Config

        return connect_profile(Config.read(place).profile)


WIRED = WiredLaboratory()
