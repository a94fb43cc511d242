"""A finite pool of candidates: the only points that can be made or measured, as columns of numbers.

A library of compounds, a grid of prepared samples, the wells of a plate: up to about a million rows. Columns are numpy
arrays and never one Python object per row; what a planner needs of them is computed in chunks.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from athanor.planners.problem import (
    Cardinality,
    Categorical,
    Continuous,
    Integer,
    InvalidPoint,
    NonlinearConstraint,
    Ordinal,
    Problem,
    Record,
    Value,
)
from athanor.planners.space import Matrix, Space

MOST_ROWS = 2_000_000
CHUNK = 32_768
"""Rows that are worked on at once: what they need stays in the processor's cache, or near it."""

MOST_KEPT = 1 << 26
"""Numbers of a quarter of a gigabyte, which are kept from one search to the next."""

SAME = 1e-6
"""Largest difference from a row, as a share of every range, of a measurement that counts as one of that row."""

AGAIN = frozenset({"expired", "not_started"})
"""States of an experiment after which its row may be suggested again: it was not made, and nobody was against it."""

Rows = NDArray[np.int64]


class PoolError(ValueError):
    """A pool that cannot be used: `row` (from 0) is the first that is wrong, None where it is about all of it."""

    def __init__(self, detail: str, row: int | None = None) -> None:
        super().__init__(detail if row is None else f"row {row + 1}: {detail}")
        self.detail = detail
        self.row = row


class PoolExhausted(ValueError):
    """No row of the pool is left that could be suggested: says what became of them."""


class PoolName(Record):
    """Which pool a planner's state is about: its source and digest, not its contents."""

    source: str
    sha256: str
    rows: int
    repeats: bool = False


class Pool:
    """Points that can be suggested, one per row, in the problem's own types and units.

    Arguments:
        problem: what the columns mean.
        columns: one array-like of n values per parameter, by name; others are refused.
        labels: n texts that say which vial, well or sample a row is.
        lines: line of `source` on which each row stands, (n,).
        repeats: whether a row may be suggested again after it was measured.
        source: where the rows come from, a path mostly.
        sha256: digest of that source; by default one of the rows themselves.

    Raises:
        PoolError: naming the first row that is no point of the problem or is there twice, and the remedy.
    """

    def __init__(
        self,
        problem: Problem,
        columns: Mapping[str, Any],
        *,
        labels: Sequence[str] | None = None,
        lines: Any = None,
        repeats: bool = False,
        source: str = "<memory>",
        sha256: str | None = None,
    ) -> None:
        for name in columns:
            if name not in problem.names:
                raise PoolError(f"column {name} is no parameter; use {', '.join(problem.names)}")
        if missing := [name for name in problem.names if name not in columns]:
            raise PoolError(f"no column for {', '.join(missing)}")
        coded = {p.name: code(p, columns[p.name]) for p in problem.parameters}
        self._build(problem, coded, labels, lines, repeats, source, sha256)

    @classmethod
    def of_codes(cls, problem: Problem, coded: Mapping[str, NDArray[Any]], **more: Any) -> Pool:
        """Return a pool of columns that went through `code` already, in parts perhaps; otherwise as the constructor."""
        pool = cls.__new__(cls)
        given = {"labels": None, "lines": None, "repeats": False, "source": "<memory>", "sha256": None, **more}
        pool._build(problem, coded, **given)
        return pool

    def _build(
        self,
        problem: Problem,
        coded: Mapping[str, NDArray[Any]],
        labels: Sequence[str] | None,
        lines: Any,
        repeats: bool,
        source: str,
        sha256: str | None,
    ) -> None:
        self.problem = problem
        self.space = Space(problem)
        self.repeats = repeats
        self.source = source
        self._columns = {name: np.ascontiguousarray(coded[name]) for name in problem.names}
        counts = {name: len(column) for name, column in self._columns.items()}
        self.size = counts[problem.names[0]]
        if len(set(counts.values())) > 1:
            raise PoolError(f"its columns differ in length: {', '.join(f'{k} {v:,}' for k, v in counts.items())}")
        if self.size == 0:
            raise PoolError("it has no row; give one per candidate")
        if self.size > MOST_ROWS:
            raise PoolError(f"{self.size:,} rows are more than {MOST_ROWS:,}; leave out those that are out of question")
        self._lines = None if lines is None else np.asarray(lines, dtype=np.int64)
        self._labels = None if labels is None else _packed(labels)
        for name, extra in (("lines", self._lines), ("labels", labels)):
            if extra is not None and len(extra) != self.size:
                raise PoolError(f"{len(extra):,} {name} for {self.size:,} rows")
        self._check_constraints()
        hashes = _hashes(self._columns.values())
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]
        self._check_repeats()
        self.sha256 = sha256 if sha256 is not None else self._digest()
        self._found: dict[str, int | None] = {}

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.size

    @property
    def name(self) -> PoolName:
        """What a planner's state says of the pool."""
        return PoolName(source=self.source, sha256=self.sha256, rows=self.size, repeats=self.repeats)

    def values(self, row: int) -> dict[str, Value]:
        """Return a row as a point of the problem."""
        point: dict[str, Value] = {}
        for parameter in self.problem.parameters:
            item = self._columns[parameter.name][row].item()
            point[parameter.name] = parameter.values[item] if isinstance(parameter, Ordinal | Categorical) else item
        return point

    def label(self, row: int) -> str | None:
        """Return what a row is called, None where rows have no names."""
        if self._labels is None:
            return None
        text, ends = self._labels
        return text[ends[row] : ends[row + 1]].decode()

    def said(self, row: int) -> str:
        """Return a row as people find it: its label, and where it stands."""
        place = f"{row + 1:,}" if self._lines is None else f"{int(self._lines[row]):,}"
        label, kind = self.label(row), "row" if self._lines is None else "line"
        return f"{kind.capitalize()} {place} of the pool" if label is None else f"{label} ({kind} {place} of the pool)"

    def encode(self, rows: Rows | slice) -> Matrix:
        """Return rows of the pool as an (n, d) matrix of the space."""
        parts = []
        for i, parameter in enumerate(self.problem.parameters):
            column = self._columns[parameter.name][rows]
            if isinstance(parameter, Ordinal | Categorical):
                parts.append(self.space.levels[i][column])
            elif isinstance(parameter, Continuous) and parameter.log:
                low, high = np.log(parameter.low), np.log(parameter.high)
                parts.append(np.clip((np.log(column) - low) / (high - low), 0.0, 1.0)[:, None])
            else:
                parts.append(((column - parameter.low) / (parameter.high - parameter.low))[:, None])
        return np.concatenate(parts, axis=1)

    def compact(self, rows: Rows | slice) -> NDArray[np.float32]:
        """Return as `encode`, in half the memory and fewer digits; kept for the next time where that is not much."""
        if self.size * self.space.width > MOST_KEPT:
            return self.encode(rows).astype(np.float32)
        if "compact" not in self.memo:
            kept = np.empty((self.size, self.space.width), dtype=np.float32)
            for start in range(0, self.size, CHUNK):
                kept[start : start + CHUNK] = self.encode(slice(start, start + CHUNK))
            self.memo["compact"] = kept
        return np.asarray(self.memo["compact"][rows])

    def find(self, values: Mapping[str, Value]) -> int | None:
        """Return the row that is a point, or as near as `SAME`; None where the point is off the pool."""
        key = json.dumps(dict(values), sort_keys=True)
        if key not in self._found:
            self._found[key] = self._find(values)
        return self._found[key]

    def _find(self, values: Mapping[str, Value]) -> int | None:
        try:
            point = self.problem.validate_point(values, linear=False)
        except InvalidPoint:
            return None
        coded = {p.name: code(p, [point[p.name]]) for p in self.problem.parameters}
        wanted = _hashes(coded.values())[0]
        for place in range(int(np.searchsorted(self._sorted, wanted)), self.size):
            if self._sorted[place] != wanted:
                break
            row = int(self._order[place])
            if all(self._columns[name][row] == column[0] for name, column in coded.items()):
                return row
        # Typed anew or converted from another unit, a number may differ in its last digits.
        target = self.space.encode([point])[0]
        best, gap = None, SAME
        alike = np.ones(self.size, dtype=bool)
        for name, column in coded.items():
            parameter = self.problem.parameter(name)
            if not isinstance(parameter, Continuous):
                alike &= self._columns[name] == column[0]
                continue
            # A net twice as wide as needed, so that few rows of a million are encoded.
            if parameter.log:
                factor = (parameter.high / parameter.low) ** (2.0 * SAME)
                low, high = column[0] / factor, column[0] * factor
            else:
                reach = 2.0 * SAME * (parameter.high - parameter.low)
                low, high = column[0] - reach, column[0] + reach
            alike &= (self._columns[name] >= low) & (self._columns[name] <= high)
        for part, rows in self.parts(np.flatnonzero(alike)):
            gaps = np.abs(rows - target).max(axis=1)
            at = int(np.argmin(gaps))
            if gaps[at] < gap:
                best, gap = int(part[at]), float(gaps[at])
        return best

    def parts(self, rows: Rows) -> Iterator[tuple[Rows, Matrix]]:
        """Yield some rows of the pool in parts: their numbers, and those rows of the space."""
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            yield part, self.encode(part)

    def nearest(self, target: Matrix, rows: Rows) -> int:
        """Return which of some rows is nearest to a row of the space (d,); of several the first."""
        best, gap = int(rows[0]), np.inf
        for part, encoded in self.parts(rows):
            gaps = np.square(encoded - target).sum(axis=1)
            at = int(np.argmin(gaps))
            if gaps[at] < gap:
                best, gap = int(part[at]), float(gaps[at])
        return best

    def barred(self, told: Iterable[tuple[Mapping[str, Value], str]]) -> dict[int, str]:
        """Return the rows that may not be suggested, each with the state that bars it, of points and their states."""
        measured = frozenset({"completed", "stopped_early"})
        found: dict[int, str] = {}
        for values, status in told:
            if status in AGAIN or (self.repeats and status in measured):
                continue
            row = self.find(values)
            if row is not None:
                found[row] = status
        return found

    def check_room(self, n: int, barred: Mapping[int, str]) -> None:
        """Check that n rows are left.

        Raises:
            PoolExhausted: saying how many are, and what became of the others.
        """
        left = self.size - len(barred)
        if left == 0:
            raise PoolExhausted(f"every row of the pool has been tried: {self.became(barred)}")
        if left < n:
            said = f"{left} row of the pool is left" if left == 1 else f"{left} rows of the pool are left"
            raise PoolExhausted(f"{said}, {n} were asked for: {self.became(barred)}")

    def free(self, barred: Mapping[int, str]) -> Rows:
        """Return the rows that are left, in order.

        Raises:
            PoolExhausted: none is.
        """
        self.check_room(1, barred)
        mask = np.ones(self.size, dtype=bool)
        mask[list(barred)] = False
        return np.flatnonzero(mask)

    def became(self, barred: Mapping[int, str]) -> str:
        """Say what became of rows."""
        counts = Counter(_SAID.get(status, "under way") for status in barred.values())
        said = ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items(), key=lambda item: -item[1]))
        return f"of its {self.size:,} rows {said}"

    @cached_property
    def memo(self) -> dict[Any, Any]:
        """What a search over this pool computed once and may use again; a function of the pool alone."""
        return {}

    def _check_constraints(self) -> None:
        if not self.space.is_constrained:
            return
        for part, rows in self.parts(np.arange(self.size)):
            for row in part[~(self.space.is_feasible(rows) & self._keeps(part))].tolist():
                try:  # the one that counts, with its own tolerance; the other is quick
                    self.problem.validate_point(self.values(row))
                except InvalidPoint as error:
                    raise PoolError(f"{str(error).rstrip('.')}, or leave the row out", row) from error

    def _keeps(self, rows: Rows) -> NDArray[np.bool_]:
        """Return which rows keep sums, expressions and thresholds for sure, in the parameters' own units.

        Encoded, a number may differ in its last digits: enough to divide by what was zero.
        """
        kept = np.ones(len(rows), dtype=bool)
        for linear in self.problem.linear_constraints:
            terms = np.array([c * self._numbers(name, rows) for name, c in linear.coefficients.items()])
            exact = linear.equals is not None
            low, high = (linear.equals, linear.equals) if exact else (linear.lower, linear.upper)
            slack = 9e-7 * np.maximum(np.abs(terms).max(axis=0), max(abs(b) for b in (low, high) if b is not None))
            kept &= _is_between(terms.sum(axis=0), low, high, slack)
        for constraint in self.problem.input_constraints:
            columns = {name: self._numbers(name, rows) for name in constraint.names if self._is_number(name)}
            if isinstance(constraint, NonlinearConstraint):
                with np.errstate(all="ignore"):
                    found, valid = constraint.parsed.evaluate(columns, np)
                    margin = 1e-12 * np.ptp(found[valid]) if valid.any() else 0.0  # numpy rounds otherwise than Python
                    kept &= valid & _is_between(found, constraint.lower, constraint.upper, -margin)
            elif isinstance(constraint, Cardinality) and constraint.threshold is not None:
                for column in columns.values():
                    kept &= (column == 0.0) | (column >= constraint.threshold)
        return kept

    def _is_number(self, name: str) -> bool:
        return not isinstance(self.problem.parameter(name), Categorical)

    def _numbers(self, name: str, rows: Rows) -> Matrix:
        """Return the values (n,) of a parameter that is a number."""
        parameter, column = self.problem.parameter(name), self._columns[name][rows]
        return np.asarray(parameter.values, dtype=float)[column] if isinstance(parameter, Ordinal) else column + 0.0

    def _check_repeats(self) -> None:
        same = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        first, later = self._order[same], self._order[same + 1]
        equal = np.ones(len(same), dtype=bool)
        for column in self._columns.values():
            equal &= column[first] == column[later]
        if equal.any():
            pair = int(np.argmin(np.where(equal, later, self.size)))
            row, other = int(later[pair]), int(first[pair])
            where = f"row {other + 1:,}" if self._lines is None else f"line {int(self._lines[other]):,}"
            raise PoolError(f"it is the same point as {where}; leave one of them out", row)

    def _digest(self) -> str:
        found = hashlib.sha256(self.problem.digest().encode())
        for column in self._columns.values():
            found.update(column.tobytes())
        if self._labels is not None:
            found.update(self._labels[0])
            found.update(self._labels[1].tobytes())
        return found.hexdigest()


_SAID = {
    "completed": "measured",
    "stopped_early": "measured",
    "failed": "failed",
    "aborted": "aborted",
    "rejected": "rejected",
    "refused": "refused by the instrument",
    "superseded": "replaced by an edit",
    "withdrawn": "withdrawn",
}


class BadValue(PoolError):
    """A value in a column that is none of its parameter's."""


def code(parameter: Continuous | Integer | Ordinal | Categorical, values: Any) -> NDArray[Any]:
    """Return a column as it is kept: numbers, or for listed values their places in the list.

    Raises:
        BadValue: naming the first row whose value is not one of the parameter's.
    """
    if isinstance(parameter, Categorical):
        places = {value: i for i, value in enumerate(parameter.values)}
        found = np.fromiter((places.get(v, -1) if isinstance(v, str) else -1 for v in values), dtype=np.int16)
        _refuse(parameter, values, found < 0)
        return found
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or numbers.ndim != 1 or np.asarray(values).dtype.kind == "b":
        for row, value in enumerate(values):
            _check(parameter, value, row)
        raise BadValue(f"{parameter.name}: the column is not one number per row")
    if isinstance(parameter, Ordinal):
        levels = np.asarray(parameter.values, dtype=float)
        above = np.clip(np.searchsorted(levels, numbers), 1, len(levels) - 1)
        nearest = np.where(np.abs(levels[above - 1] - numbers) <= np.abs(levels[above] - numbers), above - 1, above)
        close = np.abs(levels[nearest] - numbers) <= 1e-12 * np.maximum(np.abs(levels[nearest]), np.abs(numbers))
        _refuse(parameter, numbers, ~close)
        return nearest.astype(np.int16)
    inside = np.isfinite(numbers) & (numbers >= parameter.low) & (numbers <= parameter.high)
    if isinstance(parameter, Integer):
        inside &= numbers == np.floor(numbers)
    _refuse(parameter, numbers, ~inside)
    # One zero only, or a row would not be found by its values.
    return numbers.astype(np.int64) if isinstance(parameter, Integer) else numbers + 0.0


def _refuse(parameter: Any, values: Any, wrong: NDArray[np.bool_]) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        value = values[row]
        _check(parameter, value.item() if isinstance(value, np.generic) else value, row)
        raise BadValue(f"{parameter.name} = {value!r}: is not one of the parameter's values", row)


def _check(parameter: Any, value: Any, row: int) -> None:
    try:
        parameter.validate_value(value)
    except InvalidPoint as error:
        raise BadValue(str(error), row) from error


def _is_between(found: Matrix, low: float | None, high: float | None, slack: Any) -> NDArray[np.bool_]:
    kept = np.ones(len(found), dtype=bool)
    if low is not None:
        kept &= found >= low - slack
    if high is not None:
        kept &= found <= high + slack
    return kept


def _packed(labels: Sequence[str]) -> tuple[bytes, Rows]:
    """Return labels as one text and where each ends: a list of a million strings takes ten times the memory."""
    parts = [label.encode() for label in labels]
    ends = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=ends[1:])
    return b"".join(parts), ends


def _hashes(columns: Iterable[NDArray[Any]]) -> NDArray[np.uint64]:
    """Return a hash per row (the finaliser of splitmix64, Steele et al. 2014, over the columns)."""
    found: Any = None
    for column in columns:
        bits = (column if column.dtype == np.float64 else column.astype(np.int64)).view(np.uint64)
        found = bits.copy() if found is None else found * np.uint64(0x9E3779B97F4A7C15) + bits
        found ^= found >> np.uint64(30)
        found *= np.uint64(0xBF58476D1CE4E5B9)
        found ^= found >> np.uint64(27)
        found *= np.uint64(0x94D049BB133111EB)
        found ^= found >> np.uint64(31)
    return np.asarray(found, dtype=np.uint64)
