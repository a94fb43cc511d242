"""The quick figure: right where it can be compared, a bound where it leaves observations out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from athanor.planners.acquisition import choose
from athanor.planners.bayesian import BayesianPlanner, single_threaded
from athanor.planners.problem import Continuous, Objective, OutcomeConstraint, Problem
from athanor.planners.protocol import Observation
from athanor.planners.screening import FIXED, Marginals, figure
from athanor.planners.search import evaluate

PROBLEM = Problem([Continuous(name, 0, 1) for name in "abc"], [Objective("f", "maximize")])


def planner(n: int, problem: Problem = PROBLEM, noise: float = 0.05) -> BayesianPlanner:
    found = BayesianPlanner(problem, 1)
    rng = np.random.default_rng(n)
    for x in rng.random((n, 3)).tolist():
        f = -sum((v - 0.4) ** 2 for v in x) + noise * float(rng.normal())
        outcomes = {"f": f, "g": x[0] + x[1]}
        point = dict(zip("abc", x, strict=True))
        found.ingest([Observation(values=point, outcomes={k: outcomes[k] for k in problem.outcomes})])
    return found


def rows(n: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.random.default_rng(9).random((n, 3))


def test_marginals_are_those_of_the_process() -> None:
    process = planner(25).surrogate().outcomes["f"].process
    x = torch.as_tensor(rows(200))
    means, variances = process.components(x)
    draws = len(process.alpha)
    for dtype, near in ((torch.double, 1e-6), (torch.float32, 5e-3)):
        mean, sd = Marginals.of(process, draws, dtype).at(x.to(dtype))
        assert mean.dtype == sd.dtype == dtype
        assert torch.allclose(mean.double(), means, atol=near, rtol=0)
        assert torch.allclose(sd.double().square(), variances, atol=near, rtol=0)
    few, _ = Marginals.of(process, 2, torch.double).at(x)
    assert torch.allclose(few, means[[draws // 4, 3 * draws // 4]], atol=1e-6)


def test_of_many_observations_the_variance_is_a_bound_and_the_mean_exact() -> None:
    process = planner(FIXED + 40).surrogate().outcomes["f"].process
    x = torch.as_tensor(rows(300))
    means, variances = process.components(x)
    mean, sd = Marginals.of(process, 1, torch.float32).at(x.float())
    assert torch.allclose(mean.double(), means, atol=5e-3, rtol=0)
    slack = sd.double().square() - variances
    assert float(slack.min()) > -2e-3
    assert float(slack.max()) > 0.0
    exact = Marginals.of(process, 1, torch.double).at(x)[1]
    assert torch.allclose(exact.square(), variances, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "problem",
    [
        PROBLEM,
        Problem(PROBLEM.parameters, PROBLEM.objectives, [OutcomeConstraint("g", upper=1.0, probability=0.9)]),
        Problem(PROBLEM.parameters, [*PROBLEM.objectives, Objective("g", "minimize")]),
    ],
    ids=["one objective", "a limit", "two objectives"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.double])
def test_the_figure_orders_points_as_the_acquisition_does(problem: Problem, dtype: torch.dtype) -> None:
    found = planner(20, problem)
    with single_threaded():
        surrogate = found.surrogate()
        chosen = choose(surrogate, None, surrogate.rows[:0], surrogate.rows[:0], (), 3, 5)
        x = rows(600)
        exact = evaluate(chosen.acquisition, x)
        quick = figure(surrogate, chosen, None, dtype)(torch.as_tensor(x).to(dtype)).numpy()
    assert spearmanr(exact, quick)[0] > 0.9
    assert int(np.sum(quick > quick[int(np.argmax(exact))])) < 30, "the best is among the first 5 %"
