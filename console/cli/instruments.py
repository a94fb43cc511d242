"""Commands about one instrument: its write switch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from athanor.console.cli import context, output
from athanor.console.cli.failures import Refused
from athanor.console.cli.safety import known_places

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

PANEL = "Safety"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    group = typer.Typer(no_args_is_help=True, help="Let an instrument be set, or not.", rich_markup_mode="rich")
    group.command("writes")(writes)
    app.add_typer(group, name="instruments", rich_help_panel=PANEL)


def writes(
    to: Annotated[Literal["on", "off"], typer.Argument(metavar="on|off", help="Whether anything may be set.")],
    instrument: Annotated[str, typer.Argument(metavar="NAME", help="The instrument's name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept with the switch.")],
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Turn an instrument's writes off, or on again.

    While they are off nothing is set and nothing dispatched. What moves goes on, and approvals stay: to halt it, use
    `athanor stop-all`. Not a safety system.
    """
    from athanor.instruments.write_switch import WriteSwitch

    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    place = _place(instrument, ledger)
    switch = WriteSwitch(place)
    state = switch.off(reason, context.person()) if to == "off" else switch.on(reason, context.person())
    if json:
        output.emit({"instrument": place.name, "on": state.on, "reason": state.reason, "saved": state.saved})
    if state.on != (to == "on"):
        raise Refused(f"{place.name} can still be set: the disk takes nothing", "Stop it with `athanor stop-all`.")
    if to == "on":
        output.say(f"[good]✓[/] [name]{place.name}[/] may be set again. To go on with a campaign: `athanor resume`.")
        return
    output.say(f"[warn]■[/] Nothing is set on [name]{place.name}[/] any more. What moves goes on: see `stop-all`.")
    if not state.saved:
        output.say("  The disk is full: the switch is off, but its reason is lost.", style="warn")


def _place(name: str, ledger: str | None) -> InstrumentPlace:
    """The one place of an instrument with this name. Raises `Refused` when there is none, or several."""
    places = known_places(ledger)
    found = [place for place in places if place.name == name]
    if len(found) > 1 and ledger is not None:
        beside = context.ledger_path(ledger).resolve().parent
        found = [place for place in found if place.directory.resolve().parent.parent == beside] or found
    if len(found) == 1:
        return found[0]
    if found:
        folders = ", ".join(str(place.directory) for place in found)
        raise Refused(f"{len(found)} instruments are called {name}: {folders}", "Name the ledger beside it: --ledger.")
    known = ", ".join(sorted({place.name for place in places})) or "none yet"
    raise Refused(f"There is no instrument {name}", f"Instruments here: {known}")
