from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.planners import (
    Categorical,
    Continuous,
    DesignImpossible,
    DesignOptions,
    DesignPlanner,
    Integer,
    LinearConstraint,
    Observation,
    Ordinal,
    Problem,
)
from athanor.planners.designs import UNRUN, DesignExhausted
from athanor.planners.problem import Value

from .designs import GOAL, cube, planner
from .problems import EVERYTHING


def seen(candidate: Any, status: str = "completed") -> Observation:
    outcomes = {"yield": 1.0} if status == "completed" else {}
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
