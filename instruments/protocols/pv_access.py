"""EPICS PV Access.

A signal's address is a PV name; the PV is one of EPICS' normative types, a scalar or an enumeration. A controller's
address lists where its servers are searched for: hosts, each with a UDP port where it is not 5076, apart by blanks; it
holds for this controller alone, and no `EPICS_PVA_*` variable of the environment is looked at.

Option of a controller: `probe` (needed: a PV that is always there, by which the line is judged).
Option of a signal: `put`, either `plain` (the default: a write is done when the server has taken it) or `callback`
(when the record has been processed, which for records like motor or busy means: when the motion has ended). EPICS
base's older server (QSRV 1) says nothing against a put with callback that its record refuses; it does against a plain
one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from athanor.instruments.protocols import epics
from athanor.instruments.protocols.client import (
    Option,
    Quality,
    Reading,
    Refused,
    SignalError,
    SignalSpec,
    Value,
    WrongType,
    late,
    library,
    typed,
)
from athanor.instruments.protocols.fitting import bounds, flag, real, whole

WHOLE = {
    code: bounds(bits, is_signed=code.islower())
    for letter, bits in zip("bhil", (8, 16, 32, 64), strict=True)
    for code in (letter, letter.upper())
}
KINDS = {"?": "a boolean", "s": "a string", "f": "a float", "d": "a double"} | {
    code: f"a{' ' if code.islower() else 'n unsigned '}{high.bit_length() + code.islower()}-bit integer"
    for code, (_, high) in WHOLE.items()
}
SOURCES = ("", "device", "driver", "record", "database", "configuration", "undefined", "client")
"""Where an alarm comes from, by the number in its status."""
PUT = "field()record[block={block},process=passive]"


class Watch:
    """Whether one PV is there; a subscription to its alarm tells."""

    def __init__(self, name: str, born: float) -> None:
        self.name = name
        self.born = born
        self.is_up = False
        self.was_up = False
        self.is_closed = False
        self.subscription: Any = None
        self._changed = asyncio.Event()

    async def notice(self, update: Any) -> None:
        """Take in what the subscription says: a value, or an exception."""
        # Who refuses to be watched is there.
        self.is_up = not isinstance(update, Exception) or type(update).__name__ == "RemoteError"
        self.was_up = self.was_up or self.is_up
        self._changed.set()

    async def up(self) -> None:
        """Wait until it is there. Raises `Closed` when it is closed meanwhile."""
        while not self.is_up:
            if self.is_closed:
                raise epics.Closed(self.name)
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        """Let go of it."""
        self.is_closed = True
        self.is_up = False
        self._changed.set()
        self.subscription.close()
        await self.subscription.wait_closed()


class PvAccessClient(epics.Finder[Watch]):
    """The servers behind one address list. See the module for addresses and options."""

    search_s = 0.5

    def __init__(self, address: str, options: Mapping[str, Option], name: str) -> None:
        super().__init__(address, epics.probe(options), name)
        self._hosts = epics.hosts(address)
        self._library: Any = None
        self._context: Any = None

    async def read(self, signal: SignalSpec, deadline_s: float) -> Reading:
        """Read a PV, with the server's time and the alarm as quality."""
        name = signal.address("read")
        end = epics.now() + deadline_s
        await self._reach(signal, name, end, deadline_s)
        try:
            async with asyncio.timeout_at(end):
                return _reading(signal, await self._context.get(name))
        except TimeoutError as error:
            if self._lost():  # the library would wait for it to come back
                raise self._gone(signal, "the server went away before it answered") from error
            raise late(signal, deadline_s, "read") from error
        except self._library.RemoteError as error:
            raise Refused.on(signal, f"the server does not answer: {error}", "check the PV") from error
        except (self._library.Disconnected, self._library.Cancelled) as error:
            raise self._gone(signal, "the server went away before it answered") from error

    async def write(self, signal: SignalSpec, value: Value, deadline_s: float) -> None:
        """Write a PV; the signal's option `put` says when that is done."""
        name = signal.address("write")
        value = typed(signal, value)
        request = PUT.format(block="false" if epics.is_plain_put(signal) else "true")
        end = epics.now() + deadline_s
        await self._reach(signal, name, end, deadline_s)
        lost = self._gone(signal, "the server went away before it confirmed: it may have taken effect")
        filled: list[SignalError] = []

        def fill(target: Any) -> None:
            # When a server comes back, the library sends again what it has not seen confirmed. A command is sent once.
            if filled:
                raise ValueError("it was sent before")
            filled.append(lost)
            try:
                _assign(signal, target, value)
            except SignalError as error:
                filled[:] = [error]
                raise ValueError("it does not fit") from error

        try:
            async with asyncio.timeout_at(end):
                await self._context.put(name, fill, request=request)
        except TimeoutError as error:
            raise (lost if self._lost() else late(signal, deadline_s, "write")) from error
        except self._library.RemoteError as error:
            raise Refused.on(
                signal, f"the server refuses {value!r}: {error}", "check the PV and who may write it"
            ) from error
        except (self._library.Disconnected, self._library.Cancelled) as error:
            raise lost from error
        except ValueError as error:
            raise (filled or [Refused.on(signal, f"the library refuses it: {error}", "check the PV")])[0] from error

    async def close(self) -> None:
        """Let go of every PV."""
        context, self._context = self._context, None
        watches, self._channels = self._channels, {}
        for watch in watches.values():
            await watch.close()
        if context is not None:
            context.close()

    async def _channel(self, name: str) -> Watch:
        if self._context is None:
            p4p = library("p4p.client.asyncio", "epics", self._name)
            self._library = library("p4p.client.raw", "epics", self._name)
            self._context = p4p.Context(
                "pva",
                conf={"EPICS_PVA_ADDR_LIST": self._hosts, "EPICS_PVA_AUTO_ADDR_LIST": "NO"},
                useenv=False,
                nt=False,
            )
        watch = self._channels.get(name)
        if not name.strip():
            raise epics.Trouble("it is empty")
        if watch is None:
            watch = self._channels[name] = Watch(name, epics.now())
            watch.subscription = self._context.monitor(
                name, watch.notice, request="field(alarm)", notify_disconnect=True
            )
        elif not watch.is_up and epics.now() > watch.born + self.search_s:
            for lost in (watch, *self._lost()):
                lost.born = epics.now()
            self._context.hurryUp()
        return watch


# -- values ---------------------------------------------------------------------------------------------------------


def _kind(signal: SignalSpec, held: Any) -> str:
    """The letter of the PV's type, `e` for an enumeration. Raises `WrongType`."""
    kind = held.type()["value"] if "value" in held.keys() else None  # noqa: SIM118 (no mapping)
    if not isinstance(kind, str):
        kind = "e" if kind is not None and "enum_t" in kind.getID() else ""
    if kind in ("s", "?", "f", "d", "e") or kind in WHOLE:
        return kind
    what = "an array" if kind.startswith("a") else "no scalar and no enumeration"
    raise WrongType.on(signal, f"the PV is {what}", "give the address of a single value")


def _reading(signal: SignalSpec, held: Any) -> Reading:
    status = _field(held, "alarm.status", 0)
    message = str(_field(held, "alarm.message", "")).removesuffix("_ALARM")
    source = SOURCES[status] if 0 <= status < len(SOURCES) else f"status {status}"
    alarm = epics.Alarm(_field(held, "alarm.severity", 0), message or source)
    at = epics.stamp(_field(held, "timeStamp.secondsPastEpoch", 0) + 1e-9 * _field(held, "timeStamp.nanoseconds", 0))
    try:
        value = _plain(signal, held)
    except WrongType:
        if alarm.quality is not Quality.BAD:
            raise
        return Reading(None, at, alarm.quality, alarm.detail)
    return Reading(value, at, alarm.quality, alarm.detail)


def _field(held: Any, name: str, missing: Any) -> Any:
    try:
        return held[name]
    except KeyError:
        return missing


def _plain(signal: SignalSpec, held: Any) -> Value:
    kind = _kind(signal, held)
    if kind == "e":
        index, choices = int(held["value.index"]), [str(choice) for choice in held["value.choices"]]
        if signal.type == "str" and 0 <= index < len(choices):
            return choices[index]
        if signal.type in ("float", "str"):
            raise WrongType.on(signal, f"the PV is choice {index} of {choices}", "correct `type:` or the address")
        return typed(signal, index)
    value = held["value"]
    if signal.type == "float" and isinstance(value, int) and abs(value) > epics.EXACT:
        raise WrongType.on(signal, f"{value!r} is not exact as a float", "write `type: int`")
    return typed(signal, value)


def _assign(signal: SignalSpec, target: Any, value: Value) -> None:
    """Put the value into what is to be sent. Raises `WrongType`, `Refused`."""
    kind = _kind(signal, target)
    if kind == "e":
        target["value.index"] = _choice(signal, [str(choice) for choice in target["value.choices"]], value)
        return
    if (kind == "s") is not isinstance(value, str):
        raise WrongType.on(signal, f"{value!r} does not fit {KINDS[kind]}", "correct `type:` or the address")
    if kind == "s":
        target["value"] = value
    elif kind == "?":
        target["value"] = flag(signal, value, KINDS[kind])
    elif kind in WHOLE:
        target["value"] = whole(signal, value, *WHOLE[kind], KINDS[kind])
    elif kind == "f":
        target["value"] = real(signal, float(value), KINDS[kind], single=True)
    else:
        target["value"] = epics.double(signal, float(value) if isinstance(value, bool) else value)


def _choice(signal: SignalSpec, choices: list[str], value: Value) -> int:
    if isinstance(value, str):
        if value not in choices:
            raise Refused.on(signal, f"{value!r} is none of its choices", f"use one of: {', '.join(choices)}")
        return choices.index(value)
    if isinstance(value, float):
        raise WrongType.on(signal, "the PV is a choice, not a float", "correct `type:` or the address")
    return whole(signal, value, 0, len(choices) - 1, "the choices")
