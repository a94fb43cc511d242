"""Every problem by its name, as one seed has it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from athanor.planners.problem import Problem, Value
from benchmarks.planning import problems
from benchmarks.planning.constrained import CONSTRAINED
from benchmarks.planning.framed import frame
from benchmarks.planning.problems import TASKS, VARIANTS, Vector
from benchmarks.planning.several import SEVERAL

NAMES: tuple[str, ...] = (*TASKS, *VARIANTS, *CONSTRAINED, *SEVERAL)


class Posed(Protocol):
    """A problem as it is put to a planner, and what the planner does not see of it."""

    @property
    def problem(self) -> Problem:
        """Parameters, objectives and constraints, as the planner is given them."""
        ...

    @property
    def budget(self) -> int:
        """Evaluations."""
        ...

    def truths(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Every outcome without noise."""
        ...

    def outcomes(self, values: Mapping[str, Value], number: int) -> dict[str, float]:
        """Every outcome as the evaluation of that number measures it."""
        ...

    def losses(self, truths: Mapping[str, Sequence[float]]) -> Vector:
        """What is left to gain after each evaluation (n,)."""
        ...


def pose(name: str, seed: int) -> Posed:
    """A problem as one seed has it. Raises `KeyError` naming the problems there are."""
    studies = CONSTRAINED | SEVERAL
    if name in studies:
        return frame(studies[name], seed)
    if name not in NAMES:
        raise KeyError(f"no problem {name!r}; there are {', '.join(NAMES)}")
    return problems.instance(name, seed)


def fingerprint(posed: Posed) -> str:
    """What tells one version of a problem from another: its parameters and its outcomes at a few points, in hex."""
    rng = np.random.default_rng(1)
    text = [posed.problem.model_dump_json()]
    for number in range(1, 5):
        values = posed.problem.from_unit(rng.random(len(posed.problem.parameters)).tolist())
        for found in (posed.truths(values), posed.outcomes(values, number)):
            text += [f"{name} {value:.6g}" for name, value in found.items()]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:12]
