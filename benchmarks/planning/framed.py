"""Published problems in boxes that a seed cuts and turns round.

Where a box is part of the problem, it cannot be shifted without changing the answer: beyond it there may be something
better. So a seed cuts up to 15 % off either side of an axis, never off what the best points need, with a margin where
there is room, and turns some axes round. The answer stays what it is and its place in the box moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from athanor.planners.problem import Categorical, Continuous, Integer, Ordinal, Problem, Value
from benchmarks.planning.problems import MARGIN, SHIFT, Vector

Function = Callable[[Mapping[str, float]], dict[str, float]]
Noisy = Callable[[Mapping[str, float], np.random.Generator], dict[str, float]]
Losses = Callable[[Mapping[str, Sequence[float]]], Vector]


@dataclass(frozen=True)
class Study:
    """A published problem.

    Attributes:
        name: as in tables.
        problem: as published, parameters in their usual box.
        function: every outcome, without noise, at a point of `problem`.
        losses: what is left to gain after each evaluation (n,), of all outcomes without noise.
        keep: the range of each parameter that a seed's box must hold; all of it where none is given.
        noisy: what is measured; the outcomes themselves where there is none.
        budget: evaluations.
    """

    name: str
    problem: Problem
    function: Function
    losses: Losses
    keep: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    noisy: Noisy | None = None
    budget: int = 50


@dataclass(frozen=True)
class Framed:
    """A study as one seed has it: what a planner is given, and what it does not see."""

    task: Study
    seed: int
    problem: Problem
    turned: frozenset[str] = field(repr=False)

    @property
    def budget(self) -> int:
        """Evaluations."""
        return self.task.budget

    def truths(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Every outcome without noise."""
        return self.task.function(self.inside(values))

    def outcomes(self, values: Mapping[str, Value], number: int) -> dict[str, float]:
        """What the evaluation of that number gives: the same for every planner that asks for the same point."""
        if self.task.noisy is None:
            return self.truths(values)
        return self.task.noisy(self.inside(values), np.random.default_rng([self.seed, number]))

    def losses(self, truths: Mapping[str, Sequence[float]]) -> Vector:
        """What is left to gain after each evaluation (n,), of the outcomes without noise."""
        return self.task.losses(truths)

    def inside(self, values: Mapping[str, Value]) -> dict[str, float]:
        """The point of the published problem that a planner's point stands for."""
        return {p.name: _turn(p, float(values[p.name]), p.name in self.turned) for p in self.problem.parameters}


def frame(study: Study, seed: int) -> Framed:
    """A study as one seed has it."""
    rng = np.random.default_rng([seed, 2027])
    parameters: list[Continuous | Integer] = []
    turned = set()
    for p in study.problem.parameters:
        if isinstance(p, Ordinal | Categorical):
            raise TypeError(f"{study.name}: {p.name} is {p.kind}; a box has continuous and integer axes")
        first, last = study.keep.get(p.name, (p.low, p.high))
        width = p.high - p.low
        shares = [min(SHIFT, max(0.0, room / width - MARGIN)) for room in (first - p.low, p.high - last)]
        below, above = (width * share * rng.random() for share in shares)
        if rng.random() < 0.5:
            turned.add(p.name)
        if isinstance(p, Integer):
            parameters.append(Integer(p.name, p.low + math.floor(below), p.high - math.floor(above)))
        else:
            parameters.append(Continuous(p.name, p.low + below, p.high - above))
    problem = Problem(parameters, study.problem.objectives, study.problem.constraints)
    return Framed(study, seed, problem, frozenset(turned))


def _turn(p: Continuous | Integer | Ordinal | Categorical, value: float, is_turned: bool) -> float:
    assert isinstance(p, Continuous | Integer)
    # The turned value of a bound may miss the other bound by a rounding error.
    return min(max(p.low + p.high - value, p.low), p.high) if is_turned else value
