"""Campaigns and what is in them: reading, deciding, steering."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, Field

from athanor.console import overview
from athanor.console.api.accounts import Asked
from athanor.console.api.door import Door, caller_of, desk_of
from athanor.console.api.paging import After, Limit, Page, part
from athanor.memory.records import CampaignState, Experiment, ExperimentState, Record, Value

door = Door("campaigns")

Reason = Annotated[str, Field(min_length=1, max_length=2000)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Values = Annotated[dict[Name, float | int | str], Field(min_length=1, max_length=200)]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{6,64}$", description="What was looked at: 6 digits of it or more.")]


class Shown(BaseModel):
    """Of a record of the ledger, what is shown."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, record: Record) -> Self:
        """As it is shown."""
        return cls.model_validate(record)


class CampaignLine(Shown):
    """A campaign in a list."""

    id: str
    name: str
    question: str
    state: CampaignState
    reason: str | None
    instrument: str
    simulated: bool
    autonomy: str
    created_at: datetime
    finished_at: datetime | None


class BestOut(BaseModel):
    """One of the best points found, and what was measured there."""

    experiment: str | None
    values: dict[str, Value]
    outcomes: dict[str, tuple[float, float | None]]


class CampaignOut(CampaignLine):
    """A campaign with where it stands."""

    budget: int
    used: int
    counts: dict[str, int]
    waiting: list[str]
    deferred: list[str]
    underway: list[str]
    best: list[BestOut]
    trace: list[float]
    elapsed_s: float
    recent: list[str]


class ExperimentOut(BaseModel):
    """An experiment; `values` are in the units of its campaign, `predicted` is mean and sd of each outcome."""

    id: str
    campaign_id: str
    ordinal: int
    number: int | None
    revision: str
    values: dict[str, Value]
    purpose: str
    source: str
    replicates: int
    registration_id: str | None
    state: ExperimentState
    reason: str | None
    parent_id: str | None
    created_at: datetime
    why: dict[str, Any]
    predicted: dict[str, Any]

    @classmethod
    def of(cls, experiment: Experiment) -> ExperimentOut:
        """As it is shown."""
        fields = {name: getattr(experiment, name) for name in cls.model_fields if name not in ("why", "predicted")}
        said = {name: experiment.candidate.get(name) or {} for name in ("why", "predicted")}
        return cls.model_validate({**fields, **said})


class HypothesisOut(Shown):
    """A hypothesis and what became of it."""

    id: str
    ordinal: int
    kind: str
    statement: str
    rationale: str
    proposer: str
    prior: float
    state: str
    reason: str | None
    verdict: dict[str, Any] | None


class DecisionOut(Shown):
    """Who decided what on which revision, and why."""

    id: str
    experiment_id: str | None
    kind: str
    revision: str | None
    decided_by: str
    reason: str
    expires_at: datetime | None
    created_at: datetime


class EventOut(Shown):
    """Something that happened."""

    id: str
    campaign_id: str | None
    kind: str
    body: dict[str, Any]
    created_at: datetime


class Approval(Asked):
    """An approval of what was seen, good for so long."""

    revision: Revision
    expires_s: Annotated[float, Field(gt=0, le=7 * 86400)] = 86400.0


class Rejection(Asked):
    """A rejection of what was seen."""

    revision: Revision
    reason: Reason


class Edit(Asked):
    """Other values in the place of those seen."""

    revision: Revision
    values: Values
    reason: Reason


class Point(Asked):
    """An experiment of one's own."""

    values: Values


class Asking(BaseModel):
    """Whether a process drives the campaign and was asked; where none does, nothing new starts anyhow."""

    is_driven: bool


# -- reading ----------------------------------------------------------------------------------------------------------


@door.on("GET", "/campaigns", "read")
def campaigns(
    request: Request,
    state: Annotated[list[CampaignState] | None, Query(description="Only those in these states.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[CampaignLine]:
    """Campaigns, the newest first."""
    found = desk_of(request).ledger.campaigns(state, newest_first=True, after=after, limit=limit + 1)
    return part(found, limit, CampaignLine.of, lambda campaign: campaign.id)


@door.on("GET", "/campaigns/{campaign_id}", "read")
def campaign(campaign_id: str, request: Request) -> CampaignOut:
    """Where a campaign stands."""
    return campaign_out(desk_of(request).looks.at(campaign_id))


def campaign_out(view: overview.Overview) -> CampaignOut:
    """A campaign as it is shown."""
    return CampaignOut(
        **CampaignLine.of(view.campaign).model_dump(),
        budget=view.budget,
        used=view.used,
        counts=dict(view.counts),
        waiting=[experiment.id for experiment in view.waiting],
        deferred=list(view.deferred),
        underway=[experiment.id for experiment in view.underway],
        best=[BestOut(experiment=b.experiment, values=dict(b.values), outcomes=dict(b.outcomes)) for b in view.best],
        trace=list(view.trace),
        elapsed_s=view.elapsed_s,
        recent=list(view.recent),
    )


@door.on("GET", "/campaigns/{campaign_id}/experiments", "read")
def experiments(
    campaign_id: str,
    request: Request,
    state: Annotated[list[ExperimentState] | None, Query(description="Only those in these states.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[ExperimentOut]:
    """A campaign's experiments, in their order."""
    ledger = desk_of(request).ledger
    found = ledger.experiments(ledger.campaign(campaign_id).id, state, after=after, limit=limit + 1)
    return part(found, limit, ExperimentOut.of, lambda experiment: experiment.id)


@door.on("GET", "/campaigns/{campaign_id}/hypotheses", "read")
def hypotheses(campaign_id: str, request: Request, limit: Limit = 100, after: After = None) -> Page[HypothesisOut]:
    """A campaign's hypotheses, in their order."""
    ledger = desk_of(request).ledger
    found = ledger.hypotheses(ledger.campaign(campaign_id).id, after=after, limit=limit + 1)
    return part(found, limit, HypothesisOut.of, lambda hypothesis: hypothesis.id)


@door.on("GET", "/campaigns/{campaign_id}/decisions", "read")
def decisions(campaign_id: str, request: Request, limit: Limit = 100, after: After = None) -> Page[DecisionOut]:
    """Who decided what in a campaign, in order."""
    ledger = desk_of(request).ledger
    found = ledger.decisions(ledger.campaign(campaign_id).id, after=after, limit=limit + 1)
    return part(found, limit, DecisionOut.of, lambda decision: decision.id)


@door.on("GET", "/campaigns/{campaign_id}/events", "read")
def events(campaign_id: str, request: Request, limit: Limit = 100, after: After = None) -> Page[EventOut]:
    """What happened in a campaign, in order."""
    ledger = desk_of(request).ledger
    found = ledger.events(ledger.campaign(campaign_id).id, after, limit=limit + 1)
    return part(found, limit, EventOut.of, lambda event: event.id)


@door.on("GET", "/experiments/{experiment_id}", "read")
def experiment(experiment_id: str, request: Request) -> ExperimentOut:
    """One experiment."""
    return ExperimentOut.of(desk_of(request).ledger.experiment(experiment_id))


# -- deciding ---------------------------------------------------------------------------------------------------------


@door.on("POST", "/experiments/{experiment_id}/approve", "experiment.decide", status=201)
def approve(experiment_id: str, asked: Approval, request: Request) -> DecisionOut:
    """Approve the revision that was seen."""
    commands = desk_of(request).commands(caller_of(request))
    return DecisionOut.of(commands.approve(experiment_id, asked.revision, timedelta(seconds=asked.expires_s)))


@door.on("POST", "/experiments/{experiment_id}/reject", "experiment.decide", status=201)
def reject(experiment_id: str, asked: Rejection, request: Request) -> DecisionOut:
    """Reject the revision that was seen."""
    return DecisionOut.of(
        desk_of(request).commands(caller_of(request)).reject(experiment_id, asked.revision, asked.reason)
    )


@door.on("POST", "/experiments/{experiment_id}/edit", "experiment.decide", status=201)
def edit(experiment_id: str, asked: Edit, request: Request) -> ExperimentOut:
    """Put an experiment with other values in its place; it waits for approval."""
    commands = desk_of(request).commands(caller_of(request))
    return ExperimentOut.of(commands.edit(experiment_id, asked.revision, asked.values, asked.reason))


@door.on("POST", "/campaigns/{campaign_id}/experiments", "experiment.propose", status=201)
def propose(campaign_id: str, asked: Point, request: Request) -> ExperimentOut:
    """Put an experiment of one's own up for decision."""
    desk = desk_of(request)
    return ExperimentOut.of(desk.commands(caller_of(request)).propose(desk.ledger.campaign(campaign_id), asked.values))


# -- steering ---------------------------------------------------------------------------------------------------------


@door.on("POST", "/campaigns/{campaign_id}/pause", "campaign.steer")
def pause(campaign_id: str, request: Request) -> Asking:
    """Pause as soon as nothing is half done; planning in progress is abandoned."""
    desk = desk_of(request)
    commands = desk.commands(caller_of(request))
    return Asking(is_driven=commands.request(desk.ledger.campaign(campaign_id), "pause"))


@door.on("POST", "/campaigns/{campaign_id}/stop-after-step", "campaign.steer")
def stop_after_step(campaign_id: str, request: Request) -> Asking:
    """Pause once the present step is done and remembered."""
    desk = desk_of(request)
    commands = desk.commands(caller_of(request))
    return Asking(is_driven=commands.request(desk.ledger.campaign(campaign_id), "stop_after_step"))
