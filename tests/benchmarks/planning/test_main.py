"""The commands, from a run to the README, with tiny budgets."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.planning.__main__ import README, main
from benchmarks.planning.parts import PARTS

TINY = ["--seeds", "1", "--budget", "3", "--workers", "0"]


@pytest.mark.parametrize("part", sorted(PARTS))
def test_every_part_runs_goes_on_and_is_told(part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = PARTS[part].problems[0]
    given = [part, "--problems", problem, "--methods", "athanor", "--out", str(tmp_path), *TINY]
    assert main(["run", *given]) == 0
    assert f"[1/1] {problem} athanor seed 0" in capsys.readouterr().out
    assert main(["run", *given]) == 0
    assert "[1/" not in capsys.readouterr().out
    assert main(["table", part, "--out", str(tmp_path), "--budget", "3"]) == 0
    said = capsys.readouterr().out
    assert PARTS[part].title in said and "not measured" in said and "Versions: athanor" in said


def test_the_report_is_written_for_all_parts(tmp_path: Path) -> None:
    out = str(tmp_path / "traces")
    assert main(["run", "sparse", "--methods", "sobol", "random", "--out", out, *TINY]) == 0
    readme = tmp_path / "README.md"
    readme.write_text(README.read_text())
    command = ["report", "--out", out, "--budget", "3", "--readme", str(readme), "--curves", str(tmp_path / "curves")]
    assert main(command) == 0
    text = readme.read_text()
    assert "branin-in-100 (1 seeds)" in text and text.count("Not measured yet") == len(PARTS) - 1
    assert (tmp_path / "curves" / "sparse.svg").exists()


def test_what_is_not_of_a_part_is_refused_with_what_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "sparse", "--problems", "branin"]) == 2
    assert "branin-in-100" in capsys.readouterr().err
    assert main(["run", "sparse", "--methods", "baybe"]) == 2
    assert "sobol" in capsys.readouterr().err
