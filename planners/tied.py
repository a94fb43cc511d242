"""Candidates for a design where linear constraints tie parameters to each other: vertices, and what lies between them.

The vertices are the extreme ones of what the constraints leave (McLean and Anderson, Technometrics 8, 1966).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, combinations, islice, product

import numpy as np
from scipy.optimize import linprog

from athanor.planners.design_options import DesignImpossible, Model, tidy
from athanor.planners.parameters import Categorical, Continuous, Integer, Ordinal, Value
from athanor.planners.problem import LinearConstraint
from athanor.planners.space import InfeasibleSpace, Matrix

Setting = dict[str, Value]

MOST_CANDIDATES = 2_000
MOST_NODES = 20_000
"""Steps of tied whole or listed numbers that are looked at; beyond, only ends of what is left to each."""
MOST_FAILED = 5
"""Attempts to find a first combination of steps, each with a tenth of those nodes."""
MOST_IDLE = 300
"""Attempts one after the other that find no new combination of steps, after which no more are made."""
MOST_PROGRAMS = 400
"""Directions in which vertices are looked for where there are too many combinations of faces."""
MOST_CORNERS = 500_000
GAIN = 1e-9
"""Relative gain of the determinant below which an exchange is rounding."""


class Tied:
    """Candidates for parameters that linear constraints tie to each other.

    Whole and listed numbers are stepped through, each within what the constraints and the numbers before it leave;
    continuous ones then stand at the vertices of what is left to them. Where there are too many steps, each number
    takes an end of what is left to it, in an order drawn anew for each candidate: the first in the order of a
    dictionary, which is a vertex, and without rounding.
    """

    def __init__(
        self,
        parameters: Sequence[Continuous | Integer | Ordinal | Categorical],
        constraints: Sequence[LinearConstraint],
        model: Model,
    ) -> None:
        self._names = [p.name for p in parameters]
        self._moving = [p for p in parameters if isinstance(p, Continuous)]
        self._stepped = [p for p in parameters if isinstance(p, Integer | Ordinal)]
        self._constraints = constraints
        self._curved = model != "linear"
        self._rng = np.random.default_rng(0)
        self._nodes = 0
        self._known: dict[tuple[int, ...], tuple[list[Setting], list[Setting]]] = {}
        self._most = MOST_CANDIDATES if not self._moving else MOST_CANDIDATES // 10
        # Coefficients of the stepped numbers and the ends of each sum over everything that is not yet chosen.
        self._rows = [[c.coefficients.get(p.name, 0.0) for p in self._stepped] for c in constraints]
        ends = [
            [
                (a * float(p.from_unit(0.0)), a * float(p.from_unit(1.0)))
                for p in parameters
                if (a := c.coefficients.get(p.name))
            ]
            for c in constraints
        ]
        self._least = [sum(min(pair) for pair in row) for row in ends]
        self._greatest = [sum(max(pair) for pair in row) for row in ends]
        self._lower = [_bounds(c)[0] for c in constraints]
        self._upper = [_bounds(c)[1] for c in constraints]
        self._sizes = [sum(max(abs(x), abs(y)) for x, y in row) for row in ends]

    def candidates(self) -> tuple[list[Setting], list[Setting]]:
        """Return vertices (and all steps, where they are few), and the middles between them.

        Raises:
            InfeasibleSpace: if nothing meets the constraints.
            DesignImpossible: if the search for something that does was given up.
        """
        # First as exactly as the numbers are given; a constraint may also be met within its slack only.
        found: dict[tuple[int, ...], tuple[list[Setting], list[Setting]]] = {}
        given_up = False
        for slack in (1e-9, 1e-6):
            self._slack = slack
            try:
                found = self._all()
            except _TooMany:
                found = self._ends()
                given_up = True
            if found:
                break
        if found:
            several = list(found.values())
            return [s for corners, _ in several for s in corners], [s for _, between in several for s in between]
        text = "; ".join(str(c) for c in self._constraints)
        if given_up:
            raise DesignImpossible(
                f"no values were found that meet all of: {text}. There may be some: widen a constraint, list fewer "
                f"values, or make one of {', '.join(p.name for p in self._stepped)} continuous"
            )
        raise InfeasibleSpace(f"no point within the bounds meets all of: {text}. Widen the bounds or a constraint.")

    def _all(self) -> dict[tuple[int, ...], tuple[list[Setting], list[Setting]]]:
        found = {}
        self._nodes = MOST_NODES
        for steps, settings in self._walk(range(len(self._stepped)), lambda first, last, _: range(first, last + 1)):
            found[steps] = settings
            if len(found) > self._most:
                raise _TooMany
        return found

    def _ends(self) -> dict[tuple[int, ...], tuple[list[Setting], list[Setting]]]:
        found: dict[tuple[int, ...], tuple[list[Setting], list[Setting]]] = {}
        failed = 0
        # Vertices first; some places are left for points inside, lest a term be the same at all of the vertices.
        between = self._from_an_end_or_middle if self._curved else self._from_an_end
        shares = ((self._from_an_end, 0.5), (between, 0.9), (self._from_anywhere, 1.0))
        for way, share in shares:
            known, idle = len(found), 0
            for _ in range(self._most):
                idle = idle + 1 if len(found) == known else 0
                known = len(found)
                if known >= share * self._most or idle > MOST_IDLE:
                    break
                self._nodes = MOST_NODES // 10 if not found else 50 * len(self._stepped)
                order = self._rng.permutation(len(self._stepped)).tolist()
                try:
                    for steps, settings in islice(self._walk(order, way), 1):
                        found.setdefault(steps, settings)
                except _TooMany:
                    failed += 1
                    if not found and failed == MOST_FAILED:
                        return found
        return found

    def _from_an_end(self, first: int, last: int, _: int) -> Iterator[int]:
        return iter(range(first, last + 1) if self._rng.random() < 0.5 else range(last, first - 1, -1))

    def _from_an_end_or_middle(self, first: int, last: int, j: int) -> Iterator[int]:
        if self._rng.random() < 2 / 3:
            return self._from_an_end(first, last, j)
        levels = self._stepped[j].levels
        middle = (float(levels[first]) + float(levels[last])) / 2.0
        return self._from(min(max(bisect_left(levels, middle), first), last), first, last)

    def _from_anywhere(self, first: int, last: int, _: int) -> Iterator[int]:
        return self._from(first + int(self._rng.random() * (last - first + 1)), first, last)

    @staticmethod
    def _from(start: int, first: int, last: int) -> Iterator[int]:
        """Yield all steps, the nearest first."""
        yield start
        for away in range(1, last - first + 1):
            if start - away >= first:
                yield start - away
            if start + away <= last:
                yield start + away

    def _walk(
        self, order: Sequence[int], way: _Way
    ) -> Iterator[tuple[tuple[int, ...], tuple[list[Setting], list[Setting]]]]:
        """Yield steps that meet the constraints, with what the continuous numbers can then be; depth first."""
        steps = [0] * len(self._stepped)

        def descend(depth: int, least: list[float], greatest: list[float]) -> Iterator[tuple[int, ...]]:
            if depth == len(order):
                yield tuple(steps)
                return
            j = order[depth]
            levels = self._stepped[j].levels
            low, high = float(levels[0]), float(levels[-1])
            # What is left to this number, whatever those after it will be.
            least, greatest = list(least), list(greatest)
            bottom, top = low, high
            for i, row in enumerate(self._rows):
                if a := row[j]:
                    least[i] -= min(a * low, a * high)
                    greatest[i] -= max(a * low, a * high)
                    room = self._slack * self._sizes[i]
                    one, two = (self._lower[i] - room - greatest[i]) / a, (self._upper[i] + room - least[i]) / a
                    bottom, top = max(bottom, min(one, two)), min(top, max(one, two))
            first, last = bisect_left(levels, bottom), bisect_right(levels, top) - 1
            for step in way(first, last, j) if first <= last else ():
                self._nodes -= 1
                if self._nodes < 0:
                    raise _TooMany
                steps[j] = step
                value = float(levels[step])
                yield from descend(
                    depth + 1,
                    [x + row[j] * value for x, row in zip(least, self._rows, strict=True)],
                    [x + row[j] * value for x, row in zip(greatest, self._rows, strict=True)],
                )

        for found in descend(0, self._least, self._greatest):
            if (settings := self._known.get(found)) is None:
                settings = self._settings(dict(zip((p.name for p in self._stepped), self._values(found), strict=True)))
                self._known[found] = settings
            if settings[0]:
                yield found, settings

    def _values(self, steps: Sequence[int]) -> list[Value]:
        return [p.levels[step] for p, step in zip(self._stepped, steps, strict=True)]

    def _settings(self, fixed: Setting) -> tuple[list[Setting], list[Setting]]:
        """Return the vertices for the continuous parameters where the others are fixed, and the middles."""
        spans = np.array([p.high - p.low for p in self._moving])
        matrix, lower, upper = [], [], []
        for c, low, high in zip(self._constraints, self._lower, self._upper, strict=True):
            row = np.array([c.coefficients.get(p.name, 0.0) for p in self._moving]) * spans
            if row.any():  # the others are checked below, where all values are known
                held = math.fsum(a * float(fixed[name]) for name, a in c.coefficients.items() if name in fixed)
                held += math.fsum(c.coefficients.get(p.name, 0.0) * p.low for p in self._moving)
                matrix.append(row)
                lower.append(low - held)
                upper.append(high - held)
        a, b, d = np.array(matrix).reshape(len(lower), len(spans)), np.array(lower), np.array(upper)
        units = vertices(a, b, d) if self._moving else np.empty((1, 0))
        if units is None or not len(units):
            units = self._solved(a, b, d)
        middles = [*_middles(units)] if self._curved and self._moving and len(units) > 1 else []
        centre = units.mean(axis=0) if len(units) else np.zeros(len(spans))
        corners = [s for unit in units if (s := self._setting(fixed, unit, centre)) is not None]
        between = [s for unit in chain(*middles) if (s := self._setting(fixed, unit, centre)) is not None]
        return corners, between

    def _setting(self, fixed: Setting, unit: Matrix, centre: Matrix) -> Setting | None:
        """Return the values at a point of the unit cube, if need be a little inwards; None if that breaks it."""
        for inwards in (0.0, 1e-9, 1e-8, 1e-7, 1e-6):
            moved = unit + inwards * (centre - unit)
            exact = {p.name: p.from_unit(float(u)) for p, u in zip(self._moving, moved, strict=True)}
            short = {p.name: tidy(p, exact[p.name]) for p in self._moving}
            for values in (short, exact):
                point = {name: (fixed | values)[name] for name in self._names}
                if all(c.is_satisfied(point) for c in self._constraints):
                    return point
            if not self._moving:
                return None
        return None

    def _solved(self, matrix: Matrix, lower: Matrix, upper: Matrix) -> Matrix:
        """Return vertices found by linear programs in many directions, for want of a list of all."""
        size = np.abs(matrix).max(axis=1)
        a, low, high = matrix / size[:, None], lower / size, upper / size
        equal = low == high
        above, below = ~equal & np.isfinite(high), ~equal & np.isfinite(low)
        q = matrix.shape[1]
        count = MOST_PROGRAMS if not self._stepped else max(4, MOST_PROGRAMS // self._most)
        directions = np.vstack([np.eye(q), -np.eye(q), self._rng.standard_normal((count, q))])
        if self._stepped:
            directions = self._rng.permutation(directions)[:count]
        found = []
        for direction in directions:
            solved = linprog(
                direction,
                A_ub=np.vstack([a[above], -a[below]]),
                b_ub=np.concatenate([high[above], -low[below]]),
                A_eq=a[equal],
                b_eq=high[equal],
                bounds=(0.0, 1.0),
                method="highs-ds",  # whose solutions are vertices
            )
            if solved.x is None:
                break
            found.append(np.clip(solved.x, 0.0, 1.0))
        return _distinct(np.array(found).reshape(-1, q))


_Way = Callable[[int, int, int], Iterable[int]]
"""In which order to try a number's steps: from first to last, of the number with that index."""


class _TooMany(Exception):
    """There are too many steps to look at all of them."""


def _bounds(constraint: LinearConstraint) -> tuple[float, float]:
    if constraint.equals is not None:
        return constraint.equals, constraint.equals
    low, high = constraint.lower, constraint.upper
    return -math.inf if low is None else low, math.inf if high is None else high


def _middles(units: Matrix) -> Iterator[Matrix]:
    """Yield the centroid and the middles between it and the vertices, and between pairs of vertices (not too many)."""
    centroid = units.mean(axis=0, keepdims=True)
    yield centroid
    yield (units + centroid) / 2.0
    one, other = np.triu_indices(len(units), 1)
    if len(one) > MOST_CANDIDATES:
        picks = np.sort(np.random.default_rng(0).permutation(len(one))[:MOST_CANDIDATES])
        one, other = one[picks], other[picks]
    yield (units[one] + units[other]) / 2.0


def vertices(matrix: Matrix, lower: Matrix, upper: Matrix) -> Matrix | None:
    """Return the vertices of lower ≤ matrix·x ≤ upper within the unit cube; None where there are too many to look at.

    Args:
        matrix: (m, c), a row per constraint; lower and upper are equal for an equation.
        lower: (m,), may be -inf.
        upper: (m,), may be inf.
    """
    size = np.abs(matrix).sum(axis=1) + 1e-300
    everything, least, most = matrix, lower, upper
    # An equation that others imply would leave no regular system; it is still checked below.
    equations = np.flatnonzero(lower == upper)
    needed = equations[spanning(matrix[equations] / size[equations, None])] if len(equations) else equations
    keep = np.sort(np.concatenate([needed, np.flatnonzero(lower != upper)]))
    matrix, lower, upper = matrix[keep], lower[keep], upper[keep]
    m, c = matrix.shape
    sides = [
        [lower[i]] if lower[i] == upper[i] else [None, *(b for b in (lower[i], upper[i]) if np.isfinite(b))]
        for i in range(m)
    ]
    # All corners to look at, counted first: how many faces at once, and which numbers they determine.
    faces = [1]
    for side in sides:
        more = len(side) - (side[0] is None)
        faces = [(a if side[0] is None else 0) + more * b for a, b in zip([*faces, 0], [0, *faces], strict=True)]
    if sum(n * math.comb(c, k) << (c - k) for k, n in enumerate(faces[: c + 1])) > MOST_CORNERS:
        return None
    found: list[Matrix] = []
    for active in product(*sides):
        rows = [i for i in range(m) if active[i] is not None]
        if len(rows) > c:
            continue
        bounds = np.array([active[i] for i in rows], dtype=float)
        for solved in combinations(range(c), len(rows)):
            rest = [j for j in range(c) if j not in solved]
            x = np.empty((1 << len(rest), c))
            x[:, rest] = np.arange(1 << len(rest))[:, None] >> np.arange(len(rest)) & 1
            if rows:
                square = matrix[np.ix_(rows, solved)]
                if not _is_regular(square):
                    continue
                x[:, solved] = np.linalg.solve(square, (bounds - x[:, rest] @ matrix[np.ix_(rows, rest)].T).T).T
            sums = x @ everything.T
            inside = (np.abs(x - 0.5) <= 0.5 + 1e-9).all(axis=1)
            inside &= ((sums >= least - 1e-9 * size) & (sums <= most + 1e-9 * size)).all(axis=1)
            found.append(np.clip(x[inside], 0.0, 1.0))
    return _distinct(np.concatenate([np.empty((0, c)), *found]))


def _is_regular(square: Matrix) -> bool:
    """Return whether a system can be solved, whatever the units of its rows and columns."""
    for axis in (1, 0):
        size = np.abs(square).max(axis=axis, keepdims=True)
        if not size.all():
            return False
        square = square / size
    return bool(abs(np.linalg.det(square)) > 1e-9)


def _distinct(units: Matrix) -> Matrix:
    """Return rows without repetitions; rounded for the comparison only, since a range may be wide."""
    _, first = np.unique(np.round(units, 10) + 0.0, axis=0, return_index=True)
    return units[first]


def spanning(terms: Matrix) -> list[int]:
    """Return rows of which all others are combinations: one after the other the farthest from those before it."""
    rest = terms[:, terms.any(axis=0)].copy()
    first = float(np.square(rest).sum(axis=1).max())
    chosen: list[int] = []
    while len(chosen) < min(rest.shape):
        sizes = np.square(rest).sum(axis=1)
        new = int(np.argmax(sizes >= sizes.max() * (1.0 - GAIN)))
        if sizes[new] < 1e-20 * first:
            break
        chosen.append(new)
        row = rest[new] / np.sqrt(sizes[new])
        rest -= np.outer(rest @ row, row)
    return chosen
