from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.laboratory import load
from athanor.sandbox.core import Client, Core, Refusal
from athanor.sandbox.options import Options
from athanor.sandbox.serving.station import Station
from athanor.sandbox.witness import Witness, read_witness
from tests.sandbox.conftest import ALL

OPEN: list[Witness] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


class Bench(Station):
    """A station with a client of its own."""

    def __init__(self, folder: Path, laboratory: str, **options: Any) -> None:
        found: Any = load(laboratory)
        self.path = folder / "controller.jsonl"
        OPEN.append(Witness(self.path))
        super().__init__(Core(found, Options.parse(options, found.physics), OPEN[-1]))
        self.client = Client()
        self.core.join(self.client)

    def do(self, device: str, name: str, value: Any = 1) -> None:
        self.put(self.points[device, name], self.client, value)

    def ask(self, device: str, name: str) -> Any:
        read = self.points[device, name].read
        assert read is not None
        return read()

    def begin(self, ordinal: int, seed: int = 1) -> None:
        for name, value in {
            "intent": "i",
            "experiment": "e",
            "ordinal": ordinal,
            "seed": seed,
            "replicates": 1,
        }.items():
            self.do("run", name, value)
        self.do("run", "begin")

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20.0):
            while not condition():
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("name", ALL)
def test_every_laboratory_measures_over_its_points_what_it_measures_in_process(name: str, tmp_path: Path) -> None:
    async def play() -> None:
        station = Bench(tmp_path, name)
        laboratory: Any = load(name)
        station.begin(ordinal=4)
        [detector] = station.detectors
        station.do(detector, "trigger")
        assert station.ask(detector, "done").value is False
        await station.until(lambda: station.ask(detector, "done").value)
        expected = laboratory.simulate({}, 1, 4)
        outcomes = laboratory.profile().outcomes
        for outcome, (mean, _) in expected.items():
            signal = outcome if station.is_reduced_on_board else outcomes[outcome].signal
            answer = station.ask(detector, signal)
            assert answer.value == mean and not answer.bad and answer.at is not None

    asyncio.run(play())


def in_motion(folder: Path, play: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def begin() -> None:
        station = Bench(folder, "snar-flow", time_scale=1.0)
        station.do("temperature", "setpoint", 120.0)
        await play(station)

    asyncio.run(begin())


def test_to_look_at_a_motion_tells_nobody(tmp_path: Path) -> None:
    async def play(station: Bench) -> None:
        await station.until(lambda: station.ask("temperature", "readback").value > 60.0)
        told: list[dict[str, Any]] = []
        station.client.send = told.append  # type: ignore[method-assign]
        looks = [(station.ask("temperature", "readback"), station.ask("temperature", "moving")) for _ in range(100)]
        assert told == []
        assert len(set(looks)) == 1 and looks[0][1].value is True

    in_motion(tmp_path, play)


def test_one_stop_halts_one_axis_and_the_instruments_halts_all(tmp_path: Path) -> None:
    async def play(station: Bench) -> None:
        station.do("residence_time", "setpoint", 2.0)
        station.do("temperature", "stop")
        assert not station.ask("temperature", "moving").value
        assert station.ask("residence_time", "moving").value
        assert station.ask("temperature", "setpoint").value == 120.0
        station.do("instrument", "stop")
        assert not station.ask("residence_time", "moving").value

    in_motion(tmp_path, play)


def test_another_trigger_replaces_a_measurement(tmp_path: Path) -> None:
    async def play() -> None:
        station = Bench(tmp_path, "snar-flow", noise=0.02)
        laboratory: Any = load("snar-flow")
        station.begin(ordinal=1)
        station.do("analyser", "trigger")
        station.begin(ordinal=2)
        station.do("analyser", "trigger")
        await station.until(lambda: station.ask("analyser", "done").value)
        assert station.ask("analyser", "sty").value == laboratory.simulate({}, 1, 2)["sty"][0]

    asyncio.run(play())


def test_what_nobody_may_use_says_why(tmp_path: Path) -> None:
    async def play() -> None:
        station = Bench(tmp_path, "snar-flow", faults=[{"kind": "nan", "signal": "sty", "at": 0}])
        assert station.ask("analyser", "sty").bad == "nothing was measured yet"
        station.begin(ordinal=0)
        station.do("analyser", "trigger")
        await station.until(lambda: station.ask("analyser", "done").value)
        answer = station.ask("analyser", "sty")
        assert math.isnan(answer.value) and answer.bad == "sty reads nan"
        assert not station.ask("analyser", "e_factor").bad
        station.do("residence_time", "setpoint", -1.0)
        await station.until(lambda: not station.ask("residence_time", "moving").value)
        station.do("analyser", "trigger")
        await station.until(lambda: station.ask("analyser", "done").value)
        assert station.ask("analyser", "sty").value is None
        assert "nothing flows" in station.ask("analyser", "status").value

    asyncio.run(play())


@pytest.mark.parametrize(
    ("device", "name", "value", "code"),
    [
        ("temperature", "setpoint", math.nan, "not_finite"),
        ("temperature", "setpoint", "hot", "type"),
        ("temperature", "readback", 1.0, "read_only"),
        ("run", "seed", "1", "type"),
        ("run", "seed", True, "type"),
        ("run", "intent", 1, "type"),
        ("analyser", "trigger", 1, "not_prepared"),
    ],
)
def test_a_refusal_is_raised_and_logged(device: str, name: str, value: Any, code: str, tmp_path: Path) -> None:
    async def play() -> None:
        station = Bench(tmp_path, "snar-flow")
        with pytest.raises(Refusal) as caught:
            station.do(device, name, value)
        assert caught.value.code == code
        assert [line["code"] for line in read_witness(station.path) if line["kind"] == "refusal"] == [code]

    asyncio.run(play())


def test_a_run_is_told_only_as_it_begins(tmp_path: Path) -> None:
    async def play() -> None:
        station = Bench(tmp_path, "snar-flow")
        station.do("run", "seed", -1)
        with pytest.raises(Refusal, match="seed"):
            station.do("run", "begin")
        assert station.core.run is None
        station.begin(ordinal=3, seed=7)
        station.do("run", "ordinal", 4)
        assert station.core.run is not None
        assert (station.core.run["ordinal"], station.core.run["seed"]) == (3, 7)

    asyncio.run(play())
