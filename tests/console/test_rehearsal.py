"""A campaign as it is rehearsed; that it runs is in the tests of starting one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from athanor.agents.spec import load
from athanor.console.rehearsal import simplified
from athanor.instruments import laboratory


def test_a_rehearsal_has_the_runs_of_the_real_design(tmp_path: Path) -> None:
    same: Any = laboratory.load("snar-flow")
    asked = tmp_path / "design.yaml"
    asked.write_text(same.campaign_file().read_text() + "planner: {design: d-optimal, model: quadratic}\n")
    spec = load(asked)
    rehearsed, differs = simplified(spec, "snar-flow", {}, 10)
    assert rehearsed.design() == spec.design() and rehearsed.budget.experiments == 10
    assert any("10 experiments instead of" in said for said in differs)
