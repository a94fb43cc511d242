"""What the two EPICS protocols have in common: addresses, options, alarms, times."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from athanor.instruments.protocols.client import Option, Quality, Refused, SignalSpec, Value, WrongType
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

EXACT = 2**53
"""Up to here, every whole number is a double."""


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
    """The PV that says whether the IOC is there. EPICS knows no connection to a server, only to a PV.

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

    The signal's option `put` says so: `callback` (the default) or `plain`. Raises `Refused` for another word.
    """
    how = spec.options.get("put", "callback")
    if how not in ("callback", "plain"):
        raise Refused.on(spec, f"the option put is {how!r}", "write `put: callback` or `put: plain`")
    return how == "plain"


def double(spec: SignalSpec, value: Value) -> float:
    """A number for a field of doubles. Raises `WrongType`, also for a whole number that no double is equal to."""
    number = real(spec, value, "a double")
    if number != value:
        raise WrongType.on(spec, f"{value!r} is not exact as a double", f"stay within {-EXACT} and {EXACT}")
    return number


def stamp(seconds: float) -> float:
    """The IOC's time, or that of arrival when the IOC has none."""
    return seconds if seconds > 0 else time.time()
