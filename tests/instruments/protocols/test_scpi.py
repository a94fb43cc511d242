from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from athanor.instruments.protocols.client import NotConnected, Refused, SignalSpec
from athanor.instruments.protocols.scpi import ScpiClient
from tests.instruments.protocols.conformance import CONNECT_S, REPLY_S, Conformance, connected, play, until
from tests.instruments.protocols.scpi_rig import ScpiRig, VisaRig


class TestScpiOverTcp(Conformance):
    rig_class = ScpiRig


class TestScpiOverVisa(Conformance):
    rig_class = VisaRig


@pytest.fixture
def rig() -> Iterator[ScpiRig]:
    rig = ScpiRig()
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


def test_what_the_instrument_refuses_is_an_error_in_its_words(rig: ScpiRig) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            with pytest.raises(Refused, match=r"stage\.setpoint.*'PSO 1\.0'.*-113.*Undefined header"):
                await client.write(rig.signal("setpoint", write="PSO {value}"), 1.0, REPLY_S)
            await client.write(rig.signal("setpoint"), 1.0, REPLY_S)
            assert [target for _, target in rig.plant.moves] == [1.0]

    play(body)


def test_errors_from_before_we_came_are_nobody_s(rig: ScpiRig) -> None:
    rig.options = {"check": "none"}

    async def body() -> None:
        async with connected(rig) as careless:
            await careless.write(rig.signal("setpoint", write="NONSENSE"), 1.0, REPLY_S)
            await careless.read(rig.signal("count"), REPLY_S)
        rig.options = {}
        async with connected(rig) as client:
            await client.write(rig.signal("setpoint"), 1.0, REPLY_S)

    play(body)


@pytest.mark.parametrize(("check", "last"), [("none", "POS 2.5"), ("opc", "*OPC?"), ("error", "SYST:ERR?")])
def test_how_a_write_is_confirmed_can_be_chosen(rig: ScpiRig, check: str, last: str) -> None:
    rig.options = {"check": check}

    async def body() -> None:
        async with connected(rig) as client:
            await client.write(rig.signal("setpoint"), 2.5, REPLY_S)
            await until(lambda: rig.plant.target == 2.5, "the command arrives")
            assert rig.server.heard[-1] == last
            await client.write(rig.signal("setpoint", options={"check": "opc"}), 2.5, REPLY_S)
            assert rig.server.heard[-1] == "*OPC?"

    play(body)


@pytest.mark.parametrize("word", ["on;STOP", 'on"', "on\nSTOP", "on\rSTOP"])
def test_a_word_cannot_smuggle_a_command(rig: ScpiRig, word: str) -> None:
    async def body() -> None:
        async with connected(rig) as client:
            with pytest.raises(Refused, match="another command"):
                await client.write(rig.signal("label", write="LAB {value}"), word, REPLY_S)
            assert not any("LAB" in line for line in rig.server.heard)
            assert rig.plant.stops == 0

    play(body)


def test_another_instrument_at_the_address_is_not_used(rig: ScpiRig) -> None:
    rig.options = {"expect": "Keysight"}

    async def body() -> None:
        client = rig.client()
        with pytest.raises(NotConnected, match=r"Bench stage.*Keysight"):
            await client.connect(CONNECT_S)
        assert not client.is_connected
        rig.options = {"expect": "Bench stage"}
        async with connected(rig):
            pass

    play(body)


def test_a_host_and_a_port_are_an_address(rig: ScpiRig) -> None:
    rig.address = f"127.0.0.1:{rig.server.port}"

    async def body() -> None:
        async with connected(rig) as client:
            assert (await client.read(rig.signal("count"), REPLY_S)).value == 7

    play(body)


@pytest.mark.parametrize(("said", "meant"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_the_standard_s_words_for_no_number_are_understood(rig: ScpiRig, said: float, meant: str) -> None:
    rig.plant.measured = said

    async def body() -> None:
        async with connected(rig) as client:
            assert str((await client.read(rig.signal("measured"), REPLY_S)).value) == meant

    play(body)


@pytest.mark.parametrize("options", [{"terminator": "x"}, {"check": "maybe"}])
def test_an_option_that_does_not_exist_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"terminator|maybe"):
        ScpiClient("127.0.0.1:1", options, "stage")


SIMULATED = """
spec: "1.0"
devices:
  source:
    eom:
      GPIB INSTR: {q: "\\n", r: "\\n"}
    error: ERROR
    dialogues:
      - {q: "*IDN?", r: "Simulated source"}
      - {q: "SYST:ERR?", r: '0,"No error"'}
    properties:
      voltage:
        default: 1.0
        getter: {q: "VOLT?", r: "{:.3f}"}
        setter: {q: "VOLT {:.3f}"}
        specs: {min: 0, max: 6, type: float}
resources:
  GPIB0::8::INSTR: {device: source}
"""


def test_an_instrument_on_a_bus_simulated_by_pyvisa(tmp_path: Path) -> None:
    file = tmp_path / "bus.yaml"
    file.write_text(SIMULATED)
    voltage = SignalSpec(read="VOLT?", write="VOLT {value}", unit="V", device="source", name="voltage")

    async def body() -> None:
        client = ScpiClient("GPIB0::8::INSTR", {"backend": f"{file}@sim"}, "source")
        await client.connect(CONNECT_S)
        try:
            assert client.identity == "Simulated source"
            assert (await client.read(voltage, REPLY_S)).value == 1.0
            await client.write(voltage, 2.5, REPLY_S)
            assert (await client.read(voltage, REPLY_S)).value == 2.5
        finally:
            await client.close()
        missing = ScpiClient("GPIB0::21::INSTR", {"backend": f"{file}@sim"}, "source")
        with pytest.raises(NotConnected, match="GPIB0::21::INSTR"):
            await missing.connect(CONNECT_S)

    play(body)
