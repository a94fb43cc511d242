"""Commands of a person who takes an instrument over: take-over and hand-back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console.cli import context, output
from athanor.console.cli.failures import Refused
from athanor.console.cli.instruments import place_of
from athanor.console.cli.runs import InstrumentArgument, tell, worker_of
from athanor.console.cli.supervise import duration

if TYPE_CHECKING:
    from athanor.governance.orders import Orders
    from athanor.instruments.takeover import TakeOver, Tenure
    from athanor.instruments.wire import Client
    from athanor.memory.ledger import Ledger
    from athanor.memory.orders import Order
    from athanor.memory.places import InstrumentPlace

PANEL = "By hand"
LOOK_S = 0.25
END_S = 10.0
"""Seconds that an aborted run may take to end."""


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
    opened = context.open_ledger(ledger)
    it, orders = hands(place, opened)
    if emergency_release:
        _release(place, it, orders, reason, json)
        return
    ttl = duration(for_)
    if not now and (paused := _paused(place)) is not None:
        raise Refused(
            f"{paused} is paused on {place.name}",
            f"Let it end first ({context.command('resume-run', place.name)}), or abort it with --now.",
        )
    tenure = it.take(orders.person, lambda: orders.take_over(place.name, ttl, reason))
    output.say(f"[good]✓[/] [name]{place.name}[/] is yours until {_clock(tenure.until)}. No campaign starts anything.")
    left = _clear(place, now, no_wait, f"taken over by {orders.person}: {tenure.reason}")
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
    it, orders = hands(place, opened)
    if _state(place) == "moving":
        raise Refused(f"{place.name} is being moved by hand", "Wait until it has arrived, or stop it.")
    was = it.hand_back(orders.person, lambda nonce: orders.hand_back(place.name, nonce))
    waiting = _waiting(place, opened)
    tell(place, f"[good]✓[/] [name]{place.name}[/] is handed back.", {"holder": None, "was": was.holder}, json)
    for campaign in waiting:
        typed = context.command("resume", campaign, ledger=context.ledger_flag(opened))
        output.say(f"  To go on:  [command]{output.plain(typed)}[/]")


def hands(place: InstrumentPlace, ledger: Ledger) -> tuple[TakeOver, Orders]:
    """The instrument's tenure, and what signs this person's orders about it."""
    from athanor.governance.orders import Orders
    from athanor.instruments.takeover import TakeOver
    from athanor.memory import places
    from athanor.memory.signing import GateKey

    key = GateKey.load_or_create(places.keys_dir())
    return TakeOver(place, key.public), Orders(ledger, key, context.person())


def _release(place: InstrumentPlace, it: TakeOver, orders: Orders, reason: str, json: bool) -> None:
    def order(tenure: Tenure | None) -> Order:
        nonce, holder = (tenure.nonce, tenure.holder) if tenure is not None else (None, None)
        return orders.release(place.name, nonce, holder, reason)

    was = it.release(order)
    if was.refusal is None:
        raise Refused(f"Nobody has {place.name} in hand", "Nothing to release.")
    stopped = _state(place) == "moving"
    if stopped:  # whoever moved it has lost it
        with worker_of(place) as client:
            client.call("abort", reason=f"released by {orders.person}: {reason}", by=orders.person)
    whose = f"from {was.tenure.holder}" if was.tenure is not None else "though nobody can tell who had it"
    said = f"[good]✓[/] [name]{place.name}[/] was released, {whose}." + (" The axis was stopped." if stopped else "")
    tell(place, said, {"holder": None, "was": was.tenure.holder if was.tenure is not None else None}, json)


def _clear(place: InstrumentPlace, abort: bool, no_wait: bool, reason: str) -> str | None:
    """Wait until the instrument has nothing in hand any more, or abort that; what it still has."""
    facts = _status(place)
    if facts is None or _in_hand(facts) is None:
        return None
    with worker_of(place) as client:
        if abort:
            client.call("abort", reason=reason, by=context.person())
            return _await(client, END_S)
        if no_wait:
            return _in_hand(client.call("status"))
        output.say(f"  {_in_hand(facts)} is being run; waiting for its end. To abort it: the same command with --now.")
        try:
            return _await(client, None)
        except KeyboardInterrupt:
            output.say("  No longer waiting: it goes on to its end, and the instrument stays yours.")
            return _in_hand(client.call("status"))


def _await(client: Client, seconds: float | None) -> str | None:
    """Wait until nothing is in hand, or it is paused, or the time is over; what still is."""
    import time

    deadline = None if seconds is None else time.monotonic() + seconds
    while (left := _in_hand(facts := client.call("status"))) is not None:
        if facts["state"] == "paused" or (deadline is not None and time.monotonic() > deadline):
            return left
        client.wait(LOOK_S)
    return None


def _in_hand(facts: dict[str, Any]) -> str | None:
    """The experiment that is being run or being checked, if any."""
    if facts["experiment"] is not None:
        return str(facts["experiment"])
    return "an experiment" if facts.get("is_preparing") else None


def _paused(place: InstrumentPlace) -> str | None:
    facts = _status(place)
    return None if facts is None or facts["state"] != "paused" else str(facts["experiment"])


def _state(place: InstrumentPlace) -> str | None:
    facts = _status(place)
    return None if facts is None else str(facts["state"])


def _status(place: InstrumentPlace) -> dict[str, Any] | None:
    """What the worker says of itself; None without one. Raises `Refused` when it hangs."""
    from athanor.instruments.wire import Client, WorkerLost

    try:
        client = Client(place.sockets / "worker.sock")
    except WorkerLost as error:
        if error.hung:
            raise Refused(str(error), f"End it: {context.command('stop-all', '--instrument', place.name)}") from error
        return None
    try:
        return client.call("status")
    except WorkerLost:
        return None
    finally:
        client.close()


def _waiting(place: InstrumentPlace, ledger: Ledger) -> list[str]:
    """The campaigns of this ledger that paused because the instrument was taken over."""
    began = f"{place.name} was taken over"
    mine = [campaign for campaign in ledger.campaigns() if campaign.instrument == place.name]
    return [item.id for item in mine if item.state == "paused" and (item.reason or "").startswith(began)]


def _clock(moment: datetime) -> str:
    """A time of day as the person's own clock shows it, with the day when it is another."""
    local = moment.astimezone()
    is_today = local.date() == datetime.now(UTC).astimezone().date()
    return f"{local:%H:%M:%S}" if is_today else f"{local:%Y-%m-%d %H:%M:%S}"
