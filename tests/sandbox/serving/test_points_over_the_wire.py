"""Every kind of point over every protocol, asked by our own clients: words, whole numbers, long text, bad values."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from athanor.instruments.laboratory import Challenge, Reference
from athanor.instruments.protocols.client import Client, Quality, Refused, SignalError, SignalSpec, WrongType
from athanor.instruments.protocols.wired import client_class
from athanor.sandbox.core import Core
from athanor.sandbox.laboratory import SimulatedLaboratory
from athanor.sandbox.options import Options
from athanor.sandbox.physics import AxisModel, Readings, SignalModel, Value
from athanor.sandbox.serving import process
from athanor.sandbox.serving.profile import Server, profile_text
from athanor.sandbox.serving.station import Station
from athanor.sandbox.witness import Witness, read_witness
from tests.sandbox.serving.served import PROTOCOLS

PROFILE = """\
name: carousel
laboratory: carousel
simulated: true
axes:
  solvent: {allowed: [water, ethanol]}
  height: {unit: mm, minimum: 0, maximum: 10}
detectors:
  balance: {signals: {mass: g}}
outcomes:
  mass: {signal: mass, unit: g}
"""


class Carousel:
    """A laboratory with an axis that takes words."""

    name = "carousel"
    axes = (
        AxisModel("solvent", None, "water", kind="choice"),
        AxisModel("height", "mm", 0.0),
    )
    signals = (SignalModel("mass", "g"),)
    dwell_s = 0.0

    def truth(self, values: Any) -> dict[str, float]:
        return {"mass": 1 / 3 if values["solvent"] == "ethanol" else float("inf")}

    def readings(self, values: Any, rng: np.random.Generator, noise: float) -> Readings:
        return dict(self.truth(values))


def no_reference() -> Reference:
    raise AssertionError("nobody needs it")


class Wire:
    """A served carousel, and a client of its."""

    def __init__(self, station: Station, server: Server, client: Client, witness: Path) -> None:
        self.station = station
        self.server = server
        self.client = client
        self.witness = witness

    def spec(self, device: str, name: str) -> SignalSpec:
        return SignalSpec(**self.server.signal(self.station.points[device, name])).named(device, name)

    async def ask(self, device: str, name: str) -> Any:
        return await self.client.read(self.spec(device, name), 5.0)

    async def put(self, device: str, name: str, value: Value = 1) -> None:
        await self.client.write(self.spec(device, name), value, 5.0)

    async def measure(self) -> Any:
        await self.put("run", "begin")
        await self.put("balance", "trigger")
        async with asyncio.timeout(20.0):
            while not (await self.ask("balance", "done")).value:
                await asyncio.sleep(0.005)
        return await self.ask("balance", "mass")


Play = Callable[[Callable[[Wire], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=PROTOCOLS)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    (tmp_path / "carousel.profile.yaml").write_text(PROFILE)
    laboratory = SimulatedLaboratory(
        Carousel(), devices="async", challenge=Challenge("", "", ""), reference=no_reference, folder=tmp_path
    )
    path = tmp_path / "controller.jsonl"

    def run(what: Callable[[Wire], Coroutine[Any, Any, None]]) -> None:
        async def begin() -> None:
            witness = Witness(path)
            station = Station(Core(laboratory, Options(), witness))
            server: Server = process._server_class(request.param)(station)
            client: Client | None = None
            try:
                address = await server.start("127.0.0.1", 0)
                profile_text(server, address)
                client = client_class(request.param)(address, server.controller_options(), "carousel")
                await client.connect(10.0)
                await what(Wire(station, server, client, path))
            finally:
                if client is not None:
                    await client.close()
                await server.close()
                witness.close()

        asyncio.run(begin())

    return run


def test_a_word_is_set_and_read(play: Play) -> None:
    async def what(wire: Wire) -> None:
        assert (await wire.ask("solvent", "readback")).value == "water"
        await wire.put("solvent", "setpoint", "ethanol")
        async with asyncio.timeout(10.0):
            while (await wire.ask("solvent", "readback")).value != "ethanol":
                await asyncio.sleep(0.005)
        assert (await wire.ask("solvent", "setpoint")).value == "ethanol"
        assert (await wire.ask("instrument", "name")).value == "carousel"

    play(what)


def test_numbers_and_long_text_arrive_whole(play: Play) -> None:
    async def what(wire: Wire) -> None:
        told: dict[str, Value] = {
            "intent": "intent-" + "0123456789abcdef" * 4,
            "experiment": "Fläche.7",
            "ordinal": 7,
            "seed": 2**31 - 1,
            "replicates": 3,
        }
        for name, value in told.items():
            await wire.put("run", name, value)
        assert {name: (await wire.ask("run", name)).value for name in told} == told
        await wire.put("run", "begin")
        [run] = [line for line in read_witness(wire.witness) if line["kind"] == "run"]
        assert {name: run[name] for name in told} == told
        await wire.put("height", "setpoint", 0.1 + 0.2)
        async with asyncio.timeout(10.0):
            while (await wire.ask("height", "moving")).value:
                await asyncio.sleep(0.005)
        assert (await wire.ask("height", "readback")).value == 0.1 + 0.2

    play(what)


def test_a_value_that_nobody_may_use_is_bad_or_no_number(play: Play) -> None:
    async def what(wire: Wire) -> None:
        def is_unusable(reading: Any) -> bool:
            is_number = isinstance(reading.value, float) and abs(reading.value) < float("inf")
            return reading.quality is Quality.BAD or not is_number

        assert is_unusable(await wire.ask("balance", "mass"))
        assert is_unusable(await wire.measure())  # infinite in water
        await wire.put("solvent", "setpoint", "ethanol")
        before = time.time()
        reading = await wire.measure()
        assert (reading.value, reading.quality) == (1 / 3, Quality.GOOD)
        assert before - 0.01 <= reading.timestamp <= time.time() + 0.01

    play(what)


def test_what_cannot_be_written_is_refused_and_logged(play: Play) -> None:
    async def what(wire: Wire) -> None:
        readback = wire.spec("height", "readback")
        node = readback.read
        assert node is not None
        to_write = node.replace("?", " {value}") if wire.server.protocol == "scpi" else node
        extra = {"options": {"put": "callback"}} if wire.server.protocol == "channel-access" else {}
        with pytest.raises(Refused):
            await wire.client.write(SignalSpec(write=to_write, **extra), 1.0, 5.0)
        with pytest.raises((Refused, WrongType)):
            await wire.put("run", "seed", 1 - 2)
            await wire.put("run", "begin")
        with pytest.raises(SignalError):
            await wire.client.write(wire.spec("height", "setpoint").model_copy(update={"type": "str"}), "high", 5.0)
        assert not [line for line in read_witness(wire.witness) if line["kind"] in ("set", "run")]
        await wire.put("run", "seed", 0)
        await wire.put("run", "begin")

    play(what)
