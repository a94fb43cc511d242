"""A served laboratory as an EPICS soft IOC over Channel Access, by `caproto`: a PV `NAME:DEVICE:POINT` for each point.

Numbers are doubles and longs, whether something is done or moves is a choice of `No` and `Yes`, a run's text is a long
string (an array of characters). What nobody may use has the alarm `INVALID`. A put with callback is done when the
controller has taken it, and fails when it has not; against a plain put `caproto` says nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import time
from typing import Any

from caproto import (
    AccessRights,
    AlarmSeverity,
    AlarmStatus,
    ChannelChar,
    ChannelDouble,
    ChannelEnum,
    ChannelInteger,
    ChannelString,
)
from caproto.asyncio.server import Context

from athanor.sandbox.core import Client, Refusal
from athanor.sandbox.physics import Value
from athanor.sandbox.serving.station import INSTRUMENT, Answer, Point, Station

TEXT = 400
WORDS = ("No", "Yes")
START_S = 20.0


class Circuits(Client):
    """Whoever is connected: a PV is not told which circuit asks."""

    def __init__(self, server: ChannelAccessServer) -> None:
        super().__init__("channel-access")
        self._server = server

    def send(self, message: dict[str, Any]) -> None:
        """Let the axis' monitors know."""
        self._server.show(str(message["axis"]))

    def drop(self) -> None:
        """Cut every connection."""
        for circuit in list(self._server.context.circuits):
            circuit.client.writer.transport.abort()


class Served:
    """Mixed into a channel: it shows what the station answers, and hands on what is put."""

    server: ChannelAccessServer
    point: Point
    shown: Answer | None = None

    def serve(self, server: ChannelAccessServer, point: Point) -> None:
        """Whom it serves."""
        self.server = server
        self.point = point

    def check_access(self, hostname: str, username: str) -> AccessRights:
        """What cannot be written is read-only."""
        return AccessRights.READ | (AccessRights.WRITE if self.point.write is not None else AccessRights.NO_ACCESS)

    async def verify_value(self, data: Any) -> Any:
        """Hand a put on; called for puts alone."""
        checked: Any = await super().verify_value(data)  # type: ignore[misc]
        try:
            self.server.station.put(self.point, self.server.client, _plain(self.point, checked))
        except Refusal:
            self.shown = None  # the failed put leaves an alarm: the next look takes it away
            raise
        self.server.show(self.point.device)  # that it has begun is told even if it is over before anybody looks
        return checked

    async def read(self, data_type: Any) -> Any:
        """What the station answers now."""
        if self.point.read is not None:
            await self.server.bring([(self, self.point.read())])
        return await super().read(data_type)  # type: ignore[misc]

    async def show(self, answer: Answer) -> None:
        """Make this the channel's content, and tell its monitors when it was not."""
        if answer == self.shown:
            return
        self.shown = answer
        is_bad = bool(answer.bad) or answer.value is None
        await self.write(  # type: ignore[attr-defined]
            _content(answer.value),
            verify_value=False,
            severity=AlarmSeverity.INVALID_ALARM if is_bad else AlarmSeverity.NO_ALARM,
            status=AlarmStatus.READ if is_bad else AlarmStatus.NO_ALARM,
            timestamp=answer.at or time.time(),
        )


class Number(Served, ChannelDouble):
    """A double."""


class Whole(Served, ChannelInteger):
    """A long."""


class Choice(Served, ChannelEnum):
    """No or Yes."""


class Word(Served, ChannelString):
    """A choice axis' word."""


class Text(Served, ChannelChar):
    """A long string."""


class ChannelAccessServer:
    """Serves a station's points."""

    protocol = "channel-access"

    def __init__(self, station: Station) -> None:
        self.station = station
        self.client = Circuits(self)
        self.channels = {key: self._channel(point) for key, point in station.points.items()}
        self.context: Any = None
        self._serving: asyncio.Task[None] | None = None
        self._showing: set[asyncio.Task[None]] = set()
        self._order = asyncio.Lock()  # first come, first shown

    async def start(self, host: str, port: int) -> str:
        """Answer searches at a port, 0 being a free one. Returns the address for a profile. Raises OSError."""
        if ":" in host:
            raise OSError(f"{host} is an IPv6 address, which Channel Access does not know; give an IPv4 address")
        port = port or _free_port(host)
        # Read as the context is made. Without an address of their own its beacons would go to the whole network.
        os.environ.update(
            EPICS_CA_SERVER_PORT=str(port),
            EPICS_CAS_INTF_ADDR_LIST=host,
            EPICS_CAS_AUTO_BEACON_ADDR_LIST="NO",
            EPICS_CAS_BEACON_ADDR_LIST=host,
        )
        self.context = Context(
            {self._pv(point): self.channels[key] for key, point in self.station.points.items()}, [host]
        )
        ready = asyncio.Event()

        async def started(_: Any) -> None:
            ready.set()

        self.station.core.join(self.client)
        self._serving = asyncio.ensure_future(self.context.run(startup_hook=started))
        waiting = asyncio.ensure_future(ready.wait())
        await asyncio.wait({self._serving, waiting}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not ready.is_set():
            self._serving.cancel()
            await self._serving  # says why
            raise OSError(f"the IOC does not start within {START_S:g} s")
        self.station.on_measured = self._show_detectors
        return f"{host}:{port}"

    async def close(self) -> None:
        """Hang up."""
        if self._serving is not None and not self._serving.done():
            self.client.drop()
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving
            self.station.core.leave(self.client)

    def controller_options(self) -> dict[str, Any]:
        """What its profile says of the connection."""
        return {"probe": self._pv(self.station.points[INSTRUMENT, "name"])}

    def signal(self, point: Point) -> dict[str, Any]:
        """The point as a profile's signal."""
        spec: dict[str, Any] = {} if point.kind == "float" else {"type": point.kind}
        if point.kind == "command":
            spec["type"] = "int"
        if point.read is not None:
            spec["read"] = self._pv(point)
        if point.write is not None:
            spec["write"] = self._pv(point)
            spec["options"] = {"put": "callback"}  # so that a refusal is heard
        return spec

    def show(self, device: str) -> None:
        """Tell the monitors of a device's points what is so now, after what was so before: no change is left out."""
        channels = [channel for (owner, _), channel in self.channels.items() if owner == device]
        answers = [(channel, channel.point.read()) for channel in channels if channel.point.read is not None]
        showing = asyncio.ensure_future(self.bring(answers))
        self._showing.add(showing)
        showing.add_done_callback(self._showing.discard)

    async def bring(self, answers: list[tuple[Served, Answer]]) -> None:
        """Show answers when all that came before have been shown."""
        async with self._order:
            for channel, answer in answers:
                await channel.show(answer)

    def _show_detectors(self) -> None:
        for name in self.station.detectors:
            self.show(name)

    def _pv(self, point: Point) -> str:
        return f"{self.station.name}:{point.device}:{point.name}"

    def _channel(self, point: Point) -> Any:
        channel: Any
        unit = point.unit or ""
        if point.kind == "float":
            channel = Number(value=0.0, units=unit, precision=6)
        elif point.kind in ("int", "command"):
            channel = Whole(value=0)
        elif point.kind == "bool":
            channel = Choice(value=WORDS[0], enum_strings=list(WORDS))
        elif point.device in self.station.core.axes:
            channel = Word(value="", string_encoding="utf-8")
        else:
            channel = Text(value="", max_length=TEXT, string_encoding="utf-8")
        channel.serve(self, point)
        return channel


def _plain(point: Point, value: Any) -> Any:
    """What was put, as a plain value of the point's kind."""
    if hasattr(value, "item"):
        value = value.item()
    elif isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if point.kind == "str":
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return value


def _content(value: Value | bool | None) -> Any:
    if value is None:
        return math.nan
    if isinstance(value, bool):
        return WORDS[value]
    return value[:TEXT] if isinstance(value, str) else value


def _free_port(host: str) -> int:
    """A port that nobody has now, for searches and for circuits alike."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
