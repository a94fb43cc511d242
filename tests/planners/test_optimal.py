"""D-optimal designs: candidates, coefficients and determinants against brute force."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from athanor.planners import (
    Categorical,
    Continuous,
    DesignImpossible,
    Integer,
    LinearConstraint,
    Ordinal,
    Problem,
)
from athanor.planners.design_options import Model, coefficients
from athanor.planners.optimal import LinearModel, d_efficiency, d_optimal
from athanor.planners.problem import Value
from athanor.planners.space import InfeasibleSpace

from .designs import GOAL, category, cube, mixture, planner, table, unit


def linear_determinant(points: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    x = np.hstack([np.ones((len(points), 1)), points])
    return float(np.linalg.det(x.T @ x))


@pytest.mark.parametrize(("p", "runs"), [(2, 3), (2, 4), (2, 5), (2, 6), (3, 4), (3, 5), (3, 6), (3, 7), (3, 8)])
def test_on_a_cube_a_linear_model_has_the_best_of_all_sets_of_corners(p: int, runs: int) -> None:
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=p)))
    best = max(linear_determinant(corners[list(s)]) for s in itertools.combinations_with_replacement(range(2**p), runs))
    found = d_optimal(cube(p), "linear", runs, seed=0)
    assert linear_determinant(table(found.points)) == pytest.approx(best)
    assert found.efficiency == pytest.approx(best ** (1 / (p + 1)) / runs)


def test_interactions_on_a_cube_take_every_corner() -> None:
    found = d_optimal(cube(3), "interactions", 8, seed=1)
    assert found.efficiency == pytest.approx(1.0)
    assert found.coefficients == 7
    assert {tuple(p.values()) for p in found.points} == set(itertools.product((-1.0, 1.0), repeat=3))


def test_a_quadratic_model_on_a_square_has_the_best_of_all_sets_of_the_grid() -> None:
    grid = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=2)))
    x = np.column_stack([np.ones(9), grid, grid**2, grid.prod(axis=1)])
    best = max(
        float(np.linalg.det(x[list(s)].T @ x[list(s)])) for s in itertools.combinations_with_replacement(range(9), 7)
    )
    found = d_optimal(cube(2), "quadratic", 7, seed=0)
    assert (found.efficiency * 7) ** 6 == pytest.approx(best)


def test_a_mixture_has_scheffes_simplex_lattices() -> None:
    linear = d_optimal(mixture(3), "linear", 6, seed=0)
    assert Counter(tuple(p.values()) for p in linear.points) == {(1, 0, 0): 2, (0, 1, 0): 2, (0, 0, 1): 2}
    assert linear.coefficients == 3
    quadratic = d_optimal(mixture(3), "quadratic", 6, seed=0)
    ends = set(itertools.permutations((1.0, 0.0, 0.0)))
    assert {tuple(p.values()) for p in quadratic.points} == ends | set(itertools.permutations((0.5, 0.5, 0.0)))
    assert quadratic.coefficients == 6


def test_a_bounded_mixture_stands_on_its_extreme_vertices() -> None:
    problem = Problem(
        [Continuous("a", 0.2, 0.6), Continuous("b", 0.1, 0.6), Continuous("c", 0.1, 0.5)],
        GOAL,
        [LinearConstraint({"a": 1, "b": 1, "c": 1}, equals=1)],
    )
    corners = {(0.2, 0.3, 0.5), (0.2, 0.6, 0.2), (0.3, 0.6, 0.1), (0.6, 0.1, 0.3), (0.6, 0.3, 0.1), (0.4, 0.1, 0.5)}
    terms = np.array(sorted(corners))
    best = max(
        float(np.linalg.det(terms[list(s)].T @ terms[list(s)]))
        for s in itertools.combinations_with_replacement(range(6), 5)
    )
    x = table(d_optimal(problem, "linear", 5, seed=0).points)
    assert {tuple(np.round(row, 9)) for row in x} <= corners
    assert float(np.linalg.det(x.T @ x)) == pytest.approx(best)


def test_categories_are_balanced_and_whole_numbers_whole() -> None:
    problem = Problem([Categorical("s", ["a", "b", "c"]), Integer("n", 1, 20), Ordinal("d", [1, 2, 5])], GOAL)
    found = d_optimal(problem, "linear", 12, seed=0)
    assert Counter(p["s"] for p in found.points) == {"a": 4, "b": 4, "c": 4}
    assert {p["n"] for p in found.points} == {1, 20}
    assert found.efficiency == pytest.approx(1.0)
    assert coefficients(problem, "linear") == found.coefficients == 5
    for model in ("interactions", "quadratic"):
        assert d_optimal(problem, model, 30, seed=0).coefficients == coefficients(problem, model)


def test_too_few_runs_for_the_model_are_refused_with_both_numbers() -> None:
    with pytest.raises(DesignImpossible, match="10 coefficients"):
        planner(cube(3), "d-optimal", runs=9, model="quadratic")
    with pytest.raises(DesignImpossible, match="3 coefficients"):
        planner(mixture(3), "d-optimal", runs=2)
    with pytest.raises(DesignImpossible, match="give runs"):
        planner(cube(3), "d-optimal")


def test_constraints_with_too_many_vertices_are_met_all_the_same() -> None:
    problem = Problem(
        [Continuous("x", 0, 1), *(Integer(n, 0, 50) for n in "abc")],
        GOAL,
        [LinearConstraint({"x": 10, "a": 1, "b": 1, "c": 1}, equals=60)],
    )
    found = planner(problem, "d-optimal", runs=8)
    assert all(problem.validate_point(p) for p in found.points)
    assert (
        d_efficiency(LinearModel(problem, "linear").expand(LinearModel(problem, "linear").code(found.points))[:, :4])
        > 0.1
    )


def test_d_optimal_says_model_points_and_efficiency() -> None:
    detail = planner(cube(3), "d-optimal", runs=8).suggest(1)[0].why.detail
    assert "linear model" in detail
    assert "4 coefficients" in detail
    assert "D-efficiency 100.0 %" in detail


# -- how many coefficients a model has --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "model"),
    [
        ([category("a", 4), category("b", 5)], "interactions"),
        ([category("a", 8), category("b", 3)], "interactions"),
        ([category("a", 10), unit("x")], "quadratic"),
        ([category("a", 3), Integer("i", 0, 1), Ordinal("o", [1, 2, 9]), unit("x")], "quadratic"),
        ([unit(name) for name in "abcd"], "quadratic"),
    ],
)
def test_no_seed_loses_a_term(parameters: list[Any], model: Model) -> None:
    problem = Problem(parameters, GOAL)
    needed = coefficients(problem, model)
    for seed in range(2):
        found = d_optimal(problem, model, needed + 1, seed)
        assert found.coefficients == needed
        assert 0.0 < found.efficiency <= 1.0 + 1e-9


def test_all_cells_of_two_categories_are_the_only_saturated_design() -> None:
    problem = Problem([category("a", 4), category("b", 5)], GOAL)
    found = d_optimal(problem, "interactions", 20, 0)
    assert found.coefficients == 20
    assert len({tuple(p.values()) for p in found.points}) == 20
    assert found.efficiency == pytest.approx(1.0)


def lattice(problem: Problem) -> list[dict[str, Value]]:
    """All points of a problem without continuous parameters."""
    levels: list[Sequence[Value]] = [p.levels for p in problem.parameters if not isinstance(p, Continuous)]
    points = [dict(zip(problem.names, cell, strict=True)) for cell in itertools.product(*levels)]
    return [p for p in points if all(c.is_satisfied(p) for c in problem.linear_constraints)]


def integers(names: str, high: int, **bounds: Any) -> Problem:
    return Problem([Integer(n, 0, high) for n in names], GOAL, [LinearConstraint(dict.fromkeys(names, 1), **bounds)])


@pytest.mark.parametrize("model", ["linear", "interactions", "quadratic"])
@pytest.mark.parametrize(
    "problem",
    [
        integers("abc", 6, equals=6),
        integers("abc", 6, upper=7),
        integers("ab", 6, upper=1),  # a and b are 0 or 1 and never both 1: no interaction, no squares
        integers("abc", 6, lower=17.5),
        Problem(
            [Integer("a", 0, 4), Integer("b", 0, 4), Ordinal("c", [0, 1, 3]), category("d", 3)],
            GOAL,
            [LinearConstraint({"a": 1, "b": 2}, equals=6), LinearConstraint({"b": 1, "c": 1}, upper=4)],
        ),
    ],
)
def test_coefficients_are_the_rank_over_all_feasible_points(problem: Problem, model: Model) -> None:
    every = LinearModel(problem, model)
    rank = int(np.linalg.matrix_rank(every.expand(every.code(lattice(problem)))))
    assert d_optimal(problem, model, rank, 0).coefficients == rank
    if rank > 1:
        with pytest.raises(DesignImpossible, match=f"{rank} coefficients"):
            d_optimal(problem, model, rank - 1, 0)


@pytest.mark.parametrize("q", [3, 8, 30])
def test_a_mixture_has_scheffes_coefficients(q: int) -> None:
    names = [f"x{i}" for i in range(q)]
    problem = Problem([unit(n) for n in names], GOAL, [LinearConstraint(dict.fromkeys(names, 1), equals=1)])
    found = d_optimal(problem, "linear", q, 0)
    assert found.coefficients == q
    # Each pure component once, in whichever order.
    assert sorted(tuple(p.values()) for p in found.points) == sorted(map(tuple, np.eye(q).tolist()))
    if q < 30:
        assert d_optimal(problem, "quadratic", q * (q + 1) // 2, 0).coefficients == q * (q + 1) // 2
    else:
        with pytest.raises(DesignImpossible, match="465 coefficients"):
            d_optimal(problem, "quadratic", 464, 0)


# -- whole and listed numbers within equations ------------------------------------------------------------------------


def determinant(problem: Problem, points: Sequence[dict[str, Value]], independent: int) -> float:
    terms = LinearModel(problem, "linear")
    x = terms.expand(terms.code(points))[:, :independent]
    return float(np.linalg.det(x.T @ x))


@pytest.mark.parametrize(
    "problem",
    [
        integers("abc", 4, equals=4),
        integers("abc", 5, equals=7),
        Problem(
            [Ordinal("a", [0, 30, 50]), Ordinal("b", [0, 10, 50, 80]), Integer("c", 0, 40)],
            GOAL,
            [LinearConstraint({"a": 1, "b": 1, "c": 2}, equals=80)],
        ),
    ],
)
def test_an_equation_of_whole_numbers_has_the_best_of_all_sets_of_points(problem: Problem) -> None:
    every = lattice(problem)
    best = max(determinant(problem, s, 3) for s in itertools.combinations(every, 3))
    found = d_optimal(problem, "linear", 3, 0)
    assert found.coefficients == 3
    assert determinant(problem, found.points, 3) == pytest.approx(best)


@pytest.mark.parametrize(("q", "high"), [(3, 15), (4, 100), (8, 10**6)])
def test_a_mixture_of_whole_parts_stands_on_the_pure_parts(q: int, high: int) -> None:
    problem = integers("abcdefghijkl"[:q], high, equals=high)
    for seed in range(2):
        found = d_optimal(problem, "linear", q, seed)
        assert found.coefficients == q
        assert sorted(tuple(p.values()) for p in found.points) == sorted(map(tuple, (np.eye(q) * high).tolist()))
    # No worse than the same with parts that need not be whole.
    like = Problem([Continuous(n, 0, high) for n in problem.names], GOAL, problem.constraints)
    assert found.efficiency == pytest.approx(d_optimal(like, "linear", q, 0).efficiency)


def test_too_many_whole_numbers_keep_all_terms_of_a_quadratic_model() -> None:
    problem = integers("abcd", 100, equals=100)
    found = d_optimal(problem, "quadratic", 12, 0)
    like = Problem([Continuous(n, 0, 100) for n in "abcd"], GOAL, problem.constraints)
    assert found.coefficients == 10
    assert found.efficiency > 0.97 * d_optimal(like, "quadratic", 12, 0).efficiency


def test_equations_that_share_nothing_are_met_each_for_itself() -> None:
    whole, cut = LinearConstraint({"a": 1, "b": 1}, equals=4), LinearConstraint({"x": 1, "z": 1}, upper=1.5)
    problem = Problem([Integer("a", 0, 4), Integer("b", 0, 4), unit("x"), unit("z")], GOAL, [whole, cut])
    found = d_optimal(problem, "linear", 8, 0)
    assert {(p["a"], p["b"]) for p in found.points} == {(0, 4), (4, 0)}
    assert {(p["x"], p["z"]) for p in found.points} <= {(0, 0), (0, 1), (1, 0), (1, 0.5), (0.5, 1)}
    # The same where a third constraint ties them all, without ruling anything out.
    loose = LinearConstraint({"a": 1, "x": 1}, upper=9)
    tied = d_optimal(Problem(problem.parameters, GOAL, [whole, cut, loose]), "linear", 8, 0)
    assert tied.efficiency == pytest.approx(found.efficiency, rel=1e-6)


def test_an_equation_said_twice_is_one() -> None:
    names = "abc"
    twice = [LinearConstraint(dict.fromkeys(names, k), equals=k) for k in (1, 2)]
    found = d_optimal(Problem([unit(n) for n in names], GOAL, twice), "linear", 3, 0)
    assert sorted(tuple(p.values()) for p in found.points) == sorted(map(tuple, np.eye(3).tolist()))


def test_a_single_feasible_point_is_found_and_none_is_said_only_if_there_is_none() -> None:
    # 7·a + 11·b = 7·11 - 7 - 11 is the largest sum without a solution in whole numbers from 0 (Frobenius).
    parts = [Integer("a", 0, 50), Integer("b", 0, 50)]
    for total, count in ((59, 0), (60, 1), (77, 2)):
        problem = Problem(parts, GOAL, [LinearConstraint({"a": 7, "b": 11}, equals=total)])
        assert len(lattice(problem)) == count
        if count:
            assert d_optimal(problem, "linear", count, 0).coefficients == count
        else:
            with pytest.raises(InfeasibleSpace, match="no point"):
                d_optimal(problem, "linear", 5, 0)


def test_a_search_that_is_given_up_claims_nothing() -> None:
    # Even numbers add up to no odd one, which a search among 10^12 combinations does not see.
    problem = Problem(
        [Integer(n, 0, 10**4) for n in "abc"], GOAL, [LinearConstraint({"a": 2, "b": 4, "c": 6}, equals=20_001)]
    )
    with pytest.raises(DesignImpossible, match="There may be some"):
        d_optimal(problem, "linear", 8, 0)


@pytest.mark.parametrize("wide", [1e3, 1e5, 1e7])
def test_a_vertex_near_the_end_of_a_wide_range_is_kept(wide: float) -> None:
    problem = Problem(
        [unit("cat"), Continuous("solv", 0, wide)], GOAL, [LinearConstraint({"cat": 1, "solv": -3}, upper=0)]
    )
    points = {(float(p["cat"]), round(float(p["solv"]), 6)) for p in d_optimal(problem, "linear", 4, 0).points}
    assert points == {(0.0, 0.0), (1.0, 0.333333), (0.0, wide), (1.0, wide)}


def test_values_at_vertices_have_no_digits_of_rounding() -> None:
    names = [f"x{i}" for i in range(17)]  # too many faces to list
    problem = Problem(
        [Continuous(n, 0, 0.3) for n in names], GOAL, [LinearConstraint(dict.fromkeys(names, 1), equals=1)]
    )
    found = d_optimal(problem, "linear", 17, 0)
    assert found.coefficients == 17
    assert all(len(repr(v)) <= 12 for p in found.points for v in p.values())
    assert {round(float(v), 9) for p in found.points for v in p.values()} == {0.0, 0.1, 0.3}


def test_equal_gains_are_not_decided_by_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    names = "abcd"
    problem = Problem([unit(n) for n in names], GOAL, [LinearConstraint(dict.fromkeys(names, 1), equals=1)])
    before = d_optimal(problem, "quadratic", 12, 0)
    expand = LinearModel.expand

    def otherwise(model: LinearModel, coded: Any) -> Any:
        terms = expand(model, coded)  # as another processor's sums would differ
        return terms * (1.0 + 4e-16 * np.random.default_rng(len(coded)).integers(-1, 2, terms.shape))

    monkeypatch.setattr(LinearModel, "expand", otherwise)
    assert d_optimal(problem, "quadratic", 12, 0).points == before.points


@pytest.mark.parametrize("runs", [17, 18])
def test_as_many_runs_as_coefficients_are_no_singular_system(runs: int) -> None:
    problem = Problem([category("a", 3), Integer("i", 0, 1), Ordinal("o", [1, 2, 9]), unit("x")], GOAL)
    found = d_optimal(problem, "quadratic", runs, 0)
    terms = LinearModel(problem, "linear")
    assert np.linalg.matrix_rank(terms.expand(terms.code(found.points))) == 6
    assert found.efficiency > 0.5
