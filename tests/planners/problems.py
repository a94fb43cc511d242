"""Problems and test functions the planner tests share. Optima are shifted off centres and corners."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from athanor.planners import (
    Categorical,
    Continuous,
    Integer,
    LinearConstraint,
    Objective,
    Observation,
    Ordinal,
    OutcomeConstraint,
    Problem,
)

Outcomes = Mapping[str, float] | None

EVERYTHING = Problem(
    parameters=[
        Continuous("temperature", 30, 120, unit="degC"),
        Continuous("rate", 1e-3, 10.0, log=True),
        Continuous("a", 0, 1),
        Continuous("b", 0, 1),
        Integer("cycles", 1, 20),
        Ordinal("dose", [1, 2, 5]),
        Categorical("solvent", ["EtOH", "MeCN", "water"]),
    ],
    objectives=[Objective("yield", goal="maximize", unit="percent")],
    constraints=[
        LinearConstraint({"a": 1, "b": 1}, equals=1.0),
        LinearConstraint({"temperature": 1, "cycles": 2}, upper=140),
        OutcomeConstraint("pressure", upper=8.0, probability=0.9),
    ],
)

PLAIN = Problem([Continuous("x", -5, 10), Continuous("y", 0, 15)], [Objective("f", "minimize")])


def branin(values: Mapping[str, Any]) -> float:
    """Branin-Hoo; minimum 0.397887 at three points, none of them central."""
    x, y = values["x"], values["y"]
    return float(
        (y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6) ** 2
        + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x)
        + 10
    )


def run(planner: Any, experiment: Callable[[Mapping[str, Any]], Outcomes], budget: int) -> list[Any]:
    """Run a campaign of single suggestions; an experiment that returns None failed."""
    candidates = []
    for _ in range(budget):
        [candidate] = planner.suggest(1)
        outcomes = experiment(candidate.values)
        planner.ingest(
            [
                Observation(
                    candidate_id=candidate.id,
                    values=candidate.values,
                    outcomes=outcomes or {},
                    status="failed" if outcomes is None else "completed",
                )
            ]
        )
        candidates.append(candidate)
    return candidates
