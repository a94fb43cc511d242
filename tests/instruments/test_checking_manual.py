"""The check of an instrument without a controller: a person is no fault, and nobody is asked for anything."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from athanor.instruments.checking import Check
from athanor.instruments.findings import Report
from athanor.instruments.sight import look
from athanor.instruments.station import Position, Station
from athanor.memory.places import InstrumentPlace

BENCH = Path(__file__).parents[2] / "docs" / "examples" / "manual-bench" / "bench.yaml"


@pytest.fixture
def place(home: Path) -> InstrumentPlace:
    return InstrumentPlace.of("manual-bench", home)


def check(place: InstrumentPlace, *, exercise: bool = False) -> Report:
    return Check(look(BENCH), place, exercise=exercise).run()


def test_a_manual_bench_is_sound_and_can_run(place: InstrumentPlace) -> None:
    report = check(place)
    assert report.exit_code == 0, [str(one) for one in report.findings]
    assert {one.reason for one in report.findings if one.step == "read-back"} == {"nobody has set it yet"}
    card = report.as_dict()["card"]
    assert {(axis["readback"], axis["stop"], axis["reached"]) for axis in card["axes"]} == {("person",) * 3}
    assert card["detectors"][0]["plausible"] == {"activity": [0, 50], "blank": [0, 1]}
    assert "ask a person to set ph" in card["actions"]
    assert "ask a person for plate_reader" in card["actions"]
    assert not [action for action in card["actions"] if action.startswith("stop")]


def test_it_says_where_a_person_has_set_an_axis(place: InstrumentPlace) -> None:
    Station(place).note_position("ph", Position(value=7.2, by="anna", at=datetime.now(UTC)))
    found = {one.device: (one.status, one.reason) for one in check(place).findings if one.step == "read-back"}
    assert found["ph"] == ("ok", "7.2")
    assert found["temperature"] == ("not checked", "nobody has set it yet")


def test_nobody_is_asked_to_exercise_it(place: InstrumentPlace) -> None:
    report = check(place, exercise=True)
    found = {one.device: one.reason for one in report.findings if one.step == "exercise"}
    assert found == dict.fromkeys(("ph", "temperature", "buffer"), "a person sets it")
    assert Station(place).sheet() is None
