"""Problems of two objectives, and how much of the plane between a reference point and the best front is dominated.

No planner is told the reference point: what it takes for one is its own affair. Axes are as few as in a laboratory: six
for ZDT1 to 3 and ZDT6 and four for ZDT4, where the paper has thirty and ten. ZDT5 counts ones in strings of bits; its
objectives depend on the counts alone, so the counts are the parameters, eleven whole numbers. In ZDT4 the best front
lies in the middle of the published box, where some planners look first: a seed's cuts move it.

Sources: Branin and Currin as in Belakaria et al., "Max-value entropy search for multi-objective Bayesian optimization"
(2019), with the reference point (18, 6) of BoTorch; Zitzler, Deb and Thiele, "Comparison of multiobjective evolutionary
algorithms" (2000), with the reference point (11, 11) of Yang et al. (2019) where that can be reached; the aromatic
substitution: `benchmarks/planning/snar.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from athanor.planners.problem import Continuous, Integer, Objective, Problem
from benchmarks.planning import snar
from benchmarks.planning.framed import Function, Losses, Noisy, Study
from benchmarks.planning.problems import Vector, branin


def volumes(problem: Problem, truths: Mapping[str, Sequence[float]], reference: Mapping[str, float]) -> Vector:
    """What all evaluations up to each one dominate together beyond the reference point (n,); two objectives."""
    gains = np.array([[o.score(v) - o.score(reference[o.name]) for v in truths[o.name]] for o in problem.objectives])
    found = np.zeros(gains.shape[1])
    for i in range(len(found)):
        kept = gains[:, : i + 1][:, (gains[:, : i + 1] > 0.0).all(axis=0)]
        across, up = kept[:, np.argsort(-kept[0], kind="stable")]
        top = np.maximum.accumulate(np.append(0.0, up))
        found[i] = float((across * np.diff(top)).sum())
    return found


def branin_currin(x: Mapping[str, float]) -> dict[str, float]:
    """Branin on the unit square against Currin's exponential."""
    a, b = x["x1"], x["x2"]
    height = 1.0 - math.exp(-0.5 / b) if b > 0.0 else 1.0
    above = 2300.0 * a**3 + 1900.0 * a**2 + 2092.0 * a + 60.0
    below = 100.0 * a**3 + 500.0 * a**2 + 4.0 * a + 20.0
    return {"f1": branin(np.array([15.0 * a - 5.0, 15.0 * b])), "f2": height * above / below}


def _numbers(x: Mapping[str, float]) -> tuple[float, Vector]:
    first, *rest = x.values()
    return first, np.array(rest)


def _slope(rest: Vector) -> float:
    return 1.0 + 9.0 * float(rest.mean())


def zdt1(x: Mapping[str, float]) -> dict[str, float]:
    """A convex front."""
    first, rest = _numbers(x)
    g = _slope(rest)
    return {"f1": first, "f2": g * (1.0 - math.sqrt(first / g))}


def zdt2(x: Mapping[str, float]) -> dict[str, float]:
    """A concave front."""
    first, rest = _numbers(x)
    g = _slope(rest)
    return {"f1": first, "f2": g * (1.0 - (first / g) ** 2)}


def zdt3(x: Mapping[str, float]) -> dict[str, float]:
    """A front of five pieces."""
    first, rest = _numbers(x)
    g = _slope(rest)
    share = first / g
    return {"f1": first, "f2": g * (1.0 - math.sqrt(share) - share * math.sin(10.0 * math.pi * first))}


def zdt4(x: Mapping[str, float]) -> dict[str, float]:
    """Many local fronts."""
    first, rest = _numbers(x)
    g = 1.0 + float((np.square(rest) - 10.0 * np.cos(4.0 * math.pi * rest) + 10.0).sum())
    return {"f1": first, "f2": g * (1.0 - math.sqrt(first / g))}


def zdt5(x: Mapping[str, float]) -> dict[str, float]:
    """Counts of ones; all but the last one more in each small count leads away from the best."""
    first, rest = _numbers(x)
    g = float(np.where(rest < 5.0, rest + 2.0, 1.0).sum())
    return {"f1": 1.0 + first, "f2": g / (1.0 + first)}


def zdt6(x: Mapping[str, float]) -> dict[str, float]:
    """A concave front, thin at one end and hard to come near."""
    first, rest = _numbers(x)
    f1 = 1.0 - math.exp(-4.0 * first) * math.sin(6.0 * math.pi * first) ** 6
    g = 1.0 + 9.0 * float(rest.mean()) ** 0.25
    return {"f1": f1, "f2": g * (1.0 - (f1 / g) ** 2)}


def _minimised(parameters: Sequence[Continuous | Integer]) -> Problem:
    return Problem(parameters, [Objective("f1", goal="minimize"), Objective("f2", goal="minimize")])


def _unit(axes: int) -> list[Continuous]:
    return [Continuous(f"x{i + 1}", 0.0, 1.0) for i in range(axes)]


def _losses(problem: Problem, reference: Mapping[str, float], most: float) -> Losses:
    return lambda truths: most - volumes(problem, truths, reference)


LEAST_F1 = 0.2807753191
"""Where the front of ZDT6 begins."""

REFERENCES: dict[str, dict[str, float]] = {
    "branin-currin": {"f1": 18.0, "f2": 6.0},
    "zdt1": {"f1": 11.0, "f2": 11.0},
    "zdt2": {"f1": 11.0, "f2": 11.0},
    "zdt3": {"f1": 11.0, "f2": 11.0},
    "zdt4": {"f1": 11.0, "f2": 60.0},
    "zdt5": {"f1": 32.0, "f2": 60.0},
    "zdt6": {"f1": 11.0, "f2": 11.0},
    "snar": {"sty": 2957.0, "e_factor": 10.7},
    "snar-as-coded": {"sty": 2957.0, "e_factor": 10.7},
}

MOST: dict[str, float] = {
    "branin-currin": 59.3601,
    "zdt1": 121.0 - 1.0 / 3.0,
    "zdt2": 121.0 - 2.0 / 3.0,
    "zdt3": 128.778116,
    "zdt4": 660.0 - 1.0 / 3.0,
    "zdt5": sum(60.0 - 10.0 / count for count in range(1, 32)),
    "zdt6": 120.0 - 10.0 * LEAST_F1 + (1.0 - LEAST_F1**3) / 3.0,
    "snar": 18577.89,
    "snar-as-coded": snar.MOST_AS_CODED,
}
"""What the best front dominates beyond the reference point."""

_ZDT4 = [Continuous("x1", 0.0, 1.0), *(Continuous(f"x{i}", -5.0, 5.0) for i in (2, 3, 4))]
_ZDT5 = [Integer("ones1", 0, 30), *(Integer(f"ones{i}", 0, 5) for i in range(2, 12))]
_AT_ZERO = {f"x{i}": (0.0, 0.0) for i in range(2, 7)}


def _study(
    name: str,
    problem: Problem,
    function: Function,
    keep: Mapping[str, tuple[float, float]] | None = None,
    noisy: Noisy | None = None,
) -> Study:
    return Study(name, problem, function, _losses(problem, REFERENCES[name], MOST[name]), keep or {}, noisy)


SEVERAL: dict[str, Study] = {
    study.name: study
    for study in (
        _study("branin-currin", _minimised(_unit(2)), branin_currin, {"x1": (0.0, 0.13), "x2": (0.81, 1.0)}),
        _study("zdt1", _minimised(_unit(6)), zdt1, _AT_ZERO),
        _study("zdt2", _minimised(_unit(6)), zdt2, _AT_ZERO),
        _study("zdt3", _minimised(_unit(6)), zdt3, _AT_ZERO),
        _study("zdt4", _minimised(_ZDT4), zdt4, _AT_ZERO),
        _study("zdt5", _minimised(_ZDT5), zdt5),
        _study("zdt6", _minimised(_unit(6)), zdt6, _AT_ZERO),
        _study("snar", snar.PROBLEM, snar.published),
        _study("snar-as-coded", snar.PROBLEM, snar.as_coded, noisy=snar.as_coded_noisy),
    )
}
