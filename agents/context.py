"""One campaign's working set: ledger, spec, planner, instrument, leases. The steps in `nodes` act through it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from athanor.agents import references, watch
from athanor.agents.book import Book
from athanor.agents.fitting import check_limits
from athanor.memory.records import (
    Campaign,
    Decision,
    Experiment,
    Lease,
    Observation,
    Purpose,
    Value,
    now,
    revision_of,
)

if TYPE_CHECKING:
    from athanor.agents.planning import PlannerProcess
    from athanor.agents.reasoners.protocol import Reasoner
    from athanor.agents.spec import Spec
    from athanor.instruments.executor import LocalExecutor
    from athanor.instruments.profile import Profile
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.planners.problem import Problem

SPENT = frozenset({"dispatched", "running", "completed", "failed", "aborted", "stopped_early", "in_doubt"})
"""States that count towards the budget: the instrument was, or may have been, used."""


OPEN = frozenset({"proposed", "approved", "dispatched", "running"})
"""States of an experiment that the loop is still working on."""

ENDED = frozenset({"completed", "failed", "aborted", "stopped_early"})
"""States of a run that has ended, one way or another."""


class LeaseLost(RuntimeError):
    """Another process drives this campaign now; this one must stop at once."""


@dataclass
class Context:
    """Everything the steps of one campaign need. Holds no result: the ledger does."""

    ledger: Ledger
    campaign: Campaign
    spec: Spec
    problem: Problem
    profile: Profile
    place: InstrumentPlace
    executor: LocalExecutor
    planner: PlannerProcess
    reasoner: Reasoner | None
    lease: Lease
    instrument_lease: Lease | None
    """None while the campaign waits for its instrument."""
    should_stop: Callable[[], bool] = lambda: False
    on_change: Callable[[], None] = lambda: None
    is_lost: bool = False
    started: float = field(default_factory=time.monotonic)
    book: Book = field(init=False)
    _sources: list[dict[str, Any]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.book = Book(self.ledger, self.campaign.id)

    @property
    def id(self) -> str:
        """The campaign's id."""
        return self.campaign.id

    # -- who drives -------------------------------------------------------------------------------------------------

    def check_lease(self) -> None:
        """Stop this process if the campaign has another driver.

        Raises:
            LeaseLost: the renewal failed.
        """
        if self.is_lost:
            raise LeaseLost(f"campaign {self.id} is driven by another process now")

    def refresh(self) -> Campaign:
        """Read the campaign's row again."""
        self.campaign = self.ledger.campaign(self.id)
        return self.campaign

    def should_abandon(self) -> bool:
        """Whether to give up long thinking: a person wants a pause or an end, nothing may start, the lease is gone."""
        if self.is_lost or self.should_stop() or self.standstill() is not None:
            return True
        return self.refresh().requested in ("pause", "cancel")

    def pause(self, reason: str) -> None:
        """Pause the campaign with its cause."""
        self.ledger.set_campaign_state(self.id, "paused", reason=reason)
        self.ledger.clear_request(self.id)
        self.refresh()
        self.notify()

    def finish(self, state: str, reason: str) -> None:
        """End the campaign; what still waits for a decision, or for its turn, will not run any more."""
        for experiment in self.experiments():
            if experiment.state in ("proposed", "approved"):
                self.ledger.set_experiment_state(experiment.id, "withdrawn", reason=f"the campaign ended: {reason}")
        self.ledger.set_campaign_state(self.id, state, reason=reason)  # type: ignore[arg-type]
        self.ledger.clear_request(self.id)
        self.refresh()
        self.notify()

    def notify(self) -> None:
        """Tell whoever watches that something changed."""
        self.on_change()

    # -- what is known ----------------------------------------------------------------------------------------------

    def spent(self) -> int:
        """Experiments that count towards the budget."""
        return sum(e.state in SPENT for e in self.experiments())

    def observations(self) -> list[Observation]:
        """The newest revision of each observation, in the order they were made."""
        return self.book.observations()

    def experiments(self) -> list[Experiment]:
        """Every experiment, by ordinal."""
        return self.book.experiments()

    def looked_past(self) -> str | None:
        """The experiment whose outcome the next point is chosen without: the last, where the file says to look ahead.

        So that the planner is asked for the same thing while it runs and when it has ended.
        """
        explored = [e for e in self.experiments() if e.purpose != references.PURPOSE]
        if not self.spec.look_ahead or not explored:
            return None
        return explored[-1].id if explored[-1].state in ENDED | {"dispatched", "running"} else None

    def planner_observations(self, without: str | None = None) -> list[dict[str, Any]]:
        """All that the planner may learn from, in a fixed order: outcomes, failures, rejections, what is pending.

        `without`: the experiment that is told as running, whatever became of it.
        """
        items: list[dict[str, Any]] = []
        seen: set[str] = set()
        follows_list = self.spec.design() is not None or self.spec.pool is not None
        experiments = {e.id: e for e in self.experiments()}
        for observation in references.without(self.experiments(), self.observations()):
            if observation.experiment_id is not None and observation.experiment_id == without:
                continue
            experiment = experiments.get(observation.experiment_id or "")
            if observation.experiment_id:
                seen.add(observation.experiment_id)
            items.append(
                {
                    "candidate_id": experiment.candidate.get("id") if experiment else None,
                    "values": observation.values,
                    "outcomes": observation.outcomes,
                    "status": observation.status,
                }
            )
        for experiment in experiments.values():
            if experiment.purpose == references.PURPOSE:
                continue
            # What was not made is no news to a planner that learns; one that follows a design makes it later, and one
            # that draws from a pool leaves out what a person replaced or the instrument refused.
            was_unmade = experiment.state in ("withdrawn", "superseded", "expired", "refused")
            if experiment.id in seen or (was_unmade and not follows_list):
                continue
            items.append(
                {
                    "candidate_id": experiment.candidate.get("id"),
                    "values": experiment.values,
                    "outcomes": {},
                    "status": "running" if experiment.id == without else experiment.state,
                }
            )
        return references.filled(watch.charts(self), items)

    def sources(self) -> list[dict[str, Any]]:
        """Earlier data that the planner may learn from, as they were when the campaign was opened.

        Raises:
            TransferLost: they are not all in the ledger.
        """
        from athanor.agents import transfer

        if self._sources is None:
            wanted = len(self.spec.transfer)
            self._sources = transfer.stored(self.ledger, self.id, wanted) if wanted else []
        return self._sources

    def check_point(self, values: Mapping[str, Value], *, is_operators: bool = False) -> None:
        """Check a point against the problem and the instrument's limits.

        An operator's may leave the problem's ranges and sums, but not do what its input constraints forbid.

        Raises:
            InvalidPoint, LimitViolation: naming the offender and the remedy.
        """
        if not is_operators:
            self.problem.validate_point(dict(values))
        check_limits(self.profile, values)
        self.problem.check_inputs(values)

    def new_experiment(
        self,
        *,
        values: dict[str, Value],
        purpose: Purpose,
        source: str,
        number: int | None = None,
        candidate: dict[str, Any] | None = None,
        registration_id: str | None = None,
        block: int | None = None,
        arm: str | None = None,
    ) -> Experiment:
        """A proposed experiment with the next ordinal."""
        return propose(
            self.ledger,
            self.campaign,
            values=values,
            purpose=purpose,
            source=source,
            number=number,
            candidate=candidate or {},
            registration_id=registration_id,
            block=block,
            arm=arm,
            replicates=self.spec.replicates,
        )

    def doubt(self) -> str | None:
        """Why nothing more may be run, when an experiment's outcome is unknown; a person settles it."""
        return next((_settle_first(e) for e in self.experiments() if e.state == "in_doubt"), None)

    def doubt_of_others(self) -> str | None:
        """The same for other campaigns on this instrument: what it was left in is as unknown for this one."""
        for campaign in self.ledger.campaigns():
            if campaign.instrument == self.place.name and campaign.id != self.id:
                for experiment in self.ledger.experiments(campaign.id, states=["in_doubt"]):
                    return _settle_first(experiment)
        return None

    # -- approval and execution -------------------------------------------------------------------------------------

    def grant(self, experiment: Experiment) -> Decision | None:
        """The newest grant that may speak for an experiment of the loop's own; never for a person's."""
        from athanor.instruments.latch import Latch
        from athanor.memory.decisions import outside

        if experiment.source == "operator":
            return None
        for decision, envelope in grants_in_force(self.ledger, self.id, Latch(self.place).read().count):
            if experiment.replicates <= envelope["replicates"] and not outside(
                experiment.values, envelope["parameters"]
            ):
                return decision
        return None

    def was_ended(self, decision: Decision) -> bool:
        """Whether a person ended a grant before its time; the worker would refuse what it approved."""
        return decision.kind == "grant" and decision.nonce in ended_grants(self.ledger, self.id)

    def is_in_force(self, decision: Decision) -> bool:
        """Whether Stop All has not been used since the decision was made; the worker would refuse it otherwise."""
        from athanor.instruments.latch import Latch
        from athanor.memory.decisions import body_of

        return bool(body_of(decision).get("latch") == Latch(self.place).read().count)

    def standstill(self) -> str | None:
        """Why nothing may start on the instrument: Stop All holds, or a person has it in hand."""
        from athanor.instruments.latch import Latch
        from athanor.instruments.takeover import TakeOver

        state = Latch(self.place).read()
        if state.engaged:
            return (
                f"Stop All is engaged on {self.place.name} ({state.reason}, by {state.by}). When it is safe: "
                f"athanor reset-stop --instrument {self.place.name} --reason …, then athanor resume {self.id}"
            )
        if (found := TakeOver(self.place).read().refusal) is not None:
            return f"{self.place.name} was taken over: {found[1]}. After that: athanor resume {self.id}"
        return None

    def commit_intent(self, experiment: Experiment, decision: Decision) -> None:
        """Write the intent under this process's lease on the instrument, with all that the run needs, or nothing."""
        from athanor.agents.needs import needs_of

        self.check_lease()
        assert self.instrument_lease is not None
        self.ledger.commit_intent(
            experiment.id,
            decision.id,
            self.place.name,
            self.instrument_lease.holder,
            self.instrument_lease.epoch,
            needs_of(self.spec, self.ledger, experiment.values),
        )

    def dispatch(self, experiment: Experiment) -> bool:
        """Hand the intent over; False when the campaign was paused instead."""
        from athanor.instruments.executor import Refused, WorkerLost
        from athanor.instruments.laboratory import InstrumentUnavailable

        self.check_lease()
        intent = self.ledger.intent_for(experiment.id)
        assert intent is not None and self.instrument_lease is not None
        try:
            self.executor.ensure()
            self.executor.dispatch(intent, self.instrument_lease.epoch)
        except Refused as refusal:
            if refusal.code != "already_started":
                self.pause(f"the instrument refused experiment {experiment.id}: {refusal}")
                return False
        except (WorkerLost, InstrumentUnavailable) as error:
            self.pause(f"the instrument did not take experiment {experiment.id}: {error}")
            return False
        return True

    def await_run(self, experiment: Experiment) -> bool:
        """Wait for the end of the run; False when the campaign was paused because its fate is unknown."""
        from athanor.instruments.executor import WorkerLost

        try:
            self.executor.wait(experiment.id, self.ledger)
        except WorkerLost as error:
            self.pause(
                f"the worker of {self.place.name} was lost during experiment {experiment.id} ({error}). Look at the "
                f"instrument, then: athanor reconcile {experiment.id}"
            )
            return False
        return True

    def observe(self, experiment: Experiment) -> None:
        """Store what came of an ended experiment, once. One that never ran has nothing to observe."""
        from athanor.agents.observing import observation

        if experiment.state not in ENDED or any(o.experiment_id == experiment.id for o in self.observations()):
            return
        watch.store(self, experiment, observation(self.ledger, self.profile, experiment))

    def was_excused(self, moment: datetime) -> bool:
        """Whether a person resumed the campaign after `moment`, having seen the pause that followed."""
        return any(e.created_at > moment for e in self.ledger.events(self.id, kinds=("resumed",)))

    def running_seconds(self) -> float:
        """Wall time spent running, over all sittings (seconds)."""
        earlier = sum(float(e.body["seconds"]) for e in self.ledger.events(self.id, kinds=("sitting",)))
        return earlier + time.monotonic() - self.started


def _settle_first(experiment: Experiment) -> str:
    return (
        f"experiment {experiment.id} is in doubt: {experiment.reason or 'the run has no end'}. Look at the instrument, "
        f"then: athanor reconcile {experiment.id}"
    )


def ended_grants(ledger: Ledger, campaign_id: str) -> frozenset[str]:
    """The nonces of the grants that a person ended before their time."""
    from athanor.memory.decisions import GRANT_ENDED

    return frozenset(str(event.body.get("nonce")) for event in ledger.events(campaign_id, kinds=(GRANT_ENDED,)))


def grants_in_force(ledger: Ledger, campaign_id: str, latch: int) -> list[tuple[Decision, dict[str, Any]]]:
    """The grants, newest first, each with its envelope, that have not run out, in time or in number.

    Those are left out that were given before the last Stop All (`latch` is the latch's count) or ended by a person.
    """
    from athanor.memory.decisions import body_of

    grants = [decision for decision in ledger.decisions(campaign_id) if decision.kind == "grant"]
    if not grants:
        return []
    used = Counter(e.decision_id for e in ledger.experiments(campaign_id) if e.state not in ("proposed", "approved"))
    ended, found = ended_grants(ledger, campaign_id), []
    for decision in reversed(grants):
        if decision.nonce in ended or (decision.expires_at is not None and decision.expires_at <= datetime.now(UTC)):
            continue
        body = body_of(decision)
        if body["latch"] == latch and used[decision.id] < body["envelope"]["max_experiments"]:
            found.append((decision, body["envelope"]))
    return found


def grant_in_force(ledger: Ledger, campaign_id: str, latch: int) -> Decision | None:
    """The newest of `grants_in_force`."""
    found = grants_in_force(ledger, campaign_id, latch)
    return found[0][0] if found else None


def propose(
    ledger: Ledger,
    campaign: Campaign,
    *,
    values: dict[str, Value],
    purpose: Purpose,
    source: str,
    candidate: dict[str, Any],
    replicates: int,
    number: int | None = None,
    registration_id: str | None = None,
    block: int | None = None,
    arm: str | None = None,
) -> Experiment:
    """Build (not store) a proposed experiment with the campaign's next ordinal and its revision hash."""
    ordinal = ledger.next_ordinal(campaign.id)
    revision = revision_of(
        campaign=campaign.id,
        ordinal=ordinal,
        values=values,
        purpose=purpose,
        registration_id=registration_id,
        block=block,
        arm=arm,
        replicates=replicates,
        problem_hash=campaign.problem_hash,
    )
    return Experiment(
        id=f"{campaign.id}.{ordinal}",
        campaign_id=campaign.id,
        ordinal=ordinal,
        number=number,
        revision=revision,
        values=values,
        purpose=purpose,
        source=source,  # type: ignore[arg-type]
        candidate=candidate,
        registration_id=registration_id,
        block=block,
        arm=arm,
        replicates=replicates,
        created_at=now(),
    )
