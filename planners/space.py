"""The search space in numbers: points as rows of a matrix, one column per number, one per category.

Shapes: n points, p parameters, d columns (d ≥ p; a category takes one column per value). All columns lie in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from athanor.planners.problem import Categorical, Continuous, LinearConstraint, Problem, Value

Matrix = NDArray[np.float64]

FEASIBLE = 1e-7
"""Largest violation of a linear constraint, relative to its coefficients in unit coordinates."""

PROJECTIONS = 400
"""Rounds of Dykstra's projection: enough for a few constraints in ten dimensions."""


class InfeasibleSpace(ValueError):
    """No point meets all linear constraints: names them."""


class Space:
    """Encodes points of a problem as rows in 0..1, decodes rows, and knows levels and linear constraints."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.slices: list[slice] = []
        start = 0
        for parameter in problem.parameters:
            width = len(parameter.values) if isinstance(parameter, Categorical) else 1
            self.slices.append(slice(start, start + width))
            start += width
        self.width = start
        self.groups = np.concatenate([np.full(s.stop - s.start, i) for i, s in enumerate(self.slices)])
        self.levels: dict[int, Matrix] = {}
        for i, parameter in enumerate(problem.parameters):
            if isinstance(parameter, Continuous):
                continue
            if isinstance(parameter, Categorical):
                self.levels[i] = np.eye(len(parameter.values))
            else:
                self.levels[i] = np.array([[parameter.to_unit(level)] for level in parameter.levels])
        self.discrete_columns = [c for i in self.levels for c in range(self.slices[i].start, self.slices[i].stop)]
        self.continuous_columns = [c for c in range(self.width) if c not in set(self.discrete_columns)]
        # Columns of numbers with so many levels that it pays to search between them first.
        self.relaxable_columns = [
            self.slices[i].start for i, levels in self.levels.items() if len(levels[0]) == 1 and len(levels) > 3
        ]
        # Rows a·x ≥ b and a·x = b over the columns, scaled so that |a| = 1.
        self.inequalities: list[tuple[Matrix, float]] = []
        self.equalities: list[tuple[Matrix, float]] = []
        for constraint in problem.linear_constraints:
            self._add_linear(constraint)

    def _add_linear(self, constraint: LinearConstraint) -> None:
        row = np.zeros(self.width)
        offset = 0.0
        for name, coefficient in constraint.coefficients.items():
            i = self.problem.names.index(name)
            parameter = self.problem.parameters[i]
            low, high = float(parameter.from_unit(0.0)), float(parameter.from_unit(1.0))
            row[self.slices[i]] = coefficient * (high - low)
            offset += coefficient * low
        size = float(np.linalg.norm(row))
        row = row / size
        if constraint.equals is not None:
            self.equalities.append((row, (constraint.equals - offset) / size))
        if constraint.lower is not None:
            self.inequalities.append((row, (constraint.lower - offset) / size))
        if constraint.upper is not None:
            self.inequalities.append((-row, -(constraint.upper - offset) / size))

    @property
    def is_constrained(self) -> bool:
        """Whether there are linear constraints."""
        return bool(self.inequalities or self.equalities)

    @property
    def combinations(self) -> int:
        """The number of combinations of discrete values (1 if there are none)."""
        return math.prod(len(levels) for levels in self.levels.values())

    def encode(self, points: Sequence[Mapping[str, Value]]) -> Matrix:
        """Return n points as an (n, d) matrix."""
        rows = np.zeros((len(points), self.width))
        for row, values in zip(rows, points, strict=True):
            for parameter, columns in zip(self.problem.parameters, self.slices, strict=True):
                value = values[parameter.name]
                if isinstance(parameter, Categorical):
                    row[columns.start + parameter.values.index(str(value))] = 1.0
                else:
                    row[columns] = parameter.to_unit(value)
        return rows

    def decode(self, row: Matrix) -> dict[str, Value]:
        """Return the point a row of d numbers stands for.

        A continuous value is rounded to about 1e-5 of its range (finer settings mean nothing in a laboratory), except
        where a linear constraint needs it as it is.
        """
        values: dict[str, Value] = {}
        tied = {name for c in self.problem.linear_constraints for name in c.coefficients}
        for i, (parameter, columns) in enumerate(zip(self.problem.parameters, self.slices, strict=True)):
            if isinstance(parameter, Continuous):
                number = parameter.from_unit(float(np.clip(row[columns.start], 0.0, 1.0)))
                if parameter.name not in tied:
                    size = abs(number) if parameter.log else parameter.high - parameter.low
                    rounded = round(number, 5 - math.floor(math.log10(size)))
                    number = min(max(rounded, parameter.low), parameter.high)
                values[parameter.name] = number
            else:
                level = int(np.argmin(np.square(self.levels[i] - row[columns]).sum(axis=1)))
                values[parameter.name] = parameter.levels[level]
        return values

    def snap(self, rows: Matrix) -> Matrix:
        """Return rows with every discrete parameter moved to its nearest level (ties and categories: the largest)."""
        snapped = np.array(rows, dtype=float)
        for i, levels in self.levels.items():
            gaps = np.square(snapped[:, None, self.slices[i]] - levels[None]).sum(axis=2)
            snapped[:, self.slices[i]] = levels[np.argmin(gaps, axis=1)]
        return snapped

    def from_cube(self, cube: Matrix) -> Matrix:
        """Map (n, p) positions in the unit cube to (n, d) rows: every level of a discrete parameter equally likely."""
        return self.encode([self.problem.from_unit(row) for row in cube.tolist()])

    def to_cube(self, rows: Matrix) -> Matrix:
        """Map (n, d) rows to (n, p) positions in the unit cube, one per parameter."""
        cube = np.empty((len(rows), len(self.slices)))
        for i, (parameter, columns) in enumerate(zip(self.problem.parameters, self.slices, strict=True)):
            if isinstance(parameter, Categorical):
                cube[:, i] = np.argmax(rows[:, columns], axis=1) / (len(parameter.values) - 1)
            else:
                cube[:, i] = rows[:, columns.start]
        return cube

    def is_feasible(self, rows: Matrix) -> NDArray[np.bool_]:
        """Return for each row whether it meets the linear constraints."""
        feasible = np.ones(len(rows), dtype=bool)
        for a, b in self.inequalities:
            feasible &= rows @ a >= b - FEASIBLE
        for a, b in self.equalities:
            feasible &= np.abs(rows @ a - b) <= FEASIBLE
        return feasible

    def project(self, rows: Matrix) -> Matrix:
        """Move the continuous columns to the nearest point that meets box and linear constraints, the rest held.

        Dykstra's alternating projections; a row whose discrete values admit no such point comes back infeasible.
        """
        rows = self.snap(rows)
        free = self.continuous_columns
        if not self.is_constrained or not free:
            return rows
        held = rows.copy()
        held[:, free] = 0.0
        planes = [(a, b, False) for a, b in self.inequalities] + [(a, b, True) for a, b in self.equalities]
        planes = [(a, b, equal) for a, b, equal in planes if float(np.abs(a[free]).max()) > 0.0]
        x = rows[:, free]
        corrections = [np.zeros_like(x) for _ in range(len(planes) + 1)]
        for _ in range(PROJECTIONS):
            before = x
            for k, (a, b, equal) in enumerate(planes):
                y = x + corrections[k]
                gap = (b - held @ a) - y @ a[free]
                if not equal:
                    gap = np.maximum(gap, 0.0)
                x = y + np.outer(gap / float(a[free] @ a[free]), a[free])
                corrections[k] = y - x
            y = x + corrections[-1]
            x = np.clip(y, 0.0, 1.0)
            corrections[-1] = y - x
            if float(np.abs(x - before).max(initial=0.0)) < 1e-12:
                break
        rows[:, free] = x
        return rows

    def sample(self, n: int, seed: int) -> Matrix:
        """Return up to n different feasible rows, spread by a scrambled Sobol sequence; a function of n and seed alone.

        Raises:
            InfeasibleSpace: if no feasible row was found.
        """
        cube = sobol(len(self.slices), n if not self.is_constrained else 8 * n, seed)
        rows = self.from_cube(cube)
        if self.is_constrained:
            rows = self._spread(self._feasible(rows, seed), n)
        return np.unique(rows, axis=0) if not self.continuous_columns else rows

    def _feasible(self, rows: Matrix, seed: int) -> Matrix:
        inside = rows[self.is_feasible(rows)]
        projected = self.project(rows)
        projected = projected[self.is_feasible(projected)]
        if len(projected) == 0:
            text = "; ".join(str(c) for c in self.problem.linear_constraints)
            raise InfeasibleSpace(f"no point within the bounds meets all of: {text}. Widen the bounds or a constraint.")
        if self.equalities or len(inside) < len(rows) // 20:
            # Projections pile up on the faces; convex mixtures of points with the same discrete values fill the inside.
            rng = np.random.default_rng([seed, len(projected)])
            mixed = []
            keys = projected[:, self.discrete_columns]
            for key in np.unique(keys, axis=0):
                members = projected[(keys == key).all(axis=1)]
                weights = rng.dirichlet(np.ones(min(len(members), 3)), size=len(members))
                picks = rng.integers(0, len(members), size=weights.shape)
                mixed.append(np.einsum("nk,nkd->nd", weights, members[picks]))
            inside = np.concatenate([inside, *mixed])
            inside = inside[self.is_feasible(inside)]
        return np.concatenate([inside, projected[: max(1, len(inside) // 4)]])

    @staticmethod
    def _spread(rows: Matrix, n: int) -> Matrix:
        """Pick n rows one after the other, each the farthest from those picked (the first: nearest to the middle)."""
        rows = np.unique(rows, axis=0)
        chosen = [int(np.argmin(np.square(rows - rows.mean(axis=0)).sum(axis=1)))]
        gaps = np.square(rows - rows[chosen[0]]).sum(axis=1)
        while len(chosen) < min(n, len(rows)):
            chosen.append(int(np.argmax(gaps)))
            gaps = np.minimum(gaps, np.square(rows - rows[chosen[-1]]).sum(axis=1))
        return rows[chosen]


def sobol(dimension: int, n: int, seed: int) -> Matrix:
    """Return the first n points of a scrambled Sobol sequence in the unit cube, (n, dimension)."""
    exponent = max(0, math.ceil(math.log2(max(1, n))))
    engine = qmc.Sobol(d=dimension, scramble=True, rng=np.random.default_rng([seed, dimension]))
    return np.asarray(engine.random_base2(exponent)[:n], dtype=float)
