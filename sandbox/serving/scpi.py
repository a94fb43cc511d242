"""A served laboratory as a SCPI instrument: lines of text over TCP, one error queue for each connection.

`DEVICE:NAME?` reads a point, `DEVICE:NAME VALUE` writes one, `DEVICE:NAME` is a command; case does not matter. There
are `*IDN?`, `*OPC?`, `*CLS` and `SYST:ERR?` besides. A query that is not known is not answered, as with real
instruments, and leaves an error in the queue. A number that nobody may use reads 9.91E+37.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from typing import Any

from athanor.sandbox.core import Client, Refusal
from athanor.sandbox.serving.station import Answer, Point, Station

LINE = 65536
ERRORS = 20
CLOSE_S = 1.0
NO_ERROR = '0,"No error"'
NOT_A_NUMBER = "9.91E+37"
INFINITE = 9.9e37


class Connection(Client):
    """One connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self.writer = writer
        self.errors: deque[str] = deque(maxlen=ERRORS)

    def drop(self) -> None:
        """Cut it."""
        self.writer.transport.abort()


class ScpiServer:
    """Serves a station's points."""

    protocol = "scpi"

    def __init__(self, station: Station) -> None:
        self.station = station
        self._server: asyncio.Server | None = None
        self._points = {_header(point): point for point in station.points.values()}

    async def start(self, host: str, port: int) -> str:
        """Listen; port 0 is a free one. Returns the address for a profile. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=LINE)
        found = self._server.sockets[0].getsockname()
        return f"TCPIP::{f'[{host}]' if ':' in host else host}::{found[1]}::SOCKET"

    async def close(self) -> None:
        """Hang up."""
        if self._server is not None:
            self._server.close()
        clients = self.station.core.clients
        for client in list(clients.values()):
            client.drop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while clients:
                    await asyncio.sleep(0.005)

    def controller_options(self) -> dict[str, Any]:
        """What its profile says of the connection."""
        return {"expect": self.station.name}

    def signal(self, point: Point) -> dict[str, Any]:
        """The point as a profile's signal."""
        header = _header(point)
        if point.kind == "command":
            return {"write": header, "type": "int"}
        spec: dict[str, Any] = {} if point.kind == "float" else {"type": point.kind}
        if point.read is not None:
            spec["read"] = f"{header}?"
        if point.write is not None:
            spec["write"] = f"{header} {{value}}"
        return spec

    # -- talking ------------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Connection(writer)
        self.station.core.join(client)
        try:
            while line := await reader.readline():
                if (answer := self._obey(client, line.decode(errors="replace").strip())) is not None:
                    writer.write(answer.encode() + b"\n")
                    await writer.drain()
        except (ConnectionError, ValueError):
            pass  # ValueError: a line beyond LINE; both end the connection
        finally:
            self.station.core.leave(client)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _obey(self, client: Connection, text: str) -> str | None:
        header, _, argument = text.partition(" ")
        header = header.upper().removeprefix(":")
        match header:
            case "":
                return None
            case "*IDN?":
                return f"Athanor,{self.station.name},simulated,1"
            case "*OPC?":
                return "1"
            case "*CLS":
                client.errors.clear()
                return None
            case "SYST:ERR?" | "SYSTEM:ERROR?":
                return client.errors.popleft() if client.errors else NO_ERROR
        point = self._points.get(header.removesuffix("?"))
        if point is None:
            client.errors.append('-113,"Undefined header"')
        elif header.endswith("?"):
            if point.read is not None:
                return _printed(point, point.read())
            client.errors.append('-113,"Undefined header; it cannot be asked"')
        else:
            self._put(client, point, argument.strip())
        return None

    def _put(self, client: Connection, point: Point, text: str) -> None:
        try:
            value = _parsed(point, text)
        except ValueError:
            client.errors.append('-104,"Data type error"')
            return
        try:
            self.station.put(point, client, value)
        except Refusal as refusal:
            detail = refusal.detail.replace('"', "'")
            client.errors.append(f'-200,"Execution error; {refusal.code}: {detail}"')


def _header(point: Point) -> str:
    return f"{point.device}:{point.name}".upper()


def _parsed(point: Point, text: str) -> Any:
    """The value of a command. Raises ValueError."""
    if point.kind == "command":
        return 1
    if point.kind == "str":
        return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text
    return float(text) if point.kind == "float" else int(text)


def _printed(point: Point, answer: Answer) -> str:
    value = answer.value
    if point.kind == "str":
        return f'"{value}"'.replace("\n", " ")
    if isinstance(value, bool):
        return "1" if value else "0"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOT_A_NUMBER
    if isinstance(value, float) and math.isinf(value):
        return f"{math.copysign(INFINITE, value):.1E}"
    return repr(value)
