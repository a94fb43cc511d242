"""OPC UA: variables and methods of a server, through `asyncua` (extra `opcua`, LGPL).

A controller's address is `opc.tcp://host:port/path`. A signal's is a node id, `ns=2;s=Axis.Position`, or with the
namespace's name, `nsu=urn:vendor:axis;s=Axis.Position`, which outlives a server that numbers its namespaces anew. A
method is written, never read: `call:OBJECT|METHOD`, both node ids; it gets the value if it takes an argument.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from athanor.instruments.protocols.cancelling import cancellable
from athanor.instruments.protocols.client import (
    NotConnected,
    Option,
    Quality,
    Reading,
    Refused,
    SignalError,
    SignalSpec,
    TimedOut,
    Value,
    WrongType,
    library,
    typed,
    within,
)
from athanor.instruments.protocols.fitting import bounds, flag, real, whole
from athanor.instruments.protocols.opcua_identity import Identity

REQUEST_S = 600.0  # the library's own time limit; ours are shorter
WATCH_S = 5.0  # between two looks whether an idle line still carries, and what an answer to them may take
SESSION_S = 60.0  # a server forgets a client that died without a word after this time
GOODBYE_S = 1.0
INTEGERS = {"SByte": (8, True), "Byte": (8, False)} | {
    f"{prefix}Int{bits}": (bits, not prefix) for bits in (16, 32, 64) for prefix in ("", "U")
}
# The service was never rendered because the line or the session is gone.
LOST = frozenset(
    f"Bad{what}"
    for what in (
        *("SessionIdInvalid", "SessionClosed", "SessionNotActivated", "SecureChannelIdInvalid", "SecureChannelClosed"),
        *("SecureChannelTokenUnknown", "TcpSecureChannelUnknown", "ConnectionClosed", "ServerHalted", "Shutdown"),
    )
)
# Not the value is bad but the question.
MISTAKEN = {
    "BadNodeIdUnknown": "correct the node id; the server has no such node",
    "BadNodeIdInvalid": "correct the node id",
    "BadAttributeIdInvalid": "give the node id of a variable; a method is written as call:OBJECT|METHOD",
    "BadNotReadable": "ask the server's owner for the right to read it",
    "BadNotWritable": "give the node id of a variable that can be written",
    "BadUserAccessDenied": "give a `user` with that right",
    "BadOutOfRange": "narrow the limits to the server's",
    "BadMethodInvalid": "correct the method's node id",
    "BadArgumentsMissing": "give a method with at most one argument",
    "BadTooManyArguments": "give a method with at most one argument",
    "BadInvalidArgument": "correct the value or `type:`",
    "BadNotExecutable": "look at the server; the method cannot be called now",
    "BadWriteNotSupported": "look into the server's manual; it does not take a plain value there",
}
AFTER_ALL = "; the write may have taken effect"
BETWEEN = re.compile(r"\|(?=(?:ns|nsu|i|s|g|b)=)")  # a string identifier may hold bars of its own


@dataclass
class _Session:
    """One session with a server, and what was learnt in it; `kinds` are the types that addresses take."""

    client: Any
    namespaces: list[str] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)


@dataclass
class _Exchange:
    """One read or write; `is_sent` from when it can have had an effect."""

    session: _Session
    is_sent: bool = False


class OpcuaClient:
    """One session with one OPC UA server.

    Options: `user` with `password_env` or `password_file` (the password itself has no place in a profile); `security`
    (`Basic256Sha256`, `Aes128Sha256RsaOaep` or `Aes256Sha256RsaPss`) with `certificate`, `private_key` and
    `server_certificate` (paths; the server's is pinned) and `mode` (`SignAndEncrypt` or `Sign`). Without `security`
    nothing is encrypted: keep such a line inside the instrument's own network.

    A reading carries the time the source gave it (else the server's, else that of arrival), and the quality of its
    status code. A value is written with the type of its node. Requests do not wait for one another, and none is sent
    twice.
    """

    def __init__(self, address: str, options: Mapping[str, Option], name: str) -> None:
        self.address = address
        self._name = name
        parts = urlsplit(address)
        if parts.scheme != "opc.tcp" or not parts.hostname:
            raise ValueError(f"{address!r} is no OPC UA address; write opc.tcp://host:port/path")
        if parts.username is not None:
            raise ValueError("an address holds no user; give options user and password_env")
        self._identity = Identity({option: str(value) for option, value in options.items()}, name)
        self._library: Any = None
        self._session: _Session | None = None
        self._opening = asyncio.Lock()

    @property
    def is_connected(self) -> bool:
        """Whether the session stands, as far as is known."""
        session = self._session
        return session is not None and session.client.state.value == "connected"

    async def connect(self, deadline_s: float) -> None:
        """Open the session; nothing when it is open. Raises `NotConnected` or `MissingLibrary`."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._open(self._name, "")
        except TimeoutError as error:
            raise self._unreachable(self._name, "", f"no connection within {deadline_s:g} s") from error

    async def read(self, signal: SignalSpec, deadline_s: float) -> Reading:
        """Read a value of the signal's type. Raises `SignalError`."""
        address = signal.address("read")
        if address.startswith("call:"):
            raise Refused.on(signal, "a method cannot be read", "give the node id of a variable that holds its result")
        async with self._reaching(signal, deadline_s, "read") as exchange:
            node = await self._node(signal, exchange.session, address)
            found = await self._value(exchange.session, node)
        arrival = time.time()
        status = found.StatusCode
        if status is not None and status.is_bad() and status.name in MISTAKEN:
            raise self._said(signal, status, "")
        stamp = _unix(found.SourceTimestamp) or _unix(found.ServerTimestamp) or arrival
        if status is not None and status.is_bad():
            return Reading(None, stamp, Quality.BAD, f"{status.name}: {status.doc}")
        content = found.Value.Value if found.Value is not None else None
        if content is None:
            return Reading(None, stamp, Quality.BAD, "the variable holds no value")
        value = typed(signal, _plain(content))
        if status is not None and status.is_uncertain():
            return Reading(value, stamp, Quality.UNCERTAIN, f"{status.name}: {status.doc}")
        return Reading(value, stamp)

    async def write(self, signal: SignalSpec, value: Value, deadline_s: float) -> None:
        """Write a variable or call a method; returns when the server has accepted it. Raises `SignalError`."""
        address = signal.address("write")
        typed(signal, value)
        async with self._reaching(signal, deadline_s, "write") as exchange:
            if address.startswith("call:"):
                status = await self._call(signal, exchange, address, value)
            else:
                status = await self._assign(signal, exchange, address, value)
        if status.name == "GoodClamped":
            raise Refused.on(signal, f"the server took another value than {value!r}", "narrow the limits to its own")
        if not status.is_good():
            raise self._said(signal, status, AFTER_ALL)

    async def close(self) -> None:
        """Close the session; never raises."""
        session, self._session = self._session, None
        if session is not None:
            await self._leave(session.client, is_polite=True)

    # -- the line ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _reaching(
        self, signal: SignalSpec, deadline_s: float, doing: Literal["read", "write"]
    ) -> AsyncIterator[_Exchange]:
        """A session for one read or write; an error says how far it came."""
        exchange: _Exchange | None = None
        try:
            async with within(signal, deadline_s, doing):
                exchange = _Exchange(await self._open(signal.device, signal.name))
                yield exchange
        except TimedOut as error:
            if exchange is None:
                raise self._unreachable(signal.device, signal.name, f"no connection within {deadline_s:g} s") from error
            if doing == "write" and not exchange.is_sent:
                raise TimedOut.on(
                    signal, f"no answer within {deadline_s:g} s: nothing was written", "check that the server runs"
                ) from error
            raise
        except SignalError:
            raise
        except (OSError, self._errors()) as error:
            outcome = AFTER_ALL if exchange is not None and exchange.is_sent else ""
            status = self._library.ua.StatusCode(error.code) if hasattr(error, "code") else None
            if status is not None and status.name not in LOST:
                raise self._said(signal, status, outcome) from error
            if status is None and not isinstance(error, OSError):
                raise Refused.on(signal, f"{self._name}: {error}{outcome}", "correct the address") from error
            if exchange is not None and exchange.session is self._session:
                self._session = None
                await self._leave(exchange.session.client, is_polite=False)
            raise NotConnected.on(
                signal, f"the connection to {self._name} was lost: {error}{outcome}", "check the server"
            ) from error

    def _errors(self) -> type[Exception]:
        """The library's errors, once it is there."""
        return OSError if self._library is None else cast(type[Exception], self._library.ua.UaError)

    def _said(self, signal: SignalSpec, status: Any, outcome: str) -> SignalError:
        """The error for what the server answered."""
        if status.name == "BadTypeMismatch":
            return WrongType.on(signal, f"{self._name} answers {status.name}", "correct `type:` or the node id")
        if status.name in MISTAKEN:
            return Refused.on(signal, f"{self._name} answers {status.name}", MISTAKEN[status.name])
        return Refused.on(signal, f"{self._name} answers {status.name}: {status.doc}{outcome}", "look at the server")

    def _unreachable(self, device: str, signal: str, detail: str) -> NotConnected:
        where = f"{self._name} at {self.address}" if device != self._name else f"at {self.address}"
        return NotConnected(device, signal, f"{where}: {detail}", "check that it is on, its address and the network")

    async def _open(self, device: str, signal: str) -> _Session:
        """The session; a new one unless it stands."""
        async with self._opening:
            if self._session is not None:
                if self.is_connected:
                    return self._session
                session, self._session = self._session, None
                await self._leave(session.client, is_polite=False)
            if self._library is None:
                self._library = await asyncio.to_thread(library, "asyncua", "opcua", self._name)
            client = self._library.Client(self.address, timeout=REQUEST_S, watchdog_intervall=WATCH_S)
            client.name = client.description = "Athanor"
            client.session_timeout = SESSION_S * 1000
            try:
                await self._identity.introduce(client)
                await cancellable(client.connect())
            except (OSError, ValueError, self._errors()) as error:
                await self._leave(client, is_polite=False)
                raise self._unreachable(device, signal, f"{error or type(error).__name__}") from error
            except BaseException:
                await self._leave(client, is_polite=False)
                raise
            self._session = _Session(client)
            return self._session

    async def _leave(self, client: Any, *, is_polite: bool) -> None:
        """End a session: with a goodbye, or at once when nobody would hear it."""
        protocol = client.uaclient.protocol
        transport = protocol.transport if protocol is not None else None
        is_polite = is_polite and client.state.value == "connected"
        if transport is not None and not is_polite:
            transport.abort()
            await asyncio.sleep(0)  # the library learns of it in the loop's next turn
        try:
            async with asyncio.timeout(GOODBYE_S):
                await cancellable(client.disconnect() if is_polite else client.close_session())
        except (OSError, self._errors()):
            pass
        finally:
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)  # lets the transport go before the loop may end

    # -- what stands on the server -----------------------------------------------------------------------------------

    async def _node(self, signal: SignalSpec, session: _Session, text: str) -> Any:
        """The node id that a text means."""
        ua = self._library.ua
        try:
            node = ua.NodeId.from_string(text)
        except ua.UaError as error:
            raise Refused.on(signal, f"{text!r} is no node id", "write it like ns=2;s=Axis.Position") from error
        uri = getattr(node, "NamespaceUri", None)
        if uri is None:
            return node
        if uri not in session.namespaces:
            session.namespaces = list(await cancellable(session.client.get_namespace_array()))
        if uri not in session.namespaces:
            raise Refused.on(
                signal, f"the server has no namespace {uri!r}", f"use one of: {', '.join(session.namespaces)}"
            )
        return ua.NodeId(node.Identifier, session.namespaces.index(uri))

    async def _value(self, session: _Session, node: Any) -> Any:
        """The server's DataValue."""
        ua = self._library.ua
        wanted = ua.ReadValueId(NodeId=node, AttributeId=ua.AttributeIds.Value)
        parameters = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=[wanted])
        return (await cancellable(session.client.uaclient.read(parameters)))[0]

    async def _assign(self, signal: SignalSpec, exchange: _Exchange, address: str, value: Value) -> Any:
        """Write a variable; the server's status."""
        ua, session = self._library.ua, exchange.session
        node = await self._node(signal, session, address)
        kind = session.kinds.get(address)
        if kind is None:
            kind = (await cancellable(session.client.get_node(node).read_data_type_as_variant_type())).name
            if kind == "Variant":  # the node takes several types: the one it has is the one meant
                kind = (await self._value(session, node)).Value.VariantType.name
            session.kinds[address] = kind
        # Without status and times: many controllers refuse to be told them.
        content = ua.DataValue(self._variant(signal, kind, value), StatusCode=None)
        wanted = ua.WriteValue(NodeId=node, AttributeId=ua.AttributeIds.Value, Value=content)
        exchange.is_sent = True
        return (await cancellable(session.client.uaclient.write(ua.WriteParameters(NodesToWrite=[wanted]))))[0]

    async def _call(self, signal: SignalSpec, exchange: _Exchange, address: str, value: Value) -> Any:
        """Call a method; the server's status."""
        ua, session = self._library.ua, exchange.session
        parts = BETWEEN.split(address.removeprefix("call:"))
        if len(parts) != 2:
            raise Refused.on(signal, f"{address!r} names no method", "write call:OBJECT|METHOD, both node ids")
        target, method = [await self._node(signal, session, part) for part in parts]
        kind = session.kinds.get(address)
        if kind is None:
            kind = session.kinds[address] = await self._argument(signal, session, method)
        content = [self._variant(signal, kind, value)] if kind else []
        wanted = ua.CallMethodRequest(ObjectId=target, MethodId=method, InputArguments=content)
        exchange.is_sent = True
        return (await cancellable(session.client.uaclient.session.call([wanted])))[0].StatusCode

    async def _argument(self, signal: SignalSpec, session: _Session, method: Any) -> str:
        """The type of a method's argument; nothing when it takes none."""
        node = session.client.get_node(method)
        try:
            described = await cancellable(node.get_child("0:InputArguments"))
        except self._library.ua.UaStatusCodeError as error:
            if self._library.ua.StatusCode(error.code).name == "BadNoMatch":
                return ""
            raise
        arguments = await cancellable(described.read_value()) or []
        if not arguments:
            return ""
        if len(arguments) > 1 or arguments[0].ValueRank >= 0:
            raise Refused.on(
                signal, "the method takes more than one value", "give a method with at most one plain argument"
            )
        helpers = library("asyncua.common.ua_utils", "opcua", self._name)
        data_type = session.client.get_node(arguments[0].DataType)
        kind: str = (await cancellable(helpers.data_type_to_variant_type(data_type))).name
        return kind

    def _variant(self, signal: SignalSpec, kind: str, value: Value) -> Any:
        """The value as the node's own type. Raises `WrongType`."""
        ua = self._library.ua
        if kind == "Boolean":
            content: Value = flag(signal, value, kind)
        elif kind in INTEGERS:
            bits, is_signed = INTEGERS[kind]
            content = whole(signal, value, *bounds(bits, is_signed=is_signed), kind)
        elif kind in ("Float", "Double"):
            content = real(signal, value, kind, single=kind == "Float")
        elif kind == "String" and isinstance(value, str):
            content = value
        else:
            raise WrongType.on(signal, f"{value!r:.80} does not fit {kind}", "correct `type:` or the node id")
        return ua.Variant(content, ua.VariantType[kind])


def _plain(content: Any) -> Any:
    """A value without its wrapping: the text of a localised one."""
    return content.Text if hasattr(content, "Text") and hasattr(content, "Locale") else content


def _unix(moment: datetime | None) -> float | None:
    """Unix seconds; None for none, and for the zeros of servers without a clock."""
    if moment is None:
        return None
    seconds = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    return seconds if seconds > 0 else None
