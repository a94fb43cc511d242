"""A bench opens what works, names what does not, and leaves nothing running when it is interrupted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments import bench as module
from athanor.instruments.bench import Bench
from athanor.instruments.checking import Check
from athanor.instruments.laboratory import Devices, InstrumentUnavailable
from athanor.instruments.profile import Profile
from athanor.instruments.sight import sight_of
from athanor.memory.places import InstrumentPlace


class Axis:
    """A device of somebody's own."""

    def __init__(self, name: str, unit: str | None = None, here: Any = 1.0) -> None:
        self.name = name
        self.unit = unit
        self.position = here

    def set(self, value: Any) -> None:
        raise AssertionError("nothing is set by a look")

    def describe(self) -> dict[str, Any]:
        return {self.name: {"units": self.unit}}

    def stop(self, success: bool = True) -> None:
        raise AssertionError("nothing is stopped by a look")


class Unstoppable(Axis):
    stop = None  # type: ignore[assignment]


class Detector:
    name = "camera"


class House:
    """A laboratory with code of its own."""

    def __init__(self, devices: Devices | Exception) -> None:
        self.devices = devices

    def connect(self, place: InstrumentPlace, options: Any) -> Devices:
        if isinstance(self.devices, Exception):
            raise self.devices
        return self.devices


def profile(*axes: str) -> Profile:
    return Profile.model_validate(
        {
            "name": "house",
            "laboratory": "house",
            "simulated": False,
            "axes": {name: {"unit": "mm", "minimum": 0, "maximum": 9} for name in axes},
            "detectors": {"camera": {"signals": {"counts": None}}},
            "outcomes": {"counts": {"signal": "counts"}},
        }
    )


def faults(monkeypatch: pytest.MonkeyPatch, home: Path, devices: Devices | Exception, *axes: str) -> list[str]:
    monkeypatch.setattr(module, "load", lambda _: House(devices))
    report = Check(sight_of(profile(*axes), "house"), InstrumentPlace.of("house", home), timeout_s=3.0).run()
    assert report.exit_code == (1 if report.having("fault") else 0)
    return [str(finding) for finding in report.having("fault")]


def test_devices_of_ones_own_are_looked_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = Devices({"stage": Axis("stage", "mm")}, [Detector()])
    assert faults(monkeypatch, home, devices, "stage") == []


def test_each_that_is_not_as_it_must_be_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {"stage": Axis("stage", "um"), "lift": Unstoppable("lift"), "tilt": Axis("tilt", here=float("nan"))}
    said = faults(monkeypatch, home, Devices(dict(axes), []), "stage", "lift", "tilt", "turn")
    assert [line.split(":")[:2] for line in said] == [
        ["building", " turn"],
        ["building", " camera"],
        ["building", " lift.stop"],
        ["read-back", " stage.unit"],
        ["read-back", " tilt"],
    ]


def test_a_laboratory_that_is_not_there_is_one_fault(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [said] = faults(monkeypatch, home, InstrumentUnavailable("house", "no power", "switch it on"), "stage")
    assert said == "connecting: house: no power; switch it on"


def test_what_is_interrupted_ends_before_the_bench_goes_on() -> None:
    bench = Bench(profile("stage"), gate=lambda: None)
    steps: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # such as a stop that is sent
            steps.append("halted")

    with pytest.raises(TimeoutError):
        bench.call(work(), 0.05)
    assert steps == ["halted"]
    bench.close()
