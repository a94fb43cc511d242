"""Constrained problems: the functions are those of the literature, and nothing feasible is better than the best."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from benchmarks.planning import constrained
from benchmarks.planning.constrained import BEST, CONSTRAINED, OPTIMA, STEP, feasible, lapses
from benchmarks.planning.framed import Study

NAMES = sorted(CONSTRAINED)


def search(study: Study, fixed: dict[str, float], starts: int, sign: float = 1.0) -> float:
    """The least objective (sign 1) or the largest (sign -1) that local searches find, whole numbers held."""
    free = [p for p in study.problem.parameters if p.name not in fixed]
    limits = [c.name for c in study.problem.outcome_constraints]
    low, high = np.array([[p.low, p.high] for p in free]).T  # type: ignore[union-attr]

    def at(u: np.ndarray) -> dict[str, float]:
        inside = low + np.clip(u, 0.0, 1.0) * (high - low)
        return study.function(fixed | dict(zip([p.name for p in free], inside.tolist(), strict=True)))

    size = {g: max(1.0, abs(at(np.full(len(free), 0.5))[g])) for g in ["y", *limits]}
    rng, found = np.random.default_rng(0), math.inf
    for _ in range(starts):
        result: Any = minimize(
            lambda u: sign * at(u)["y"] / size["y"],
            rng.random(len(free)),
            method="SLSQP",
            bounds=[(0.0, 1.0)] * len(free),
            constraints=[{"type": "ineq", "fun": lambda u: -np.array([at(u)[g] / size[g] for g in limits])}],
            options={"ftol": 1e-13, "maxiter": 300},
        )
        end = at(result.x)
        if all(end[g] <= 1e-7 * size[g] for g in limits):
            found = min(found, sign * end["y"])
    return sign * found


def test_gramacy_s_best_is_found_by_searches_and_beaten_by_no_grid_point() -> None:
    study = CONSTRAINED["gramacy"]
    assert search(study, {}, 40) == pytest.approx(OPTIMA["gramacy"], abs=2e-6)
    a, b = (axis.ravel() for axis in np.meshgrid(*[np.linspace(0.0, 1.0, 1_001)] * 2))
    held = (1.5 - a - 2 * b - 0.5 * np.sin(2 * np.pi * (a * a - 2 * b)) <= 0) & (a * a + b * b <= 1.5)
    assert OPTIMA["gramacy"] <= (a + b)[held].min() < OPTIMA["gramacy"] + 2e-3


def test_the_vessel_s_best_is_that_of_all_pairs_of_thicknesses() -> None:
    """For given plates and radius the shortest vessel that holds enough is the cheapest, so that one number is left."""
    least = math.inf
    for shell in range(1, 100):
        for head in range(1, 100):
            widest = min(STEP * shell / 0.0193, STEP * head / 0.00954, 200.0)
            if widest < 10.0:
                continue
            r = np.linspace(10.0, widest, 400)
            length = np.maximum((1_296_000.0 / math.pi - 4.0 / 3.0 * r**3) / r**2, 10.0)
            ts, th = STEP * shell, STEP * head
            cost = 0.6224 * ts * r * length + 1.7781 * th * r**2 + 3.1661 * ts**2 * length + 19.84 * ts**2 * r
            least = min(least, float(np.where(length <= 200.0, cost, math.inf).min()))
    assert least == pytest.approx(OPTIMA["pressure-vessel"], abs=1e-3)
    assert least >= OPTIMA["pressure-vessel"] - 1e-3


def test_the_reducer_s_best_is_that_of_all_numbers_of_teeth() -> None:
    study = CONSTRAINED["speed-reducer"]
    found = {teeth: search(study, {"x3": float(teeth)}, 4) for teeth in range(17, 29)}
    assert min(found, key=lambda teeth: found[teeth]) == 17
    assert found[17] == pytest.approx(OPTIMA["speed-reducer"], abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_best_point_has_the_best_value_and_touches_its_bounds(name: str) -> None:
    study = CONSTRAINED[name]
    study.problem.validate_point({p.name: BEST[name][p.name] for p in study.problem.parameters})
    outcomes = study.function(BEST[name])
    assert outcomes["y"] == pytest.approx(OPTIMA[name], rel=2e-5)
    slack = {"g1": 2e-5, "g3": 1e-3, "g6": 1e-3}
    assert all(outcomes[c.name] <= slack.get(c.name, 1e-9) for c in study.problem.outcome_constraints)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_without_a_feasible_point_counts_as_the_worst_feasible_one(name: str) -> None:
    study = CONSTRAINED[name]
    limits = [c.name for c in study.problem.outcome_constraints]
    nothing = study.losses({"y": [0.0], **{g: [1.0] for g in limits}})[0]
    whole: dict[str, dict[str, float]] = {
        "gramacy": {},
        "pressure-vessel": {"shell": 99.0, "head": 99.0},
        "speed-reducer": {"x3": 28.0},
    }
    assert nothing + OPTIMA[name] == pytest.approx(search(study, whole[name], 8, sign=-1.0), rel=1e-5)


def test_what_counts_is_the_least_regret_among_the_feasible() -> None:
    study = CONSTRAINED["gramacy"]
    truths = {"y": [0.1, 1.0, 0.8, 0.7, 0.9], "g1": [1.0, -1.0, -1.0, 0.1, 0.0], "g2": [-1.0] * 5}
    assert feasible(study.problem, truths) == [False, True, True, False, True]
    best = OPTIMA["gramacy"]
    assert study.losses(truths) == pytest.approx([math.sqrt(3.0) - best, 1.0 - best, *[0.8 - best] * 3])
    assert lapses(study.problem, truths) == (1, 3)
    assert lapses(study.problem, {"y": [0.1], "g1": [1.0], "g2": [-1.0]}) == (0, 0)


def test_the_functions_are_those_of_botorch() -> None:
    """Another implementation of the same sources; its vessel rounds thicknesses in the cost alone."""
    import torch
    from botorch.test_functions import synthetic

    rng = np.random.default_rng(3)
    steps = torch.tensor([STEP, STEP, 1.0, 1.0], dtype=torch.double)
    pairs: list[tuple[str, Any, torch.Tensor | float, list[int]]] = [
        ("gramacy", synthetic.ConstrainedGramacy(), 1.0, [0, 1]),
        ("pressure-vessel", synthetic.PressureVessel(), steps, [0, 1, 2]),
        ("speed-reducer", synthetic.SpeedReducer(), 1.0, list(range(11))),
    ]
    for name, other, scale, which in pairs:
        study = CONSTRAINED[name]
        for _ in range(20):
            values = study.problem.from_unit(rng.random(len(study.problem.parameters)).tolist())
            ours = study.function({key: float(value) for key, value in values.items()})
            at = torch.tensor([[float(value) for value in values.values()]], dtype=torch.double) * scale
            slack = [-float(value) for value in other._evaluate_slack_true(at)[0][which]]
            assert [ours[f"g{i + 1}"] for i in which] == pytest.approx(slack, rel=1e-9, abs=1e-9)
            assert ours["y"] == pytest.approx(float(other._evaluate_true(at)), rel=1e-9)


def test_every_bound_is_asked_for_with_the_stated_probability() -> None:
    for study in CONSTRAINED.values():
        assert {c.probability for c in study.problem.outcome_constraints} == {constrained.PROBABILITY}
