"""What a campaign's process has read of its ledger, kept up to date by reading only what is new.

Ended experiments and observations never change, so they are read once; a campaign of a thousand experiments then costs
as much per step as one of ten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from athanor.memory.records import Experiment, Observation

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger

LIVING = frozenset({"proposed", "approved", "dispatched", "running", "in_doubt"})
"""States an experiment can still leave."""


class Book:
    """The experiments and observations of one campaign."""

    def __init__(self, ledger: Ledger, campaign_id: str) -> None:
        self._ledger, self._campaign = ledger, campaign_id
        self._experiments: dict[str, Experiment] = {}
        self._living: set[str] = set()
        self._observations: list[Observation] = []

    def experiments(self) -> list[Experiment]:
        """All experiments by ordinal, as they are now."""
        if not self._experiments:
            found = self._ledger.experiments(self._campaign)
        else:
            found = self._ledger.experiments(self._campaign, states=LIVING)
            still = {e.id for e in found}
            gone = self._living - still
            known = len(self._experiments)
            made = range(known + 1, self._ledger.next_ordinal(self._campaign))
            gone |= {f"{self._campaign}.{ordinal}" for ordinal in made} - still
            found += [self._ledger.experiment(identifier) for identifier in gone]
        for experiment in sorted(found, key=lambda e: e.ordinal):
            self._experiments[experiment.id] = experiment
        self._living = {e.id for e in found if e.state in LIVING}
        return list(self._experiments.values())

    def observations(self) -> list[Observation]:
        """The newest revision of each observation, in the order of their first."""
        self._observations += self._ledger.observations(self._campaign, skip=len(self._observations))
        newest: dict[str, Observation] = {}
        for observation in self._observations:
            newest[observation.experiment_id or observation.id] = observation
        return list(newest.values())
