"""`athanor instruments check` from the command line: what it takes, what it prints, how it ends, what it moves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.console.cli.app import run
from athanor.instruments.config import Config
from athanor.instruments.laboratory import load
from athanor.instruments.latch import Latch
from athanor.instruments.write_switch import WriteSwitch
from athanor.memory.places import InstrumentPlace
from tests.sandbox.serving.served import Served

CHECK = ["instruments", "check"]


@pytest.fixture
def served(home: Path) -> Iterator[Served]:
    served = Served(home / "served", "scpi", "snar-flow", "--time-scale", "0.2")
    try:
        yield served
    finally:
        served.kill()


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = run([*CHECK, *words, "--json"])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, said


def test_a_served_instrument_moves_only_with_exercise(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(served.path)

    def done() -> list[dict[str, Any]]:
        return [line for line in served.witness() if line["kind"] not in ("connect", "disconnect")]

    before = done()
    code, report = asked(capsys, path)
    assert (code, report["alive"], report["can_run"], report["reasons"]) == (0, True, True, [])
    assert done() == before, "nothing was set, stopped or measured"
    assert run([*CHECK, path, "--exercise", "--json"]) == 1, "nobody is there to be asked"
    assert done() == before
    capsys.readouterr()
    code, report = asked(capsys, path, "--exercise", "--yes")
    assert code == 0, report["reasons"]
    sets = served.witness("set")
    assert {line["axis"] for line in sets} == {axis["name"] for axis in report["card"]["axes"]}
    for axis in report["card"]["axes"]:
        targets = [line["value"] for line in sets if line["axis"] == axis["name"]]
        assert len(set(targets)) > 1 and all(axis["minimum"] <= one <= axis["maximum"] for one in targets)
    stands = {one["device"]: one["reason"] for one in report["findings"] if one["step"] == "read-back"}
    code, report = asked(capsys, path)
    assert {one["device"]: one["reason"] for one in report["findings"] if one["step"] == "read-back"} == stands


def test_a_person_is_shown_the_card_and_both_verdicts(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*CHECK, "snar-flow"]) == 0
    said = capsys.readouterr().out
    for word in ("snar-flow", "simulated", "temperature", "degC", "30 … 120", "analyser measures sty", "autonomy"):
        assert word in said
    assert "Alive: yes" in said and "Can run an experiment now: yes" in said
    assert "\x1b" not in said, "in a pipe it is plain"
    assert not (home / "instruments").exists(), "and nothing is left behind"


def test_an_instrument_that_has_run_here_is_found_by_its_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = InstrumentPlace.of("snar-flow", home)
    place.directory.mkdir(parents=True)
    Config(load("snar-flow").profile(), {}).write(place)
    WriteSwitch(place).off("new tubing", "tester")
    Latch(place).create()
    Latch(place).engage("leak", "tester")
    code, report = asked(capsys, "snar-flow")
    assert (code, report["alive"], report["can_run"]) == (2, True, False)
    assert "new tubing" in str(report["reasons"]) and "leak" in str(report["reasons"])
    assert run([*CHECK, "snar-flow"]) == 2
    assert "Can run an experiment now: no, 2 in the way now" in capsys.readouterr().out


def test_the_faults_of_a_file_are_told_with_their_lines(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "name: broken\nlaboratory: wired\nsimulated: true\naxes:\n  stage: {unit: mm, minimum: 5, maximum: 1}\n"
        "detectors:\n  camera: {signals: {counts: null}, colour: red}\noutcomes:\n  volts: {signal: volts}\n"
    )
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    code, report = asked(capsys, str(path))
    assert code == 1 and not report["alive"]
    said = "\n".join(report["reasons"])
    for line in (2, 5, 7, 9):
        assert f"broken.yaml:{line})" in said
    assert run([*CHECK, str(path)]) == 1
    said = capsys.readouterr().out
    assert "Alive: no, it could not be asked" in said and "Can run an experiment now: no, 4 faults" in said


def test_what_is_not_there_is_refused_with_what_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*CHECK, "no-such-thing"]) == 1
    assert "snar-flow" in capsys.readouterr().err
    code, report = asked(capsys, "no-such.yaml")
    assert code == 1 and "no-such.yaml" in report["reasons"][0]


def test_whoever_says_no_has_nothing_moved(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_with: list[str] = []

    def confirm(text: str, **_: object) -> bool:
        asked_with.append(text)
        return False

    monkeypatch.setattr("typer.confirm", confirm)
    assert run([*CHECK, str(served.path), "--exercise"]) == 1
    assert "temperature" in asked_with[0] and "simulated" in asked_with[0]
    assert served.witness("set") == []
