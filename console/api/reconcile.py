"""After a crash: what is in doubt, the evidence for each, and what a person who has looked says became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import Request
from pydantic import BaseModel, Field, model_validator

from athanor.console.api.accounts import Asked
from athanor.console.api.campaigns import DecisionOut, ExperimentOut, Name, Reason
from athanor.console.api.door import Door, caller_of, desk_of
from athanor.console.api.paging import After, Limit, Page, page
from athanor.console.api.problems import Problem, problem_of
from athanor.console.commands import reconcile
from athanor.memory.records import Campaign, Outcome, Value

door = Door("reconcile")

Finite = Annotated[float, Field(allow_inf_nan=False)]


class DoubtLine(BaseModel):
    """An experiment in doubt, in a list."""

    experiment: ExperimentOut
    campaign_id: str
    instrument: str
    simulated: bool


class ApprovedOut(BaseModel):
    """Who let it run."""

    kind: str
    by: str
    at: datetime
    reason: str


class RunFactsOut(BaseModel):
    """What arrived of its run: `readings` of `due`, its documents by name, and the last event's data."""

    started_at: datetime
    readings: int
    due: int
    counts: dict[str, int]
    last_event: dict[str, Any] | None


class AxisStands(BaseModel):
    """Where the run was to take an axis, and where it is now; `is_there` is null when it did not say."""

    name: str
    unit: str | None
    target: Value
    position: Value | None
    is_there: bool | None


class ControllerLog(BaseModel):
    """What the controller's own log says of the run. `began_at` is null where it never heard of it."""

    began_at: datetime | None
    counts: dict[str, int]
    last: datetime | None


class OutcomeOut(BaseModel):
    """A mean and its standard error (null: unknown), in the outcome's unit."""

    mean: float
    sem: float | None


class DoubtOut(BaseModel):
    """Everything that is known of an experiment in doubt.

    `outcomes` are what its documents reduce to; where they do not, `no_outcomes` says why. `hint` says what the facts
    speak for, without deciding it.
    """

    experiment: ExperimentOut
    campaign_id: str
    instrument: str
    simulated: bool
    approved: ApprovedOut | None
    intent_at: datetime | None
    run: RunFactsOut | None
    is_connected: bool
    is_moving: bool | None
    device_trouble: str | None
    axes: list[AxisStands]
    controller: ControllerLog | None
    outcomes: dict[str, OutcomeOut] | None
    no_outcomes: str | None
    units: dict[str, str | None]
    hint: str


class FoundOut(BaseModel):
    """What was found out about one experiment, or one file that was set aside."""

    kind: str
    subject: str
    detail: str


class SweptOut(BaseModel):
    """What a look at the instrument gave. `trouble`: why it did not answer; then nobody knows what it does."""

    found: list[FoundOut]
    set_aside: list[FoundOut]
    trouble: str | None
    in_doubt: list[str]


class Measured(Asked):
    """What was measured: mean and standard error, in the outcome's unit."""

    mean: Finite
    sem: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class Settlement(Asked):
    """What really happened, and how one knows.

    `outcomes`: what was measured, where the documents do not say. `again`: put the same settings up for decision again,
    for what has not started.
    """

    state: Literal["completed", "failed", "aborted", "not_started"]
    reason: Reason
    outcomes: Annotated[dict[Name, Measured], Field(min_length=1, max_length=200)] | None = None
    again: bool = False

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.outcomes is not None and self.state != "completed":
            raise ValueError("only what is completed has outcomes")
        if self.again and self.state != "not_started":
            raise ValueError("only what has not started is put up again")
        return self


class SettledOut(BaseModel):
    """The signed answer. `again`: the experiment that was put up in its place, or why none was."""

    decision: DecisionOut
    again: ExperimentOut | None
    again_trouble: Problem | None


@door.on("GET", "/campaigns/{campaign_id}/doubts", "read")
def of_campaign(campaign_id: str, request: Request, limit: Limit = 100, after: After = None) -> Page[DoubtLine]:
    """A campaign's experiments in doubt."""
    ledger = desk_of(request).ledger
    return _doubts(request, [ledger.campaign(campaign_id)], limit, after)


@door.on("GET", "/instruments/{instrument}/doubts", "read")
def of_instrument(instrument: str, request: Request, limit: Limit = 100, after: After = None) -> Page[DoubtLine]:
    """The experiments in doubt of every campaign on an instrument."""
    return _doubts(request, _campaigns(instrument, request), limit, after)


@door.on("POST", "/instruments/{instrument}/reconcile", "outcome.settle")
def take_in(instrument: str, request: Request) -> SweptOut:
    """Take in what can be known without a person, and say what is left. Nothing is moved or run again."""
    from athanor.agents.doubt import doubtful

    ledger, campaigns = desk_of(request).ledger, _campaigns(instrument, request)
    swept = reconcile.sweep(ledger, campaigns)
    return SweptOut(
        found=[FoundOut(kind=one.kind, subject=one.subject, detail=one.detail) for one in swept.found],
        set_aside=[
            FoundOut(kind=one.kind, subject=one.file, detail=one.detail)
            for items in swept.set_aside.values()
            for one in items
        ],
        trouble="; ".join(swept.troubles.values()) or None,
        in_doubt=[one.id for one in doubtful(ledger, campaigns)],
    )


@door.on("GET", "/experiments/{experiment_id}/doubt", "read")
def evidence(experiment_id: str, request: Request) -> DoubtOut:
    """What is known of an experiment in doubt, from every witness there is. Nothing is moved or written."""
    ledger = desk_of(request).ledger
    doubt = reconcile.examine(ledger, ledger.experiment(experiment_id))
    testimony, approval, run = doubt.testimony, doubt.approval, doubt.run
    return DoubtOut(
        experiment=ExperimentOut.of(doubt.experiment),
        campaign_id=doubt.campaign.id,
        instrument=doubt.campaign.instrument,
        simulated=doubt.campaign.simulated,
        approved=None
        if approval is None
        else ApprovedOut(
            kind=approval.kind, by=approval.decided_by, at=approval.created_at, reason=approval.reason or ""
        ),
        intent_at=None if doubt.intent is None else doubt.intent.created_at,
        run=None if run is None else RunFactsOut.model_validate(run, from_attributes=True),
        is_connected=testimony.is_connected,
        is_moving=testimony.is_moving,
        device_trouble=testimony.trouble,
        axes=[AxisStands.model_validate(axis, from_attributes=True) for axis in testimony.axes],
        controller=None
        if testimony.account is None
        else ControllerLog.model_validate(testimony.account, from_attributes=True),
        outcomes=None
        if doubt.outcomes is None
        else {name: OutcomeOut(mean=one["mean"], sem=one["sem"]) for name, one in doubt.outcomes.items()},
        no_outcomes=doubt.no_outcomes,
        units=dict(doubt.units),
        hint=doubt.hint,
    )


@door.on("POST", "/experiments/{experiment_id}/settle", "outcome.settle", status=201)
def settle(experiment_id: str, asked: Settlement, request: Request) -> SettledOut:
    """Say what became of an experiment in doubt, once; signed in one's name. Nothing is run again by itself."""
    ledger = desk_of(request).ledger
    commands = reconcile.ReconcileCommands(ledger, caller_of(request).person.login)
    experiment = ledger.experiment(experiment_id)
    outcomes = None
    if asked.outcomes is not None:
        outcomes = {name: Outcome(mean=one.mean, sem=one.sem) for name, one in asked.outcomes.items()}
    decision = commands.settle(experiment, asked.state, asked.reason, outcomes)
    again, trouble = None, None
    if asked.again:
        try:
            again = ExperimentOut.of(commands.put_up_again(experiment))
        except Exception as error:  # what was settled is settled: say what was not done
            found = problem_of(error)
            if found is None:
                raise
            trouble = found[1]
    return SettledOut(decision=DecisionOut.of(decision), again=again, again_trouble=trouble)


def _campaigns(instrument: str, request: Request) -> list[Campaign]:
    desk = desk_of(request)
    place = desk.place(instrument)
    return [campaign for campaign in desk.ledger.campaigns() if campaign.instrument == place.name]


def _doubts(request: Request, campaigns: list[Campaign], limit: int, after: str | None) -> Page[DoubtLine]:
    ledger = desk_of(request).ledger
    found = [
        DoubtLine(
            experiment=ExperimentOut.of(experiment),
            campaign_id=campaign.id,
            instrument=campaign.instrument,
            simulated=campaign.simulated,
        )
        for campaign in campaigns
        for experiment in ledger.experiments(campaign.id, states=["in_doubt"])
    ]
    return page(found, limit, after, lambda line: line.experiment.id)
