"""Decisions on experiments, requests to campaigns, and the latch of Stop All."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from athanor.console.commands.refused import Refused
from athanor.memory.canonical import time_text
from athanor.memory.errors import LedgerError, StaleRevision
from athanor.memory.records import storable
from athanor.memory.remarks import DEFERRED, KINDS, REMARK, RESUMED, deferrals

if TYPE_CHECKING:
    from athanor.governance.gate import Gate
    from athanor.instruments.latch import LatchState
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.records import Campaign, Decision, Event, Experiment, Request, Value

log = logging.getLogger(__name__)

OVER = ("succeeded", "failed", "cancelled")
LONGEST_DEFERRAL = timedelta(days=31)


class Commands:
    """Commands of one person.

    Args:
        ledger: what they are about.
        person: whose name they carry.
    """

    def __init__(self, ledger: Ledger, person: str) -> None:
        self.ledger = ledger
        self.person = person

    # -- decisions -----------------------------------------------------------------------------------------------------

    def approve(self, experiment_id: str, revision: str, ttl: timedelta) -> Decision:
        """Approve the revision that was seen. Raises `Refused`, and what the gate raises."""
        experiment = self.ledger.experiment(experiment_id)
        with self._telling("approve", experiment.campaign_id, experiment_id):
            count = self.unlatched_count(self.ledger.campaign(experiment.campaign_id))
            return self.gate().approve(experiment_id, revision, count, ttl)

    def approve_batch(
        self,
        campaign_id: str,
        revisions: Mapping[str, str],
        envelope: Mapping[str, Any],
        max_experiments: int,
        ttl: timedelta,
        reason: str = "",
    ) -> list[Decision]:
        """Approve several revisions that were seen, if all lie inside the envelope: all of them or none.

        Raises:
            Refused: Stop All is latched.
            BatchRefused, GateError: what the gate raises.
        """
        with self._telling("approve together", campaign_id, *revisions):
            count = self.unlatched_count(self.ledger.campaign(campaign_id))
            return self.gate().approve_batch(campaign_id, revisions, count, envelope, max_experiments, ttl, reason)

    def refusals(
        self, campaign_id: str, revisions: Mapping[str, str], envelope: Mapping[str, Any], max_experiments: int
    ) -> dict[str, str]:
        """Say which of these `approve_batch` would refuse, by experiment, and why; nothing is approved."""
        return self.gate().refusals(self.ledger.campaign(campaign_id).id, revisions, envelope, max_experiments)

    def reject(self, experiment_id: str, revision: str, reason: str) -> Decision:
        """Reject the revision that was seen. Raises what the gate raises."""
        with self._telling("reject", self.ledger.experiment(experiment_id).campaign_id, experiment_id):
            return self.gate().reject(experiment_id, revision, reason)

    def edit(
        self, experiment_id: str, revision: str, values: Mapping[str, Value], reason: str, *, approve: bool = False
    ) -> Experiment:
        """Put an experiment with other values in its place, approved at once if wanted.

        Raises:
            Refused: Stop All is latched, or it was to be approved where the campaign asks for somebody else.
            LimitViolation: the instrument may not go there.
            ConstraintViolated: an input constraint of the campaign's problem forbids it.
            GateError, StaleRevision: what the gate raises.
        """
        from athanor.agents.campaign import check_instrument

        experiment = self.ledger.experiment(experiment_id)
        campaign = self.ledger.campaign(experiment.campaign_id)
        with self._telling("edit", campaign.id, experiment_id):
            self._check_alone(campaign, approve)
            check_instrument(self.ledger, campaign.id, {**experiment.values, **values})
            count = self.unlatched_count(campaign)
            gate = self.gate()
            changed = gate.edit(experiment_id, revision, values, reason, count)
            if approve:
                gate.approve(changed.id, changed.revision, count)
        return changed

    def propose(self, campaign: Campaign, values: Mapping[str, Value], *, approve: bool = False) -> Experiment:
        """Put an experiment of one's own up for decision, approved at once if wanted.

        Raises:
            Refused: the campaign is over, a parameter has no value, or it was to be approved and Stop All is latched,
                or the campaign asks for somebody else.
            LimitViolation, InvalidPoint: it cannot be run.
        """
        from athanor.agents.campaign import propose_experiment

        with self._telling("propose", campaign.id):
            if campaign.state in OVER:
                raise Refused(f"{campaign.id} is over ({campaign.state})", "Start another campaign with `athanor run`.")
            names = [item["name"] for item in campaign.problem["parameters"]]
            if missing := [name for name in names if name not in values]:
                raise Refused(f"No value for {', '.join(missing)}", "Give every parameter a value: NAME=VALUE.")
            self._check_alone(campaign, approve)
            count = self.unlatched_count(campaign) if approve else 0
            experiment = propose_experiment(self.ledger, campaign.id, values, by=self.person)
            if approve:
                self.gate().approve(experiment.id, experiment.revision, count)
        return experiment

    @staticmethod
    def _check_alone(campaign: Campaign, approve: bool) -> None:
        """Before anything is made: what one person makes here they may not approve themselves."""
        from athanor.governance.gate import asks_for_two

        if approve and asks_for_two(campaign):
            raise Refused(
                f"{campaign.id} asks that nobody approves what they proposed or edited",
                "Put it up without approving it; a colleague approves it.",
            )

    # -- saying something about them -----------------------------------------------------------------------------------

    def respond(self, experiment_id: str, revision: str, text: str) -> Event:
        """Tell whoever proposed an experiment something; a reasoner is shown it with the experiment.

        Raises:
            StaleRevision: another revision was looked at.
        """
        experiment = self._seen(experiment_id, revision)
        body = {"experiment": experiment.id, "revision": experiment.revision, "by": self.person, "text": storable(text)}
        return self.ledger.add_event(experiment.campaign_id, REMARK, body)

    def defer(self, experiment_id: str, revision: str, until: datetime, reason: str) -> Event:
        """Put a decision off: until then it is not among what waits. The campaign waits for it all the same.

        Raises:
            Refused: it is decided, or the time is past or more than a month away.
            StaleRevision: another revision was looked at.
        """
        experiment = self._seen(experiment_id, revision)
        with self._telling("defer", experiment.campaign_id, experiment_id):
            if experiment.state != "proposed":
                raise Refused(f"{experiment_id} does not wait for a decision: it is {experiment.state}")
            now = self.ledger.now()
            if not now < until <= now + LONGEST_DEFERRAL:
                raise Refused(
                    f"{until.isoformat(timespec='minutes')} is no time to put it off until",
                    f"Give a time within the next {LONGEST_DEFERRAL.days} days.",
                )
            body = {
                "experiment": experiment.id,
                "revision": experiment.revision,
                "by": self.person,
                "reason": storable(reason),
                "until": time_text(until),
            }
            return self.ledger.add_event(experiment.campaign_id, DEFERRED, body)

    def end_deferral(self, experiment_id: str) -> None:
        """Have a decision wait again that was put off. Raises `Refused` when it was not."""
        experiment = self.ledger.experiment(experiment_id)
        if experiment_id not in deferrals(self.ledger.events(experiment.campaign_id, kinds=KINDS), self.ledger.now()):
            raise Refused(f"{experiment_id} is not put off")
        self.ledger.add_event(experiment.campaign_id, RESUMED, {"experiment": experiment_id, "by": self.person})

    def _seen(self, experiment_id: str, revision: str) -> Experiment:
        experiment = self.ledger.experiment(experiment_id)
        if not experiment.revision.startswith(revision.strip().lower()):
            raise StaleRevision(experiment_id, revision, experiment.revision, "that is not its revision")
        return experiment

    @contextmanager
    def _telling(self, verb: str, campaign_id: str, *experiments: str) -> Iterator[None]:
        """Have it in the journal when a person was refused something: what, and why."""
        from athanor.governance.gate import GateError
        from athanor.instruments.bounds import LimitViolation
        from athanor.planners.problem import InvalidPoint

        try:
            yield
        except (Refused, GateError, LimitViolation, InvalidPoint, LedgerError) as error:
            body = {"verb": verb, "experiments": list(experiments)[:100], "by": self.person, "why": str(error)[:2000]}
            try:
                self.ledger.add_event(campaign_id, "decision_refused", body)
            except LedgerError as unwritten:  # who asked is told why it was refused all the same
                log.warning("a refusal could not be written down: %s: %s", unwritten, body)
            raise

    def gate(self) -> Gate:
        """The gate, which signs in this person's name."""
        from athanor.governance.gate import Gate
        from athanor.memory import places
        from athanor.memory.signing import GateKey

        return Gate(self.ledger, GateKey.load_or_create(places.keys_dir()), self.person)

    # -- campaigns -----------------------------------------------------------------------------------------------------

    def request(self, campaign: Campaign, verb: Request) -> bool:
        """Ask the process that drives a campaign for something; False when none does, and so nothing new starts.

        Raises:
            Refused: it is over.
        """
        if campaign.state in OVER:
            raise Refused(f"{campaign.id} is over already ({campaign.state})")
        if not is_driven(self.ledger, campaign.id):
            return False
        self.ledger.request(campaign.id, verb, self.person)
        return True

    # -- Stop All ------------------------------------------------------------------------------------------------------

    def unlatched_count(self, campaign: Campaign) -> int:
        """Return the latch count that a new approval is bound to. Raises `Refused` while Stop All is latched."""
        from athanor.agents.campaign import instrument_place
        from athanor.console.cli.context import command
        from athanor.instruments.latch import Latch

        state = Latch(instrument_place(campaign, self.ledger)).read()
        if state.engaged:
            raise Refused(
                f"Stop All is latched on {campaign.instrument}: {state.reason or 'no reason given'}",
                f"When it is safe: {command('reset-stop', '--instrument', campaign.instrument, '--reason', 'why')}",
            )
        return int(state.count)

    def reset_stop(self, place: InstrumentPlace, reason: str, seen: int) -> LatchState:
        """Release the latch of Stop All. `seen` is the count of the latch that the person looked at.

        Raises:
            Refused: it is not engaged, or somebody has stopped again since.
            LatchError: it cannot be written.
        """
        from athanor.instruments.latch import Latch

        latch = Latch(place)
        now = latch.read()
        if not now.engaged:
            since = f" any more: {now.by} reset it ({now.reason})" if now.by and now.reason else ""
            raise Refused(f"{place.name} is not latched{since}", "Nothing to reset.")
        if now.count != seen:
            said = f"{now.by or 'somebody'} has stopped {place.name} again since you looked: {now.reason}"
            raise Refused(said, "Look again, then reset it if it is safe.")
        latch.reset(reason, self.person)
        return latch.read()


def is_driven(ledger: Ledger, campaign_id: str) -> bool:
    """Whether a process drives this campaign now."""
    from datetime import UTC, datetime

    from athanor.agents.holders import is_gone

    lease = ledger.lease(f"campaign:{campaign_id}")
    return lease is not None and lease.expires_at > datetime.now(UTC) and not is_gone(lease.holder)
