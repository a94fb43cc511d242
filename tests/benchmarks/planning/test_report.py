"""Figures go between their marks in the README, and nothing else of it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.planning.__main__ import README
from benchmarks.planning.gathered import gather
from benchmarks.planning.parts import PARTS
from benchmarks.planning.report import MarksMissing, insert, write
from tests.benchmarks.planning.traces import kept

TEXT = "before\n<!-- figures: single -->\nold\n<!-- end: single -->\nafter\n"


def test_figures_replace_what_is_between_their_marks(tmp_path: Path) -> None:
    for method in ("athanor", "ax"):
        kept(tmp_path, "branin", method, 0, [1.0, 0.5])
    readme = tmp_path / "README.md"
    readme.write_text(TEXT)
    found = [gather(tmp_path, PARTS["single"], budget=2)]
    write(readme, tmp_path / "planning" / "curves", found)
    once = readme.read_text()
    assert once.startswith("before\n") and once.endswith("after\n") and "old" not in once
    assert "branin (1 seeds)" in once and "not measured" in once and "Versions: athanor 1, ax 1" in once
    assert "(planning/curves/single.svg)" in once and (tmp_path / "planning" / "curves" / "single.svg").exists()
    write(readme, tmp_path / "planning" / "curves", found)
    assert readme.read_text() == once


def test_what_was_not_run_is_said_and_drawn_nowhere(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(TEXT)
    write(readme, tmp_path / "curves", [gather(tmp_path, PARTS["single"])])
    assert "Not measured yet: `python -m benchmarks.planning run single`" in readme.read_text()
    assert not (tmp_path / "curves").exists()


def test_a_readme_without_the_marks_is_refused() -> None:
    with pytest.raises(MarksMissing, match="figures: single"):
        insert("nothing", "single", "figures")
    with pytest.raises(MarksMissing, match="end: single"):
        insert(TEXT * 2, "single", "figures")


def test_the_readme_has_a_place_for_every_part() -> None:
    text = README.read_text()
    for part in PARTS:
        assert f"run {part}" in insert(text, part, f"run {part}")
        assert f"### {PARTS[part].title}" in text
