"""A line to an instrument over VISA (GPIB, USB, VXI-11, serial, ...), whose blocking calls run in threads.

Measured of pyvisa-py: a refused connection opens all the same, and a closed one reads as a timeout; so both are looked
for here. A call that never returns is left behind in its thread with the line it was on.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from athanor.instruments.deadlines import spawn
from athanor.instruments.protocols.client import MissingLibrary, library

T = TypeVar("T")

_managers: dict[str, Any] = {}
_guard = threading.Lock()


class LineBroken(ConnectionError):
    """The line could not be opened, or is gone."""


async def _threaded(work: Callable[[], T], name: str, discard: Callable[[T], None] | None = None) -> T:
    """Await blocking work. Who stops waiting leaves it behind; `discard` is given what it then still returns."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[T] = loop.create_future()

    def settle(finished: Future[T]) -> None:
        error = finished.exception()
        if waiting.done():
            if error is None and discard is not None:
                discard(finished.result())
        elif error is not None:
            waiting.set_exception(error)
        else:
            waiting.set_result(finished.result())

    def tell(finished: Future[T]) -> None:
        try:
            loop.call_soon_threadsafe(settle, finished)
        except RuntimeError:  # the event loop is closed: nobody waits any more
            if finished.exception() is None and discard is not None:
                discard(finished.result())

    spawn(work, name).add_done_callback(tell)
    return await waiting


class VisaLine:
    """One open VISA resource. Use it for one exchange at a time."""

    def __init__(self, resource: Any, end: str, errors: type[Exception], lost: frozenset[int], late: int) -> None:
        self._resource = resource
        self._end = end
        self._errors = errors
        self._lost = lost
        self._late = late
        self._is_open = True

    @classmethod
    async def open(cls, name: str, address: str, backend: str, end: str, wait_s: float) -> VisaLine:
        """Open it; `backend` is pyvisa's (`@py`, `@ivi`, a file ...). Raises `LineBroken` or `MissingLibrary`."""
        return await _threaded(lambda: cls._open(name, address, backend, end, wait_s), "visa-open", cls.close)

    @classmethod
    def _open(cls, name: str, address: str, backend: str, end: str, wait_s: float) -> VisaLine:
        pyvisa = library("pyvisa", "scpi", name)
        codes = pyvisa.constants.StatusCode
        try:
            with _guard:
                if backend not in _managers:
                    _managers[backend] = pyvisa.ResourceManager(backend)
            resource = _managers[backend].open_resource(
                address, open_timeout=max(1, int(wait_s * 1000)), read_termination=end, write_termination=end
            )
        except (ImportError, ValueError) as error:
            if "rapper not found" in str(error):  # pyvisa's words for a backend that is not installed
                raise MissingLibrary(name, "", str(error), "pip install 'athanor-lab[scpi]'") from error
            raise LineBroken(str(error)) from error
        except Exception as error:
            # pyvisa-py raises bare Exceptions here.
            raise LineBroken(str(error) or type(error).__name__) from error
        line = cls(
            resource,
            end,
            pyvisa.errors.VisaIOError,
            frozenset({codes.error_connection_lost, codes.error_io, codes.error_invalid_object}),
            codes.error_timeout,
        )
        if not line.is_open:
            line.close()
            raise LineBroken("refused")
        return line

    @property
    def is_open(self) -> bool:
        """Whether the line is there, as far as is known."""
        return self._is_open and not self._is_cut()

    async def send(self, text: str, wait_s: float) -> None:
        """Send a command."""
        await self._call(lambda: self._resource.write(text), wait_s)

    async def receive(self, wait_s: float) -> str:
        """The next answer."""

        def read() -> str:
            self._await_data(wait_s)
            # Not `read`: it warns of an answer that a bus ends by its own signal instead of by a character.
            raw: bytes = self._resource.read_raw()
            if not raw:  # pyvisa-sim opens what does not exist, and answers nothing
                raise LineBroken("nothing is there")
            return raw.decode(errors="replace").removesuffix(self._end)

        return await self._call(read, wait_s)

    def close(self) -> None:
        """Close it, in a thread of its own; never raises."""
        self._is_open = False

        def close() -> None:
            with suppress(Exception):
                self._resource.close()

        spawn(close, "visa-close")

    async def _call(self, work: Callable[[], T], wait_s: float) -> T:
        return await _threaded(lambda: self._bounded(work, wait_s), "visa")

    def _bounded(self, work: Callable[[], T], wait_s: float) -> T:
        began = time.monotonic()
        try:
            if not self.is_open:
                raise LineBroken("the instrument closed it")
            self._resource.timeout = max(1, int(wait_s * 1000))
            return work()
        except self._errors as error:
            code = getattr(error, "error_code", None)
            if code in self._lost or self._is_cut():
                raise LineBroken(str(error)) from error
            if code == self._late:
                raise TimeoutError(f"no answer within {time.monotonic() - began:.2g} s") from error
            raise LineBroken(str(error)) from error
        except OSError as error:
            raise LineBroken(str(error)) from error

    def _socket(self) -> socket.socket | None:
        """The socket that pyvisa-py reads from; None with another backend, and for what is no socket."""
        try:
            session = self._resource.visalib.sessions[self._resource.session]
            sock = session.interface
        except Exception:  # noqa: BLE001 - another backend, or closed just now: pyvisa raises its own kinds
            return None
        return sock if isinstance(sock, socket.socket) else None

    def _is_cut(self) -> bool:
        """Whether the other side closed the socket, as far as that can be seen."""
        sock = self._socket()
        if sock is None:
            return False
        try:
            sock.getpeername()
            return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _await_data(self, wait_s: float) -> None:
        """Wait on the socket ourselves: pyvisa-py spins on a closed one until its own time is over."""
        sock = self._socket()
        if sock is not None and select.select([sock], [], [], wait_s)[0] and self._is_cut():
            raise LineBroken("the instrument closed it")
