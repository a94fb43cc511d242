"""Input constraints in numbers: which rows keep them, the nearest row that does, and rows spread over all that do.

What is excluded, and which amounts are zero, cuts the space into branches; within one, numbers lie between bounds and
ordinary optimisers work. Nonlinear constraints are approached along their gradients (Gauss-Newton steps).

Shapes: n points, d columns of the space, p parameters. All columns lie in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from athanor.planners.expressions import Expression
from athanor.planners.input_constraints import SLACK, Cardinality, Condition, Exclusion, NonlinearConstraint
from athanor.planners.parameters import Categorical, Continuous
from athanor.planners.problem import Problem

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
Flatten = Callable[[Matrix, Matrix, Matrix], Matrix]
"""Moves the continuous columns of rows (n, d) onto linear constraints, within bounds (n, d) and (n, d)."""

EDGE = 1e-9
"""Distance kept from a bound that does not count itself, in unit coordinates; an end of a range is exact."""
GAP = 1e-6
"""Distance kept from a bound that is excluded itself."""
SMALLEST = 1e-3
"""Least share of its range that a number is given that must be above zero, or that must not have one value."""
MARGIN = 1e-7
"""How far inside a nonlinear constraint a row is moved, relative to the constraint's spread over the space."""
ROUNDING = 1e-8
"""Slack for rows that were encoded from values, so that those on a constraint's edge keep it."""
STEPS = 30
"""Gauss-Newton steps towards the nonlinear constraints."""
LONGEST_STEP = 0.5
ATTEMPTS = 3
"""Ways tried to put a row right: to the nearest side of what is excluded, then to the others."""
DIFFERENCE = 1e-5
"""Half the distance over which a slope is taken."""


class Inputs:
    """The input constraints of a problem over the columns of its space."""

    def __init__(self, problem: Problem, starts: Sequence[int], levels: dict[int, Matrix], width: int) -> None:
        self._problem, self._starts, self._levels, self._width = problem, starts, levels, width
        self._free = np.ones(width, dtype=bool)
        for i, found in levels.items():
            self._free[starts[i] : starts[i] + found.shape[1]] = False
        constraints = problem.input_constraints
        self._boxes = [self._box(c) for c in constraints if isinstance(c, Exclusion)]
        self._groups = [self._group(c) for c in constraints if isinstance(c, Cardinality)]
        self.curves = [self._curve(c) for c in constraints if isinstance(c, NonlinearConstraint)]

    # -- what the constraints are in unit coordinates ------------------------------------------------------------------

    def _box(self, constraint: Exclusion) -> _Box:
        sides, listed = [], []
        for name, condition in constraint.when.items():
            i = self._problem.names.index(name)
            parameter = self._problem.parameters[i]
            if isinstance(parameter, Continuous):
                sides.append(_side(self._starts[i], parameter, condition))
            else:
                listed.append((i, np.array([condition.holds(level) for level in parameter.levels])))
        return _Box(tuple(sides), tuple(listed))

    def _group(self, constraint: Cardinality) -> _Group:
        floors = []
        for name in constraint.parameters:
            parameter = self._problem.parameter(name)
            if isinstance(parameter, Continuous):
                needed = SMALLEST if constraint.at_least else 0.0
                floors.append(needed if constraint.threshold is None else constraint.threshold / parameter.high)
            else:
                assert not isinstance(parameter, Categorical)  # by validation
                enough = [v for v in parameter.levels if v != 0 and not constraint.too_little(_all(constraint, v))]
                floors.append(parameter.to_unit(enough[0]))
        columns = np.array([self._starts[self._problem.names.index(name)] for name in constraint.parameters])
        return _Group(columns, np.array(floors), constraint.at_least, constraint.most)

    def _curve(self, constraint: NonlinearConstraint) -> Curve:
        places = {}
        for name in constraint.names:
            parameter = self._problem.parameter(name)
            assert not isinstance(parameter, Categorical)  # by validation
            log = isinstance(parameter, Continuous) and parameter.log
            low, high = float(parameter.from_unit(0.0)), float(parameter.from_unit(1.0))
            ends = (float(np.log(low)), float(np.log(high))) if log else (low, high)
            places[name] = (self._starts[self._problem.names.index(name)], ends[0], ends[1] - ends[0], log)
        curve = Curve(constraint.parsed, places, constraint.lower, constraint.upper, 1.0)
        found, valid = curve.values(np.random.default_rng(0).random((256, self._width)), np)
        spread = float(np.ptp(found[valid])) if valid.any() else 0.0
        return Curve(curve.expression, places, curve.lower, curve.upper, spread if spread > 0 else 1.0)

    # -- which rows keep them ------------------------------------------------------------------------------------------

    @property
    def has_moves(self) -> bool:
        """Whether rows have neighbours with other amounts of zero."""
        return bool(self._groups)

    def is_feasible(self, rows: Matrix, slack: float = 0.0) -> Mask:
        """Return for each row whether it keeps every input constraint; `slack` is for rows encoded from values."""
        feasible = np.ones(len(rows), dtype=bool)
        for box in self._boxes:
            feasible &= ~(self._is_listed(box, rows) & box.contains(rows, slack))
        for group in self._groups:
            feasible &= group.is_kept(rows, slack)
        for curve in self.curves:
            room, valid = curve.room(rows, np)
            feasible &= valid & np.all([side >= -slack for side in room], axis=0)
        return feasible

    def _is_listed(self, box: _Box, rows: Matrix) -> Mask:
        """Return whether every condition on a category or on steps of a number holds."""
        found = np.ones(len(rows), dtype=bool)
        for i, listed in box.listed:
            levels, start = self._levels[i], self._starts[i]
            if levels.shape[1] > 1:
                at = np.argmax(rows[:, start : start + levels.shape[1]], axis=1)
            else:
                middles = (levels[1:, 0] + levels[:-1, 0]) / 2.0
                at = np.searchsorted(middles, rows[:, start])
            found &= listed[at]
        return found

    def bounds(self, rows: Matrix) -> tuple[Matrix, Matrix]:
        """Return the bounds (n, d) and (n, d) of the branch that each row is in: within them nothing is excluded."""
        low, high = np.zeros_like(rows), np.ones_like(rows)
        for group in self._groups:
            present = rows[:, group.columns] > 0.0
            low[:, group.columns] = np.where(present, group.floors, 0.0)
            high[:, group.columns] = np.where(present, 1.0, 0.0)
        for box in (box for box in self._boxes if box.sides):
            pending = self._is_listed(box, rows) & ~box.contains(rows)
            # Of the conditions that do not hold the clearest stays so; the others are then free.
            clear = np.array([side.clearance(rows) for side in box.sides]).reshape(len(box.sides), len(rows))
            for k, side in enumerate(box.sides):
                mine = pending & (np.argmax(clear, axis=0) == k)
                under = mine & (rows[:, side.column] <= side.low)
                over = mine & ~under
                high[under, side.column] = np.minimum(high[under, side.column], side.low)
                low[over, side.column] = np.maximum(low[over, side.column], side.high)
        return low, high

    # -- the nearest row that keeps them -------------------------------------------------------------------------------

    def project(self, rows: Matrix, flatten: Flatten, is_flat: Callable[[Matrix], Mask]) -> Matrix:
        """Move rows (n, d), their discrete values at levels, to where every constraint on parameters is kept.

        Amounts that are to be zero become so, the smallest first; the rest of the discrete columns is held. A row that
        could not be put right comes back infeasible.
        """
        result = rows.copy()
        todo = np.arange(len(rows))
        for attempt in range(ATTEMPTS if self._boxes or self._groups else 1):
            moved = rows[todo].copy()
            for group in self._groups:
                group.settle(moved, fill=attempt > 0)
            self._push_out(moved, attempt)
            low, high = self.bounds(moved)
            moved = self._pull_in(flatten(moved, low, high), low, high, flatten)
            result[todo] = moved
            todo = todo[~(self.is_feasible(moved) & is_flat(moved))]
            if not len(todo):
                break
        return result

    def _push_out(self, rows: Matrix, attempt: int) -> None:
        """Move rows out of what is excluded: to the nearest side, in later attempts to the next ones (in place)."""
        for _ in range(len(self._boxes) and 3):  # one may be pushed into another
            for box in self._boxes:
                inside = np.flatnonzero(self._is_listed(box, rows) & box.contains(rows))
                ways = [(side.column, at) for side in box.sides for at in side.ways]
                if not len(inside) or not ways:
                    continue
                distances = np.array([np.abs(rows[inside, column] - at) for column, at in ways])
                order = np.argsort(distances, axis=0, kind="stable")
                chosen = order[min(attempt, len(ways) - 1)]
                for k, (column, at) in enumerate(ways):
                    rows[inside[chosen == k], column] = at

    def _pull_in(self, rows: Matrix, low: Matrix, high: Matrix, flatten: Flatten) -> Matrix:
        """Take Gauss-Newton steps towards the nonlinear constraint that is missed most, until none is."""
        rows = rows.copy()
        for _ in range(STEPS if self.curves else 0):
            sides = [(curve, k, side) for curve in self.curves for k, side in enumerate(curve.room(rows, np)[0])]
            room = np.array([np.nan_to_num(side, nan=0.0, posinf=0.0, neginf=0.0) for _, _, side in sides])
            todo = np.flatnonzero(room.min(axis=0) < 0.0)
            if not len(todo):
                break
            worst = np.argmin(room, axis=0)
            for k, (curve, which, _) in enumerate(sides):
                mine = todo[worst[todo] == k]
                if not len(mine):
                    continue
                slope = np.where((high[mine] > low[mine]) & self._free, curve.slope(rows[mine], which), 0.0)
                size = np.square(slope).sum(axis=1, keepdims=True)
                step = slope * ((MARGIN - room[k, mine, None]) / np.where(size > 0.0, size, 1.0))
                length = np.linalg.norm(step, axis=1, keepdims=True)
                rows[mine] += step * np.minimum(1.0, LONGEST_STEP / np.maximum(length, 1e-300))
            rows[todo] = flatten(np.clip(rows[todo], low[todo], high[todo]), low[todo], high[todo])
        return rows

    # -- rows spread over all that keep them ---------------------------------------------------------------------------

    def inside(self, cube: Matrix, rng: np.random.Generator) -> Matrix:
        """Return the rows among positions (n, p) in the unit cube that keep the input constraints as they are.

        Only amounts that are to be zero are made so: half of the rows with as many non-zero as may be, the others with
        any number of them.
        """
        rows = self.rows(cube)
        for group in self._groups:
            sizes = rng.integers(group.least, group.most + 1, size=len(rows))
            sizes[rng.random(len(rows)) < 0.5] = group.most
            group.settle(rows, sizes=sizes)
        return rows[self.is_feasible(rows)]

    def rows(self, cube: Matrix) -> Matrix:
        """Map (n, p) positions in the unit cube to (n, d) rows, every level of a discrete parameter equally likely."""
        rows = np.empty((len(cube), self._width))
        for i, start in enumerate(self._starts):
            if i in self._levels:
                levels = self._levels[i]
                at = np.minimum((cube[:, i] * len(levels)).astype(int), len(levels) - 1)
                rows[:, start : start + levels.shape[1]] = levels[at]
            else:
                rows[:, start] = cube[:, i]
        return rows

    def keys(self, rows: Matrix) -> Matrix:
        """Return numbers (n, k) that are the same for rows with the same discrete values and the same zeros."""
        zeros = [(rows[:, group.columns] > 0.0).astype(float) for group in self._groups]
        return np.concatenate([rows[:, ~self._free], *zeros], axis=1)

    def neighbours(self, row: Matrix) -> list[Matrix]:
        """Return rows in which one amount is zero that was not, or takes the place of one, or both."""
        found = []
        for group in self._groups:
            present = group.columns[row[group.columns] > 0.0]
            absent = [(c, f) for c, f in zip(group.columns, group.floors, strict=True) if row[c] == 0.0]
            for column in present if len(present) > group.least else ():
                found.append(_changed(row, {column: 0.0}))
            for column, floor in absent:
                if len(present) < group.most:
                    found.append(_changed(row, {column: max(floor, 0.1)}))
                found += [_changed(row, {column: max(floor, row[other]), other: 0.0}) for other in present]
        return found


@dataclass(frozen=True)
class _Side:
    """A condition on a continuous column: it holds strictly between low and high."""

    column: int
    low: float
    high: float

    @property
    def ways(self) -> list[float]:
        """Where the column can be for the condition not to hold: next to it on either side."""
        return [at for at in (self.low, self.high) if 0.0 <= at <= 1.0]

    def clearance(self, rows: Matrix) -> Matrix:
        """Return how far each row is from the condition; negative where it holds."""
        at = rows[:, self.column]
        return np.maximum(self.low - at, at - self.high)


@dataclass(frozen=True)
class _Box:
    """An excluded combination: conditions on continuous columns, and which levels of discrete parameters."""

    sides: tuple[_Side, ...]
    listed: tuple[tuple[int, Mask], ...]

    def contains(self, rows: Matrix, slack: float = 0.0) -> Mask:
        """Return whether every condition on a continuous column holds, by more than the slack."""
        found = np.ones(len(rows), dtype=bool)
        for side in self.sides:
            found &= side.clearance(rows) < -slack
        return found


@dataclass(frozen=True)
class _Group:
    """Amounts of which so many are not zero; floors are the least that each can then be."""

    columns: NDArray[np.int64]
    floors: Matrix
    least: int
    most: int

    def is_kept(self, rows: Matrix, slack: float = 0.0) -> Mask:
        # What a row may lack is less than what a point may: it becomes one.
        amounts = rows[:, self.columns]
        present = amounts != 0.0
        count = present.sum(axis=1)
        enough = ~present | (amounts >= self.floors * (1.0 - max(slack, 0.5 * SLACK)))
        return (count >= self.least) & (count <= self.most) & enough.all(axis=1)

    def settle(self, rows: Matrix, fill: bool = False, sizes: NDArray[np.int64] | None = None) -> None:
        """Make the smallest amounts zero and lift the others to their floors (in place).

        `sizes` (n,) are how many are to be non-zero, or with `fill` as many as may be; else as many as there are.
        """
        amounts = rows[:, self.columns]
        rank = np.argsort(np.argsort(-amounts, axis=1, kind="stable"), axis=1)
        if sizes is not None:
            kept = rank < sizes[:, None]
        elif fill:
            kept = rank < self.most
        else:
            kept = ((amounts > self.floors / 2.0) & (amounts > 0.0) & (rank < self.most)) | (rank < self.least)
        least = np.where(self.floors > 0.0, self.floors, 0.0 if not fill else SMALLEST)
        rows[:, self.columns] = np.where(kept, np.maximum(amounts, least), 0.0)


@dataclass(frozen=True)
class Curve:
    """A nonlinear constraint: the column, offset, factor and scale of each name, and its spread over the space."""

    expression: Expression
    places: dict[str, tuple[int, float, float, bool]]
    lower: float | None
    upper: float | None
    spread: float

    def values(self, rows: Any, numbers: Any) -> tuple[Any, Any]:
        """Return values (…) and whether they are finite, of rows (…, d); `numbers` is numpy or torch."""
        columns = {}
        for name, (column, offset, factor, is_log) in self.places.items():
            own = offset + factor * rows[..., column]
            columns[name] = numbers.exp(own) if is_log else own
        with np.errstate(all="ignore"):
            return self.expression.evaluate(columns, numbers)

    def room(self, rows: Any, numbers: Any) -> tuple[list[Any], Any]:
        """Return for each bound how far inside rows are, as a share of the spread, and whether that is known."""
        found, valid = self.values(rows, numbers)
        sides = [(found - self.lower) / self.spread] if self.lower is not None else []
        sides += [(self.upper - found) / self.spread] if self.upper is not None else []
        return sides, valid

    def slope(self, rows: Matrix, which: int) -> Matrix:
        """Return the derivatives (n, d) of the room to one bound, by differences; 0 where there is none."""
        slope = np.zeros_like(rows)
        for column, *_ in self.places.values():
            ends = []
            for shift in (-DIFFERENCE, DIFFERENCE):
                shifted = rows.copy()
                shifted[:, column] = np.clip(shifted[:, column] + shift, 0.0, 1.0)
                ends.append((self.room(shifted, np)[0][which], shifted[:, column]))
            with np.errstate(all="ignore"):
                slope[:, column] = (ends[1][0] - ends[0][0]) / (ends[1][1] - ends[0][1])
        return np.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)


def _side(column: int, parameter: Continuous, condition: Condition) -> _Side:
    """Return where a condition holds, in unit coordinates, a little wider than it says."""
    if condition.listed is not None:
        at = parameter.to_unit(condition.listed[0])
        return _Side(column, at - SMALLEST, at + SMALLEST)
    low, high = condition.bounds
    margin = GAP if condition.between is not None else EDGE
    first, last = -np.inf, np.inf
    if low > parameter.low:
        first = parameter.to_unit(low) - margin
    elif low == parameter.low and condition.between is None:
        first = 0.0
    if high < parameter.high:
        last = parameter.to_unit(high) + margin
    elif high == parameter.high and condition.between is None:
        last = 1.0
    return _Side(column, first, last)


def _all(constraint: Cardinality, value: float) -> dict[str, float | int | str]:
    return dict.fromkeys(constraint.parameters, value)


def _changed(row: Matrix, columns: dict[int, float]) -> Matrix:
    row = row.copy()
    for column, value in columns.items():
        row[column] = value
    return row
