"""Commands of a person who takes an instrument over: take-over and hand-back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from athanor.console.cli import context, output
from athanor.console.cli.instruments import place_of
from athanor.console.cli.runs import InstrumentArgument, tell
from athanor.console.cli.supervise import duration
from athanor.console.commands import runs
from athanor.console.commands.instruments import InstrumentCommands

if TYPE_CHECKING:
    from athanor.instruments.takeover import Tenure
    from athanor.memory.places import InstrumentPlace

PANEL = "By hand"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    app.command("take-over", rich_help_panel=PANEL)(take_over)
    app.command("hand-back", rich_help_panel=PANEL)(hand_back)


def take_over(
    instrument: InstrumentArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; campaigns that wait show it.")],
    for_: Annotated[str, typer.Option("--for", help="For how long: 30m, 2h. The same command renews it.")] = "1 h",
    now: Annotated[bool, typer.Option("--now", help="Abort the run in hand. Else it is waited for.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the run in hand.")] = False,
    emergency_release: Annotated[
        bool, typer.Option("--emergency-release", help="End somebody else's take-over, whose holder is gone.")
    ] = False,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Take an instrument into your own hands.

    Nothing is started for any campaign until you hand it back or your time is over; a campaign that wants to, pauses.
    The run in hand is waited for, or aborted with --now.
    """
    place = place_of(instrument, ledger)
    commands = InstrumentCommands(context.open_ledger(ledger), context.person())
    if emergency_release:
        _release(place, commands, reason, json)
        return
    tenure = commands.take(place, duration(for_), reason, abort=now)
    output.say(f"[good]✓[/] [name]{place.name}[/] is yours until {_clock(tenure.until)}. No campaign starts anything.")
    left = _clear(place, commands, tenure, now, no_wait)
    said = f"[warn]■[/] {left} is still being run." if left else "  Nothing is being run."
    facts = {"holder": tenure.holder, "until": tenure.until.isoformat(), "reason": tenure.reason, "running": left}
    tell(place, said, facts, json)


def hand_back(
    instrument: InstrumentArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False
) -> None:
    """Hand an instrument back that you have taken over.

    Campaigns that paused meanwhile go on with `athanor resume`, not by themselves: you know whether all is as it was.
    """
    place = place_of(instrument, ledger)
    opened = context.open_ledger(ledger)
    commands = InstrumentCommands(opened, context.person())
    was = commands.hand_back(place)
    waiting = commands.waiting(place)
    tell(place, f"[good]✓[/] [name]{place.name}[/] is handed back.", {"holder": None, "was": was.holder}, json)
    for campaign in waiting:
        typed = context.command("resume", campaign, ledger=context.ledger_flag(opened))
        output.say(f"  To go on:  [command]{output.plain(typed)}[/]")


def _release(place: InstrumentPlace, commands: InstrumentCommands, reason: str, json: bool) -> None:
    seen = commands.hands(place)[0].read().tenure
    released = commands.release(place, reason, None if seen is None else seen.nonce)
    tenure = released.was.tenure
    whose = f"from {tenure.holder}" if tenure is not None else "though nobody can tell who had it"
    said = f"[good]✓[/] [name]{place.name}[/] was released, {whose}."
    said += " The axis was stopped." if released.stopped else ""
    tell(place, said, {"holder": None, "was": tenure.holder if tenure is not None else None}, json)


def _clear(
    place: InstrumentPlace, commands: InstrumentCommands, tenure: Tenure, abort: bool, no_wait: bool
) -> str | None:
    """Wait until the instrument has nothing in hand any more, or abort that; what it still has."""
    if abort:
        return commands.clear(place, tenure)
    if (running := commands.left(place)) is None or no_wait:
        return running
    with runs.worker_of(place) as client:
        output.say(f"  {running} is being run; waiting for its end. To abort it: the same command with --now.")
        try:
            return runs.await_end(client, None)
        except KeyboardInterrupt:
            output.say("  No longer waiting: it goes on to its end, and the instrument stays yours.")
            return runs.in_hand(client.call("status"))


def _clock(moment: datetime) -> str:
    """A time of day as the person's own clock shows it, with the day when it is another."""
    local = moment.astimezone()
    is_today = local.date() == datetime.now(UTC).astimezone().date()
    return f"{local:%H:%M:%S}" if is_today else f"{local:%Y-%m-%d %H:%M:%S}"
