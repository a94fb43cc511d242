"""The site: its instruments, Stop All, and whether the console is well."""

from __future__ import annotations

import secrets
from functools import cache
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel, BeforeValidator

from athanor.console.api.accounts import Asked
from athanor.console.api.campaigns import Reason
from athanor.console.api.desk import Desk
from athanor.console.api.door import Door, caller_of, desk_of, stop_room
from athanor.console.api.problems import Denied
from athanor.memory.places import InstrumentPlace
from athanor.memory.records import storable

door = Door("site")

INSTANCE = secrets.token_hex(8)
NO_REASON = "no reason given"


class LatchOut(BaseModel):
    """What the latch of Stop All says."""

    engaged: bool
    count: int
    reason: str | None
    by: str | None
    at: str | None


class InstrumentOut(BaseModel):
    """An instrument: whether anything may start on it, and if not, why. `trouble`: what nobody can tell."""

    name: str
    simulated: bool
    latch: LatchOut
    writes: bool
    writes_reason: str | None
    taken_over_by: str | None
    trouble: str | None


def _some_reason(given: Any) -> str:
    return ("" if given is None else storable(str(given)).strip()[:2000]) or NO_REASON


class StopAsked(BaseModel):
    """A stop of one instrument, or of all. No stop is refused for what is wrong with its reason."""

    reason: Annotated[str, BeforeValidator(_some_reason)] = NO_REASON
    instrument: str | None = None


class StopOut(BaseModel):
    """What became of one instrument; nothing is claimed that was not seen."""

    name: str
    is_running: bool
    confirmed: bool
    latched: str
    worker: str
    positions: dict[str, Any]
    elapsed_s: float
    detail: str
    steps: list[str]


class StopAllOut(BaseModel):
    """What became of the stop. `confirmed`: there was something running, and all of it stands still, as it says."""

    running: int
    confirmed: bool
    notice: str
    instruments: list[StopOut]


class Reset(Asked):
    """Why it is safe to go on. `count` is that of the latch that was looked at: a later stop is not reset unseen."""

    reason: Reason
    count: int


class Health(BaseModel):
    """That the console answers; says nothing about instruments. `instance`: another one after each start."""

    status: str
    version: str
    instance: str


@door.on("GET", "/health", "nobody")
def health() -> Health:
    """Whether the console is there."""
    return Health(status="ok", version=_version(), instance=INSTANCE)


@cache
def _version() -> str:
    from importlib.metadata import version

    return version("athanor-lab")


@door.on("GET", "/instruments", "read")
def instruments(request: Request) -> list[InstrumentOut]:
    """Every instrument of the site."""
    desk = desk_of(request)
    return [shown(desk, place) for place in desk.places()]


@door.on("GET", "/instruments/{instrument}", "read")
def one_instrument(instrument: str, request: Request) -> InstrumentOut:
    """One instrument."""
    desk = desk_of(request)
    return shown(desk, desk.place(instrument))


@door.on("POST", "/instruments/{instrument}/reset-stop", "latch.reset")
def reset_stop(instrument: str, asked: Reset, request: Request) -> LatchOut:
    """Release the latch of Stop All, with a reason. What was approved before the stop stays void."""
    desk = desk_of(request)
    place = desk.place(instrument)
    state = desk.commands(caller_of(request)).reset_stop(place, asked.reason, asked.count)
    desk.note("stop_reset", {"instrument": place.name, "reason": asked.reason, "by": state.by, "count": state.count})
    return LatchOut(engaged=state.engaged, count=state.count, reason=state.reason, by=state.by, at=state.at)


@door.on("POST", "/stop-all", "stop")
async def stop_all(request: Request, asked: StopAsked | None = None) -> StopAllOut:
    """Stop every instrument now, or one, and latch. A software stop, not a safety system.

    Whoever is signed in may, whatever the role, and with a session that has been idle for too long, too. An
    `Idempotency-Key` makes no difference.
    """
    from athanor.instruments import stop

    asked, by = asked or StopAsked(), caller_of(request).person.login
    room = stop_room("all" if asked.instrument is None else "one")
    results = await to_thread.run_sync(lambda: stop.stop_all(None, asked.instrument, asked.reason, by=by), limiter=room)
    if not results and asked.instrument is not None:
        detail = f"NOTHING WAS STOPPED: there is no instrument {asked.instrument!r} here"
        raise Denied(404, "not_found", detail, "give its name, or none to stop everything")
    running = [result for result in results if result.is_running]
    return StopAllOut(
        running=len(running),
        confirmed=bool(running) and all(result.confirmed for result in running),
        notice=stop.NOTICE,
        instruments=[
            StopOut.model_validate({name: getattr(result, name) for name in StopOut.model_fields}) for result in results
        ],
    )


def shown(desk: Desk, place: InstrumentPlace) -> InstrumentOut:
    """An instrument as it stands."""
    from athanor.instruments.latch import Latch
    from athanor.instruments.takeover import TakeOver
    from athanor.instruments.write_switch import WriteSwitch

    latch, writes, standing = Latch(place).read(), WriteSwitch(place).read(), TakeOver(place).read()
    return InstrumentOut(
        name=place.name,
        simulated=desk.is_simulated_at(place),
        latch=LatchOut(engaged=latch.engaged, count=latch.count, reason=latch.reason, by=latch.by, at=latch.at),
        writes=writes.on,
        writes_reason=writes.reason,
        taken_over_by=None if standing.tenure is None else standing.tenure.holder,
        trouble=standing.trouble,
    )
