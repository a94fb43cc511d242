from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from athanor.instruments.protocols.client import (
    NotConnected,
    Option,
    Quality,
    Refused,
    SignalError,
    SignalSpec,
    TimedOut,
    WrongType,
)
from athanor.instruments.protocols.fitting import bounds
from athanor.instruments.protocols.modbus import ModbusClient
from athanor.instruments.protocols.registers import INTEGERS
from tests.instruments.protocols.conformance import CONNECT_S, REPLY_S, SHORT_S, Conformance, Rig, play, until
from tests.instruments.protocols.serving import Loop


def words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


class Server:
    """A Modbus TCP server in a thread: 64 words of holding and input registers, 16 coils and discrete inputs.

    `before` is called with (function, address, values or None) in the server's thread before it answers.
    """

    def __init__(self, framer: FramerType = FramerType.SOCKET) -> None:
        self.framer = framer
        self.requests: list[tuple[int, int, int, list[Any] | None]] = []
        self.answers: dict[tuple[int, int], ExcCodes] = {}
        self.holding = [0] * 64
        self.input = [0] * 64
        self.coils = [False] * 16
        self.discrete = [False] * 16
        self.port = 0
        self._loop = Loop()
        self._resumed: asyncio.Event
        self._server: ModbusTcpServer | None = None

    def before(self, function: int, address: int, values: list[Any] | None) -> None: ...

    async def _action(
        self, function: int, start: int, address: int, count: int, registers: list[int], values: list[Any] | None
    ) -> ExcCodes | None:
        if values is not None or function <= 4:  # the server reads back what was written, for its answer
            self.requests.append((function, address, count, None if values is None else list(values)))
        await self._resumed.wait()
        if failure := self.answers.get((function, address)):
            return failure
        self.before(function, address, values)
        if function in (3, 4):
            registers[0:64] = self.holding if function == 3 else self.input
        elif function in (1, 2):
            bits = self.coils if function == 1 else self.discrete
            registers[0] = sum(bit << place for place, bit in enumerate(bits))
        elif function in (6, 16) and values is not None:
            self.holding[address : address + len(values)] = values
        elif values is not None:
            self.coils[address : address + len(values)] = values
        return None

    async def _listen(self) -> None:
        def block(datatype: DataType, values: Any) -> list[SimData]:
            return [SimData(0, count=len(values), values=values[0], datatype=datatype)]

        device = SimDevice(
            id=1,
            simdata=(
                [SimData(0, values=self.coils, datatype=DataType.BITS)],
                [SimData(0, values=self.discrete, datatype=DataType.BITS)],
                block(DataType.REGISTERS, self.holding),
                block(DataType.REGISTERS, self.input),
            ),
            action=self._action,
        )
        self._resumed = getattr(self, "_resumed", None) or asyncio.Event()
        self._resumed.set()
        self._server = ModbusTcpServer(device, framer=self.framer, address=("127.0.0.1", self.port))
        await self._server.serve_forever(background=True)
        self.port = self._server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    def start(self) -> None:
        self._loop.do(self._listen())

    def drop(self) -> None:
        async def cut() -> None:
            assert self._server is not None
            await self._server.shutdown()

        self._loop.do(cut())

    def stall(self) -> None:
        self._loop.loop.call_soon_threadsafe(self._resumed.clear)

    def resume(self) -> None:
        self._loop.loop.call_soon_threadsafe(self._resumed.set)

    def close(self) -> None:
        async def end() -> None:
            self._resumed.set()
            if self._server is not None:
                await self._server.shutdown()

        self._loop.do(end())
        self._loop.close()


class PlantServer(Server):
    """The plant, as registers."""

    def __init__(self, rig: ModbusRig) -> None:
        super().__init__()
        self.rig = rig

    def before(self, function: int, address: int, values: list[Any] | None) -> None:
        plant = self.rig.plant
        if function == 16 and address == 0 and values is not None:
            plant.move(struct.unpack(">d", struct.pack(">4H", *values))[0])
        elif function == 5 and address == 3 and values is not None:
            plant.stop()
        self.holding[0:4] = words(struct.pack(">d", plant.target))
        self.input[0:4] = words(struct.pack(">d", plant.position))
        self.input[4:8] = words(struct.pack(">d", plant.measured))
        self.input[8] = plant.count
        self.input[10:18] = words(plant.label.encode().ljust(16, b"\0"))
        self.discrete[0:2] = [plant.is_moving, plant.is_good]


class ModbusRig(Rig):
    protocol = "modbus"
    package: ClassVar[str | None] = "pymodbus"
    extra = "modbus"
    has_quality = True

    def signals(self) -> dict[str, SignalSpec]:
        return {
            "setpoint": SignalSpec(write="holding:0:float64", read="holding:0:float64"),
            "readback": SignalSpec(read="input:0:float64"),
            "moving": SignalSpec(read="discrete:0", type="bool"),
            "stop": SignalSpec(write="coil:3", type="bool"),
            "measured": SignalSpec(read="input:4:float64", options={"valid": "discrete:1"}),
            "label": SignalSpec(read="input:10:string16", type="str"),
            "count": SignalSpec(read="input:8:uint16", type="int"),
            "nowhere": SignalSpec(read="input:500:float64"),
        }

    def start(self) -> None:
        self.server = PlantServer(self)
        self.server.start()
        self.address = f"127.0.0.1:{self.server.port}"

    def drop(self) -> None:
        self.server.drop()

    def restore(self) -> None:
        self.server.start()

    def stall(self) -> None:
        self.server.stall()

    def resume(self) -> None:
        self.server.resume()

    def close(self) -> None:
        self.server.close()


class TestModbus(Conformance):
    rig_class = ModbusRig


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.close()


def signal(address: str, type: Any = "float", **options: Option) -> SignalSpec:
    can_write = address.startswith(("holding", "coil"))
    spec = SignalSpec(read=address, write=address if can_write else None, type=type, options=options)
    return spec.named("oven", "value")


@asynccontextmanager
async def line(server: Server, **options: Option) -> AsyncIterator[ModbusClient]:
    client = ModbusClient(f"127.0.0.1:{server.port}", options, "oven")
    try:
        await client.connect(CONNECT_S)
        yield client
    finally:
        await client.close()


@pytest.mark.parametrize("byte_order", ["big", "little"])
@pytest.mark.parametrize("word_order", ["big", "little"])
def test_every_type_goes_there_and_back(server: Server, word_order: str, byte_order: str) -> None:
    async def body() -> None:
        async with line(server, word_order=word_order, byte_order=byte_order) as client:
            for kind, (count, signed) in INTEGERS.items():
                low, high = bounds(16 * count, is_signed=signed)
                spec = signal(f"holding:20:{kind}", "int")
                for number in (low, high, 1, 258 % high):
                    await client.write(spec, number, REPLY_S)
                    assert (await client.read(spec, REPLY_S)).value == number
                for number in (low - 1, high + 1):
                    with pytest.raises(WrongType, match=rf"oven\.value.*{kind}"):
                        await client.write(spec, number, REPLY_S)
            for kind, numbers in {"float64": (1 / 3, -5e-324, 1.7e308), "float32": (0.5, -1.25 * 2.0**-100)}.items():
                for real in numbers:
                    await client.write(signal(f"holding:30:{kind}"), real, REPLY_S)
                    assert (await client.read(signal(f"holding:30:{kind}"), REPLY_S)).value == real
            text = signal("holding:40:string7", "str")
            for word in ("µm", "argon 1", ""):
                await client.write(text, word, REPLY_S)
                assert (await client.read(text, REPLY_S)).value == word
            coil = signal("coil:5:bool", "bool")
            for is_on in (True, False):
                await client.write(coil, is_on, REPLY_S)
                assert server.coils[5] is is_on
                assert (await client.read(coil, REPLY_S)).value is is_on

    play(body)


def test_the_orders_are_the_ones_a_manual_means(server: Server) -> None:
    number = 0x11223344
    expected = {
        ("big", "big"): [0x1122, 0x3344],
        ("little", "big"): [0x3344, 0x1122],
        ("big", "little"): [0x2211, 0x4433],
        ("little", "little"): [0x4433, 0x2211],
    }

    async def body() -> None:
        async with line(server) as client:
            for (word_order, byte_order), registers in expected.items():
                spec = signal("holding:0:uint32", "int", word_order=word_order, byte_order=byte_order)
                await client.write(spec, number, REPLY_S)
                assert server.holding[0:2] == registers

    play(body)


def test_one_request_carries_a_whole_value(server: Server) -> None:
    async def body() -> None:
        async with line(server) as client:
            await client.write(signal("holding:4:float64"), 1.0, REPLY_S)
            await client.read(signal("input:4:float64"), REPLY_S)
            await client.write(signal("holding:4:int16"), 1, REPLY_S)
            await client.write(signal("holding:4:int16", write_with="multiple"), 1, REPLY_S)
            await client.write(signal("coil:1", "bool", write_with="multiple"), True, REPLY_S)
        asked = [request[:3] for request in server.requests]
        assert asked == [(16, 4, 4), (4, 4, 4), (6, 4, 1), (16, 4, 1), (15, 1, 1)]

    play(body)


def test_a_scaled_number_goes_to_the_nearest_step_and_an_unscaled_one_must_be_whole(server: Server) -> None:
    async def body() -> None:
        async with line(server) as client:
            tenths = SignalSpec(write="holding:0:int16", scale=0.1)
            await client.write(tenths, tenths.raw(50.3), REPLY_S)
            assert server.holding[0] == 503
            with pytest.raises(WrongType, match="whole"):
                await client.write(signal("holding:0:int16"), 50.3, REPLY_S)
            await client.write(signal("holding:0:int16"), 50.0, REPLY_S)
            assert server.holding[0] == 50

    play(body)


@pytest.mark.parametrize("number", [math.nan, math.inf, 1e39])
def test_a_number_that_a_register_cannot_hold_is_not_sent(server: Server, number: float) -> None:
    async def body() -> None:
        async with line(server) as client:
            for kind in ("float32", "int32") if number == 1e39 else ("float32", "float64", "int16"):
                with pytest.raises(WrongType, match=kind):
                    await client.write(signal(f"holding:0:{kind}"), number, REPLY_S)
        assert server.requests == []

    play(body)


def test_a_bit_of_a_word_is_read_and_never_written(server: Server) -> None:
    server.holding[9] = 0b1000

    async def body() -> None:
        async with line(server) as client:
            assert (await client.read(signal("holding:9:bit3", "bool"), REPLY_S)).value is True
            assert (await client.read(signal("holding:9:bit2", "bool"), REPLY_S)).value is False
            with pytest.raises(Refused, match="neighbours"):
                await client.write(signal("holding:9:bit3", "bool"), False, REPLY_S)
            with pytest.raises(Refused, match="read only"):
                await client.write(signal("input:9:int16").model_copy(update={"write": "input:9:int16"}), 1, REPLY_S)
        assert server.holding[9] == 0b1000

    play(body)


def test_what_stands_for_no_value_is_bad(server: Server) -> None:
    server.input[0] = 0x8000
    server.discrete[2] = True

    async def body() -> None:
        async with line(server) as client:
            reading = await client.read(signal("input:0:int16", invalid=-32768), REPLY_S)
            assert (reading.value, reading.quality) == (None, Quality.BAD)
            assert "-32768" in reading.detail
            reading = await client.read(signal("input:1:int16", fault="discrete:2"), REPLY_S)
            assert (reading.value, reading.quality) == (None, Quality.BAD)
            assert "discrete:2" in reading.detail
            server.discrete[2] = False
            assert (await client.read(signal("input:1:int16", fault="discrete:2"), REPLY_S)).quality is Quality.GOOD

    play(body)


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        (ExcCodes.ILLEGAL_FUNCTION, Refused, "illegal function"),
        (ExcCodes.ILLEGAL_VALUE, Refused, "illegal data value"),
        (ExcCodes.DEVICE_FAILURE, Refused, "device failure; the write may have taken effect"),
        (ExcCodes.DEVICE_BUSY, Refused, "device busy"),
        (ExcCodes.GATEWAY_NO_RESPONSE, TimedOut, "may have taken effect"),
    ],
)
def test_what_the_controller_refuses_is_named(
    server: Server, code: ExcCodes, error: type[SignalError], said: str
) -> None:
    server.answers[6, 0] = code

    async def body() -> None:
        async with line(server) as client:
            with pytest.raises(error, match=rf"oven\.value.*exception {int(code)}.*{said}"):
                await client.write(signal("holding:0:int16"), 1, REPLY_S)
            assert client.is_connected, "an answer is no reason to hang up"
            await client.write(signal("holding:1:int16"), 2, REPLY_S)
        assert server.holding[:2] == [0, 2]

    play(body)


def test_a_write_that_waits_behind_a_stalled_one_says_that_nothing_was_written(server: Server) -> None:
    async def body() -> None:
        async with line(server) as client:
            server.stall()
            first = asyncio.create_task(client.read(signal("input:0:int16"), REPLY_S))
            await until(lambda: len(server.requests) == 1, "the first is on the line")
            with pytest.raises(TimedOut, match="nothing was written"):
                await client.write(signal("holding:0:int16"), 1, SHORT_S)
            server.resume()
            assert (await first).value == 0
        assert len(server.requests) == 1

    play(body)


def test_a_cancelled_request_leaves_a_clean_line(server: Server) -> None:
    server.input[3] = 3

    async def body() -> None:
        async with line(server) as client:
            server.stall()
            first = asyncio.create_task(client.read(signal("input:0:int16"), REPLY_S))
            await until(lambda: len(server.requests) == 1, "it is on the line")
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            server.resume()
            assert (await client.read(signal("input:3:int16"), REPLY_S)).value == 3

    play(body)


def test_the_end_of_the_connection_is_learnt_at_once_in_mid_request(server: Server) -> None:
    async def body() -> None:
        async with line(server) as client:
            server.stall()
            pending = asyncio.create_task(client.write(signal("holding:0:int16"), 1, 60.0))
            await until(lambda: len(server.requests) == 1, "it is on the line")
            await asyncio.to_thread(server.drop)
            with pytest.raises(NotConnected, match="may have taken effect"):
                await asyncio.wait_for(pending, 5.0)

    play(body)


def test_many_at_once_each_get_their_own_answer(server: Server) -> None:
    server.input[:] = range(100, 164)

    async def body() -> None:
        async with line(server) as client:
            found = await asyncio.gather(*(client.read(signal(f"input:{n}:uint16"), REPLY_S) for n in range(64)))
            assert [reading.value for reading in found] == list(range(100, 164))

    play(body)


def test_the_unit_is_the_signal_s_or_the_controller_s(server: Server) -> None:
    async def body() -> None:
        async with line(server, unit=9) as client:  # the server is unit 1
            with pytest.raises(SignalError, match=r"oven\.value.*exception"):
                await client.read(signal("input:0:int16"), REPLY_S)
            assert (await client.read(signal("input:0:int16", unit=1), REPLY_S)).value == 0

    play(body)


def test_serial_frames_over_tcp() -> None:
    server = Server(FramerType.RTU)
    server.start()

    async def body() -> None:
        async with line(server, framing="rtu") as client:
            await client.write(signal("holding:0:float64"), 0.1, REPLY_S)
            assert (await client.read(signal("holding:0:float64"), REPLY_S)).value == 0.1

    try:
        play(body)
    finally:
        server.close()


def test_an_address_that_makes_no_sense_never_reaches_the_line(server: Server) -> None:
    async def body() -> None:
        async with line(server) as client:
            with pytest.raises(Refused, match=r"oven\.value.*AREA:NUMBER:TYPE"):
                await client.read(signal("40101"), REPLY_S)
        assert server.requests == []

    play(body)


@pytest.mark.parametrize(
    ("address", "options", "said"),
    [
        ("", {}, "host"),
        ("http://plc", {}, "host"),
        ("plc", {"unit": 300}, "unit"),
        ("plc", {"unit": True}, "unit"),
        ("plc", {"word_order": "middle"}, "word_order"),
        ("plc", {"framing": "ascii"}, "framing"),
        ("plc", {"slave": 1}, "slave"),
    ],
)
def test_a_controller_s_description_is_checked(address: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModbusClient(address, options, "oven")


def test_an_unknown_option_of_a_signal_is_refused(server: Server) -> None:
    async def body() -> None:
        async with line(server) as client:
            with pytest.raises(Refused, match="wordorder"):
                await client.read(signal("input:0:int16", wordorder="little"), REPLY_S)

    play(body)
