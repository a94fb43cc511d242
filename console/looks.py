"""Looking at campaigns again and again: of each, what is new is read, and not all of it each time.

What `overview.look` reads anew is kept in mind here, and brought up to date by what the campaign's chain of the
journal says has happened since. All of it comes from the ledger, and may be forgotten at any time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from athanor.console import overview
from athanor.console.commands.refused import Refused
from athanor.memory.canonical import parse
from athanor.memory.journal import chain_of

if TYPE_CHECKING:
    from athanor.console.overview import Overview
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign

MOST = 40_000
"""Experiments that are kept in mind, of all campaigns together; some kilobytes each."""
TOLD = 200
"""Lines of what happened."""


class Looks:
    """Looks at the campaigns of a ledger. May be used by several threads."""

    def __init__(self, ledger: Ledger, most: int = MOST) -> None:
        self._ledger = ledger
        self._most = most
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def at(self, campaign_id: str) -> Overview:
        """How a campaign stands, as `overview.look` says it, with the end of its story.

        Raises `NotFound`, and `Refused` where its problem cannot be read.
        """
        with self._guard:
            kept = self._kept.get(campaign_id)
        if kept is None:
            campaign = self._ledger.campaign(campaign_id)
            with self._guard:
                kept = self._kept.setdefault(campaign_id, _Kept(campaign))
        view = kept.read(self._ledger)
        with self._guard:
            if campaign_id in self._kept:
                self._kept.move_to_end(campaign_id)
            while len(self._kept) > 1 and sum(one.size for one in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        # What others take from the same stock is in no chain of this campaign.
        return replace(view, stocks=overview.stocks(self._ledger, view.campaign)) if view.stocks else view


class _Kept:
    """What is kept in mind of one campaign."""

    def __init__(self, campaign: Campaign) -> None:
        from athanor.planners.problem import Problem

        try:
            problem = Problem.model_validate(campaign.problem)
        except ValueError as error:
            raise Refused(f"the problem of {campaign.id} is not one that this release can read: {error}") from error
        self._guard = threading.Lock()
        self._id = campaign.id
        self._experiments: dict[str, Any] = {}
        self._found = overview.Found(problem)
        self._position = 0
        self._view: Overview | None = None
        self.size = 0

    def read(self, ledger: Ledger) -> Overview:
        # One at a time: of fifty who ask at once, one reads.
        with self._guard:
            if self._view is None:
                # What is written meanwhile is read now or by the next look, never missed.
                reached = ledger.changes()
                self._experiments = {item.id: item for item in ledger.experiments(self._id)}
            elif rows := ledger.journal(chain_of(self._id), self._position):
                changed = {_experiment_in(row.kind, parse(row.body)) for row in rows} - {None}
                for item in ledger.these_experiments([one for one in changed if one is not None]):
                    self._experiments[item.id] = item
                reached = rows[-1].position
            else:
                return self._view
            known = self._found.observations
            self._found.add(ledger.observations(self._id, since=known[-1].id if known else None))
            events = ledger.events(self._id, limit=TOLD, newest_first=True)[::-1]
            events = [*ledger.events(self._id, kinds=["best"], limit=1, newest_first=True), *events]
            experiments = sorted(self._experiments.values(), key=lambda item: item.ordinal)
            self.size = len(experiments)
            self._view = overview.view_of(ledger, ledger.campaign(self._id), experiments, self._found, events, TOLD)
            self._position = reached  # not before: what failed on the way is read again
            return self._view


def _experiment_in(kind: str, body: Mapping[str, Any]) -> str | None:
    """The experiment that a row of the journal is about, where it changes one."""
    if kind == "experiment":
        return str(body["id"])
    return str(body["experiment"]) if kind == "experiment_state" else None
