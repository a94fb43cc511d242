"""The search space in numbers: points as rows of a matrix, one column per number, one per category.

Shapes: n points, p parameters, d columns (d ≥ p; a category takes one column per value). All columns lie in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from athanor.planners.input_space import Inputs
from athanor.planners.problem import Categorical, Continuous, LinearConstraint, Problem, Value

Matrix = NDArray[np.float64]

FEASIBLE = 1e-7
"""Largest violation of a linear constraint, relative to its coefficients in unit coordinates."""

PROJECTIONS = 400
"""Rounds of Dykstra's projection: enough for a few constraints in ten dimensions."""


MOST_TRIED = 1 << 15
"""Points looked at for some that keep the input constraints, before there are said to be none."""

MOST_MOVED = 1 << 11
"""Of these so many are moved to where they keep them, in each of a few rounds."""

ENOUGH = 16
"""Points that keep the input constraints from which others can be made."""

GROWN = 12
"""Rounds in which points that keep the input constraints are combined to new ones."""


class InfeasibleSpace(ValueError):
    """No point meets all constraints on parameters: names them."""


class Space:
    """Encodes points of a problem as rows in 0..1, decodes rows, and knows levels and constraints on parameters.

    `inputs` are the constraints beyond sums, None where there are none.
    """

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
        starts = [s.start for s in self.slices]
        self.inputs = Inputs(problem, starts, self.levels, self.width) if problem.input_constraints else None

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
        """Whether there are constraints on parameters."""
        return self.is_linearly_constrained or self.inputs is not None

    @property
    def is_linearly_constrained(self) -> bool:
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
        where a constraint on parameters needs it as it is.
        """
        tied = {name for c in self.problem.linear_constraints for name in c.coefficients}
        values = self._decoded(row, tied)
        if self.problem.keeps_inputs(values):
            return values
        return self._decoded(row, tied.union(*(c.names for c in self.problem.input_constraints)))

    def _decoded(self, row: Matrix, tied: AbstractSet[str]) -> dict[str, Value]:
        values: dict[str, Value] = {}
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
        """Return for each row whether it meets the constraints on parameters."""
        feasible = self._is_flat(rows)
        return feasible if self.inputs is None else feasible & self.inputs.is_feasible(rows)

    def _is_flat(self, rows: Matrix) -> NDArray[np.bool_]:
        """Return for each row whether it meets the linear constraints."""
        feasible = np.ones(len(rows), dtype=bool)
        for a, b in self.inequalities:
            feasible &= rows @ a >= b - FEASIBLE
        for a, b in self.equalities:
            feasible &= np.abs(rows @ a - b) <= FEASIBLE
        return feasible

    def project(self, rows: Matrix) -> Matrix:
        """Move the continuous columns to the nearest point that meets box and constraints, the rest held.

        Of input constraints a near one, where numbers that have to be zero become so. A row whose discrete values admit
        no such point comes back infeasible.
        """
        rows = self.snap(rows)
        if self.inputs is not None:
            return self.inputs.project(rows, self._flatten, self._is_flat)
        return self._flatten(rows)

    def _flatten(self, rows: Matrix, least: Matrix | None = None, most: Matrix | None = None) -> Matrix:
        """Return the nearest rows within bounds (n, d) that meet the linear constraints, discrete columns held.

        Dykstra's alternating projections. Without bounds, within 0..1.
        """
        rows, free = rows.copy(), self.continuous_columns
        low: Matrix | float = 0.0 if least is None else least[:, free]
        high: Matrix | float = 1.0 if most is None else most[:, free]
        if not self.is_linearly_constrained or not free:
            if least is not None:
                rows[:, free] = np.clip(rows[:, free], low, high)
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
            x = np.clip(y, low, high)
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
        if self.inputs is not None:
            return self._sample_inputs(self.inputs, n, seed)
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

    def _sample_inputs(self, inputs: Inputs, n: int, seed: int) -> Matrix:
        """As `sample`: points that keep everything as they are, points moved to where they do, and mixtures of both."""
        rng = np.random.default_rng([seed, n, len(self.slices)])
        found, moved = np.empty((0, self.width)), np.empty((0, self.width))
        tried, wanted = 0, min(max(8 * n, 512), MOST_TRIED)
        while len(found) + len(moved) < ENOUGH and tried < MOST_TRIED:
            cube = sobol(len(self.slices), wanted, seed)[tried:]
            tried, wanted = wanted, min(4 * wanted, MOST_TRIED)
            inside = inputs.inside(cube, rng)
            found = np.concatenate([found, inside[self._is_flat(inside)]])
            # Also where there are plenty inside: what is left of a category may be a single point, or an edge.
            outside = inputs.rows(cube)
            projected = self.project(outside[~self.is_feasible(outside)][:MOST_MOVED])
            moved = np.concatenate([moved, projected[self.is_feasible(projected)]])
        if not len(found) + len(moved):
            text = "; ".join(str(c) for c in (*self.problem.linear_constraints, *self.problem.input_constraints))
            raise InfeasibleSpace(
                f"of {tried} points tried within the bounds none could be made to meet all of: {text}. "
                "Widen the bounds or a constraint."
            )
        mixed = self._mixtures(inputs, np.concatenate([found, moved]), n - len(found), rng)
        inside = np.concatenate([found, mixed])
        return self._spread(np.concatenate([inside, moved[: max(n - len(inside), len(inside) // 4, 1)]]), n)

    def _mixtures(self, inputs: Inputs, rows: Matrix, count: int, rng: np.random.Generator) -> Matrix:
        """Return up to `count` feasible rows, each a row moved along the line through two of the same discrete values.

        Sums stay what they are in this way, and zeros zeros; what a nonlinear constraint forbids is left out.
        """
        made: list[Matrix] = []
        for _ in range(GROWN):
            if sum(map(len, made)) >= count or len(rows) < 2:
                break
            _, which = np.unique(inputs.keys(rows), axis=0, return_inverse=True)
            order = np.argsort(which, kind="stable")
            sizes = np.bincount(which)
            first = np.concatenate([[0], np.cumsum(sizes)])[:-1]
            one, other = (
                rows[order[first[which] + (rng.random(len(rows)) * sizes[which]).astype(int)]] for _ in range(2)
            )
            new = rows + rng.random((len(rows), 1)) * (one - other)
            new[:, self.discrete_columns] = rows[:, self.discrete_columns]
            new = new[((new >= 0.0) & (new <= 1.0)).all(axis=1) & self.is_feasible(new) & (one != other).any(axis=1)]
            made.append(new[: 4 * count])
            rows = np.concatenate([rows, made[-1]])
        return np.concatenate([np.empty((0, self.width)), *made])

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
