"""Classical experimental designs as a planner: factorials, fractions, Latin hypercubes, D-optimal designs.

Montgomery, "Design and Analysis of Experiments"; Box, Hunter and Hunter, "Statistics for Experimenters". The points are
fixed before the first result; what the loop adds is limits, approval, the ledger and the report.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice, product
from typing import Any, ClassVar

import numpy as np

from athanor.planners.design_options import DesignImpossible, DesignOptions, tidy
from athanor.planners.fractions import Fraction, fraction
from athanor.planners.parameters import Categorical, Continuous, Integer, Ordinal, Value
from athanor.planners.problem import Problem
from athanor.planners.protocol import Candidate, Why
from athanor.planners.state import AskTell

MOST_NAMED = 6
"""Generators and aliases that a sentence names; the rest are counted."""

UNRUN = frozenset({"withdrawn", "superseded", "expired", "refused", "not_started"})
"""States of an experiment that was not made, and says nothing about its point."""

Point = dict[str, Value]


@dataclass(frozen=True)
class Runs:
    """A design's points, what to call each of them, what to call the design, and what is to be said of it."""

    points: tuple[Point, ...]
    labels: tuple[str, ...]
    title: str
    notes: tuple[str, ...]


class DesignExhausted(ValueError):
    """Every point of a design was rejected, so that none can be suggested."""


class DesignPlanner(AskTell):
    """Suggests the points of a design in a random order; when all had their turn, all again in a new random order.

    Candidate k is the k-th run, except that a point that a person rejected is passed over from then on, and one that
    failed or was aborted until the next replicate. A run that was not made (it expired, or was replaced by an edit) has
    another turn at the end of its replicate, once. The points depend on the problem, the seed and the options alone.

    Raises:
        DesignImpossible: if the problem does not admit the design.
        InfeasibleSpace: if no point meets the linear constraints.
    """

    kind: ClassVar[str] = "design"

    def __init__(self, problem: Problem, seed: int = 0, *, options: DesignOptions) -> None:
        super().__init__(problem, seed)
        self.options = options
        # Sorted, as in the JSON of a planner: in another order of a sum's terms a sentence would read differently.
        canonical = json.dumps(problem.model_dump(mode="json"), sort_keys=True)
        self._runs = _built(canonical, seed, options.model_dump_json())
        self._keys = [self._key_of(point) for point in self._runs.points]

    @property
    def points(self) -> tuple[Point, ...]:
        """The points of one replicate, before its order is drawn."""
        return tuple(dict(point) for point in self._runs.points)

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain JSON types."""
        return {**super().to_dict(), "design": self.options.model_dump(mode="json")}

    @classmethod
    def _options(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        return {"options": DesignOptions.model_validate(data["design"])}

    def _choose(self, number: int) -> Candidate:
        turns = _Turns(self._keys, self.seed)
        given = self._given()
        # Those that no candidate of this planner stands behind count from the beginning.
        own = {key for key, status in given.values() if status == "rejected"}
        refused = {self._key_of(o.values) for o in self._observations if o.status == "rejected"}
        turns.refused = refused - own
        for k in range(1, number):
            key, status = given.get(k, (None, None))
            run = None if key is None else turns.take(key)
            if run is None:
                run = turns.next()
            if status in UNRUN:
                turns.put_back(run)
            if key is not None and status == "rejected":
                turns.refused.add(key)
            if key is not None and status in ("failed", "aborted"):
                turns.failed.add(key)
        turns.refused = refused
        run = turns.next()
        why = Why(method=self.options.design.replace("-", " "), detail=self._detail(run, turns))
        return self._candidate(number, self._runs.points[run], why)

    def _given(self) -> dict[int, tuple[tuple[Value, ...], str]]:
        """Return point and state of every candidate of this planner that is known, by its number."""
        prefix = self.candidate_id(1)[:-1]
        known = [(o.candidate_id, o.values, o.status) for o in self._observations if o.candidate_id is not None]
        known += [(name, values, "proposed") for name, values in self._issued.items()]
        return {
            int(name.removeprefix(prefix)): (self._key_of(values), status)
            for name, values, status in known
            if name.startswith(prefix) and name.removeprefix(prefix).isdecimal()
        }

    def _key_of(self, values: Mapping[str, Value]) -> tuple[Value, ...]:
        return tuple(values[name] for name in self._problem.names)

    def _detail(self, run: int, turns: _Turns) -> str:
        text = (
            f"run {turns.order.index(run) + 1} of {len(self._keys)} of a {self._runs.title}, "
            f"in an order drawn from seed {self.seed}: {self._runs.labels[run]}"
        )
        if turns.replicate > 1:
            text = f"replicate {turns.replicate} of the whole design in a new order; {text}"
        if run in turns.again:
            text += "; again, since it was not made at its turn"
        notes = [text, *self._runs.notes]
        if turns.passed:
            points = "1 point" if turns.passed == 1 else f"{turns.passed} points"
            notes.append(f"passed over in this replicate, since rejected, aborted or failed: {points}")
        return " ".join(f"{note[0].upper()}{note[1:]}." for note in notes)


class _Turns:
    """The order of the runs, replicate after replicate, and which of them have had their turn in the present one."""

    def __init__(self, keys: list[tuple[Value, ...]], seed: int) -> None:
        self._keys, self._seed = keys, seed
        self.refused: set[tuple[Value, ...]] = set()
        self.failed: set[tuple[Value, ...]] = set()
        self.again: set[int] = set()
        self.replicate = 0
        self._begin()

    def _begin(self) -> None:
        self.replicate += 1
        rng = np.random.default_rng([self._seed, self.replicate])
        self.order: list[int] = rng.permutation(len(self._keys)).tolist()
        self._left = deque(self.order)
        self.failed.clear()
        self.again.clear()
        self.passed = 0

    def _pass_over(self) -> None:
        """Drop runs that may not be suggested from the front, and begin again where none is left."""
        while True:
            while self._left and self._is_barred(self._left[0]):
                self._left.popleft()
                self.passed += 1
            if self._left:
                return
            if self.refused.issuperset(self._keys):
                raise DesignExhausted(
                    "every point of the design was rejected; choose another design, other levels or another seed"
                )
            self._begin()

    def _is_barred(self, run: int) -> bool:
        return self._keys[run] in self.refused or self._keys[run] in self.failed

    def next(self) -> int:
        """Give the next run its turn."""
        self._pass_over()
        return self._left.popleft()

    def take(self, key: tuple[Value, ...]) -> int | None:
        """Give a run at this point its turn, wherever it stands, and return it; None where there is none left."""
        if all(map(self._is_barred, self._left)):
            self._begin()
        run = next((run for run in self._left if self._keys[run] == key), None)
        if run is not None:
            self._left.remove(run)
        return run

    def put_back(self, run: int) -> None:
        """Give a run that was not made another turn at the end of the replicate: once, or it might never end."""
        if run not in self.again:
            self.again.add(run)
            self._left.append(run)


@lru_cache(maxsize=8)
def _built(problem: str, seed: int, options: str) -> Runs:
    """Build a design from JSON; kept, since a planner is built anew for every suggestion."""
    return build(Problem.model_validate_json(problem), seed, DesignOptions.model_validate_json(options))


def build(problem: Problem, seed: int, options: DesignOptions) -> Runs:
    """Return the runs of one replicate; a function of its arguments alone.

    Raises:
        DesignImpossible: if the problem does not admit the design.
        InfeasibleSpace: if no point meets the linear constraints.
    """
    options.check(problem)
    if options.design == "full-factorial":
        return _full(problem, options)
    if options.design == "fractional-factorial":
        return _fractional(problem, options)
    if options.design == "latin-hypercube":
        return _latin(problem, seed, options)
    return _optimal(problem, seed, options)


def _full(problem: Problem, options: DesignOptions) -> Runs:
    levels = [_levels(p, options.levels_of(p)) for p in problem.parameters]
    cells = product(*levels)
    shape = "×".join(str(len(found)) for found in levels)
    return _within(problem, cells, levels, f"full factorial design of {shape} levels", [], options)


def _fractional(problem: Problem, options: DesignOptions) -> Runs:
    factors = len(problem.parameters)
    found = fraction(factors, options.basic_factors(problem))
    levels = [_levels(p, 2) for p in problem.parameters]
    cells = (
        tuple(pair[(sign + 1) // 2] for pair, sign in zip(levels, signs, strict=True))
        for signs in found.signs().tolist()
    )
    title = f"two-level fractional factorial design 2^({factors}-{factors - found.basic})"
    notes = [found.describe(), f"its generators: {_listed(found.generators(problem.names))}"]
    if found.resolution in (3, 4):
        notes.append(f"aliased, among others: {_listed(_aliases(found, problem.names))}")
    return _within(problem, cells, levels, title, notes, options)


def _latin(problem: Problem, seed: int, options: DesignOptions) -> Runs:
    from athanor.planners.latin import latin_hypercube

    assert options.runs is not None
    found = latin_hypercube(problem, options.runs, seed)
    labels = []
    for point, strata in zip(found.points, found.strata.tolist(), strict=True):
        parts = [
            _said(p, point[p.name]) + (f" (part {s + 1} of {options.runs})" if isinstance(p, Continuous) else "")
            for p, s in zip(problem.parameters, strata, strict=True)
        ]
        labels.append(", ".join(parts))
    note = (
        f"every continuous range is divided into {options.runs} equal parts, each used once, and other values are used "
        f"as equally as they can be; centred discrepancy {found.discrepancy:.3g}, before exchanges {found.first:.3g}"
    )
    return Runs(found.points, tuple(labels), "Latin hypercube design", (note,))


def _optimal(problem: Problem, seed: int, options: DesignOptions) -> Runs:
    from athanor.planners.optimal import d_optimal

    assert options.runs is not None
    model = options.model or "linear"
    found = d_optimal(problem, model, options.runs, seed)
    labels = tuple(", ".join(_said(p, point[p.name]) for p in problem.parameters) for point in found.points)
    distinct = len({tuple(point.values()) for point in found.points})
    what = {"linear": "main effects", "interactions": "main effects and two-factor interactions"}.get(
        model, "main effects, two-factor interactions and squares"
    )
    notes = [
        f"chosen for the model with {what}, which has {found.coefficients} coefficients here",
        f"{distinct} different points; D-efficiency {100 * found.efficiency:.1f} % (100 % is an orthogonal design, "
        "which squares and linear constraints mostly rule out)",
    ]
    return Runs(found.points, labels, f"D-optimal design ({model} model)", tuple(notes))


def _within(
    problem: Problem,
    cells: Iterable[tuple[Value, ...]],
    levels: list[list[Value]],
    title: str,
    notes: list[str],
    options: DesignOptions,
) -> Runs:
    """Return the runs of a factorial: its cells and centre points, without those that break a constraint."""
    labelled = chain(
        ((cell, _cell(problem, cell, levels)) for cell in cells), _centre_points(problem, options.centre_points or 0)
    )
    points, labels, broken = [], [], Counter[str]()
    left_out = total = 0
    for values, label in labelled:
        total += 1
        point = dict(zip(problem.names, values, strict=True))
        constraints = (*problem.linear_constraints, *problem.input_constraints)
        missed = [str(c) for c in constraints if not c.is_satisfied(point)]
        broken.update(missed)
        if missed:
            left_out += 1
        else:
            points.append(problem.validate_point(point))
            labels.append(label)
    instead = (
        "use sobol or bayesian, whose points meet every constraint, or ask for other levels"
        if problem.input_constraints
        else "use d-optimal, which chooses its points within linear constraints, or leave out a parameter that the "
        "others determine"
    )
    if left_out == total:
        raise DesignImpossible(f"no point of the {title} meets {'; '.join(broken)}: {instead}")
    if left_out:
        if not _tells_main_effects(points, levels, problem):
            raise DesignImpossible(
                f"what is left of the {title} within {'; '.join(broken)} cannot tell its main effects apart: {instead}"
            )
        # What is said of the whole design, such as its resolution, does not hold of a part of it.
        notes = [
            f"{left_out} of {total} points break {'; '.join(broken)} and are left out: main effects can be told apart "
            "as far as these constraints let them, but not independently, and aliases of interactions are not stated"
        ]
    return Runs(tuple(points), tuple(labels), title, tuple(notes))


def _tells_main_effects(points: Sequence[Mapping[str, Value]], levels: list[list[Value]], problem: Problem) -> bool:
    """Whether a mean and all main effects can be estimated from these points, but for what an equality ties."""
    columns = [np.ones(len(points))]
    for p, found in zip(problem.parameters, levels, strict=True):
        if isinstance(p, Categorical):
            columns += [np.array([float(point[p.name] == level) for point in points]) for level in found[1:]]
        else:
            numbers = np.array([float(point[p.name]) for point in points])
            columns.append((numbers - numbers.mean()) / (np.ptp(numbers) or 1.0))
    ties = [c.coefficients for c in problem.linear_constraints if c.equals is not None]
    tied = np.linalg.matrix_rank(np.array([[row.get(name, 0.0) for name in problem.names] for row in ties] or [[0.0]]))
    return int(np.linalg.matrix_rank(np.stack(columns, axis=1), tol=1e-6)) >= len(columns) - int(tied)


def _levels(parameter: Continuous | Integer | Ordinal | Categorical, count: int) -> list[Value]:
    """Return a factor's levels: evenly spaced (on the logarithmic scale if there is one), or as listed."""
    if isinstance(parameter, Continuous):
        return [tidy(parameter, parameter.from_unit(i / (count - 1))) for i in range(count)]
    levels = parameter.levels
    return [levels[(2 * i * (len(levels) - 1) + count - 1) // (2 * (count - 1))] for i in range(count)]


def _centre_points(problem: Problem, count: int) -> Iterable[tuple[tuple[Value, ...], str]]:
    """Yield points in the middle of all numbers; categories, which have no middle, take their combinations in turn."""
    middles: list[list[Value]] = []
    for p in problem.parameters:
        if isinstance(p, Categorical):
            middles.append(list(p.values))
        elif isinstance(p, Continuous):
            middles.append([tidy(p, p.from_unit(0.5))])
        else:
            middles.append([min(p.levels, key=lambda value: abs(p.to_unit(value) - 0.5))])
    combinations = list(islice(product(*middles), count))
    for i in range(count):
        values = combinations[i % len(combinations)]
        said = ", ".join(_said(p, value) for p, value in zip(problem.parameters, values, strict=True))
        yield values, f"centre point, {said}"


def _cell(problem: Problem, values: tuple[Value, ...], levels: list[list[Value]]) -> str:
    parts = []
    for p, value, found in zip(problem.parameters, values, levels, strict=True):
        place = found.index(value)
        name = ("low", "high")[place] if len(found) == 2 else f"level {place + 1} of {len(found)}"
        parts.append(_said(p, value) + ("" if isinstance(p, Categorical) else f" ({name})"))
    return ", ".join(parts)


def _said(parameter: Continuous | Integer | Ordinal | Categorical, value: Value) -> str:
    number = value if isinstance(value, str) else f"{value:.5g}" if isinstance(value, float) else str(value)
    return f"{parameter.name} {number}{f' {parameter.unit}' if parameter.unit else ''}"


def _aliases(found: Fraction, names: tuple[str, ...]) -> list[str]:
    """Return which effects the shortest words confuse: a = b·c of three factors, a·b = c·d of four."""
    words = islice(found.words(found.resolution), MOST_NAMED)
    return [f"{'·'.join(names[i] for i in word[:-2])} with {'·'.join(names[i] for i in word[-2:])}" for word in words]


def _listed(items: list[str]) -> str:
    more = len(items) - MOST_NAMED
    return ", ".join(items[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
