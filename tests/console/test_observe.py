"""`athanor observe`: a measurement of a person's own, from words or a file, and where it shows afterwards."""

from __future__ import annotations

import csv
import getpass
import io
import json
from pathlib import Path

import pytest

from athanor.agents.campaign import open_campaign
from athanor.agents.spec import load
from athanor.console import overview
from athanor.console.cli import live, output
from athanor.console.cli.app import run
from athanor.console.report.build import build
from athanor.console.report.page import render
from athanor.instruments import laboratory
from athanor.memory.ledger import Ledger
from tests.instruments.stationing import measurement, setting, sheet

POINT = ["--values", "residence_time=1.0", "equivalents=2", "concentration=0.3mol/L", "temperature=80"]
MEASURED = ["--outcomes", "sty=5000 kg/m^3/h", "e_factor=3.1", "--sem", "sty=20", "--note", "old analyser"]


@pytest.fixture
def ledger(home: Path) -> Ledger:
    return Ledger.create(home / "ledger.db")


@pytest.fixture
def campaign(ledger: Ledger) -> str:
    return open_campaign(load(laboratory.load("snar-flow").campaign_file()), ledger)  # type: ignore[attr-defined]


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_words_become_an_observation_of_the_operator(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, "observe", campaign, *POINT, *MEASURED, "--json")
    assert code == 0, err
    assert json.loads(out)["by"] == getpass.getuser()
    [found] = ledger.observations(campaign)
    assert (found.source, found.experiment_id) == ("operator", None)
    assert found.values["concentration"] == 0.3
    assert found.outcomes == {"sty": {"mean": 5000.0, "sem": 20.0}, "e_factor": {"mean": 3.1, "sem": None}}
    assert "old analyser" in str(found.reason)
    for words in ("no budget", "no registered test"):
        assert words in err.lower().replace("\n", " ").replace("uses no", "no")


def test_it_shows_everywhere_as_made_by_hand(ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "observe", campaign, *POINT, *MEASURED, "--by", "anna")[0] == 0
    _, out, _ = call(capsys, "show", campaign)
    assert "1 measurement by a person" in out
    assert "0 of 40 experiments" in out
    _, out, _ = call(capsys, "results", campaign)
    assert "by hand" in out
    assert "operator" in out
    _, out, _ = call(capsys, "results", campaign, "--csv")
    [row] = csv.DictReader(io.StringIO(out))
    assert (row["state"], row["source"], row["sty [kg/m^3/h]"], row["sty sem"]) == (
        "by hand",
        "operator",
        "5000.0",
        "20.0",
    )
    data = build(ledger, campaign)
    assert [(one.by, one.note) for one in data.by_hand] == [("anna", "old analyser")]
    assert data.best[0].experiment == f"{campaign}/m1"
    assert "Measured by hand" in render(data)
    view = overview.look(ledger, ledger.campaign(campaign))
    assert view.used == 0
    assert view.recent == ["#m1 by hand: e_factor 3.1, sty 5000 ± 20 kg/m³/h"]
    with live.Follower(ledger, campaign) as follower:
        follower.update()
    assert "m1 by hand: e_factor 3.1, sty 5000 ± 20" in capsys.readouterr().err


def test_a_results_file_is_a_file_to_observe(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(capsys, "observe", campaign, *POINT, *MEASURED)[0] == 0
    path = tmp_path / "own.csv"
    path.write_text(call(capsys, "results", campaign, "--csv")[1])
    code, _, err = call(capsys, "observe", campaign, "--csv", str(path), "--note", "again")
    assert code == 0, err
    first, second = ledger.observations(campaign)
    assert (first.values, first.outcomes) == (second.values, second.outcomes)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([*POINT, *MEASURED[:-2]], 2, "say how it was measured"),
        ([*POINT[:-1], *MEASURED], 1, "No value for temperature"),
        ([*POINT, "--outcomes", "sty=nan", "--note", "n"], 1, "no measurement"),
        ([*POINT, "--outcomes", "sty=5 g", "--note", "n"], 1, "not in g"),
        ([*POINT, "--note", "n"], 1, "nothing was measured"),
        ([*POINT, "colour=3", *MEASURED], 2, "there is no 'colour'"),
        ([*POINT, *MEASURED, "--sem", "purity=1"], 2, "purity"),
        ([*POINT, *MEASURED, "--csv", "x.csv"], 2, "not both"),
        (["--csv", "x.csv", "--note", "n"], 1, "does not exist"),
        ([*POINT[:-1], "temperature=800", *MEASURED], 1, "temperature"),
    ],
)
def test_what_is_no_measurement_is_refused_with_its_reason(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    found, _, err = call(capsys, "observe", campaign, *words)
    assert found == code, err
    assert said in " ".join(err.replace("│", " ").split())
    assert ledger.observations(campaign) == []


def test_a_campaign_that_is_over_takes_none(ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.set_campaign_state(campaign, "cancelled", reason="enough")
    code, _, err = call(capsys, "observe", campaign, *POINT, *MEASURED)
    assert code == 1
    assert "--data FILE" in err


def test_the_live_view_says_that_a_person_at_the_bench_is_waited_for(ledger: Ledger, campaign: str) -> None:
    console = output.console()
    console.width = 140
    asked = sheet(setting(), measurement())
    with console.capture() as shown:
        console.print(live.panel(overview.look(ledger, ledger.campaign(campaign)), sheet=asked))
    assert "for a person at the bench: set furnace to 450 °C, and measure yield, purity" in shown.get()
    assert "station bench" in shown.get()
