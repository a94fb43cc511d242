"""Where campaigns stand, at a glance: what a page of the console shows, without reading a whole campaign each time.

What `overview.look` reads anew, this reads once and then only what came since: observations are never removed, and the
chain of a campaign says whether anything happened at all. All of it comes from the ledger, and may be forgotten.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from athanor.console import overview
from athanor.console.overview import Best

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign, Observation
    from athanor.planners.problem import Problem

MOST = 64
"""Campaigns that are kept in mind."""
RECENT = 4
LOOK_BACK = 50
UNDERWAY = ("approved", "dispatched", "running")


@dataclass(frozen=True)
class Glance:
    """A campaign at one moment; the words mean what they mean in `overview.Overview`."""

    campaign: Campaign
    budget: int
    used: int
    counts: Mapping[str, int]
    waiting: Sequence[str]
    underway: Sequence[str]
    best: Sequence[Best]
    trace: Sequence[float]
    recent: Sequence[str]

    @property
    def elapsed_s(self) -> float:
        """Seconds since the campaign was made, until it ended."""
        return ((self.campaign.finished_at or datetime.now(UTC)) - self.campaign.created_at).total_seconds()


class Glances:
    """Glances at the campaigns of a ledger. May be used by several threads."""

    def __init__(self, ledger: Ledger, most: int = MOST) -> None:
        self._ledger = ledger
        self._most = most
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def at(self, campaign_id: str) -> Glance:
        """Where a campaign stands. Raises `NotFound`."""
        campaign = self._ledger.campaign(campaign_id)
        with self._guard:
            kept = self._kept.setdefault(campaign.id, _Kept(campaign))
            self._kept.move_to_end(campaign.id)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return kept.read(self._ledger)


class _Kept:
    """What is kept in mind of one campaign."""

    def __init__(self, campaign: Campaign) -> None:
        from athanor.planners.problem import Problem

        self._guard = threading.Lock()
        self._id = campaign.id
        self._problem = Problem.model_validate(campaign.problem)
        self._seen = -1
        self._glance: Glance | None = None
        self._found = Found(self._problem)

    def read(self, ledger: Ledger) -> Glance:
        # One at a time: fifty who ask at once get what one of them reads.
        with self._guard:
            newest = ledger.changes(self._id)
            if self._glance is None or newest != self._seen:
                # What is written meanwhile is read now or at the next change, never missed.
                self._glance, self._seen = self._read(ledger), newest
            return self._glance

    def _read(self, ledger: Ledger) -> Glance:
        campaign = ledger.campaign(self._id)
        self._found.add(ledger.observations(self._id, skip=self._found.count))
        if self._found.is_revised:
            self._found = Found(self._problem)
            self._found.add(ledger.observations(self._id), is_whole=True)
        counts = ledger.experiment_counts(self._id)
        standing = ledger.experiments(self._id, [*overview.WAITING_FOR_PERSON, *UNDERWAY])
        noted = ledger.events(self._id, kinds=["best"], limit=1, newest_first=True)
        happened = overview.happenings(
            self._problem,
            self._found.last,
            ledger.hypotheses(self._id),
            ledger.registrations(self._id),
            ledger.evidence(campaign=self._id),
            ledger.events(self._id, limit=LOOK_BACK, newest_first=True)[::-1],
        )
        return Glance(
            campaign=campaign,
            budget=int(campaign.spec.get("budget", {}).get("experiments", 0)),
            used=sum(counts.get(state, 0) for state in overview.SPENT),
            counts=counts,
            waiting=[item.id for item in standing if item.state in overview.WAITING_FOR_PERSON],
            underway=[item.id for item in standing if item.state in UNDERWAY],
            best=overview.noted_best(noted, self._found.count) or self._found.best(),
            trace=list(self._found.trace),
            recent=[text for _, text in happened[-RECENT:]],
        )


class Found:
    """What was measured, taken in as it comes: the best so far, and how it came to be.

    Attributes:
        count: observations taken in, every revision of them.
        trace: as in `overview.Overview`.
        last: the last observations.
        is_revised: whether one of them was reduced anew: then this is void, and all are to be taken in again.
    """

    def __init__(self, problem: Problem) -> None:
        from athanor.console.merit import Merit

        self._problem = problem
        self._merit = Merit(problem)
        self._known: set[str] = set()
        self._best: list[tuple[list[float], Best]] = []
        self.count = 0
        self.trace: list[float] = []
        self.last: list[Observation] = []
        self.is_revised = False

    def add(self, observations: Sequence[Observation], *, is_whole: bool = False) -> None:
        """Take in what came since. `is_whole`: this is everything, revisions and all."""
        keys = [item.experiment_id or item.id for item in observations]
        if not is_whole and (len(set(keys)) < len(keys) or not self._known.isdisjoint(keys)):
            self.is_revised = True
            return
        self.count += len(observations)
        self._known.update(keys)
        for item in overview.latest(observations) if is_whole else observations:
            self._take(item)

    def best(self) -> list[Best]:
        """As `overview.best`."""
        return [found for _, found in sorted(self._best, key=lambda pair: -pair[0][0])]

    def _take(self, item: Observation) -> None:
        outcomes = overview.outcomes_of(item) if overview.is_measured(item) else {}
        means = {name: mean for name, (mean, _) in outcomes.items()}
        value = self._merit.add(means)
        if value is not None:
            self.trace.append(value)
        self.last = [*self.last[1 - LOOK_BACK :], item]
        scored = overview.scores(self._problem, means)
        if scored is None or any(overview.covers(known, scored) for known, _ in self._best):
            return
        kept = [pair for pair in self._best if not overview.covers(scored, pair[0])]
        self._best = [*kept, (scored, Best(item.experiment_id, item.values, outcomes))]
