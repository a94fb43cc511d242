"""What is kept of an instrument's readings: a short ring with gaps, for as long as somebody looks."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from athanor.console import gauges
from athanor.console.gauges import Gauge, Gauges
from athanor.memory.places import InstrumentPlace


class Instrument:
    """What the lines to an instrument would say, and how often they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: Any = ({"x": 1.0, "y": None}, {"y": "stuck"}, False, None)
        self.signals: Any = ({"flow": (2.5, None)}, {"cool": (True, None)}, None)
        self.asked = threading.Semaphore(0)
        monkeypatch.setattr(gauges, "_positions", self._positions)
        monkeypatch.setattr(gauges, "_signals", lambda _: self.signals)
        monkeypatch.setattr(gauges, "PERIOD_S", 0.001)

    def _positions(self, _: InstrumentPlace) -> Any:
        self.asked.release()
        return self.answer

    def next(self) -> None:
        for _ in range(2):  # the second look began after this was asked for
            assert self.asked.acquire(timeout=60)


@pytest.fixture
def instrument(monkeypatch: pytest.MonkeyPatch) -> Instrument:
    return Instrument(monkeypatch)


def place(folder: Path, name: str = "oven") -> InstrumentPlace:
    return InstrumentPlace.of(name, folder)


def test_a_value_that_is_lost_is_absent_with_its_reason_and_time(instrument: Instrument, tmp_path: Path) -> None:
    found = Gauges()
    try:
        first = found.look(place(tmp_path), 60.0)
        assert (first.axes["x"].value, first.axes["x"].trouble) == (1.0, None)
        assert (first.axes["y"].value, first.axes["y"].trouble, first.axes["y"].known_at) == (None, "stuck", None)
        assert first.signals["flow"].value == 2.5 and first.interlocks == {"cool": (True, None)}
        instrument.answer = ({}, {}, None, "gone")
        instrument.signals = ({}, {}, "no worker")
        while instrument.asked.acquire(blocking=False):
            pass
        instrument.next()
        instrument.next()
        lost = found.look(place(tmp_path), 60.0)
    finally:
        found.close()
    x = lost.axes["x"]
    assert (x.value, x.trouble, lost.moving, lost.axes_trouble) == (None, "gone", None, "gone")
    assert x.known_at is not None and first.since is not None and x.known_at >= first.since
    assert (x.points[0][1], x.points[-1][1]) == (1.0, None), "a gap, not the value of before"
    assert (lost.signals["flow"].value, lost.signals["flow"].trouble) == (None, "no worker")
    assert lost.since == first.since and lost.interlocks == {}


def test_the_ring_is_bounded(instrument: Instrument, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "PERIOD_S", 3600.0)
    gauge = Gauge(place(tmp_path))
    gauge.look(60.0)
    for _ in range(gauges.KEPT + 5):
        gauge.read()
    assert len(gauge.look(0.0).axes["x"].points) == gauges.KEPT
    gauge.end()


def test_it_reads_no_more_when_nobody_looks_and_begins_anew(
    instrument: Instrument, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Gauges()
    first = found.look(place(tmp_path), 60.0)
    [gauge] = found._gauges.values()
    monkeypatch.setattr(gauges, "IDLE_S", -1.0)
    assert gauge._ended.wait(60)
    monkeypatch.setattr(gauges, "IDLE_S", 60.0)
    again = found.look(place(tmp_path), 60.0)
    found.close()
    assert first.since is not None and again.since is not None and again.since > first.since, "it says since when"
    assert again.axes["x"].points[0][0] == again.since


def test_what_fails_in_an_unforeseen_way_is_not_shown_as_fresh(
    instrument: Instrument, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    instrument.answer = None
    found = Gauges()
    reading = found.look(place(tmp_path), 60.0)
    found.close()
    assert (reading.at, reading.axes) == (None, {}) and "could not be read" in caplog.text


def test_two_who_look_share_one_reading(instrument: Instrument, tmp_path: Path) -> None:
    found = Gauges()
    found.look(place(tmp_path), 60.0)
    found.look(place(tmp_path), 60.0)
    found.look(place(tmp_path, "other"), 60.0)
    assert len(found._gauges) == 2
    found.close()
