"""Problems of one objective whose answer is known, in boxes that move with the seed.

Many planners try the middle of the box first, and many well-known functions have their optimum near it or at round
numbers. So every seed shifts each axis by up to 15 % of its width and turns some axes round: no place is special. A
minimiser always stays inside, 5 % of the width or more from every face, and every function here has its global minimum
over all space at its known minimisers, so that a shifted box holds nothing better. `tests/benchmarks` holds both claims
against a brute-force search.

Sources: Branin (1972); Hartmann (1973), constants as in Jamil and Yang, "A literature survey of benchmark functions"
(2013), from which Ackley, Levy, Rosenbrock and Griewank are, too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from athanor.planners.problem import Categorical, Continuous, Objective, Problem, Value

Vector = NDArray[np.float64]
Function = Callable[[Vector], float]

SHIFT = 0.15
"""Largest shift of an axis, as a share of its width."""
MARGIN = 0.05
"""Least distance of the minimiser that is kept inside from every face, as a share of the width."""


@dataclass(frozen=True)
class Task:
    """A function of numbers and categories that is to be minimised, in its usual box.

    Attributes:
        name: as in tables.
        function: of a vector (d,); the categories come last, as the numbers they stand for.
        box: low and high (p,) of the continuous axes.
        minimisers: of the continuous axes (k, p), each with the best categories.
        optimum: the least value there is.
        levels: what each category stands for, one tuple for each axis; none for continuous problems.
        noise: standard deviation of what is measured; planners are not told.
        budget: evaluations.
        idle: further axes, from 0 to 1, that do nothing; a seed strews them among the others.
    """

    name: str
    function: Function
    box: tuple[Vector, Vector]
    minimisers: Vector
    optimum: float
    levels: tuple[tuple[float, ...], ...] = ()
    noise: float = 0.0
    budget: int = 40
    idle: int = 0


@dataclass(frozen=True)
class Instance:
    """A task as one seed has it: what a planner is given, and what it does not see."""

    task: Task
    seed: int
    problem: Problem
    best: Mapping[str, Value]
    """A point of `problem` at which the optimum lies, up to the digits that minimisers are stated with."""
    _axes: tuple[str, ...] = field(repr=False)
    _offset: Vector = field(repr=False)
    _sign: Vector = field(repr=False)

    @property
    def budget(self) -> int:
        """Evaluations."""
        return self.task.budget

    def truths(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Every outcome without noise."""
        return {"y": self.truth(values)}

    def outcomes(self, values: Mapping[str, Value], number: int) -> dict[str, float]:
        """Every outcome as the evaluation of that number measures it."""
        return {"y": self.measure(values, number)}

    def losses(self, truths: Mapping[str, Sequence[float]]) -> Vector:
        """The least regret after each evaluation (n,), of the outcomes without noise."""
        return np.minimum.accumulate(np.array(truths["y"]) - self.task.optimum)

    def truth(self, values: Mapping[str, Value]) -> float:
        """The value without noise at a point of `problem`."""
        return self.task.function(self._inside(values))

    def regret(self, values: Mapping[str, Value]) -> float:
        """How much worse than the optimum a point is, without noise."""
        return self.truth(values) - self.task.optimum

    def measure(self, values: Mapping[str, Value], number: int) -> float:
        """What the evaluation of that number gives: the same for every planner that asks for the same point."""
        if not self.task.noise:
            return self.truth(values)
        rng = np.random.default_rng([self.seed, number])
        return self.truth(values) + self.task.noise * float(rng.standard_normal())

    def _inside(self, values: Mapping[str, Value]) -> Vector:
        numbers = np.array([float(values[name]) for name in self._axes])
        picked = [
            levels[int(str(values[f"c{i + 1}"]).removeprefix("option "))] for i, levels in enumerate(self.task.levels)
        ]
        return np.concatenate([self._offset + self._sign * numbers, picked])


def instance(name: str, seed: int) -> Instance:
    """A task as one seed has it. Raises `KeyError` naming the tasks there are."""
    known = TASKS | VARIANTS
    if name not in known:
        raise KeyError(f"no problem {name!r}; there are {', '.join(known)}")
    task = known[name]
    rng = np.random.default_rng([seed, 2026])
    low, high = task.box
    width = high - low
    kept = task.minimisers[rng.integers(len(task.minimisers))]
    least = np.maximum(-SHIFT, (kept - high) / width + MARGIN)
    most = np.minimum(SHIFT, (kept - low) / width - MARGIN)
    moved = width * rng.uniform(least, most)
    low, high = low + moved, high + moved
    is_turned = rng.random(len(low)) < 0.5
    offset, sign = np.where(is_turned, low + high, 0.0), np.where(is_turned, -1.0, 1.0)
    # The order in which options are listed says nothing about what they stand for.
    options = [[f"option {k}" for k in rng.permutation(len(levels))] for levels in task.levels]
    total = len(low) + task.idle
    active = rng.permutation(total)[: len(low)] if task.idle else np.arange(total)
    parameters: list[Continuous | Categorical] = [Continuous(f"x{i + 1}", 0.0, 1.0) for i in range(total)]
    for i, a, b in zip(active, low, high, strict=True):
        parameters[i] = Continuous(f"x{i + 1}", float(a), float(b))
    parameters += [Categorical(f"c{i + 1}", names) for i, names in enumerate(options)]
    axes = tuple(f"x{i + 1}" for i in active)
    best: dict[str, Value] = {p.name: p.from_unit(0.5) for p in parameters}
    best |= dict(zip(axes, ((kept - offset) / sign).tolist(), strict=True))
    combinations = itertools.product(*(range(len(levels)) for levels in task.levels))
    picks = min(combinations, key=lambda found: task.function(np.concatenate([kept, _picked(task, found)])))
    best |= {f"c{i + 1}": f"option {k}" for i, k in enumerate(picks)}
    return Instance(task, seed, Problem(parameters, [Objective("y", goal="minimize")]), best, axes, offset, sign)


def _picked(task: Task, places: Sequence[int]) -> list[float]:
    return [levels[k] for levels, k in zip(task.levels, places, strict=True)]


def branin(x: Vector) -> float:
    """Branin: three minima of the same depth."""
    a, b = float(x[0]), float(x[1])
    valley = b - 5.1 / (4.0 * math.pi**2) * a * a + 5.0 / math.pi * a - 6.0
    return valley**2 + 10.0 * (1.0 - 1.0 / (8.0 * math.pi)) * math.cos(a) + 10.0


HEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
SLOPES = np.array(
    [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ]
)
CENTRES = 1e-4 * np.array(
    [
        [1312.0, 1696.0, 5569.0, 124.0, 8283.0, 5886.0],
        [2329.0, 4135.0, 8307.0, 3736.0, 1004.0, 9991.0],
        [2348.0, 1451.0, 3522.0, 2883.0, 3047.0, 6650.0],
        [4047.0, 8828.0, 8732.0, 5743.0, 1091.0, 381.0],
    ]
)


def hartmann6(x: Vector) -> float:
    """Hartmann in six dimensions: four hills, of which the second highest is a trap at a regret of 0.12."""
    return -float(HEIGHTS @ np.exp(-(SLOPES * np.square(x - CENTRES)).sum(axis=1)))


def ackley(x: Vector) -> float:
    """Ackley: a narrow funnel in a rippled plain."""
    ripples = math.exp(float(np.cos(2.0 * math.pi * x).mean()))
    return -20.0 * math.exp(-0.2 * math.sqrt(float(np.square(x).mean()))) - ripples + 20.0 + math.e


def levy(x: Vector) -> float:
    """Levy: a bowl with many dents."""
    w = 1.0 + (x - 1.0) / 4.0
    first = math.sin(math.pi * float(w[0])) ** 2
    middle = np.square(w[:-1] - 1.0) * (1.0 + 10.0 * np.square(np.sin(math.pi * w[:-1] + 1.0)))
    last = (float(w[-1]) - 1.0) ** 2 * (1.0 + math.sin(2.0 * math.pi * float(w[-1])) ** 2)
    return first + float(middle.sum()) + last


def rosenbrock(x: Vector) -> float:
    """Rosenbrock: a bent valley, over five orders of magnitude."""
    return float((100.0 * np.square(x[1:] - np.square(x[:-1])) + np.square(1.0 - x[:-1])).sum())


def griewank(x: Vector) -> float:
    """Griewank: a wide bowl with shallow dents."""
    ripples = float(np.prod(np.cos(x / np.sqrt(np.arange(1, len(x) + 1)))))
    return float(np.square(x).sum()) / 4000.0 - ripples + 1.0


LAST = 0.657301
"""The sixth coordinate of Hartmann's minimiser, at which the mixed problem holds it."""


def mixed(x: Vector) -> float:
    """Hartmann with two of its axes cut into options without an order."""
    return hartmann6(np.append(x, LAST))


def _box(low: float, high: float, axes: int) -> tuple[Vector, Vector]:
    return np.full(axes, low), np.full(axes, high)


_HARTMANN6_AT = np.array([[0.201690, 0.150011, 0.476874, 0.275332, 0.311652, 0.657301]])
_HARTMANN6 = -3.322368

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "branin",
            branin,
            (np.array([-5.0, 0.0]), np.array([10.0, 15.0])),
            np.array([[-math.pi, 12.275], [math.pi, 2.275], [3.0 * math.pi, 2.475]]),
            10.0 / (8.0 * math.pi),
        ),
        Task("hartmann6", hartmann6, _box(0.0, 1.0, 6), _HARTMANN6_AT, _HARTMANN6),
        Task("ackley4", ackley, _box(-10.0, 15.0, 4), np.zeros((1, 4)), 0.0),
        Task("levy5", levy, _box(-7.0, 8.0, 5), np.ones((1, 5)), 0.0),
        Task("rosenbrock4", rosenbrock, _box(-5.0, 10.0, 4), np.ones((1, 4)), 0.0),
        Task("griewank5", griewank, _box(-600.0, 600.0, 5), np.zeros((1, 5)), 0.0),
        Task(
            "mixed5",
            mixed,
            _box(0.0, 1.0, 3),
            np.array([[0.200649, 0.150298, 0.479384]]),
            -3.296432,
            levels=((0.05, 0.25, 0.55, 0.9), (0.1, 0.3, 0.5, 0.7, 0.95)),
        ),
        Task("noisy-hartmann6", hartmann6, _box(0.0, 1.0, 6), _HARTMANN6_AT, _HARTMANN6, noise=0.15),
    )
}

VARIANTS: dict[str, Task] = {
    task.name: task
    for task in (
        replace(TASKS["branin"], name="branin-in-100", idle=98, budget=60),
        replace(TASKS["hartmann6"], name="hartmann6-in-100", idle=94, budget=60),
        Task("levy10", levy, _box(-7.0, 8.0, 10), np.ones((1, 10)), 0.0),
    )
}
"""With many axes: those of which few matter, and one whose suggestions are timed."""
