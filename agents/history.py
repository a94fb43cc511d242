"""Earlier measurements from a CSV file, with their units checked and converted."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from athanor.memory.records import Outcome
from athanor.planners.problem import Categorical, InvalidPoint

if TYPE_CHECKING:
    from athanor.memory.records import Value
    from athanor.planners.problem import Problem

HEADER = re.compile(r"^\s*(?P<name>[^\[\]]+?)\s*(?:\[(?P<unit>[^\]]*)\])?\s*$")


class DataError(ValueError):
    """A CSV file that cannot be used; names the file, the line, the column and the remedy."""


class MissingColumns(DataError):
    """A CSV file without a column for some parameter."""


class Measurement(NamedTuple):
    """One row: the point, its outcomes in the problem's units, and the line of the file it stands in."""

    values: dict[str, Value]
    outcomes: dict[str, Outcome]
    line: int


def read_measurements(
    path: Path, problem: Problem, outcomes: Mapping[str, str | None], only: Sequence[str] | None = None
) -> list[Measurement]:
    """Read points and their outcomes.

    Args:
        path: CSV with a header row; every column is `name` or `name [unit]`. All parameters and at least one outcome
            must be there; other columns are ignored. A column `name sem` gives the standard error of that outcome's
            mean, in the unit of its column. An empty outcome cell means "not measured", and a row in which nothing
            was measured is passed over.
        problem: names, units and kinds of the parameters.
        outcomes: the outcomes and their units.
        only: the parameters that must be there, the others not being read; values may then lie outside the problem.

    Raises:
        DataError: naming the first line and column that is wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error
    if not rows:
        raise DataError(f"{path} is empty; the first line names the columns")
    columns: dict[str, tuple[int, str | None]] = {}
    for index, header in enumerate(rows[0]):
        if match := HEADER.match(header):
            columns[match["name"]] = (index, match["unit"])
    names = problem.names if only is None else tuple(only)
    missing = [name for name in names if name not in columns]
    if missing:
        raise MissingColumns(f"{path}:1: no column for {', '.join(missing)}; found {', '.join(columns) or 'none'}")
    measured = [name for name in outcomes if name in columns]
    if not measured:
        raise DataError(f"{path}:1: no column for any outcome; expected one of {', '.join(outcomes)}")
    convert: dict[str, Callable[[float], float]] = {
        name: converter(path, name, columns[name][1], problem.unit(name)) for name in names
    }
    convert |= {name: converter(path, name, columns[name][1], outcomes[name]) for name in measured}
    points: list[Measurement] = []
    for line, row in enumerate(rows[1:], 2):
        if not any(text.strip() for text in row):
            continue
        reader = _Row(path, line, row, columns, convert)
        values: dict[str, Value] = {
            name: reader.text(name) if isinstance(problem.parameter(name), Categorical) else reader.number(name)
            for name in names
        }
        try:
            checked = problem.validate_point(_whole(values)) if only is None else values
        except InvalidPoint as error:
            raise DataError(f"{path}:{line}: {error}") from error
        there = {name: reader.outcome(name) for name in measured if reader.text(name)}
        if there:
            points.append(Measurement(dict(checked), there, line))
    if not points:
        raise DataError(f"{path} holds no measurement; every line below the first is one, with an outcome")
    return points


class _Row(NamedTuple):
    """One line of the file."""

    path: Path
    line: int
    cells: list[str]
    columns: dict[str, tuple[int, str | None]]
    convert: dict[str, Callable[[float], float]]

    def text(self, name: str) -> str:
        index = self.columns[name][0]
        if index >= len(self.cells):
            raise DataError(f"{self.path}:{self.line}: the row ends before column {name}")
        return self.cells[index].strip()

    def number(self, name: str) -> float:
        text = self.text(name)
        try:
            value = self.convert[name](float(text))
        except ValueError:
            raise DataError(f"{self.path}:{self.line}: {name}: {text!r} is not a number") from None
        if not math.isfinite(value):
            raise DataError(f"{self.path}:{self.line}: {name}: {text} is not finite; leave the cell empty instead")
        return value

    def outcome(self, name: str) -> Outcome:
        mean, column = self.number(name), f"{name} sem"
        if column not in self.columns or not (text := self.text(column)):
            return Outcome(mean=mean, sem=None)
        try:
            # By what one standard error adds: right also where the units have different zeros.
            sem = self.convert[name](float(self.text(name)) + float(text)) - mean
        except ValueError:
            raise DataError(f"{self.path}:{self.line}: {column}: {text!r} is not a number") from None
        if not math.isfinite(sem) or float(text) < 0:
            raise DataError(f"{self.path}:{self.line}: {column}: {text} is no standard error; leave the cell empty")
        return Outcome(mean=mean, sem=abs(sem))


def _whole(values: dict[str, Value]) -> dict[str, Value]:
    return {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in values.items()}


class Converter:
    """Converts a column to the problem's unit."""

    def __init__(self, given: str | None, wanted: str | None) -> None:
        import pint

        self.units = pint.get_application_registry()
        self.given, self.wanted = given, wanted

    def __call__(self, value: float) -> float:
        """Convert one number."""
        return float(self.units.Quantity(value, self.given).to(self.wanted).magnitude)

    def column(self, values: Any) -> Any:
        """Convert a whole array."""
        return self.units.Quantity(values, self.given).to(self.wanted).magnitude


def converter(path: Path, name: str, given: str | None, wanted: str | None) -> Callable[[float], float]:
    """Return what converts a number of a column to the wanted unit: `float` where the units are the same.

    Raises:
        DataError: the column states no unit, or one that cannot be converted.
    """
    if given is None and wanted not in (None, "", "1"):
        raise DataError(f"{path}:1: column {name} states no unit; write '{name} [{wanted}]'")
    try:
        return float if given is None else to_unit(given, wanted)
    except ValueError as error:
        raise DataError(f"{path}:1: column {name}: {error}") from error


def to_unit(given: str | None, wanted: str | None) -> Callable[[float], float]:
    """Return what turns numbers in one unit into numbers in another.

    Raises:
        ValueError: there is no such thing.
    """
    from athanor.instruments.units import same_unit

    if same_unit(given, wanted):
        return float
    import pint

    found = Converter(given, wanted)
    try:
        found(1.0)
    except (pint.PintError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"cannot convert {given} to {wanted or 'a plain number'}") from error
    return found
