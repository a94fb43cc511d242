"""One instrument: what it can do, what it reads, who has it in hand, and what a person does to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from athanor.console import standing
from athanor.console.api.accounts import Asked
from athanor.console.api.campaigns import ExperimentOut, Name, Reason
from athanor.console.api.door import Door, caller_of, desk_of
from athanor.console.api.problems import Denied, Problem, problem_of
from athanor.console.api.site import LatchOut
from athanor.console.commands import moving, runs
from athanor.console.commands.instruments import InstrumentCommands, set_writes
from athanor.console.gauges import Known
from athanor.instruments.takeover import TakeOver
from athanor.instruments.words import Seen
from athanor.memory.places import InstrumentPlace
from athanor.memory.records import Value

if TYPE_CHECKING:
    from athanor.console.api.desk import Desk
    from athanor.console.commands.moving import Motion, Plan

door = Door("instruments")

AT_ONCE_S = 1.0
"""Seconds in which a short motion, or a refusal, is answered at once."""
FRESH_S = 0.5
"""Seconds for which what the worker said of itself is told to others, too."""
CONNECT_S = 8.0
"""Seconds that an answer waits for an instrument that is being connected."""


class AxisOut(BaseModel):
    """An axis: its limits in its `unit`, how its read-back is known, how it is verified and stopped. Times in s."""

    name: str
    unit: str | None
    minimum: float | None
    maximum: float | None
    integer: bool
    allowed: list[float | int | str] | None
    largest_step: float | None
    largest_rate: float | None
    walk: bool
    tolerance: float
    settle_s: float
    timeout_s: float
    readback: str
    verify: str
    stop: str | None
    reached: str | None


class DetectorOut(BaseModel):
    """A detector: its signals with their units; `plausible` are the ranges in which a person's entry is believed."""

    name: str
    signals: dict[str, str | None]
    timeout_s: float
    triggered: bool
    plausible: dict[str, list[float]]
    reached: str | None


class InterlockOut(BaseModel):
    """An interlock: what must hold, in which part of a run, and what follows when it does not."""

    name: str
    require: str
    message: str
    when: str
    on_trip: str


class CardOut(BaseModel):
    """The capability card of an instrument. `actions` say in words what can be done with it."""

    instrument: str
    title: str
    laboratory: str
    simulated: bool
    axes: list[AxisOut]
    detectors: list[DetectorOut]
    outcomes: dict[str, dict[str, str | None]]
    reduction: str
    signals: dict[str, dict[str, str | None]]
    interlocks: list[InterlockOut]
    controllers: dict[str, dict[str, Any]]
    actions: list[str]
    autonomy: list[str]


class WritesOut(BaseModel):
    """The write switch. `saved` is false when the disk did not take the reason."""

    on: bool
    reason: str | None
    by: str | None
    at: str | None
    saved: bool = True


class TenureOut(BaseModel):
    """Who has an instrument in hand. `nonce` tells this tenure from any other, also from its own renewal."""

    holder: str
    nonce: str
    since: datetime
    until: datetime
    reason: str


class WorkerOut(BaseModel):
    """The worker: its state and what it has in hand; `troubles` say what keeps it from running anything."""

    is_running: bool
    state: str | None
    pid: int | None
    is_pausing: bool
    is_preparing: bool
    experiment: str | None
    campaign: str | None
    held_by: list[str]
    refusals: dict[str, int]
    troubles: list[str]
    is_connecting: bool
    connect_trouble: str | None


class RunOut(BaseModel):
    """The run in hand. `readings` of `due` have arrived; `counts` are its documents by name."""

    experiment: ExperimentOut
    started_at: datetime | None
    readings: int
    due: int
    counts: dict[str, int]
    last_event: dict[str, Any] | None


class LeaseOut(BaseModel):
    """Which process may have experiments run on the instrument, until when."""

    holder: str
    epoch: int
    until: datetime


class ReservationOut(BaseModel):
    """What an experiment has to itself until it has ended; amounts in the stocks' own units."""

    experiment_id: str
    campaign_id: str
    samples: list[str]
    amounts: dict[str, float]
    devices: list[str]


class CampaignHere(BaseModel):
    """A campaign that is not over, on this instrument."""

    id: str
    name: str
    state: str
    reason: str | None
    is_driven: bool


class QueueOut(BaseModel):
    """The queue server's manager, where experiments go through one."""

    state: str | None
    items: int | None
    is_locked: bool | None
    has_environment: bool | None
    trouble: str | None


class StandingOut(BaseModel):
    """How an instrument stands. `takeover_trouble`: why nobody can tell who has it in hand.

    `unattended`: experiments that count as under way, and no worker is there to run them; reconcile says what is known.
    """

    name: str
    simulated: bool
    latch: LatchOut
    writes: WritesOut
    takeover: TenureOut | None
    takeover_trouble: str | None
    worker: WorkerOut
    run: RunOut | None
    lease: LeaseOut | None
    reservations: list[ReservationOut]
    campaigns: list[CampaignHere]
    in_doubt: list[str]
    unattended: list[str]
    queue: QueueOut | None


class SignalOut(BaseModel):
    """One signal. Without a value `trouble` says why not, and `known_at` (Unix s) when it was last known.

    `points` are `[Unix s, value]` in order; null where it could not be read.
    """

    name: str
    unit: str | None
    value: Value | bool | None
    trouble: str | None
    known_at: float | None
    points: list[tuple[float, Value | bool | None]]


class InterlockNow(BaseModel):
    """An interlock now: `holds` is null when nobody can tell, and `detail` says why."""

    name: str
    holds: bool | None
    detail: str | None


class SignalsOut(BaseModel):
    """What an instrument reads now.

    `at`: when it was read; `since`: when the points begin, which is when somebody began to look; Unix s. `moving` is
    null when nobody can tell.
    """

    at: float | None
    since: float | None
    moving: bool | None
    axes: list[SignalOut]
    signals: list[SignalOut]
    interlocks: list[InterlockNow]
    axes_trouble: str | None
    worker_trouble: str | None


class TakeOverAsked(Asked):
    """A take-over, or its renewal. `abort`: abort the run in hand; else it goes on to its end."""

    reason: Reason
    for_s: Annotated[float, Field(gt=0, le=7 * 86400)] = 3600.0
    abort: bool = False


class TakenOut(TenureOut):
    """A take-over. `running`: what the instrument still has in hand."""

    running: str | None


class Because(Asked):
    """Why."""

    reason: Reason


class ReleaseAsked(Because):
    """An emergency release. `seen` is the `nonce` of the tenure that was looked at, null where nobody could tell."""

    seen: Annotated[str | None, Field(max_length=100)]


class HandedBack(BaseModel):
    """What was handed back; `waiting` are campaigns that paused meanwhile and go on when somebody resumes them."""

    was: str | None
    waiting: list[str]


class ReleasedOut(BaseModel):
    """An emergency release. `stopped`: an axis was on its way by hand, and was stopped."""

    was: str | None
    stopped: bool


class WritesAsked(Asked):
    """The write switch, on or off. `seen` is the `at` of the state that was looked at."""

    on: bool
    reason: Reason
    seen: Annotated[str | None, Field(max_length=100)] = None


class MoveAsked(Asked):
    """Where an axis is to go, in its own unit; another `unit` is refused, nothing is converted."""

    axis: Name
    value: float | int | str
    unit: Annotated[str | None, Field(max_length=100)] = None


class MoveOrdered(MoveAsked):
    """As `MoveAsked`, to be carried out."""

    reason: Annotated[str, Field(max_length=2000)] = ""


class MovePreview(BaseModel):
    """What will happen. `refusal`: why the axis's own limits will not have it; `longest_s`: how long it may take."""

    axis: str
    here: Value | None
    target: Value
    unit: str | None
    simulated: bool
    walks: bool
    longest_s: float
    refusal: str | None


class MoveOut(BaseModel):
    """A motion by hand: `moving`, `arrived`, `failed`, or `unknown` when the console that watched it has ended.

    `before` and `after` are read-backs. While it moves, whoever ordered it must ask again within `attend_s`, or it is
    halted.
    """

    id: str
    state: str
    axis: str | None
    target: Value | None
    unit: str | None
    by: str | None
    before: Value | None
    after: Value | None
    problem: Problem | None
    attend_s: float


class RunSeen(Asked):
    """Which experiment was seen in hand; null for an axis moved by hand. Another one is left alone (`run.changed`)."""

    experiment: Annotated[str | None, Field(max_length=200)]


class AbortAsked(Because, RunSeen):
    """As `RunSeen`, and why."""


class SteeredOut(BaseModel):
    """What came of it: `done`, `ended` (the run had ended before), or `coming`. Positions are read back afterwards."""

    came: str
    experiment: str | None
    state: str
    positions: dict[str, Any]
    moving: bool | None


class Connect(Asked):
    """Nothing more is to be said."""


class ConnectedOut(BaseModel):
    """Whether its worker is there, or still being started."""

    is_there: bool


# -- looking -----------------------------------------------------------------------------------------------------------


@door.on("GET", "/instruments/{instrument}/card", "read")
def card(instrument: str, request: Request) -> CardOut:
    """What an instrument can do, within which limits, and how it is reached."""
    from athanor.instruments import capabilities

    config = _config(desk_of(request).place(instrument))
    found = capabilities.card(config.profile, is_sound=True)
    messages = {one.name: one.message for one in config.profile.interlocks}
    found["interlocks"] = [{**one, "message": messages[one["name"]]} for one in found["interlocks"]]
    return CardOut.model_validate(found)


@door.on("GET", "/instruments/{instrument}/standing", "read")
async def how_it_stands(instrument: str, request: Request) -> StandingOut:
    """Who may move an instrument, what it runs, and what keeps it from running anything."""
    desk = desk_of(request)
    place = await run_in_threadpool(desk.place, instrument)
    position = await run_in_threadpool(desk.watch.position)
    # A worker that does not answer is waited for some seconds: by one, for all who ask.
    view: standing.View = await desk.standings.wait(
        place.directory, position, FRESH_S, lambda: standing.look(desk.ledger, place)
    )
    return await run_in_threadpool(_standing, desk, place, view)


def _standing(desk: Desk, place: InstrumentPlace, view: standing.View) -> StandingOut:
    from athanor.instruments.latch import Latch
    from athanor.instruments.write_switch import WriteSwitch

    latch, writes, hands = Latch(place).read(), WriteSwitch(place).read(), TakeOver(place).read()
    failure = desk.connecting.failure(place)
    return StandingOut(
        name=place.name,
        simulated=desk.is_simulated_at(place),
        latch=LatchOut(engaged=latch.engaged, count=latch.count, reason=latch.reason, by=latch.by, at=latch.at),
        writes=WritesOut(on=writes.on, reason=writes.reason, by=writes.by, at=writes.at),
        takeover=None if hands.tenure is None else _tenure(hands.tenure),
        takeover_trouble=hands.trouble,
        worker=WorkerOut(
            **{name: getattr(view.worker, name) for name in WorkerOut.model_fields if hasattr(view.worker, name)}
            | {"held_by": list(view.worker.held_by), "refusals": dict(view.worker.refusals or {})}
            | {"troubles": list(view.worker.troubles), "is_connecting": desk.connecting.is_underway(place)},
            connect_trouble=None if failure is None else str(failure),
        ),
        run=_run(view),
        lease=None
        if view.lease is None
        else LeaseOut(holder=view.lease.holder, epoch=view.lease.epoch, until=view.lease.expires_at),
        reservations=[
            ReservationOut(
                experiment_id=one.reservation.experiment_id,
                campaign_id=one.reservation.campaign_id,
                samples=list(one.samples),
                amounts=dict(one.reservation.amounts),
                devices=list(one.reservation.devices),
            )
            for one in view.reservations
        ],
        campaigns=[
            CampaignHere(id=one.id, name=one.name, state=one.state, reason=one.reason, is_driven=is_driven)
            for one, is_driven in view.campaigns
        ],
        in_doubt=[one.id for one in view.doubts],
        unattended=[one.id for one in view.unattended],
        queue=None if view.queue is None else QueueOut.model_validate(view.queue, from_attributes=True),
    )


@door.on("GET", "/instruments/{instrument}/signals", "read")
def signals(
    instrument: str,
    request: Request,
    after: Annotated[float | None, Query(description="Only points that are newer, Unix s.")] = None,
) -> SignalsOut:
    """What an instrument reads now, with how that went while somebody looked. Nothing is started or moved."""
    desk = desk_of(request)
    place = desk.place(instrument)
    reading = desk.gauges.look(place)
    try:
        profile = _config(place).profile
        axis_units = {name: axis.unit for name, axis in profile.axes.items()}
        signal_units = {name: signal.unit for name, signal in profile.signals.items()}
        interlocks = [one.name for one in profile.interlocks]
    except Denied:
        axis_units, signal_units, interlocks = {}, {}, []
    unseen = reading.worker_trouble or "it has not said yet"
    return SignalsOut(
        at=reading.at,
        since=reading.since,
        moving=reading.moving,
        axes=[
            _signal(name, axis_units.get(name), reading.axes.get(name), reading.axes_trouble, after)
            for name in dict.fromkeys([*axis_units, *reading.axes])
        ],
        signals=[
            _signal(name, signal_units.get(name), reading.signals.get(name), reading.worker_trouble, after)
            for name in dict.fromkeys([*signal_units, *reading.signals])
        ],
        interlocks=[
            InterlockNow(name=name, holds=holds, detail=detail)
            for name, (holds, detail) in {
                **dict.fromkeys(interlocks, (None, unseen)),
                **reading.interlocks,
            }.items()
        ],
        axes_trouble=reading.axes_trouble,
        worker_trouble=reading.worker_trouble,
    )


@door.on("POST", "/instruments/{instrument}/connect", "instrument.operate", status=202)
def connect(instrument: str, request: Request, asked: Connect | None = None) -> ConnectedOut:
    """Have an instrument connected, so that it can say where it stands: its worker is started. Nothing moves."""
    desk = desk_of(request)
    place = desk.place(instrument)
    desk.note("connect_asked", {"instrument": place.name, "by": caller_of(request).person.login})
    return ConnectedOut(is_there=desk.connecting.begin(desk.ledger, place, CONNECT_S))


# -- by hand -----------------------------------------------------------------------------------------------------------


@door.on("POST", "/instruments/{instrument}/take-over", "instrument.operate", status=201)
def take_over(instrument: str, asked: TakeOverAsked, request: Request) -> TakenOut:
    """Take an instrument over, or renew one's own tenure: nothing is started for any campaign.

    The run in hand goes on to its end, or is aborted; `running` says what is still in hand.
    """
    place, commands = _by_hand(instrument, request)
    tenure = commands.take(place, timedelta(seconds=asked.for_s), asked.reason, abort=asked.abort)
    running = commands.clear(place, tenure) if asked.abort else commands.left(place)
    return TakenOut(**_tenure(tenure).model_dump(), running=running)


@door.on("POST", "/instruments/{instrument}/hand-back", "instrument.operate")
def hand_back(instrument: str, request: Request) -> HandedBack:
    """Hand an instrument back. Campaigns that paused meanwhile do not go on by themselves."""
    place, commands = _by_hand(instrument, request)
    was = commands.hand_back(place)
    return HandedBack(was=was.holder, waiting=commands.waiting(place))


@door.on("POST", "/instruments/{instrument}/release", "instrument.release")
def release(instrument: str, asked: ReleaseAsked, request: Request) -> ReleasedOut:
    """End somebody else's take-over, whose holder is gone. An axis on its way by hand is stopped.

    Who has taken it over since, or renewed it, keeps it.
    """
    place, commands = _by_hand(instrument, request)
    found = commands.release(place, asked.reason, asked.seen)
    tenure = found.was.tenure
    return ReleasedOut(was=None if tenure is None else tenure.holder, stopped=found.stopped)


@door.on("POST", "/instruments/{instrument}/writes", "instrument.operate")
def writes(instrument: str, asked: WritesAsked, request: Request) -> WritesOut:
    """Let an instrument be set, or not. What moves goes on: to halt it there is Stop All."""
    desk, login = desk_of(request), caller_of(request).person.login
    place = desk.place(instrument)
    state = set_writes(place, asked.on, asked.reason, login, asked.seen)
    if state.on != asked.on:
        raise Denied(
            500, "writes.unsaved", f"{place.name} can still be set: the disk takes nothing", "stop it with Stop All"
        )
    desk.note("writes_turned", {"instrument": place.name, "on": state.on, "reason": state.reason, "by": login})
    return WritesOut(on=state.on, reason=state.reason, by=state.by, at=state.at, saved=state.saved)


@door.on("POST", "/instruments/{instrument}/moves/preview", "instrument.operate", is_pure=True)
def preview(instrument: str, asked: MoveAsked, request: Request) -> MovePreview:
    """What a motion by hand would do, before it is ordered. Nothing moves, and nothing is signed."""
    desk = desk_of(request)
    plan = _plan(instrument, asked, request)
    here = runs.read_back(desk.place(instrument))["positions"].get(asked.axis)
    return MovePreview(
        axis=plan.axis,
        here=here,
        target=plan.target,
        unit=plan.spec.unit,
        simulated=plan.config.profile.simulated,
        walks=plan.spec.walk,
        longest_s=plan.spec.longest_move_s,
        refusal=moving.check(plan, here),
    )


@door.on("POST", "/instruments/{instrument}/moves", "instrument.operate", status=201)
def move(instrument: str, asked: MoveOrdered, request: Request) -> MoveOut:
    """Move one axis of an instrument that one has in hand, by an order signed in one's name.

    Limits, interlocks, write switch and Stop All hold as ever. An instrument that nobody is connected to must be
    connected first.
    """
    desk = desk_of(request)
    commands = moving.MoveCommands(desk.ledger, caller_of(request).person.login)
    plan = _plan(instrument, asked, request)
    client = _line(plan.place)
    try:
        motion = desk.motions.begin(commands, plan, client, commands.order(plan, asked.reason))
    except BaseException:
        client.close()
        raise
    motion.over.wait(AT_ONCE_S)
    return _motion(motion)


@door.on("GET", "/instruments/{instrument}/moves/{move_id}", "read")
def one_move(instrument: str, move_id: str, request: Request) -> MoveOut:
    """How far a motion by hand is. Whoever ordered it keeps it going by asking."""
    desk = desk_of(request)
    place = desk.place(instrument)
    motion = desk.motions.find(move_id)
    if motion is None or motion.plan.place.directory != place.directory:
        return _remembered(desk.ledger, place, move_id)
    if caller_of(request).person.login == motion.person:
        desk.motions.attend(motion)
    return _motion(motion)


# -- the run in hand ---------------------------------------------------------------------------------------------------


@door.on("POST", "/instruments/{instrument}/run/pause", "run.steer")
def pause_run(instrument: str, asked: RunSeen, request: Request) -> SteeredOut:
    """Pause the run in hand: a motion is halted at once, a reading is finished and kept first."""
    place, login = desk_of(request).place(instrument), caller_of(request).person.login
    return _steered(place, runs.pause(place, login, Seen(asked.experiment)))


@door.on("POST", "/instruments/{instrument}/run/resume", "run.steer")
def resume_run(instrument: str, asked: RunSeen, request: Request) -> SteeredOut:
    """Go on with the paused run: every axis is set again and verified; nothing is measured twice."""
    place, login = desk_of(request).place(instrument), caller_of(request).person.login
    return _steered(place, runs.resume(place, login, Seen(asked.experiment)))


@door.on("POST", "/instruments/{instrument}/run/abort", "run.steer")
def abort_run(instrument: str, asked: AbortAsked, request: Request) -> SteeredOut:
    """End the run in hand as aborted, or the motion by hand, and stop its axes. Nothing latches."""
    place, login = desk_of(request).place(instrument), caller_of(request).person.login
    return _steered(place, runs.abort(place, asked.reason, login, Seen(asked.experiment)))


# -- what these share --------------------------------------------------------------------------------------------------


def _config(place: InstrumentPlace) -> Any:
    from athanor.instruments.config import Config

    try:
        return Config.read(place)
    except (OSError, ValueError) as error:
        detail = f"{place.name} has no configuration that can be read: {error}"
        raise Denied(409, "instrument.unconfigured", detail, "run a campaign on it, or check it, once") from error


def _by_hand(instrument: str, request: Request) -> tuple[InstrumentPlace, InstrumentCommands]:
    desk = desk_of(request)
    return desk.place(instrument), InstrumentCommands(desk.ledger, caller_of(request).person.login)


def _tenure(tenure: Any) -> TenureOut:
    return TenureOut(
        holder=tenure.holder, nonce=tenure.nonce, since=tenure.since, until=tenure.until, reason=tenure.reason
    )


def _run(view: standing.View) -> RunOut | None:
    if view.in_hand is None:
        return None
    run = view.run
    return RunOut(
        experiment=ExperimentOut.of(view.in_hand),
        started_at=None if run is None else run.started_at,
        readings=0 if run is None else run.readings,
        due=view.in_hand.replicates,
        counts={} if run is None else dict(run.counts),
        last_event=None if run is None or run.last_event is None else dict(run.last_event),
    )


def _signal(name: str, unit: str | None, known: Known | None, trouble: str | None, after: float | None) -> SignalOut:
    if known is None:
        why = trouble or "it has not said yet"
        return SignalOut(name=name, unit=unit, value=None, trouble=why, known_at=None, points=[])
    return SignalOut(
        name=name,
        unit=unit,
        value=known.value,
        trouble=known.trouble,
        known_at=known.known_at,
        points=[point for point in known.points if after is None or point[0] > after],
    )


def _plan(instrument: str, asked: MoveAsked, request: Request) -> Plan:
    desk = desk_of(request)
    commands = moving.MoveCommands(desk.ledger, caller_of(request).person.login)
    text = asked.value if isinstance(asked.value, str) else repr(asked.value)
    return commands.plan(desk.place(instrument), asked.axis, text, asked.unit)


def _line(place: InstrumentPlace) -> Any:
    from athanor.instruments.wire import Client, WorkerLost

    try:
        return Client(place.sockets / "worker.sock")
    except WorkerLost as error:
        if error.hung:
            raise Denied(409, "worker.hung", str(error), "stop it with Stop All") from error
        raise Denied(
            409, "worker.none", f"nobody is connected to {place.name}: no worker is running", "connect it first"
        ) from error


def _motion(motion: Motion) -> MoveOut:
    plan = motion.plan
    return MoveOut(
        id=motion.id,
        state=motion.state,
        axis=plan.axis,
        target=plan.target,
        unit=plan.spec.unit,
        by=motion.person,
        before=motion.before,
        after=motion.after,
        problem=None if motion.problem is None else _problem(motion.problem),
        attend_s=moving.ATTEND_S,
    )


def _problem(error: Exception) -> Problem:
    found = problem_of(error)
    return Problem(code="internal", detail="the console's log says more") if found is None else found[1]


def _remembered(ledger: Any, place: InstrumentPlace, move_id: str) -> MoveOut:
    """What the ledger says of a motion that this process did not watch, or has forgotten. Raises `Denied`."""

    def of(kind: str, key: str) -> dict[str, Any] | None:
        events = [event.body for event in ledger.events(kinds=[kind])]
        return next((body for body in reversed(events) if body.get(key) == move_id), None)

    ordered = of("move_ordered", "nonce")
    if ordered is None or ordered["instrument"] != place.name:
        raise Denied(404, "not_found", f"nobody has ordered such a motion of {place.name}")
    done = of("manual_move", "order")
    problem = None
    if done is None:
        detail = "the console that watched it has ended; the worker halts an axis that nobody watches"
        problem = Problem(code="move.unwatched", detail=detail, remedy="look where it stands")
    elif done["code"] is not None:
        problem = Problem(code=done["code"], detail=done["detail"])
    return MoveOut(
        id=move_id,
        state="unknown" if done is None else "arrived" if problem is None else "failed",
        axis=ordered["axis"],
        target=ordered["value"],
        unit=None,
        by=ordered["by"],
        before=None if done is None else done.get("from"),
        after=None if done is None else done.get("to"),
        problem=problem,
        attend_s=moving.ATTEND_S,
    )


def _steered(place: InstrumentPlace, found: runs.Steered) -> SteeredOut:
    back = runs.read_back(place)
    return SteeredOut(
        came=found.came,
        experiment=found.experiment,
        state=found.state,
        positions=back["positions"],
        moving=back["moving"],
    )
