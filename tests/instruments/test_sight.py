"""Everything wrong in a profile is seen at once, each with its line, and what is right is still read."""

from __future__ import annotations

from pathlib import Path

import pytest

from athanor.instruments.laboratory import load, names
from athanor.instruments.sight import Sight, look, look_at, sight_of
from athanor.sandbox import laboratory as simulated

TEXT = """\
name: bench
laboratory: wired
simulated: true
axes:
  stage: {unit: mm, minimum: 9, maximum: 1}
  valve: {allowed: [open, shut], colour: red}
  lamp: {unit: V, minimum: 0, maximum: 5}
detectors:
  camera: {signals: {counts: 1/s}, timeout_s: -1}
outcomes:
  counts: {signal: counts, unit: V}
  volts: {signal: volts}
controllers:
  bench: {protocol: scpi, address: "127.0.0.1:1", speed: 9}
devices:
  stage: {controller: bench, setpoint: {write: "POS {value}"}, readback: {read: "POS?"}}
  valve: {controller: bench, setpoint: {write: "VALV {value}", type: str}, readback: {read: "VALV?", type: str}}
  lamp: {controller: bench, setpoint: {write: "POS {value}"}, readback: {read: "LAMP?"}}
  camera: {controller: bench, signals: {counts: {read: "MEAS?"}}}
prepare:
  - {controller: bench, value: 1}
  - {controller: gone, signal: {write: "RUN {value}", type: int}, value: 1}
interlocks:
  - {name: bad, require: "stage <"}
  - {name: lid, require: lid_closed}
  - {name: near, require: stage < 5}
watch: 1
"""


def found(sight: Sight) -> set[tuple[int | None, str]]:
    return {(problem.line, problem.field) for problem in sight.problems}


def test_everything_is_seen_at_once_with_its_line() -> None:
    sight = look_at(TEXT, "bench.yaml")
    assert sight.profile is None
    assert found(sight) == {
        (5, "axes.stage"),
        (6, "axes.valve.colour"),
        (9, "detectors.camera.timeout_s"),
        (12, "outcomes.volts.signal"),
        (14, "controllers.bench.speed"),
        (18, "devices.lamp.setpoint"),
        (21, "prepare.0.signal"),
        (22, "prepare.1.controller"),
        (24, "interlocks.0.require"),
        (25, "interlocks.1.require"),
        (27, "watch"),
    }
    assert all(problem.remedy for problem in sight.problems)


def test_what_is_put_aside_can_still_be_read() -> None:
    sight = look_at(TEXT)
    assert sight.parts is not None
    assert sight.aside == {"stage", "valve", "camera"}
    assert sight.parts.axes["stage"].limit() is None, "and is never moved"
    assert sight.parts.axes["valve"].unit is None and sight.parts.axes["lamp"].limit() is not None
    assert set(sight.parts.devices) == {"stage", "valve", "lamp", "camera"}
    assert sight.parts.controllers == {}


def test_a_device_of_another_kind_than_its_name_is_not_built() -> None:
    text = TEXT.replace(
        "  camera: {controller: bench, signals", "  camera: {class: a.b:C}\n  dust: {controller: bench, signals"
    )
    sight = look_at(text)
    assert sight.parts is not None and "dust" not in sight.parts.devices
    assert any("dust is neither" in problem.detail for problem in sight.problems)


@pytest.mark.parametrize("text", ["", "- 1\n", "name: [\n", "just words", "axes: 3\nname: 5\n", "name: a\nname: b\n"])
def test_what_is_no_profile_is_said_to_be_none(text: str) -> None:
    sight = look_at(text, "bench.yaml")
    assert sight.problems and sight.profile is None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    [problem] = look(tmp_path / "none.yaml").problems
    # The detail may be shown to people who may not know where the site keeps its files; the source says which it is.
    assert problem.source == str(tmp_path / "none.yaml") and problem.detail == "No such file or directory"


@pytest.mark.parametrize("name", names())
def test_every_profile_of_ours_is_sound(name: str) -> None:
    profile = load(name).profile()
    assert sight_of(profile, name).problems == []
    path = simulated.LABORATORIES / f"{name.replace('-', '_')}.profile.yaml"
    assert look(path).problems == [] and look(path).profile == profile
