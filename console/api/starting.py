"""Campaigns before and as they start: challenges, files checked as they are written, rehearsals, starting, resuming."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from athanor.console.api.accounts import Asked
from athanor.console.api.campaigns import BestOut, CampaignLine, Name, Reason
from athanor.console.api.door import Door, caller_of, desk_of, mark_done
from athanor.console.api.problems import Denied
from athanor.console.commands import campaigns as commands
from athanor.console.commands.rehearsals import LONGEST_S, MOST_EXPERIMENTS, Rehearsals
from athanor.governance.rights import MEANING, Scope
from athanor.memory.records import Value

if TYPE_CHECKING:
    from athanor.agents.spec import Spec
    from athanor.console.commands.rehearsals import Rehearsal

door = Door("starting")

# As `athanor.agents.reading.LONGEST`, which is not read here: it takes a while to import.
Text = Annotated[str, Field(max_length=30_000, description="A campaign's file, in YAML.")]
PATIENCE_S = 5.0
"""So long a start waits for others' files to be read; a check is made again soon, and does not wait."""


class Taken(BaseModel):
    """What is shown of something of ours."""

    model_config = ConfigDict(from_attributes=True)


class ChallengeOut(Taken):
    """A simulated laboratory with a ready campaign."""

    name: str
    domain: str
    area: str
    description: str
    instrument: str
    sources: list[str]


class FileOut(BaseModel):
    """A campaign's file."""

    yaml: str


class ProfileOut(Taken):
    """An instrument's profile in a folder of this site; `path` is what a campaign's file names."""

    path: str
    name: str
    title: str
    simulated: bool


class FaultOut(Taken):
    """Something wrong with a campaign's file: the line, counted from 1, the field, and what to do."""

    line: int | None
    field: str
    message: str
    remedy: str


class LabelledOut(BaseModel):
    """A line of what a campaign would do; one without a label goes on with the one before."""

    label: str
    text: str


class CheckOut(BaseModel):
    """What a file says. `faults` is empty where it can be started; `document` is it as plain values, for a form.

    `instrument` is what would be moved, and `real` whether that is a real one, as far as that can be told.
    `may_start`: whether whoever asks may start it.
    """

    ok: bool
    yaml: str
    faults: list[FaultOut]
    summary: list[LabelledOut]
    instrument: str | None
    real: bool | None
    autonomy: str | None
    experiments: int | None
    may_start: bool
    may_grant: bool
    can_rehearse: bool
    document: dict[str, Any] | None


class DriverOut(Taken):
    """What drives a campaign. `standing`: `driving`, `starting`, `ended`, `failed` (`why`) or `none`."""

    standing: str
    by: str | None
    since: datetime | None
    why: str | None
    remedy: str | None


class StartedOut(BaseModel):
    """A campaign that was opened, what drives it, and whether it was granted to approve its own experiments."""

    campaign: CampaignLine
    driver: DriverOut
    granted: bool


class RehearsalOut(BaseModel):
    """A rehearsal. `standing`: `running`, `done`, `cancelled` or `failed`.

    `differs`: in what it differs from the real campaign. `best` is what it found on the simulated laboratory.
    """

    id: str
    name: str
    laboratory: str
    by: str
    at: datetime
    standing: str
    detail: str | None
    differs: list[str]
    budget: int | None = None
    used: int | None = None
    failures: int | None = None
    elapsed_s: float | None = None
    trace: list[float] = []
    best: list[BestOut] = []
    units: dict[str, str | None] = {}
    recent: list[str] = []

    @classmethod
    def of(cls, found: Rehearsal) -> RehearsalOut:
        """As it is shown."""
        fields = {
            name: getattr(found, name)
            for name in ("id", "name", "laboratory", "by", "at", "standing", "detail", "differs")
        }
        view = found.view
        if view is None:
            return cls(**fields)
        best = [BestOut(experiment=b.experiment, values=dict(b.values), outcomes=dict(b.outcomes)) for b in view.best]
        return cls(
            **fields,
            budget=view.budget,
            used=view.used,
            failures=view.failures,
            elapsed_s=view.elapsed_s,
            trace=list(view.trace),
            best=best,
            units={name: view.problem.unit(name) for name in (*view.problem.names, *view.problem.outcomes)},
            recent=list(view.recent),
        )


class File(Asked):
    """A campaign's file."""

    yaml: Text


class Draft(Asked):
    """The profile to write a campaign's file from."""

    profile: Annotated[str, Field(min_length=1, max_length=1000)]


class Change(Asked):
    """A field to change: the way to it, and its new value; null takes it out."""

    path: Annotated[list[str | int], Field(min_length=1, max_length=6)]
    value: Value | bool | list[Value] | dict[str, Any] | None


class Composition(Asked):
    """Changes to a campaign's file."""

    yaml: Text
    changes: Annotated[list[Change], Field(min_length=1, max_length=200)]


class Start(Asked):
    """A campaign to start. `instrument` is what whoever asks saw would be moved: another is not moved instead."""

    yaml: Text
    instrument: Name


class Resumption(Asked):
    """What to make of a reference that left its limits, if that is why the campaign paused."""

    accept_reference: Reason | None = None
    recalibrated: Reason | None = None


class Cancellation(Asked):
    """Why a campaign is ended for good, if there is something to say."""

    reason: Reason | None = None


class Rehearse(Asked):
    """A campaign to rehearse. `twin`: the simulated laboratory that stands in for a real instrument."""

    yaml: Text
    twin: Name | None = None
    experiments: Annotated[int, Field(ge=1, le=MOST_EXPERIMENTS)] = 10
    wall_s: Annotated[float, Field(ge=1, le=LONGEST_S)] = 300.0


# -- what to start from -----------------------------------------------------------------------------------------------


@door.on("GET", "/challenges", "read")
def challenges() -> list[ChallengeOut]:
    """The simulated laboratories, each with a ready campaign."""
    return [ChallengeOut.model_validate(one) for one in commands.challenges()]


@door.on("GET", "/challenges/{laboratory}", "read")
def challenge(laboratory: str) -> FileOut:
    """The ready campaign of a laboratory."""
    return FileOut(yaml=commands.ready_campaign(laboratory).read_text(encoding="utf-8"))


@door.on("GET", "/profiles", "read")
def profiles(request: Request) -> list[ProfileOut]:
    """The profiles of instruments in the folders of this site."""
    return [ProfileOut.model_validate(one) for one in commands.profiles(desk_of(request).ledger)]


@door.on("POST", "/campaigns/draft", "campaign.start", on_either=True, is_pure=True)
def draft(asked: Draft, request: Request) -> FileOut:
    """A commented file to start from, written from an instrument's profile."""
    with _reading(request):
        return FileOut(yaml=commands.draft(asked.profile, desk_of(request).ledger))


# -- a file as it is written ------------------------------------------------------------------------------------------


@door.on("POST", "/campaigns/check", "campaign.start", on_either=True, is_pure=True)
def check(asked: File, request: Request) -> CheckOut:
    """Everything that is wrong with a campaign's file, in one answer, and what it would do. Nothing is started."""
    with _reading(request):
        return _checked(asked.yaml, request)


@door.on("POST", "/campaigns/compose", "campaign.start", on_either=True, is_pure=True)
def compose(asked: Composition, request: Request) -> CheckOut:
    """Change fields of a campaign's file, as a form does; comments and all else stay. The answer is as of `check`."""
    with _reading(request):
        return _checked(commands.compose(asked.yaml, [(one.path, one.value) for one in asked.changes]), request)


@contextlib.contextmanager
def _reading(request: Request, patience_s: float = 0.0) -> Iterator[None]:
    """Read a file among few others: that is pure work, which keeps the threads of everybody else waiting.

    Raises:
        Denied: enough files are being read.
    """
    room = desk_of(request).reading
    if not room.acquire(timeout=patience_s):
        raise Denied(429, "check.busy", "others' files are being read just now", "ask again in a second", wait_s=1.0)
    try:
        yield
    finally:
        room.release()


def _checked(text: str, request: Request) -> CheckOut:
    ledger, caller = desk_of(request).ledger, caller_of(request)
    found = commands.read(text, ledger)
    profile, spec = found.profile, found.spec
    real = None if profile is None else commands.is_real(profile, ledger)
    is_whole = spec is not None and profile is not None
    return CheckOut(
        ok=is_whole,
        yaml=text,
        faults=[FaultOut.model_validate(one) for one in found.problems],
        summary=[
            LabelledOut(label=label, text=line)
            for label, line in (commands.summarise(spec, profile) if spec is not None and profile is not None else [])
        ],
        instrument=None if profile is None else profile.name,
        real=real,
        autonomy=None if spec is None else spec.policy.autonomy,
        experiments=None if spec is None else spec.budget.experiments,
        may_start=real is not None and caller.may("campaign.start", simulated=not real),
        may_grant=real is not None and caller.may("autonomy.grant", simulated=not real),
        can_rehearse=is_whole and not real and spec is not None and spec.laboratory.name is not None,
        document=found.document,
    )


def _spec(text: str, request: Request) -> Spec:
    """The campaign of a file. Raises `Denied` with everything that is wrong with it."""
    with _reading(request, PATIENCE_S):
        found = commands.read(text, desk_of(request).ledger)
    if found.spec is None:
        said = "; ".join(
            f"{f'line {one.line}: ' if one.line else ''}{one.field}: {one.message}" for one in found.problems
        )
        raise Denied(422, "campaign.invalid", f"this file cannot be run: {said}", "POST /api/v1/campaigns/check")
    return found.spec


# -- starting ---------------------------------------------------------------------------------------------------------


@door.on("POST", "/campaigns", "campaign.start", status=201, on_either=True)
def start(asked: Start, request: Request) -> StartedOut:
    """Start a campaign, in a process that does not end with this console.

    Where its file asks for autonomy, whoever may grant that grants it by this; else each experiment waits for a person.
    """
    from athanor.agents.fitting import resolve

    desk, caller = desk_of(request), caller_of(request)
    spec = _spec(asked.yaml, request)
    profile = resolve(spec)[1]
    simulated = not commands.is_real(profile, desk.ledger)
    _check_may("campaign.start", request, simulated=simulated)
    if asked.instrument != profile.name:
        raise Denied(
            409,
            "instrument.other",
            f"this file moves {profile.name}, not {asked.instrument}; nothing was started",
            "look at the file again",
        )
    may_grant = caller.may("autonomy.grant", simulated=simulated)
    made = commands.CampaignCommands(desk.ledger, caller.person.login)
    campaign_id, driven = made.start(spec, may_grant=may_grant)
    mark_done(request)
    found = desk.ledger.campaign(campaign_id)
    return StartedOut(
        campaign=CampaignLine.of(found),
        driver=DriverOut.model_validate(driven),
        granted=any(decision.kind == "grant" for decision in desk.ledger.decisions(found.id)),
    )


def _check_may(scope: Scope, request: Request, *, simulated: bool) -> None:
    """What the door could not know before the body was read. Raises `Denied`."""
    caller = caller_of(request)
    if caller.may(scope, simulated=simulated):
        return
    body = {"login": caller.person.login, "needs": scope, "path": request.url.path[:200]}
    desk_of(request).note("api_refused", body)
    kind = "a simulated" if simulated else "a real"
    refused = f"{caller.person.login} ({caller.person.role}) may not {MEANING[scope]} on {kind} instrument"
    raise Denied(403, "scope.missing", refused, "ask an owner for a role that may")


@door.on("GET", "/campaigns/{campaign_id}/driver", "read")
def driver(campaign_id: str, request: Request) -> DriverOut:
    """What drives a campaign, or became of the process that was last started for it."""
    ledger = desk_of(request).ledger
    return DriverOut.model_validate(commands.driver_of(ledger, ledger.campaign(campaign_id)))


@door.on("POST", "/campaigns/{campaign_id}/resume", "campaign.steer")
def resume(campaign_id: str, request: Request, asked: Resumption | None = None) -> DriverOut:
    """Go on with a paused or interrupted campaign, in a process that does not end with this console."""
    desk, caller, said = desk_of(request), caller_of(request), asked or Resumption()
    campaign = desk.ledger.campaign(campaign_id)
    found = commands.CampaignCommands(desk.ledger, caller.person.login).resume(
        campaign,
        may_grant=caller.may("autonomy.grant", simulated=campaign.simulated),
        accept_reference=said.accept_reference,
        recalibrated=said.recalibrated,
    )
    return DriverOut.model_validate(found)


@door.on("POST", "/campaigns/{campaign_id}/cancel", "campaign.steer")
def cancel(campaign_id: str, request: Request, asked: Cancellation | None = None) -> DriverOut:
    """End a campaign for good, keeping its record: what waits is withdrawn, what runs is finished."""
    desk = desk_of(request)
    made = commands.CampaignCommands(desk.ledger, caller_of(request).person.login)
    reason = None if asked is None else asked.reason
    return DriverOut.model_validate(made.cancel(desk.ledger.campaign(campaign_id), reason or ""))


# -- rehearsals -------------------------------------------------------------------------------------------------------


@door.on("POST", "/rehearsals", "campaign.start", status=201, on_either=True)
def rehearse(asked: Rehearse, request: Request) -> RehearsalOut:
    """Rehearse a campaign on a simulated laboratory: in a folder of its own, with nothing of it in the ledger."""
    made = _rehearsals(request)
    name = made.begin(_spec(asked.yaml, request), asked.twin, asked.experiments, asked.wall_s)
    return RehearsalOut.of(made.one(name))


@door.on("GET", "/rehearsals", "read")
def rehearsals(request: Request) -> list[RehearsalOut]:
    """The rehearsals that are kept, the newest first, without how far they are."""
    return [RehearsalOut.of(one) for one in _rehearsals(request).all()]


@door.on("GET", "/rehearsals/{rehearsal}", "read")
def rehearsal(rehearsal: str, request: Request) -> RehearsalOut:
    """How far a rehearsal is, and what it found."""
    return RehearsalOut.of(_rehearsals(request).one(rehearsal))


@door.on("POST", "/rehearsals/{rehearsal}/cancel", "campaign.start", status=204, on_either=True)
def cancel_rehearsal(rehearsal: str, request: Request) -> None:
    """End a rehearsal, after the experiment it has in hand."""
    _rehearsals(request).cancel(rehearsal)


def _rehearsals(request: Request) -> Rehearsals:
    return Rehearsals(desk_of(request).ledger, caller_of(request).person.login)
