from __future__ import annotations

from pathlib import Path

import pytest

from athanor.agents.history import DataError, read_measurements
from athanor.planners.problem import Categorical, Continuous, Objective, Problem

PROBLEM = Problem(
    parameters=[Continuous("temperature", 20, 120, unit="degC"), Categorical("solvent", ["EtOH", "MeCN"])],
    objectives=[Objective("sty", goal="maximize", unit="kg/m^3/h")],
)
OUTCOMES = {"sty": "kg/m^3/h"}


def write(folder: Path, text: str) -> Path:
    path = folder / "past.csv"
    path.write_text(text)
    return path


def test_units_are_converted(tmp_path: Path) -> None:
    path = write(tmp_path, "solvent,temperature [kelvin],sty [g/m^3/h],note\nEtOH,323.15,2000,x\n\nMeCN,300,,\n")
    [row] = read_measurements(path, PROBLEM, OUTCOMES)  # nothing was measured in the second row
    assert row.values["temperature"] == pytest.approx(50.0)
    assert row.outcomes == {"sty": {"mean": pytest.approx(2.0), "sem": None}}
    assert row.line == 2


def test_standard_errors_are_converted_with_their_outcome(tmp_path: Path) -> None:
    text = "solvent,temperature [degC],sty [g/m^3/h],sty sem\nEtOH,50,2000,30\nMeCN,60,2000,\n"
    first, second = read_measurements(write(tmp_path, text), PROBLEM, OUTCOMES)
    assert first.outcomes["sty"] == {"mean": pytest.approx(2.0), "sem": pytest.approx(0.03)}
    assert second.outcomes["sty"]["sem"] is None
    for cell, words in (("-1", "no standard error"), ("x", "not a number")):
        path = write(tmp_path, f"solvent,temperature [degC],sty [kg/m^3/h],sty sem\nEtOH,50,2,{cell}\n")
        with pytest.raises(DataError, match=f"past.csv:2: sty sem: .*{words}"):
            read_measurements(path, PROBLEM, OUTCOMES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("temperature [degC],sty [kg/m^3/h]\n", "no column for solvent"),
        ("temperature [degC],solvent\n", "no column for any outcome"),
        ("temperature,solvent,sty [kg/m^3/h]\n", "states no unit"),
        ("temperature [degC],solvent,sty [kg/m^3/h]\n", "holds no measurement"),
        ("temperature [degC],solvent,sty [kg/m^3/h]\n30,EtOH,\n", "holds no measurement"),
        ("temperature [min],solvent,sty [kg/m^3/h]\n", "cannot convert min to degC"),
        ("temperature [degC],solvent,sty [kg/m^3/h]\nx,EtOH,1\n", "past.csv:2: temperature: 'x' is not a number"),
        ("temperature [degC],solvent,sty [kg/m^3/h]\n30,EtOH,inf\n", "not finite"),
        ("temperature [degC],solvent,sty [kg/m^3/h]\n500,EtOH,1\n", "past.csv:2: .*temperature"),
        ("temperature [degC],solvent,sty [kg/m^3/h]\n30,water,1\n", "past.csv:2: .*solvent"),
        ("temperature [degC],solvent,sty [kg/m^3/h]\n30\n", "ends before"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_measurements(write(tmp_path, text), PROBLEM, OUTCOMES)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_measurements(tmp_path / "none.csv", PROBLEM, OUTCOMES)
