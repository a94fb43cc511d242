"""Choosing from a pool: the staged search finds what comparing every row finds, and the best row is found soon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from athanor.planners import (
    BayesianPlanner,
    Categorical,
    Continuous,
    Integer,
    Objective,
    Observation,
    OutcomeConstraint,
    Pool,
    Problem,
)
from athanor.planners import pool_search as search
from athanor.planners.acquisition import Chosen, choose
from athanor.planners.bayesian import single_threaded
from athanor.planners.surrogate import Surrogate

from .problems import PLAIN, branin, run

SIZE = 3000
F, G = Objective("f", "maximize"), Objective("g", "minimize")
CASES: dict[str, dict[str, Any]] = {
    "one objective": {},
    "noisy": {"noise": 0.3},
    "few observations": {"n": 6},
    "many observations": {"n": 150},
    "near the best": {"near": True},
    "the last of the budget": {"collecting": True},
    "a target": {"objectives": [Objective("f", target=-0.3)]},
    "a limit": {"constraints": [OutcomeConstraint("g", upper=0.8, probability=0.9)]},
    "nothing feasible yet": {"constraints": [OutcomeConstraint("g", lower=3.0, probability=0.9)]},
    "two objectives": {"objectives": [F, G]},
    "failures": {"failing": True},
    "advice to keep off": {"refused": True},
}


def truth(point: Mapping[str, Any]) -> dict[str, float]:
    x = np.array([point["x0"], point["x1"], point["x2"], point["n"] / 10])
    shift = {"a": 0.0, "b": 0.2, "c": -0.3}[point["c"]]
    return {
        "f": float(-np.square(x - 0.35).sum() + 0.1 * np.sin(9 * x[0]) + shift),
        "g": float(x[0] + x[1] ** 2 + 0.5 * x[3]),
    }


def prepared(
    seed: int,
    *,
    n: int = 30,
    noise: float = 0.01,
    objectives: Any = (F,),
    constraints: Any = (),
    near: bool = False,
    collecting: bool = False,
    failing: bool = False,
    refused: bool = False,
) -> tuple[Chosen, Surrogate, Any, Pool, Any]:
    numbers = [Continuous(f"x{i}", 0, 1) for i in range(3)]
    problem = Problem([*numbers, Integer("n", 0, 10), Categorical("c", ["a", "b", "c"])], objectives, constraints)
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"x{i}": rng.random(SIZE) for i in range(3)}
    columns |= {"n": rng.integers(0, 11, SIZE), "c": rng.choice(["a", "b", "c"], SIZE).tolist()}
    pool = Pool(problem, columns)
    planner = BayesianPlanner(problem, seed, pool=pool)
    for row in rng.choice(SIZE, n, replace=False).tolist():
        point = pool.values(row)
        failed = failing and float(point["x1"]) > 0.6
        found = {k: v + noise * rng.normal() for k, v in truth(point).items() if k in problem.outcomes}
        status: Any = "failed" if failed else "completed"
        planner.ingest([Observation(values=point, outcomes={} if failed else found, status=status)])
    surrogate = planner.surrogate()
    viability = planner._viability(surrogate.rows)
    free = pool.free(planner._barred())
    kept_off = pool.encode(free[:2]) if refused else surrogate.rows[:0]
    chosen = choose(surrogate, viability, surrogate.rows[:0], kept_off, (), 7, seed, collecting=collecting, near=near)
    return chosen, surrogate, viability, pool, free


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_staged_search_finds_what_comparing_every_row_finds(case: str, seed: int) -> None:
    with single_threaded():
        given = prepared(seed, **CASES[case])
        whole = search.maximize(*given, full=SIZE)
        staged = search.maximize(*given, full=256, shortlist=1024)
    assert whole.judged == whole.compared == len(given[-1])
    assert staged.judged < 0.35 * staged.compared
    assert staged.row == whole.row
    assert staged.value == pytest.approx(whole.value, rel=1e-9)


def test_a_figure_that_is_wrong_about_a_place_does_not_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with single_threaded():
        given = prepared(2)
        whole = search.maximize(*given, full=SIZE)
        pool = given[3]
        best = pool.encode(np.array([whole.row]))[0]

        def wrong(*_: Any) -> Any:
            # Says that the true best is in the worst of all places, which it otherwise tells apart rightly.
            return lambda x: 10.0 * (x - x.new_tensor(best)).square().sum(-1).sqrt().double()

        monkeypatch.setattr(search, "figure", wrong)
        staged = search.maximize(*given, full=512, shortlist=1024)
    assert staged.row == whole.row


def test_a_spread_subset_visits_every_cluster_once_before_any_twice() -> None:
    rng = np.random.default_rng(5)
    centres = np.array([[0.1, 0.1], [0.9, 0.15], [0.15, 0.9], [0.85, 0.85], [0.5, 0.45]])
    sizes = [2000, 20, 500, 20, 3000]
    x = np.concatenate([c + rng.uniform(-0.03, 0.03, (k, 2)) for c, k in zip(centres, sizes, strict=True)])
    owner = np.repeat(np.arange(5), sizes)
    pool = Pool(Problem([Continuous("x", 0, 1), Continuous("y", 0, 1)], [F]), {"x": x[:, 0], "y": x[:, 1]})
    for seed in range(5):
        rows = search.spread(pool, 12, seed)
        assert sorted(owner[rows[:5]]) == [0, 1, 2, 3, 4]
        assert len(set(rows.tolist())) == 12
        assert np.array_equal(search.spread(pool, 5, seed), rows[:5]), "the first do not depend on how many are asked"


def test_of_few_rows_a_spread_subset_has_each_once() -> None:
    pool = Pool(Problem([Continuous("x", 0, 1)], [F]), {"x": [0.0, 0.2, 0.9]})
    assert sorted(search.spread(pool, 50, 0).tolist()) == [0, 1, 2]


def test_the_initial_design_is_the_spread_subset() -> None:
    rng = np.random.default_rng(1)
    pool = Pool(PLAIN, {"x": rng.uniform(-5, 10, 400), "y": rng.uniform(0, 15, 400)})
    candidates = BayesianPlanner(PLAIN, seed=3, pool=pool).suggest(4)
    assert [pool.find(c.values) for c in candidates] == search.spread(pool, 4, 3).tolist()
    assert all(c.why.method == "initial design (spread subset of the pool)" for c in candidates)


@pytest.mark.slow
def test_the_best_row_is_found_in_far_fewer_tries_than_by_chance() -> None:
    size, budget, tries = 1000, 40, []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        pool = Pool(PLAIN, {"x": rng.uniform(-5, 10, size), "y": rng.uniform(0, 15, size)})
        values = [branin(pool.values(row)) for row in range(size)]
        best = int(np.argmin(values))
        planner = BayesianPlanner(PLAIN, seed=seed, pool=pool)
        rows = [pool.find(c.values) for c in run(planner, lambda p: {"f": branin(p)}, budget)]
        assert len(set(rows)) == budget
        tries.append(rows.index(best) + 1 if best in rows else size)
    # Drawing without replacement, the one best row is met after (size + 1) / 2 tries on average: 500.5.
    assert np.mean(tries) < (size + 1) / 2 / 10, tries
