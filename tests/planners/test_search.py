"""The optimiser on functions whose constrained optimum is known, or found by brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from athanor.planners import (
    Cardinality,
    Categorical,
    Continuous,
    Exclusion,
    Integer,
    LinearConstraint,
    NonlinearConstraint,
    Objective,
    Problem,
)
from athanor.planners.search import maximize
from athanor.planners.space import Space

GOAL = [Objective("out", "maximize")]
SQUARE = [Continuous("x", -1, 1), Continuous("y", -1, 1)]


def best(problem, function, seeds=(), seed=0):
    """The point found for a function of rows (b, d) in unit coordinates, and its value; everything is feasible."""
    space = Space(problem)
    found = np.array(seeds, dtype=float).reshape(len(seeds), space.width)
    rows, values = maximize(lambda x: function(x.squeeze(-2)), space, found, seed)
    assert space.is_feasible(rows).all()
    assert (np.diff(values) <= 0).all()
    return problem.validate_point(space.decode(rows[0])), float(values[0])


@pytest.mark.parametrize("seed", range(3))
def test_the_edge_of_a_disc(seed):
    problem = Problem(SQUARE, GOAL, [NonlinearConstraint("x**2 + y**2", upper=0.64)])
    point, _ = best(problem, lambda u: 2 * u[:, 0] + u[:, 1], seed=seed)
    assert (point["x"], point["y"]) == pytest.approx((0.8 * 2 / math.sqrt(5), 0.8 / math.sqrt(5)), abs=2e-3)
    assert math.hypot(point["x"], point["y"]) > 0.8 - 1e-4


def test_the_inner_edge_of_a_ring():
    problem = Problem(SQUARE, GOAL, [NonlinearConstraint("sqrt(x**2 + y**2)", lower=0.5, upper=0.9)])
    target = torch.tensor([0.6, 0.55], dtype=torch.double)  # (0.2, 0.1), inside the hole
    point, _ = best(problem, lambda u: -(u - target).square().sum(dim=-1))
    assert (point["x"], point["y"]) == pytest.approx((0.5 * 2 / math.sqrt(5), 0.5 / math.sqrt(5)), abs=2e-3)


def test_an_edge_beyond_which_there_is_no_value():
    problem = Problem([Continuous("x", -1, 1)], GOAL, [NonlinearConstraint("sqrt(x - 0.3) + log(x)", upper=2.0)])
    point, _ = best(problem, lambda u: -u[:, 0])
    assert point["x"] == pytest.approx(0.3, abs=2e-3)


def test_two_curves_and_a_sum_meet():
    # The corner in which x*y = 0.09 and x + y = 1 cross, where x is larger: x = 0.9, y = 0.1.
    problem = Problem(
        [Continuous("x", 0, 1), Continuous("y", 0, 1)],
        GOAL,
        [LinearConstraint({"x": 1, "y": 1}, upper=1.0), NonlinearConstraint("x*y", lower=0.09)],
    )
    point, _ = best(problem, lambda u: 3 * u[:, 0] - u[:, 1])
    assert (point["x"], point["y"]) == pytest.approx((0.9, 0.1), abs=1e-3)


@pytest.mark.parametrize("known", [[], [[1.0, 1.0, 0.0]]])
def test_a_corner_that_is_excluded_is_left_for_the_next_best(known):
    problem = Problem(
        [Continuous("t", 20, 160), Categorical("s", ["DMF", "EtOH"])],
        GOAL,
        [Exclusion({"s": "DMF", "t": {"above": 120}})],
    )
    # Best at (160, DMF), which is forbidden; then (120, DMF), or (160, EtOH) if that is worth more.
    for handicap, expected in ((0.5, ("DMF", 120.0)), (0.1, ("EtOH", 160.0))):
        point, value = best(problem, lambda u, h=handicap: u[:, 0] - h * u[:, 2], known)
        assert (point["s"], point["t"]) == (expected[0], pytest.approx(expected[1]))
        assert value == pytest.approx((expected[1] - 20) / 140 - handicap * (expected[0] == "EtOH"), abs=1e-6)


def test_both_sides_of_a_forbidden_band_are_looked_at():
    problem = Problem(SQUARE, GOAL, [Exclusion({"x": {"between": [-0.5, 0.7]}, "y": {"above": 0.0}})])
    target = torch.tensor([0.8, 0.6], dtype=torch.double)  # (0.6, 0.2): to the right 0.1 away, below 0.2
    point, _ = best(problem, lambda u: -(u - target).square().sum(dim=-1))
    assert (point["x"], point["y"]) == pytest.approx((0.7, 0.2), abs=1e-3)


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("threshold", [None, 0.2])
def test_the_best_support_of_a_sparse_mixture_is_that_of_brute_force(most, threshold):
    rng = np.random.default_rng(most)
    names = "abcdef"
    gain = rng.uniform(0.2, 1.0, 6)
    pairs = np.triu(rng.uniform(-1.0, 2.5, (6, 6)), 1)
    problem = Problem(
        [Continuous(n, 0, 1) for n in names],
        GOAL,
        [LinearConstraint(dict.fromkeys(names, 1.0), equals=1.0), Cardinality([*names], most, threshold=threshold)],
    )

    def worth(x):
        return x @ gain + np.einsum("...i,ij,...j", x, pairs, x)

    # Every support with every amount in steps of a hundredth.
    truth = -math.inf
    for support in itertools.combinations(range(6), most):
        steps = [s for s in itertools.product(range(101), repeat=most - 1) if sum(s) <= 100]
        amounts = np.array([[*s, 100 - sum(s)] for s in steps]) / 100.0
        if threshold is not None:
            amounts = amounts[((amounts == 0) | (amounts >= threshold)).all(axis=1)]
        x = np.zeros((len(amounts), 6))
        x[:, list(support)] = amounts
        truth = max(truth, float(worth(x).max()))
    gains, matrix = torch.as_tensor(gain), torch.as_tensor(pairs)
    for seed in range(3):
        _, value = best(problem, lambda u: u @ gains + torch.einsum("bi,ij,bj->b", u, matrix, u), seed=seed)
        assert value > truth - 1e-3


def test_a_support_among_very_many_is_found_by_moves():
    names = [f"x{i:02}" for i in range(16)]
    problem = Problem([Continuous(n, 0, 1) for n in names], GOAL, [Cardinality([*names], at_most=4)])
    gain = torch.tensor([math.sin(3.0 * i) for i in range(16)], dtype=torch.double)
    _, value = best(problem, lambda u: (gain * u).sum(dim=-1))
    assert value == pytest.approx(float(gain.sort().values[-4:].sum()), abs=1e-6)  # one of 2517 supports


def test_steps_of_numbers_keep_a_product():
    problem = Problem(
        [Integer("n", 1, 30), Continuous("x", 0, 10)], GOAL, [NonlinearConstraint("n * x**2", upper=50.0)]
    )

    def gain(u):  # own units: 1 + 29 u0, 10 u1
        return (1 + 29 * u[:, 0]).log() + 1.5 * (10 * u[:, 1]).clamp_min(1e-9).log()

    point, _ = best(problem, gain)
    # log n + 1.5 log x with x = sqrt(50/n) grows as n^0.25: most steps are best.
    assert point["n"] == 30
    assert point["x"] == pytest.approx(math.sqrt(50 / 30), abs=1e-3)


def test_the_same_seed_finds_the_same():
    problem = Problem(SQUARE, GOAL, [NonlinearConstraint("x**2 + y**2", upper=0.64)])
    space = Space(problem)
    seeds = np.empty((0, 2))

    def wave(x):
        return torch.sin(7 * x.squeeze(-2)).sum(dim=-1)

    one, other = (maximize(wave, space, seeds, 3)[0] for _ in range(2))
    assert np.array_equal(one, other)
