"""SiLA 2: properties and commands of a server, over gRPC, through `sila2` (extra `sila`).

A controller's address is `host:port`. A signal's is `FEATURE.NAME`, with the feature's identifier, `Stage.Position`, or
its full name, `org.example/motion/Stage/v1.Position`. Behind `#` a pointer picks from a structure: `Stage.State#/Now`.
    Stage.Position            read: a property, observable or not; each read asks anew
    Stage.MoveTo[#/Target]    write: a command, with the value as its only parameter, or as the one named
    status:Stage.MoveTo       read: of an observable command started last; whether it is over, an error when it failed
    result:Stage.Measure[#/Response], call:Stage.Measure[#/Response]
                              read: what that command gave; or what an unobservable one gives now (it is called then)

Options of a signal: `parameters`, JSON text with a command's further parameters; `time` and `quality`, pointers to the
value's time and to `good`, `uncertain` or `bad` (or true and false). SiLA itself has neither: else the time is that of
arrival. Client metadata, which servers with locks or logins want, binary and custom types are not supported.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

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
    library,
    typed,
    within,
)
from athanor.instruments.protocols.pointers import moment_of, pick, pick_option, quality_of, value_of
from athanor.instruments.protocols.sila_access import Access
from athanor.instruments.protocols.sila_features import (
    Address,
    Features,
    is_command,
    is_observable,
    is_property,
    load,
    plain,
    request,
    said,
)

AFTER_ALL = "; the write may have taken effect"


@dataclass
class _Line:
    """One channel to a server; `is_doubted` since a call on it was not answered in time."""

    channel: Any
    features: Features = field(default_factory=Features)
    stubs: dict[str, Any] = field(default_factory=dict)
    is_doubted: bool = False


@dataclass
class _Exchange:
    """One read or write; `is_sent` from when it can have had an effect."""

    line: _Line
    is_sent: bool = False


class SilaClient:
    """One SiLA 2 server.

    Options: `root_certificates`, the PEM file of who signed the server's certificate, or of that itself when it is
    self-signed (default: the authorities that gRPC brings); `certificate` with `private_key`, when the server asks who
    we are; `server_name`, the name in its certificate when it is not that of the address; `uuid`, the server that it
    must be. `insecure: true` leaves out encryption, against the SiLA standard, and is for servers on this computer.

    It counts as connected until a call finds the line broken. After a call that was not answered in time the server is
    asked who it is before anything else. Requests do not wait for one another, and none is sent twice.
    """

    def __init__(self, address: str, options: Mapping[str, Option], name: str) -> None:
        self.address = address
        self._name = name
        self._access = Access(address, options)
        self._line: _Line | None = None
        self._opening = asyncio.Lock()
        self._started: dict[str, str] = {}
        self._grpc: Any = None

    @property
    def is_connected(self) -> bool:
        """Whether the server answered, and no call since found the line broken."""
        return self._line is not None

    async def connect(self, deadline_s: float) -> None:
        """Ask the server who it is and what it offers. Raises `NotConnected` or `MissingLibrary`."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._open(self._name, "")
        except TimeoutError as error:
            raise self._unreachable(self._name, "", f"no connection within {deadline_s:g} s") from error

    async def read(self, signal: SignalSpec, deadline_s: float) -> Reading:
        """Read a value of the signal's type. Raises `SignalError`."""
        address = _parsed(signal, signal.address("read"))
        async with self._reaching(signal, deadline_s, "read") as exchange:
            member = exchange.line.features.member(signal, address)
            if address.kind in ("status", "result"):
                content = await self._progress(signal, exchange, address, member)
            elif address.kind == "call":
                content = await self._invoke(signal, exchange, member)
            elif is_property(member):
                content = await self._property(exchange, member)
            else:
                raise Refused.on(signal, f"{address.member} is a command", "write `call:`, `status:` or `result:`")
        moment, quality, detail = time.time(), Quality.GOOD, ""
        if isinstance(content, _Invalid):
            return Reading(None, moment, Quality.BAD, str(content))
        if "time" in signal.options:
            moment = moment_of(signal, pick_option(signal, content, "time"))
        if "quality" in signal.options:
            quality, detail = quality_of(pick_option(signal, content, "quality"))
        return Reading(value_of(signal, pick(signal, content, address.pointer)), moment, quality, detail)

    async def write(self, signal: SignalSpec, value: Value, deadline_s: float) -> None:
        """Run a command; returns when it has ended, or when the server has begun an observable one.

        Raises `SignalError`.
        """
        address = _parsed(signal, signal.address("write"))
        typed(signal, value)
        async with self._reaching(signal, deadline_s, "write") as exchange:
            member = exchange.line.features.member(signal, address)
            if address.kind or not is_command(member):
                what = f"{address.kind}:" if address.kind else "a property"
                raise Refused.on(signal, f"{what} cannot be written", "give the command that sets it")
            message = request(signal, member, address.pointer, value)
            key = str(member.fully_qualified_identifier)
            self._started.pop(key, None)
            exchange.is_sent = True
            answer = await self._call(exchange.line, member, member._identifier, message)
            if is_observable(member):
                self._started[key] = str(answer.commandExecutionUUID.value)

    async def close(self) -> None:
        """Close the line; never raises."""
        self._drop()

    # -- what a server offers ------------------------------------------------------------------------------------------

    async def _property(self, exchange: _Exchange, member: Any) -> Any:
        """The value of a property; of an observable one, what a new subscription gives first."""
        message = member.get_parameters_message()
        if is_observable(member):
            answer = await self._first(exchange.line, member, f"Subscribe_{member._identifier}", message)
        else:
            answer = await self._call(exchange.line, member, f"Get_{member._identifier}", message)
        return self._native(member, answer)

    async def _invoke(self, signal: SignalSpec, exchange: _Exchange, member: Any) -> Any:
        """What an unobservable command gives; the only response stands for itself."""
        if not is_command(member) or is_observable(member):
            raise Refused.on(signal, "only an unobservable command can be read", "start it, and read its `result:`")
        message = request(signal, member, (), None)
        return self._responses(member, await self._call(exchange.line, member, member._identifier, message))

    async def _progress(self, signal: SignalSpec, exchange: _Exchange, address: Address, member: Any) -> Any:
        """Whether an observable command is over, or what it gave."""
        if not is_command(member) or not is_observable(member):
            raise Refused.on(signal, f"{address.member} is no observable command", "correct the address")
        started = self._started.get(str(member.fully_qualified_identifier))
        if started is None:
            raise Refused.on(signal, f"{address.member} was not started over this connection", "start it first")
        message = member.parent_feature._pb2_module.SiLAFramework__pb2.CommandExecutionUUID(value=started)
        try:
            answer = await self._call(exchange.line, member, f"{member._identifier}_Result", message)
        except self._grpc.RpcError as error:
            found = said(error.details() or "", self._name)
            if address.kind == "status" and found is not None and found.is_running:
                return False
            raise
        return True if address.kind == "status" else self._responses(member, answer)

    def _responses(self, command: Any, answer: Any) -> Any:
        content = self._native(command.responses, answer)
        return next(iter(content.values())) if isinstance(content, dict) and len(content) == 1 else content

    def _native(self, kind: Any, answer: Any) -> Any:
        """An answer as JSON has it; what breaks the server's own constraints is no value."""
        invalid = library("sila2.framework", "sila", self._name).ValidationError
        try:
            return plain(kind.to_native_type(answer))
        except invalid as error:
            return _Invalid(f"against the server's own definition: {error}")

    # -- the line ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _reaching(
        self, signal: SignalSpec, deadline_s: float, doing: Literal["read", "write"]
    ) -> AsyncIterator[_Exchange]:
        """A line for one read or write; an error says how far it came."""
        exchange: _Exchange | None = None
        try:
            async with within(signal, deadline_s, doing):
                exchange = _Exchange(await self._open(signal.device, signal.name))
                yield exchange
        except TimedOut as error:
            if exchange is None:
                raise self._unreachable(signal.device, signal.name, f"no answer within {deadline_s:g} s") from error
            exchange.line.is_doubted = True
            raise
        except SignalError:
            raise
        except (_Gone, self._errors()) as error:
            assert exchange is not None
            outcome = AFTER_ALL if exchange.is_sent and doing == "write" else ""
            raise self._told(signal, error, exchange.line, outcome) from error

    def _told(self, signal: SignalSpec, error: Any, line: _Line, outcome: str) -> SignalError:
        """The error for a call that failed."""
        codes = self._grpc.StatusCode
        code = codes.CANCELLED if isinstance(error, _Gone) else error.code()
        if code in (codes.UNAVAILABLE, codes.CANCELLED):
            if line is self._line:
                self._drop()
            detail = f"the connection to {self._name} was lost: {_words(error)}{outcome}"
            return NotConnected.on(signal, detail, "check the server")
        found = said(error.details() or "", self._name) if code is codes.ABORTED else None
        if found is not None:
            detail = f"{self._name} answers {found.detail}{'' if found.is_certain else outcome}"
            return Refused.on(signal, detail, found.remedy)
        remedy = "see the server's vendor" if code is codes.UNIMPLEMENTED else "look at the server"
        return Refused.on(signal, f"{self._name} answers {code.name}: {_words(error)}{outcome}", remedy)

    def _errors(self) -> type[Exception]:
        """gRPC's errors, once it is there."""
        return _Gone if self._grpc is None else self._grpc.RpcError

    def _unreachable(self, device: str, signal: str, detail: str) -> NotConnected:
        where = f"{self._name} at {self.address}" if device != self._name else f"at {self.address}"
        return NotConnected(device, signal, f"{where}: {detail}", "check that it is on, its address and certificates")

    async def _open(self, device: str, signal: str) -> _Line:
        """The line; a new one unless it stands. One in doubt is tried first."""
        async with self._opening:
            if self._line is not None and not self._line.is_doubted:
                return self._line
            if self._grpc is None:
                # The whole of it, in a thread: it compiles while it is imported.
                await asyncio.to_thread(library, "sila2.features.silaservice", "sila", self._name)
                self._grpc = library("grpc", "sila", self._name)
            try:
                line = self._line or _Line(self._access.channel(self._grpc))
            except OSError as error:
                raise self._unreachable(device, signal, str(error)) from error
            try:
                await self._greet(line, device, signal)
            except (_Gone, self._grpc.RpcError) as error:
                self._drop(line)
                raise self._unreachable(device, signal, _words(error)) from error
            except BaseException:
                self._drop(line)
                raise
            self._line, line.is_doubted = line, False
            return line

    async def _greet(self, line: _Line, device: str, signal: str) -> None:
        """Ask who is there, and on a new line what it offers."""
        core = library("sila2.features.silaservice", "sila", self._name).SiLAServiceFeature

        async def ask(member: Any) -> Any:
            answer = await self._call(line, member, f"Get_{member._identifier}", member.get_parameters_message())
            return plain(member.to_native_type(answer))

        uuid = str(await ask(core["ServerUUID"]))
        if self._access.uuid not in ("", uuid.lower()):
            raise self._unreachable(device, signal, f"it is server {uuid}, not {self._access.uuid}")
        if line.features.sound:
            return
        define = core["GetFeatureDefinition"]
        definitions = []
        for name in await ask(core["ImplementedFeatures"]):
            message = define.parameters.to_message(name)
            answer = await self._call(line, define, define._identifier, message)
            definitions.append((str(name), str(define.responses.to_native_type(answer)[0])))
        line.features = await asyncio.to_thread(load, definitions, self._name)

    def _drop(self, line: _Line | None = None) -> None:
        """Close a line, the present one by default."""
        line = line or self._line
        if line is self._line:
            self._line = None
        if line is not None:
            with suppress(Exception):
                line.channel.close()

    async def _call(self, line: _Line, member: Any, method: str, message: Any) -> Any:
        """The answer to one call; cancelled with it. Raises gRPC's `RpcError`, or `_Gone` when the line was closed."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def tell(_: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(over.set)

        try:
            call = self._stub(line, member, method).future(message)
        except ValueError as error:
            raise _Gone("the line was closed") from error
        call.add_done_callback(tell)
        try:
            await over.wait()
        except asyncio.CancelledError:
            call.cancel()
            raise
        try:
            answer = call.result()
        except self._grpc.FutureCancelledError as error:
            raise _Gone("the line was closed") from error
        return answer

    async def _first(self, line: _Line, member: Any, method: str, message: Any) -> Any:
        """The first message of a stream."""
        try:
            stream = self._stub(line, member, method)(message)
        except ValueError as error:
            raise _Gone("the line was closed") from error
        try:
            answer = await asyncio.to_thread(next, stream, None)
        finally:
            stream.cancel()
        if answer is None:
            raise _Gone("the server ended the subscription without a value")
        return answer

    def _stub(self, line: _Line, member: Any, method: str) -> Any:
        """The call of that name on this line."""
        feature = member.parent_feature
        key = str(feature.fully_qualified_identifier)
        if key not in line.stubs:
            line.stubs[key] = getattr(feature._grpc_module, f"{feature._identifier}Stub")(line.channel)
        return getattr(line.stubs[key], method)


class _Gone(Exception):
    """The line was closed under a call."""


class _Invalid(str):
    """In place of a value that breaks its own definition: why."""


def _parsed(signal: SignalSpec, text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise Refused.on(signal, str(error), "correct the address") from error


def _words(error: Any) -> str:
    details = error.details() if hasattr(error, "details") else str(error)
    return str(details or type(error).__name__)[:300]
