"""Building and connecting what can be, of a wired instrument that need not be sound. Loads bluesky."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from athanor.instruments.profile import Profile
from athanor.instruments.protocols.building import LiveWire, Wired
from athanor.instruments.protocols.client import BadQuality, Reading, SignalError
from athanor.instruments.protocols.devices import Wire
from athanor.instruments.protocols.wiring import ClassWiring, DetectorWiring, ManualWiring
from athanor.instruments.station import Placed


class Looking(Wired):
    """A wired instrument of which whatever works is kept open, and all that fails is told.

    Args:
        profile: The sound parts of a profile.
        timeout_s: Seconds that no single device or controller may outlast, whatever the profile grants it.
        place: Where people have said how the manual axes stand.
    """

    def __init__(self, profile: Profile, timeout_s: float, place: Placed | None = None) -> None:
        super().__init__(profile, place)
        self._timeout_s = timeout_s
        self._signals: dict[str, list[SignalError]] = {}

    async def look(self) -> list[tuple[str, BaseException]]:
        """Build and connect everything; what failed, as (`controller NAME`, `device NAME` or `signal NAME`, error)."""
        self._make_clients()
        await self._each({f"controller {name}": self._timed(self._open, name) for name in self._clients})
        making = {f"device {name}": self._timed(self._make, name) for name in self._profile.devices}
        await self._each(
            {**making, **{f"signal {name}": self._timed(self._tap, name) for name in self._profile.signals}}
        )
        found: list[tuple[str, BaseException]] = []
        for place, error in self._failures.items():
            every: list[BaseException] = [*self._signals.get(place, [error])]
            found += [(place, each) for each in every]
        return found

    async def _timed(self, work: Callable[[str], Awaitable[None]], name: str) -> None:
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                await work(name)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimeoutError(f"no answer within {self._timeout_s:g} s") from None

    async def _make(self, name: str) -> None:
        try:
            await super()._make(name)
        except SignalError as first:
            found = await self._ask_each(name)
            self._signals[f"device {name}"] = found or [first]
            raise

    async def _ask_each(self, name: str) -> list[SignalError]:
        """What is wrong with each signal of a device; the device itself stops at the first."""
        wiring = self._profile.devices[name]
        if isinstance(wiring, ClassWiring | ManualWiring):
            return []
        client = self._clients[wiring.controller]
        signals = wiring.signals if isinstance(wiring, DetectorWiring) else wiring.signals()
        parts = dict(signals) if isinstance(signals, dict) else dict(signals.items())
        if isinstance(wiring, DetectorWiring) and wiring.done is not None:
            parts["done"] = wiring.done
        found = []
        for part, spec in parts.items():
            if spec.read is None or (part == "stop" and not isinstance(wiring, DetectorWiring)):
                continue
            try:
                with suppress(BadQuality):
                    await Wire(client, spec.named(name, part), wiring.reply_s).read()
            except SignalError as error:
                found.append(error)
        return found

    @property
    def made(self) -> dict[str, Any]:
        """The devices that work, by name."""
        return dict(self._made)

    @property
    def live(self) -> dict[str, LiveWire]:
        """The live signals that answer, by name."""
        return dict(self._live)

    def is_open(self, controller: str) -> bool:
        """Whether the line to a controller stands."""
        client = self._clients.get(controller)
        return client is not None and client.is_connected

    def readers(self, detector: str) -> dict[str, Callable[[], Awaitable[Reading]]]:
        """What reads each signal of a detector that needs no trigger, by name."""
        wiring = self._profile.devices[detector]
        assert isinstance(wiring, DetectorWiring)
        client = self._clients[wiring.controller]
        return {
            name: Wire(client, spec.named(detector, name), wiring.reply_s).read for name, spec in wiring.signals.items()
        }
