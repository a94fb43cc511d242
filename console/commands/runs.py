"""The run that an instrument has in hand: pause it, go on, end it; and what these share, the line to its worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from athanor.console.commands.refused import Refused

if TYPE_CHECKING:
    from athanor.instruments.wire import Client
    from athanor.instruments.words import Seen
    from athanor.memory.places import InstrumentPlace

PATIENCE_S = 5.0
"""Seconds to wait for what was asked before saying that it is still to come."""
READ_BACK_S = 3.0
END_S = 10.0
"""Seconds that an aborted run may take to end."""
LOOK_S = 0.25

Came = Literal["done", "ended", "coming"]


@dataclass(frozen=True)
class Steered:
    """What came of a request about the run in hand.

    `done`: it is as it was asked for; `ended`: the run had ended before; `coming`: it will be, and is not yet.
    """

    came: Came
    experiment: str | None
    state: str


def pause(place: InstrumentPlace, person: str, seen: Seen | None = None) -> Steered:
    """Pause the run in hand: a motion is halted at once, a reading is finished and kept first.

    `seen` is what the person saw in hand; None takes whatever there is. Raises `Refused`, also when it is another.
    """
    with worker_of(place) as client:
        facts = client.call("pause", by=person, **_only(seen))
        experiment = facts["experiment"]
        facts = await_state(client, lambda now: now["state"] == "paused" or now["experiment"] != experiment)
    if facts["state"] == "paused":
        return Steered("done", experiment, "paused")
    return Steered("ended" if facts["experiment"] != experiment else "coming", experiment, str(facts["state"]))


def resume(place: InstrumentPlace, person: str, seen: Seen | None = None) -> Steered:
    """Go on with the paused run: every axis is set again and verified, nothing is measured twice.

    `seen` as for `pause`. Raises `Refused`.
    """
    with worker_of(place) as client:
        facts = client.call("resume", by=person, **_only(seen))
        facts = await_state(client, lambda now: now["state"] != "paused")
    return Steered("done" if facts["state"] != "paused" else "coming", facts["experiment"], str(facts["state"]))


def abort(place: InstrumentPlace, reason: str, person: str, seen: Seen | None = None) -> Steered:
    """End the run in hand as `aborted`, or the motion by hand, and stop its axes; nothing latches.

    `seen` as for `pause`.

    Raises:
        Refused: nothing is in hand, or something else than was seen, there is no worker, or it hangs.
    """
    with worker_of(place) as client:
        experiment = client.call("status")["experiment"] if seen is None else seen.experiment
        facts = client.call("abort", reason=f"{reason.strip()} ({person})", by=person, **_only(seen))
        if not facts["running"]:
            over = f": {experiment} is over" if seen is not None and experiment is not None else ""
            raise Refused(f"{place.name} has no run in hand{over}", "Nothing was done.")

        def is_over(now: dict[str, Any]) -> bool:
            return bool(now["state"] != "moving" if experiment is None else now["experiment"] != experiment)

        facts = await_state(client, is_over)
    return Steered("done" if is_over(facts) else "coming", experiment, str(facts["state"]))


def _only(seen: Seen | None) -> dict[str, Any]:
    """What tells the worker to look once more, where nothing can come in between."""
    return {} if seen is None else {"seen": seen.experiment}


# -- the line to the worker --------------------------------------------------------------------------------------------


@contextmanager
def worker_of(place: InstrumentPlace) -> Iterator[Client]:
    """The line to the instrument's worker. Raises `Refused` when there is none, with its code when it says no."""
    from athanor.instruments.wire import Client, WorkerLost
    from athanor.instruments.words import Refused as Declined

    try:
        client = Client(place.sockets / "worker.sock")
    except WorkerLost as error:
        if error.hung:
            raise Refused(str(error), ending(place)) from error
        raise Refused(f"{place.name} has no worker now, so it runs nothing", "Nothing was done.") from error
    try:
        yield client
    except Declined as error:
        remedy = "Look again: nothing was done." if error.code == "run.changed" else None
        raise Refused(f"{place.name} refused: {error}", remedy) from error
    except WorkerLost as error:
        raise Refused(f"The worker of {place.name} was lost: {error}", "Look at the instrument.") from error
    finally:
        client.close()


def ending(place: InstrumentPlace) -> str:
    """How a worker is ended that hangs."""
    from athanor.console.cli.context import command

    return f"End it: {command('stop-all', '--instrument', place.name)}"


def status_of(place: InstrumentPlace) -> dict[str, Any] | None:
    """What the worker says of itself; None without one. Raises `Refused` when it hangs."""
    from athanor.instruments.wire import Client, WorkerLost

    try:
        client = Client(place.sockets / "worker.sock")
    except WorkerLost as error:
        if error.hung:
            raise Refused(str(error), ending(place)) from error
        return None
    try:
        return client.call("status")
    except WorkerLost:
        return None
    finally:
        client.close()


def in_hand(facts: dict[str, Any]) -> str | None:
    """The experiment that is being run or being checked, if any, in what a worker says of itself."""
    if facts["experiment"] is not None:
        return str(facts["experiment"])
    return "an experiment" if facts.get("is_preparing") else None


def await_state(client: Client, is_there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the worker says as soon as it is as wanted, or after `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        facts = client.call("status")
        if is_there(facts) or time.monotonic() > deadline:
            return facts
        client.wait(0.05)


def await_end(client: Client, seconds: float | None) -> str | None:
    """Wait until nothing is in hand, or it is paused, or the time is over; what still is."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while (left := in_hand(facts := client.call("status"))) is not None:
        if facts["state"] == "paused" or (deadline is not None and time.monotonic() > deadline):
            return left
        client.wait(LOOK_S)
    return None


def read_back(place: InstrumentPlace) -> dict[str, Any]:
    """Where every axis is, as the instrument itself says over the recovery process's own line; empty if it cannot."""
    from athanor.instruments.standing import positions

    try:
        answer = positions(place, READ_BACK_S)
    except (OSError, ValueError):
        return {"positions": {}, "moving": None}
    return {"positions": answer.get("positions", {}), "moving": answer.get("moving")}
