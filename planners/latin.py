"""Latin hypercubes of low centred discrepancy, also within linear constraints where these admit one.

McKay, Beckman and Conover, Technometrics 21 (1979); improved by exchanging values within a column, as Jin, Chen and
Sudjianto, "An efficient algorithm for constructing optimal design of computer experiments", J. Stat. Planning and
Inference 134 (2005), for the criterion of Hickernell, "A generalized discrepancy", Math. Comp. 67 (1998).

Shapes: n runs, p parameters, d columns of the space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from athanor.planners.design_options import DesignImpossible, tidy
from athanor.planners.parameters import Categorical, Continuous, Integer, Ordinal, Value
from athanor.planners.problem import Problem
from athanor.planners.space import FEASIBLE, Matrix, Space

WORK = 20_000_000
"""Numbers that the exchanges may look at, with `MOST_EXCHANGES` about a second."""
MOST_EXCHANGES = 5_000
MOST_REPAIRS = 20_000


@dataclass(frozen=True)
class LatinHypercube:
    """Points, the stratum (from 0) of each parameter in each, and the centred discrepancy before and after."""

    points: tuple[dict[str, Value], ...]
    strata: NDArray[np.int64]
    first: float
    discrepancy: float


def latin_hypercube(problem: Problem, runs: int, seed: int) -> LatinHypercube:
    """Return a Latin hypercube of n runs, each value in the middle of its stratum; a function of its arguments alone.

    A range is divided into n equal parts (of its logarithm on a logarithmic scale), each used once. A parameter with
    m listed or whole values takes each of them floor(n/m) or ceil(n/m) times.

    Raises:
        DesignImpossible: no Latin hypercube was found within the linear constraints.
    """
    rng = np.random.default_rng([seed, runs])
    strata = np.stack([rng.permutation(runs) for _ in problem.parameters], axis=1)
    values = [_values(p, runs) for p in problem.parameters]
    if problem.linear_constraints:
        _repair(problem, values, strata, rng)
    first = centred_discrepancy(strata)
    _improve(strata, rng, _Constraints(problem, values))
    points = tuple(
        problem.validate_point({p.name: v[s] for p, v, s in zip(problem.parameters, values, row, strict=True)})
        for row in strata.tolist()
    )
    return LatinHypercube(points, strata, first, centred_discrepancy(strata))


def centred_discrepancy(strata: NDArray[np.int64]) -> float:
    """Return Hickernell's centred L2 discrepancy of the middles of strata, (n, p); 0 would be perfectly even."""
    return float(np.sqrt(qmc.discrepancy((strata + 0.5) / len(strata), method="CD")))


def _single(z: Matrix) -> Matrix:
    return np.prod(1.0 + 0.5 * np.abs(z) - 0.5 * z * z, axis=1)


def _pairs(z: Matrix, one: Matrix) -> Matrix:
    return np.prod(1.0 + 0.5 * np.abs(z) + 0.5 * np.abs(one) - 0.5 * np.abs(z - one), axis=1)


class _Constraints:
    """How far rows of strata are from meeting the linear constraints, in the space's unit coordinates."""

    def __init__(self, problem: Problem, values: list[list[Value]]) -> None:
        space = Space(problem)
        firsts = [s.start for s in space.slices]
        planes = [(a, b, False) for a, b in space.inequalities] + [(a, b, True) for a, b in space.equalities]
        self._planes = [(a[firsts], b, equal) for a, b, equal in planes]
        self.tied = np.flatnonzero(np.any([a != 0 for a, _, _ in self._planes], axis=0)) if planes else np.arange(0)
        self._units = np.array(
            [
                [0.0] * len(v) if isinstance(p, Categorical) else [p.to_unit(x) for x in v]
                for p, v in zip(problem.parameters, values, strict=True)
            ]
        )

    def excess(self, strata: NDArray[np.int64]) -> Matrix:
        """Return for each row by how much it misses all constraints together."""
        units = self._units[np.arange(len(self._units)), strata]
        total = np.zeros(len(strata))
        for a, b, equal in self._planes:
            gap = b - units @ a
            missed = np.abs(gap) if equal else np.maximum(gap, 0.0)
            total += np.where(missed > FEASIBLE, missed, 0.0)
        return total


def _repair(problem: Problem, values: list[list[Value]], strata: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Exchange values within columns until every row meets the constraints (in place)."""
    constraints = _Constraints(problem, values)
    excess = constraints.excess(strata)
    for _ in range(min(MOST_REPAIRS, 200 * len(strata))):
        broken = np.flatnonzero(excess)
        if not len(broken):
            return
        i, j = int(rng.choice(broken)), int(rng.choice(constraints.tied))
        # Row i takes each other row's stratum in turn, and that row takes its own.
        mine = np.repeat(strata[i : i + 1], len(strata), axis=0)
        mine[:, j] = strata[:, j]
        theirs = strata.copy()
        theirs[:, j] = strata[i, j]
        change = constraints.excess(mine) + constraints.excess(theirs) - excess - excess[i]
        change[i] = np.inf
        # One that changes nothing is taken too, so as to leave a place where no exchange helps.
        best = int(rng.choice(np.flatnonzero(change <= change.min() + 1e-12)))
        if change[best] <= 1e-12:
            strata[[i, best], j] = strata[[best, i], j]
            excess[[i, best]] = constraints.excess(strata[[i, best]])
    if excess.any():
        text = "; ".join(str(c) for c in problem.linear_constraints)
        raise DesignImpossible(
            f"no Latin hypercube of {len(strata)} runs was found within {text}, since it uses the whole range of every "
            "parameter: use d-optimal or sobol, narrow the ranges, or leave out a parameter that the others determine"
        )


def _improve(strata: NDArray[np.int64], rng: np.random.Generator, constraints: _Constraints) -> None:
    """Exchange two values of a column wherever that lowers the discrepancy and breaks no constraint (in place)."""
    n, p = strata.shape
    if n < 3 or p < 2:
        return
    z = (strata + 0.5) / n - 0.5
    for _ in range(min(20 * n * p, WORK // (n * p), MOST_EXCHANGES)):
        a, b = rng.choice(n, size=2, replace=False).tolist()
        j = int(rng.integers(p))
        rows = z[[a, b]].copy()
        rows[:, j] = rows[::-1, j]
        if _share(z, a, b, rows) >= _share(z, a, b, z[[a, b]]) - 1e-12:
            continue
        exchanged = strata[[a, b]].copy()
        exchanged[:, j] = exchanged[::-1, j]
        if not constraints.excess(exchanged).any():
            strata[[a, b]], z[[a, b]] = exchanged, rows


def _share(z: Matrix, a: int, b: int, rows: Matrix) -> float:
    """Return what rows a and b contribute to n² times the squared discrepancy, if they were `rows`."""
    with_a, with_b = _pairs(z, rows[0]), _pairs(z, rows[1])
    with_a[[a, b]] = with_b[[a, b]] = 0.0
    own = _pairs(rows, rows[0]).sum() + _pairs(rows, rows[1]).sum()
    return float(2.0 * (with_a.sum() + with_b.sum()) + own - 2.0 * len(z) * _single(rows).sum())


def _values(parameter: Continuous | Integer | Ordinal | Categorical, runs: int) -> list[Value]:
    """Return a parameter's value in each stratum."""
    if isinstance(parameter, Continuous):
        return [tidy(parameter, parameter.from_unit((s + 0.5) / runs)) for s in range(runs)]
    levels = parameter.levels
    # The middle of a stratum, so that fewer runs than values spread over them and do not begin at the lowest.
    return [levels[(2 * s + 1) * len(levels) // (2 * runs)] for s in range(runs)]
