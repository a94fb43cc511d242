"""Scales that fit their outcomes, and outcomes that know of one another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.planners.hyperparameters import FitFailed
from athanor.planners.problem import Continuous, Objective, OutcomeConstraint, Problem
from athanor.planners.protocol import Measured, Observation
from athanor.planners.space import Space
from athanor.planners.surrogate import Scale, Surrogate, build, moderated

SCALES = [
    Scale("plain", 0.3, 2.0),
    Scale("log", -1.0, 0.7),
    Scale("saturating", 1.0, 0.5, edge=1.1),
    Scale("logit", 0.2, 1.5, floor=-0.1, edge=1.1),
]


@pytest.mark.parametrize("scale", SCALES, ids=lambda s: s.kind)
class TestScale:
    @given(y=st.floats(0.001, 1.0))
    def test_there_and_back(self, scale: Scale, y: float) -> None:
        there = torch.tensor([float(scale.to_model(y))], dtype=torch.double)
        assert float(scale.from_model(there)[0]) == pytest.approx(y, abs=1e-9)

    def test_it_increases_and_knows_its_slope(self, scale: Scale) -> None:
        y = np.linspace(0.01, 0.99, 50)
        assert np.all(np.diff(scale.stretch(y)) > 0)
        step = 1e-6
        slope = (scale.stretch(y + step) - scale.stretch(y - step)) / (2 * step)
        assert np.log(slope) == pytest.approx(scale.log_slope(y), abs=1e-5)

    def test_moments_are_those_of_samples(self, scale: Scale) -> None:
        rng = np.random.default_rng(0)
        middle, sd = np.array([float(scale.to_model(0.6))]), 0.3
        mean, spread = scale.moments(middle, np.array([sd**2]))
        drawn = scale.from_model(torch.as_tensor(middle + sd * rng.standard_normal(400_000))).numpy()
        assert mean[0] == pytest.approx(drawn.mean(), rel=0.01)
        assert spread[0] == pytest.approx(drawn.std(), rel=0.02)


def test_a_bound_beyond_an_end_is_out_of_reach() -> None:
    scale = Scale("logit", 0.0, 1.0, floor=0.0, edge=1.0)
    assert scale.bound(1.0) == np.inf and scale.bound(-0.5) == -np.inf and scale.bound(0.5) == pytest.approx(0.0)


def problem(lower: float | None = None) -> Problem:
    constraints = [] if lower is None else [OutcomeConstraint(name="b", lower=lower)]
    return Problem(
        parameters=[Continuous(name="x", low=0.0, high=1.0), Continuous(name="z", low=0.0, high=1.0)],
        objectives=[Objective(name="a", goal="maximize")],
        constraints=constraints,
    )


def observed(points: np.ndarray, **outcomes: np.ndarray) -> list[Observation]:
    return [
        Observation(
            values={"x": float(p[0]), "z": float(p[1])},
            outcomes={name: Measured(float(y[i]), None) for name, y in outcomes.items()},
        )
        for i, p in enumerate(points)
    ]


def fitted(n: int, lower: float | None, **functions: object) -> Surrogate:
    points = np.random.default_rng(3).random((n, 2))
    outcomes = {name: f(points) for name, f in functions.items()}  # type: ignore[operator]
    asked = problem(lower)
    return build(asked, Space(asked), observed(points, **outcomes))


def step(p: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-40.0 * (p[:, 0] + 0.3 * p[:, 1] - 0.65)))


def test_an_outcome_that_saturates_at_both_ends_gets_a_scale_with_two_ends() -> None:
    noise = np.random.default_rng(4)
    model = fitted(25, None, a=lambda p: step(p) + 0.003 * noise.standard_normal(len(p)))
    assert model.outcomes["a"].scale.kind == "logit"
    smooth = fitted(25, None, a=lambda p: np.sin(3 * p[:, 0]) + p[:, 1])
    assert smooth.outcomes["a"].scale.kind == "plain"


def test_a_level_that_nothing_has_reached_yet_stays_within_reach() -> None:
    """No step of the purity was above 0.8 so far: 0.98 must still be possible somewhere."""
    model = fitted(20, 0.98, a=lambda p: p[:, 0], b=lambda p: 0.2 + 0.6 * step(p))
    low, _ = model.bounds(model.problem.outcome_constraints[0])
    assert np.isfinite(low)
    assert float(model.log_feasibility(model.space.sample(64, 0)).max()) > -50.0


@pytest.mark.parametrize(("sign", "expected"), [(-1.0, (-1.0, -0.6)), (1.0, (0.6, 1.0))])
def test_outcomes_that_trade_off_are_known_to(sign: float, expected: tuple[float, float]) -> None:
    def first(p: np.ndarray) -> np.ndarray:
        return np.asarray(np.sin(4 * p[:, 0]) + p[:, 1] ** 2)

    model = fitted(24, 0.0, a=first, b=lambda p: sign * first(p) + 0.1 * np.cos(5 * p[:, 1]))
    assert model.correlation[0, 0] == pytest.approx(1.0)
    assert expected[0] <= model.correlation[0, 1] <= expected[1]


def test_unrelated_outcomes_stay_so() -> None:
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        points = rng.random((30, 2))
        w, shift = rng.normal(size=(2, 2)) * 4, rng.random(2) * 6
        asked = problem(0.0)
        outcomes = {n: np.sin(points @ w[i] + shift[i]) for i, n in enumerate(("a", "b"))}
        found.append(build(asked, Space(asked), observed(points, **outcomes)).correlation[0, 1])
    assert abs(float(np.mean(found))) < 0.25
    assert max(map(abs, found)) <= 1.0


def test_an_outcome_missing_in_places_is_judged_where_both_are() -> None:
    points = np.random.default_rng(5).random((20, 2))
    y = np.sin(4 * points[:, 0])
    observations = observed(points, a=y, b=-y)
    observations[3] = observations[3].model_copy(update={"outcomes": {"a": observations[3].outcomes["a"]}})
    asked = problem(0.0)
    assert build(asked, Space(asked), observations).correlation[0, 1] < -0.6


def test_a_single_observation_is_too_little() -> None:
    asked = problem()
    with pytest.raises(FitFailed, match="a has 1 observations"):
        build(asked, Space(asked), observed(np.array([[0.5, 0.5]]), a=np.array([1.0])))


BETTER = {"maximize": 1.0, "minimize": -1.0}


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12), st.sampled_from(["maximize", "minimize"]))
def test_poor_results_are_raised_to_as_far_below_the_middle_as_the_best_is_above(y: list[float], goal: Any) -> None:
    problem = Problem([Continuous("x", 0, 1)], [Objective("y", goal)])
    given_ = [Observation(values={"x": i / len(y)}, outcomes={"y": Measured(v, 0.5)}) for i, v in enumerate(y)]
    sign = BETTER[goal]
    scores = [sign * o.outcomes["y"].mean for o in moderated(problem, given_)]
    before = [sign * v for v in y]
    middle = float(np.median(before))
    assert max(scores) == max(before)
    assert min(scores) >= 2 * middle - max(before) - 1e-9
    assert all(new == old for new, old in zip(scores, before, strict=True) if old >= middle)
    assert all(new >= old for new, old in zip(scores, before, strict=True))
    assert all(o.outcomes["y"].sem == 0.5 for o in moderated(problem, given_))
    assert [o.outcomes["y"].mean for o in given_] == y


@pytest.mark.parametrize(
    "problem",
    [
        Problem([Continuous("x", 0, 1)], [Objective("y", target=3.0)]),
        Problem([Continuous("x", 0, 1)], [Objective("y", "maximize")], constraints=[OutcomeConstraint("y", lower=1)]),
    ],
)
def test_nothing_is_raised_where_every_value_is_asked_about(problem: Problem) -> None:
    given_ = [Observation(values={"x": v / 10}, outcomes={"y": v}) for v in (0.0, 8.0, 9.0, 10.0)]
    assert moderated(problem, given_) == given_


def test_nothing_is_raised_beyond_a_stated_reference() -> None:
    """What covers no volume does not come to cover one."""
    problem = Problem(
        [Continuous("x", 0, 1)], [Objective("a", "maximize", reference=5.0), Objective("b", "minimize", reference=1.0)]
    )
    given_ = [Observation(values={"x": v / 10}, outcomes={"a": v, "b": 0.1 * v}) for v in (0.0, 8.0, 9.0, 10.0)]
    raised = moderated(problem, given_)
    assert [o.outcomes["a"].mean for o in raised] == [5.0, 8.0, 9.0, 10.0]
    assert [o.outcomes["b"].mean for o in raised] == [0.0, 0.8, 0.9, 1.0]
    problem = Problem([Continuous("x", 0, 1)], [Objective("a", "maximize", reference=9.5), Objective("b", "minimize")])
    assert [o.outcomes["a"].mean for o in moderated(problem, given_)] == [7.0, 8.0, 9.0, 10.0]
