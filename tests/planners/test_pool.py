"""Pools: their rows are points, found by their values, refused where they are none, and never suggested twice."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.planners import (
    BayesianPlanner,
    Cardinality,
    Categorical,
    Continuous,
    Exclusion,
    Integer,
    InvalidPoint,
    LinearConstraint,
    NonlinearConstraint,
    Objective,
    Observation,
    Ordinal,
    Pool,
    PoolError,
    PoolExhausted,
    Problem,
    RandomPlanner,
    SobolPlanner,
)
from athanor.planners.protocol import PENDING
from athanor.planners.state import StateMismatch

GOAL = [Objective("f", "maximize")]
MIXED = Problem(
    [
        Continuous("x", -1, 2),
        Continuous("rate", 1e-3, 10, log=True),
        Integer("cycles", 1, 20),
        Ordinal("dose", [0.5, 2, 5]),
        Categorical("solvent", ["EtOH", "MeCN", "water"]),
    ],
    GOAL,
)
PLANNERS: list[Any] = [RandomPlanner, SobolPlanner, BayesianPlanner]


def mixed(n: int, seed: int = 0, **more: Any) -> Pool:
    rng = np.random.default_rng(seed)
    columns = {
        "x": rng.uniform(-1, 2, n),
        "rate": 10 ** rng.uniform(-3, 1, n),
        "cycles": rng.integers(1, 21, n),
        "dose": rng.choice([0.5, 2.0, 5.0], n),
        "solvent": rng.choice(["EtOH", "MeCN", "water"], n).tolist(),
    }
    return Pool(MIXED, columns, **more)


def line(n: int, **more: Any) -> Pool:
    return Pool(Problem([Continuous("x", 0, 1)], GOAL), {"x": np.linspace(0, 1, n)}, **more)


def told(candidate: Any, status: str = "completed") -> Observation:
    outcomes = {"f": float(candidate.values.get("x", 0.0))} if status in ("completed", "stopped_early") else {}
    return Observation(candidate_id=candidate.id, values=candidate.values, outcomes=outcomes, status=status)  # type: ignore[arg-type]


# -- rows -------------------------------------------------------------------------------------------------------------


def test_rows_are_points_of_the_problem_with_their_labels() -> None:
    pool = mixed(40, labels=[f"vial {i}" for i in range(40)], lines=np.arange(40) + 2)
    assert len(pool) == 40
    for row in range(40):
        point = pool.values(row)
        assert MIXED.validate_point(point) == point
        assert [type(v) for v in point.values()] == [type(v) for v in MIXED.validate_point(point).values()]
        assert pool.find(point) == row
        assert pool.find(json.loads(json.dumps(point))) == row
    assert pool.said(3) == "vial 3 (line 5 of the pool)"
    assert mixed(4).said(3) == "Row 4 of the pool"


def test_rows_are_encoded_as_the_space_does() -> None:
    pool = mixed(50)
    expected = pool.space.encode([pool.values(row) for row in range(50)])
    assert np.allclose(pool.encode(slice(0, 50)), expected, rtol=0, atol=1e-12)
    assert np.array_equal(pool.compact(np.array([7, 3])), pool.encode(np.array([7, 3])).astype(np.float32))


def test_a_value_that_differs_in_its_last_digits_is_the_same_row_and_any_other_is_none() -> None:
    pool = mixed(40)
    point = pool.values(11)
    assert pool.find({**point, "x": point["x"] + 1e-7}) == 11  # type: ignore[operator]
    assert pool.find({**point, "x": point["x"] + 1e-4}) is None  # type: ignore[operator]
    assert pool.find({**point, "cycles": point["cycles"] % 20 + 1}) is None  # type: ignore[operator]
    assert pool.find({**point, "cycles": 400}) is None
    wide = Problem([Integer("vial", 0, 1_200_000), Continuous("x", 0, 1)], GOAL)
    assert Pool(wide, {"vial": [5], "x": [0.5]}).find({"vial": 6, "x": 0.5}) is None


def test_minus_zero_is_zero() -> None:
    pool = Pool(Problem([Continuous("x", -1, 1)], GOAL), {"x": [-0.0, 1.0]})
    assert pool.find({"x": 0.0}) == 0
    with pytest.raises(PoolError, match="row 2: it is the same point as row 1"):
        Pool(pool.problem, {"x": [-0.0, 0.0]})


@pytest.mark.parametrize(
    ("changes", "row", "words"),
    [
        ({"x": [0.0, 0.1, 2.5]}, 2, "x = 2.5: is above the bounds. Give a value in -1..2"),
        ({"x": [0.0, float("nan"), 2.5]}, 1, "is not finite"),
        ({"x": [0.0, "much", 2.5]}, 1, "is a str, not a number"),
        ({"cycles": [1, 2, 2.5]}, 2, "is not a whole number"),
        ({"cycles": [0, 2, 3]}, 0, "is below the bounds"),
        ({"dose": [0.5, 3, 5]}, 1, r"is not one of the listed values. Give one of \[0.5"),
        ({"solvent": ["EtOH", "MeCN", "ether"]}, 2, "ether"),
        ({"solvent": ["EtOH", 3, "water"]}, 1, "is not one of the listed values"),
    ],
)
def test_a_value_that_is_none_is_named_with_its_row_and_remedy(changes: Any, row: int, words: str) -> None:
    good = {"x": [0.0, 0.1, 0.2], "rate": [1, 1, 1], "cycles": [1, 2, 3], "dose": [5, 5, 5], "solvent": ["EtOH"] * 3}
    assert len(Pool(MIXED, good)) == 3
    with pytest.raises(PoolError, match=words) as caught:
        Pool(MIXED, {**good, **changes})
    assert caught.value.row == row
    assert f"row {row + 1}" in str(caught.value)


def test_what_is_wrong_with_all_of_it_is_said() -> None:
    one = Problem([Continuous("x", 0, 1), Continuous("y", 0, 1)], GOAL, [LinearConstraint({"x": 1, "y": 1}, upper=1.5)])
    for columns, words in (
        ({"x": [0.5]}, "no column for y"),
        ({"x": [0.5], "y": [0.5], "z": [0.5]}, "column z is no parameter; use x, y"),
        ({"x": [0.5, 0.1], "y": [0.5]}, "differ in length: x 2, y 1"),
        ({"x": [], "y": []}, "it has no row"),
        ({"x": [0.5, 0.9], "y": [0.5, 0.9]}, "row 2: x.y = '1.8': violates .* meet it, or leave the row out"),
        ({"x": [0.1, 0.5, 0.1], "y": [0.2, 0.5, 0.2]}, "row 3: it is the same point as row 1; leave one"),
        ({"x": [True, False], "y": [0.0, 1.0]}, "is a bool, not a number"),
    ):
        with pytest.raises(PoolError, match=words):
            Pool(one, columns)
    with pytest.raises(PoolError, match="1 labels for 2 rows"):
        Pool(one, {"x": [0.5, 0.1], "y": [0.5, 0.1]}, labels=["a"])


def test_the_digest_is_of_what_is_in_it() -> None:
    assert mixed(20).sha256 == mixed(20).sha256
    assert mixed(20).sha256 != mixed(20, seed=1).sha256
    assert mixed(20).sha256 != mixed(20, labels=[str(k) for k in range(20)]).sha256
    assert mixed(20, sha256="0" * 64).sha256 == "0" * 64


# -- what is suggested ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PLANNERS)
def test_every_row_has_its_turn_once_and_then_it_says_so(kind: Any) -> None:
    planner = kind(line(9).problem, seed=2, pool=line(9, labels=list("abcdefghi")))
    labels = []
    for _ in range(9):
        [candidate] = planner.suggest()
        labels.append(candidate.label)
        assert candidate.why.detail.startswith(f"{candidate.label} (row ")
        planner.ingest([told(candidate)])
    assert sorted(labels) == list("abcdefghi")
    with pytest.raises(PoolExhausted, match="every row of the pool has been tried: of its 9 rows 9 measured"):
        planner.suggest()


def test_what_became_of_the_rows_is_said() -> None:
    planner = RandomPlanner(line(6).problem, seed=1, pool=line(6))
    ended = ["completed", "completed", "failed", "rejected", "superseded"]
    for candidate, status in zip(planner.suggest(5), ended, strict=True):
        planner.ingest([told(candidate, status)])
    with pytest.raises(PoolExhausted, match="1 row of the pool is left, 2 were asked for"):
        planner.suggest(2)
    assert len(planner.to_dict()["issued"]) == 0, "nothing was suggested then"
    planner.suggest()
    expected = "of its 6 rows 2 measured, 1 failed, 1 rejected, 1 replaced by an edit, 1 under way"
    with pytest.raises(PoolExhausted, match=expected):
        planner.suggest()


@pytest.mark.parametrize("status", ["expired", "not_started"])
def test_a_row_that_nobody_was_against_may_come_again(status: str) -> None:
    planner = RandomPlanner(line(2).problem, pool=line(2))
    first, second = planner.suggest(2)
    planner.ingest([told(first, status), told(second)])
    assert planner.suggest()[0].values == first.values


@pytest.mark.parametrize("kind", PLANNERS)
def test_with_repeats_a_measured_row_may_come_again_but_no_other(kind: Any) -> None:
    pool = line(4, repeats=True)
    planner = kind(pool.problem, pool=pool)
    for candidate, status in zip(planner.suggest(4), ["completed", "failed", "rejected", "running"], strict=True):
        planner.ingest([told(candidate, status)])
    [first] = [o.values for o in planner.observations if o.status == "completed"]
    assert planner.suggest()[0].values == first


def test_a_persons_points_off_the_pool_are_learnt_from_and_take_no_row() -> None:
    pool = line(5)
    planner = BayesianPlanner(pool.problem, pool=pool)
    planner.ingest([Observation(values={"x": x}, outcomes={"f": x}) for x in (0.1, 0.4, 0.6, 0.9)])
    assert len(planner.measured) == 4
    candidates = planner.suggest(5)
    assert candidates[0].why.method == "qLogNEI"
    assert all(c.why.tradeoff is not None and c.why.detail.endswith("were compared.") for c in candidates)
    assert {c.values["x"] for c in candidates} == {0.0, 0.25, 0.5, 0.75, 1.0}
    with pytest.raises(PoolExhausted, match="of its 5 rows 5 under way"):
        planner.suggest()


def test_a_persons_point_on_the_pool_takes_its_row() -> None:
    pool = line(3)
    planner = RandomPlanner(pool.problem, pool=pool)
    planner.ingest(
        [
            Observation(values={"x": 0.5}, outcomes={"f": 1.0}),
            Observation(values={"x": 1.0}, status="rejected"),
        ]
    )
    assert planner.suggest()[0].values == {"x": 0.0}


def test_a_planner_without_a_pool_says_nothing_of_one() -> None:
    planner = RandomPlanner(MIXED, seed=1)
    assert "pool" not in planner.to_dict()
    assert "label" not in planner.suggest()[0].model_dump(mode="json")


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_suggestion_is_off_the_pool_or_taken(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(PLANNERS))
    size = data.draw(st.integers(2, 30))
    pool = mixed(size, data.draw(st.integers(0, 5)), repeats=False)
    planner = kind(MIXED, seed=data.draw(st.integers(0, 3)), pool=pool)
    allowed_again: set[int] = set()
    taken: set[int] = set()
    # Most of these end in the initial design: a model takes too long to be fitted hundreds of times here.
    for _ in range(data.draw(st.integers(1, 20))):
        if len(taken) == size:
            with pytest.raises(PoolExhausted):
                planner.suggest()
            return
        [candidate] = planner.suggest()
        row = pool.find(candidate.values)
        assert row is not None
        assert row not in taken
        status = data.draw(
            st.sampled_from(
                ["completed", "failed", "rejected", "aborted", "running", "expired", "refused", "withdrawn"]
            )
        )
        planner.ingest([told(candidate, status)])
        (allowed_again if status == "expired" else taken).add(row)
        if data.draw(st.booleans()):
            planner = kind.from_json(planner.to_json(), pool=pool)


def test_pending_in_every_state_bars_the_row() -> None:
    for status in sorted(PENDING):
        planner = RandomPlanner(line(2).problem, pool=line(2))
        [first] = planner.suggest()
        planner.ingest([told(first, status)])
        assert planner.suggest()[0].values != first.values


# -- its state --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PLANNERS)
def test_the_state_names_the_pool_and_a_round_trip_changes_nothing(kind: Any) -> None:
    pool = mixed(300, source="candidates.csv")
    planner, twin = kind(MIXED, seed=4, pool=pool), kind(MIXED, seed=4, pool=pool)
    for k in range(9):
        [one], [other] = planner.suggest(), twin.suggest()
        assert one == other
        for item in (planner, twin):
            item.ingest([told(one, "failed" if k == 2 else "completed")])
        twin = kind.from_json(twin.to_json(), pool=mixed(300, source="candidates.csv"))
    named = planner.to_dict()["pool"]
    assert named == {"source": "candidates.csv", "sha256": pool.sha256, "rows": 300, "repeats": False}
    assert len(planner.to_json()) < 6000, "the rows are not in it"


def test_a_state_is_not_rebuilt_with_another_pool() -> None:
    pool = line(5, source="a.csv")
    text = RandomPlanner(pool.problem, pool=pool).to_json()
    with pytest.raises(StateMismatch, match=r"over the pool a.csv \(sha256 .*5 rows\): give that pool, too"):
        RandomPlanner.from_json(text)
    with pytest.raises(StateMismatch, match="give that one, unchanged"):
        RandomPlanner.from_json(text, pool=line(6))
    with pytest.raises(StateMismatch, match="does not allow repeats"):
        RandomPlanner.from_json(text, pool=line(5, repeats=True))
    with pytest.raises(StateMismatch, match="without a pool: leave the pool out"):
        RandomPlanner.from_json(RandomPlanner(pool.problem).to_json(), pool=pool)
    with pytest.raises(ValueError, match="read for another problem"):
        RandomPlanner(MIXED, pool=pool)


@pytest.mark.parametrize("place", [0.35, 0.4, 0.45, 0.5])
@pytest.mark.parametrize("ends", [(0.1, 0.7), (0.05, 0.95), (-0.2, 0.9)])
def test_a_row_where_an_expression_is_not_defined_is_refused_whatever_the_range(
    place: float, ends: tuple[float, float]
) -> None:
    problem = Problem(
        [Continuous("x", *ends)],
        [Objective("f", "maximize")],
        [NonlinearConstraint(f"1 / (x - {place})**2", lower=0.0)],
    )
    with pytest.raises(PoolError, match="no finite value") as raised:
        Pool(problem, {"x": [0.6, place]})
    assert raised.value.row == 1


def test_a_sum_is_checked_by_the_size_of_its_terms_and_not_of_the_ranges() -> None:
    problem = Problem(
        [Continuous("a", 0, 1e6), Continuous("b", 0, 1e6)],
        [Objective("f", "maximize")],
        [LinearConstraint({"a": 1, "b": 1}, upper=0.01)],
    )
    assert len(Pool(problem, {"a": [0.001, 0.004], "b": [0.0, 0.006]})) == 2
    with pytest.raises(PoolError, match="violates") as raised:
        Pool(problem, {"a": [0.001, 0.05], "b": [0.0, 0.02]})
    assert raised.value.row == 1


@given(data=st.data())
def test_a_pool_takes_the_rows_that_are_points_of_its_problem_and_no_others(data: st.DataObject) -> None:
    constraint = data.draw(
        st.sampled_from(
            [
                NonlinearConstraint("x * (y - 0.5)", lower=0.0),
                NonlinearConstraint("sqrt(x - 0.3) + y", upper=1.0),
                NonlinearConstraint("log10(z) - x / y", upper=0.0),
                LinearConstraint({"x": 1, "y": 1}, equals=0.7),
                LinearConstraint({"x": 1, "y": -1}, lower=0.0),
                Cardinality(["x", "y"], at_most=1, threshold=0.1),
                Cardinality(["x", "y"], at_least=2),
                Exclusion({"x": {"above": 0.3}, "z": {"below": 10}}),
                Exclusion({"z": {"between": (1, 10)}, "y": {"above": 0}}),
            ]
        )
    )
    problem = Problem(
        [Continuous("x", 0, 0.9), Continuous("y", 0, 1.7), Continuous("z", 0.1, 100, log=True)],
        [Objective("f", "maximize")],
        [constraint],
    )
    amounts = st.integers(0, 9).map(lambda k: k / 10)
    point = {"x": data.draw(amounts), "y": data.draw(amounts), "z": data.draw(st.sampled_from([0.1, 1.0, 10.0, 100.0]))}
    try:
        problem.validate_point(point)
    except InvalidPoint:
        with pytest.raises(PoolError):
            Pool(problem, {name: [value] for name, value in point.items()})
    else:
        assert Pool(problem, {name: [value] for name, value in point.items()}).values(0) == point
