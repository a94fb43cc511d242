"""Exact D-optimal designs for a linear model by coordinate exchange.

Meyer and Nachtsheim, "The coordinate-exchange algorithm for constructing exact optimal experimental designs",
Technometrics 37 (1995). Parameters tied by linear constraints move together, through a list of candidates: the extreme
vertices of what the constraints leave (McLean and Anderson, Technometrics 8, 1966) and, for models with interactions or
squares, the middles between them. With such a list alone this is the exchange of Fedorov, Theory of Optimal Experiments
(1972).

Shapes: n runs, p parameters, q coded columns, t terms, r of them independent (the coefficients).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from athanor.planners.design_options import Model, check_runs, tidy
from athanor.planners.parameters import Categorical, Continuous, Integer, Ordinal, Value
from athanor.planners.problem import Problem
from athanor.planners.space import Matrix, Space

Setting = dict[str, Value]

MOST_CANDIDATES = 2_000
MOST_LEVELS = 5_000
"""Combinations of tied whole or listed numbers that are looked at; beyond, candidates are spread points."""
MOST_CORNERS = 500_000
RIDGE = 1e-6
"""Per run; lets the exchange begin from runs that do not determine the model."""
GAIN = 1e-9
"""Relative gain of the determinant below which an exchange is rounding."""
SETTLED = 1e-6
"""Relative gain of the D-efficiency in a pass through all runs after which no further pass is made."""
PASSES = 50
WORK = 8_000
"""Exchanges looked at in a pass, all starts together; half a second to two in an ordinary case."""
MOST_STARTS = 50


@dataclass(frozen=True)
class Optimal:
    """Points of a design, its D-efficiency (0..1), and how many coefficients the model has within the constraints."""

    points: tuple[Setting, ...]
    efficiency: float
    coefficients: int


class LinearModel:
    """Rows of a model matrix. Numbers are coded -1..1 over their (logarithmic) range, categories by contrasts.

    A category of m values takes m - 1 orthogonal contrasts, scaled so that each has a mean square of 1 over the values.
    Terms that the constraints make dependent on those before them are left out, which changes no fitted model: in a
    mixture of q components a linear model keeps q coefficients, as many as Scheffé's form has.
    """

    def __init__(self, problem: Problem, model: Model) -> None:
        self._problem = problem
        self._codes: list[dict[Value, Matrix] | None] = []
        self.columns: dict[str, slice] = {}
        squares: list[tuple[int, int]] = []
        owners: list[int] = []
        for i, parameter in enumerate(problem.parameters):
            width = 1
            if isinstance(parameter, Categorical):
                width = len(parameter.values) - 1
                self._codes.append(dict(zip(parameter.values, _contrasts(width + 1), strict=True)))
            else:
                self._codes.append(None)
                squares.append((len(owners), len(owners)))
            self.columns[parameter.name] = slice(len(owners), len(owners) + width)
            owners += [i] * width
        pairs = [(a, b) for a, b in combinations(range(len(owners)), 2) if owners[a] != owners[b]]
        wanted = {"linear": [], "interactions": pairs, "quadratic": pairs + squares}[model]
        self._left = np.array([a for a, _ in wanted], dtype=int)
        self._right = np.array([b for _, b in wanted], dtype=int)
        self._kept = np.arange(1 + len(owners) + len(wanted))

    def code(self, points: Sequence[Mapping[str, Value]]) -> Matrix:
        """Return points as coded columns; parameters that a point does not name stay 0."""
        coded = np.zeros((len(points), max(s.stop for s in self.columns.values())))
        for row, point in zip(coded, points, strict=True):
            for parameter, codes in zip(self._problem.parameters, self._codes, strict=True):
                if parameter.name in point:
                    value = point[parameter.name]
                    row[self.columns[parameter.name]] = codes[value] if codes else 2.0 * parameter.to_unit(value) - 1.0
        return coded

    def expand(self, coded: Matrix) -> Matrix:
        """Return the model's terms, (n, r), at coded points (n, q)."""
        ones = np.ones((len(coded), 1))
        return np.hstack([ones, coded, coded[:, self._left] * coded[:, self._right]])[:, self._kept]

    def keep_independent(self, coded: Matrix) -> None:
        """Leave out terms that depend linearly on those before them at all of these points."""
        basis: list[Matrix] = []
        kept = []
        for j, column in enumerate(self.expand(coded).T):
            rest = column.copy()
            for _ in range(2):  # once more, for what rounding left
                for b in basis:
                    rest -= (rest @ b) * b
            size = float(np.linalg.norm(rest))
            if size > 1e-7 * np.sqrt(len(coded)):
                basis.append(rest / size)
                kept.append(j)
        self._kept = self._kept[kept]

    @property
    def coefficients(self) -> int:
        """How many terms there are."""
        return len(self._kept)


def d_efficiency(terms: Matrix) -> float:
    """Return |X'X|^(1/r) / n of a model matrix (n, r): 1 if its columns are orthogonal and as long as they can be.

    NIST/SEMATECH e-Handbook of Statistical Methods, 5.5.2.1.
    """
    sign, logarithm = np.linalg.slogdet(terms.T @ terms)
    return float(np.exp(logarithm / terms.shape[1]) / len(terms)) if sign > 0 else 0.0


def d_optimal(problem: Problem, model: Model, runs: int, seed: int) -> Optimal:
    """Return the best design of several exchanges, each from random points; a function of its arguments alone.

    Raises:
        DesignImpossible: fewer runs than the model has coefficients.
        InfeasibleSpace: no point meets the linear constraints.
    """
    rng = np.random.default_rng([seed, runs])
    blocks = _blocks(problem, model, rng)
    linear = LinearModel(problem, model)
    coded = [linear.code(block) for block in blocks]
    columns = [np.concatenate([np.r_[linear.columns[name]] for name in block[0]]) for block in blocks]

    def draw(n: int) -> list[Matrix]:
        return [rng.permutation(np.resize(rng.permutation(len(block)), n)) for block in blocks]

    def joined(chosen: Sequence[Matrix]) -> Matrix:
        return np.sum([codes[picks] for codes, picks in zip(coded, chosen, strict=True)], axis=0)

    linear.keep_independent(joined(draw(max(4 * linear.coefficients, *(len(block) for block in blocks)))))
    check_runs(runs, linear.coefficients, model)
    best, score = [], -1.0
    sizes = sum(len(block) for block in blocks)
    work = runs * (len(blocks) + sizes * linear.coefficients // 10_000)
    for _ in range(min(max(2, WORK // work), MOST_STARTS)):
        chosen = draw(runs)
        _exchange(linear, joined(chosen), chosen, coded, columns)
        if (reached := d_efficiency(linear.expand(joined(chosen)))) > score * (1.0 + GAIN):
            best, score = chosen, reached
    points = []
    for i in range(runs):
        point = {
            name: value for picks, block in zip(best, blocks, strict=True) for name, value in block[picks[i]].items()
        }
        points.append(problem.validate_point(point))
    return Optimal(tuple(points), score, linear.coefficients)


def _exchange(
    linear: LinearModel, rows: Matrix, chosen: Sequence[Matrix], coded: Sequence[Matrix], columns: Sequence[Matrix]
) -> None:
    """Improve a design in place, one block of one run after the other, until no exchange gains any more."""
    terms = linear.expand(rows)
    ridge = RIDGE * len(rows) * np.eye(terms.shape[1])
    for _ in range(PASSES):
        inverse = np.linalg.inv(terms.T @ terms + ridge)
        gained = 0.0
        for i in range(len(rows)):
            for picks, codes, where in zip(chosen, coded, columns, strict=True):
                tried = np.repeat(rows[i : i + 1], len(codes), axis=0)
                tried[:, where] = codes[:, where]
                candidates = linear.expand(tried)
                old = terms[i]
                pulled = candidates @ inverse
                # The determinant's ratio when the old run leaves and a candidate comes (Fedorov 1972).
                ratio = (1.0 + (pulled * candidates).sum(axis=1)) * (1.0 - old @ inverse @ old) + (pulled @ old) ** 2
                new = int(np.argmax(ratio >= ratio.max() * (1.0 - GAIN)))  # the first of equals, whatever the rounding
                if ratio[new] > 1.0 + GAIN:
                    both = np.stack([candidates[new], old])
                    halves = both @ inverse
                    inverse -= halves.T @ np.linalg.solve(np.diag([1.0, -1.0]) + halves @ both.T, halves)  # Woodbury
                    picks[i], rows[i], terms[i] = new, tried[new], candidates[new]
                    gained += float(np.log(ratio[new]))
        if gained < SETTLED * terms.shape[1]:
            return


def _blocks(problem: Problem, model: Model, rng: np.random.Generator) -> list[list[Setting]]:
    """Return what moves independently: each free parameter's settings, and those of all tied parameters together."""
    tied = {name for c in problem.linear_constraints for name in c.coefficients}
    blocks: list[list[Setting]] = [
        [{p.name: value} for value in _settings(p, model)] for p in problem.parameters if p.name not in tied
    ]
    if tied:
        found = _tied(problem, [p for p in problem.parameters if p.name in tied], model)
        if not found:
            # Too many faces, or constraints that hide each other: spread feasible points, some on the faces.
            space = Space(problem)
            rows = space.sample(MOST_CANDIDATES, int(rng.integers(2**31)))
            points = (space.decode(row) for row in rows)
            found = [{name: point[name] for name in problem.names if name in tied} for point in points]
        if len(found) > MOST_CANDIDATES:
            found = [found[i] for i in sorted(rng.permutation(len(found))[:MOST_CANDIDATES].tolist())]
        blocks.append(found)
    return blocks


def _settings(parameter: Continuous | Integer | Ordinal | Categorical, model: Model) -> list[Value]:
    """Return the values among which an optimum lies: the ends of a number, its middle too where there are squares."""
    if isinstance(parameter, Categorical):
        return list(parameter.values)
    if isinstance(parameter, Continuous):
        middle = [tidy(parameter, parameter.from_unit(0.5))] if model == "quadratic" else []
        return [parameter.low, *middle, parameter.high]
    levels = parameter.levels
    if model != "quadratic":
        return [levels[0], levels[-1]]
    if len(levels) <= 9:
        return list(levels)
    return [levels[0], min(levels, key=lambda value: abs(parameter.to_unit(value) - 0.5)), levels[-1]]


def _tied(
    problem: Problem, parameters: Sequence[Continuous | Integer | Ordinal | Categorical], model: Model
) -> list[Setting]:
    """Return candidates for the parameters in linear constraints; none where there are too many to list."""
    moving = [p for p in parameters if isinstance(p, Continuous)]
    stepped = [p for p in parameters if isinstance(p, Integer | Ordinal)]
    most = MOST_LEVELS if not moving else MOST_LEVELS // 25
    if np.prod([float(len(p.levels)) for p in stepped]) > most:
        return []
    spans = np.array([p.high - p.low for p in moving])
    found: list[Setting] = []
    for levels in product(*(p.levels for p in stepped)):
        fixed: Setting = dict(zip((p.name for p in stepped), levels, strict=True))
        matrix, lower, upper = [], [], []
        for c in problem.linear_constraints:
            held = sum(a * float(fixed[name]) for name, a in c.coefficients.items() if name in fixed)
            held += sum(c.coefficients.get(p.name, 0.0) * p.low for p in moving)
            matrix.append([c.coefficients.get(p.name, 0.0) for p in moving] * spans)
            lower.append((c.equals if c.equals is not None else -np.inf if c.lower is None else c.lower) - held)
            upper.append((c.equals if c.equals is not None else np.inf if c.upper is None else c.upper) - held)
        units = vertices(np.array(matrix).reshape(len(lower), len(moving)), np.array(lower), np.array(upper))
        if units is None:
            return []
        if model != "linear" and len(units) > 1:
            units = np.vstack([units, *_middles(units)])
        for unit in units:
            point: Setting = {
                p.name: tidy(p, p.low + float(u) * (p.high - p.low)) for p, u in zip(moving, unit, strict=True)
            }
            point = {p.name: {**fixed, **point}[p.name] for p in parameters}
            if all(c.is_satisfied(point) for c in problem.linear_constraints):
                found.append(point)
    return found


def _middles(units: Matrix) -> Iterator[Matrix]:
    """Yield the centroid and the middles between it and the vertices, and between pairs of up to 40 vertices."""
    centroid = units.mean(axis=0, keepdims=True)
    yield centroid
    yield (units + centroid) / 2.0
    if len(units) <= 40:
        yield np.array([(a + b) / 2.0 for a, b in combinations(units, 2)])


def vertices(matrix: Matrix, lower: Matrix, upper: Matrix) -> Matrix | None:
    """Return the vertices of lower ≤ matrix·x ≤ upper within the unit cube; None where there are too many to look at.

    Args:
        matrix: (m, c), a row per constraint; lower and upper are equal for an equation.
        lower: (m,), may be -inf.
        upper: (m,), may be inf.
    """
    m, c = matrix.shape
    sides = [
        [lower[i]] if lower[i] == upper[i] else [None, *(b for b in (lower[i], upper[i]) if np.isfinite(b))]
        for i in range(m)
    ]
    size = np.abs(matrix).sum(axis=1) + 1e-300
    found: list[Matrix] = []
    looked = 0
    for active in product(*sides):
        rows = [i for i in range(m) if active[i] is not None]
        if len(rows) > c:
            continue
        bounds = np.array([active[i] for i in rows], dtype=float)
        for solved in combinations(range(c), len(rows)):
            rest = [j for j in range(c) if j not in solved]
            looked += 1 << len(rest)
            if looked > MOST_CORNERS:
                return None
            x = np.empty((1 << len(rest), c))
            x[:, rest] = np.arange(1 << len(rest))[:, None] >> np.arange(len(rest)) & 1
            if rows:
                square = matrix[np.ix_(rows, solved)]
                if abs(np.linalg.det(square / size[rows, None])) < 1e-9:
                    continue
                x[:, solved] = np.linalg.solve(square, (bounds - x[:, rest] @ matrix[np.ix_(rows, rest)].T).T).T
            sums = x @ matrix.T
            inside = (np.abs(x - 0.5) <= 0.5 + 1e-9).all(axis=1)
            inside &= ((sums >= lower - 1e-9 * size) & (sums <= upper + 1e-9 * size)).all(axis=1)
            found.append(np.clip(x[inside], 0.0, 1.0))
    return np.unique(np.round(np.concatenate([np.empty((0, c)), *found]), 10), axis=0)


def _contrasts(m: int) -> Matrix:
    """Return orthogonal (Helmert) contrasts of m values, (m, m - 1), each of mean square 1."""
    rows = np.zeros((m, m - 1))
    for j in range(m - 1):
        rows[: j + 1, j] = -1.0
        rows[j + 1, j] = j + 1.0
    return rows * np.sqrt(m / np.square(rows).sum(axis=0))
