"""The manual station: what an instrument asks of a person, and what the person answers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console.cli import asking, context, output
from athanor.console.cli.failures import Refused
from athanor.console.cli.instruments import place_of

if TYPE_CHECKING:
    from athanor.instruments.station import Answer, Sheet, Station

PANEL = "Supervise"
LOOK_S = 0.3
TAKEN_S = 5.0
"""Seconds within which a living worker has taken an answer."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("station", rich_help_panel=PANEL)(station)


def station(
    instrument: Annotated[str, typer.Argument(metavar="INSTRUMENT", help="The instrument's name.")],
    more: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE", show_default=False, hidden=True)] = None,
    enter: Annotated[
        list[str] | None,
        typer.Option(
            "--enter", metavar="NAME=VALUE…", help="What was measured: yield=0.83 purity=0.97.", show_default=False
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", help="What was measured, from a file: a column per signal, a row per reading."
        ),
    ] = None,
    done: Annotated[bool, typer.Option("--done", help="Every setting asked for is made.")] = False,
    cannot: Annotated[
        str | None,
        typer.Option("--cannot", metavar="REASON", help="It cannot be done; the run fails with this reason."),
    ] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who did it. Else the account's name.")] = None,
    note: Annotated[str, typer.Option("--note", help="Kept with the answer, in the record.")] = "",
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """See what an instrument asks of a person, and answer it.

    In a terminal it asks in turn until you leave. An entry that is no number, has another unit or is not plausible is
    refused with the reason, and asked for again.
    """
    from athanor.instruments.station import Station

    texts = assignments([*(enter or []), *(more or [])])
    if sum([bool(texts), csv is not None, done, cannot is not None]) > 1 and not (done and texts and csv is None):
        raise typer.BadParameter("choose one of --enter, --csv, --done and --cannot")
    found = Station(place_of(instrument, ledger))
    _forget_settled(found, ledger)
    who = by or context.person()
    if texts or csv is not None or done or cannot is not None:
        given = _answer(found, texts, csv, done, cannot, who, note)
        if json:
            output.emit({"instrument": found.name, "answered": [one.model_dump(mode="json") for one in given]})
        _say_taken(found, given, ledger)
        return
    sheet = found.sheet()
    if json:
        output.emit(asking.as_dict(found, sheet))
        return
    if not sys.stdin.isatty() or not sys.stderr.isatty():
        output.show(asking.page(found, sheet))
        return
    from athanor.console.cli.bench import Bench

    Bench(found, who, note).sit()


def _answer(
    found: Station, texts: dict[str, str], csv: Path | None, done: bool, cannot: str | None, by: str, note: str
) -> list[Answer]:
    """Check what was said against what is asked now, and lay it down. Raises `Refused`."""
    from athanor.instruments import entries

    sheet = asked_now(found)
    questions = asking.open_questions(found, sheet)
    if not questions:
        raise Refused("Everything that was asked is answered", f"Look again: {context.command('station', found.name)}")
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


def _forget_settled(found: Station, ledger: str | None) -> None:
    """Ask no more for a run whose worker is gone and whose end a person has settled since."""
    from athanor.memory.errors import LedgerError

    sheet = found.sheet()
    if (
        sheet is None
        or found.standing(sheet) != "orphan"
        or not context.ledger_path(context.ledger_url(ledger)).exists()
    ):
        return
    with suppress(LedgerError):  # then it is asked for, as long as nobody can say otherwise
        state = context.open_ledger(ledger).experiment(sheet.run.experiment).state
        if state not in ("dispatched", "running", "in_doubt"):
            found.write(sheet.model_copy(update={"state": "over", "questions": ()}))


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
            raise Refused(str(error), f"See what is asked now: {context.command('station', found.name)}") from error


def assignments(texts: Sequence[str], hint: str = "--enter") -> dict[str, str]:
    """Read `name=value` words. Raises `typer.BadParameter`."""
    found: dict[str, str] = {}
    for word in texts:
        name, equals, text = (part.strip() for part in word.partition("="))
        if not equals or not name or not text:
            raise typer.BadParameter(f"{word!r} is not NAME=VALUE", param_hint=hint)
        if name in found:
            raise typer.BadParameter(f"{name} is given twice", param_hint=hint)
        found[name] = text
    return found


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


def _say_taken(found: Station, given: Sequence[Answer], ledger: str | None) -> None:
    """Say what became of the answers."""
    names = ", ".join(dict.fromkeys(one.device for one in given))
    what = {"done": "set", "enter": "entered", "cannot": "cannot be done"}[given[0].verb]
    why = await_taken(found, given)
    if why is None:
        output.say(f"[good]✓[/] {output.plain(names)}: {what}, by {output.plain(given[0].by)}.")
        sheet = found.sheet()
        if sheet is not None and found.standing(sheet) == "waiting":
            output.say(asking.page(found, sheet))
        return
    if why == "gone":
        output.say(kept(found, given, ledger))
        return
    if why == "slow":
        output.say(f"[warn]■[/] {output.plain(names)}: kept; the worker has not taken it yet.")
        return
    if why == "withdrawn":
        raise Refused(f"{found.name} took the question back meanwhile; the answer does not count")
    raise Refused(f"Refused, and still asked for: {why}")


def kept(found: Station, given: Sequence[Answer], ledger: str | None = None) -> str:
    """What to say of an answer whose worker is gone; `ledger` as it was given to the command."""
    sheet = found.sheet()
    assert sheet is not None
    experiment = sheet.run.experiment
    words = [f"--outcomes={name}={text}" for name, text in _outcomes(found, sheet).items()]
    reason = f"entered at the station by {given[0].by}"
    typed = context.command("reconcile", experiment, "--as", "completed", *words, "--reason", reason, ledger=ledger)
    plain = context.command("reconcile", experiment, ledger=ledger)
    return (
        f"[warn]■[/] Kept. But the worker that asked is gone, and nobody saw the end of {output.plain(experiment)}. "
        + (f"If it was done as asked:\n  [command]{output.plain(typed)}[/]" if words else "Say what became of it:")
        + f"\n  [command]{output.plain(plain)}[/]"
    )


def _outcomes(found: Station, sheet: Sheet) -> dict[str, str]:
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
