"""Alarms: what wants an answer, and saying that somebody has seen it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console import wording
from athanor.console.cli import context, output
from athanor.console.cli.failures import Refused

if TYPE_CHECKING:
    from athanor.governance.alarm_history import Alarms
    from athanor.governance.alarms import Alarm
    from athanor.memory.ledger import Ledger

PANEL = "Safety"

STYLES = {"critical": "bad", "high": "bad", "medium": "warn", "low": "quiet"}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    app.command("alarms", rich_help_panel=PANEL)(alarms)
    app.command("acknowledge", rich_help_panel=PANEL)(acknowledge)


def alarms(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are normal again.")] = False,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """List the alarms, those that want an answer first.

    A console has to run for them to be looked after: `athanor console`.
    """
    opened = context.open_ledger(ledger)
    book = _book(opened)
    book.expire()
    from athanor.governance.alarms import PRIORITIES, STATES

    found = [alarm for alarm in book.all() if everything or alarm.state != "normal"]
    found.sort(key=lambda alarm: (STATES.index(alarm.state), PRIORITIES.index(alarm.priority), alarm.id))
    watched = _is_watched(opened)
    if json:
        output.emit({"watched": watched, "alarms": [_as_json(alarm) for alarm in found]})
    else:
        for alarm in found:
            _show(book, alarm)
        if not found:
            output.say("No alarm is active or hidden." if not everything else "There has been no alarm.")
    if not watched:
        output.say("[warn]Nobody looks after the alarms now[/]: this is as it was when a console last ran.")


def acknowledge(
    alarm_id: Annotated[str, typer.Argument(metavar="ALARM", help="Its id, or how it begins.")],
    reason: Annotated[str, typer.Option("--reason", help="What you do about it.")] = "seen",
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Say that you have seen an alarm and see to it.

    It stays until its condition has gone.
    """
    from athanor.console.commands.alarms import AlarmCommands

    book = _book(context.open_ledger(ledger))
    found = [alarm for alarm in book.all() if alarm.id == alarm_id] or [
        alarm for alarm in book.all() if alarm.id.startswith(alarm_id)
    ]
    if len(found) != 1:
        several = f"{len(found)} alarms begin so: {', '.join(alarm.id for alarm in found)}"
        raise Refused(several if found else f"There is no alarm {alarm_id!r}", "See `athanor alarms`.")
    done = AlarmCommands(book, context.person()).acknowledge(found[0].id, reason)
    if json:
        output.emit({"alarm": done.id, "state": done.state, "by": done.acknowledged_by})
    output.say(f"[good]✓[/] [name]{output.plain(done.id)}[/] is acknowledged by {context.person()}.")


def _book(ledger: Ledger) -> Alarms:
    from athanor.governance.alarm_catalogue import CATALOGUE
    from athanor.governance.alarm_history import Alarms

    return Alarms(ledger, CATALOGUE)


def _is_watched(ledger: Ledger) -> bool:
    from athanor.agents.holders import is_gone
    from athanor.console.alarm_watch import RESOURCE

    lease = ledger.lease(RESOURCE)
    return lease is not None and lease.expires_at > ledger.now() and not is_gone(lease.holder)


def _show(book: Alarms, alarm: Alarm) -> None:
    defined = book.catalogue.get(alarm.definition)
    title = alarm.definition if defined is None else defined.title
    style = STYLES[alarm.priority]
    head = f"[{style}]{alarm.priority:8}[/] [name]{output.plain(alarm.id)}[/]  {output.plain(title)}"
    output.show(f"{head}, {alarm.state.replace('_', ' ')}, {wording.ago(alarm.raised_at)}")
    if alarm.detail:
        output.show(f"         {output.plain(alarm.detail)}")
    if alarm.hidden is not None:
        until = "" if alarm.hidden.until is None else f" until {wording.moment(alarm.hidden.until)}"
        output.show(f"         [quiet]by {output.plain(alarm.hidden.by)}{until}: {output.plain(alarm.hidden.why)}[/]")
    elif defined is not None and alarm.state != "normal":
        output.show(f"         [quiet]{output.plain(defined.response)}[/]")


def _as_json(alarm: Alarm) -> dict[str, Any]:
    hidden = alarm.hidden
    return {
        "id": alarm.id,
        "definition": alarm.definition,
        "subject": alarm.subject,
        "priority": alarm.priority,
        "state": alarm.state,
        "detail": alarm.detail,
        "raised_at": None if alarm.raised_at is None else alarm.raised_at.isoformat(),
        "acknowledged_by": alarm.acknowledged_by,
        "hidden_until": None if hidden is None or hidden.until is None else hidden.until.isoformat(),
        "hidden_because": None if hidden is None else hidden.why,
    }
