"""The controller of a simulated laboratory, in a process of its own: `python -m athanor.sandbox.controller`.

It serves several clients at once, which speak JSON lines on `controller.sock`; see `OPERATIONS`. What it does for them
is in `core`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from athanor.sandbox.core import TICK_S, Client, Core, Refusal
from athanor.sandbox.wire import LIMIT, WireError, decode, encode

__all__ = ["OPERATIONS", "TICK_S", "Controller", "run_controller"]


class Connection(Client):
    """One client on the socket."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self.writer = writer
        self.tasks: set[asyncio.Task[None]] = set()

    def send(self, message: dict[str, Any]) -> None:
        """Queue a message; a client that is gone is noticed by its reader."""
        if not self.writer.is_closing():
            self.writer.write(encode(message))

    def drop(self) -> None:
        """Cut the connection."""
        self.writer.transport.abort()


class Controller(Core):
    """The core on a Unix socket."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        client = Connection(writer)
        self.join(client)
        try:
            while line := await reader.readline():
                self._answer(client, line)
        except (ConnectionError, ValueError):
            pass  # ValueError: a line beyond LIMIT; both end the connection
        finally:
            self.leave(client)
            for task in client.tasks:
                task.cancel()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, client: Connection, line: bytes) -> None:
        try:
            request = decode(line)
        except WireError as error:
            self._refuse(client, None, Refusal("wire", str(error)))
            return
        number = request.get("id")
        try:
            operation = OPERATIONS.get(str(request.get("op")))
            if operation is None:
                raise Refusal("unknown_op", f"there is no {request.get('op')!r}; it can be {', '.join(OPERATIONS)}")
            reply = operation(self, client, request)
        except Refusal as refusal:
            self._refuse(client, number, refusal)
            return
        if reply is None:
            return
        if isinstance(reply, Mapping):
            client.send({"id": number, "ok": True, **reply})
            return
        task = asyncio.ensure_future(self._answer_later(client, number, reply))
        client.tasks.add(task)
        task.add_done_callback(client.tasks.discard)

    async def _answer_later(self, client: Connection, number: Any, reply: Awaitable[Mapping[str, Any]]) -> None:
        try:
            body = await reply
        except Refusal as refusal:
            self._refuse(client, number, refusal)
            return
        client.send({"id": number, "ok": True, **body})

    def _refuse(self, client: Connection, number: Any, refusal: Refusal) -> None:
        self.refused(client, refusal)
        client.send({"id": number, "ok": False, "code": refusal.code, "detail": refusal.detail})


OPERATIONS: Mapping[
    str, Callable[[Core, Client, Mapping[str, Any]], Mapping[str, Any] | Awaitable[Mapping[str, Any]] | None]
] = {
    "hello": Core.hello,
    "status": Core.status,
    "configure": Core.configure,
    "prepare": Core.prepare,
    "set": Core.set,
    "read": Core.read,
    "stop": Core.stop,
    "stop_all": Core.stop_all,
    "trigger": Core.trigger,
    "shutdown": Core.shutdown,
}


async def run_controller(controller: Controller, path: str, *, idle_s: float, on_ready: Callable[[], None]) -> None:
    """Serve until told to end, or until nobody was connected and nothing moved for `idle_s` seconds."""
    mask = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(controller.serve, path, limit=LIMIT)
    finally:
        os.umask(mask)
    controller.log(
        "start", laboratory=controller.laboratory.name, pid=os.getpid(), options=controller.options.to_dict()
    )
    on_ready()
    async with server:
        while not controller.ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(controller.ending.wait(), timeout=min(1.0, idle_s))
            idle = time.monotonic() - controller.last_client
            if not controller.clients and not controller.is_moving() and idle > idle_s:
                break
        server.close()
        for client in list(controller.clients.values()):
            if isinstance(client, Connection):
                client.writer.close()  # after what is still to be sent
        for _ in range(100):
            if not controller.clients:
                break
            await asyncio.sleep(0.01)
    controller.log("exit")


if __name__ == "__main__":
    from athanor.sandbox.process import main

    raise SystemExit(main())
