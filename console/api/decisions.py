"""One decision with everything it needs; deferring, responding, trying an edit, and approving several at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Request
from pydantic import AwareDatetime, BaseModel, Field, model_validator

from athanor.console import brief
from athanor.console.api.accounts import Asked
from athanor.console.api.campaigns import CampaignLine, DecisionOut, EventOut, ExperimentOut, Name, Reason, Revision
from athanor.console.api.campaigns import Values as EditedValues
from athanor.console.api.door import Door, caller_of, desk_of
from athanor.console.api.starting import Taken
from athanor.memory.records import Value

door = Door("decisions")

MOST = 100
"""So many revisions are approved at once at most."""


class SettingOut(Taken):
    """One parameter of a proposal, in `unit`; see `athanor.console.brief.Setting`."""

    name: str
    unit: str | None
    value: Value
    low: float | None
    high: float | None
    values: list[Value] | None
    previous: Value | None
    difference: float | None
    limit_low: float | None
    limit_high: float | None
    fault: str | None
    note: str | None


class ExpectedOut(Taken):
    """What is expected of an outcome, mean ± sd in `unit`; `probability` is that of meeting `bound`."""

    name: str
    unit: str | None
    mean: float | None
    sd: float | None
    best: float | None
    bound: str | None
    probability: float | None
    required: float | None


class TestedOut(Taken):
    """A hypothesis that the run tests, with the evidence so far in natural logarithms of e-values."""

    id: str
    statement: str
    kind: str
    proposer: str
    state: str
    prior: float
    blocks: int
    log_e_support: float | None
    log_e_refute: float | None
    log_threshold_support: float | None
    log_threshold_refute: float | None


class UseOut(Taken):
    """What a run takes of something limited: `takes` of it, beside `used`, of `limit`."""

    what: str
    used: float
    takes: float
    limit: float | None
    unit: str | None


class ConditionOut(Taken):
    """Something that must hold before the experiment can start."""

    what: str
    holds: bool
    text: str
    remedy: str | None


class DeferralOut(Taken):
    """A decision that was put off."""

    by: str
    reason: str
    until: datetime
    at: datetime


class RemarkOut(Taken):
    """What somebody said about an experiment."""

    by: str
    text: str
    at: datetime


class BriefOut(BaseModel):
    """All that a decision needs. `could_run`: whether it would start now, if it were approved.

    `expires_s`: how long an approval holds by the campaign's file, in seconds. `authors`: whose own it is.
    """

    experiment: ExperimentOut
    campaign: CampaignLine
    last_run: str | None
    settings: list[SettingOut]
    expected: list[ExpectedOut]
    why: str
    method: str
    fallback: str | None
    advice: list[str]
    hypotheses: list[TestedOut]
    uses: list[UseOut]
    conditions: list[ConditionOut]
    limits_from: str
    within_limits: bool
    could_run: bool
    expires_s: float
    deferral: DeferralOut | None
    remarks: list[RemarkOut]
    authors: list[str]


class Deferring(Asked):
    """Until when a decision is put off, with a time zone, and why."""

    revision: Revision
    until: Annotated[AwareDatetime, Field(strict=False)]
    reason: Reason


class Response(Asked):
    """A remark to whoever proposed the experiment."""

    revision: Revision
    text: Reason


class Trial(Asked):
    """Values to try, those that change; in the units of the campaign."""

    revision: Revision
    values: EditedValues


class EditFaultOut(BaseModel):
    """Why an edit would be refused; `field` is empty where it is about the whole."""

    field: str
    detail: str


class TrialOut(BaseModel):
    """What would come of an edit."""

    ok: bool
    faults: list[EditFaultOut]
    settings: list[SettingOut]
    changed: list[str]


class Range(Asked):
    """Either `low` and `high`, both inside, or the values `allowed`; in the parameter's unit."""

    low: float | None = None
    high: float | None = None
    allowed: Annotated[list[Value], Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Range:
        if (self.allowed is None) != (self.low is not None and self.high is not None):
            raise ValueError("give low and high, or the values allowed")
        return self

    def plain(self) -> dict[str, object]:
        """As an envelope has it."""
        return {"low": self.low, "high": self.high} if self.allowed is None else {"allowed": list(self.allowed)}


Envelope = Annotated[dict[Name, Range], Field(min_length=1, max_length=200)]


class Seen(Asked):
    """An experiment and the revision of it that was looked at."""

    experiment: Name
    revision: Revision


class Batch(Asked):
    """Revisions to approve together, if all lie inside the envelope; `expires_s`: how long the approvals hold."""

    revisions: Annotated[list[Seen], Field(min_length=1, max_length=MOST)]
    envelope: Envelope
    max_experiments: Annotated[int, Field(ge=1, le=MOST)]
    expires_s: Annotated[float, Field(gt=0, le=7 * 86400)] = 86400.0
    reason: Annotated[str, Field(max_length=2000)] = ""

    @model_validator(mode="after")
    def _each_once(self) -> Batch:
        if len({one.experiment for one in self.revisions}) < len(self.revisions):
            raise ValueError("an experiment is named twice")
        return self

    def by_name(self) -> dict[str, str]:
        """The revisions by experiment."""
        return {one.experiment: one.revision for one in self.revisions}

    def ranges(self) -> dict[str, dict[str, object]]:
        """The envelope as the gate takes it."""
        return {name: one.plain() for name, one in self.envelope.items()}


class BatchLine(BaseModel):
    """Whether an experiment could be approved with the others, and if not, why."""

    experiment: str
    ok: bool
    why: str | None


class BatchCheck(BaseModel):
    """What would come of a batch; it is approved whole or not at all."""

    ok: bool
    lines: list[BatchLine]


@door.on("GET", "/experiments/{experiment_id}/decision", "read")
def decision(experiment_id: str, request: Request) -> BriefOut:
    """All that a decision on an experiment needs, as of now."""
    desk = desk_of(request)
    found = brief.look(desk.ledger, desk.ledger.experiment(experiment_id), caller_of(request).person.login)
    return BriefOut(
        experiment=ExperimentOut.of(found.experiment),
        campaign=CampaignLine.of(found.campaign),
        settings=[SettingOut.model_validate(one) for one in found.settings],
        expected=[ExpectedOut.model_validate(one) for one in found.expected],
        hypotheses=[TestedOut.model_validate(one) for one in found.hypotheses],
        uses=[UseOut.model_validate(one) for one in found.uses],
        conditions=[ConditionOut.model_validate(one) for one in found.conditions],
        within_limits=found.is_within_limits,
        could_run=found.could_run,
        deferral=None if found.deferral is None else DeferralOut.model_validate(found.deferral),
        remarks=[RemarkOut.model_validate(one) for one in found.remarks],
        advice=list(found.advice),
        authors=list(found.authors),
        last_run=found.last_run,
        why=found.why,
        method=found.method,
        fallback=found.fallback,
        limits_from=found.limits_from,
        expires_s=found.expires_s,
    )


@door.on("POST", "/experiments/{experiment_id}/defer", "experiment.decide", status=201)
def defer(experiment_id: str, asked: Deferring, request: Request) -> EventOut:
    """Put a decision off: until then it is not among what waits for anybody. It can be decided all the same."""
    made = desk_of(request).commands(caller_of(request))
    return EventOut.of(made.defer(experiment_id, asked.revision, asked.until, asked.reason))


@door.on("DELETE", "/experiments/{experiment_id}/defer", "experiment.decide", status=204)
def end_deferral(experiment_id: str, request: Request) -> None:
    """Have a decision wait again that was put off."""
    desk_of(request).commands(caller_of(request)).end_deferral(experiment_id)


@door.on("POST", "/experiments/{experiment_id}/respond", "experiment.decide", status=201)
def respond(experiment_id: str, asked: Response, request: Request) -> EventOut:
    """Tell whoever proposed an experiment something: it is kept with it, and a reasoner is shown it."""
    return EventOut.of(desk_of(request).commands(caller_of(request)).respond(experiment_id, asked.revision, asked.text))


@door.on("POST", "/experiments/{experiment_id}/edit/check", "experiment.decide", is_pure=True)
def check_edit(experiment_id: str, asked: Trial, request: Request) -> TrialOut:
    """Say what would come of an edit, without making it."""
    ledger = desk_of(request).ledger
    found = brief.check_edit(ledger, ledger.experiment(experiment_id), asked.revision, asked.values)
    return TrialOut(
        ok=not found.faults,
        faults=[EditFaultOut(field=field, detail=detail) for field, detail in found.faults],
        settings=[SettingOut.model_validate(one) for one in found.settings],
        changed=list(found.changed),
    )


@door.on("POST", "/campaigns/{campaign_id}/approve-batch", "experiment.decide", status=201)
def approve_batch(campaign_id: str, asked: Batch, request: Request) -> list[DecisionOut]:
    """Approve several revisions that were seen, all of them or none: each must lie inside the envelope."""
    made = (
        desk_of(request)
        .commands(caller_of(request))
        .approve_batch(
            campaign_id,
            asked.by_name(),
            asked.ranges(),
            asked.max_experiments,
            timedelta(seconds=asked.expires_s),
            asked.reason,
        )
    )
    return [DecisionOut.of(one) for one in made]


@door.on("POST", "/campaigns/{campaign_id}/approve-batch/check", "experiment.decide", is_pure=True)
def check_batch(campaign_id: str, asked: Batch, request: Request) -> BatchCheck:
    """Say which of several revisions could be approved together, and which not and why. Nothing is approved."""
    made = desk_of(request).commands(caller_of(request))
    refused = made.refusals(campaign_id, asked.by_name(), asked.ranges(), asked.max_experiments)
    lines = [
        BatchLine(experiment=one.experiment, ok=one.experiment not in refused, why=refused.get(one.experiment))
        for one in asked.revisions
    ]
    return BatchCheck(ok=not refused, lines=lines)
