"""Pools of candidates from CSV files: read in one pass into columns of numbers, checked, and known by their digest."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from athanor.agents.history import HEADER, Converter, DataError, converter
from athanor.agents.pool_spec import PoolSpec
from athanor.planners.problem import Categorical, Continuous, Integer, Problem

if TYPE_CHECKING:
    from athanor.planners.pool import Pool

BLOCK = 32_768
"""Lines that are held as text at once."""

LONGEST_LABEL = 200

LONGEST_LINE = 1 << 20
"""Bytes of a line: what is longer is no table, and is not read to its end."""


class PoolFileError(ValueError):
    """A file that cannot be the pool of a campaign; names the file, the line and the remedy."""


class PoolChanged(PoolFileError):
    """The file is not the one that the campaign began with."""


def read_pool(spec: PoolSpec, problem: Problem) -> Pool:
    """Read the pool that a campaign names.

    Args:
        spec: the file, a CSV with a header row; every column is `name` or `name [unit]`, and there is one for each
            parameter. Further columns are ignored, but for the one that names the rows.
        problem: names, units and kinds of the parameters.

    Raises:
        PoolFileError: naming the first line that is wrong.
        PoolChanged: its digest is not the one that `spec` states.
    """
    path = Path(spec.file)
    try:
        stat = path.stat()
        pool = _read(path, stat.st_mtime_ns, stat.st_size, problem.model_dump_json(), spec.label, spec.repeats)
    except FileNotFoundError as error:
        raise PoolFileError(f"{path} does not exist; put the pool there, or correct its path") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PoolFileError(f"{path} cannot be read as CSV: {error}") from error
    if spec.sha256 is not None and pool.sha256 != spec.sha256:
        raise _changed(path, spec.sha256, pool.sha256)
    return pool


def check_unchanged(spec: PoolSpec) -> None:
    """Check that the file is still the one that the campaign began with.

    Raises:
        PoolChanged: it is another one, or gone.
    """
    if spec.sha256 is None:
        return
    path = Path(spec.file)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PoolChanged(f"the pool {path} cannot be read any more ({error}); put the file back as it was") from error
    if found != spec.sha256:
        raise _changed(path, spec.sha256, found)


def glance(spec: PoolSpec, problem: Problem) -> None:
    """Check the header of the file alone, which takes no time whatever its size.

    Raises:
        PoolFileError: it cannot be read, or lacks a column.
    """
    path = Path(spec.file)
    try:
        with path.open("rb") as file:
            _Columns(path, next(_rows(_lines(file, hashlib.sha256())), []), problem, spec.label)
    except FileNotFoundError as error:
        raise PoolFileError(f"{path} does not exist; put the pool there, or correct its path") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PoolFileError(f"{path} cannot be read as CSV: {error}") from error


def _changed(path: Path, then: str, now: str) -> PoolChanged:
    return PoolChanged(
        f"the pool {path} is not the file that the campaign is about: its sha256 was {then} and is {now}; "
        "put the file back as it was, or start another campaign with the new one"
    )


@lru_cache(maxsize=2)
def _read(path: Path, mtime_ns: int, size: int, problem_json: str, label: str | None, repeats: str) -> Pool:
    """Read a file once, however often it is asked for while it does not change."""
    import numpy as np

    from athanor.planners.pool import MOST_ROWS, BadValue, Pool, PoolError, code

    problem = Problem.model_validate_json(problem_json)
    digest = hashlib.sha256()
    parts: dict[str, list[Any]] = {name: [] for name in problem.names}
    labels: list[str] = []
    lines: list[Any] = []
    with path.open("rb") as file:
        rows = _rows(_lines(file, digest))
        columns = _Columns(path, next(rows, []), problem, label)
        count = 0
        for numbers, cells in _blocks(path, rows):
            count += len(cells)
            if count > MOST_ROWS:
                raise PoolFileError(
                    f"{path} has more than {MOST_ROWS:,} rows; leave out those that are out of question"
                )
            columns.check_widths(numbers, cells)
            by_column = list(zip(*cells, strict=True))
            for parameter in problem.parameters:
                values = columns.column(parameter.name, numbers, by_column)
                try:
                    parts[parameter.name].append(code(parameter, values))
                except BadValue as error:
                    at = f":{numbers[error.row]}" if error.row is not None else ""
                    raise PoolFileError(f"{path}{at}: {error.detail}") from error
            if label is not None:
                labels += columns.labels(numbers, by_column)
            lines.append(np.array(numbers, dtype=np.int64))
    if not lines:
        raise PoolFileError(f"{path} holds no candidate; every line below the first is one")
    where = np.concatenate(lines)
    try:
        return Pool.of_codes(
            problem,
            {name: np.concatenate(found) for name, found in parts.items()},
            labels=labels if label is not None else None,
            lines=where,
            repeats=repeats == "allowed",
            source=str(path),
            sha256=digest.hexdigest(),
        )
    except PoolError as error:
        at = f":{where[error.row]}" if error.row is not None else ""
        raise PoolFileError(f"{path}{at}: {error.detail}") from error


class _Hashing(io.RawIOBase):
    """A file whose bytes go into a digest on their way."""

    def __init__(self, file: BinaryIO, digest: Any) -> None:
        self._file, self._digest, self._line = file, digest, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        self._digest.update(data)
        buffer[: len(data)] = data
        end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        self._line = len(data) - end - 1 + (self._line if end < 0 else 0)
        if self._line > LONGEST_LINE:
            raise csv.Error(f"a line has more than {LONGEST_LINE:,} bytes")
        return len(data)


def _lines(file: BinaryIO, digest: Any) -> TextIO:
    """The lines of a file, which goes into its digest as it is read."""
    return io.TextIOWrapper(io.BufferedReader(_Hashing(file, digest), 1 << 20), encoding="utf-8-sig", newline="")


def _rows(lines: TextIO) -> Any:
    """The rows of a table; of a quote that is not closed it is said so, where all behind it would else be one cell."""
    return csv.reader(lines, strict=True)


def _blocks(path: Path, rows: Any) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yield rows that are not empty, in parts, and the line on which each ends."""
    numbers: list[int] = []
    cells: list[list[str]] = []
    while True:
        first = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise PoolFileError(
                f"{path}:{first}: {error}; if a cell begins with a quote, close it, and double every quote in it"
            ) from error
        if row is None:
            break
        if any(map(str.strip, row)):
            numbers.append(rows.line_num)
            cells.append(row)
            if len(cells) == BLOCK:
                yield numbers, cells
                numbers, cells = [], []
    if cells:
        yield numbers, cells


class _Columns:
    """The header of a file: where each parameter stands and how it is converted."""

    def __init__(self, path: Path, header: list[str], problem: Problem, label: str | None) -> None:
        if path.suffix.lower() in (".parquet", ".xlsx", ".xls"):
            raise PoolFileError(f"{path}: a pool is a CSV file; export it as one")
        if not header:
            raise PoolFileError(f"{path} is empty; the first line names the columns")
        self.path, self.problem, self.label, self.width = path, problem, label, len(header)
        found: dict[str, tuple[int, str | None]] = {}
        for index, text in enumerate(header):
            if match := HEADER.match(text):
                if match["name"] in found:
                    raise PoolFileError(f"{path}:1: column {match['name']} is there twice; leave one of them out")
                found[match["name"]] = (index, match["unit"])
        if missing := [name for name in (*problem.names, *([label] if label else [])) if name not in found]:
            raise PoolFileError(f"{path}:1: no column for {', '.join(missing)}; found {', '.join(found) or 'none'}")
        self.index = {name: index for name, (index, _) in found.items()}
        self.convert: dict[str, Callable[[float], float]] = {}
        for parameter in problem.parameters:
            if not isinstance(parameter, Categorical):
                try:
                    name = parameter.name
                    self.convert[name] = converter(path, name, found[name][1], problem.unit(name))
                except DataError as error:
                    raise PoolFileError(str(error)) from error

    def check_widths(self, numbers: list[int], cells: list[list[str]]) -> None:
        if any(len(row) != self.width for row in cells):
            k = next(k for k, row in enumerate(cells) if len(row) != self.width)
            raise PoolFileError(f"{self.path}:{numbers[k]}: {len(cells[k])} cells in a row, {self.width} in the header")

    def column(self, name: str, numbers: list[int], by_column: list[tuple[str, ...]]) -> Any:
        """The values of a parameter in the problem's unit: words for a category, else an array of numbers."""
        import numpy as np

        texts = by_column[self.index[name]]
        if name not in self.convert:
            return [text.strip() for text in texts]
        try:
            values = np.fromiter(map(float, texts), dtype=float, count=len(texts))
        except ValueError:
            k = next(k for k, text in enumerate(texts) if not _is_number(text))
            said = "the cell is empty" if not texts[k].strip() else f"{texts[k][:40]!r} is not a number"
            raise PoolFileError(f"{self.path}:{numbers[k]}: {name}: {said}") from None
        convert = self.convert[name]
        if not isinstance(convert, Converter):
            return values
        # A conversion may end a hair beyond a bound, or beside a whole number.
        values = np.asarray(convert.column(values), dtype=float)
        parameter = self.problem.parameter(name)
        if isinstance(parameter, Integer):
            whole = np.round(values)
            values = np.where(np.abs(values - whole) < 1e-9 * np.maximum(1.0, np.abs(whole)), whole, values)
        if isinstance(parameter, Continuous):
            for bound in (parameter.low, parameter.high):
                values = np.where(np.abs(values - bound) <= 1e-9 * (parameter.high - parameter.low), bound, values)
        return values

    def labels(self, numbers: list[int], by_column: list[tuple[str, ...]]) -> list[str]:
        assert self.label is not None
        found = [text.strip() for text in by_column[self.index[self.label]]]
        for number, text in zip(numbers, found, strict=True):
            if not text or len(text) > LONGEST_LABEL:
                said = "the cell is empty" if not text else f"it has more than {LONGEST_LABEL} characters"
                raise PoolFileError(f"{self.path}:{number}: {self.label}: {said}")
        return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
