"""The steps of the loop. Each looks the ledger up first and does nothing when its work is already done."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from athanor.agents import needs, references, stopping, watch
from athanor.agents.context import OPEN
from athanor.agents.graph import State
from athanor.agents.inquiry import Inquiry
from athanor.agents.planning import NothingLeft, PlanningCancelled, PlanningFailed
from athanor.agents.transfer import TransferLost
from athanor.instruments.limits import LimitViolation
from athanor.memory.errors import Duplicate
from athanor.memory.records import Decision, Experiment
from athanor.planners.problem import InvalidPoint

if TYPE_CHECKING:
    from athanor.agents.context import Context


def go(**more: Any) -> State:
    """Route to the next step."""
    return {"route": "go", **more}  # type: ignore[typeddict-item]


@dataclass
class Nodes:
    """The steps, bound to one campaign's context."""

    context: Context
    inquiry: Inquiry = field(init=False)

    def __post_init__(self) -> None:
        self.inquiry = Inquiry(self.context)

    # -- hypotheses -------------------------------------------------------------------------------------------------

    def recall(self, state: State) -> State:
        """Look up what earlier campaigns learned about these knobs."""
        self.context.check_lease()
        self.inquiry.recall()
        return go(experiment="")

    def hypothesise(self, state: State) -> State:
        """Ask the reasoner for hypotheses when it is time."""
        self.inquiry.hypothesise()
        return go()

    def register(self, state: State) -> State:
        """Freeze each new hypothesis with its test, before any run that may count for it."""
        self.inquiry.register()
        return go()

    # -- one experiment ---------------------------------------------------------------------------------------------

    def plan(self, state: State) -> State:
        """Put up the next experiment: an operator's first, then a reference, a registered test's, the planner's."""
        c = self.context
        pending = [e for e in c.experiments() if e.state in OPEN]
        if pending:
            # What a person has approved does not wait behind what nobody has decided.
            return go(experiment=min(pending, key=lambda e: (e.state == "proposed", e.ordinal)).id)
        if c.spent() >= c.spec.budget.experiments:
            return {"route": "again", "experiment": ""}
        experiment = watch.next_reference(c) or self.inquiry.next_confirmation()
        if experiment is None:
            try:
                experiment = self._suggest()
            except PlanningCancelled:
                return {"route": "again", "experiment": ""}
            except NothingLeft as end:
                return {**self._end("succeeded", str(end)), "experiment": ""}
            except (PlanningFailed, TransferLost) as error:
                c.pause(f"the planner could not answer: {error}")
                return {"route": "stop", "experiment": ""}
        try:
            c.ledger.add_experiment(experiment)
        except Duplicate:  # a person's proposal took the number meanwhile: plan again with it in view
            return {"route": "again", "experiment": ""}
        return go(experiment=experiment.id)

    def _suggest(self) -> Experiment:
        c = self.context
        request = self._request()
        past = c.looked_past()
        try:
            candidate = c.planner.ask(request, c.should_abandon)["candidate"]
        except NothingLeft:
            if past is None:
                raise
            # Without what the last experiment came to nothing is left; with it there may be.
            past, request = None, self._request(look_ahead=False)
            candidate = c.planner.ask(request, c.should_abandon)["candidate"]
        if past is not None:
            said = f"{candidate['why']['detail']} It was chosen without the outcome of experiment {past}."
            candidate["why"]["detail"] = said
        return c.new_experiment(
            values=candidate["values"],
            purpose="explore",
            source="planner",
            number=request["number"],
            candidate={k: candidate[k] for k in ("id", "predicted", "why", "label") if k in candidate},
        )

    def _request(self, look_ahead: bool = True) -> dict[str, Any]:
        """What the planner is asked for its next point: a function of what is in the ledger."""
        c = self.context
        return {
            "op": "suggest",
            "planner": c.spec.planner_request(),
            "pool": c.spec.pool.model_dump(mode="json") if c.spec.pool is not None else None,
            "problem": c.problem.model_dump(mode="json"),
            "seed": c.campaign.seed,
            "number": max((e.number for e in c.experiments() if e.number is not None), default=0) + 1,
            "observations": c.planner_observations(without=c.looked_past() if look_ahead else None),
            "advice": self.inquiry.advice(),
            "progress": min(1.0, c.spent() / c.spec.budget.experiments),
            "sources": c.sources(),
        }

    def _prepare(self, running: Experiment) -> None:
        """Let the planner begin with the next point while the instrument runs, if it is to look ahead."""
        c = self.context
        others = any(e.state in OPEN and e.id != running.id for e in c.experiments())
        if c.spec.look_ahead and not others and c.spent() < c.spec.budget.experiments:
            with contextlib.suppress(TransferLost):  # which is told when it is needed
                c.planner.prepare(self._request())

    def validate(self, state: State) -> State:
        """Check the point against the problem and the instrument's limits before anyone is asked to approve it."""
        c = self.context
        experiment = c.ledger.experiment(state["experiment"])
        if experiment.state != "proposed":
            return go()
        try:
            c.check_point(experiment.values, is_operators=experiment.source == "operator")
        except (InvalidPoint, LimitViolation) as error:
            c.ledger.set_experiment_state(experiment.id, "withdrawn", reason=str(error))
            return {"route": "again"}
        return go()

    def approve(self, state: State) -> State:
        """Wait for a person, or let a signed grant speak. The interrupt stands alone in this node."""
        from langgraph.types import interrupt

        c = self.context
        experiment = c.ledger.experiment(state["experiment"])
        if experiment.state == "proposed":
            # Whatever the file says of autonomy: what counts is whether a grant is in force that covers this point.
            if (grant := c.grant(experiment)) is not None:
                c.ledger.set_experiment_state(experiment.id, "approved", decision_id=grant.id, expect={"proposed"})
                return go()
            interrupt({"experiment": experiment.id, "revision": experiment.revision})
            experiment = c.ledger.experiment(state["experiment"])
        return go() if experiment.state in ("approved", "dispatched", "running") else {"route": "again"}

    def commit_intent(self, state: State) -> State:
        """Write down what is about to be done, before any hardware is touched."""
        c = self.context
        experiment = c.ledger.experiment(state["experiment"])
        if experiment.state != "approved":
            return go()
        assert experiment.decision_id is not None
        decision: Decision = c.ledger.decision(experiment.decision_id)
        if decision.expires_at is not None and decision.expires_at <= datetime.now(UTC):
            c.ledger.set_experiment_state(experiment.id, "expired", reason="its approval ran out before it could start")
            return {"route": "again"}
        if cause := c.standstill():
            c.pause(cause)
            return {"route": "stop"}
        if not c.is_in_force(decision):
            c.ledger.set_experiment_state(experiment.id, "expired", reason="Stop All was used since it was approved")
            return {"route": "again"}
        if c.was_ended(decision):
            c.ledger.set_experiment_state(experiment.id, "expired", reason="the grant that approved it was ended")
            return {"route": "again"}
        if cause := needs.commit(c, experiment, decision):
            if c.refresh().requested == "cancel":
                return {"route": "again"}
            c.pause(cause)
            return {"route": "stop"}
        return go()

    def dispatch(self, state: State) -> State:
        """Hand the intent to the worker. Never retried by itself: the worker knows what has started."""
        c = self.context
        experiment = c.ledger.experiment(state["experiment"])
        if experiment.state != "dispatched":
            return go()
        return go() if c.dispatch(experiment) else {"route": "stop"}

    def await_run(self, state: State) -> State:
        """Wait until the run has ended, or its fate is known to be unknown."""
        c = self.context
        experiment = c.ledger.experiment(state["experiment"])
        self._prepare(experiment)
        if experiment.state in ("dispatched", "running") and not c.await_run(experiment):
            return {"route": "stop"}
        return go()

    def ingest(self, state: State) -> State:
        """Reduce the run to outcomes and store the observation."""
        c = self.context
        experiment = c.ledger.experiment(state["experiment"])
        if doubt := c.doubt():
            c.pause(doubt)
            return {"route": "stop"}
        c.observe(experiment)
        if experiment.purpose == references.PURPOSE:
            watch.review(c)
        return go()

    def test(self, state: State) -> State:
        """Update the evidence of every registered test that this run belongs to."""
        self.inquiry.test()
        return go()

    def remember(self, state: State) -> State:
        """Tell whoever watches. What was learned is in the ledger by now, where recall finds it: nothing to copy."""
        self.context.notify()
        return go()

    # -- what next --------------------------------------------------------------------------------------------------

    def decide(self, state: State) -> State:
        """Go on, pause or end: a person's request first, then faults, then the stopping rules."""
        c = self.context
        campaign = c.refresh()
        if campaign.requested == "cancel":
            return self._end("cancelled", "cancelled by a person")
        if campaign.requested != "none" or c.should_stop():
            c.pause("paused by a person" if campaign.requested != "none" else "paused: the command was interrupted")
            return {"route": "stop"}
        if cause := c.standstill():
            c.pause(cause)
            return {"route": "stop"}
        if cause := stopping.fault(c.experiments(), c.observations(), c.was_excused):
            c.pause(cause)
            return {"route": "stop"}
        if cause := watch.cause(c):
            c.pause(cause)
            return {"route": "stop"}
        if any(e.state in OPEN for e in c.experiments()):
            return go()
        reason = stopping.finished(
            c.spec,
            c.problem,
            references.without(c.experiments(), c.observations()),
            spent=c.spent(),
            seconds=c.running_seconds(),
            is_settled=self.inquiry.is_settled(),
        )
        return self._end("succeeded", reason) if reason else go()

    def _end(self, outcome: str, reason: str) -> State:
        self.inquiry.close(reason)
        self.context.finish(outcome, reason)
        return {"route": "stop"}
