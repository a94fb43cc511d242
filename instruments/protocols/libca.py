"""EPICS base's own Channel Access client library, as the package `epicscorelibs` brings it: one context per controller.

Higher libraries over it (aioca, pyepics) share a single context in a process, so that all controllers share one list
of addresses, and never let go of a channel: after an IOC's restart libca waits ten seconds before it searches again.
A context of its own gives each controller its own addresses; a new channel is searched for at once.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from athanor.instruments.protocols.epics import Closed, Trouble

STRING, SHORT, FLOAT, ENUM, CHAR, LONG, DOUBLE = range(7)
LONG_STRING = 999
"""An array of bytes as one string."""
KINDS = ("string", "short", "float", "enum", "char", "long", "double")


_ENVIRONMENT = threading.Lock()
_alive: weakref.WeakSet[Context] = weakref.WeakSet()


class CaError(Trouble):
    """What libca or the IOC says against a request; `status` is its ECA code."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


class Context:
    """One libca context with its own address list; made, like closed, in any thread, used from one event loop.

    Args:
        cadef: The module `epicscorelibs.ca.cadef`.
        dbr: The module `epicscorelibs.ca.dbr`.
        environment: EPICS variables that hold for this context alone.
        first: The first channel. With it, libca reads the address list.
        loop: The event loop that the channels are used from.
    """

    def __init__(
        self, cadef: Any, dbr: Any, environment: Mapping[str, str], first: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.cadef = cadef
        self.dbr = dbr
        self.loop = loop
        self.channels: dict[int, Channel] = {}
        self.is_closed = False
        # Looked up by item, the functions are ours alone: no other library changes their types.
        self._current = cadef.libca["ca_current_context"]
        self._current.restype = ctypes.c_void_p
        self._attach = cadef.libca["ca_attach_context"]
        self._attach.argtypes = [ctypes.c_void_p]
        self._detach = cadef.libca["ca_detach_context"]
        # The callbacks must live as long as the context.
        self._on_connection = cadef.connection_handler(self._connection_changed)
        self._on_answer = cadef.event_handler(_answered)
        self._on_exception = cadef.exception_handler(self._exception)
        with self._alone():
            with _variables(environment):
                cadef.ca_context_create(1)
                self._handle = self._current()
                try:
                    cadef.ca_add_exception_event(self._on_exception, None)
                    self.first = Channel(self, first)
                except (CaError, cadef.CAException):
                    cadef.ca_context_destroy()
                    raise
            self._detach()
        _alive.add(self)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Work with this context in the calling thread; its own, if it has one, is put back."""
        with self._alone():
            self._attach(self._handle)
            try:
                yield
            finally:
                self._detach()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        before = self._current()
        if before:
            self._detach()
        try:
            yield
        finally:
            if before:
                self._attach(before)

    def close(self) -> None:
        """End it and all its channels. Blocks for half a minute when an IOC hangs."""
        if self.is_closed:
            return
        self.is_closed = True
        _alive.discard(self)
        for channel in list(self.channels.values()):
            channel.close()
        with self._alone():
            self._attach(self._handle)
            self.cadef.ca_context_destroy()

    def create(self, channel: Channel) -> int:
        """Ask libca for the channel; it is searched for at once. Returns its id. Raises `CaError`."""
        chid = ctypes.c_void_p()
        try:
            self.cadef.ca_create_channel(
                channel.name, self._on_connection, ctypes.py_object(channel), 0, ctypes.byref(chid)
            )
        except self.cadef.CAException as error:
            raise CaError(error.status, self.message(error.status)) from error
        self.cadef.ca_flush_io()
        number = chid.value
        assert number is not None  # libca has raised otherwise
        self.channels[number] = channel
        return number

    def _connection_changed(self, args: Any) -> None:
        channel: Channel = self.cadef.ca_puser(args.chid)
        channel.is_up = args.op == self.cadef.CA_OP_CONN_UP
        channel.was_up = channel.was_up or channel.is_up
        self.tell(channel.notice)

    def _exception(self, args: Any) -> None:
        """A put without callback that failed; what concerns no channel shows as a lost connection anyway."""
        channel = self.channels.get(args.chid) if args.chid else None
        if channel is not None:
            channel.complaint = CaError(int(args.stat), self.message(int(args.stat)))

    def tell(self, what: Callable[..., None], *args: Any) -> None:
        """Call it in the event loop; nothing when that has ended."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(what, *args)

    def message(self, status: int) -> str:
        """What an ECA code means."""
        return str(self.cadef.ca_message(status))


class Request:
    """One get or put under way. libca holds a bare pointer to it: its channel keeps it until it is answered."""

    def __init__(self, channel: Channel, convert: Callable[[Any], Any] | None) -> None:
        self.channel = channel
        self.convert = convert
        self.future: asyncio.Future[Any] = channel.context.loop.create_future()

    def settle(self, outcome: Any) -> None:
        """Hand the outcome on, unless nobody waits any more."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


def _answered(args: Any) -> None:
    """The answer to a get or put, in one of libca's threads."""
    request: Request = args.usr
    channel = request.channel
    outcome: Any = None
    if args.status != channel.context.cadef.ECA_NORMAL:
        gone = args.status == channel.context.cadef.ECA_DISCONN
        outcome = Closed(channel.name) if gone else CaError(args.status, channel.context.message(args.status))
    elif request.convert is not None:
        try:
            outcome = request.convert(args)
        except (ValueError, TypeError, KeyError, AssertionError) as error:
            outcome = CaError(args.status, f"it sent what cannot be understood: {error}")
    channel.pending.discard(request)
    channel.context.tell(request.settle, outcome)


class Channel:
    """One PV. `is_up` and `was_up` (now, and ever) may be read from any thread; `born` is in the loop's time."""

    def __init__(self, context: Context, name: str, was_up: bool = False) -> None:
        self.context = context
        self.name = name
        self.born = context.loop.time()
        self.is_up = False
        self.was_up = was_up
        self.is_closed = False
        self.complaint: CaError | None = None
        self.pending: set[Request] = set()
        self._changed = asyncio.Event()
        # ctypes takes this attribute where a channel id is wanted.
        self._as_parameter_ = context.create(self)

    @classmethod
    def open(cls, context: Context, name: str, was_up: bool = False) -> Channel:
        """A further channel of a context. `was_up`: it takes the place of one that was up."""
        with context.attached():
            return cls(context, name, was_up)

    def notice(self) -> None:
        """Wake who waits for the connection."""
        if self.is_up or self.is_closed:
            self._changed.set()
        else:
            self._changed.clear()

    async def up(self) -> None:
        """Wait until it is connected. Raises `Closed` when it is closed meanwhile."""
        while not self.is_up:
            if self.is_closed:
                raise Closed(self.name)
            self._changed.clear()
            await self._changed.wait()

    @property
    def kind(self) -> int:
        """The PV's own type. Raises `Closed`."""
        return int(self._ask(self.context.cadef.ca_field_type))

    @property
    def count(self) -> int:
        """How many elements it has. Raises `Closed`."""
        return int(self._ask(self.context.cadef.ca_element_count))

    @property
    def is_writable(self) -> bool:
        """Whether the IOC lets us write."""
        return bool(self.context.cadef.ca_write_access(self))

    def _ask(self, what: Callable[[Channel], Any]) -> Any:
        try:
            return what(self)
        except self.context.cadef.Disconnected as error:
            raise Closed(self.name) from error

    async def get(self, kind: int) -> Any:
        """Its value as one of `kind`, with `severity`, `status` and `raw_stamp`. Raises `Closed`, `CaError`."""
        dbr = self.context.dbr
        code, convert = self._ask(lambda channel: dbr.type_to_dbr(channel, kind, dbr.FORMAT_TIME))
        request = Request(self, lambda args: convert(args.raw_dbr, args.type, args.count))
        cadef = self.context.cadef
        return await self._send(
            request, lambda: cadef.ca_array_get_callback(code, 0, self, self.context._on_answer, _pointer(request))
        )

    async def put(self, kind: int, value: Any) -> None:
        """Write it as one of `kind`; done when the record has been processed. Raises `Closed`, `CaError`."""
        code, count, data, _keep = self.context.dbr.value_to_dbr(self, kind, value)
        request = Request(self, None)
        cadef = self.context.cadef
        await self._send(
            request,
            lambda: cadef.ca_array_put_callback(code, count, self, data, self.context._on_answer, _pointer(request)),
        )

    async def put_plain(self, kind: int, value: Any) -> None:
        """Write it as one of `kind`; done when the IOC has taken it. Raises `Closed`, `CaError`.

        An IOC serves the requests on one line in order and complains about a put that failed. So the answer to a get
        that follows says that the put is through.
        """
        code, count, data, _keep = self.context.dbr.value_to_dbr(self, kind, value)
        self.complaint = None
        with self.context.attached(), self._translated():
            self.context.cadef.ca_array_put(code, count, self, data)
        await self.get(self.kind)
        if self.complaint is not None:
            raise self.complaint

    async def _send(self, request: Request, start: Callable[[], None]) -> Any:
        self.pending.add(request)
        try:
            with self.context.attached(), self._translated():
                start()
                self.context.cadef.ca_flush_io()
        except (Closed, CaError):
            self.pending.discard(request)
            raise
        return await request.future

    @contextmanager
    def _translated(self) -> Iterator[None]:
        cadef = self.context.cadef
        try:
            yield
        except cadef.CAException as error:
            if error.status == cadef.ECA_DISCONN:
                raise Closed(self.name) from error
            raise CaError(error.status, self.context.message(error.status)) from error

    def close(self) -> None:
        """Let go of it; who waits for it gets `Closed`."""
        if self.is_closed:
            return
        self.is_closed = True
        self.is_up = False
        self.context.channels.pop(self._as_parameter_, None)
        with self.context.attached():
            self.context.cadef.ca_clear_channel(self)  # returns when no callback is under way any more
            self.context.cadef.ca_flush_io()
        waiting, self.pending = self.pending, set()
        for request in waiting:
            self.context.tell(request.settle, Closed(self.name))
        self.context.tell(self.notice)


def _pointer(request: Request) -> Any:
    return ctypes.py_object(request)


@contextmanager
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a moment; libca has no other way to be told."""
    with _ENVIRONMENT:
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@atexit.register
def _close_all() -> None:
    """libca's threads must not call back into an interpreter that ends."""
    for context in list(_alive):
        context.close()
