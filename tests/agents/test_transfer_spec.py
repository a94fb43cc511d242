"""What a campaign file may say of earlier data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from athanor.agents.spec import SpecError, load, parse
from athanor.agents.transfer_spec import TransferSpec

FILE = """name: n
question: q?
laboratory: snar-flow
parameters:
  temperature: {low: 30, high: 120, unit: degC}
  solvent: {values: [EtOH, MeCN]}
objectives: {sty: {goal: maximize}}
budget: {experiments: 3}
"""


def test_campaigns_and_tables_are_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(FILE + "transfer:\n  - campaign: old-1\n  - {table: data/old.csv, held: {temperature: 60}}\n")
    spec = load(file)
    assert spec.transfer[0] == TransferSpec(campaign="old-1")
    assert spec.transfer[1].table == str(tmp_path.resolve() / "data" / "old.csv")
    assert spec.transfer[1].held == {"temperature": 60.0}
    assert parse(FILE).transfer == []


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        ("transfer:\n  - {}\n", 10, "give either campaign: its id or name, or table"),
        ("transfer:\n  - {campaign: a, table: b}\n", 10, "give either campaign: its id or name, or table"),
        ("transfer:\n  - {campaign: a, weight: 1}\n", 10, "is no field of a campaign"),
        ("transfer:\n  - {campaign: a, held: {temperature: .nan}}\n", 10, "finite"),
        (
            "transfer:\n  - {campaign: a, held: {temperature: 1}, without: [temperature]}\n",
            10,
            "in held and in without",
        ),
        ("transfer:\n  - {campaign: a, without: [presure]}\n", 9, "presure is no parameter; use one of: temperature"),
        ("transfer:\n  - campaign: a\n  - campaign: a\n", 9, "campaign a is named twice"),
        ("planner: sobol\ntransfer:\n  - campaign: a\n", 10, "only the bayesian planner learns from earlier data"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(lines: str, line: int, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(FILE + lines)
    found: Any = caught.value.problems[0]
    assert found.field.startswith("transfer")
    assert said in found.message
    assert found.line == line
