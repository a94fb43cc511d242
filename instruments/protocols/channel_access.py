"""EPICS Channel Access.

A signal's address is a PV name. A controller's address lists where its IOCs are searched for: hosts, each with a port
where it is not 5064, apart by blanks; it holds for this controller alone, whatever `EPICS_CA_ADDR_LIST` says. What no
profile can say is process-wide and comes from the environment: `EPICS_CA_MAX_ARRAY_BYTES`, `EPICS_CA_REPEATER_PORT`.

Options of a controller: `probe` (needed: a PV that is always there, by which the line is judged) and `silence_s` (how
long an IOC may be silent before it is asked and, five seconds later, given up; 30 by default).
Option of a signal: `put`, either `plain` (the default: a write is done when the IOC has taken it) or `callback` (when
the record has been processed, which for records like motor or busy means: when the motion has ended). An IOC by caproto
says nothing against a plain put that it refuses; one by EPICS base does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from athanor.instruments.protocols import epics, libca
from athanor.instruments.protocols.client import (
    Option,
    Quality,
    Reading,
    Refused,
    SignalSpec,
    Value,
    WrongType,
    late,
    library,
    typed,
)
from athanor.instruments.protocols.fitting import bounds, real, whole

STRING_BYTES = 39
CLOSE_S = 1.0
WHOLE = {
    libca.SHORT: bounds(16, is_signed=True),
    libca.ENUM: bounds(16, is_signed=False),
    libca.CHAR: bounds(8, is_signed=False),
    libca.LONG: bounds(32, is_signed=True),
}


class ChannelAccessClient(epics.Finder[libca.Channel]):
    """The IOCs behind one address list. See the module for addresses and options."""

    search_s = 2.0

    def __init__(self, address: str, options: Mapping[str, Option], name: str) -> None:
        super().__init__(address, epics.probe(options, ("silence_s",)), name)
        silence_s = options.get("silence_s", 30.0)
        if isinstance(silence_s, (bool, str)) or not silence_s > 0:
            raise ValueError(f"silence_s is {silence_s!r}; give seconds above 0")
        self._environment = {
            "EPICS_CA_ADDR_LIST": epics.hosts(address),
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_NAME_SERVERS": "",
            "EPICS_CA_CONN_TMO": repr(float(silence_s)),
        }
        self._context: libca.Context | None = None
        self._opening = asyncio.Lock()

    async def read(self, signal: SignalSpec, deadline_s: float) -> Reading:
        """Read a PV, with the IOC's time and the alarm as quality."""
        end = epics.now() + deadline_s
        channel = await self._reach(signal, signal.address("read"), end, deadline_s)
        try:
            async with asyncio.timeout_at(end):
                return _reading(signal, await channel.get(_kind_to_read(signal, channel)))
        except TimeoutError as error:
            raise late(signal, deadline_s, "read") from error
        except epics.Closed as error:
            raise self._gone(signal, "the IOC went away before it answered") from error
        except libca.CaError as error:
            raise Refused.on(signal, f"the IOC does not answer: {error}", "check the record") from error

    async def write(self, signal: SignalSpec, value: Value, deadline_s: float) -> None:
        """Write a PV; the signal's option `put` says when that is done."""
        name = signal.address("write")
        value = typed(signal, value)
        is_plain = epics.is_plain_put(signal)
        end = epics.now() + deadline_s
        channel = await self._reach(signal, name, end, deadline_s)
        try:
            async with asyncio.timeout_at(end):
                kind, raw = _to_write(signal, channel, value)
                await (channel.put_plain(kind, raw) if is_plain else channel.put(kind, raw))
        except TimeoutError as error:
            raise late(signal, deadline_s, "write") from error
        except epics.Closed as error:
            raise self._gone(signal, "the IOC went away before it confirmed: it may have taken effect") from error
        except libca.CaError as error:
            raise Refused.on(
                signal, f"the IOC refuses {value!r}: {error}", "check the record and who may write it"
            ) from error

    async def close(self) -> None:
        """Let go of every PV."""
        context, self._context = self._context, None
        self._channels.clear()
        if context is None:
            return
        closed = asyncio.Event()

        def end() -> None:
            context.close()
            context.tell(closed.set)

        # Before an IOC that hangs, libca waits for half a minute; nobody else needs to.
        threading.Thread(target=end, name=f"closing {self._name}", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await closed.wait()

    async def _channel(self, name: str) -> libca.Channel:
        context = await self._open()
        if name not in self._channels:
            self._channels[name] = libca.Channel.open(context, name)
        elif not self._channels[name].is_up:
            for lost in {name, *(channel.name for channel in self._lost())}:
                channel = self._channels[lost]
                if not channel.is_up and epics.now() > channel.born + self.search_s:
                    channel.close()
                    self._channels[lost] = libca.Channel.open(context, lost, channel.was_up)
        return self._channels[name]

    async def _open(self) -> libca.Context:
        async with self._opening:
            if self._context is None:
                cadef = library("epicscorelibs.ca.cadef", "epics", self._name)
                dbr = library("epicscorelibs.ca.dbr", "epics", self._name)
                loop = asyncio.get_running_loop()
                # In a thread, because libca looks up the hosts' names.
                making = loop.run_in_executor(None, libca.Context, cadef, dbr, self._environment, self._probe, loop)
                try:
                    self._context = await asyncio.shield(making)
                except asyncio.CancelledError:
                    making.add_done_callback(_discard)
                    raise
                self._channels = {self._probe: self._context.first}
            return self._context


def _discard(making: asyncio.Future[libca.Context]) -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().close()


# -- values ---------------------------------------------------------------------------------------------------------


def _kind(signal: SignalSpec, channel: libca.Channel) -> int:
    """The PV's own type, if the signal can have a value of it. Raises `WrongType`."""
    kind = channel.kind
    if kind not in range(len(libca.KINDS)):
        raise WrongType.on(signal, "the PV has no type that can be read or written", "correct the address")
    if channel.count != 1 and not (kind == libca.CHAR and signal.type == "str"):
        raise WrongType.on(signal, f"the PV is an array of {channel.count}", "give the address of a single value")
    fits = {
        "str": kind in (libca.STRING, libca.ENUM, libca.CHAR),
        "float": kind not in (libca.STRING, libca.ENUM),
        "int": kind != libca.STRING,
        "bool": kind != libca.STRING,
    }
    if not fits[signal.type]:
        raise WrongType.on(
            signal, f"the PV is a {libca.KINDS[kind]}, not a {signal.type}", "correct `type:` or the address"
        )
    return kind


def _kind_to_read(signal: SignalSpec, channel: libca.Channel) -> int:
    kind = _kind(signal, channel)
    if signal.type != "str":
        return kind
    return libca.LONG_STRING if kind == libca.CHAR else libca.STRING  # a choice is asked for by its word


def _reading(signal: SignalSpec, raw: Any) -> Reading:
    known = 0 <= raw.status < len(epics.STATUSES)
    alarm = epics.Alarm(raw.severity, epics.STATUSES[raw.status] if known else f"status {raw.status}")
    at = epics.stamp(raw.timestamp)
    try:
        value = typed(signal, raw)
    except WrongType:
        if alarm.quality is not Quality.BAD:
            raise
        return Reading(None, at, alarm.quality, alarm.detail)
    return Reading(value, at, alarm.quality, alarm.detail)


def _to_write(signal: SignalSpec, channel: libca.Channel, value: Value) -> tuple[int, Any]:
    """The value as libca is to send it: its type and itself."""
    kind = _kind(signal, channel)
    if not channel.is_writable:
        raise Refused.on(signal, "the IOC gives no leave to write", "see the IOC's access security")
    if isinstance(value, str):
        if kind == libca.CHAR:
            return kind, _bytes(signal, channel, value)
        if len(value.encode()) > STRING_BYTES:
            raise Refused.on(signal, f"{value!r} is longer than {STRING_BYTES} bytes", "shorten it")
        return libca.STRING, value
    if kind in WHOLE:
        return kind, whole(signal, value, *WHOLE[kind], f"a {libca.KINDS[kind]}")
    if kind == libca.FLOAT:
        return kind, real(signal, float(value), "a float", single=True)
    return kind, epics.double(signal, float(value) if isinstance(value, bool) else value)


def _bytes(signal: SignalSpec, channel: libca.Channel, text: str) -> list[int]:
    """A long string as the bytes of an array, closed by a zero."""
    data = [*text.encode(), 0]
    if len(data) > channel.count:
        raise Refused.on(signal, f"{len(data)} bytes do not fit into the PV's {channel.count}", "shorten it")
    return data
