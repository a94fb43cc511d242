"""MQTT: what a controller publishes and takes through a broker, with `paho-mqtt` (extra `mqtt`).

A controller's address is its broker's, `mqtts://host[:port]`, or `mqtt://host[:port]` without encryption. A signal's is
a topic, `lab/stage/position`; behind `#` a pointer picks from JSON, or puts the value there: `lab/stage/set#/target`.

A broker hands on what was published, whenever that was. So a read does not take what is there: it waits for a message
that comes **after** the read began. Options of a signal change that:
    ask            a topic where a message (`ask_payload`) makes the controller publish; a read asks, and waits. With
                   `{id}` in the payload and `id`, the pointer to it in the reply, only the reply to this read counts
    time, quality  pointers to the value's Unix time, and to `good`, `uncertain` or `bad` (or true and false)
    max_age_s      how long before the read the message may have come, or, with `time`, the value may have been taken:
                   with `time` and 0 nothing counts that was on its way already (the clocks must agree)
    on_change      the controller publishes (and has the broker retain) whenever the value changes: the last one is
                   taken at once, while the topic `alive` says that the controller is there
A message that the broker had kept (retained) is of unknown age unless `time` tells it: it is bad, as stale; with
`on_change` uncertain.

A write is done when the broker has it (QoS 1), which says nothing about the controller: keep `verify: readback`.
Options: `body`, JSON text that is sent besides the value; `payload`, text with `{value}`; `retain`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
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
from athanor.instruments.protocols.mqtt_access import Access, Topic
from athanor.instruments.protocols.mqtt_messages import (
    age_of,
    check,
    is_fresh,
    mark_of,
    payload_of,
    reading_of,
    topic_of,
)
from athanor.instruments.protocols.mqtt_session import Gone, Heard, Session

AFTER_ALL = "; the write may have taken effect"
REMEDY = "check the broker, the topic, and that the controller publishes"


@dataclass
class _Waiter:
    """Somebody who waits for a message, and for which."""

    is_wanted: Callable[[Heard], bool]
    answer: asyncio.Future[Heard]


@dataclass
class _Line:
    """One connection: the last message of every topic that was asked for, and who waits."""

    session: Session
    latest: dict[str, Heard] = field(default_factory=dict)
    subscriptions: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    waiters: dict[str, list[_Waiter]] = field(default_factory=dict)
    alive: asyncio.Event = field(default_factory=asyncio.Event)
    last_word: str = ""
    why: str = "the connection was lost"


@dataclass
class _Exchange:
    """One read or write; `is_sent` from when it can have had an effect."""

    line: _Line
    is_sent: bool = False


class MqttClient:
    """One controller behind a broker.

    Options: `alive`, the topic on which the controller says that it is there, and its last will that it is not (with
    `alive_value`, default `online`); `user` with `password_env` or `password_file`; `root_certificates`, the PEM file
    of who signed the broker's certificate (default: the system's authorities); `certificate` with `private_key`, when
    the broker asks who we are; `keepalive_s` (default 10), after half as long again a silent broker counts as lost;
    `insecure: true` lets a password go unencrypted to another computer.

    Nothing that failed is sent later: a write that was not acknowledged takes its connection with it.
    """

    def __init__(self, address: str, options: Mapping[str, Option], name: str) -> None:
        self.address = address
        self._name = name
        self._access = Access(address, options)
        self._library: Any = None
        self._line: _Line | None = None
        self._opening = asyncio.Lock()

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there and, as far as it tells, the controller."""
        line = self._line
        return line is not None and line.session.is_open and line.alive.is_set()

    async def connect(self, deadline_s: float) -> None:
        """Go to the broker, and wait for the controller's sign of life. Raises `NotConnected` or `MissingLibrary`."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._open(self._name, "", deadline_s)
        except TimeoutError as error:
            raise self._unreachable(self._name, "", deadline_s) from error

    async def read(self, signal: SignalSpec, deadline_s: float) -> Reading:
        """Await a value of the signal's type. Raises `SignalError`."""
        topic = topic_of(signal, signal.address("read"))
        check(signal, self._access)
        began = time.monotonic()
        try:
            async with self._reaching(signal, deadline_s, "read") as exchange:
                await self._subscribe(signal, exchange.line, topic.name)
                heard = await self._await(signal, exchange.line, topic, began)
        except TimedOut as error:
            last = self._line.latest.get(topic.name) if self._line is not None else None
            if last is None or "ask" in signal.options:
                raise
            if not last.is_retained:
                ago = f"the last message came {time.monotonic() - last.arrived:.1f} s ago"
                raise TimedOut.on(signal, f"no message within {deadline_s:g} s, {ago}", REMEDY) from error
            reading = reading_of(signal, topic, last)
            return Reading(reading.value, reading.timestamp, Quality.BAD, f"stale: {age_of(signal, last)}")
        reading = reading_of(signal, topic, heard)
        if heard.is_retained and "time" not in signal.options and reading.quality is Quality.GOOD:
            detail = "stale: retained by the broker, of unknown age; the controller is there"
            return Reading(reading.value, reading.timestamp, Quality.UNCERTAIN, detail)
        return reading

    async def write(self, signal: SignalSpec, value: Value, deadline_s: float) -> None:
        """Publish a value; returns when the broker has it. Raises `SignalError`."""
        topic = topic_of(signal, signal.address("write"))
        check(signal, self._access)
        payload = payload_of(signal, topic, typed(signal, value))
        async with self._reaching(signal, deadline_s, "write") as exchange:
            exchange.is_sent = True
            is_retained = signal.options.get("retain") is True
            await exchange.line.session.publish(topic.name, payload, is_retained=is_retained)

    async def close(self) -> None:
        """Leave the broker; never raises."""
        self._drop(self._line, is_abrupt=False)
        await asyncio.sleep(0)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _await(self, signal: SignalSpec, line: _Line, topic: Topic, began: float) -> Heard:
        """The message that answers a read."""
        options = signal.options
        if options.get("on_change") is True:
            return await self._next(line, topic.name, lambda heard: True)
        if "ask" not in options:
            return await self._next(line, topic.name, lambda heard: is_fresh(signal, heard, began))
        mark = secrets.token_hex(8)
        question = str(options.get("ask_payload", "")).replace("{id}", mark)
        asked = time.monotonic()

        def answers(heard: Heard) -> bool:
            if heard.is_retained or heard.arrived < asked:
                return False
            return "id" not in options or mark_of(signal, heard) == mark

        answer = asyncio.ensure_future(self._next(line, topic.name, answers))
        try:
            await asyncio.sleep(0)  # it listens before we ask
            await line.session.publish(topic_of(signal, str(options["ask"])).name, question.encode())
            return await answer
        finally:
            answer.cancel()
            await asyncio.wait({answer})
            if not answer.cancelled():
                answer.exception()

    async def _next(self, line: _Line, topic: str, is_wanted: Callable[[Heard], bool]) -> Heard:
        """The first message on the topic that is wanted; the last one may be it."""
        last = line.latest.get(topic)
        if last is not None and is_wanted(last):
            return last
        if not line.alive.is_set():  # it went between our asking for the line and now
            raise Gone(line.why)
        waiter = _Waiter(is_wanted, asyncio.get_running_loop().create_future())
        line.waiters.setdefault(topic, []).append(waiter)
        try:
            return await waiter.answer
        finally:
            line.waiters[topic].remove(waiter)

    async def _subscribe(self, signal: SignalSpec, line: _Line, topic: str) -> None:
        """Ask for a topic once per connection."""
        if topic not in line.subscriptions:
            line.subscriptions[topic] = asyncio.ensure_future(line.session.subscribe(topic))
            line.subscriptions[topic].add_done_callback(lambda done: done.cancelled() or done.exception())
        subscribing = line.subscriptions[topic]
        await asyncio.wait({subscribing})
        try:
            subscribing.result()
        except PermissionError as error:
            del line.subscriptions[topic]
            raise Refused.on(signal, f"the broker refuses {topic}: {error}", "give a user who may read it") from error

    # -- the line ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _reaching(
        self, signal: SignalSpec, deadline_s: float, doing: Literal["read", "write"]
    ) -> AsyncIterator[_Exchange]:
        """A connection for one read or write; an error says how far it came."""
        exchange: _Exchange | None = None
        try:
            async with within(signal, deadline_s, doing):
                exchange = _Exchange(await self._open(signal.device, signal.name, deadline_s))
                yield exchange
        except TimedOut as error:
            if exchange is None:
                raise self._unreachable(signal.device, signal.name, deadline_s) from error
            if exchange.is_sent:
                self._drop(exchange.line, is_abrupt=True)
            raise
        except Gone as error:
            outcome = AFTER_ALL if exchange is not None and exchange.is_sent else ""
            raise NotConnected.on(signal, f"{self._name}: {error}{outcome}", REMEDY) from error

    def _unreachable(self, device: str, signal: str, deadline_s: float) -> SignalError:
        line = self._line
        where = f"{self._name} at {self.address}" if device != self._name else f"at {self.address}"
        if line is not None and line.session.is_open and self._access.alive is not None:
            said = f"says {line.last_word!r}, not {self._access.alive_value!r}" if line.last_word else "says nothing"
            detail = f"{where}: {self._access.alive.name} {said}"
            return NotConnected(device, signal, detail, "switch the controller on, or correct alive and alive_value")
        detail = f"{where}: no connection within {deadline_s:g} s"
        return NotConnected(device, signal, detail, "check that the broker runs, its address and the network")

    async def _open(self, device: str, signal: str, deadline_s: float) -> _Line:
        """The connection, with the controller there; a new one unless it stands."""
        async with self._opening:
            line = self._line
            if line is None or not line.session.is_open:
                self._drop(line, is_abrupt=True)
                try:
                    line = await self._dial(deadline_s)
                except (Gone, OSError, ValueError) as error:
                    where = f"{self._name} at {self.address}" if device != self._name else f"at {self.address}"
                    remedy = "check that the broker runs, its address, certificates and password"
                    raise NotConnected(device, signal, f"{where}: {error}", remedy) from error
        await line.alive.wait()
        return line

    async def _dial(self, deadline_s: float) -> _Line:
        if self._library is None:
            self._library = await asyncio.to_thread(library, "paho.mqtt.client", "mqtt", self._name)
        session = Session(self._library, lambda heard: self._heard(line, heard), lambda why: self._lost(line, why))
        line = _Line(session)
        try:
            await session.open(await asyncio.to_thread(self._access.broker), deadline_s)
            if self._access.alive is None:
                line.alive.set()
            else:
                await session.subscribe(self._access.alive.name)
        except PermissionError as error:
            session.close()
            raise Gone(f"the broker refuses {self._access.alive.name}: {error}") from error  # type: ignore[union-attr]
        except BaseException:
            session.close(is_abrupt=True)
            raise
        self._line = line
        return line

    def _heard(self, line: _Line, heard: Heard) -> None:
        alive = self._access.alive
        if alive is not None and heard.topic == alive.name:
            line.last_word = alive.word(heard.payload)
            if line.last_word == self._access.alive_value:
                line.alive.set()
            else:
                self._lost(line, Gone(f"{alive.name} says {line.last_word!r}"))
        line.latest[heard.topic] = heard
        for waiter in list(line.waiters.get(heard.topic, ())):
            if not waiter.answer.done() and waiter.is_wanted(heard):
                waiter.answer.set_result(heard)

    def _lost(self, line: _Line, why: Gone) -> None:
        """The broker, or the controller, is gone: everybody who waits for a message learns that none comes."""
        line.alive.clear()
        line.why = str(why)
        for waiters in line.waiters.values():
            for waiter in waiters:
                if not waiter.answer.done():
                    waiter.answer.set_exception(why)

    def _drop(self, line: _Line | None, *, is_abrupt: bool) -> None:
        """Leave a connection."""
        if line is None:
            return
        if line is self._line:
            self._line = None
        line.session.close(is_abrupt=is_abrupt)
        self._lost(line, Gone("the line was closed"))
