"""Samples and stock at the command line, on a real ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from athanor.agents.campaign import open_campaign
from athanor.agents.spec import Spec, load
from athanor.console import overview
from athanor.console.cli import live, output
from athanor.console.cli.app import run
from athanor.instruments import laboratory
from athanor.memory.ledger import Ledger
from athanor.memory.verify import verify


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run a command in this process; return exit code, standard output and standard error."""
    capsys.readouterr()
    code = run(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    code, out, err = call(capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_what_is_not_there_is_said_with_the_command_that_begins_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, "samples") == {"samples": []}
    assert told(capsys, "stock") == {"stock": []}
    code, out, err = call(capsys, "samples")
    assert (code, out) == (0, "") and "samples add LABEL --at WHERE" in err
    code, out, err = call(capsys, "stock")
    assert (code, out) == (0, "") and "stock add ethanol 500 --unit mL --low 50" in err
    assert not (home / "ledger.db").exists(), "looking makes nothing"
    code, _, err = call(capsys, "stock", "show", "ethanol")
    assert code == 1 and "There is no ledger" in err


def test_a_sample_from_the_shelf_to_the_bin(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "samples", "add", "w1", "--at", "shelf 3", "--description", "wafer")["state"] == "free"
    assert call(capsys, "samples", "move", "w1", "glove box", "--reason", "to be coated")[0] == 0
    parts = told(capsys, "samples", "split", "w1", "w1a", "w1b")["samples"]
    assert [part["label"] for part in parts] == ["w1a", "w1b"] and parts[0]["location"] == "glove box"
    child = told(capsys, "samples", "add", "w1c", "--parent", "w1a")
    assert child["parent_id"] == parts[0]["id"]
    assert call(capsys, "samples", "retire", "w1b", "--reason", "broke")[0] == 0
    code, out, _ = call(capsys, "samples")
    assert code == 0 and "w1a" in out and "glove box" in out and "w1b" not in out
    assert "w1b" in call(capsys, "samples", "--retired")[1]
    shown = call(capsys, "samples", "show", "w1")[1]
    assert "moved to glove box" in shown and "to be coated" in shown and "w1a was made of it" in shown
    history = told(capsys, "samples", "show", "w1b")["history"]
    assert [line["kind"] for line in history] == ["sample", "sample_state"]
    for words, said in (
        (("samples", "add", "w1"), "retire it, or take another label"),
        (("samples", "move", "w1b", "bin"), "is retired"),
        (("samples", "show", "w9"), "no sample 'w9'"),
    ):
        code, _, err = call(capsys, *words)
        assert code == 1 and said in err
    with Ledger.open(home / "ledger.db") as ledger:
        assert verify(ledger).is_clean


def test_a_stock_is_begun_refilled_and_corrected(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "stock", "add", "ethanol", "40", "--unit", "mL", "--low", "50")["is_low"]
    level = told(capsys, "stock", "add", "ethanol", "460", "--reason", "a new bottle")
    assert (level["amount"], level["available"], level["is_low"]) == (500.0, 500.0, False)
    assert told(capsys, "stock", "set", "ethanol", "480", "--reason", "weighed")["amount"] == 480.0
    assert told(capsys, "stock", "set", "ethanol", "--low", "490")["is_low"]
    code, out, _ = call(capsys, "stock")
    assert code == 0 and "480" in out and "mL" in out and "low" in out
    shown = call(capsys, "stock", "show", "ethanol")[1]
    assert "begun with 40 mL" in shown and "+460 mL added" in shown and "weighed" in shown
    assert [line["kind"] for line in told(capsys, "stock", "show", "ethanol")["history"]] == ["consumable"] + [
        "stock"
    ] * 3
    for words, code_, said in (
        (("stock", "add", "ethanol", "1", "--unit", "kg"), 1, "is kept in mL"),
        (("stock", "add", "ethanol", "0"), 1, "above 0"),
        (("stock", "add", "argon", "nan"), 2, "finite"),
        (("stock", "add", "argon", "1", "--unit", "bottlefuls"), 2, "is no unit"),
        (("stock", "set", "ethanol"), 2, "amount that is there"),
        (("stock", "set", "ethanol", "3"), 2, "say why"),
        (("stock", "set", "argon", "3", "--reason", "r"), 1, "no consumable 'argon'"),
    ):
        code, _, err = call(capsys, *words)
        assert code == code_ and said in err, (words, err)


def test_check_says_what_each_run_uses(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    text = laboratory.load("snar-flow").campaign_file().read_text()  # type: ignore[attr-defined]
    needs = "consumables: {ethanol: 5 mL, catalyst: {amount: 0.2 * residence_time, unit: mg}, vial: 1}\n"
    file.write_text(f"{text}\n{needs}sample: w1\ndevices: [oven]\n")
    said = told(capsys, "check", str(file))["summary"]["each run"]
    assert said == "ethanol 5 mL, catalyst 0.2 * residence_time mg, vial 1; sample w1; oven to itself"


def test_a_stock_that_runs_low_is_shown_wherever_the_campaign_is(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "stock", "add", "ethanol", "4", "--unit", "mL", "--low", "5")
    told(capsys, "stock", "add", "argon", "0", "--low", "5")
    with Ledger.open(home / "ledger.db") as ledger:
        spec = load(laboratory.load("snar-flow").campaign_file())  # type: ignore[attr-defined]
        name = open_campaign(Spec.model_validate({**spec.model_dump(), "consumables": {"ethanol": "2 mL"}}), ledger)
        view = overview.look(ledger, ledger.campaign(name))
        assert view.low == ["ethanol is low: 4 mL left, told at 5 mL"], "not of a stock that it does not use"
        console = output.console()
        with console.capture() as capture:
            console.print(live.panel(view))
        assert "ethanol is low: 4 mL left" in capture.get()
    assert "ethanol is low: 4 mL left" in call(capsys, "show", name)[1]
    assert "ethanol low" in call(capsys, "list")[1]
    assert told(capsys, "list")["campaigns"][0]["low"] == ["ethanol"]
