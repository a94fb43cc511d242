"""Commands about the run that an instrument has in hand: pause it, go on, end it. Each shows what then stands where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console.cli import context, output
from athanor.console.cli.failures import Refused
from athanor.console.cli.instruments import place_of
from athanor.console.commands import runs

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

PANEL = "Safety"

InstrumentArgument = Annotated[str, typer.Argument(metavar="INSTRUMENT", help="The instrument's name.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    app.command("pause-run", rich_help_panel=PANEL)(pause_run)
    app.command("resume-run", rich_help_panel=PANEL)(resume_run)
    app.command("abort-run", rich_help_panel=PANEL)(abort_run)


def pause_run(
    instrument: InstrumentArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False
) -> None:
    """Pause the run that the instrument has in hand.

    A motion is halted at once; a reading is finished and kept first. `resume-run` goes on with the same run.
    """
    place = place_of(instrument, ledger)
    found = runs.pause(place, context.person())
    said = {
        "done": f"[good]✓[/] [name]{found.experiment}[/] is paused.",
        "ended": f"[warn]■[/] [name]{found.experiment}[/] ended before it could be paused.",
        "coming": f"[good]✓[/] [name]{found.experiment}[/] will pause as soon as the reading in hand is finished.",
    }[found.came]
    tell(place, said, {"experiment": found.experiment, "state": found.state}, json)


def resume_run(
    instrument: InstrumentArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False
) -> None:
    """Go on with the paused run.

    Every axis is set again, verified and left to settle before the next reading; nothing is measured twice.
    """
    place = place_of(instrument, ledger)
    found = runs.resume(place, context.person())
    said = f"[good]✓[/] [name]{found.experiment or place.name}[/] goes on: {found.state}."
    tell(place, said, {"experiment": found.experiment, "state": found.state}, json)


def abort_run(
    instrument: InstrumentArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; it becomes the experiment's reason.")],
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """End the run in hand as `aborted`, or the motion by hand, and stop its axes.

    Nothing latches and no approval is void: the campaign takes it in and goes on with its next experiment. To keep it
    from that, `athanor pause CAMPAIGN` first. To stop everything and latch, use `athanor stop-all`.
    """
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    place = place_of(instrument, ledger)
    found = runs.abort(place, reason, context.person())
    what = found.experiment or f"the motion of {place.name} by hand"
    if found.came != "done":
        raise Refused(
            f"{what} has not ended within {runs.PATIENCE_S:g} s",
            f"A driver may hang: {context.command('stop-all', '--instrument', place.name)}",
        )
    tell(place, f"[good]✓[/] [name]{what}[/] was ended.", {"experiment": found.experiment, "state": found.state}, json)


def tell(place: InstrumentPlace, said: str, facts: dict[str, Any], json: bool) -> None:
    """Say what was done, and what stands where now."""
    back = runs.read_back(place)
    if json:
        output.emit({"instrument": place.name, **facts, **back})
    output.say(said)
    if not back["positions"]:
        output.say("  Where the axes stand cannot be read now.", style="warn")
        return
    stands = "  ".join(f"{name} {value}" for name, value in back["positions"].items())
    output.say(f"  {'Still moving' if back['moving'] else 'Read back'}:  {output.plain(stands)}")
