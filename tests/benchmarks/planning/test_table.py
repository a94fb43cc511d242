"""Tables of runs with known results."""

from __future__ import annotations

from pathlib import Path

from benchmarks.planning.gathered import gather
from benchmarks.planning.parts import PARTS
from benchmarks.planning.table import table
from tests.benchmarks.planning.traces import kept


def test_regrets_stand_beside_the_best_peer_s(tmp_path: Path) -> None:
    for method, regret in {"athanor": 0.01, "ax": 0.1, "baybe": 0.5, "random": 3.0}.items():
        for seed in range(3):
            kept(tmp_path, "branin", method, seed, [4.0, regret])
            kept(tmp_path, "hartmann6", method, seed, [4.0, regret / 2])
    said = table(gather(tmp_path, PARTS["single"], budget=2))
    assert "| branin (3 seeds) | 0.01 (0.01 to 0.01) | 0.1 (0.1 to 0.1) | 0.5 (0.5 to 0.5) | 3 (3 to 3) |" in said
    assert "| 0.1 (0.1 to 0.1) of ax |" in said and "| levy5 (0 seeds) | – | – | – | – | – |" in said
    assert "- athanor over ax, 2 problems: 0.1 (0.1 to 0.1)" in said
    assert "Share of runs on hartmann6 with a regret below 0.01: athanor 100%, ax 0%" in said


def test_advice_is_told_over_none_at_each_number_of_evaluations(tmp_path: Path) -> None:
    for method, end in {"athanor": 0.4, "athanor+good": 0.1, "athanor+wrong": 0.5}.items():
        kept(tmp_path, "branin", method, 0, [*[2.0] * 20, *[end] * 20])
    said = table(gather(tmp_path, PARTS["advice"]))
    early, late = said.split("\n\n")[0:2], said.split("\n\n")[2:4]
    assert "after 20" in early[0] and "- athanor+good over athanor, 1 problems: 1 (1 to 1)" in early[1]
    assert "after 40" in late[0] and "- athanor+good over athanor, 1 problems: 0.25 (0.25 to 0.25)" in late[1]
    assert "athanor+wrong over athanor, 1 problems: 1.25" in late[1] and "best peer" not in said


def test_eight_workers_are_told_over_one_of_the_same_planner(tmp_path: Path) -> None:
    for method, end in {"athanor": 0.4, "athanor@8": 0.5, "ax": 0.1, "ax@8": 0.3}.items():
        kept(tmp_path, "branin", method, 0, [end] * 40)
    said = table(gather(tmp_path, PARTS["asynchronous"]))
    assert "- athanor@8 over athanor, 1 problems: 1.25" in said and "- ax@8 over ax, 1 problems: 3" in said
    assert "athanor over ax" not in said and "best peer" not in said


def test_of_constrained_runs_the_infeasible_suggestions_are_counted(tmp_path: Path) -> None:
    for method in ("athanor", "ax"):
        truths = {"y": [0.2, 1.0, 0.9, 0.8], "g1": [1.0, -1.0, -1.0, 1.0], "g2": [-1.0] * 4}
        kept(tmp_path, "gramacy", method, 0, truths=truths)
        kept(tmp_path, "gramacy", method, 1, truths={"y": [0.2] * 4, "g1": [1.0] * 4, "g2": [1.0] * 4})
    said = table(gather(tmp_path, PARTS["constrained"], budget=4))
    assert "| gramacy | 50.0%; 2; 1 | 50.0%; 2; 1 |" in said


def test_hypervolumes_stand_beside_the_largest(tmp_path: Path) -> None:
    kept(tmp_path, "zdt1", "athanor", 0, truths={"f1": [1.0], "f2": [1.0]})
    kept(tmp_path, "zdt1", "ax", 0, truths={"f1": [1.0], "f2": [6.0]})
    said = table(gather(tmp_path, PARTS["several"], budget=1))
    assert "| zdt1 (1 seeds) | 120.67 | 100 (100 to 100) | 50 (50 to 50) | 50 (50 to 50) than ax |" in said


def test_seconds_are_told_for_each_number_of_known_points(tmp_path: Path) -> None:
    for size, seconds in ((10, 0.2), (100, 0.4)):
        kept(tmp_path, f"branin~{size}", "athanor", 0, [1.0] * 4, seconds=seconds)
        kept(tmp_path, f"branin~{size}", "ax", 0, [1.0] * 4, seconds=1.0)
    said = table(gather(tmp_path, PARTS["latency"]))
    assert "| branin | athanor | 0.2 (0.2 to 0.2) | – | – | 0.4 (0.4 to 0.4) | – | – |" in said
    assert "| branin | ax | 1 (1 to 1) |" in said and "hartmann6" not in said


def test_without_runs_there_is_no_table(tmp_path: Path) -> None:
    for part in PARTS.values():
        assert table(gather(tmp_path, part)) == "No runs."
