"""The command by which a person who has an instrument in hand moves one of its axes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console.cli import context, output
from athanor.console.cli.failures import Refused
from athanor.console.cli.instruments import place_of
from athanor.console.cli.runs import InstrumentArgument, tell
from athanor.console.commands import moving
from athanor.console.commands.runs import read_back

if TYPE_CHECKING:
    from athanor.console.commands.moving import Plan

PANEL = "By hand"


def add_to(app: typer.Typer) -> None:
    """Add the command of this panel."""
    app.command("move", rich_help_panel=PANEL, context_settings={"ignore_unknown_options": True})(move)


def move(
    instrument: InstrumentArgument,
    axis: Annotated[str, typer.Argument(metavar="AXIS", help="Which of its axes.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Where to, in the axis's own unit.")],
    unit: Annotated[str | None, typer.Argument(metavar="[UNIT]", help="To be sure; nothing is converted.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before it is moved.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, if there is something to say.")] = "",
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Move one axis of an instrument that you have taken over.

    Limits, interlocks, write switch and Stop All hold as ever. Ctrl-C, or the end of this command by whatever cause,
    halts the axis. It is signed in your name and written down with where it was, where it was sent and the read-back.
    """
    place = place_of(instrument, ledger)
    opened = context.open_ledger(ledger)
    commands = moving.MoveCommands(opened, context.person())
    try:
        plan = commands.plan(place, axis, value, unit)
    except moving.NoTarget as error:
        raise typer.BadParameter(str(error)) from error
    client = moving.connected(place, plan.config, opened)
    try:
        _confirm(plan, read_back(place)["positions"].get(axis), yes, json)
        facts = commands.carry_out(client, plan, commands.order(plan, reason))
    except KeyboardInterrupt:
        raise Refused(f"{axis} was stopped. {moving.stands(place, axis)}", None) from None
    finally:
        client.close()
    of_unit = f" {plan.spec.unit}" if plan.spec.unit else ""
    said = f"[good]✓[/] [name]{axis}[/]: {facts['from']} → {facts['to']}{of_unit}"
    told = {"axis": axis, "target": plan.target, "from": facts["from"], "to": facts["to"], "unit": plan.spec.unit}
    tell(place, said, {**told, "by": commands.person}, json)


def _confirm(plan: Plan, here: Any, yes: bool, json: bool) -> None:
    """Show what is about to happen, and ask. Raises `Refused` without a yes."""
    profile, spec = plan.config.profile, plan.spec
    kind = "simulated" if profile.simulated else "REAL"
    unit = f" {spec.unit}" if spec.unit else ""
    what = f"{profile.name} ({kind})  {plan.axis}: {'unknown' if here is None else here} → {plan.target}{unit}"
    if yes:
        output.say(f"  {output.plain(what)}")
        return
    if json or not sys.stdin.isatty():
        raise Refused(f"Nothing was moved. {what}", "--yes answers in advance.")
    if not typer.confirm(f"{what}. Move it?", err=True):
        raise Refused("Nothing was moved", None)
