"""Commands about the run that an instrument has in hand: pause it, go on, end it. Each shows what then stands where."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console.cli import context, output
from athanor.console.cli.failures import Refused
from athanor.console.cli.instruments import place_of

if TYPE_CHECKING:
    from athanor.instruments.wire import Client
    from athanor.memory.places import InstrumentPlace

PANEL = "Safety"
PATIENCE_S = 5.0
"""Seconds to wait for what was asked before saying that it is still to come."""
READ_BACK_S = 3.0

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
    with worker_of(place) as client:
        facts = client.call("pause", by=context.person())
        experiment = facts["experiment"]
        facts = await_state(client, lambda now: now["state"] == "paused" or now["experiment"] != experiment)
    if facts["state"] == "paused":
        said = f"[good]✓[/] [name]{experiment}[/] is paused."
    elif facts["experiment"] != experiment:
        said = f"[warn]■[/] [name]{experiment}[/] ended before it could be paused."
    else:
        said = f"[good]✓[/] [name]{experiment}[/] will pause as soon as the reading in hand is finished."
    tell(place, said, {"experiment": experiment, **of(facts)}, json)


def resume_run(
    instrument: InstrumentArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False
) -> None:
    """Go on with the paused run.

    Every axis is set again, verified and left to settle before the next reading; nothing is measured twice.
    """
    place = place_of(instrument, ledger)
    with worker_of(place) as client:
        facts = client.call("resume", by=context.person())
        facts = await_state(client, lambda now: now["state"] != "paused")
    said = f"[good]✓[/] [name]{facts['experiment'] or place.name}[/] goes on: {facts['state']}."
    tell(place, said, {"experiment": facts["experiment"], **of(facts)}, json)


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
    with worker_of(place) as client:
        experiment = client.call("status")["experiment"]
        facts = client.call("abort", reason=f"{reason.strip()} ({context.person()})", by=context.person())
        if not facts["running"]:
            raise Refused(f"{place.name} has no run in hand", "Nothing was done.")

        def is_over(now: dict[str, Any]) -> bool:
            return bool(now["state"] != "moving" if experiment is None else now["experiment"] != experiment)

        facts = await_state(client, is_over)
    what = experiment or f"the motion of {place.name} by hand"
    if not is_over(facts):
        raise Refused(
            f"{what} has not ended within {PATIENCE_S:g} s",
            f"A driver may hang: {context.command('stop-all', '--instrument', place.name)}",
        )
    said = f"[good]✓[/] [name]{what}[/] was ended."
    tell(place, said, {"experiment": experiment, **of(facts)}, json)


# -- what these and other commands about one instrument share ----------------------------------------------------------


@contextmanager
def worker_of(place: InstrumentPlace) -> Iterator[Client]:
    """The line to the instrument's worker. Raises `Refused` when there is none, with its code when it says no."""
    from athanor.instruments.wire import Client, WorkerLost
    from athanor.instruments.words import Refused as Declined

    try:
        client = Client(place.sockets / "worker.sock")
    except WorkerLost as error:
        if error.hung:
            raise Refused(str(error), f"End it: {context.command('stop-all', '--instrument', place.name)}") from error
        raise Refused(f"{place.name} has no worker now, so it runs nothing", "Nothing was done.") from error
    try:
        yield client
    except Declined as error:
        raise Refused(f"{place.name} refused: {error}", None) from error
    except WorkerLost as error:
        raise Refused(f"The worker of {place.name} was lost: {error}", "Look at the instrument.") from error
    finally:
        client.close()


def await_state(client: Client, is_there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the worker says as soon as it is as wanted, or after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        facts = client.call("status")
        if is_there(facts) or time.monotonic() > deadline:
            return facts
        client.wait(0.05)


def of(facts: dict[str, Any]) -> dict[str, Any]:
    """What is told of a worker's facts."""
    return {"state": facts["state"]}


def read_back(place: InstrumentPlace) -> dict[str, Any]:
    """Where every axis is, as the instrument itself says over the recovery process's own line; empty if it cannot."""
    from athanor.instruments.line import Line

    try:
        with Line.connect(place.sockets / "recovery.sock") as line:
            line.send({"id": 1, "verb": "positions"})
            answer = line.receive(time.monotonic() + READ_BACK_S)
    except (OSError, ValueError):
        return {"positions": {}, "moving": None}
    return {"positions": answer.get("positions", {}), "moving": answer.get("moving")}


def tell(place: InstrumentPlace, said: str, facts: dict[str, Any], json: bool) -> None:
    """Say what was done, and what stands where now."""
    back = read_back(place)
    if json:
        output.emit({"instrument": place.name, **facts, **back})
    output.say(said)
    if not back["positions"]:
        output.say("  Where the axes stand cannot be read now.", style="warn")
        return
    stands = "  ".join(f"{name} {value}" for name, value in back["positions"].items())
    output.say(f"  {'Still moving' if back['moving'] else 'Read back'}:  {output.plain(stands)}")
