"""Decisions on experiments, requests to campaigns, and the latch of Stop All."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from athanor.console.commands.refused import Refused

if TYPE_CHECKING:
    from athanor.governance.gate import Gate
    from athanor.instruments.latch import LatchState
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.records import Campaign, Decision, Experiment, Request, Value

OVER = ("succeeded", "failed", "cancelled")


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
        count = self.unlatched_count(self.ledger.campaign(experiment.campaign_id))
        return self._gate().approve(experiment_id, revision, count, ttl)

    def reject(self, experiment_id: str, revision: str, reason: str) -> Decision:
        """Reject the revision that was seen. Raises what the gate raises."""
        return self._gate().reject(experiment_id, revision, reason)

    def edit(
        self, experiment_id: str, revision: str, values: Mapping[str, Value], reason: str, *, approve: bool = False
    ) -> Experiment:
        """Put an experiment with other values in its place, approved at once if wanted.

        Raises:
            Refused: Stop All is latched.
            LimitViolation: the instrument may not go there.
            GateError, StaleRevision: what the gate raises.
        """
        from athanor.agents.campaign import check_instrument

        experiment = self.ledger.experiment(experiment_id)
        campaign = self.ledger.campaign(experiment.campaign_id)
        check_instrument(self.ledger, campaign.id, {**experiment.values, **values})
        count = self.unlatched_count(campaign)
        gate = self._gate()
        changed = gate.edit(experiment_id, revision, values, reason, count)
        if approve:
            gate.approve(changed.id, changed.revision, count)
        return changed

    def propose(self, campaign: Campaign, values: Mapping[str, Value], *, approve: bool = False) -> Experiment:
        """Put an experiment of one's own up for decision, approved at once if wanted.

        Raises:
            Refused: the campaign is over, a parameter has no value, or Stop All is latched and it was to be approved.
            LimitViolation, InvalidPoint: it cannot be run.
        """
        from athanor.agents.campaign import propose_experiment

        if campaign.state in OVER:
            raise Refused(f"{campaign.id} is over ({campaign.state})", "Start another campaign with `athanor run`.")
        names = [item["name"] for item in campaign.problem["parameters"]]
        if missing := [name for name in names if name not in values]:
            raise Refused(f"No value for {', '.join(missing)}", "Give every parameter a value: NAME=VALUE.")
        count = self.unlatched_count(campaign) if approve else 0
        experiment = propose_experiment(self.ledger, campaign.id, values, by=self.person)
        if approve:
            self._gate().approve(experiment.id, experiment.revision, count)
        return experiment

    def _gate(self) -> Gate:
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

    def reset_stop(self, place: InstrumentPlace, reason: str, seen: int | None = None) -> LatchState:
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
        if seen is not None and now.count != seen:
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
