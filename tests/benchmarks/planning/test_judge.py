"""Verdicts on runs with known results: on either side of each bound, and on what was not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.planning.constrained import OPTIMA
from benchmarks.planning.gathered import gather
from benchmarks.planning.judge import Verdict, judge
from benchmarks.planning.parts import PARTS, PEERS
from benchmarks.planning.problems import TASKS
from tests.benchmarks.planning.traces import kept


def verdicts(folder: Path, part: str, budget: int | None = 1) -> list[bool | None]:
    return [verdict.holds for verdict in judge(gather(folder, PARTS[part], budget))]


def fill(folder: Path, part: str, losses: dict[str, float], **other: dict[str, float]) -> None:
    """One run of one evaluation for each problem and method; `other` says what differs on a problem."""
    for problem in PARTS[part].problems:
        for method, loss in (losses | other.get(problem.replace("-", "_"), {})).items():
            kept(folder, problem, method, 0, [loss])


@pytest.mark.parametrize("part", sorted(PARTS))
def test_what_was_not_run_is_not_judged(part: str, tmp_path: Path) -> None:
    found = judge(gather(tmp_path, PARTS[part]))
    assert found and all(verdict.holds is None for verdict in found)
    assert all("not measured" in str(verdict) for verdict in found)


@pytest.mark.parametrize(
    ("usual", "odd", "expected"),
    [
        (0.05, {}, [True, True, True]),
        (0.08, {}, [True, True, False]),  # 0.8 of each peer's
        (0.05, {"branin": 0.12, "levy5": 0.14}, [True, True, True]),
        (0.05, {"branin": 0.12, "levy5": 0.16}, [True, False, True]),
        (0.03, {"branin": 0.12, "levy5": 0.14, "ackley4": 0.11}, [False, True, True]),
    ],
)
def test_one_objective(usual: float, odd: dict[str, float], expected: list[bool], tmp_path: Path) -> None:
    peers = dict.fromkeys(PEERS, 0.1)
    fill(tmp_path, "single", {"athanor": usual, **peers}, **{p: {"athanor": loss} for p, loss in odd.items()})
    found = judge(gather(tmp_path, PARTS["single"], 1))
    assert [verdict.holds for verdict in found] == expected
    assert all("Early: 1 paired seeds of 20" in str(verdict) for verdict in found)


def test_part_of_the_problems_or_of_the_peers_is_not_enough(tmp_path: Path) -> None:
    fill(tmp_path, "single", dict.fromkeys(["athanor", *PEERS[:3]], 0.1))
    assert verdicts(tmp_path, "single") == [None, None, None]
    assert "So far" in str(judge(gather(tmp_path, PARTS["single"], 1))[0])
    for problem in list(TASKS)[1:]:
        kept(tmp_path, problem, PEERS[3], 0, [0.1])
    assert verdicts(tmp_path, "single") == [None, None, None]


def test_constrained_outcomes(tmp_path: Path) -> None:
    count = {"gramacy": 2, "pressure-vessel": 3, "speed-reducer": 11}
    for method, lead, wrong in (("athanor", 1.0, 1), ("ax", 2.0, 9)):
        for problem, limits in count.items():
            outside = [*[-1.0] * (11 - wrong), *[1.0] * wrong]
            truths = {"y": [OPTIMA[problem] + lead] * 11}
            kept(tmp_path, problem, method, 0, truths=truths | {f"g{i + 1}": outside for i in range(limits)})
    assert verdicts(tmp_path, "constrained", 11) == [True, True]
    truths = {"y": [OPTIMA["gramacy"] + 3.0] * 11, "g1": [*[-1.0] * 8, *[1.0] * 3], "g2": [-1.0] * 11}
    for seed in (1, 2):
        kept(tmp_path, "gramacy", "athanor", seed, truths=truths)
        kept(tmp_path, "gramacy", "ax", seed, truths=truths | {"y": [OPTIMA["gramacy"] + 1.0] * 11})
    assert verdicts(tmp_path, "constrained", 11) == [False, False]


def test_two_objectives(tmp_path: Path) -> None:
    for problem in PARTS["several"].problems:
        names = ("sty", "e_factor") if problem.startswith("snar") else ("f1", "f2")
        ours, other = ((9000.0, 9.6), (8000.0, 9.6)) if problem.startswith("snar") else ((1.0, 1.0), (1.0, 2.0))
        for method, point in (("athanor", ours), ("ax", other)):
            kept(tmp_path, problem, method, 0, truths={name: [v] for name, v in zip(names, point, strict=True)})
    assert verdicts(tmp_path, "several") == [True, True]  # (9000 - 2957) (10.7 - 9.6) = 6647
    kept(tmp_path, "snar-as-coded", "athanor", 0, truths={"sty": [7900.0], "e_factor": [9.6]})
    assert verdicts(tmp_path, "several") == [False, False]


def test_advice_and_workers(tmp_path: Path) -> None:
    arms = {"athanor": 0.8, "athanor+good": 0.32, "athanor+wrong": 0.84, "athanor+adversarial": 0.96, "athanor@8": 0.96}
    for problem in TASKS:
        for method, end in arms.items():
            kept(tmp_path, problem, method, 0, [*[1.0] * 20, *[end] * 20])
    expected = [False, True, True, None, True, True, False, None]  # at 20 all are alike, good advice too
    assert verdicts(tmp_path, "advice", None) == expected
    assert verdicts(tmp_path, "asynchronous", None) == [True]
    for problem in TASKS:
        kept(tmp_path, problem, "athanor@8", 0, [1.1] * 40)
    assert verdicts(tmp_path, "asynchronous", None) == [False]


def test_seconds(tmp_path: Path) -> None:
    for problem in PARTS["latency"].problems:
        two = problem.startswith(("zdt1", "branin-currin"))
        truths = {"f1": [1.0] * 4, "f2": [1.0] * 4} if two else {"y": [50.0] * 4}
        late = problem.endswith(("~200", "~500"))
        kept(tmp_path, problem, "athanor", 0, truths=truths, seconds=5.0 if late else 0.9 if two else 0.45)
        kept(tmp_path, problem, "ax", 0, truths=truths, seconds=1.0)
    assert verdicts(tmp_path, "latency", None) == [True, True]
    kept(tmp_path, "branin~50", "athanor", 0, [1.0] * 4, seconds=0.6)
    kept(tmp_path, "zdt1~25", "athanor", 0, truths={"f1": [1.0] * 4, "f2": [1.0] * 4}, seconds=1.1)
    assert verdicts(tmp_path, "latency", None) == [False, False]


def test_a_hundred_axes(tmp_path: Path) -> None:
    fill(tmp_path, "sparse", {"athanor": 0.2, "ax": 0.3, "sobol": 0.1})
    assert verdicts(tmp_path, "sparse") == [True, False]


def test_a_verdict_reads_as_a_line() -> None:
    assert str(Verdict("A", True, "1.")) == "- A: holds. 1."
    assert str(Verdict("A", False, "2.")) == "- A: **does not hold**. 2."
