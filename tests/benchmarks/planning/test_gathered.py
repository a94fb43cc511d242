"""Means over paired seeds: of runs with known results, with intervals that hold what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.planning import methods
from benchmarks.planning.gathered import LEAST, Figure, gather, mean
from benchmarks.planning.parts import PARTS, Part
from tests.benchmarks.planning.traces import kept

PART = Part("single", "One", "Regret.", ("branin", "levy5"), ("athanor", "ax", "baybe", "sobol"))


def test_a_mean_over_groups_gives_each_the_same_weight_and_resamples_within() -> None:
    found = mean(np.array([0.0, 2.0]), np.array([5.0] * 50))
    assert found.value == 3.0 and found.low == 2.5 and found.high == 3.5
    assert mean(np.array([4.0] * 9)) == Figure(4.0, 4.0, 4.0)
    assert Figure(0.0, -1.0, 1.0).exp() == Figure(1.0, float(np.exp(-1.0)), float(np.exp(1.0)))
    rng = np.random.default_rng(1)
    held = [(f := mean(rng.normal(0.0, 1.0, 30), seed=k)).low <= 0.0 <= f.high for k in range(300)]
    assert 0.88 < np.mean(held) < 0.98


def test_ratios_are_over_paired_seeds(tmp_path: Path) -> None:
    for seed in range(4):
        kept(tmp_path, "branin", "athanor", seed, [8.0, 0.1 * 2.0**seed], version=methods.version("athanor"))
    for seed in range(1, 6):
        kept(tmp_path, "branin", "ax", seed, [8.0, 0.2 * 2.0**seed])
    found = gather(tmp_path, PART, budget=2)
    assert found.methods == ["athanor", "ax"] and found.peers == ["ax"]
    assert found.seeds("branin") == [1, 2, 3] and found.seeds("levy5") == []
    ratio = found.ratio("branin", "athanor", "ax")
    assert ratio is not None and (ratio.value, ratio.low, ratio.high) == pytest.approx((0.5, 0.5, 0.5))
    even = found.ratio("branin", "athanor", "ax", 1)
    assert even is not None and even.value == pytest.approx(1.0)
    assert found.ratio("levy5", "athanor", "ax") is None and found.ratio("branin", "athanor", "baybe") is None
    overall = found.overall("athanor", "ax")
    assert overall is not None and overall[1] == 1 and found.overall("athanor", "sobol") is None
    assert found.best_peer("branin") == "ax" and found.best_peer("levy5") is None
    assert "Paired seeds: 0 to 3" in " ".join(found.notes())


def test_the_best_peer_is_that_of_each_problem_and_never_a_baseline(tmp_path: Path) -> None:
    for problem, regrets in {"branin": (0.3, 0.2, 0.1), "levy5": (0.2, 0.3, 0.1)}.items():
        for method, regret in zip(("ax", "baybe", "sobol"), regrets, strict=True):
            kept(tmp_path, problem, method, 0, [regret])
    found = gather(tmp_path, PART, budget=1)
    assert [found.best_peer(p) for p in PART.problems] == ["baybe", "ax"]


def test_with_and_without_advice_are_of_one_version(tmp_path: Path) -> None:
    kept(tmp_path, "branin", "athanor", 0, [1.0] * 40, version="0.1.0+gone")
    kept(tmp_path, "branin", "athanor+wrong", 0, [2.0] * 40, version="0.1.0+gone")
    kept(tmp_path, "branin", "athanor+good", 0, [0.1] * 40, version=methods.version("athanor"))
    found = gather(tmp_path, PARTS["advice"])
    assert found.methods == ["athanor+good"] and found.overall("athanor+good", "athanor") is None
    kept(tmp_path, "branin", "athanor", 0, [1.0] * 40, version=methods.version("athanor"))
    overall = gather(tmp_path, PARTS["advice"]).overall("athanor+good", "athanor")
    assert overall is not None and overall[0].value == pytest.approx(0.1)


def test_what_has_arrived_counts_as_arrived(tmp_path: Path) -> None:
    kept(tmp_path, "branin", "athanor", 0, [1e-12])
    kept(tmp_path, "branin", "ax", 0, [1e-9])
    found = gather(tmp_path, PART, budget=1)
    assert found.logs("branin", "athanor", [0])[0] == np.log(LEAST)
    assert found.ratio("branin", "athanor", "ax") == Figure(1.0, 1.0, 1.0)


def test_figures_of_an_earlier_planner_say_so_and_what_is_not_run_is_named(tmp_path: Path) -> None:
    kept(tmp_path, "zdt5", "athanor", 0, truths={"f1": [1.0], "f2": [10.0]}, version="0.1.0+gone")
    said = " ".join(gather(tmp_path, PARTS["several"], budget=1).notes())
    assert "of an earlier one" in said and "baybe on zdt5 (would enumerate" in said
    kept(tmp_path, "zdt5", "athanor", 1, truths={"f1": [1.0], "f2": [10.0]}, version=methods.version("athanor"))
    assert "of an earlier one" not in " ".join(gather(tmp_path, PARTS["several"], budget=1).notes())
