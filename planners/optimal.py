"""Exact D-optimal designs for a linear model by coordinate exchange.

Meyer and Nachtsheim, "The coordinate-exchange algorithm for constructing exact optimal experimental designs",
Technometrics 37 (1995). Parameters tied by linear constraints move together, through a list of candidates: the extreme
vertices of what the constraints leave (McLean and Anderson, Technometrics 8, 1966) and, for models with interactions or
squares, the middles between them. With such a list alone this is the exchange of Fedorov, Theory of Optimal Experiments
(1972).

Shapes: n runs, p parameters, q coded columns, t terms, r of them independent (the coefficients).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from athanor.planners.design_options import Model, check_runs, coefficients, tidy
from athanor.planners.parameters import Categorical, Continuous, Integer, Ordinal, Value
from athanor.planners.problem import Problem
from athanor.planners.space import Matrix
from athanor.planners.tied import GAIN, MOST_CANDIDATES, Setting, Tied, spanning

RIDGE = 1e-6
"""Per run; lets the exchange begin from runs that do not determine the model."""
RENEWED = 100.0
"""Ratio of determinants above which the inverse is made anew: an update would lose its digits to cancellation."""
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
        self.crosses = bool(wanted)

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
        terms = self.expand(coded).T
        basis = np.empty((min(terms.shape), len(coded)))
        kept: list[int] = []
        for j, column in enumerate(terms):
            if len(kept) == len(basis):
                break
            rest, found = column.copy(), basis[: len(kept)]
            for _ in range(2):  # once more, for what rounding left
                rest -= (found @ rest) @ found
            size = float(np.linalg.norm(rest))
            if size > 1e-7 * np.sqrt(len(coded)):
                basis[len(kept)] = rest / size
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
        DesignImpossible: fewer runs than the model has coefficients, or no point was found in reasonable time.
        InfeasibleSpace: no point meets the linear constraints.
    """
    tied = {name for c in problem.linear_constraints for name in c.coefficients}
    if not tied:
        check_runs(runs, coefficients(problem, model), model)  # before the model's matrix is made
    rng = np.random.default_rng([seed, runs])
    linear = LinearModel(problem, model)
    blocks = _blocks(problem, model, linear)
    coded = [linear.code(block) for block in blocks]
    columns = [np.concatenate([np.r_[linear.columns[name]] for name in block[0]]) for block in blocks]

    def draw(n: int) -> list[Matrix]:
        return [rng.permutation(np.resize(rng.permutation(len(block)), n)) for block in blocks]

    def joined(chosen: Sequence[Matrix]) -> Matrix:
        return np.sum([codes[picks] for codes, picks in zip(coded, chosen, strict=True)], axis=0)

    linear.keep_independent(_telling(linear, coded))
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
                    if ratio[new] < RENEWED:
                        both = np.stack([candidates[new], old])
                        halves = both @ inverse
                        # Woodbury's identity
                        inverse -= halves.T @ np.linalg.solve(np.diag([1.0, -1.0]) + halves @ both.T, halves)
                    picks[i], rows[i], terms[i] = new, tried[new], candidates[new]
                    if ratio[new] >= RENEWED:
                        inverse = np.linalg.inv(terms.T @ terms + ridge)
                    gained += float(np.log(ratio[new]))
        if gained < SETTLED * terms.shape[1]:
            return


def _blocks(problem: Problem, model: Model, linear: LinearModel) -> list[list[Setting]]:
    """Return what moves independently: each free parameter's settings, and those of parameters tied to each other."""
    groups: list[set[str]] = []
    for c in problem.linear_constraints:
        linked = [group for group in groups if group & set(c.coefficients)]
        groups = [group for group in groups if group not in linked] + [set(c.coefficients).union(*linked)]
    tied = {name for group in groups for name in group}
    blocks: list[list[Setting]] = [
        [{p.name: value} for value in _settings(p, model)] for p in problem.parameters if p.name not in tied
    ]
    for group in groups:
        constraints = [c for c in problem.linear_constraints if set(c.coefficients) <= group]
        corners, between = Tied([p for p in problem.parameters if p.name in group], constraints, model).candidates()
        blocks.append(_thinned(corners, between, linear))
    return blocks


def _thinned(corners: list[Setting], between: list[Setting], linear: LinearModel) -> list[Setting]:
    """Return at most MOST_CANDIDATES, vertices before others, that determine as many coefficients as all of them do."""
    found = corners + between
    if len(found) <= MOST_CANDIDATES:
        return found
    rng = np.random.default_rng(0)
    kept = dict.fromkeys(spanning(linear.expand(linear.code(found))))
    order = np.concatenate([rng.permutation(len(corners)), len(corners) + rng.permutation(len(between))])
    for i in order.tolist():
        if len(kept) >= MOST_CANDIDATES:
            break
        kept[i] = None
    return [found[i] for i in sorted(kept)]


def _telling(linear: LinearModel, coded: Sequence[Matrix]) -> Matrix:
    """Return rows, (n, q), at which only those models agree that agree wherever the blocks' candidates can be joined.

    A term has to do with two blocks at most. So it is enough to look at each block, and each pair of blocks, with all
    others at their first candidate; and of a block's candidates at those that span its functions.
    """
    base = np.sum([codes[0] for codes in coded], axis=0)
    rows = [base[None]]
    moves = []
    for codes in coded:
        rows.append(base + codes[spanning(linear.expand(codes))] - codes[0])
        mains = spanning(np.hstack([np.ones((len(codes), 1)), codes]))
        moves.append(codes[mains] - codes[0])
    if linear.crosses:
        for one, other in combinations(moves, 2):
            rows.append((base + one[:, None, :] + other[None, :, :]).reshape(-1, len(base)))
    return np.concatenate(rows)


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


def _contrasts(m: int) -> Matrix:
    """Return orthogonal (Helmert) contrasts of m values, (m, m - 1), each of mean square 1."""
    rows = np.zeros((m, m - 1))
    for j in range(m - 1):
        rows[: j + 1, j] = -1.0
        rows[j + 1, j] = j + 1.0
    return rows * np.sqrt(m / np.square(rows).sum(axis=0))
