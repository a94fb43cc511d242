"""Axes that a person sets and detectors that a person reads, under a RunEngine, with a person who answers by files."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bluesky.protocols import Movable, Readable, Stoppable, Triggerable
from bluesky.run_engine import call_in_bluesky_event_loop
from hypothesis import given
from hypothesis import strategies as st

from athanor.instruments import entries
from athanor.instruments.laboratory import Devices, RunContext
from athanor.instruments.limits import LimitedAxis, LimitViolation
from athanor.instruments.plans import describe, measure
from athanor.instruments.profile import PATIENCE_S, Profile
from athanor.instruments.protocols.client import BadQuality
from athanor.instruments.protocols.manual import shown
from athanor.instruments.protocols.wired import connect_profile
from athanor.instruments.station import Answer, Sheet, Station
from athanor.memory.places import InstrumentPlace
from tests.engines import run_engine
from tests.instruments.protocols.scpi_rig import ScpiRig

CONTENT: dict[str, Any] = {
    "name": "bench",
    "laboratory": "wired",
    "simulated": False,
    "axes": {
        "furnace": {"unit": "degC", "minimum": 20, "maximum": 600, "tolerance": 1, "timeout_s": 30},
        "solvent": {"allowed": ["water", "ethanol"]},
    },
    "detectors": {"balance": {"signals": {"yield": "g/L", "purity": None}, "timeout_s": 30}},
    "outcomes": {"yield": {"signal": "yield", "unit": "g/L"}},
    "devices": {
        "furnace": {"protocol": "manual", "instruct": "Set the furnace."},
        "solvent": {"protocol": "manual"},
        "balance": {"protocol": "manual", "plausible": {"yield": [0, 5]}},
    },
}
POINT: dict[str, Any] = {"furnace": 450.123, "solvent": "ethanol"}


class Rig:
    """A bench, its RunEngine and its person."""

    def __init__(self, engine: Any, home: Path, stands_at: float | None = None, **axes: Any) -> None:
        self.engine = engine
        place = InstrumentPlace.of("bench", home)
        furnace = {"protocol": "manual", "instruct": "Set the furnace.", "stands_at": stands_at}
        devices = {**CONTENT["devices"], "furnace": furnace}
        content = {**CONTENT, "axes": {**CONTENT["axes"], **axes}, "devices": devices}
        self.profile = Profile.model_validate(content)
        self.station = Station(place)
        self.devices: Devices = connect_profile(self.profile, place)
        self.axes = {name: LimitedAxis(axis, self.profile.limits()[name]) for name, axis in self.devices.axes.items()}
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[BaseException] = []
        self.number = 0

    def start(self, replicates: int = 1, **values: Any) -> threading.Thread:
        """Begin a run, in a thread of its own."""
        self.number += 1
        assert self.devices.prepare_run is not None
        self.devices.prepare_run(RunContext(f"intent-{self.number}", f"bench-abcd.{self.number}", 1, 1, replicates))
        plan = measure(
            self.axes,
            self.devices.detectors,
            {**POINT, **values},
            replicates,
            0.0,
            {},
            tolerances={"furnace": 1.0},
            move_timeout=60,
            read_timeout=60,
        )

        def work() -> None:
            try:
                self.engine(plan, lambda name, document: self.documents.append((name, document)))
            except BaseException as error:  # noqa: BLE001
                self.failures.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def asked(self, what: Callable[[Sheet], bool] = lambda sheet: bool(sheet.questions)) -> Sheet:
        """The sheet, once it is as wanted."""
        found: list[Sheet] = []

        def look() -> bool:
            sheet = self.station.sheet()
            if sheet is not None and sheet.state == "asking" and what(sheet):
                found.append(sheet)
            return bool(found)

        until(look)
        return found[0]

    def give(self, answers: list[Answer]) -> None:
        for one in answers:
            self.station.give(one)

    def set_it(self) -> None:
        self.give(entries.done(self.asked().questions, "anna"))

    def enter(self, yields: float = 0.83, purity: float = 0.97, **more: Any) -> Sheet:
        sheet = self.asked(lambda sheet: [one.kind for one in sheet.questions] == ["measure"])
        self.give(entries.entered(sheet.questions, {"yield": str(yields), "purity": str(purity)}, "anna", **more))
        return sheet

    def events(self) -> list[dict[str, Any]]:
        return [document["data"] for name, document in self.documents if name == "event"]

    def stopped(self) -> dict[str, Any]:
        return self.documents[-1][1]


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


@pytest.fixture
def make(home: Path) -> Iterator[Callable[..., Rig]]:
    with run_engine() as engine:
        yield lambda **options: Rig(engine, home, **options)


@pytest.fixture
def rig(make: Callable[..., Rig]) -> Rig:
    return make()


def test_they_are_devices_like_any_other(rig: Rig) -> None:
    for axis in rig.devices.axes.values():
        assert isinstance(axis, Movable)
        assert isinstance(axis, Readable)
        assert isinstance(axis, Stoppable)
    [balance] = rig.devices.detectors
    assert isinstance(balance, Triggerable)
    assert isinstance(balance, Readable)
    assert isinstance(balance, Stoppable)
    assert rig.profile.axes["solvent"].timeout_s == PATIENCE_S
    assert rig.profile.axes["furnace"].timeout_s == 30
    assert Profile.model_validate(rig.profile.model_dump(mode="json")) == rig.profile


def test_a_run_by_hand_says_who_did_what_and_when(rig: Rig) -> None:
    thread = rig.start(replicates=2)
    sheet = rig.asked()
    assert [(one.device, one.shown) for one in sheet.questions] == [("furnace", 450), ("solvent", "ethanol")]  # type: ignore[union-attr]
    assert sheet.run.experiment == "bench-abcd.1"
    rig.set_it()
    assert [one.reading for one in rig.enter(0.8, note="scale 2").questions] == [1]  # type: ignore[union-attr]
    rig.asked(lambda sheet: any(getattr(one, "reading", 0) == 2 for one in sheet.questions))
    rig.enter(0.9)
    thread.join(60)
    assert rig.failures == []
    first, second = rig.events()
    assert (first["yield"], second["yield"]) == (0.8, 0.9)
    assert (first["furnace"], first["solvent"]) == (450, "ethanol")
    assert (first["balance-entered_by"], first["balance-note"], second["balance-note"]) == ("anna", "scale 2", "")
    assert first["furnace-set_by"] == "anna"
    assert first["balance-entered_at"] <= second["balance-entered_at"]
    [descriptor] = [document for name, document in rig.documents if name == "descriptor"]
    assert descriptor["data_keys"]["yield"]["units"] == "g/L"
    left = rig.station.sheet()
    assert left is not None
    assert (left.state, left.questions) == ("over", ())


def test_rows_of_one_file_are_the_readings_of_the_run(rig: Rig, tmp_path: Path) -> None:
    thread = rig.start(replicates=3)
    rig.set_it()
    path = tmp_path / "plate.csv"
    path.write_text("yield,purity\n1,0.9\n2,0.9\n")
    sheet = rig.asked(lambda sheet: sheet.questions[:1] != () and sheet.questions[0].kind == "measure")
    rig.give(entries.from_csv(path, sheet.questions, "anna"))
    rig.asked(lambda sheet: any(getattr(one, "reading", 0) == 3 for one in sheet.questions))
    rig.enter(3.0)
    thread.join(60)
    assert [event["yield"] for event in rig.events()] == [1.0, 2.0, 3.0]
    assert [event["balance-source"].split(":")[0] for event in rig.events()] == ["plate.csv sha256"] * 2 + ["command"]


def test_out_of_limits_nobody_is_asked(rig: Rig) -> None:
    thread = rig.start(furnace=700)
    thread.join(60)
    assert "limit.above" in describe(rig.failures[0])
    assert rig.station.sheet() is None or not rig.station.sheet().questions  # type: ignore[union-attr]
    with pytest.raises(LimitViolation):
        rig.axes["solvent"].set("acetone")


def test_a_step_that_is_too_long_is_refused_by_what_was_confirmed_last(make: Callable[..., Rig]) -> None:
    furnace = {**CONTENT["axes"]["furnace"], "largest_step": 100}
    with pytest.raises(ValueError, match=r"devices\.furnace: its largest step .* give `stands_at:`"):
        make(furnace=furnace)
    rig = make(furnace=furnace, stands_at=400)
    thread = rig.start(furnace=450)
    rig.set_it()
    rig.enter()
    thread.join(60)
    assert rig.failures == []
    rig.start(furnace=560).join(60)
    assert "limit.step" in describe(rig.failures[0])
    assert "it stands at 450" in describe(rig.failures[0])


def test_an_answer_that_came_another_way_is_refused_and_asked_for_again(rig: Rig) -> None:
    thread = rig.start()
    sheet = rig.asked(lambda sheet: len(sheet.questions) == 2)
    furnace = sheet.questions[0]
    wrong = entries.done([furnace], "mallory")[0].model_copy(update={"verb": "enter", "value": 20.0})
    rig.station.give(wrong)
    refused = rig.asked(lambda sheet: sheet.questions[0].refused is not None)
    assert "more than 1 degC from 450.123" in str(refused.questions[0].refused)
    (rig.station.folder / "answers" / f"{sheet.questions[1].id}.json").write_text("not an answer")
    rig.asked(lambda sheet: len(sheet.questions) > 1 and "damaged" in str(sheet.questions[1].refused))
    rig.set_it()
    rig.enter()
    thread.join(60)
    assert rig.failures == []
    assert "mallory" not in str(rig.events())


def test_what_cannot_be_done_fails_the_run_with_the_reason(rig: Rig) -> None:
    thread = rig.start()
    rig.give(entries.cannot(rig.asked(lambda sheet: len(sheet.questions) == 2).questions, "no ethanol left", "anna"))
    thread.join(60)
    assert "no ethanol left (said anna)" in describe(rig.failures[0])
    assert rig.stopped()["exit_status"] == "fail"
    assert "no ethanol left" in rig.stopped()["reason"]


def test_nobody_comes(make: Callable[..., Rig]) -> None:
    rig = make(furnace={**CONTENT["axes"]["furnace"], "timeout_s": 0.3})
    rig.start().join(60)
    assert "furnace: nobody confirmed that it was set within 0.3 s (asked at " in describe(rig.failures[0])
    left = rig.station.sheet()
    assert left is not None
    assert left.state == "over"


def test_an_abort_ends_the_waiting(rig: Rig) -> None:
    thread = rig.start()
    rig.asked()
    rig.engine.abort("enough")
    thread.join(60)
    assert not thread.is_alive()
    assert rig.stopped()["exit_status"] == "abort"
    assert rig.station.sheet().state == "over"  # type: ignore[union-attr]


def test_an_abort_ends_the_waiting_for_a_reading(rig: Rig) -> None:
    thread = rig.start()
    rig.set_it()
    rig.asked(lambda sheet: [one.kind for one in sheet.questions] == ["measure"])
    rig.engine.abort("enough")
    thread.join(60)
    assert not thread.is_alive()
    assert rig.station.sheet().questions == ()  # type: ignore[union-attr]


def test_what_was_answered_in_one_run_counts_in_no_other(rig: Rig) -> None:
    thread = rig.start()
    first = rig.asked(lambda sheet: len(sheet.questions) == 2)
    rig.engine.abort("enough")
    thread.join(60)
    rig.give(entries.done(first.questions, "late"))
    thread = rig.start()
    second = rig.asked(lambda sheet: sheet.run.intent == "intent-2" and len(sheet.questions) == 2)
    assert not {one.id for one in first.questions} & {one.id for one in second.questions}
    rig.set_it()
    rig.enter()
    thread.join(60)
    assert {event["furnace-set_by"] for event in rig.events()} == {"anna"}


def test_another_process_that_stops_the_instrument_withdraws_the_question(rig: Rig, home: Path) -> None:
    thread = rig.start()
    rig.asked()
    other = connect_profile(rig.profile, InstrumentPlace.of("bench", home))
    call_in_bluesky_event_loop(other.axes["furnace"].stop(success=False))
    left = rig.station.sheet()
    assert left is not None
    assert (left.state, left.why) == ("withdrawn", "the instrument was stopped")
    rig.engine.abort("stopped")
    thread.join(60)


def test_where_it_stands_is_known_after_a_restart(rig: Rig, home: Path) -> None:
    async def here(devices: Devices, name: str) -> Any:
        return (await devices.axes[name].locate())["readback"]

    assert math.isnan(call_in_bluesky_event_loop(here(rig.devices, "furnace")))
    assert call_in_bluesky_event_loop(here(rig.devices, "solvent")) == ""
    thread = rig.start()
    rig.set_it()
    rig.enter()
    thread.join(60)
    again = connect_profile(rig.profile, InstrumentPlace.of("bench", home))
    assert call_in_bluesky_event_loop(here(again, "furnace")) == 450
    assert call_in_bluesky_event_loop(here(again, "solvent")) == "ethanol"


def test_nothing_is_read_before_anybody_has_measured(rig: Rig) -> None:
    with pytest.raises(BadQuality, match="nobody has measured yet"):
        call_in_bluesky_event_loop(rig.devices.detectors[0].read())


def test_outside_of_a_run_nobody_is_asked(rig: Rig) -> None:
    async def move() -> None:
        await rig.devices.axes["furnace"].set(100.0)

    with pytest.raises(RuntimeError, match="outside of a run"):
        call_in_bluesky_event_loop(move())


def test_people_and_controllers_mix_in_one_profile(home: Path) -> None:
    wires = ScpiRig()
    wires.start()
    try:
        content = wires.profile().model_dump(mode="json", exclude_none=True)
        content["detectors"]["eye"] = {"signals": {"shade": None}}
        content["devices"]["eye"] = {"protocol": "manual"}
        content["axes"]["filter"] = {"allowed": ["red", "blue"]}
        content["devices"]["filter"] = {"protocol": "manual"}
        content["outcomes"]["shade"] = {"signal": "shade"}
        profile = Profile.model_validate(content)
        place = InstrumentPlace.of(profile.name, home)
        station = Station(place)
        with run_engine() as engine:
            devices = connect_profile(profile, place)
            try:
                assert devices.prepare_run is not None
                devices.prepare_run(RunContext("intent-1", "c.1", 1, 1, 1))
                axes = {name: LimitedAxis(axis, profile.limits()[name]) for name, axis in devices.axes.items()}
                plan = measure(axes, devices.detectors, {"stage": 1.5, "filter": "red"}, 1, 0.0, {})
                documents: list[tuple[str, dict[str, Any]]] = []
                thread = threading.Thread(
                    target=lambda: engine(plan, lambda *pair: documents.append(pair)), daemon=True
                )
                thread.start()
                for answer in ({"filter": "red"}, {"shade": "3"}):

                    def is_asked(names: frozenset[str] = frozenset(answer)) -> bool:
                        sheet = station.sheet()
                        found = [] if sheet is None else sheet.questions
                        return any(one.device in names or names & set(getattr(one, "signals", {})) for one in found)

                    until(is_asked)
                    sheet = station.sheet()
                    assert sheet is not None
                    for one in entries.entered(sheet.questions, answer, "anna"):
                        station.give(one)
                thread.join(60)
                [event] = [document["data"] for name, document in documents if name == "event"]
            finally:
                devices.close()
        assert event["shade"] == 3.0
        assert event["filter"] == "red"
        assert event["stage"] == pytest.approx(1.5, abs=0.01)
        assert [target for _, target in wires.plant.moves] == [1.5]
    finally:
        wires.close()


@given(
    st.floats(-1e6, 1e6),
    st.floats(0, 100),
)
def test_what_a_person_reads_is_within_the_tolerance_and_the_limits(value: float, tolerance: float) -> None:
    found = shown(value, tolerance, -1e6, 1e6)
    assert not isinstance(found, str)
    assert abs(found - value) <= tolerance / 5
    assert -1e6 <= found <= 1e6
    assert len(repr(found)) <= max(len(repr(value)), len(repr(round(value, 12)))) + 2


def test_few_digits_are_asked_for() -> None:
    assert shown(63.27391823, 0.5, 0, 100) == 63.3
    assert shown(63.27391823, 0, 0, 100) == 63.27391823
    assert shown(99.97, 1.0, 0, 99.98) == 99.97  # rounded it would lie outside the limits
    assert shown("ethanol", 0, None, None) == "ethanol"
    assert shown(7, 0.5, 0, 10) == 7
