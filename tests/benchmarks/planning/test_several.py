"""Problems of two objectives: functions, reference points and largest hypervolumes are those of the literature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.planners import Observation
from athanor.planners.pareto import hypervolume
from benchmarks.planning import several
from benchmarks.planning.framed import frame
from benchmarks.planning.several import LEAST_F1, MOST, REFERENCES, SEVERAL, volumes

PAIR = SEVERAL["zdt1"].problem


def reached(name: str, points: list[dict[str, float]]) -> float:
    """What these points of the published problem dominate."""
    study = SEVERAL[name]
    outcomes = [study.function(x) for x in points]
    return float(volumes(study.problem, {k: [o[k] for o in outcomes] for k in outcomes[0]}, REFERENCES[name])[-1])


def along(name: str, firsts: np.ndarray, rest: float) -> list[dict[str, float]]:
    """Points of the best front: the first axis runs, the others stay."""
    first, *others = SEVERAL[name].problem.names
    return [{first: float(value), **dict.fromkeys(others, rest)} for value in firsts]


@pytest.mark.parametrize(
    ("name", "firsts", "rest", "miss"),
    [
        ("zdt1", np.linspace(0.0, 1.0, 1_200) ** 2, 0.0, 1e-5),
        ("zdt2", np.linspace(0.0, 1.0, 1_200), 0.0, 1e-5),
        ("zdt3", np.linspace(0.0, 0.86, 2_000), 0.0, 3e-5),
        ("zdt4", np.linspace(0.0, 1.0, 1_200) ** 2, 0.0, 1e-5),
        ("zdt5", np.arange(31.0), 5.0, 1e-12),
        ("zdt6", np.linspace(0.0, 1.0, 2_000), 0.0, 3e-5),
    ],
)
def test_the_stated_front_dominates_the_stated_hypervolume(
    name: str, firsts: np.ndarray, rest: float, miss: float
) -> None:
    found = reached(name, along(name, firsts, rest))
    assert MOST[name] * (1.0 - miss) <= found <= MOST[name] * (1.0 + 1e-9)


def test_brute_force_finds_the_front_of_branin_and_currin_where_it_is_kept() -> None:
    keep = SEVERAL["branin-currin"].keep
    a, b = (np.linspace(*keep[axis], 320) for axis in ("x1", "x2"))
    near = np.array([[x, y] for x in a for y in b])
    rng = np.random.default_rng(0)
    rows = np.concatenate([near, rng.random((20_000, 2))])
    outcomes = [several.branin_currin({"x1": float(x), "x2": float(y)}) for x, y in rows]
    values = np.array([[o["f1"], o["f2"]] for o in outcomes])
    inside = (values < [18.0, 6.0]).all(axis=1)
    order = np.flatnonzero(inside)[np.argsort(values[inside, 0])]
    front = order[values[order, 1] <= np.minimum.accumulate(values[order, 1])]
    chosen = {"f1": values[front, 0].tolist(), "f2": values[front, 1].tolist()}
    found = volumes(SEVERAL["branin-currin"].problem, chosen, REFERENCES["branin-currin"])[-1]
    assert MOST["branin-currin"] * 0.999 < found <= MOST["branin-currin"]
    for axis, column in (("x1", 0), ("x2", 1)):
        assert keep[axis][0] <= rows[front, column].min() and rows[front, column].max() <= keep[axis][1]


def test_counting_ones_loses_nothing_of_zdt5() -> None:
    """Every pair of objectives that strings of bits can give, by brute force over the sums of the small counts."""
    sums = {0.0}
    for _ in range(10):
        sums = {g + (count + 2.0 if count < 5 else 1.0) for g in sums for count in range(6)}
    pairs = [(1.0 + ones, g / (1.0 + ones)) for ones in range(31) for g in sums]
    ordered = sorted(pairs)
    found, top = 0.0, REFERENCES["zdt5"]["f2"]
    for f1, f2 in ordered:
        if f2 < top:
            found, top = found + (REFERENCES["zdt5"]["f1"] - f1) * (top - f2), f2
    assert found == pytest.approx(MOST["zdt5"], rel=1e-12)


def test_the_front_of_zdt6_begins_where_it_is_said_to() -> None:
    values = [several.zdt6({"x1": x, "x2": 0.0})["f1"] for x in np.linspace(0.0, 1.0, 20_001)]
    assert min(values) == pytest.approx(LEAST_F1, abs=1e-7) and min(values) >= LEAST_F1 - 1e-9


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(set(SEVERAL) - {"snar"})), st.integers(0, 1_000))
def test_nothing_in_any_box_dominates_more_than_is_stated(name: str, seed: int) -> None:
    found = frame(SEVERAL[name], seed)
    rng = np.random.default_rng(seed)
    rows = rng.random((60, len(found.problem.parameters)))
    rows[:30, 1:] = np.round(rows[:30, 1:])
    outcomes = [found.truths(found.problem.from_unit(row)) for row in rows.tolist()]
    losses = found.losses({k: [o[k] for o in outcomes] for k in outcomes[0]})
    assert np.all(np.diff(losses) <= 1e-9) and losses[-1] >= 0.0


@pytest.mark.parametrize("name", ["zdt1", "zdt2", "zdt3", "zdt4", "zdt5", "zdt6"])
def test_the_whole_front_stays_in_every_box(name: str) -> None:
    rest = 5.0 if name == "zdt5" else 0.0
    firsts = np.arange(31.0) if name == "zdt5" else np.linspace(0.0, 1.0, 300)
    for seed in range(10):
        found = frame(SEVERAL[name], seed)
        points = []
        for x in along(name, firsts, rest):
            # Turning an axis twice changes nothing: the planner's point of a point is found in the same way.
            back = found.inside({k: int(v) if name == "zdt5" else v for k, v in x.items()})
            points.append(found.problem.validate_point({k: int(v) if name == "zdt5" else v for k, v in back.items()}))
        outcomes = [found.truths(p) for p in points]
        assert found.losses({k: [o[k] for o in outcomes] for k in outcomes[0]})[-1] < 0.002 * MOST[name]


@given(st.lists(st.tuples(st.floats(0.0, 12.0), st.floats(0.0, 12.0)), min_size=1, max_size=12))
def test_hypervolumes_are_those_of_the_planners_own_exact_count(points: list[tuple[float, float]]) -> None:
    truths = {"f1": [a for a, _ in points], "f2": [b for _, b in points]}
    found = volumes(PAIR, truths, REFERENCES["zdt1"])
    values = PAIR.from_unit([0.5] * 6)
    seen = [Observation(values=values, outcomes={"f1": a, "f2": b}) for a, b in points]
    for i in range(len(points)):
        assert found[i] == pytest.approx(hypervolume(PAIR, seen[: i + 1], REFERENCES["zdt1"]), abs=1e-9)


def test_the_functions_are_those_of_botorch() -> None:
    """Another implementation of the same sources; its ZDT3 is that of the paper on the front alone."""
    import torch
    from botorch.test_functions import multi_objective as other

    rng = np.random.default_rng(3)
    pairs: list[tuple[str, Any, int]] = [
        ("branin-currin", other.BraninCurrin(), 2),
        ("zdt1", other.ZDT1(dim=6), 6),
        ("zdt2", other.ZDT2(dim=6), 6),
        ("zdt3", other.ZDT3(dim=6), 6),
    ]
    for name, problem, axes in pairs:
        rows = rng.random((20, axes))
        if name == "zdt3":
            rows[:, 1:] = 0.0
        for row in rows:
            ours = SEVERAL[name].function(dict(zip(SEVERAL[name].problem.names, row.tolist(), strict=True)))
            theirs = problem.evaluate_true(torch.as_tensor(row).unsqueeze(0))[0]
            assert list(ours.values()) == pytest.approx(theirs.tolist(), rel=1e-9, abs=1e-9)
        assert MOST[name] == pytest.approx(problem._max_hv, rel=1e-5)
        assert list(REFERENCES[name].values()) == problem._ref_point


def test_currin_s_exponential_has_a_value_on_its_edge() -> None:
    edge, near = (several.branin_currin({"x1": 0.4, "x2": b})["f2"] for b in (0.0, 1e-4))
    assert edge == pytest.approx(near)
