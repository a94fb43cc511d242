"""What a worker checks before anything moves. Whoever calls it, nothing unapproved or out of bounds is run.

Everything is read from the ledger anew; nothing that the caller says is believed but which intent it means.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from athanor.instruments.latch import LatchState
from athanor.instruments.limits import LimitViolation, unknown
from athanor.instruments.profile import Profile
from athanor.instruments.spool import StartedLog
from athanor.instruments.words import Refused
from athanor.memory import decisions
from athanor.memory.errors import NotFound
from athanor.memory.records import Campaign, Decision, Experiment, Intent, Lease
from athanor.memory.resources import Sample
from athanor.memory.signing import PublicKey

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace

ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Rows:
    """What the ledger says about one intent."""

    ledger_id: str
    intent: Intent
    experiment: Experiment
    decision: Decision
    campaign: Campaign
    lease: Lease | None
    sample: Sample | None = None
    """What is measured, if the experiment has a sample to itself."""
    ended: frozenset[str] = frozenset()
    """The nonces of grants that a person ended before their time."""


def read_rows(ledger: Ledger, intent_id: str) -> Rows:
    """Read what an intent stands on. Raises `Refused` when a part of it is not there."""
    try:
        intent = ledger.intent(intent_id)
    except NotFound as error:
        raise Refused("intent.unknown", str(error)) from error
    try:
        reserved = ledger.reservation_for(intent.experiment_id)
        ended = ledger.events(intent.campaign_id, kinds=(decisions.GRANT_ENDED,))
        return Rows(
            ledger_id=ledger.ledger_id,
            intent=intent,
            experiment=ledger.experiment(intent.experiment_id),
            decision=ledger.decision(intent.decision_id),
            campaign=ledger.campaign(intent.campaign_id),
            lease=ledger.lease(f"instrument:{intent.instrument}"),
            sample=ledger.sample(reserved.samples[0]) if reserved is not None and reserved.samples else None,
            ended=frozenset(str(event.body.get("nonce")) for event in ended),
        )
    except NotFound as error:
        raise Refused("decision.unknown", f"intent {intent_id} stands on nothing: {error}") from error


class Fence:
    """The highest epoch seen per ledger, on disk: who has lost the instrument cannot move it any more."""

    def __init__(self, place: InstrumentPlace) -> None:
        self._path = place.directory / "fence.json"
        self._highest: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError):
            self._highest = json.loads(self._path.read_text())

    def check(self, rows: Rows, epoch: int) -> None:
        """Raises `Refused` when the caller's epoch is not that of the lease now held, or lower than one seen before."""
        resource = f"instrument:{rows.intent.instrument}"
        if rows.lease is None:
            raise Refused("lease.fenced", f"nobody holds {resource}: acquire its lease first")
        highest = self._highest.get(rows.ledger_id, 0)
        if epoch < max(highest, rows.lease.epoch, rows.intent.epoch):
            newest = max(highest, rows.lease.epoch)
            raise Refused("lease.fenced", f"epoch {epoch} of {resource} has passed, it is {newest}: somebody took over")
        if epoch > rows.lease.epoch:
            raise Refused("lease.fenced", f"epoch {epoch} of {resource} does not exist yet, it is {rows.lease.epoch}")

    def raise_to(self, rows: Rows, epoch: int) -> None:
        """Remember the epoch, on disk when this returns. Raises `OSError`."""
        if self._highest.get(rows.ledger_id, 0) >= epoch:
            return
        highest = {**self._highest, rows.ledger_id: epoch}
        fresh = self._path.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump(highest, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        self._highest = highest


def check(
    rows: Rows, *, profile: Profile, public: PublicKey, latch: LatchState, started: StartedLog, now: datetime
) -> None:
    """Raises `Refused`, with a stable code, unless the intent may be run on this instrument now."""
    _check_state(rows, started)
    _check_instrument(rows, profile)
    _check_latch(latch)
    _check_decision(rows, profile, public, latch, started, now)
    _check_values(rows.experiment.values, profile)


def _check_state(rows: Rows, started: StartedLog) -> None:
    intent, experiment = rows.intent, rows.experiment
    if started.has_intent(intent.id) or started.has_experiment(experiment.id):
        raise Refused("already_started", f"{experiment.id} was started before; nothing is started twice")
    if experiment.state != "dispatched":
        detail = f"{experiment.id} is {experiment.state}" + (f" ({experiment.reason})" if experiment.reason else "")
        raise Refused("superseded" if experiment.state == "superseded" else "experiment.state", detail)
    if rows.campaign.state in ENDED:
        raise Refused("campaign.ended", f"campaign {rows.campaign.id} is {rows.campaign.state}")
    if experiment.campaign_id != rows.campaign.id:
        raise Refused("decision.mismatch", f"{experiment.id} is not of campaign {rows.campaign.id}")
    if experiment.revision != experiment.expected_revision(rows.campaign.problem_hash):
        raise Refused("revision.changed", f"{experiment.id} is no longer what its revision says: it was altered")


def _check_instrument(rows: Rows, profile: Profile) -> None:
    for name, source in ((rows.intent.instrument, "intent"), (rows.campaign.instrument, "campaign")):
        if name != profile.name:
            raise Refused("instrument.wrong", f"this is {profile.name}, the {source} is for {name}")
    if rows.campaign.simulated != profile.simulated:
        kinds = ("simulated", "real") if profile.simulated else ("real", "simulated")
        raise Refused("instrument.wrong", f"{profile.name} is {kinds[0]}, the campaign says {kinds[1]}")


def _check_latch(latch: LatchState) -> None:
    if latch.engaged:
        raise Refused("latch.engaged", f"Stop All is latched ({latch.reason}): a person must reset it with a reason")


def _check_decision(
    rows: Rows, profile: Profile, public: PublicKey, latch: LatchState, started: StartedLog, now: datetime
) -> None:
    decision, experiment = rows.decision, rows.experiment
    if decision.kind not in ("approve", "grant"):
        raise Refused("decision.kind", f"decision {decision.id} is {decision.kind!r}, not an approval or a grant")
    if not decision.signature:
        raise Refused("decision.unsigned", f"decision {decision.id} is not signed by the gate")
    try:
        body = decisions.check(decision, public)
    except decisions.BadSignature as error:
        raise Refused("decision.signature", str(error)) from error
    except decisions.ForgedDecision as error:
        raise Refused("decision.mismatch", str(error)) from error
    expected: dict[str, Any] = {"campaign": rows.campaign.id}
    if decision.kind == "approve":
        expected |= {"experiment": experiment.id, "revision": experiment.revision}
    for key, value in expected.items():
        if body.get(key) != value:
            detail = f"decision {decision.id} was signed for {key} {body.get(key)!r}, not {value!r}"
            raise Refused("decision.mismatch", detail)
    if body.get("instrument") != profile.name:
        raise Refused("instrument.wrong", f"this is {profile.name}, the decision is for {body.get('instrument')}")
    if body.get("latch") != latch.count:
        raise Refused("latch.changed", "Stop All was used since this was decided: it must be decided again")
    _check_expiry(decision, now)
    if decision.kind == "grant":
        _check_grant(rows, body.get("envelope"), started)


def _check_expiry(decision: Decision, now: datetime) -> None:
    expires = decision.expires_at
    if expires is None:
        raise Refused("decision.mismatch", f"decision {decision.id} has no time at which it expires")
    if expires <= now.astimezone(UTC):
        raise Refused("decision.expired", f"decision {decision.id} expired at {expires.isoformat(timespec='seconds')}")


def _check_grant(rows: Rows, envelope: object, started: StartedLog) -> None:
    grant, values = rows.decision, rows.experiment.values
    if not isinstance(envelope, Mapping) or envelope.get("autonomy") != "auto_within_limits":
        raise Refused("grant.envelope", f"grant {grant.id} lets nothing run by itself")
    # By its nonce, which is signed: a copy under another id is the same grant.
    if grant.nonce in rows.ended:
        raise Refused("grant.ended", f"grant {grant.id} was ended by a person before its time")
    most, used = envelope.get("max_experiments"), started.uses(grant.nonce)
    if not isinstance(most, int) or isinstance(most, bool) or used >= most:
        raise Refused("grant.exhausted", f"grant {grant.id} allows {most} experiments, {used} were started")
    parameters = envelope.get("parameters")
    if not isinstance(parameters, Mapping):
        raise Refused("grant.envelope", f"grant {grant.id} names no parameters")
    readings = envelope.get("replicates")
    if not isinstance(readings, int) or isinstance(readings, bool) or rows.experiment.replicates > readings:
        detail = f"grant {grant.id} allows {readings} readings in a run, not {rows.experiment.replicates}"
        raise Refused("grant.envelope", detail)
    if missing := set(parameters) - set(values):
        raise Refused("grant.envelope", f"grant {grant.id} is for whole points: {', '.join(sorted(missing))} missing")
    for name, value in values.items():
        if not decisions.is_inside(value, parameters.get(name)):
            raise Refused("grant.envelope", f"{name} = {value} is outside grant {grant.id}: {parameters.get(name)}")


def _check_values(values: Mapping[str, Any], profile: Profile) -> None:
    limits = profile.limits()
    if not values:
        raise Refused("limit.unknown", "the experiment sets no axis")
    for name, value in values.items():
        try:
            limit = limits.get(name)
            if limit is None:
                raise unknown(name, value)
            limit.check(name, value)
        except LimitViolation as error:
            raise Refused(error.code, str(error)) from error
