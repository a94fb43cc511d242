"""A TCP relay between a client and its server, which can hold everything back, or cut it off."""

from __future__ import annotations

import asyncio
import contextlib

from tests.instruments.protocols.serving import Loop


class Relay:
    """Passes bytes on from a port of its own to `target` on loopback."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = Loop()
        self._going = asyncio.Event()
        self._going.set()
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self.port = 0

    def start(self) -> None:
        self._loop.do(self._listen())

    def drop(self) -> None:
        """Cut every line and take no new one."""
        self._loop.do(self._cut())

    def stall(self) -> None:
        """Hold back whatever comes, either way."""
        self._loop.loop.call_soon_threadsafe(self._going.clear)

    def resume(self) -> None:
        self._loop.loop.call_soon_threadsafe(self._going.set)

    def close(self) -> None:
        try:
            self.drop()
        finally:
            self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for line in self._lines:
            line.cancel()
        while self._lines:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)  # lets the sockets go

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.ensure_future(self._carry(reader, writer))
        self._lines.add(line)
        try:
            await asyncio.wait({line})
        finally:
            writer.transport.abort()
            self._lines.discard(line)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as leaving:
            try:
                inward, outward = await asyncio.open_connection("127.0.0.1", self._target)
            except OSError:
                return
            leaving.callback(outward.transport.abort)
            ways = [asyncio.ensure_future(way) for way in (self._pass(reader, outward), self._pass(inward, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(65536):
                await self._going.wait()
                writer.write(content)
                await writer.drain()
