"""Runs are kept one by one, are not run twice, and a line that was cut off is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.planning import methods, runner, table
from benchmarks.planning.problems import instance


def test_a_run_is_the_same_again_and_its_regret_is_the_problem_s(tmp_path: Path) -> None:
    one, other = (runner.run("branin", "sobol", 3, budget=8) for _ in range(2))
    assert one.regrets == other.regrets and len(one.regrets) == len(one.seconds) == 8
    assert min(one.regrets) >= 0 and np.all(np.diff(one.best()) <= 0)


@pytest.mark.parametrize("problem", ["branin", "mixed5"])
def test_our_planner_takes_part(problem: str) -> None:
    trace = runner.run(problem, "athanor", 1, budget=9)
    assert len(trace.regrets) == 9 and trace.version


def test_what_is_there_is_not_run_again_and_what_was_cut_off_is(tmp_path: Path) -> None:
    said: list[str] = []
    given = {"workers": 1, "budget": 4, "say": said.append}
    assert runner.run_all(["branin"], ["random"], range(2), tmp_path, **given) == 0  # type: ignore[arg-type]
    path = runner.file_of(tmp_path, "branin", "random")
    first, second = path.read_text().splitlines()
    path.write_text(first + "\n" + second[: len(second) // 2])
    assert set(runner.read(tmp_path, "branin", "random")) == {0}
    path.write_text(first + "\n" + second[: len(second) // 2] + "\n")
    assert runner.run_all(["branin"], ["random"], range(3), tmp_path, **given) == 0  # type: ignore[arg-type]
    assert sorted(runner.read(tmp_path, "branin", "random")) == [0, 1, 2] and len(said) == 4


def test_a_failure_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    failed = runner.run_all(["branin"], ["nobody", "random"], [0], tmp_path, workers=1, budget=3, say=said.append)
    assert failed == 1 and any("no method 'nobody'" in one for one in said)
    assert set(runner.read(tmp_path, "branin", "random")) == {0}


def test_the_table_compares_what_all_have_run(tmp_path: Path) -> None:
    for method, regrets in {"athanor": [2.0, 0.01], "ax": [1.0, 0.1], "random": [3.0, 3.0]}.items():
        trace = runner.Trace("branin", method, 0, "1", "here", regrets, [0.5, 0.5])
        runner.file_of(tmp_path, "branin", method).write_text(runner.json.dumps(vars(trace)) + "\n")
    said = table.table(tmp_path, ["branin", "levy5"], ["athanor", "ax", "random"], at=2)
    assert "0.10 of ax" in said and "levy5 | not run by all" in said and "Against ax, over 1 problems: 0.10" in said


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_every_method_that_is_installed_minimises(method: str) -> None:
    if not methods.is_there(method):
        pytest.skip(f"{method} is not installed here: make bench-peers")
    found = instance("mixed5", 0)
    planner = methods.make(method, found.problem, 0, 3)
    for number in range(1, 4):
        values = planner.ask()
        found.problem.validate_point(values)
        planner.tell(values, found.measure(values, number))
