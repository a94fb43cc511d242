"""Experiments whose end nobody saw: everything that is known of one, and what a person may answer.

The facts are gathered anew each time; what stands in the ledger is a person's signed answer, and nothing else ends a
doubt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from athanor.agents.fitting import resolve
from athanor.agents.observing import reduce_run
from athanor.agents.opening import instrument_place
from athanor.agents.spec import Spec
from athanor.memory.canonical import parse
from athanor.memory.records import Outcome

if TYPE_CHECKING:
    from athanor.governance.gate import Gate, SettledState
    from athanor.instruments.profile import Profile
    from athanor.instruments.testimony import Testimony
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.records import Campaign, Decision, Document, Experiment, Intent

Answer = Literal["completed", "failed", "aborted", "not_started"]
ANSWER_S = 3.0
"""Seconds that an instrument's recovery process may take to say where the axes are."""

ANSWERS: tuple[Answer, ...] = ("completed", "failed", "aborted", "not_started")


class NoOutcomes(ValueError):
    """An experiment cannot be settled as completed: neither its documents nor the person give its outcomes."""

    def __init__(self, experiment: str, why: str, names: Iterable[str]) -> None:
        self.remedy = "Give what was measured: " + " ".join(f"--outcomes {name}=…" for name in names)
        super().__init__(f"{experiment}: its documents give no outcomes ({why})")


class NoProfile(ValueError):
    """The profile of an instrument is gone or cannot be read any more."""


@dataclass(frozen=True)
class RunFacts:
    """What arrived of a run. `counts` are its documents by name, `readings` the events of the primary stream."""

    uid: str
    started_at: datetime
    counts: Mapping[str, int]
    readings: int
    due: int
    last_event: Mapping[str, Any] | None
    last_event_at: float | None


@dataclass(frozen=True)
class Doubt:
    """One experiment in doubt, with everything that is known of it.

    `outcomes` are what its documents reduce to; where they do not, `no_outcomes` says why.
    """

    experiment: Experiment
    campaign: Campaign
    approval: Decision | None
    intent: Intent | None
    run: RunFacts | None
    testimony: Testimony
    outcomes: Mapping[str, Outcome] | None
    no_outcomes: str | None
    units: Mapping[str, str | None]

    @property
    def hint(self) -> str:
        """What the facts speak for, without deciding it."""
        account = self.testimony.account
        if account is not None and not account.is_known and self.run is None:
            return "the controller never heard of this run: it may not have started"
        if self.run is not None and self.outcomes is not None and self.run.readings >= self.run.due:
            return "all readings have arrived: only the end is missing"
        if self.run is not None and self.run.readings:
            return f"{self.run.readings} of {self.run.due} readings arrived"
        if self.testimony.is_at_target is False:
            return "the instrument does not stand where the run was to take it, and no reading arrived"
        return "no reading arrived"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        e, t = self.experiment, self.testimony
        return {
            "experiment": e.id,
            "campaign": self.campaign.id,
            "instrument": self.campaign.instrument,
            "simulated": self.campaign.simulated,
            "reason": e.reason,
            "values": dict(e.values),
            "approved": None
            if self.approval is None
            else {
                "kind": self.approval.kind,
                "by": self.approval.decided_by,
                "at": self.approval.created_at,
                "reason": self.approval.reason,
            },
            "intent": None if self.intent is None else {"id": self.intent.id, "at": self.intent.created_at},
            "run": None if self.run is None else asdict(self.run),
            "device": {
                "is_connected": t.is_connected,
                "is_moving": t.is_moving,
                "trouble": t.trouble,
                "axes": [asdict(axis) for axis in t.axes],
            },
            "controller_log": None if t.account is None else asdict(t.account),
            "outcomes": None if self.outcomes is None else dict(self.outcomes),
            "no_outcomes": self.no_outcomes,
            "hint": self.hint,
            "answers": list(ANSWERS),
        }


def doubtful(ledger: Ledger, campaigns: Iterable[Campaign]) -> list[Experiment]:
    """The experiments of these campaigns that are in doubt, by campaign and ordinal."""
    return [e for campaign in campaigns for e in ledger.experiments(campaign.id, states=["in_doubt"])]


def examine(ledger: Ledger, experiment: Experiment) -> Doubt:
    """Gather what is known of an experiment. Nothing is moved, and nothing is written."""
    from athanor.instruments.reductions import ReductionFailed
    from athanor.instruments.testimony import hear

    campaign = ledger.campaign(experiment.campaign_id)
    intent = ledger.intent_for(experiment.id)
    profile, outcomes, why = None, None, None
    try:
        profile = profile_of(campaign)
        reduced = reduce_run(ledger, profile, experiment)
        outcomes = {name: Outcome(mean=mean, sem=sem) for name, (mean, sem) in reduced.outcomes.items()}
    except (ReductionFailed, NoProfile) as error:
        why = str(error)
    return Doubt(
        experiment=experiment,
        campaign=campaign,
        approval=ledger.decision(experiment.decision_id) if experiment.decision_id is not None else None,
        intent=intent,
        run=run_facts(ledger, experiment),
        testimony=hear(
            instrument_place(campaign, ledger), profile, experiment.values, None if intent is None else intent.id
        ),
        outcomes=outcomes,
        no_outcomes=why,
        units={} if profile is None else {name: outcome.unit for name, outcome in profile.outcomes.items()},
    )


def note(ledger: Ledger, campaigns: Iterable[Campaign]) -> None:
    """Write down, once for each doubt, what is known of it now: later the instrument may stand elsewhere."""
    for campaign in campaigns:
        if found := ledger.experiments(campaign.id, states=["in_doubt"]):
            noted = {event.body["experiment"] for event in ledger.events(campaign.id, kinds=("doubt",))}
            for experiment in found:
                if experiment.id not in noted:
                    ledger.add_event(campaign.id, "doubt", examine(ledger, experiment).to_json())


def profile_of(campaign: Campaign) -> Profile:
    """The profile of the instrument that a campaign runs on. Raises `NoProfile`."""
    try:
        return resolve(Spec.model_validate(campaign.spec))[1]
    except (ValueError, LookupError, OSError) as error:
        raise NoProfile(f"the profile of {campaign.instrument} cannot be read: {error}") from error


def places_of(ledger: Ledger, campaigns: Iterable[Campaign]) -> dict[str, InstrumentPlace]:
    """The instruments of these campaigns, each once, by the folder in which it keeps its things."""
    return {str(place.directory): place for place in (instrument_place(campaign, ledger) for campaign in campaigns)}


def connect(ledger: Ledger, campaign: Campaign) -> str | None:
    """Have a campaign's instrument connected, so that it can say where it stands; why it cannot be, or None."""
    from athanor.instruments.executor import Refused, WorkerLost
    from athanor.instruments.executors import executor_for
    from athanor.instruments.laboratory import InstrumentUnavailable
    from athanor.instruments.standing import positions
    from athanor.memory import places

    place = instrument_place(campaign, ledger)
    try:
        if positions(place, ANSWER_S).get("connected"):
            return None
    except (OSError, ValueError):
        pass  # nobody is connected: that is what it is for
    try:
        profile = profile_of(campaign)
        options = Spec.model_validate(campaign.spec).laboratory.options
        executor = executor_for(profile, options, place, ledger.url, places.keys_dir() / "gate.pub")
        try:
            executor.ensure()
        finally:
            executor.close()
    except (NoProfile, InstrumentUnavailable, Refused, WorkerLost) as error:
        return str(error)
    return None


def settle(
    ledger: Ledger,
    gate: Gate,
    experiment: Experiment,
    answer: SettledState,
    reason: str,
    outcomes: Mapping[str, Outcome] | None = None,
) -> Decision:
    """Sign a person's answer. As `completed` without outcomes, the documents that arrived must give them.

    Raises:
        NoOutcomes, NoProfile: completed, and there are none, or nobody can say what they would be.
        ReductionFailed: an outcome was entered that the instrument does not have.
        GateError, StaleRevision: as the gate says.
    """
    from athanor.instruments.reductions import ReductionFailed

    if answer != "completed" or experiment.state != "in_doubt":
        return gate.settle(experiment.id, answer, reason, outcomes)
    profile = profile_of(ledger.campaign(experiment.campaign_id))
    if outcomes is not None:
        unknown = [name for name in outcomes if name not in profile.outcomes]
        if unknown:
            raise ReductionFailed(f"{unknown[0]} is no outcome of {profile.name}: {', '.join(profile.outcomes)}")
    else:
        try:
            reduce_run(ledger, profile, experiment)
        except ReductionFailed as error:
            raise NoOutcomes(experiment.id, str(error), profile.outcomes) from error
    return gate.settle(experiment.id, answer, reason, outcomes)


def run_facts(ledger: Ledger, experiment: Experiment) -> RunFacts | None:
    """What has arrived of an experiment's run so far; None when nothing has."""
    run = ledger.run_for(experiment.id)
    if run is None:
        return None
    documents = ledger.documents(run.uid)
    bodies = [parse(document.body) for document in documents if document.name == "event"]
    streams = _primary(documents)
    readings = {body.get("seq_num") for body in bodies if body.get("descriptor") in streams}
    last = bodies[-1] if bodies else None
    return RunFacts(
        uid=run.uid,
        started_at=run.started_at,
        counts=dict(Counter(document.name for document in documents)),
        readings=len(readings),
        due=experiment.replicates,
        last_event=None if last is None else last.get("data"),
        last_event_at=None if last is None else last.get("time"),
    )


def _primary(documents: Iterable[Document]) -> set[Any]:
    found = (parse(document.body) for document in documents if document.name == "descriptor")
    return {body.get("uid") for body in found if body.get("name") == "primary"}
