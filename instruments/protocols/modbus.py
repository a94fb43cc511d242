"""Modbus TCP: registers, coils and inputs of a controller, through `pymodbus` (extra `modbus`).

A controller's address is `host` or `host:port` (port 502). A signal's is `AREA:NUMBER:TYPE`, for example
`holding:100:float32`, `input:0x10:uint16`, `coil:7`, `discrete:3`, `holding:4:bit2`, `holding:200:string16`. The number
is the one on the wire, counted from 0: a manual's 40101 is `holding:100`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

from athanor.instruments.protocols.cancelling import cancellable
from athanor.instruments.protocols.client import (
    NotConnected,
    Option,
    Quality,
    Reading,
    Refused,
    SignalSpec,
    TimedOut,
    Value,
    WrongType,
    library,
    typed,
    within,
)
from athanor.instruments.protocols.registers import Register

FOREVER_S = 86_400.0  # the library's own time limits; ours are shorter
CONTROLLER_OPTIONS = frozenset({"unit", "word_order", "byte_order", "framing"})
SIGNAL_OPTIONS = frozenset({"unit", "word_order", "byte_order", "write_with", "valid", "fault", "invalid"})
EXCEPTIONS = {
    1: ("illegal function", "this controller does not do that; correct the area, or `write_with:`"),
    2: ("illegal data address", "correct the address; it counts from 0"),
    3: ("illegal data value", "narrow the limits, or correct type and scale"),
    4: ("device failure", "look at the controller"),
    6: ("device busy", "try again when it is done"),
    7: ("negative acknowledge", "look at the controller"),
    8: ("memory parity error", "look at the controller"),
    10: ("gateway path unavailable", "check the unit number and the gateway"),
    11: ("the device behind the gateway does not answer", "check the unit number, and that it is on"),
}
DONE_ALL_THE_SAME = frozenset({4, 11})


class ModbusClient:
    """One connection to one Modbus TCP controller or gateway.

    Options of the controller: `unit` (0 to 255, default 1), `word_order` and `byte_order` (`big` or `little`, default
    `big`), `framing` (`tcp`, or `rtu` for a gateway that passes serial frames on). A signal's options override `unit`
    and the orders, and: `write_with` (`single` or `multiple`; by default one register is written with function 6,
    several with function 16); `invalid`, the raw value that stands for "no value"; `valid` or `fault`, the address of a
    bit that is true while the value is good, or while it is not.

    The protocol knows neither time nor quality: the time is that of arrival. One request is on the line at a time, none
    is ever sent twice, and a request that was not answered in time takes the connection with it, so that no late answer
    can be mistaken for another's.
    """

    def __init__(self, address: str, options: Mapping[str, Option], name: str) -> None:
        self.address = address
        self._name = name
        parts = urlsplit(address if "//" in address else f"//{address}")
        if not parts.hostname or parts.scheme not in ("", "tcp", "modbus") or parts.path not in ("", "/"):
            raise ValueError(f"{address!r} is no Modbus TCP address; write host or host:port")
        self._host, self._port = parts.hostname, parts.port or 502
        if unknown := sorted(options.keys() - CONTROLLER_OPTIONS):
            raise ValueError(f"no such option: {', '.join(unknown)}; there are {', '.join(sorted(CONTROLLER_OPTIONS))}")
        if options.get("framing", "tcp") not in ("tcp", "rtu"):
            raise ValueError(f"framing is tcp or rtu, not {options['framing']!r}")
        self._options = dict(options)
        _settings(self._options)
        self._line = asyncio.Lock()
        self._library: Any = None
        self._client: Any = None
        self._is_asking = False

    @property
    def is_connected(self) -> bool:
        """Whether the line is open, as far as is known."""
        client = self._client
        return client is not None and bool(client.connected)

    async def connect(self, deadline_s: float) -> None:
        """Open the line; nothing when it is open. Raises `NotConnected` or `MissingLibrary`."""
        try:
            async with asyncio.timeout(deadline_s), self._line:
                await self._open(self._name, "")
        except TimeoutError as error:
            raise self._unreachable(self._name, "", f"no connection within {deadline_s:g} s") from error

    async def read(self, signal: SignalSpec, deadline_s: float) -> Reading:
        """Read a value of the signal's type. Raises `SignalError`."""
        register = self._register(signal, signal.address("read"))
        watched = [
            (self._register(signal, str(signal.options[word])), word == "valid", word)
            for word in ("valid", "fault")
            if word in signal.options
        ]
        unit, swap_words, swap_bytes = self._settings(signal)
        async with self._reaching(signal, deadline_s, "read"):
            # The bits are read on both sides of the value: it is good only if they said so before and after.
            detail = await self._doubts(signal, watched, unit)
            raw = register.decode(await self._fetch(signal, register, unit), swap_words, swap_bytes)
            arrival = time.time()
            detail = await self._doubts(signal, watched, unit) or detail
        if "invalid" in signal.options and raw == signal.options["invalid"]:
            detail = detail or f"{raw} stands for no value"
        return Reading(None, arrival, Quality.BAD, detail) if detail else Reading(typed(signal, raw), arrival)

    async def write(self, signal: SignalSpec, value: Value, deadline_s: float) -> None:
        """Write; returns when the controller has acknowledged it. Raises `SignalError`."""
        register = self._register(signal, signal.address("write"))
        unit, swap_words, swap_bytes = self._settings(signal)
        content = register.encode(signal, value, swap_words, swap_bytes)
        with_one = signal.options.get("write_with", "single") == "single" and len(content) == 1

        def request(client: Any) -> Awaitable[Any]:
            if register.is_bit:
                write = client.write_coil if with_one else client.write_coils
            else:
                write = client.write_register if with_one else client.write_registers
            acknowledged: Awaitable[Any] = write(register.number, content[0] if with_one else content, device_id=unit)
            return acknowledged

        async with self._reaching(signal, deadline_s, "write"):
            answer = await self._ask(signal, "write", request)
        if answer is not None and getattr(answer, "address", register.number) != register.number:
            raise Refused.on(
                signal,
                f"the controller acknowledged a write to {answer.address} instead",
                "read it back and look there",
            )

    async def close(self) -> None:
        """Close the line; never raises."""
        self._drop()
        await asyncio.sleep(0)  # lets the transport go before the loop may end

    # -- inside ------------------------------------------------------------------------------------------------------

    def _register(self, signal: SignalSpec, address: str) -> Register:
        try:
            return Register.parse(address)
        except ValueError as error:
            raise Refused.on(signal, str(error), "correct the profile") from error

    def _settings(self, signal: SignalSpec) -> tuple[int, bool, bool]:
        unknown = sorted(signal.options.keys() - SIGNAL_OPTIONS)
        if unknown:
            raise Refused.on(
                signal, f"no such option: {', '.join(unknown)}", f"there are {', '.join(sorted(SIGNAL_OPTIONS))}"
            )
        try:
            return _settings({**self._options, **signal.options})
        except ValueError as error:
            raise Refused.on(signal, str(error), "correct the profile") from error

    @asynccontextmanager
    async def _reaching(
        self, signal: SignalSpec, deadline_s: float, doing: Literal["read", "write"]
    ) -> AsyncIterator[None]:
        """Hold the line, connected, for one exchange; an error says how far it came."""
        stage = "waiting for the line"
        try:
            async with within(signal, deadline_s, doing), self._line:
                stage = "connecting"
                await self._open(signal.device, signal.name)
                stage = ""
                yield
        except TimedOut as error:
            if stage == "connecting":
                raise self._unreachable(signal.device, signal.name, f"no connection within {deadline_s:g} s") from error
            if stage and doing == "write":
                raise TimedOut.on(
                    signal, f"other requests took {deadline_s:g} s: nothing was written", "write it again"
                ) from error
            raise

    def _unreachable(self, device: str, signal: str, detail: str) -> NotConnected:
        where = f"{self._name} at {self.address}" if device != self._name else f"at {self.address}"
        return NotConnected(device, signal, f"{where}: {detail}", "check that it is on, its address and the network")

    async def _open(self, device: str, signal: str) -> None:
        """Connect unless connected; the line is held."""
        if self.is_connected:
            return
        self._drop()
        if self._library is None:
            await asyncio.to_thread(library, "pymodbus.client", "modbus", self._name)
            self._library = library("pymodbus", "modbus", self._name)
        client: Any = self._library.client.AsyncModbusTcpClient(
            self._host,
            port=self._port,
            framer=self._library.FramerType("rtu" if self._options.get("framing") == "rtu" else "socket"),
            timeout=FOREVER_S,
            retries=0,  # a write must never be sent again by itself
            reconnect_delay=0,
            trace_connect=lambda is_up: None if is_up else self._lost(client),
        )
        self._client = client
        try:
            is_open = await cancellable(client.connect())
        except BaseException:
            self._drop()
            raise
        if not is_open:
            self._drop()
            raise self._unreachable(device, signal, "nothing accepts a connection there")

    def _lost(self, client: Any) -> None:
        """The library noticed the end of the connection: whoever waits for an answer learns it now."""
        waiting = client.ctx.response_future
        if self._is_asking and client is self._client and not waiting.done():
            waiting.set_exception(ConnectionResetError("the controller closed the connection"))

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _ask(
        self, signal: SignalSpec, doing: Literal["read", "write"], request: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        """One request and its answer; the line is held. None for an acknowledged write that goes on."""
        self._is_asking = True
        try:
            answer = await cancellable(request(self._client))
        except (OSError, self._library.ModbusException) as error:
            self._drop()
            outcome = "; the write may have taken effect" if doing == "write" else ""
            raise NotConnected.on(
                signal, f"the connection to {self._name} was lost: {error}{outcome}", "check the controller"
            ) from error
        except BaseException:
            # Cancelled, or out of time: the answer may still come, and must meet nobody.
            self._drop()
            raise
        finally:
            self._is_asking = False
        if not answer.isError():
            return answer
        code = int(answer.exception_code)
        if code == 5 and doing == "write":
            return None
        words, remedy = EXCEPTIONS.get(code, ("unknown", "look into the controller's manual"))
        outcome = "; the write may have taken effect" if doing == "write" and code in DONE_ALL_THE_SAME else ""
        kind = TimedOut if code == 11 else Refused
        raise kind.on(signal, f"{self._name} answers exception {code}, {words}{outcome}", remedy)

    async def _fetch(self, signal: SignalSpec, register: Register, unit: int) -> list[int] | list[bool]:
        function = {
            "holding": "read_holding_registers",
            "input": "read_input_registers",
            "coil": "read_coils",
            "discrete": "read_discrete_inputs",
        }[register.area]

        def request(client: Any) -> Awaitable[Any]:
            found: Awaitable[Any] = getattr(client, function)(register.number, count=register.count, device_id=unit)
            return found

        answer = await self._ask(signal, "read", request)
        content: list[int] | list[bool] = answer.bits if register.is_bit else answer.registers
        if len(content) < register.count or (not register.is_bit and len(content) > register.count):
            self._drop()
            raise WrongType.on(
                signal, f"{self._name} sent {len(content)} values, not {register.count}", "correct the address"
            )
        return content

    async def _doubts(self, signal: SignalSpec, watched: list[tuple[Register, bool, str]], unit: int) -> str:
        """Why the value is not to be trusted; nothing when it is."""
        for register, good, word in watched:
            if bool(register.decode(await self._fetch(signal, register, unit), False, False)) is not good:
                return f"{word} bit {register.area}:{register.number} is {'off' if good else 'on'}"
        return ""


def _settings(options: Mapping[str, Option]) -> tuple[int, bool, bool]:
    """Unit, and whether words and bytes are swapped. Raises `ValueError` naming the option."""
    unit = options.get("unit", 1)
    if isinstance(unit, bool) or not isinstance(unit, int) or not 0 <= unit <= 255:
        raise ValueError(f"unit is a number from 0 to 255, not {unit!r}")
    for order in ("word_order", "byte_order"):
        if options.get(order, "big") not in ("big", "little"):
            raise ValueError(f"{order} is big or little, not {options[order]!r}")
    if options.get("write_with", "single") not in ("single", "multiple"):
        raise ValueError(f"write_with is single or multiple, not {options['write_with']!r}")
    return unit, options.get("word_order") == "little", options.get("byte_order") == "little"
