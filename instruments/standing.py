"""What keeps an experiment from an instrument with which nothing is wrong: latch, write switch, a person, worker."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from athanor.instruments.config import Config, take_lock
from athanor.instruments.findings import Finding
from athanor.instruments.latch import Latch
from athanor.instruments.limits import SetRefused
from athanor.instruments.line import Line
from athanor.instruments.takeover import TakeOver
from athanor.instruments.wire import Client, WorkerLost
from athanor.instruments.words import Refused
from athanor.instruments.write_switch import WriteSwitch

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

HOLDER = "athanor instruments check"
END_S = 20.0
LOOK_S = 0.05


@dataclass(frozen=True)
class Standing:
    """What was found, and whether a worker has the instrument."""

    findings: list[Finding]
    has_worker: bool


def gate(place: InstrumentPlace) -> None:
    """Raise `SetRefused` when nothing may be set, as the engine's gate does before every set."""
    latch = Latch(place).read()
    if latch.engaged:
        raise SetRefused("latch.engaged", f"Stop All is latched: {latch.reason or 'no reason given'}")
    switch = WriteSwitch(place).read()
    if not switch.on:
        raise SetRefused("writes.off", f"writes are off: {switch.reason or 'no reason given'}")
    if (hands := TakeOver(place).read().refusal) is not None:
        raise SetRefused(*hands)


def standing(place: InstrumentPlace, ends_idle: bool) -> Standing:
    """Look at latch, write switch, whoever has taken the instrument over, and worker.

    Args:
        place: Where the instrument keeps them.
        ends_idle: Whether an idle worker that no campaign holds is to be ended.
    """
    latch = Latch(place).read()
    found = [
        Finding("latch", "ok", reason="not engaged")
        if not latch.engaged
        else Finding(
            "latch",
            "not now",
            reason=f"Stop All is latched: {latch.reason or 'no reason given'}",
            remedy="when it is safe: `athanor reset-stop`",
        )
    ]
    switch = WriteSwitch(place).read()
    found.append(
        Finding("writes", "ok", reason="on")
        if switch.on
        else Finding(
            "writes",
            "not now",
            reason=f"writes are off: {switch.reason or 'no reason given'}",
            remedy=f"`athanor instruments writes on {place.name}`",
        )
    )
    hands = TakeOver(place).read().refusal
    found.append(
        Finding("hands", "ok", reason="nobody has taken it over")
        if hands is None
        else Finding(
            "hands", "not now", reason=hands[1], remedy=f"when they are done: `athanor hand-back {place.name}`"
        )
    )
    may_end = ends_idle and latch.engaged is False and switch.on and hands is None
    worker, has_worker = _worker(place, may_end)
    return Standing([*found, worker], has_worker)


def _worker(place: InstrumentPlace, ends_idle: bool) -> tuple[Finding, bool]:
    """What the worker does, and whether there is one (still)."""
    try:
        client = Client(place.sockets / "worker.sock")
    except WorkerLost as error:
        if error.hung:
            return _not_now(str(error), "end it with `athanor stop-all`"), True
        return Finding("worker", "ok", reason="nobody has the instrument"), False
    try:
        facts = client.call("hello")
        said = f"a worker (pid {facts['pid']}) has the instrument, {facts['state']}"
        if facts["state"] != "idle":
            return _not_now(f"{said}: {facts['experiment']}" if facts.get("experiment") else said), True
        for trouble in (facts.get("recovery"), facts.get("writes")):
            if trouble:
                return _not_now(f"{said}, and refuses every experiment: {trouble}", "put that right first"), True
        # Held for the moment of the question: there is no other way to learn whether a campaign holds it.
        client.call("hello", campaign=HOLDER)
        if ends_idle:
            return _end(client, place, said)
        return Finding("worker", "ok", reason=said), True
    except Refused as error:
        return _not_now(error.detail), True
    except WorkerLost as error:
        return _not_now(str(error), "check again"), True
    finally:
        client.close()


def _end(client: Client, place: InstrumentPlace, said: str) -> tuple[Finding, bool]:
    """End an idle worker, as whoever starts one of another configuration does. Raises `Refused`, `WorkerLost`."""
    client.call("shutdown", if_idle=True)
    deadline = time.monotonic() + END_S
    while (handle := take_lock(place)) is None:
        if time.monotonic() > deadline:
            return _not_now(f"{said}, and does not end", "see worker.log"), True
        time.sleep(LOOK_S)
    os.close(handle)
    return Finding("worker", "ok", reason=f"{said}; ended for the exercise: the next campaign starts another"), False


@contextmanager
def reserved(place: InstrumentPlace, config: Config) -> Iterator[None]:
    """Keep every worker from starting, and let Stop All find the instrument, while we move it ourselves.

    Raises:
        SetRefused: A worker has it.
    """
    handle = take_lock(place)
    if handle is None:
        raise SetRefused("instrument.busy", "a worker has the instrument")
    note = place.sockets / "place.json"
    is_ours = not note.exists()
    try:
        place.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_ours:
            note.write_text(json.dumps({"name": place.name, "directory": str(place.directory)}))
        if not (place.directory / "config.json").exists():
            config.write(place)  # from it Stop All learns how to reach the hardware, should we hang
        yield
    finally:
        if is_ours:
            note.unlink(missing_ok=True)
        os.close(handle)


def _not_now(said: str, remedy: str = "wait until it is free, or end what uses it") -> Finding:
    return Finding("worker", "not now", reason=said, remedy=remedy)


def positions(place: InstrumentPlace, timeout_s: float) -> dict[str, Any]:
    """Where the axes stand, over the connection that the recovery process has. Raises `OSError` or `ValueError`."""
    with Line.connect(place.sockets / "recovery.sock") as line:
        line.send({"id": 1, "verb": "positions"})
        return line.receive(time.monotonic() + timeout_s)
