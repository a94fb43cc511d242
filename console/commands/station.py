"""What a person answers to a manual station: checked against what is asked now, and laid down once."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.console.commands.refused import Refused

if TYPE_CHECKING:
    from athanor.instruments.station import Answer, AnyQuestion, Sheet, Station
    from athanor.memory.ledger import Ledger

LOOK_S = 0.3
TAKEN_S = 5.0
"""Seconds within which a living worker has taken an answer."""


def answer(
    found: Station,
    by: str,
    note: str = "",
    *,
    texts: Mapping[str, str] | None = None,
    csv: Path | None = None,
    done: bool = False,
    cannot: str | None = None,
    seen: Collection[str] | None = None,
) -> list[Answer]:
    """Check what was said against what is asked now, and lay it down.

    Args:
        found: the station.
        by: who says so.
        note: kept with each answer.
        texts: what was measured, or where an axis was really set, by name, as written by a person.
        csv: a file of readings, in the place of `texts`.
        done: every setting that is asked for and not in `texts` is made as asked.
        cannot: why nothing of it can be done; the run fails with this reason.
        seen: ids of the questions that the person saw; to any other this is no answer. None: whatever is asked now.

    Raises:
        Refused: nothing is asked, or what was said does not count; it is asked for still.
    """
    from athanor.instruments import entries

    sheet = asked_now(found)
    questions = open_questions(found, sheet)
    if seen is not None:
        questions = tuple(one for one in questions if one.id in seen)
        _check_seen(found, seen, questions)
    if not questions:
        raise Refused("Everything that was asked is answered", f"Look again: {_look(found)}")
    given: list[Answer] = []
    try:
        if cannot is not None:
            given = entries.cannot(questions, cannot, by, note)
        elif csv is not None:
            given = entries.from_csv(csv, questions, by, note)
        elif texts:
            given = entries.entered(questions, texts, by, note)
        if done:
            answered = {one.question for one in given}
            given += entries.done([one for one in questions if one.id not in answered], by, note)
    except entries.EntryRefused as error:
        found.log("refused", code=error.code, detail=error.detail, by=by, experiment=sheet.run.experiment)
        raise Refused(f"Refused, and still asked for: {error.detail}", error.remedy) from error
    lay_down(found, given)
    return given


def _check_seen(found: Station, seen: Collection[str], questions: Sequence[AnyQuestion]) -> None:
    """Raise `Refused` when one of the questions that the person saw is not asked any more, with who answered it."""
    from athanor.instruments.station import AlreadyAnswered

    for name in sorted(set(seen) - {one.id for one in questions}):
        there = found.answer(name)
        said = "that is not asked any more" if there is None else str(AlreadyAnswered(there))
        raise Refused(said, f"See what is asked now: {_look(found)}")


def open_questions(found: Station, sheet: Sheet) -> tuple[AnyQuestion, ...]:
    """The questions of a sheet that nobody has answered yet."""
    return tuple(one for one in sheet.questions if found.answer(one.id) is None)


def is_settled(found: Station, ledger: Ledger) -> bool:
    """Whether what is asked is for a run whose worker is gone and whose end a person has settled since."""
    from athanor.memory.errors import LedgerError

    sheet = found.sheet()
    if sheet is None or found.standing(sheet) != "orphan":
        return False
    try:
        return ledger.experiment(sheet.run.experiment).state not in ("dispatched", "running", "in_doubt")
    except LedgerError:  # then it is asked for, as long as nobody can say otherwise
        return False


def forget_settled(found: Station, ledger: Ledger) -> None:
    """Ask no more for a run whose worker is gone and whose end a person has settled since."""
    if is_settled(found, ledger) and (sheet := found.sheet()) is not None:
        found.write(sheet.model_copy(update={"state": "over", "questions": ()}))


def _look(found: Station) -> str:
    from athanor.console.cli.context import command

    return command("station", found.name)


def asked_now(found: Station) -> Sheet:
    """The sheet that may be answered. Raises `Refused` when nothing is asked."""
    sheet = found.sheet()
    standing = found.standing(sheet)
    if sheet is None or standing == "nothing":
        raise Refused(f"Nothing is waiting for a person at {found.name}")
    if standing == "withdrawn":
        raise Refused(
            f"{found.name} asks for nothing any more: {sheet.why}", "See `athanor show` for what is to be done."
        )
    return sheet


def lay_down(found: Station, given: Sequence[Answer]) -> None:
    """Give the answers. Raises `Refused` when a question was answered by somebody else meanwhile."""
    from athanor.instruments.station import AlreadyAnswered

    for one in given:
        try:
            found.give(one)
        except AlreadyAnswered as error:
            raise Refused(str(error), f"See what is asked now: {_look(found)}") from error


def await_taken(found: Station, given: Sequence[Answer], pause: Callable[[float], Any] = time.sleep) -> str | None:
    """Wait until the worker has taken the answers; None when it has, else why not."""
    names = {one.question for one in given}
    deadline = time.monotonic() + TAKEN_S
    while True:
        sheet = found.sheet()
        left = [] if sheet is None else [one for one in sheet.questions if one.id in names]
        if not left or (sheet is not None and sheet.state == "over"):
            return None
        if refused := [one.refused for one in left if one.refused]:
            return str(refused[0])
        standing = found.standing(sheet)
        if standing != "waiting" or time.monotonic() > deadline:
            return {"orphan": "gone", "withdrawn": "withdrawn"}.get(standing, "slow")
        pause(LOOK_S)


def outcomes(found: Station, sheet: Sheet) -> dict[str, str]:
    """What the answers to a run's questions come to, as `reconcile` takes it; nothing while a reading is missing."""
    import json

    from athanor.instruments.reductions import mean_and_sem

    config = json.loads((found.folder.parent / "config.json").read_text(encoding="utf-8"))["profile"]
    readings: dict[str, dict[int, float]] = {}
    for answer in found.answers(sheet.run.intent):
        for number, row in enumerate(answer.rows, answer.reading):
            for signal, value in row.items():
                readings.setdefault(signal, {})[number] = value
    words: dict[str, str] = {}
    for name, outcome in config["outcomes"].items():
        values = list(readings.get(outcome["signal"], {}).values())
        if len(values) < sheet.run.replicates or config["reduction"] != "mean":
            return {}
        mean, sem = mean_and_sem(values)
        words[name] = f"{mean!r}" if sem is None else f"{mean!r}±{sem!r}"
    return words
