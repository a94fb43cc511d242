from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from athanor.planners import (
    Categorical,
    Continuous,
    DesignImpossible,
    DesignOptions,
    DesignPlanner,
    Integer,
    LinearConstraint,
    Objective,
    Observation,
    Ordinal,
    Problem,
)
from athanor.planners.design_options import coefficients
from athanor.planners.designs import UNRUN, DesignExhausted
from athanor.planners.fractions import fraction
from athanor.planners.latin import centred_discrepancy, latin_hypercube
from athanor.planners.optimal import LinearModel, d_efficiency, d_optimal, vertices
from athanor.planners.problem import Value

from .problems import EVERYTHING

GOAL = [Objective("f", "maximize")]


def cube(p: int) -> Problem:
    return Problem([Continuous(name, -1, 1) for name in "ABCDEFGHIJK"[:p]], GOAL)


def mixture(q: int) -> Problem:
    names = "abcdef"[:q]
    return Problem([Continuous(n, 0, 1) for n in names], GOAL, [LinearConstraint(dict.fromkeys(names, 1), equals=1)])


def planner(problem: Problem, design: Any, seed: int = 0, **options: Any) -> DesignPlanner:
    return DesignPlanner(problem, seed, options=DesignOptions(design, **options))


def table(points: Sequence[dict[str, Value]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([[float(value) for value in point.values()] for point in points])


def seen(candidate: Any, status: str = "completed") -> Observation:
    outcomes = {"f": 1.0} if status == "completed" else {}
    return Observation(candidate_id=candidate.id, values=candidate.values, outcomes=outcomes, status=status)  # type: ignore[arg-type]


# -- factorials -------------------------------------------------------------------------------------------------------


def test_two_to_the_three_has_the_eight_corners() -> None:
    points = {tuple(c.values.values()) for c in planner(cube(3), "full-factorial").suggest(8)}
    assert points == set(itertools.product((-1.0, 1.0), repeat=3))


def test_levels_are_evenly_spaced_also_on_a_logarithmic_scale_and_all_that_are_listed() -> None:
    problem = Problem(
        [
            Continuous("rate", 1e-3, 10, log=True),
            Integer("cycles", 1, 20),
            Integer("few", 1, 3),
            Ordinal("dose", [1, 2, 5]),
            Categorical("solvent", ["EtOH", "MeCN"]),
        ],
        GOAL,
    )
    points = planner(problem, "full-factorial", levels={"rate": 3, "cycles": 4, "few": 9}).points
    found = {name: sorted({point[name] for point in points}, key=str) for name in problem.names}
    assert len(points) == 3 * 4 * 3 * 3 * 2
    assert found["rate"] == [0.001, 0.1, 10.0]
    assert sorted(found["cycles"], key=float) == [1, 7, 14, 20]
    assert found["few"] == [1, 2, 3]
    assert found["dose"] == [1, 2, 5]
    assert found["solvent"] == ["EtOH", "MeCN"]


def test_centre_points_are_in_the_middle_of_numbers_and_take_categories_in_turn() -> None:
    problem = Problem([Continuous("x", 1, 100, log=True), Ordinal("d", [1, 2, 5]), Categorical("s", ["a", "b"])], GOAL)
    points = planner(problem, "full-factorial", centre_points=3).points
    assert len(points) == 12 + 3
    assert points[12:] == ({"x": 10.0, "d": 2, "s": "a"}, {"x": 10.0, "d": 2, "s": "b"}, {"x": 10.0, "d": 2, "s": "a"})
    centre = next(c for c in planner(problem, "full-factorial", centre_points=3).suggest(15) if c.values["x"] == 10.0)
    assert "centre point, x 10" in centre.why.detail


def test_cells_that_break_a_constraint_are_left_out_and_it_says_so() -> None:
    problem = Problem(
        [Continuous("a", 0, 1), Continuous("b", 0, 1)], GOAL, [LinearConstraint({"a": 1, "b": 1}, upper=1.5)]
    )
    found = planner(problem, "full-factorial")
    assert len(found.points) == 3
    assert "1 of 4 points break 1·a + 1·b ≤ 1.5 and are left out" in found.suggest(1)[0].why.detail


def test_where_no_cell_is_left_the_error_names_the_remedy() -> None:
    tight = Problem(
        [Continuous("a", 0, 1), Continuous("b", 0, 1)], GOAL, [LinearConstraint({"a": 1, "b": 1}, equals=0.5)]
    )
    with pytest.raises(DesignImpossible, match="d-optimal"):
        planner(tight, "full-factorial")


# -- fractions --------------------------------------------------------------------------------------------------------

# Box, Hunter and Hunter, Statistics for Experimenters, table of two-level fractions by factors and runs.
RESOLUTIONS = {
    **{(3, 4): 3, (4, 8): 4, (5, 8): 3, (6, 8): 3, (7, 8): 3, (5, 16): 5, (6, 16): 4, (7, 16): 4, (8, 16): 4},
    **{(n, 16): 3 for n in range(9, 16)},
    **{(6, 32): 6, (7, 32): 4, (8, 32): 4, (9, 32): 4, (10, 32): 4, (11, 32): 4},
    **{(7, 64): 7, (8, 64): 5, (9, 64): 4, (10, 64): 4, (11, 64): 4},
    **{(8, 128): 8, (9, 128): 6, (10, 128): 5, (11, 128): 5},
}


@pytest.mark.parametrize(("factors", "runs"), RESOLUTIONS)
def test_fractions_are_orthogonal_and_of_the_textbooks_resolution(factors: int, runs: int) -> None:
    found = fraction(factors, runs.bit_length() - 1)
    assert found.resolution == RESOLUTIONS[factors, runs]
    signs = found.signs()
    assert signs.shape == (runs, factors)
    assert len(np.unique(signs, axis=0)) == runs
    x = np.hstack([np.ones((runs, 1), dtype=int), signs])
    assert (x.T @ x == runs * np.eye(factors + 1)).all()
    # The resolution is the length of the shortest product of columns that is constant.
    for length in range(1, min(found.resolution, 4) + 1):
        words = [
            w for w in itertools.combinations(range(factors), length) if abs(signs[:, w].prod(axis=1).sum()) == runs
        ]
        assert bool(words) == (length == found.resolution)
        assert words == list(found.words(length))


@pytest.mark.parametrize(
    ("factors", "runs", "shortest"), [(7, 32, 1), (8, 32, 3), (9, 32, 6), (9, 16, 4), (8, 64, 2), (10, 64, 2)]
)
def test_fractions_have_as_few_shortest_words_as_the_tables_have(factors: int, runs: int, shortest: int) -> None:
    found = fraction(factors, runs.bit_length() - 1)
    assert len(list(found.words(found.resolution))) == shortest


def test_a_fraction_states_its_generators_resolution_and_aliases() -> None:
    [candidate] = planner(cube(4), "fractional-factorial", runs=8).suggest(1)
    assert "2^(4-1)" in candidate.why.detail
    assert "Resolution IV: main effects clear of two-factor interactions" in candidate.why.detail
    assert "Its generators: D = A·B·C." in candidate.why.detail
    assert "A·B with C·D" in candidate.why.detail
    [candidate] = planner(cube(5), "fractional-factorial", runs=8).suggest(1)
    assert "A with B·D" in candidate.why.detail
    [candidate] = planner(cube(5), "fractional-factorial").suggest(1)
    assert "Run 1 of 16" in candidate.why.detail
    assert "main effects and two-factor interactions clear of each other" in candidate.why.detail


def test_a_fraction_varies_two_ends_of_what_is_listed() -> None:
    problem = Problem([Continuous("x", 1, 9), Ordinal("d", [1, 2, 5]), Categorical("s", ["a", "b"])], GOAL)
    points = planner(problem, "fractional-factorial").points
    assert {tuple(p.values()) for p in points} == {(1.0, 1, "b"), (9.0, 5, "b"), (9.0, 1, "a"), (1.0, 5, "a")}


@pytest.mark.parametrize(("factors", "runs"), [(3, 3), (7, 4), (4, 16), (5, 32), (8, 8)])
def test_impossible_fractions_are_refused(factors: int, runs: int) -> None:
    with pytest.raises(DesignImpossible, match="runs"):
        planner(cube(factors), "fractional-factorial", runs=runs)
    with pytest.raises(ValueError, match="no fraction"):
        fraction(3, 3)


# -- Latin hypercubes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", [1, 2, 7, 40])
def test_every_column_hits_each_stratum_once(runs: int) -> None:
    problem = Problem([Continuous("x", -3, 5), Continuous("rate", 1e-3, 10, log=True)], GOAL)
    points = planner(problem, "latin-hypercube", seed=3, runs=runs).points
    for parameter in problem.parameters:
        strata = [int(parameter.to_unit(point[parameter.name]) * runs) for point in points]
        assert sorted(strata) == list(range(runs))


def test_listed_values_are_taken_equally_often() -> None:
    problem = Problem([Integer("n", 1, 4), Categorical("s", ["a", "b", "c"]), Continuous("x", 0, 1)], GOAL)
    points = planner(problem, "latin-hypercube", runs=14).points
    assert sorted(Counter(p["n"] for p in points).values()) == [3, 3, 4, 4]
    assert sorted(Counter(p["s"] for p in points).values()) == [4, 5, 5]
    few = planner(Problem([Integer("n", 0, 99), Continuous("x", 0, 1)], GOAL), "latin-hypercube", runs=4).points
    assert sorted(p["n"] for p in few) == [12, 37, 62, 87]


def test_exchanges_make_it_more_even_than_random_hypercubes() -> None:
    found = latin_hypercube(cube(5), 30, 0)
    random = [qmc.discrepancy(qmc.LatinHypercube(5, scramble=False, rng=i).random(30)) ** 0.5 for i in range(50)]
    assert found.discrepancy == pytest.approx(centred_discrepancy(found.strata))
    assert found.discrepancy < min(random)
    assert found.discrepancy < 0.75 * found.first


def test_a_hypercube_within_linear_constraints_or_an_error() -> None:
    points = planner(EVERYTHING, "latin-hypercube", runs=12).points
    assert sorted(int(float(p["a"]) * 12) for p in points) == list(range(12))
    assert len(points) == 12
    with pytest.raises(DesignImpossible, match="d-optimal or sobol"):
        planner(mixture(3), "latin-hypercube", runs=8)


# -- D-optimal designs ------------------------------------------------------------------------------------------------


def determinant(points: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    x = np.hstack([np.ones((len(points), 1)), points])
    return float(np.linalg.det(x.T @ x))


@pytest.mark.parametrize(("p", "runs"), [(2, 3), (2, 4), (2, 5), (2, 6), (3, 4), (3, 5), (3, 6), (3, 7), (3, 8)])
def test_on_a_cube_a_linear_model_has_the_best_of_all_sets_of_corners(p: int, runs: int) -> None:
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=p)))
    best = max(determinant(corners[list(s)]) for s in itertools.combinations_with_replacement(range(2**p), runs))
    found = d_optimal(cube(p), "linear", runs, seed=0)
    assert determinant(table(found.points)) == pytest.approx(best)
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


def test_vertices_of_a_cut_square() -> None:
    found = vertices(np.array([[1.0, 1.0]]), np.array([-np.inf]), np.array([1.5]))
    assert found is not None
    assert {tuple(row) for row in found.tolist()} == {(0, 0), (1, 0), (0, 1), (1, 0.5), (0.5, 1)}
    assert vertices(np.ones((1, 30)), np.array([1.0]), np.array([1.0])) is None


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


# -- the loop ---------------------------------------------------------------------------------------------------------


def test_the_order_is_drawn_anew_for_every_replicate_and_said() -> None:
    found = planner(cube(3), "full-factorial", seed=5)
    candidates = found.suggest(24)
    orders = [[tuple(c.values.values()) for c in candidates[i : i + 8]] for i in (0, 8, 16)]
    assert len({tuple(order) for order in orders}) == 3
    assert {frozenset(order) for order in orders} == {frozenset(orders[0])}
    assert candidates[2].why.detail.startswith(
        "Run 3 of 8 of a full factorial design of 2×2×2 levels, in an order drawn from seed 5: A "
    )
    assert candidates[8].why.detail.startswith("Replicate 2 of the whole design in a new order; run 1 of 8")
    assert planner(cube(3), "full-factorial", seed=6).suggest(8) != candidates[:8]


OPTIONS = [
    DesignOptions("full-factorial", levels=3, centre_points=2),
    DesignOptions("latin-hypercube", runs=9),
    DesignOptions("d-optimal", runs=12),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_only_problem_seed_number_and_options_decide(options: DesignOptions) -> None:
    first = DesignPlanner(EVERYTHING, 3, options=options).suggest(30)
    [again] = DesignPlanner(EVERYTHING, 3, options=options).suggest(1, number=17)
    assert again == first[16]
    told = DesignPlanner(EVERYTHING, 3, options=options)
    told.ingest([Observation(candidate_id=c.id, values=c.values, outcomes={"yield": 1.0}) for c in first[:10]])
    assert told.suggest(1, number=17) == [again]
    assert all(EVERYTHING.validate_point(c.values) == c.values for c in first)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_json_in_the_midst_leaves_the_rest_unchanged(options: DesignOptions) -> None:
    found = DesignPlanner(EVERYTHING, 3, options=options)
    for status in ("completed", "rejected", "failed", "running"):
        [candidate] = found.suggest(1)
        found.ingest([Observation(candidate_id=candidate.id, values=candidate.values, status=status)])
    found.suggest(1)
    again = DesignPlanner.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert again.options == options
    assert again.suggest(30) == found.suggest(30)
    assert json.loads(found.to_json())["design"]["design"] == options.design


def test_a_rejected_point_never_comes_again_and_no_other_is_lost() -> None:
    found = planner(cube(2), "full-factorial", seed=1)
    [a, b] = found.suggest(2)
    found.ingest([seen(a), seen(b, "rejected")])
    rest = found.suggest(8)
    points = [tuple(c.values.values()) for c in rest]
    assert tuple(b.values.values()) not in points
    assert len({tuple(a.values.values()), *points[:2]}) == 3
    assert set(points[2:5]) == set(points[5:8]) == {tuple(a.values.values()), *points[:2]}
    assert "replicate 2" in rest[2].why.detail.lower()
    assert (
        "assed over in this replicate, since rejected, aborted or failed: 1 point"
        in rest[4].why.detail + rest[3].why.detail
    )


def test_a_fresh_planner_told_the_same_goes_on_the_same() -> None:
    # As a campaign asks: one planner for each suggestion, told everything, not all of it known from the beginning.
    told: list[Observation] = []
    points = []
    for number in range(1, 13):
        fresh = planner(cube(2), "full-factorial", seed=1, centre_points=2)
        fresh.ingest(told)
        [candidate] = fresh.suggest(1, number=number)
        points.append(tuple(candidate.values.values()))
        if number != 3:  # one that was withdrawn is not told
            told.append(seen(candidate, {2: "rejected", 4: "failed"}.get(number, "completed")))
    assert points.count(points[1]) == 1
    assert set(points[:6]) == set(itertools.product((-1.0, 1.0), repeat=2)) | {(0.0, 0.0)}


def test_what_a_person_rejected_beside_the_design_is_left_out() -> None:
    found = planner(cube(2), "full-factorial")
    found.ingest([Observation(values={"A": 1.0, "B": 1.0}, status="rejected")])
    points = [tuple(c.values.values()) for c in found.suggest(6)]
    assert len(set(points[:3])) == 3
    assert (1.0, 1.0) not in points


def test_a_failed_point_waits_for_the_next_replicate() -> None:
    problem = Problem([Continuous("x", 0, 1)], GOAL)
    found = planner(problem, "full-factorial", seed=2, centre_points=6)
    points = []
    for _ in range(6):
        [candidate] = found.suggest(1)
        found.ingest([seen(candidate, "failed" if candidate.values["x"] == 0.5 else "completed")])
        points.append((candidate.values["x"], "eplicate 2" in candidate.why.detail))
    assert Counter(points) == {(x, again): 1 for x in (0.0, 0.5, 1.0) for again in (False, True)}


def test_an_aborted_point_waits_for_the_next_replicate() -> None:
    # An interlock that tripped says nothing of whether the point is wanted.
    found = planner(cube(2), "full-factorial", seed=1)
    points = []
    for number in range(8):
        [candidate] = found.suggest(1)
        points.append(tuple(candidate.values.values()))
        found.ingest([seen(candidate, "aborted" if number == 1 else "completed")])
    assert Counter(points) == dict.fromkeys(itertools.product((-1.0, 1.0), repeat=2), 2)


@pytest.mark.parametrize("status", sorted(UNRUN))
def test_a_run_that_was_not_made_has_another_turn_at_the_end_of_its_replicate(status: str) -> None:
    found = planner(cube(2), "full-factorial", seed=1)
    points, said = [], []
    for number in range(10):
        [candidate] = found.suggest(1)
        points.append(tuple(candidate.values.values()))
        said.append(candidate.why.detail)
        found.ingest([seen(candidate, status if number in (1, 4) else "completed")])
    assert len(set(points[:4])) == 4
    assert points[4] == points[1] and "again, since it was not made at its turn" in said[4]
    assert all("eplicate 2" in text for text in said[5:9]), "once, or it might never end"


def test_what_was_not_made_is_known_though_a_person_rejected_it_later() -> None:
    found = planner(cube(2), "full-factorial", seed=1)
    [first] = found.suggest(1)
    found.ingest([seen(first, "expired"), Observation(values=first.values, status="rejected")])
    points = {tuple(c.values.values()) for c in found.suggest(3)}
    assert points == set(itertools.product((-1.0, 1.0), repeat=2)) - {tuple(first.values.values())}


def test_what_is_said_of_a_whole_fraction_is_not_said_of_a_part() -> None:
    part = Problem(cube(5).parameters, GOAL, [LinearConstraint({"A": 1, "B": 1}, upper=1.0)])
    found = planner(part, "fractional-factorial", runs=16)
    [candidate] = found.suggest(1)
    assert len(found.points) == 12
    assert "4 of 16 points break" in candidate.why.detail
    assert not any(word in candidate.why.detail for word in ("esolution", "generators", "clear of"))
    tied = Problem(cube(4).parameters, GOAL, [LinearConstraint({"A": 1, "B": 1}, equals=0.0)])
    with pytest.raises(DesignImpossible, match="cannot tell its main effects apart: use d-optimal"):
        planner(tied, "fractional-factorial", runs=8)


@pytest.mark.parametrize("low", [0.0, 5e9, 384.230484e12])
def test_levels_are_told_apart_however_far_from_zero_the_range_is(low: float) -> None:
    problem = Problem([Continuous("x", low, low + 2e6)], GOAL)
    assert len({point["x"] for point in planner(problem, "latin-hypercube", runs=40).points}) == 40


def test_where_everything_was_rejected_it_says_what_to_do() -> None:
    found = planner(cube(2), "full-factorial")
    for _ in range(4):
        [candidate] = found.suggest(1)
        found.ingest([seen(candidate, "rejected")])
    with pytest.raises(DesignExhausted, match="another design"):
        found.suggest(1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"design": "taguchi"}, "full-factorial"),
        ({"design": "full-factorial", "levels": 1}, "from 2 to"),
        ({"design": "full-factorial", "runs": 8}, "no option runs"),
        ({"design": "latin-hypercube", "runs": 10_001}, "10,000"),
        ({"design": "d-optimal", "runs": 5, "model": "cubic"}, "quadratic"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DesignOptions.model_validate(options)


@pytest.mark.parametrize(
    ("problem", "options", "words"),
    [
        (cube(10), DesignOptions("full-factorial", levels=3), "59,049 runs, more than 10,000"),
        (cube(2), DesignOptions("full-factorial", levels={"Z": 3}), "Z is no parameter"),
        (cube(2), DesignOptions("fractional-factorial"), "3 parameters or more"),
        (EVERYTHING, DesignOptions("fractional-factorial"), "solvent, which has 3 values"),
        (EVERYTHING, DesignOptions("full-factorial", levels={"dose": 2}), "dose takes all"),
        (
            Problem([Categorical("s", ["a", "b"])], GOAL),
            DesignOptions("full-factorial", centre_points=1),
            "centre_points",
        ),
    ],
)
def test_what_a_problem_does_not_admit_is_refused(problem: Problem, options: DesignOptions, words: str) -> None:
    with pytest.raises(DesignImpossible, match=words):
        DesignPlanner(problem, options=options)


# -- properties -------------------------------------------------------------------------------------------------------


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    parameters: list[Continuous | Integer | Ordinal | Categorical] = []
    for i in range(draw(st.integers(1, 4))):
        low = draw(st.floats(-100, 100, allow_subnormal=False))
        wide = draw(st.floats(0.5, 1e3))
        values = draw(st.lists(st.integers(-9, 9), min_size=2, max_size=4, unique=True))
        parameters.append(
            draw(
                st.sampled_from(
                    [
                        Continuous(f"p{i}", low, low + wide),
                        Continuous(f"p{i}", wide, 10 * wide, log=True),
                        Integer(f"p{i}", min(values), max(values)),
                        Ordinal(f"p{i}", sorted(values)),
                        Categorical(f"p{i}", [f"v{v}" for v in values]),
                    ]
                )
            )
        )
    tied = {p.name: draw(st.sampled_from([1.0, -2.0])) for p in parameters if isinstance(p, Integer | Ordinal)}
    tied |= {p.name: 1.0 for p in parameters if isinstance(p, Continuous) and not p.log}
    if len(tied) < 2 or not draw(st.booleans()):
        return Problem(parameters, GOAL)
    ends = [[c * float(p.from_unit(u)) for u in (0.0, 1.0)] for p in parameters if (c := tied.get(p.name))]
    low, high = sum(map(min, ends)), sum(map(max, ends))
    return Problem(parameters, GOAL, [LinearConstraint(tied, upper=low + draw(st.floats(0.3, 0.9)) * (high - low))])


@given(
    problems(), st.sampled_from(["full-factorial", "fractional-factorial", "latin-hypercube", "d-optimal"]), st.data()
)
@settings(max_examples=80, deadline=None)
def test_every_suggestion_belongs_to_the_problem(problem: Problem, design: Any, data: st.DataObject) -> None:
    runs = data.draw(st.integers(1, 12)) if design in ("latin-hypercube", "d-optimal") else None
    try:
        found = planner(problem, design, seed=data.draw(st.integers(0, 3)), runs=runs)
    except DesignImpossible as error:
        assert str(error)
        return
    refused = []
    for _ in range(len(found.points) + 2 if len(found.points) < 20 else 5):
        try:
            [candidate] = found.suggest(1)
        except DesignExhausted:
            assert {tuple(p.values()) for p in found.points} <= set(refused)
            return
        assert problem.validate_point(candidate.values) == candidate.values
        assert candidate.predicted == {}
        assert tuple(candidate.values.values()) not in refused
        status = data.draw(st.sampled_from(["completed", "completed", "failed", "rejected", "aborted"]))
        found.ingest([seen(candidate, status)])
        if status == "rejected":
            refused.append(tuple(candidate.values.values()))


@given(st.lists(st.sampled_from(["completed", "failed", "rejected", "withdrawn"]), min_size=1, max_size=16), st.data())
@settings(max_examples=60, deadline=None)
def test_every_run_has_one_turn_in_a_replicate_whatever_becomes_of_it(statuses: list[str], data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 5))
    options = DesignOptions("fractional-factorial", runs=4, centre_points=2)
    told: list[Observation] = []
    turns: dict[str, Counter[tuple[Value, ...]]] = {}
    refused: set[tuple[Value, ...]] = set()
    for number, status in enumerate(statuses, start=1):
        fresh = DesignPlanner(cube(3), seed, options=options)
        fresh.ingest(data.draw(st.permutations(told)))
        try:
            [candidate] = fresh.suggest(1, number=number)
        except DesignExhausted:
            assert {tuple(p.values()) for p in fresh.points} <= refused
            return
        point = tuple(candidate.values.values())
        assert point not in refused
        detail = candidate.why.detail
        replicate = detail.split(" of the whole")[0] if detail.startswith("Replicate") else "Replicate 1"
        turns.setdefault(replicate, Counter())[point] += 1
        if status != "withdrawn":  # which is not told
            told.append(seen(candidate, status))
        if status == "rejected":
            refused.add(point)
    designed = Counter(tuple(p.values()) for p in fresh.points)
    assert all(counted <= designed for counted in turns.values())
    for counted in list(turns.values())[:-1]:
        # The failed centre point's repetition may be passed over, and what was rejected in the meantime.
        assert {p for p in designed if p not in refused} <= set(counted)
