"""A real MQTT broker (amqtt) in a thread, and a controller behind it, which uses paho's own threads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from typing import Any, ClassVar

from amqtt.broker import Broker
from paho.mqtt import client as paho

from athanor.instruments.protocols.client import SignalSpec
from tests.instruments.protocols.conformance import Plant, Rig
from tests.instruments.protocols.ioc_rig import free_port
from tests.instruments.protocols.relay import Relay
from tests.instruments.protocols.serving import Loop

ANYBODY = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


class Tidy(Broker):
    """The broker, which knows its connections: the library leaves open those that end while it shuts down."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.writers: list[asyncio.StreamWriter] = []

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        self.writers.append(writer)
        await super().stream_connected(reader, writer, listener_name)

    async def shutdown(self) -> None:
        await super().shutdown()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0)


class Exchange:
    """The broker, on a free port of loopback."""

    def __init__(self, plugins: dict[str, Any] = ANYBODY, **listener: Any) -> None:
        self.port = free_port(socket.SOCK_STREAM)
        self._loop = Loop()
        config = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}", **listener}},
            "plugins": plugins,
        }
        self._loop.do(self._start(config))

    async def _start(self, config: dict[str, Any]) -> None:
        self._broker = Tidy(config)
        await self._broker.start()

    def close(self) -> None:
        try:
            self._loop.do(self._broker.shutdown())
        finally:
            self._loop.close()


class Device:
    """The controller: takes commands, answers questions, publishes every `period_s` by itself, leaves a last will."""

    def __init__(self, port: int, plant: Plant, period_s: float | None = None) -> None:
        self.plant = plant
        self.heard: list[tuple[str, bytes]] = []
        self._period_s = period_s
        self._is_ending = threading.Event()
        self._is_ready = threading.Event()
        self._teller: threading.Thread | None = None
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        self.client.will_set("lab/status", "offline", qos=1, retain=True)
        self.client.on_connect = lambda *_: self.client.subscribe(
            [("lab/stage/set", 1), ("lab/stage/go", 1), ("lab/stage/halt", 1), ("lab/get", 1)]
        )
        self.client.on_subscribe = lambda *_: self._is_ready.set()
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        self.client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.loop_start()
        assert self._is_ready.wait(10.0)
        self.client.publish("lab/status", "online", qos=1, retain=True).wait_for_publish(10.0)
        if period_s is not None:
            self._teller = threading.Thread(target=self._tell_always, daemon=True)
            self._teller.start()

    def _take(self, client: Any, data: Any, message: Any) -> None:
        self.heard.append((message.topic, message.payload))
        match message.topic:
            case "lab/stage/set":
                self.plant.move(json.loads(message.payload)["target"])
            case "lab/stage/go":
                self.plant.move(float(message.payload))
            case "lab/stage/halt":
                self.plant.stop()
            case "lab/get":
                asked = json.loads(message.payload)
                self.tell({"id": asked["id"]} if "id" in asked else {})

    def tell(self, besides: dict[str, Any] | None = None, *, is_retained: bool = False) -> None:
        """Publish everything there is, once."""
        plant, now = self.plant, time.time()
        everything: dict[str, Any] = {
            "lab/stage/position": repr(plant.position),
            "lab/stage/target": repr(plant.target),
            "lab/stage/moving": "on" if plant.is_moving else "off",
            "lab/camera": {"value": plant.measured, "good": plant.is_good, "time": now},
            "lab/label": plant.label,
            "lab/count": str(plant.count),
            "lab/state": {
                "axis": {"position": plant.position, "target": plant.target, "moving": plant.is_moving},
                "label": plant.label,
                "count": plant.count,
                "time": now,
                **(besides or {}),
            },
        }
        for topic, content in everything.items():
            payload = content if isinstance(content, str) else json.dumps(content)
            self.client.publish(topic, payload, qos=0, retain=is_retained)

    def _tell_always(self) -> None:
        while not self._is_ending.wait(self._period_s):
            self.tell()

    def die(self) -> None:
        """Go without a goodbye: the broker publishes the last will."""
        self._end_telling()
        if (line := self.client.socket()) is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()

    def close(self) -> None:
        self._end_telling()
        self.client.disconnect()
        self.client.loop_stop()

    def _end_telling(self) -> None:
        self._is_ending.set()
        if self._teller is not None:
            self._teller.join(10.0)


class MqttRig(Rig):
    """Everything is asked for, in JSON, with an id that the reply repeats."""

    protocol: ClassVar[str] = "mqtt"
    package: ClassVar[str | None] = "paho"
    extra: ClassVar[str] = "mqtt"
    has_quality: ClassVar[bool] = True
    period_s: ClassVar[float | None] = None
    options = {"alive": "lab/status"}
    ask: ClassVar[dict[str, Any]] = {"ask": "lab/get", "ask_payload": '{"id": "{id}"}', "id": "/id"}

    def __init__(self) -> None:
        super().__init__()
        self._ending = contextlib.ExitStack()

    def signals(self) -> dict[str, SignalSpec]:
        camera = {"ask": "lab/get", "ask_payload": "{}", "time": "/time", "quality": "/good"}
        return {
            "setpoint": SignalSpec(write="lab/stage/set#/target", read="lab/state#/axis/target", options=self.ask),
            "readback": SignalSpec(read="lab/state#/axis/position", options=self.ask),
            "moving": SignalSpec(read="lab/state#/axis/moving", type="bool", options=self.ask),
            "stop": SignalSpec(write="lab/stage/halt", type="int"),
            "measured": SignalSpec(read="lab/camera#/value", options=camera),
            "label": SignalSpec(read="lab/state#/label", type="str", options=self.ask),
            "count": SignalSpec(read="lab/state#/count", type="int", options=self.ask),
            "nowhere": SignalSpec(read="lab/nowhere", options=self.ask),
        }

    def start(self) -> None:
        broker = Exchange()
        self._ending.callback(broker.close)
        self.port = broker.port
        self.device = Device(broker.port, self.plant, self.period_s)
        self._ending.callback(self.device.close)
        self._relay = Relay(broker.port)
        self._ending.callback(self._relay.close)
        self._relay.start()
        self.address = f"mqtt://127.0.0.1:{self._relay.port}"

    def drop(self) -> None:
        self._relay.drop()

    def restore(self) -> None:
        self._relay.start()

    def stall(self) -> None:
        self._relay.stall()

    def resume(self) -> None:
        self._relay.resume()

    def close(self) -> None:
        self._ending.close()


class PeriodicRig(MqttRig):
    """Everything is published by itself, with the time when it was so."""

    period_s = 0.04
    ask: ClassVar[dict[str, Any]] = {"time": "/time", "max_age_s": 0}

    def signals(self) -> dict[str, SignalSpec]:
        camera = {**self.ask, "quality": "/good"}
        return {
            **super().signals(),
            "setpoint": SignalSpec(write="lab/stage/go", read="lab/state#/axis/target", options=self.ask),
            "stop": SignalSpec(write="lab/stage/halt", type="int", options={"payload": "STOP"}),
            "measured": SignalSpec(read="lab/camera#/value", options=camera),
        }
