"""Campaigns under input constraints: no planner ever leaves them, and what is best within them is found."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from athanor.planners import (
    BayesianPlanner,
    Cardinality,
    Categorical,
    ConstraintViolated,
    Continuous,
    DesignImpossible,
    DesignOptions,
    DesignPlanner,
    Exclusion,
    LinearConstraint,
    NonlinearConstraint,
    Objective,
    Observation,
    Problem,
    RandomPlanner,
    SobolPlanner,
)
from athanor.planners.space import InfeasibleSpace

from .problems import run
from .test_input_constraints import PARAMETERS, inputs

GOAL = [Objective("f", "maximize")]
SQUARE = [Continuous("x", -1, 1), Continuous("y", -1, 1)]
DISC = Problem(SQUARE, GOAL, [NonlinearConstraint("x**2 + y**2", upper=0.64)])
HOT = Problem(
    [Continuous("t", 20, 160), Categorical("s", ["DMF", "EtOH"])],
    GOAL,
    [Exclusion({"t": {"above": 120}, "s": "DMF"})],
)
SPARSE = Problem(
    [Continuous(n, 0, 1) for n in "abcd"],
    GOAL,
    [LinearConstraint(dict.fromkeys("abcd", 1.0), equals=1.0), Cardinality([*"abcd"], at_most=2, threshold=0.05)],
)


def hot(v):
    return {"f": v["t"] / 160 + (0.5 if v["s"] == "DMF" else 0.0)}


def sparse(v):
    return {"f": 0.3 * v["a"] + 0.2 * v["b"] + 4 * v["b"] * v["d"] + 0.1 * v["c"]}


def worth(values):
    """Some outcome of any point, without a point that stands out."""
    numbers = [float(v) if not isinstance(v, str) else float(len(v)) for v in values.values()]
    return sum(math.sin(1.3 * k + v) for k, v in enumerate(numbers))


def suggestions(planner, n):
    return [c.values for c in run(planner, lambda v: {"f": worth(v)}, n)]


@st.composite
def problems(draw):
    constraints = draw(st.lists(inputs(), min_size=1, max_size=3))
    if draw(st.booleans()):
        constraints.append(LinearConstraint({"a": 1.0, "b": 1.0}, upper=0.9))
    try:
        return Problem(PARAMETERS, GOAL, constraints)
    except ValidationError:
        return Problem(PARAMETERS, GOAL, [Exclusion({"solvent": "DMF", "temperature": {"above": 60}})])


@pytest.mark.parametrize("kind", [RandomPlanner, SobolPlanner])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problem=problems(), seed=st.integers(0, 3))
def test_no_suggestion_of_a_baseline_violates(kind, problem, seed):
    try:
        found = suggestions(kind(problem, seed=seed), 4)
    except InfeasibleSpace:
        return
    for values in found:
        problem.validate_point(values)


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(problem=problems(), seed=st.integers(0, 3))
def test_no_suggestion_of_the_bayesian_planner_violates(problem, seed):
    try:
        found = suggestions(BayesianPlanner(problem, seed=seed, initial=3), 5)
    except InfeasibleSpace:
        return
    for values in found:
        problem.validate_point(values)


@settings(max_examples=25, deadline=None)
@given(problem=problems(), design=st.sampled_from(["full-factorial", "fractional-factorial"]))
def test_no_run_of_a_factorial_violates(problem, design):
    problem = Problem([p for p in problem.parameters if p.name != "solvent"], GOAL, _without_solvent(problem))
    try:
        found = DesignPlanner(problem, options=DesignOptions(design=design)).points
    except DesignImpossible:
        return
    for values in found:
        problem.validate_point(values)


def _without_solvent(problem):
    return [c for c in problem.constraints if "solvent" not in getattr(c, "names", ())]


@pytest.mark.parametrize("design", ["latin-hypercube", "d-optimal"])
def test_designs_that_do_not_know_a_constraint_say_so(design):
    options = DesignOptions(design=design, runs=12)
    with pytest.raises(DesignImpossible, match=r"x\*\*2 \+ y\*\*2 ≤ 0.64: use a factorial"):
        options.check(DISC)
    with pytest.raises(DesignImpossible):
        DesignPlanner(DISC, options=options)


def test_a_factorial_leaves_out_what_is_excluded():
    planner = DesignPlanner(HOT, options=DesignOptions(design="full-factorial", levels=3))
    assert {(p["t"], p["s"]) for p in planner.points} == {
        (20, "DMF"), (90, "DMF"), (20, "EtOH"), (90, "EtOH"), (160, "EtOH")
    }  # fmt: skip
    assert "1 of 6 points break excluded: s = DMF and t > 120" in planner.suggest(1)[0].why.detail


def test_the_optimum_on_the_edge_of_a_disc():
    planner = BayesianPlanner(DISC, seed=1)
    run(planner, lambda v: {"f": math.exp(v["x"]) + 0.5 * math.exp(v["y"])}, 13)
    # Brute force over the edge and the inside (radius 0.8).
    truth = max(
        math.exp(r * math.cos(a)) + 0.5 * math.exp(r * math.sin(a))
        for r in (0.2, 0.4, 0.6, 0.7, 0.8)
        for a in [k * math.pi / 1000 for k in range(2000)]
    )
    [best] = planner.best()
    assert math.hypot(best.values["x"], best.values["y"]) <= 0.8 + 1e-9
    assert best.measured["f"].mean > truth - 0.01


def test_the_best_that_is_not_excluded():
    planner = BayesianPlanner(HOT, seed=1)
    run(planner, hot, 12)
    [best] = planner.best()
    assert best.values["s"] == "DMF" and best.values["t"] == pytest.approx(120.0, abs=1.0)


def test_the_best_pair_of_a_mixture():
    planner = BayesianPlanner(SPARSE, seed=1)
    run(planner, sparse, 18)
    [best] = planner.best()
    # b and d, where 0.2 b + 4 b d with d = 1 - b is greatest: b = 0.525.
    assert {n for n in "abcd" if best.values[n] > 0} == {"b", "d"}
    assert best.measured["f"].mean > 0.99 * (0.2 * 0.525 + 4 * 0.525 * 0.475)


@pytest.mark.parametrize("problem", [DISC, HOT, SPARSE], ids=["disc", "hot", "sparse"])
def test_a_round_trip_through_json_changes_nothing(problem):
    planner = BayesianPlanner(problem, seed=3, initial=4)
    run(planner, lambda v: {"f": worth(v)}, 5)
    again = BayesianPlanner.from_json(planner.to_json())
    assert again.problem == problem
    assert [c.values for c in again.suggest(2)] == [c.values for c in planner.suggest(2)]


def test_measured_points_that_violate_are_learnt_from_and_not_suggested():
    planner = BayesianPlanner(HOT, seed=2, initial=4)
    planner.ingest(
        [
            Observation(values={"t": t, "s": s}, outcomes=hot({"t": t, "s": s}))
            for t in (20.0, 70.0, 110.0, 140.0, 160.0)
            for s in ("DMF", "EtOH")
        ]
    )
    [candidate] = planner.suggest(1, number=9)
    assert candidate.why.method == "qLogNEI"
    HOT.validate_point(candidate.values)
    assert candidate.values["s"] == "DMF" and candidate.values["t"] > 110.0
    assert {(b.values["s"], b.values["t"]) for b in planner.best()} == {("DMF", 110.0)}  # not what may not be run
    assert {(b.values["s"], b.values["t"]) for b in RandomPlanner.from_json(_as_random(planner)).best()} == {
        ("DMF", 110.0)
    }


def _as_random(planner):
    state = json.loads(planner.to_json()) | {"planner": "random"}
    return json.dumps(state)


def test_a_planner_that_would_violate_is_stopped():
    class Careless(RandomPlanner):
        def _choose(self, number):
            found = super()._choose(number)
            return found.model_copy(update={"values": {"t": 150.0, "s": "DMF"}})

    with pytest.raises(ConstraintViolated, match="s = DMF and t > 120"):
        Careless(HOT).suggest(1)
