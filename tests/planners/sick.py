"""Campaigns made up so that something is wrong with their model, shared by the tests of the health check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from athanor.planners import BayesianPlanner, Continuous, Measured, Objective, Observation, Problem
from athanor.planners.explanations import Finding
from athanor.planners.health import health

ONE = Problem([Continuous("x", 0, 1, unit="mm")], [Objective("y", "maximize", unit="V")])
PLANE = Problem([Continuous("x", 0, 1), Continuous("z", 0, 1)], [Objective("y", "maximize", unit="V")])


def told(
    problem: Problem,
    points: Sequence[Mapping[str, Any]],
    outcome: Callable[[Mapping[str, Any]], float | Mapping[str, float]],
    sem: float | None = None,
) -> BayesianPlanner:
    """A planner that was told of an outcome (or several) at points, as candidates c0, c1, …"""
    planner = BayesianPlanner(problem, seed=0)
    for k, values in enumerate(points):
        found = outcome(values)
        means = found if isinstance(found, Mapping) else {problem.objectives[0].name: found}
        outcomes = {name: Measured(mean, sem) for name, mean in means.items()}
        planner.ingest([Observation(candidate_id=f"c{k}", values=values, outcomes=outcomes)])
    return planner


def line(n: int) -> list[dict[str, float]]:
    """n even positions along x."""
    return [{"x": k / (n - 1)} for k in range(n)]


def scattered(n: int, seed: int = 0) -> list[dict[str, float]]:
    """n positions in the plane."""
    return [{"x": float(x), "z": float(z)} for x, z in np.random.default_rng(seed).random((n, 2))]


def findings(planner: BayesianPlanner) -> dict[str, Finding]:
    """What a health check says, by name."""
    return {item.name: item for item in health(planner).findings}
