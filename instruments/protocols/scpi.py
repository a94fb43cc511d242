"""SCPI: lines of text over a TCP socket, or over whatever VISA reaches.

An address `TCPIP::host::port::SOCKET` (or `host:port`) is a plain socket and needs no library, unless the option
`backend` asks for VISA; every other address is a VISA resource and needs the extra `scpi`.

Options of the controller:
    backend: pyvisa's name of a VISA library: `@py` (default), `@ivi`, `@sim`, or a file followed by `@sim`.
    end: what ends a line (default newline).
    identify: the query asked on connecting (default `*IDN?`; empty: none).
    expect: words that its answer must contain, so that a wrong address does not move another instrument.
    check: after every write, `error` reads `SYST:ERR?` (default), `opc` awaits `*OPC?`, `none` takes it as accepted.
A signal's `options: {check: ...}` overrides the controller's.
"""

from __future__ import annotations

import asyncio
import math
import re
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from athanor.instruments.protocols.client import (
    NotConnected,
    Option,
    Reading,
    Refused,
    SignalSpec,
    TimedOut,
    Value,
    late,
    parsed,
    printed,
)
from athanor.instruments.protocols.visa import LineBroken, VisaLine

T = TypeVar("T")

CHECKS = ("error", "opc", "none")
SOCKET = re.compile(r"TCPIP\d*::(?P<host>[^:]+|\[.*\])::(?P<port>\d+)::SOCKET|(?P<short>[^:\s]+):(?P<digits>\d+)", re.I)
NOT_A_NUMBER = 9.91e37
"""What SCPI-99 writes for a number that is none; 9.9e37 stands for infinity."""
LARGEST = 65536
QUEUE = 32
"""No instrument keeps more errors than this; one that always answers with an error must not hold us for ever."""


class Line(Protocol):
    """A line of text to an instrument."""

    @property
    def is_open(self) -> bool:
        """Whether it is there, as far as is known."""
        ...

    async def send(self, text: str, wait_s: float) -> None:
        """Send one line. Raises `LineBroken` or `TimeoutError`."""
        ...

    async def receive(self, wait_s: float) -> str:
        """The next line. Raises `LineBroken` or `TimeoutError`."""
        ...

    def close(self) -> None:
        """Close it; never raises or waits."""
        ...


class SocketLine:
    """A plain TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: str) -> None:
        self._reader = reader
        self._writer = writer
        self._end = end.encode()

    @classmethod
    async def open(cls, host: str, port: int, end: str) -> SocketLine:
        """Open it. Raises `LineBroken`."""
        try:
            reader, writer = await asyncio.open_connection(host.strip("[]"), port, limit=LARGEST)
        except OSError as error:
            raise LineBroken(error.strerror or str(error)) from error
        _keep_alive(writer.get_extra_info("socket"))
        return cls(reader, writer, end)

    @property
    def is_open(self) -> bool:
        """Whether it is there, as far as is known."""
        return not self._reader.at_eof() and self._reader.exception() is None and not self._writer.is_closing()

    async def send(self, text: str, wait_s: float) -> None:
        """Send one line."""
        if not self.is_open:
            raise LineBroken("the instrument closed it")
        try:
            self._writer.write(text.encode() + self._end)
            await self._writer.drain()
        except OSError as error:
            raise LineBroken(str(error)) from error

    async def receive(self, wait_s: float) -> str:
        """The next line."""
        try:
            return (await self._reader.readuntil(self._end)).removesuffix(self._end).decode(errors="replace")
        except asyncio.IncompleteReadError as error:
            raise LineBroken("the instrument closed it") from error
        except asyncio.LimitOverrunError as error:
            raise LineBroken(f"an answer of more than {LARGEST} bytes") from error
        except OSError as error:
            raise LineBroken(str(error)) from error

    def close(self) -> None:
        """Close it at once: what was not sent yet is not to be sent later."""
        with suppress(Exception):  # the event loop may be gone
            self._writer.transport.abort()


def _keep_alive(sock: Any) -> None:
    """Let the system notice within some ten seconds that the other side is gone without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):  # not every system lets it be chosen
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class ScpiClient:
    """One instrument that speaks SCPI; a `Client`.

    Answers carry no number, so that after a missing one the line is out of step: it is then opened anew.
    """

    def __init__(self, address: str, options: Mapping[str, Option], name: str) -> None:
        unknown = options.keys() - {"backend", "end", "identify", "expect", "check"}
        if unknown:
            raise ValueError(f"controller {name} has no option {min(unknown)!r}; correct its spelling")
        self.address = address
        self.name = name
        self.identity = ""
        """What the instrument said it is."""
        self._backend = str(options.get("backend", ""))
        self._end = str(options.get("end", "\n"))
        self._identify = str(options.get("identify", "*IDN?"))
        self._expect = str(options.get("expect", ""))
        self._check = _check(str(options.get("check", "error")), f"controller {name}")
        self._line: Line | None = None
        self._is_in_step = True
        self._turn = asyncio.Lock()

    @property
    def is_connected(self) -> bool:
        """Whether the line is there, as far as is known."""
        line = self._line
        return line is not None and line.is_open

    async def connect(self, deadline_s: float) -> None:
        """Open the line, and see who is there. Raises `NotConnected` or `MissingLibrary`."""
        nothing = SignalSpec(read=self.address, device=self.name, name="connection")
        try:
            async with asyncio.timeout(deadline_s), self._turn:
                await self._ready(nothing, deadline_s)
        except TimeoutError as error:
            raise NotConnected(
                self.name, "", f"{self.address} did not answer within {deadline_s:g} s", _REMEDY
            ) from error

    async def read(self, signal: SignalSpec, deadline_s: float) -> Reading:
        """Ask a query. Raises `SignalError`."""
        query = signal.address("read")

        async def talk(line: Line, end: float) -> str:
            return await _ask(line, query, end)

        answer = await self._exchange(signal, deadline_s, talk)
        value = parsed(signal, answer)
        if isinstance(value, float) and abs(value) >= 9.9e37:
            value = math.nan if abs(value) >= NOT_A_NUMBER else math.copysign(math.inf, value)
        return Reading(value, time.time())

    async def write(self, signal: SignalSpec, value: Value, deadline_s: float) -> None:
        """Send a command, and see that the instrument took it. Raises `SignalError`."""
        template = signal.address("write")
        text = printed(signal, value)
        if isinstance(value, str) and (odd := [mark for mark in text if mark in ';"' or not mark.isprintable()]):
            raise Refused.on(signal, f"{odd[0]!r} in a word could be taken for another command", "give a plain word")
        command = template.replace("{value}", text)
        check = _check(str(signal.options.get("check", self._check)), signal.name)

        async def talk(line: Line, end: float) -> list[str]:
            await line.send(command, end - time.monotonic())
            if check == "opc":
                await _ask(line, "*OPC?", end)
            return await _errors(line, end) if check == "error" else []

        errors = await self._exchange(signal, deadline_s, talk, is_write=True)
        if errors:
            raise Refused.on(
                signal, f"the instrument refused {command!r}: {'; '.join(errors)}", "correct the command or the value"
            )

    async def close(self) -> None:
        """Close the line; never raises."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    # -- parts --------------------------------------------------------------------------------------------------------

    async def _exchange(
        self,
        spec: SignalSpec,
        deadline_s: float,
        talk: Callable[[Line, float], Awaitable[T]],
        is_write: bool = False,
    ) -> T:
        """Send and receive, alone on the line; what fails in between leaves the line out of step."""
        end = time.monotonic() + deadline_s
        has_begun = False
        try:
            async with asyncio.timeout(deadline_s), self._turn:
                line = await self._ready(spec, deadline_s)
                self._is_in_step = False
                has_begun = True
                answer = await talk(line, end)
                self._is_in_step = True
                return answer
        except TimeoutError as error:
            if has_begun:
                raise late(spec, deadline_s, "write" if is_write else "read") from error
            raise TimedOut.on(
                spec, f"no free line within {deadline_s:g} s: nothing was sent", "check that the instrument runs"
            ) from error
        except LineBroken as error:
            await self.close()
            unknown = ": it may have taken effect" if is_write else ""
            raise NotConnected.on(spec, f"the line to {self.address} broke ({error}){unknown}", _REMEDY) from error

    async def _ready(self, spec: SignalSpec, deadline_s: float) -> Line:
        """The open line in step, or a new one. Raises `NotConnected`, `MissingLibrary` or `TimeoutError`."""
        if self._line is not None and self._is_in_step and self._line.is_open:
            return self._line
        await self.close()
        end = time.monotonic() + deadline_s
        line: Line | None = None
        try:
            line = await self._open(end)
            await self._greet(line, spec, end)
        except TimeoutError as error:
            raise NotConnected.on(
                spec, f"{self.address} was opened but does not answer {self._identify!r}", _REMEDY
            ) from error
        except LineBroken as error:
            raise NotConnected.on(spec, f"no connection to {self.address} ({error})", _REMEDY) from error
        finally:
            if line is not None and line is not self._line:
                line.close()
        return line

    async def _open(self, end: float) -> Line:
        found = SOCKET.fullmatch(self.address) if not self._backend else None
        if found is None:
            wait_s = max(0.001, end - time.monotonic())
            return await VisaLine.open(self.name, self.address, self._backend or "@py", self._end, wait_s)
        host, port = found["host"] or found["short"], found["port"] or found["digits"]
        return await SocketLine.open(host, int(port), self._end)

    async def _greet(self, line: Line, spec: SignalSpec, end: float) -> None:
        if self._identify:
            self.identity = (await _ask(line, self._identify, end)).strip()
            if self._expect not in self.identity:
                raise NotConnected.on(
                    spec,
                    f"{self.address} is {self.identity!r}, which does not contain {self._expect!r}",
                    "correct the address, or `expect`",
                )
        if self._check == "error":
            await _errors(line, end)  # old errors are nobody's fault here
        self._line = line
        self._is_in_step = True


_REMEDY = "check that the instrument is on, reachable, and not held by another program"


async def _ask(line: Line, query: str, end: float) -> str:
    await line.send(query, end - time.monotonic())
    return await line.receive(end - time.monotonic())


async def _errors(line: Line, end: float) -> list[str]:
    """Empty the instrument's error queue."""
    errors: list[str] = []
    while len(errors) < QUEUE:
        answer = (await _ask(line, "SYST:ERR?", end)).strip()
        if re.match(r"[+-]?0+(\D|$)", answer):
            break
        errors.append(answer)
    return errors


def _check(word: str, owner: str) -> str:
    if word not in CHECKS:
        raise ValueError(f"{owner}: check is {word!r}; use one of: {', '.join(CHECKS)}")
    return word
