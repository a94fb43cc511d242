"""Laboratories in a real controller process, and what is needed to look at them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.laboratory import Devices, RunContext, load
from athanor.memory.places import InstrumentPlace
from athanor.sandbox.laboratory import SimulatedLaboratory
from athanor.sandbox.link import Link
from athanor.sandbox.witness import read_witness

ALL = ("snar-flow", "ald-window", "rare-earth-extraction", "qubit-readout")


def eventually(condition: Callable[[], Any], what: str, deadline_s: float = 20.0) -> Any:
    """The condition's value as soon as it is true; fails naming what never came."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"not within {deadline_s} s: {what}")


class Bench:
    """One laboratory at one place, with whatever was opened on it."""

    def __init__(self, name: str) -> None:
        loaded = load(name)
        assert isinstance(loaded, SimulatedLaboratory)
        self.laboratory = loaded
        self.place = InstrumentPlace.of(name)
        self._open: list[Any] = []

    def start(self, **options: Any) -> None:
        self.laboratory.start(self.place, options)

    def link(self, client: str = "test", **kwargs: Any) -> Link:
        link = Link(self.place.sockets / "controller.sock", client=client, **kwargs)
        self._open.append(link)
        return link

    def connect(self, **options: Any) -> Devices:
        devices = self.laboratory.connect(self.place, options)
        self._open.append(devices)
        return devices

    def witness(self, kind: str | None = None) -> list[dict[str, Any]]:
        lines = read_witness(self.place.directory / "controller.jsonl")
        return [line for line in lines if kind is None or line["kind"] == kind]

    def pid(self) -> int:
        return int((self.place.sockets / "controller.pid").read_text())

    def rest(self) -> dict[str, float | int | str]:
        return {axis.name: axis.rest for axis in self.laboratory.physics.axes}

    def end(self) -> None:
        for opened in self._open:
            opened.close()
        self.laboratory.shutdown(self.place)


@pytest.fixture
def bench(home: Path) -> Iterator[Callable[[str], Bench]]:
    """Makes laboratories that end with the test."""
    benches: list[Bench] = []

    def make(name: str = "snar-flow") -> Bench:
        benches.append(Bench(name))
        return benches[-1]

    yield make
    for made in benches:
        made.end()


def context(ordinal: int = 0, seed: int = 1, replicates: int = 1) -> RunContext:
    return RunContext(intent=f"i{ordinal}", experiment=f"e{ordinal}", ordinal=ordinal, seed=seed, replicates=replicates)


def run_fields(ordinal: int = 0, seed: int = 1) -> Mapping[str, Any]:
    return {"intent": f"i{ordinal}", "experiment": f"e{ordinal}", "ordinal": ordinal, "seed": seed, "replicates": 1}
