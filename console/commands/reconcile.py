"""After a crash: what the instruments say of it, what is known of each doubt, and a person's signed answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from athanor.console.commands.refused import Refused

if TYPE_CHECKING:
    from athanor.agents.doubt import Answer, Doubt
    from athanor.instruments.quarantine import SetAside
    from athanor.instruments.reconcile import Found
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign, Decision, Experiment, Outcome


@dataclass
class Swept:
    """What the look at the instruments gave: what was found, what is set aside, which instruments did not answer."""

    found: list[Found] = field(default_factory=list)
    set_aside: dict[str, list[SetAside]] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "found": [asdict(item) for item in self.found],
            "set_aside": {name: [asdict(item) for item in items] for name, items in self.set_aside.items()},
            "troubles": self.troubles,
        }


def sweep(ledger: Ledger, campaigns: Sequence[Campaign]) -> Swept:
    """Take in what can be known without a person, on every instrument of these campaigns. Nothing is moved."""
    from athanor.agents.doubt import places_of
    from athanor.instruments.quarantine import aside
    from athanor.instruments.reconcile import reconcile as look
    from athanor.instruments.wire import WorkerLost

    swept = Swept()
    for place in places_of(ledger, campaigns).values():
        if not place.directory.is_dir():
            continue  # nothing has ever been run on it
        try:
            swept.found += look(ledger, place, retry=True)
        except WorkerLost as error:
            swept.troubles[place.name] = f"{error}. End it with `athanor stop-all --instrument {place.name}`"
        if items := aside(place):
            swept.set_aside[str(place.directory)] = items
    return swept


def connect(ledger: Ledger, experiments: Sequence[Experiment]) -> dict[str, str]:
    """Let the instruments of these experiments be connected, so that they can say where they stand; what failed."""
    from athanor.agents import doubt

    troubles = {}
    for campaign in {item.campaign_id: ledger.campaign(item.campaign_id) for item in experiments}.values():
        if (trouble := doubt.connect(ledger, campaign)) is not None:
            troubles[campaign.instrument] = trouble
    return troubles


def examine(ledger: Ledger, experiment: Experiment) -> Doubt:
    """What is known of an experiment in doubt. Raises `Refused` when it is in doubt no more, with who settled it."""
    from athanor.agents import doubt

    if experiment.state != "in_doubt":
        raise Refused(f"{experiment.id} is not in doubt: {_settled(ledger, experiment)}", "There is nothing to settle.")
    return doubt.examine(ledger, experiment)


class ReconcileCommands:
    """What one person says about experiments in doubt.

    Args:
        ledger: what they are about.
        person: whose name they carry.
    """

    def __init__(self, ledger: Ledger, person: str) -> None:
        self.ledger = ledger
        self.person = person

    def settle(
        self, experiment: Experiment, answer: Answer, reason: str, outcomes: Mapping[str, Outcome] | None = None
    ) -> Decision:
        """Sign what became of an experiment in doubt. As `completed` without outcomes, its documents must give them.

        Raises:
            Refused: somebody has settled it before.
            NoOutcomes, NoProfile, ReductionFailed, GateError: as `athanor.agents.doubt.settle` says.
        """
        from athanor.agents import doubt
        from athanor.governance.gate import Gate
        from athanor.memory import places
        from athanor.memory.errors import IllegalTransition, StaleRevision
        from athanor.memory.signing import GateKey

        gate = Gate(self.ledger, GateKey.load_or_create(places.keys_dir()), self.person)
        try:
            return doubt.settle(self.ledger, gate, experiment, answer, reason, outcomes)
        except (StaleRevision, IllegalTransition) as error:
            now = self.ledger.experiment(experiment.id)
            if now.state == "in_doubt":
                raise
            said = f"{experiment.id} is not in doubt any more: {_settled(self.ledger, now)}"
            raise Refused(said, "Nothing was changed by your answer.") from error

    def put_up_again(self, experiment: Experiment) -> Experiment:
        """Put the same settings up for decision again, as a new experiment. Raises what `propose_experiment` raises."""
        from athanor.agents.campaign import propose_experiment

        return propose_experiment(self.ledger, experiment.campaign_id, experiment.values, by=self.person)


def _settled(ledger: Ledger, experiment: Experiment) -> str:
    """Who settled it how, or what its state is."""
    mine = [item for item in ledger.decisions(experiment.campaign_id) if item.experiment_id == experiment.id]
    settled = [item for item in mine if item.kind == "settle"]
    if not settled:
        return f"it is {experiment.state.replace('_', ' ')}"
    last = settled[-1]
    state = experiment.state.replace("_", " ")
    return f"{last.decided_by} settled it as {state} at {last.created_at:%Y-%m-%d %H:%M:%S} UTC ({last.reason})"
