"""Problems whose outcomes must stay within bounds: a feasible point is to be found, and improved without leaving.

Every constraint g is a black box that must not exceed 0. Best values are held against a search of our own in
`tests/benchmarks`. A run that has found nothing feasible counts as the worst feasible point.

Sources: Gramacy et al., "Modeling an augmented Lagrangian for blackbox constrained optimization" (2016); the pressure
vessel with its two thicknesses in steps of 1/16 inch from Coello Coello and Mezura Montes, "Constraint-handling in
genetic algorithms through the use of dominance-based tournament selection" (2002), without the bound on its length
that its box implies; the speed reducer with a whole number of teeth from Lemonge et al., "Constrained optimization
problems in mechanical engineering design using a real-coded steady-state genetic algorithm" (2010).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from athanor.planners.problem import Continuous, Integer, Objective, OutcomeConstraint, Problem
from benchmarks.planning.framed import Function, Losses, Study
from benchmarks.planning.problems import Vector

PROBABILITY = 0.95
"""With which every constraint must hold where a planner can be told so: ours alone can."""


def gramacy(x: Mapping[str, float]) -> dict[str, float]:
    """The sum of two coordinates, outside of a wave and inside of a circle."""
    a, b = x["x1"], x["x2"]
    wave = 1.5 - a - 2.0 * b - 0.5 * math.sin(2.0 * math.pi * (a * a - 2.0 * b))
    return {"y": a + b, "g1": wave, "g2": a * a + b * b - 1.5}


STEP = 0.0625
"""Of a plate's thickness, in inches."""


def pressure_vessel(x: Mapping[str, float]) -> dict[str, float]:
    """The cost of a cylinder with two caps, of rolled plates, that holds 750 cubic feet."""
    shell, head, radius, length = STEP * x["shell"], STEP * x["head"], x["radius"], x["length"]
    cost = 0.6224 * shell * radius * length + 1.7781 * head * radius**2
    cost += 3.1661 * shell**2 * length + 19.84 * shell**2 * radius
    volume = math.pi * radius**2 * length + 4.0 / 3.0 * math.pi * radius**3
    return {
        "y": cost,
        "g1": 0.0193 * radius - shell,
        "g2": 0.00954 * radius - head,
        "g3": 1_296_000.0 - volume,
    }


def speed_reducer(x: Mapping[str, float]) -> dict[str, float]:
    """The weight of a gear box on two shafts, within stresses, deflections and proportions."""
    face, module, teeth, length1, length2, shaft1, shaft2 = (x[f"x{i}"] for i in range(1, 8))
    weight = 0.7854 * face * module**2 * (3.3333 * teeth**2 + 14.9334 * teeth - 43.0934)
    weight += 7.4777 * (shaft1**3 + shaft2**3) - 1.508 * face * (shaft1**2 + shaft2**2)
    weight += 0.7854 * (length1 * shaft1**2 + length2 * shaft2**2)
    pitch = module * teeth
    limits = [
        27.0 / (face * module * pitch) - 1.0,
        397.5 / (face * pitch**2) - 1.0,
        1.93 * length1**3 / (pitch * shaft1**4) - 1.0,
        1.93 * length2**3 / (pitch * shaft2**4) - 1.0,
        math.hypot(745.0 * length1 / pitch, math.sqrt(16.9e6)) / (0.1 * shaft1**3) - 1100.0,
        math.hypot(745.0 * length2 / pitch, math.sqrt(157.5e6)) / (0.1 * shaft2**3) - 850.0,
        pitch - 40.0,
        5.0 - face / module,
        face / module - 12.0,
        (1.5 * shaft1 + 1.9) / length1 - 1.0,
        (1.1 * shaft2 + 1.9) / length2 - 1.0,
    ]
    return {"y": weight} | {f"g{i}": value for i, value in enumerate(limits, start=1)}


def feasible(problem: Problem, truths: Mapping[str, Sequence[float]]) -> list[bool]:
    """Whether each evaluation (n,) truly keeps every bound."""
    names = [c.name for c in problem.outcome_constraints]
    return [problem.is_feasible({name: truths[name][i] for name in names}) for i in range(len(truths["y"]))]


def lapses(problem: Problem, truths: Mapping[str, Sequence[float]]) -> tuple[int, int]:
    """How many suggestions after the first feasible one were not feasible, and how many there were."""
    held = feasible(problem, truths)
    if True not in held:
        return 0, 0
    later = held[held.index(True) + 1 :]
    return later.count(False), len(later)


def _study(
    name: str,
    parameters: Sequence[Continuous | Integer],
    function: Function,
    count: int,
    best: Mapping[str, float],
    optimum: float,
    worst: float,
    budget: int = 50,
) -> Study:
    limits = [OutcomeConstraint(f"g{i + 1}", upper=0.0, probability=PROBABILITY) for i in range(count)]
    problem = Problem(parameters, [Objective("y", goal="minimize")], limits)
    return Study(
        name,
        problem,
        function,
        _losses(problem, optimum, worst),
        keep={key: (value, value) for key, value in best.items()},
        budget=budget,
    )


def _losses(problem: Problem, optimum: float, worst: float) -> Losses:
    def losses(truths: Mapping[str, Sequence[float]]) -> Vector:
        values = np.where(feasible(problem, truths), np.array(truths["y"]), worst)
        return np.minimum.accumulate(values - optimum)

    return losses


BEST = {
    "gramacy": {"x1": 0.19512, "x2": 0.40466},
    "pressure-vessel": {"shell": 13.0, "head": 7.0, "radius": 42.0984456, "length": 176.6365958},
    "speed-reducer": {"x1": 3.5, "x2": 0.7, "x3": 17.0, "x4": 7.3, "x5": 7.8, "x6": 3.350215, "x7": 5.286683},
}
"""Where the best feasible points are; they lie on their bounds, up to these digits."""

OPTIMA = {"gramacy": 0.599788, "pressure-vessel": 6059.714335, "speed-reducer": 2996.348165}
"""Their values."""

CONSTRAINED: dict[str, Study] = {
    study.name: study
    for study in (
        _study(
            "gramacy",
            [Continuous("x1", 0.0, 1.0), Continuous("x2", 0.0, 1.0)],
            gramacy,
            2,
            BEST["gramacy"],
            OPTIMA["gramacy"],
            worst=math.sqrt(3.0),
        ),
        _study(
            "pressure-vessel",
            [
                Integer("shell", 1, 99),
                Integer("head", 1, 99),
                Continuous("radius", 10.0, 200.0),
                Continuous("length", 10.0, 200.0),
            ],
            pressure_vessel,
            3,
            BEST["pressure-vessel"],
            OPTIMA["pressure-vessel"],
            worst=pressure_vessel({"shell": 99, "head": 99, "radius": 200.0, "length": 200.0})["y"],
        ),
        _study(
            "speed-reducer",
            [
                Continuous("x1", 2.6, 3.6),
                Continuous("x2", 0.7, 0.8),
                Integer("x3", 17, 28),
                Continuous("x4", 7.3, 8.3),
                Continuous("x5", 7.8, 8.3),
                Continuous("x6", 2.9, 3.9),
                Continuous("x7", 5.0, 5.5),
            ],
            speed_reducer,
            11,
            BEST["speed-reducer"],
            OPTIMA["speed-reducer"],
            worst=6117.342,
        ),
    )
}
