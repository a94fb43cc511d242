"""The worker's line: JSON objects, one per line, over a Unix socket that only the same user can open.

Requests are `{"id", "verb", ...}`; answers `{"id", "ok": true, ...}` or `{"id", "ok": false, "code", "detail"}`.
What has no id is an event, sent to every connection.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from athanor.instruments.line import LARGEST, Line, LineClosed, peer_of
from athanor.instruments.words import Refused

BEAT_S = 0.25
"""Seconds between two heartbeats."""
HUNG_AFTER = 4
"""So many silent spans of `BEAT_S`, each waited out in full, mean that the other side hangs."""

Message = dict[str, Any]


class WorkerLost(RuntimeError):
    """The worker is dead, or hangs. What it was doing is in the ledger as far as it is known."""

    def __init__(self, detail: str, hung: bool = False) -> None:
        self.detail = detail
        self.hung = hung
        super().__init__(detail)


class Connection:
    """The worker's end of one connection. Sending never blocks: whoever does not read is cut off."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.campaign: str | None = None
        """The campaign for which the other side holds the instrument while it is connected."""
        self._guard = threading.Lock()
        self._open = True

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message, or close the connection."""
        data = json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"
        with self._guard:
            if not self._open:
                return
            try:
                sent = self.sock.send(data, socket.MSG_DONTWAIT)
            except OSError:
                sent = -1
            if sent != len(data):
                self._open = False
                with contextlib.suppress(OSError):
                    self.sock.shutdown(socket.SHUT_RDWR)  # lets the reading thread see it

    @property
    def is_open(self) -> bool:
        """Whether the other side can still be reached."""
        return self._open

    def close(self) -> None:
        """Close it."""
        with self._guard:
            self._open = False
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)  # a file over the socket would keep it open
            self.sock.close()


Handler = Callable[[Connection, Message], Message | None]


class Server:
    """Listens on a socket and hands each request to `handler`, in the connection's own thread.

    The handler returns the answer, or None when it will be sent later; it must not block. `Refused` becomes a refusal.
    """

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._connections: list[Connection] = []
        self._guard = threading.Lock()
        self._last = time.monotonic()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a dead predecessor's: the caller holds the instrument's lock
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(mask)
        self._listener.listen(64)
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    @property
    def connections(self) -> list[Connection]:
        """The open connections."""
        with self._guard:
            return [connection for connection in self._connections if connection.is_open]

    def unused_s(self) -> float:
        """Seconds since the last connection was closed; 0 while there is one."""
        return 0.0 if self.connections else time.monotonic() - self._last

    def broadcast(self, message: Mapping[str, Any]) -> None:
        """Send an event to every connection."""
        for connection in self.connections:
            connection.send(message)

    def close(self) -> None:
        """Stop listening and cut every connection."""
        self._listener.close()
        self._path.unlink(missing_ok=True)
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if not peer_of(sock).is_ours:
                sock.close()
                continue
            connection = Connection(sock)
            with self._guard:
                self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), name="serve", daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            with connection.sock.makefile("rb") as lines:
                while line := lines.readline(LARGEST):
                    answer = self._answer(connection, line)
                    if answer is not None:
                        connection.send(answer)
        except OSError:
            pass
        finally:
            connection.close()
            with self._guard:
                self._connections.remove(connection)
                self._last = time.monotonic()

    def _answer(self, connection: Connection, line: bytes) -> Message | None:
        identity: Any = None
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise Refused("request.malformed", "send one JSON object per line")
            identity = message.get("id")
            answer = self._handler(connection, message)
            return None if answer is None else {"id": identity, "ok": True, **answer}
        except Refused as error:
            return refusal(identity, error)
        except (ValueError, TypeError, KeyError) as error:
            return refusal(identity, Refused("request.malformed", f"{type(error).__name__}: {error}"))


def refusal(identity: Any, error: Refused) -> Message:
    """The answer to a request that was refused."""
    return {"id": identity, "ok": False, "code": error.code, "detail": error.detail}


class Client:
    """The other end: sends requests, keeps the last heartbeat, queues run events, notices death and hanging.

    A thread of its own reads, so that the worker never sees a full socket while the caller fits a model.
    """

    def __init__(self, path: Path, timeout_s: float = 1.0) -> None:
        try:
            self._sock = Line.connect(path, timeout_s).sock
        except (LineClosed, TimeoutError, OSError) as error:
            raise WorkerLost(f"no worker answers at {path}: {error}", hung=isinstance(error, TimeoutError)) from error
        self._ids = itertools.count(1)
        self._changed = threading.Condition()
        self._answers: dict[int, Message] = {}
        self._events: deque[Message] = deque(maxlen=1000)
        self._silent = 0
        self._gone: str | None = None
        self.heartbeat: Message = {}
        """The last heartbeat."""
        threading.Thread(target=self._read, name="worker-line", daemon=True).start()

    def call(self, verb: str, timeout_s: float = 10.0, **fields: Any) -> Message:
        """Ask the worker; its answer. Raises `Refused`, or `WorkerLost` when it is gone, hangs, or is too slow."""
        identity = next(self._ids)
        data = json.dumps({"id": identity, "verb": verb, **fields}).encode() + b"\n"
        try:
            self._sock.settimeout(timeout_s)
            self._sock.sendall(data)
        except OSError as error:
            raise WorkerLost(f"the worker's line is closed: {error}") from error
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while identity not in self._answers:
                self.check()
                if not self._changed.wait(min(BEAT_S, deadline - time.monotonic())) and time.monotonic() > deadline:
                    raise WorkerLost(f"the worker has not answered {verb!r} for {timeout_s} s", hung=True)
            answer = self._answers.pop(identity)
        if not answer.get("ok"):
            raise Refused(answer.get("code", "unknown"), answer.get("detail", ""))
        return answer

    def check(self) -> None:
        """Raise `WorkerLost` when the line is closed or has been silent for a second."""
        if self._gone is not None:
            raise WorkerLost(self._gone)
        if self._silent >= HUNG_AFTER:
            raise WorkerLost(f"the worker has been silent for {HUNG_AFTER * BEAT_S:g} s: it hangs", hung=True)

    def wait(self, timeout_s: float) -> list[Message]:
        """The events since the last call, waiting for one at most so long. Raises `WorkerLost` when there are none."""
        with self._changed:
            if not self._events:
                self.check()
                self._changed.wait(timeout_s)
            events = list(self._events)
            self._events.clear()
            if not events:
                self.check()
            return events

    def close(self) -> None:
        """Close the line."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        rest = b""
        gone = "the worker has closed the line: it is dead"
        while True:
            try:
                self._sock.settimeout(BEAT_S)
                data = self._sock.recv(65536)
            except TimeoutError:
                # Counted in spans that we waited out ourselves, so that our own stalls do not count against it.
                with self._changed:
                    self._silent += 1
                    if self._silent >= HUNG_AFTER:
                        self._changed.notify_all()
                continue
            except OSError as error:
                gone, data = f"the worker's line broke: {error}", b""
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            with self._changed:
                self._silent = 0
                for message in map(json.loads, lines):
                    self._take(message)
                self._changed.notify_all()
        with self._changed:
            self._gone = gone
            self._changed.notify_all()
        self._sock.close()

    def _take(self, message: Message) -> None:
        if message.get("id") is not None:
            self._answers[message["id"]] = message
        elif message.get("event") == "heartbeat":
            self.heartbeat = message
            self._events.append(message)
        else:
            self._events.append(message)
