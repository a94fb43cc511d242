"""What the two EPICS protocols have in common: finding PVs and losing them, addresses, options, alarms, times.

EPICS knows no connection to a server, only to a PV, which is searched for by its name. So the line of a controller is
judged by a PV that it always serves, its probe, and by whatever else was found and is there no more.
"""

from __future__ import annotations

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from athanor.instruments.protocols.client import (
    NotConnected,
    Option,
    Quality,
    Refused,
    SignalError,
    SignalSpec,
    TimedOut,
    Value,
    WrongType,
)
from athanor.instruments.protocols.fitting import real

HOST = re.compile(r"(?P<host>[A-Za-z0-9_.-]+)(?::(?P<port>\d{1,5}))?")

SEVERITIES = ("NO_ALARM", "MINOR", "MAJOR", "INVALID", "UNDEFINED")
STATUSES = [
    "NO_ALARM",
    "READ",
    "WRITE",
    "HIHI",
    "HIGH",
    "LOLO",
    "LOW",
    "STATE",
    "COS",
    "COMM",
    "TIMEOUT",
    "HW_LIMIT",
    "CALC",
    "SCAN",
    "LINK",
    "SOFT",
    "BAD_SUB",
    "UDF",
    "DISABLE",
    "SIMM",
    "READ_ACCESS",
    "WRITE_ACCESS",
]
ABOUT_THE_PROCESS = frozenset({"HIHI", "HIGH", "LOLO", "LOW", "STATE", "COS"})
"""Alarms that say something about the process and nothing against the value that was measured."""

EPOCH = 631152000.0
"""EPICS counts from 1990; in Unix seconds."""
EXACT = 2**53
"""Up to here, every whole number is a double."""


REJOIN_S = 0.5


class Closed(Exception):
    """The PV is not, or no longer, connected, or nobody looks for it any more."""


class Trouble(Exception):
    """What the client library has against a PV."""


class Found(Protocol):
    """One PV: whether it is there, whether it ever was, and since when it is searched for, in the loop's time."""

    name: str
    is_up: bool
    was_up: bool
    born: float

    async def up(self) -> None:
        """Wait until it is there. Raises `Closed`."""
        ...


F = TypeVar("F", bound=Found)


class Finder(ABC, Generic[F]):
    """A client's PVs. An option `probe` names the PV by which the line is judged."""

    search_s: float
    """A search gets ever slower; after so long it begins anew."""

    def __init__(self, address: str, probe: str, name: str) -> None:
        self.address = address
        self._name = name
        self._probe = probe
        self._channels: dict[str, F] = {}

    @abstractmethod
    async def _channel(self, name: str) -> F:
        """The PV; when it is down for longer than `search_s`, searched for anew, and all that is lost with it.

        Raises `Trouble` when it cannot be searched for.
        """

    @property
    def is_connected(self) -> bool:
        """Whether the probe is there, and every PV that was there once."""
        return self._is_found and not self._lost()

    @property
    def _is_found(self) -> bool:
        channel = self._channels.get(self._probe)
        return channel is not None and channel.is_up

    def _lost(self) -> list[F]:
        return [channel for channel in list(self._channels.values()) if channel.was_up and not channel.is_up]

    async def connect(self, deadline_s: float) -> None:
        """Open the line and find the probe."""
        try:
            if await self._find(self._probe, now() + deadline_s):
                return
            silent = f"nobody at {self.address} answered for the PV {self._probe!r} within {deadline_s:g} s"
        except Trouble as error:
            silent = f"the PV {self._probe!r} at {self.address} cannot be searched for: {error}"
        raise NotConnected(self._name, "", silent, "check that the IOC runs, its address and the option probe")

    async def _reach(self, signal: SignalSpec, name: str, end: float, deadline_s: float) -> F:
        """The PV, there by then. Raises `NotConnected`, or `TimedOut` when the line is there and only it is not."""
        try:
            channel = await self._find(name, end)
        except Trouble as error:
            raise Refused.on(signal, f"{name!r} cannot be searched for: {error}", "give the name of a PV") from error
        if channel is not None:
            return channel
        silent = f"nobody answered for the PV {name!r} within {deadline_s:g} s; nothing was sent"
        if self._is_found and not self._channels[name].was_up:
            raise TimedOut.on(
                signal, f"{silent} ({self._name} at {self.address})", "correct its name, or check that its IOC runs"
            )
        raise self._gone(signal, silent)

    def _gone(self, signal: SignalSpec, detail: str) -> SignalError:
        return NotConnected.on(signal, f"{detail} ({self._name} at {self.address})", "check that the IOC runs")

    async def _find(self, name: str, end: float) -> F | None:
        """The PV, unless it is not there by then."""
        while True:
            try:
                async with asyncio.timeout_at(end):
                    channel = await self._channel(name)
                if channel.is_up:
                    return channel
                async with asyncio.timeout_at(min(end, channel.born + self.search_s)):
                    await channel.up()
                await self._rejoin(end)
                return channel
            except TimeoutError:
                if now() >= end:
                    return None
            except Closed:  # somebody else searches for it anew, or the client is closed
                if name not in self._channels:
                    return None

    async def _rejoin(self, end: float) -> None:
        """After an outage, give the other PVs a moment to come back too."""
        with suppress(TimeoutError, Closed):
            async with asyncio.timeout_at(min(end, now() + REJOIN_S)):
                for channel in self._lost():
                    await channel.up()


def now() -> float:
    """The event loop's time."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Alarm:
    """A record's alarm: how severe, and its status in EPICS' words."""

    severity: int
    status: str

    @property
    def quality(self) -> Quality:
        """INVALID and unknown severities are bad; a limit alarm is no stain on the value; the rest is uncertain."""
        if self.severity == 0:
            return Quality.GOOD
        if self.severity not in (1, 2):
            return Quality.BAD
        return Quality.GOOD if self.status in ABOUT_THE_PROCESS else Quality.UNCERTAIN

    @property
    def detail(self) -> str:
        """In EPICS' words; empty without an alarm."""
        if self.severity == 0:
            return ""
        known = 0 < self.severity < len(SEVERITIES)
        severity = SEVERITIES[self.severity] if known else f"severity {self.severity}"
        return f"{severity} alarm: {self.status or 'no status'}"


def hosts(address: str) -> str:
    """An address list as EPICS wants it, from hosts with or without a port, apart by blanks or commas.

    Raises:
        ValueError: There is none, or one makes no sense.
    """
    entries = address.replace(",", " ").split()
    if not entries:
        raise ValueError("no address is given; list the IOC's host, or several, each as host or host:port")
    for entry in entries:
        match = HOST.fullmatch(entry)
        if match is None or not 0 < int(match["port"] or 1) < 65536:
            raise ValueError(f"{entry!r} is no address; write host or host:port")
    return " ".join(entries)


def probe(options: Mapping[str, Option], known: tuple[str, ...] = ()) -> str:
    """The PV that says whether the IOC is there.

    Raises:
        ValueError: It is missing, or there is an option that nobody knows.
    """
    if unknown := sorted(set(options) - {"probe", *known}):
        raise ValueError(f"unknown option {unknown[0]!r}; use {', '.join(('probe', *known))}")
    name = options.get("probe")
    if not isinstance(name, str) or not name.strip():
        raise ValueError("the option probe is missing; name a PV that the IOC always serves")
    return name.strip()


def is_plain_put(spec: SignalSpec) -> bool:
    """Whether a write is done when the IOC has taken the value, not only when its record has been processed.

    The signal's option `put` says so: `plain` (the default) or `callback`. Raises `Refused` for another word.
    """
    how = spec.options.get("put", "plain")
    if how not in ("callback", "plain"):
        raise Refused.on(spec, f"the option put is {how!r}", "write `put: plain` or `put: callback`")
    return how == "plain"


def double(spec: SignalSpec, value: Value) -> float:
    """A number for a field of doubles. Raises `WrongType`, also for a whole number that no double is equal to."""
    number = real(spec, value, "a double")
    if number != value:
        raise WrongType.on(spec, f"{value!r} is not exact as a double", f"stay within {-EXACT} and {EXACT}")
    return number


def stamp(seconds: float) -> float:
    """The IOC's time, or that of arrival when the IOC has none: a record never processed says 1990, or 1970."""
    return seconds if seconds > EPOCH else time.time()
