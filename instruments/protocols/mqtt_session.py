"""One connection to an MQTT broker: `paho-mqtt`'s client, driven by the running event loop, without a thread."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TICK_S = 0.5
"""Between two looks at the keep-alive."""


class Gone(Exception):
    """The connection was lost, or never came about; says why."""


@dataclass(frozen=True)
class Heard:
    """One message: `arrived` is monotonic time, `moment` Unix time. A retained one was sent nobody knows when."""

    topic: str
    payload: bytes
    is_retained: bool
    arrived: float
    moment: float


@dataclass(frozen=True)
class Broker:
    """Where a broker is, and as whom to go there."""

    host: str
    port: int
    keepalive_s: int
    user: str | None = None
    password: str | None = None
    context: ssl.SSLContext | None = None


class Tidy(ssl.SSLSocket):
    """Closes when the handshake fails, which `paho-mqtt` leaves undone."""

    def do_handshake(self, block: bool = False) -> None:
        """Agree on the encryption. Raises `OSError`."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class Session:
    """A connection that lives once: when it is lost, what was not delivered is forgotten.

    Args:
        library: The module `paho.mqtt.client`.
        hear: Called with every message, in the event loop.
        lose: Called once when the connection is lost, with the reason.
    """

    def __init__(self, library: Any, hear: Callable[[Heard], None], lose: Callable[[Gone], None]) -> None:
        self._library = library
        self._hear = hear
        self._lose = lose
        self._loop = asyncio.get_running_loop()
        self._client: Any = None
        self._guard = threading.Lock()
        self._is_abandoned = self._is_dialled = False
        self._is_open = False
        self._greeting: asyncio.Future[None] = self._loop.create_future()
        self._acknowledged: dict[int, asyncio.Future[None]] = {}
        self._ticking: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether the broker has taken us, and the connection stands as far as is known."""
        return self._is_open

    async def open(self, broker: Broker, deadline_s: float) -> None:
        """Connect. Raises `Gone`, also when the broker does not want us."""
        client = self._library.Client(
            self._library.CallbackAPIVersion.VERSION2,
            client_id=f"athanor{secrets.token_hex(8)}",  # one of its own, and no longer than every broker takes
            clean_session=True,
            reconnect_on_failure=False,
        )
        client.max_queued_messages_set(0)
        client.max_inflight_messages_set(65535)  # without a limit: nothing waits in here, to be sent later
        client.connect_timeout = max(0.1, deadline_s)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.context is not None:
            broker.context.sslsocket_class = Tidy
            client.tls_set_context(broker.context)
        client.on_connect = self._greeted
        client.on_disconnect = self._left
        client.on_message = self._message
        client.on_publish = lambda _client, _data, number, _code, _properties: self._settle(number, None)
        client.on_subscribe = self._subscribed
        try:
            await asyncio.to_thread(self._dial, client, broker)
        except (OSError, ValueError, ssl.CertificateError) as error:
            raise Gone(str(error) or type(error).__name__) from error
        except asyncio.CancelledError:
            with self._guard:
                self._is_abandoned = True
                if self._is_dialled:
                    _shut(client, is_abrupt=True)
            raise
        self._client = client
        client.on_socket_register_write = self._wants_to_write
        client.on_socket_unregister_write = self._has_written
        client.on_socket_close = self._closing
        if client.socket() is None:
            raise Gone("the broker closed the connection at once")
        # Questions and answers are small and wait for each other: with Nagle's algorithm each would cost 40 ms.
        client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(client.socket(), self._readable)
        if client.want_write():
            self._loop.add_writer(client.socket(), self._writable)
        self._tick()
        await self._greeting
        self._is_open = True

    def _dial(self, client: Any, broker: Broker) -> None:
        """Blocks, in a thread; no longer than the client's own connect timeout, once for TCP and once for TLS."""
        client.connect(broker.host, broker.port, broker.keepalive_s)
        with self._guard:
            self._is_dialled = True
            if self._is_abandoned:
                _shut(client, is_abrupt=True)

    async def publish(self, topic: str, payload: bytes, *, is_retained: bool = False) -> None:
        """Send, and wait until the broker has it. Raises `Gone`, or `ValueError` for a topic that makes no sense."""
        info = self._client.publish(topic, payload, qos=1, retain=is_retained)
        if info.rc != self._library.MQTT_ERR_SUCCESS:
            raise Gone(self._library.error_string(info.rc))
        await self._acknowledgement(info.mid)

    async def subscribe(self, topic: str) -> None:
        """Ask for a topic. Raises `Gone`, or `PermissionError` when the broker refuses."""
        code, number = self._client.subscribe(topic, qos=1)
        if code != self._library.MQTT_ERR_SUCCESS:
            raise Gone(self._library.error_string(code))
        await self._acknowledgement(number)

    def close(self, *, is_abrupt: bool = False) -> None:
        """Say goodbye and leave; abruptly, so that nothing on its way out is sent any more."""
        client, self._client = self._client, None
        self._is_open = False
        if self._ticking is not None:
            self._ticking.cancel()
        if client is None:
            return
        if (line := client.socket()) is not None:
            self._closing(client, None, line)
        _shut(client, is_abrupt=is_abrupt)
        self._end("the line was closed")

    # -- the library's callbacks, all of them in the event loop --------------------------------------------------------

    def _readable(self) -> None:
        client = self._client
        while client is not None and (line := client.socket()) is not None:
            client.loop_read()
            if not (isinstance(line, ssl.SSLSocket) and client.socket() is line and line.pending()):
                break
        self._look()

    def _writable(self) -> None:
        if self._client is not None:
            self._client.loop_write()
        self._look()

    def _tick(self) -> None:
        if self._client is not None:
            self._client.loop_misc()
            self._ticking = self._loop.call_later(TICK_S, self._tick)
        self._look()

    def _look(self) -> None:
        """Notice the end of the connection, if the library did not tell."""
        if self._client is not None and self._client.socket() is None:
            self._end("the broker closed the connection")

    def _wants_to_write(self, client: Any, data: Any, line: socket.socket) -> None:
        self._loop.add_writer(line, self._writable)

    def _has_written(self, client: Any, data: Any, line: socket.socket) -> None:
        self._loop.remove_writer(line)

    def _closing(self, client: Any, data: Any, line: socket.socket) -> None:
        if line.fileno() >= 0:
            self._loop.remove_reader(line)
            self._loop.remove_writer(line)

    def _greeted(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._end(f"the broker does not take us: {code}")
        elif not self._greeting.done():
            self._greeting.set_result(None)

    def _left(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:
        self._end(f"the connection to the broker ended: {code}")

    def _message(self, client: Any, data: Any, message: Any) -> None:
        self._hear(
            Heard(message.topic, bytes(message.payload), bool(message.retain), time.monotonic(), time.time()),
        )

    def _subscribed(self, client: Any, data: Any, number: int, codes: Any, properties: Any) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        self._settle(number, PermissionError("; ".join(refused)) if refused else None)

    # -- what is awaited -----------------------------------------------------------------------------------------------

    async def _acknowledgement(self, number: int) -> None:
        waiting = self._acknowledged[number] = self._loop.create_future()
        try:
            await waiting
        finally:
            self._acknowledged.pop(number, None)

    def _settle(self, number: int, error: Exception | None) -> None:
        waiting = self._acknowledged.get(number)
        if waiting is not None and not waiting.done():
            if error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(error)

    def _end(self, reason: str) -> None:
        """Everybody who waits learns of the end."""
        was_open, self._is_open = self._is_open, False
        if not self._greeting.done():
            self._greeting.set_exception(Gone(reason))
            self._greeting.exception()  # looked at, should nobody wait any more
        for number in list(self._acknowledged):
            self._settle(number, Gone(reason))
        if was_open:
            self._lose(Gone(reason))


def _shut(client: Any, *, is_abrupt: bool) -> None:
    """Close the library's socket: with a goodbye, or so that the system forgets what it still had to send."""
    client.on_disconnect = client.on_socket_close = None
    client.on_socket_register_write = client.on_socket_unregister_write = None
    line = client.socket()
    with contextlib.suppress(Exception):
        if is_abrupt:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            client.disconnect()
    if line is not None:
        with contextlib.suppress(OSError):
            line.close()
