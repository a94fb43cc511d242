"""Runs are kept one by one, are not run twice, and a line that was cut off is none."""

from __future__ import annotations

import heapq
from pathlib import Path

import numpy as np
import pytest

from benchmarks.planning import methods, runner
from benchmarks.planning.asking import Asked, NotYet
from benchmarks.planning.instances import pose
from benchmarks.planning.parts import PARTS
from benchmarks.planning.problems import TASKS
from tests.benchmarks.planning.traces import kept


def test_a_run_is_the_same_again_and_what_is_left_never_grows() -> None:
    one, other = (runner.run("branin", "sobol", 3, budget=8) for _ in range(2))
    assert one.truths == other.truths and len(one.truths["y"]) == len(one.seconds) == one.budget == 8
    assert min(one.losses) >= 0 and np.all(np.diff(one.losses) <= 0)
    assert one.losses == pytest.approx(np.minimum.accumulate(one.truths["y"]) - TASKS["branin"].optimum)


@pytest.mark.parametrize("problem", ["branin", "mixed5", "gramacy", "branin-currin"])
def test_our_planner_takes_part(problem: str) -> None:
    trace = runner.run(problem, "athanor", 1, budget=8)
    assert {len(values) for values in trace.truths.values()} == {8} and trace.version == methods.version("athanor")


def test_our_planner_takes_part_with_advice_with_workers_and_with_points_known() -> None:
    plain, advised, eight = (runner.run("branin", f"athanor{arm}", 1, budget=6) for arm in ("", "+good", "@8"))
    assert plain.truths["y"][:4] == advised.truths["y"][:4] != eight.truths["y"][:4]  # the design is the same
    assert plain.truths["y"] != advised.truths["y"] != eight.truths["y"] and len(eight.truths["y"]) == 6
    assert len(runner.run("branin~12", "athanor", 1).seconds) == runner.TIMED
    with pytest.raises(ValueError, match="advice is compared on problems of one objective"):
        runner.run("zdt1", "athanor+good", 1, budget=9)


class Watched:
    """A planner that remembers how many of its suggestions were out."""

    def __init__(self) -> None:
        self.out: list[int] = []
        self.told: list[int] = []
        self.learnt = 0

    def ask(self) -> Asked:
        number = len(self.out) + 1
        self.out.append(number - 1 - len(self.told))
        return Asked(number, {"x1": 0.0, "x2": 5.0 + 0.1 * number})

    def tell(self, asked: Asked, outcomes: dict[str, float]) -> None:
        assert set(outcomes) == {"y"}
        self.told.append(asked.key)

    def learn(self, values: object, outcomes: object) -> None:
        self.learnt += 1


def test_workers_keep_as_many_out_and_tell_in_the_order_in_which_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    monkeypatch.setattr(methods, "make", lambda *given: watched)
    trace = runner.run("branin", "athanor@3", 5, budget=12)
    assert watched.out == [0, 1, 2, *[2] * 9] and sorted(watched.told) == list(range(1, 13))
    ends, clock = [], 0.0
    lasting = np.random.default_rng([5, 2030]).uniform(0.5, 1.5, 12)
    for number in range(12):
        if number >= 3:
            clock = heapq.heappop(ends)[0]
        heapq.heappush(ends, (clock + lasting[number], number + 1))
    assert watched.told[-3:] == [heapq.heappop(ends)[1] for _ in range(3)] and watched.told != sorted(watched.told)
    assert trace.truths["y"][0] == pose("branin", 5).truths({"x1": 0.0, "x2": 5.0 + 0.1 * watched.told[0]})["y"]
    alone = Watched()
    monkeypatch.setattr(methods, "make", lambda *given: alone)
    runner.run("branin~7", "athanor", 5)
    assert alone.learnt == 7 and alone.out == [0] * runner.TIMED and alone.told == [1, 2, 3, 4]


def test_where_a_planner_waits_for_results_its_workers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Watched):
        def ask(self) -> Asked:
            if len(self.out) >= 2 > len(self.told):
                raise NotYet("two results first")
            return super().ask()

    slow = Slow()
    monkeypatch.setattr(methods, "make", lambda *given: slow)
    trace = runner.run("branin", "athanor@4", 5, budget=8)
    assert slow.out == [0, 1, 0, 1, 2, 3, 3, 3] and len(trace.truths["y"]) == len(trace.seconds) == 8

    class Stuck(Watched):
        def ask(self) -> Asked:
            raise NotYet("never")

    monkeypatch.setattr(methods, "make", lambda *given: Stuck())
    with pytest.raises(NotYet, match="never"):
        runner.run("branin", "athanor@4", 5, budget=8)


def test_what_is_there_is_not_run_again_and_what_was_cut_off_is(tmp_path: Path) -> None:
    said: list[str] = []
    given = {"workers": 0, "budget": 4, "say": said.append}
    now = methods.version("random")
    assert runner.run_all(["branin"], ["random"], range(2), tmp_path, **given) == 0  # type: ignore[arg-type]
    path = runner.file_of(tmp_path, "branin", "random")
    first, second = path.read_text().splitlines()
    path.write_text(first + "\n" + second[: len(second) // 2])
    assert set(runner.read(tmp_path, "branin", "random", now, 4)) == {0}
    assert runner.run_all(["branin"], ["random"], range(3), tmp_path, **given) == 0  # type: ignore[arg-type]
    assert sorted(runner.read(tmp_path, "branin", "random", now, 4)) == [0, 1, 2] and len(said) == 4
    assert runner.read(tmp_path, "branin", "random", now) == {}  # of another budget
    assert runner.run_all(["branin"], ["random"], range(3), tmp_path, **given) == 0  # type: ignore[arg-type]
    assert len(said) == 4


def test_runs_of_another_version_or_of_another_problem_do_not_count(tmp_path: Path) -> None:
    kept(tmp_path, "branin", "athanor", 0, [1.0], version="0.0.1+old")
    kept(tmp_path, "branin", "athanor", 1, [1.0], version="0.0.1+older")
    assert set(runner.read(tmp_path, "branin", "athanor", "0.0.1+old", 1)) == {0}
    assert runner.version_in(tmp_path, ["branin"], ["athanor"]) == "0.0.1+older"
    kept(tmp_path, "levy5", "athanor", 0, [1.0], version=methods.version("athanor"))
    assert runner.version_in(tmp_path, ["branin", "levy5"], ["athanor"]) == methods.version("athanor")
    path = runner.file_of(tmp_path, "branin", "athanor")
    path.write_text(path.read_text().replace('"task": "', '"task": "0'))
    assert runner.read_all(tmp_path, "branin", "athanor") == []
    assert runner.version_in(tmp_path, ["branin"], ["athanor"]) is None


def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    for folder, workers in (("own", 0), ("others", 1)):
        assert runner.run_all(["branin"], ["random"], [4], tmp_path / folder, workers=workers, budget=3, say=str) == 0
    now = methods.version("random")
    own, other = (runner.read(tmp_path / at, "branin", "random", now, 3)[4] for at in ("own", "others"))
    assert own.truths == other.truths


def test_a_failure_is_kept_and_counted_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    failed = runner.run_all(["zdt1"], ["athanor+good", "random"], [0], tmp_path, workers=0, budget=3, say=said.append)
    assert failed == 1 and any("advice is compared" in one for one in said)
    assert set(runner.read(tmp_path, "zdt1", "random", methods.version("random"), 3)) == {0}
    assert "athanor+good" in (tmp_path / runner.FAILURES).read_text()


def test_seeds_are_taken_in_turn_and_what_cannot_be_given_is_left_out() -> None:
    runs = runner.wanted(["gramacy", "zdt1"], ["random", "baybe"], range(2))
    pairs = [("gramacy", "random"), ("zdt1", "random"), ("zdt1", "baybe")]
    assert runs == [(p, m, s) for s in range(2) for p, m in pairs]


@pytest.mark.parametrize("part", sorted(PARTS))
def test_every_run_of_every_part_can_be_named_and_begun(part: str) -> None:
    """With a tiny budget, by the planners that learn nothing."""
    for problem in PARTS[part].problems:
        name, known = runner.base(problem)
        assert runner.budget_of(problem) == (runner.TIMED if known else pose(name, 0).budget)
        for method in PARTS[part].methods:
            methods.Arm.parse(method)
        short = problem if known <= 25 else f"{name}~25"
        trace = runner.run(short, "random@2", 0, budget=3)
        assert len(trace.losses) == 3 and np.isfinite(trace.losses).all()
