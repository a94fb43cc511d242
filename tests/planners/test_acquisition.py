"""What a point is worth, held against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from athanor.planners.acquisition import APART, NEAR, REACH, Draws, Limit, _limits, choose
from athanor.planners.bayesian import BayesianPlanner
from athanor.planners.problem import Continuous, Objective, Problem
from athanor.planners.protocol import Candidate
from athanor.planners.space import Space
from athanor.planners.surrogate import Surrogate, build
from tests.planners.test_surrogate import observed, problem


def trade_off(correlated: bool = True) -> Surrogate:
    """What gains in `a` loses in `b`, known at ten points."""
    points = np.random.default_rng(2).random((10, 2))
    a = points[:, 0] + 0.5 * np.sin(5 * points[:, 1])
    asked = problem(0.4)
    found = build(asked, Space(asked), observed(points, a=a, b=1.0 - 0.8 * a))
    if not correlated:
        found.correlation = np.eye(2)
    return found


def simulated(surrogate: Surrogate, limit: Limit, row: np.ndarray, seed: int) -> float:
    """The same expectation by brute force: each draw of the known points, then many of the outcomes at `row`."""
    draws = Draws.build(surrogate, [limit], np.empty((0, 2)), seed)
    x = torch.as_tensor(row[None])
    values = draws.conditionals[0].draws
    worst = values.min(dim=1).values
    best = torch.where(draws.feasible, values, worst.unsqueeze(-1)).max(dim=1).values
    (m0, s0), (m1, s1) = (c.marginal(x) for c in draws.conditionals)
    rng = np.random.default_rng(seed)
    normals = rng.multivariate_normal(np.zeros(2), surrogate.correlation, size=4000)
    a = m0.numpy() + s0.numpy() * normals[:, 0]
    b = m1.numpy() + s1.numpy() * normals[:, 1]
    gain = np.maximum(a - best.numpy()[:, None], 0.0) * ((b >= limit.low) & (b <= limit.high))
    return float(gain.mean())


def test_expected_improvement_under_a_correlated_constraint_is_that_of_simulation() -> None:
    surrogate = trade_off()
    assert surrogate.outcomes["a"].scale.kind == "plain" and surrogate.correlation[0, 1] < -0.5
    [limit], _ = _limits(surrogate)
    term = Draws.build(surrogate, [limit], np.empty((0, 2)), 7).improvement()
    compared = 0
    for row in surrogate.space.sample(24, 1):
        brute = simulated(surrogate, limit, row, 7)
        if brute < 1e-3:  # next to nothing beside the best, where the approximation of its tail is coarse
            continue
        mine = math.exp(float(term(torch.as_tensor(row[None]))))
        assert mine == pytest.approx(brute, rel=0.25)
        compared += 1
    assert compared >= 5


def test_a_point_good_in_both_of_two_that_trade_off_is_worth_less() -> None:
    with_, without = trade_off(), trade_off(correlated=False)
    rows = torch.as_tensor(with_.space.sample(64, 2))
    worth = []
    for surrogate in (with_, without):
        limits, _ = _limits(surrogate)
        worth.append(Draws.build(surrogate, limits, np.empty((0, 2)), 7).improvement()(rows))
    assert float(worth[0].exp().mean()) < float(worth[1].exp().mean())


def test_gradients_agree_with_differences() -> None:
    surrogate = trade_off()
    limits, _ = _limits(surrogate)
    term = Draws.build(surrogate, limits, np.empty((0, 2)), 3).improvement()
    for row in surrogate.space.sample(8, 5):
        x = torch.as_tensor(row[None]).requires_grad_()
        term(x).sum().backward()
        assert x.grad is not None and bool(torch.isfinite(x.grad).all())
        for i in range(2):
            step = np.zeros(2)
            step[i] = 1e-6
            up, down = (float(term(torch.as_tensor((row + s)[None]))) for s in (step, -step))
            assert float(x.grad[0, i]) == pytest.approx((up - down) / 2e-6, rel=1e-3, abs=1e-4)


def test_while_collecting_the_choice_is_sure_to_hold_and_no_worse_than_the_best() -> None:
    surrogate = trade_off()
    chosen = choose(surrogate, None, np.empty((0, 2)), np.empty((0, 2)), (), 20, 0, collecting=True)
    assert chosen.method == "posterior mean"
    rows = surrogate.space.sample(512, 3)
    with torch.no_grad():
        worth = chosen.acquisition(torch.as_tensor(rows).unsqueeze(-2)).numpy()
    best = rows[[int(np.argmax(worth))]]
    assert float(surrogate.feasibility(best)[0, 0]) >= 0.6
    known = surrogate.scores(surrogate.rows)[surrogate.is_feasible(surrogate.rows), 0].max()
    assert float(surrogate.scores(best)[0, 0]) > known - 0.1


def suggested(progress: float | None, number: int) -> Candidate:
    planner = BayesianPlanner(problem(), seed=1, progress=progress)
    points = np.random.default_rng(2).random((8, 2))
    planner.ingest(observed(points, a=points[:, 0] - points[:, 1] ** 2))
    return planner.suggest(1, number=number)[0]


def test_every_second_suggestion_of_the_second_half_stays_near_the_best_but_off_known_points() -> None:
    assert suggested(None, 8).why.method == suggested(0.4, 8).why.method == suggested(0.6, 9).why.method == "qLogNEI"
    near = suggested(0.6, 8)
    assert near.why.method == f"qLogNEI{NEAR}"
    points = np.random.default_rng(2).random((8, 2))
    here = np.array([near.values["x"], near.values["z"]])
    best = points[np.argmax(points[:, 0] - points[:, 1] ** 2)]
    assert np.abs(here - best).max() <= 1.1 * REACH
    assert np.linalg.norm(here - points, axis=1).min() > 0.5 * APART


def test_the_planner_collects_only_towards_the_end_of_a_budget() -> None:
    assert suggested(None, 9).why.method == suggested(0.9, 9).why.method == "qLogNEI"
    assert suggested(0.95, 9).why.method == suggested(0.95, 10).why.method == "posterior mean"
    with pytest.raises(ValueError, match="progress"):
        BayesianPlanner(problem(), progress=1.5)


def test_a_suggestion_near_the_best_asks_a_model_that_a_cliff_does_not_mislead() -> None:
    """A plateau rises gently towards x = 0 and falls off a cliff at x < 0.3: the plain model sees one long slope."""
    points = np.random.default_rng(4).random((14, 2))
    points[:4, 0] = 0.25 * points[:4, 0]
    points[4:, 0] = 0.55 + 0.45 * points[4:, 0]
    y = np.where(points[:, 0] < 0.3, -6.0, 1.0 - 0.5 * points[:, 0] - 0.1 * points[:, 1])
    planner = BayesianPlanner(problem(), seed=1, progress=0.6)
    planner.ingest(observed(points, a=y))
    inside = {"x": 0.45, "z": 0.2}
    truth = 1.0 - 0.5 * 0.45 - 0.1 * 0.2
    off = {asked: abs(planner.surrogate(asked).predict(inside)["a"].mean - truth) for asked in (False, True)}
    assert off[True] < 0.5 * off[False]
    candidate = planner.suggest(1, number=8)[0]
    assert candidate.predicted == planner.surrogate(moderate=True).predict(candidate.values)


def test_of_several_objectives_the_best_compromise_is_stayed_near() -> None:
    goals = [Objective("a", "maximize", reference=0.0), Objective("b", "maximize", reference=0.0)]
    asked = Problem([Continuous("x", 0, 1), Continuous("z", 0, 1)], goals)
    points = np.random.default_rng(2).random((8, 2))
    a, b = points[:, 0], 1.0 - points[:, 0] ** 2 - 0.3 * points[:, 1]
    planner = BayesianPlanner(asked, seed=1, progress=0.6)
    planner.ingest(observed(points, a=a, b=b))
    near = planner.suggest(1, number=8)[0]
    assert near.why.method == f"qLogNEHVI{NEAR}"
    middle = points[np.argmax(np.clip(a, 0, None) * np.clip(b, 0, None))]
    assert np.abs(np.array([near.values["x"], near.values["z"]]) - middle).max() <= 1.1 * REACH
