"""A client of a laboratory's controller. Thread-safe, for coroutines and for plain threads alike."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from pathlib import Path
from typing import Any

from athanor.instruments.laboratory import InstrumentLost, ProcessFailed
from athanor.sandbox.physics import Value
from athanor.sandbox.wire import decode, encode

CALL_S = 10.0
"""Seconds that an answer may take which needs no motion and no measurement."""
SEND_S = 5


class NoController(ConnectionError):
    """Nothing answers on the controller's socket."""


class ControllerRefused(RuntimeError):
    """The controller did not carry an operation out; `code` is stable, `detail` says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Link:
    """One connection to a controller.

    Args:
        path: The controller's socket.
        client: Who connects, for the controller's log.
        on_position: Called with (axis, position) from the reading thread while an axis moves.

    Raises:
        NoController: Nothing answers there.
    """

    def __init__(
        self, path: Path, client: str = "client", on_position: Callable[[str, Value], None] | None = None
    ) -> None:
        self._path = path
        self._on_position = on_position
        self._lock = threading.Lock()
        self._number = 0
        self._waiting: dict[int, tuple[Future[dict[str, Any]], bool]] = {}
        self._moves: dict[int, Future[dict[str, Any]]] = {}
        self._is_open = True
        self._socket = _connect(path)
        self._reader = threading.Thread(target=self._read, name=f"controller-link-{client}", daemon=True)
        self._reader.start()
        try:
            answer = self.call("hello", client=client)
        except (InstrumentLost, TimeoutError) as error:
            self.close()
            raise NoController(f"the controller at {path} does not answer: {error}") from error
        self.laboratory = str(answer["laboratory"])
        self.pid = int(answer["pid"])

    def is_open(self) -> bool:
        """Whether the connection stands, as far as is known; answers at once."""
        return self._is_open

    def request(self, op: str, **fields: Any) -> Future[dict[str, Any]]:
        """Send an operation; the future gives the answer, or ControllerRefused, ProcessFailed or InstrumentLost."""
        return self._send(op, fields, is_move=False)

    def move(self, axis: str, value: Value) -> Future[dict[str, Any]]:
        """Start a motion; the future gives its `done` event (`reached`, `position`, `reason`) when it has ended."""
        return self._send("set", {"axis": axis, "value": value}, is_move=True)

    def call(self, op: str, timeout_s: float = CALL_S, **fields: Any) -> dict[str, Any]:
        """Send an operation and wait for the answer. Raises as `request`, or TimeoutError."""
        future = self.request(op, **fields)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise TimeoutError(f"the controller did not answer {op!r} within {timeout_s:g} s") from None

    def close(self) -> None:
        """Close the connection; whatever is waiting fails with InstrumentLost."""
        self._is_open = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._reader:
            self._reader.join(timeout=CALL_S)
        self._socket.close()

    def _send(self, op: str, fields: dict[str, Any], *, is_move: bool) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            if not self._is_open:
                raise self._lost()
            self._number += 1
            number = self._number
            self._waiting[number] = (future, is_move)
            try:
                self._socket.sendall(encode({"id": number, "op": op, **fields}))
            except OSError as error:
                del self._waiting[number]
                raise self._lost() from error
        return future

    def _lost(self) -> InstrumentLost:
        return InstrumentLost(f"the connection to the controller at {self._path} is gone")

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as lines:
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self._take(decode(line))
        except (OSError, ValueError):
            pass  # a broken connection and a broken line end alike: nothing more can be believed
        finally:
            with self._lock:
                self._is_open = False
                pending = [future for future, _ in self._waiting.values()] + list(self._moves.values())
                self._waiting.clear()
                self._moves.clear()
            for future in pending:
                _fail(future, self._lost())

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("event") == "position":
            if self._on_position is not None:
                self._on_position(message["axis"], message["position"])
        elif message.get("event") == "done":
            done = self._moves.pop(message["move"], None)
            if done is not None:
                _resolve(done, message)
        elif message.get("id") in self._waiting:
            with self._lock:
                future, is_move = self._waiting.pop(message["id"])
                if message["ok"] and is_move:
                    self._moves[message["move"]] = future
                    return
            if message["ok"]:
                _resolve(future, message)
            elif message["code"] == "process_failed":
                _fail(future, ProcessFailed(message["detail"]))
            else:
                _fail(future, ControllerRefused(message["code"], message["detail"]))


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
        # A controller that reads no more must not hold a sender for ever.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_S, 0))
    except OSError as error:
        connection.close()
        raise NoController(f"no controller answers at {path}: {error}") from error
    return connection


def _resolve(future: Future[dict[str, Any]], message: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidStateError):  # cancelled by whoever waited
        future.set_result(message)


def _fail(future: Future[dict[str, Any]], error: Exception) -> None:
    with contextlib.suppress(InvalidStateError):
        future.set_exception(error)
