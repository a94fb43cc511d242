"""The manual station: what an instrument asks of a person, and what the person answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from athanor.console.cli import asking, context, output
from athanor.console.cli.failures import Refused
from athanor.console.cli.instruments import place_of
from athanor.console.commands import station as stations

if TYPE_CHECKING:
    from athanor.instruments.station import Answer, Station

PANEL = "Supervise"


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
    if context.ledger_path(context.ledger_url(ledger)).exists():
        stations.forget_settled(found, context.open_ledger(ledger))
    who = by or context.person()
    if texts or csv is not None or done or cannot is not None:
        given = stations.answer(found, who, note, texts=texts, csv=csv, done=done, cannot=cannot)
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


def _say_taken(found: Station, given: Sequence[Answer], ledger: str | None) -> None:
    """Say what became of the answers."""
    names = ", ".join(dict.fromkeys(one.device for one in given))
    what = {"done": "set", "enter": "entered", "cannot": "cannot be done"}[given[0].verb]
    why = stations.await_taken(found, given)
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
    words = [f"--outcomes={name}={text}" for name, text in stations.outcomes(found, sheet).items()]
    reason = f"entered at the station by {given[0].by}"
    typed = context.command("reconcile", experiment, "--as", "completed", *words, "--reason", reason, ledger=ledger)
    plain = context.command("reconcile", experiment, ledger=ledger)
    return (
        f"[warn]■[/] Kept. But the worker that asked is gone, and nobody saw the end of {output.plain(experiment)}. "
        + (f"If it was done as asked:\n  [command]{output.plain(typed)}[/]" if words else "Say what became of it:")
        + f"\n  [command]{output.plain(plain)}[/]"
    )
