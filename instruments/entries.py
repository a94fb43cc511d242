"""What a person enters at a manual station, read and checked: by the command that takes it and by the worker again."""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from athanor.instruments.station import Answer, AnyQuestion, MeasureQuestion, SetQuestion, Signal
from athanor.instruments.units import NONE, same_unit

Code = Literal[
    "entry.not_finite",
    "entry.type",
    "entry.unit",
    "entry.implausible",
    "entry.elsewhere",
    "entry.missing",
    "entry.unknown",
    "entry.rows",
    "entry.file",
]

_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*")
_HEAD = re.compile(r"\s*(?P<name>[^\[\]]+?)\s*(?:\[(?P<unit>[^\]]*)\])?\s*")


class EntryRefused(ValueError):
    """An entry that does not count; the question stays open. `code` is stable."""

    def __init__(self, code: Code, detail: str, remedy: str) -> None:
        self.code = code
        self.detail = detail
        self.remedy = remedy
        super().__init__(f"{detail}; {remedy}")


# -- one value -------------------------------------------------------------------------------------------------------


def number(name: str, text: str, unit: str | None) -> float:
    """The number in a text such as `0.83` or `0.83 g/L`. Raises `EntryRefused` for another unit, or what is none."""
    match = _NUMBER.fullmatch(text)
    if match is None or match[2][:1] in {",", ".", "_"}:
        if text.strip().lower().lstrip("+-") in {"nan", "inf", "infinity"}:
            raise _not_finite(name, float(text))
        remedy = "write the decimal point as a point" if re.search(r"\d,\d", text) else "enter a number"
        raise EntryRefused("entry.type", f"{name}: {text.strip()[:60]!r} is not a number", remedy)
    if match[2] and not same_unit(match[2], unit):
        raise _wrong_unit(name, match[2], unit)
    return float(match[1])


def plausible(name: str, value: float, signal: Signal) -> float:
    """The value, if it is one to believe. Raises `EntryRefused`."""
    if not math.isfinite(value):
        raise _not_finite(name, value)
    low, high = signal.low, signal.high
    if (low is not None and value < low) or (high is not None and value > high):
        unit = "" if signal.unit in NONE else f" {signal.unit}"
        said = f"{name} = {value:g}{unit} lies outside the plausible {_ends(low, high)}{unit}"
        raise EntryRefused("entry.implausible", said, "measure again; if it is true, widen `plausible:` in the profile")
    return value


def reached(question: SetQuestion, value: float | int | str) -> float | int | str:
    """Where an axis was set, if that is where it was to go. Raises `EntryRefused`."""
    asked = question.value
    if isinstance(asked, str) or isinstance(value, str):
        if value != asked:
            said = f"{question.device} = {value} is not {asked}"
            raise EntryRefused("entry.elsewhere", said, "set it as asked, or say why it cannot be")
        return value
    if not math.isfinite(value):
        raise _not_finite(question.device, value)
    if not abs(value - asked) <= question.tolerance + 4 * math.ulp(max(abs(asked), 1.0)):
        unit = "" if question.unit in NONE else f" {question.unit}"
        far = f"more than {question.tolerance:g}{unit} from" if question.tolerance else "not"
        said = f"{question.device} = {value:g}{unit} is {far} {asked:.6g}{unit}"
        raise EntryRefused("entry.elsewhere", said, "set it nearer, or say why it cannot be")
    return value


def _not_finite(name: str, value: float) -> EntryRefused:
    return EntryRefused("entry.not_finite", f"{name} = {value} is no measurement", "enter a finite number")


def _wrong_unit(name: str, given: str, wanted: str | None) -> EntryRefused:
    right = "has no unit" if wanted in NONE else f"is in {wanted}"
    return EntryRefused("entry.unit", f"{name} {right}, not in {given}", "convert it first, then enter it")


def _ends(low: float | None, high: float | None) -> str:
    left = "−∞" if low is None else f"{low:g}"
    return f"{left} … {'∞' if high is None else f'{high:g}'}"


# -- whole answers ---------------------------------------------------------------------------------------------------


def check(question: AnyQuestion, answer: Answer) -> Answer:
    """The answer, if it is one to the question that may count. Raises `EntryRefused`."""
    if answer.question != question.id:
        raise EntryRefused("entry.unknown", f"it answers {answer.question}, not {question.id}", "answer what is asked")
    if answer.verb == "cannot":
        if not answer.reason.strip():
            raise EntryRefused("entry.missing", f"{question.device}: no reason is given", "say why it cannot be done")
        return answer
    if isinstance(question, SetQuestion):
        if answer.rows:
            raise EntryRefused("entry.type", f"{question.device} is set, not measured", "confirm the setting")
        if answer.verb == "enter" and answer.value is None:
            raise EntryRefused("entry.missing", f"no value for {question.device}", "enter where it was set")
        if answer.value is not None:
            reached(question, answer.value)
        return answer
    if answer.verb == "done" or not answer.rows:
        names = ", ".join(question.signals)
        raise EntryRefused("entry.missing", f"{question.device} was to be measured", f"enter {names}")
    if len(answer.rows) > question.left:
        said = f"{len(answer.rows)} readings were entered, the run takes {question.left} more"
        raise EntryRefused("entry.rows", said, "enter one row for each reading")
    for row in answer.rows:
        if missing := [name for name in question.signals if name not in row]:
            raise EntryRefused("entry.missing", f"no value for {', '.join(missing)}", "enter every signal")
        if extra := [name for name in row if name not in question.signals]:
            said = f"{question.device} has no signal {extra[0]!r}"
            raise EntryRefused("entry.unknown", said, f"enter {', '.join(question.signals)}")
        for name, signal in question.signals.items():
            plausible(name, row[name], signal)
    return answer


def done(questions: Iterable[AnyQuestion], by: str, note: str = "", source: str = "command") -> list[Answer]:
    """The answers that every setting is made as it was asked. Raises `EntryRefused` when no setting is asked for."""
    asked = list(questions)
    settings = [question for question in asked if isinstance(question, SetQuestion)]
    if not settings:
        names = ", ".join(name for one in asked if isinstance(one, MeasureQuestion) for name in one.signals)
        raise EntryRefused("entry.missing", "no setting waits to be confirmed", f"enter {names}")
    return [
        Answer(question=one.id, device=one.device, verb="done", by=by, note=note, source=source, at=datetime.now(UTC))
        for one in settings
    ]


def cannot(questions: Iterable[AnyQuestion], reason: str, by: str, note: str = "") -> list[Answer]:
    """The answers that nothing of what is asked can be done. Raises `EntryRefused` without a reason."""
    found = []
    for one in questions:
        answer = Answer(
            question=one.id, device=one.device, verb="cannot", reason=reason, by=by, note=note, at=datetime.now(UTC)
        )
        found.append(check(one, answer))
    return found


def entered(
    questions: Sequence[AnyQuestion], texts: Mapping[str, str], by: str, note: str = "", source: str = "command"
) -> list[Answer]:
    """The answers in `name=value` texts: signals that were measured, axes and where they were really set.

    Raises:
        EntryRefused: for the first that does not count; then none of them does.
    """
    left = dict(texts)
    found: list[Answer] = []
    for one in questions:
        about = {"question": one.id, "device": one.device, "verb": "enter", "by": by, "note": note, "source": source}
        if isinstance(one, SetQuestion):
            if one.device not in left:
                continue
            text = left.pop(one.device)
            value = text.strip() if isinstance(one.value, str) else number(one.device, text, one.unit)
            found.append(check(one, Answer(**about, value=value, at=datetime.now(UTC))))
            continue
        row = {name: number(name, left.pop(name), signal.unit) for name, signal in one.signals.items() if name in left}
        if row:
            for name, value in row.items():
                plausible(name, value, one.signals[name])
            found.append(check(one, Answer(**about, rows=(row,), reading=one.reading, at=datetime.now(UTC))))
    if left:
        known = ", ".join(_names(questions))
        raise EntryRefused("entry.unknown", f"nobody asks for {next(iter(left))!r} now", f"asked for: {known}")
    if not found:
        raise EntryRefused("entry.missing", "nothing was entered", f"enter {', '.join(_names(questions))}")
    return found


def _names(questions: Iterable[AnyQuestion]) -> list[str]:
    found: list[str] = []
    for one in questions:
        found += [one.device] if isinstance(one, SetQuestion) else list(one.signals)
    return found


# -- a file ----------------------------------------------------------------------------------------------------------


def from_csv(path: Path, questions: Iterable[AnyQuestion], by: str, note: str = "") -> list[Answer]:
    """The answers in a CSV file: a column per signal, headed `name` or `name [unit]`, and a row per reading.

    Other columns are left alone; empty rows too. A file counts whole or not at all.

    Raises:
        EntryRefused: naming file, row and column of the first thing that is wrong; row 1 is the head.
    """
    measured = [question for question in questions if isinstance(question, MeasureQuestion)]
    if not measured:
        raise _in_file(path, "entry.missing", "nothing is to be measured now", "confirm the setting first")
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig").splitlines()
        # Spreadsheets of some countries write semicolons, and some instruments tabs.
        between = max(",;\t", key=(text[0] if text else "").count)
        lines = list(csv.reader(text, delimiter=between))
    except FileNotFoundError:
        raise _in_file(path, "entry.file", "there is no such file", "name the file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _in_file(path, "entry.file", f"it cannot be read as CSV ({error})", "save it as CSV, UTF-8") from error
    rows = [(number, cells) for number, cells in enumerate(lines, 1) if any(cell.strip() for cell in cells)]
    if not rows:
        raise _in_file(path, "entry.file", "it is empty", "the first row names the columns")
    columns: dict[str, tuple[int, str | None]] = {}
    for index, head in enumerate(rows[0][1]):
        if match := _HEAD.fullmatch(head):
            if match["name"] in columns:
                raise _in_file(path, "entry.file", f"row 1: two columns are called {match['name']}", "keep one")
            columns[match["name"]] = (index, match["unit"])
    source = f"{path.name} sha256:{hashlib.sha256(data).hexdigest()}"
    found = []
    for one in measured:
        present = [name for name in one.signals if name in columns]
        if present:
            readings = _readings(path, one, rows[1:], columns)
            found.append(
                Answer(
                    question=one.id,
                    device=one.device,
                    verb="enter",
                    rows=tuple(readings),
                    reading=one.reading,
                    by=by,
                    note=note,
                    source=source,
                    at=datetime.now(UTC),
                )
            )
    if not found:
        asked, there = ", ".join(_names(measured)), ", ".join(columns) or "none"
        raise _in_file(path, "entry.missing", f"row 1: no column is called {asked}", f"columns there: {there}")
    return found


def _readings(
    path: Path,
    question: MeasureQuestion,
    rows: Sequence[tuple[int, list[str]]],
    columns: Mapping[str, tuple[int, str | None]],
) -> list[dict[str, float]]:
    for name, signal in question.signals.items():
        if name not in columns:
            raise _in_file(
                path, "entry.missing", f"row 1: no column for {name}", f"columns there: {', '.join(columns)}"
            )
        unit = columns[name][1]
        if unit is not None and not same_unit(unit, signal.unit):
            wrong = _wrong_unit(name, unit or "no unit", signal.unit)
            raise _in_file(path, wrong.code, f"row 1, column {name}: {wrong.detail}", "convert the column first")
    if not 1 <= len(rows) <= question.left:
        most = "1 row" if question.left == 1 else f"1 to {question.left} rows"
        said = f"{len(rows)} rows below the first, but {question.device} takes {most} now"
        raise _in_file(path, "entry.rows", said, "one row for each reading")
    found = []
    for row, cells in rows:
        values = {}
        for name, signal in question.signals.items():
            index = columns[name][0]
            cell = cells[index].strip() if index < len(cells) else ""
            try:
                if not cell:
                    raise EntryRefused("entry.missing", f"no value for {name}", "fill the cell")
                values[name] = plausible(name, number(name, cell, signal.unit), signal)
            except EntryRefused as error:
                raise _in_file(path, error.code, f"row {row}, column {name}: {error.detail}", error.remedy) from None
        found.append(values)
    return found


def _in_file(path: Path, code: Code, detail: str, remedy: str) -> EntryRefused:
    return EntryRefused(code, f"{path}: {detail}", remedy)
