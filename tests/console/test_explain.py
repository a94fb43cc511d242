"""`athanor explain`: what the model of a campaign knows and whether to trust it; findings name experiments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from athanor.agents.campaign import open_campaign
from athanor.agents.spec import load
from athanor.console.cli.app import run
from athanor.console.report.build import build
from athanor.console.report.effects import explained
from athanor.console.report.page import render
from athanor.instruments import laboratory
from athanor.memory.ledger import Ledger
from athanor.planners.explanations import Explanation
from athanor.planners.space import sobol


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


def measure(ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str], count: int, file: Path) -> None:
    """Put in measurements of a person's own, where the waste follows the concentration alone."""
    lines = ["residence_time [min],equivalents,concentration [mol/L],temperature [degC],sty [kg/m^3/h],e_factor"]
    for a, b, c, d in sobol(4, count, 0).tolist():
        sty = 1000 + 9000 * c * (1 - 0.3 * a)
        lines.append(f"{0.5 + 1.5 * a},{1 + 4 * b},{0.1 + 0.4 * c},{30 + 90 * d},{sty},{10 - 5 * c}")
    file.write_text("\n".join(lines) + "\n")
    code, _, err = call(capsys, "observe", campaign, "--csv", str(file), "--note", "by hand")
    assert code == 0, err


def test_too_little_is_said_and_no_error(ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "explain", campaign)
    assert code == 0
    assert "Do not go by the model yet." in out and "Measure more settings" in " ".join(out.split())
    assert explained(ledger, campaign).calibrations == ()


def test_it_says_what_matters_and_the_report_draws_it(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    measure(ledger, campaign, capsys, 24, tmp_path / "by-hand.csv")
    code, out, err = call(capsys, "explain", campaign)
    assert code == 0, err
    words = " ".join(out.split())
    assert "variation explained" in words and "concentration" in words and "%" in words
    _, text, _ = call(capsys, "explain", campaign, "--json")
    body = json.loads(text)
    assert body.pop("campaign") == campaign
    found = Explanation.model_validate(body)
    assert {item.outcome for item in found.calibrations} == {"sty", "e_factor"}
    assert found.sensitivity is not None and found.landscape is not None and len(found.landscape.maps) == 3
    yields = {item.parameter: item for item in found.sensitivity.of("e_factor")}
    assert yields["concentration"].first > 0.8
    page = render(build(ledger, campaign))
    assert "Can the model be trusted?" in page and "Two parameters at a time" in page
