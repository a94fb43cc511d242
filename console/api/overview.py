"""The whole site at one look: campaigns, what waits for a person, instruments. And the pictures of a campaign."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from datetime import datetime
from typing import TYPE_CHECKING

from fastapi import Request, Response
from pydantic import BaseModel

from athanor.console import overview, wording
from athanor.console.api.campaigns import CampaignLine
from athanor.console.api.door import Door, desk_of
from athanor.console.api.site import InstrumentOut, shown
from athanor.memory.errors import LedgerBusy

if TYPE_CHECKING:
    from athanor.console.api.desk import Desk
    from athanor.memory.records import Campaign

door = Door("site")
log = logging.getLogger(__name__)

FRESH_S = 1.0
"""So long the overview is shared between those who look; some of it, such as latches, is not in the ledger."""
OVER_FRESH_S = 60.0
"""So long what is said of a campaign that is over, but for changes in its chain of the ledger."""
OVER_SHOWN = 12
"""So many campaigns that are over stand in the overview, the newest."""


class CampaignSummary(CampaignLine):
    """A campaign in the overview. `trace`: the merit after each measurement, larger is better, the last hundred.

    `trouble` says why the rest could not be read, which then says nothing.
    """

    budget: int
    used: int
    failures: int
    best: str
    trace: list[float]
    waiting: int
    underway: list[str]
    halted: str | None
    is_driven: bool
    elapsed_s: float
    step: str | None
    low: list[str]
    trouble: str | None = None


class WaitingOut(BaseModel):
    """Something that waits for a person: a decision, an outcome in doubt, or a question at the bench."""

    what: str
    campaign_id: str
    campaign: str
    instrument: str
    simulated: bool
    experiment_id: str | None
    revision: str | None
    settings: str
    why: str
    since: datetime | None


class OverviewOut(BaseModel):
    """The site at one moment. `more_over`: how many campaigns that are over are not among `campaigns`."""

    campaigns: list[CampaignSummary]
    more_over: int
    waiting: list[WaitingOut]
    instruments: list[InstrumentOut]


@door.on("GET", "/overview", "read")
async def site_overview(request: Request) -> OverviewOut:
    """The site at one look."""
    desk = desk_of(request)

    def make(position: int) -> Awaitable[bytes]:
        return desk.shared.wait("overview", position, FRESH_S, lambda: _overview(desk).model_dump_json().encode())

    # Many pages ask for this at once: the text is what is shared.
    text = await desk.watch.answer("overview", None, make)
    return Response(text, media_type="application/json")  # type: ignore[return-value]


def _overview(desk: Desk) -> OverviewOut:
    reached = desk.watch.reached  # what is learned while it is made is not in it
    with desk.ledger.one_moment():
        return _look(desk, reached)


def _look(desk: Desk, reached: int) -> OverviewOut:
    known: list[Campaign] = desk.summaries.get(
        (), min(reached, desk.watch.campaigns()), OVER_FRESH_S, lambda: desk.ledger.campaigns()[::-1]
    )
    over = [one for one in known if one.state in ("succeeded", "failed", "cancelled")]
    hidden = {one.id for one in over[OVER_SHOWN:]}
    found = [_line(desk, one, reached) for one in known if one.id not in hidden]
    return OverviewOut(
        campaigns=[summary for summary, _ in found],
        more_over=len(hidden),
        waiting=[one for _, waiting in found for one in waiting],
        instruments=[shown(desk, place) for place in desk.places()],
    )


def _line(desk: Desk, campaign: Campaign, reached: int) -> tuple[CampaignSummary, list[WaitingOut]]:
    """What the overview says of one campaign: of many, one has changed since the last look."""
    from athanor.console.cli import context

    line: tuple[CampaignSummary, list[WaitingOut]] = desk.summaries.get(
        campaign.id,
        min(reached, desk.watch.of(campaign.id)),
        lambda made: FRESH_S if made[0].finished_at is None or made[0].trouble else OVER_FRESH_S,
        lambda: _summary(desk, campaign),
    )
    summary, waiting = line
    halt = context.halt(campaign, desk.ledger)  # in no journal
    return summary.model_copy(update={"halted": None if halt is None else halt.text}), waiting


def _summary(desk: Desk, campaign: Campaign) -> tuple[CampaignSummary, list[WaitingOut]]:
    try:
        return _read(desk, campaign)
    except LedgerBusy:
        raise
    except Exception as error:  # one campaign that cannot be read does not hide the others
        log.exception("campaign %s could not be read", campaign.id)
        nothing = CampaignSummary(
            **CampaignLine.of(campaign).model_dump(),
            budget=0,
            used=0,
            failures=0,
            best=wording.MISSING,
            trace=[],
            waiting=0,
            underway=[],
            halted=None,
            is_driven=False,
            elapsed_s=0.0,
            step=None,
            low=[],
            trouble=f"this campaign could not be read: {type(error).__name__}; the console's log says more",
        )
        return nothing, []


def _read(desk: Desk, campaign: Campaign) -> tuple[CampaignSummary, list[WaitingOut]]:
    from athanor.console.cli import asking
    from athanor.console.commands.decisions import is_driven

    view = desk.looks.at(campaign.id)
    line = CampaignLine.of(campaign).model_dump()
    about = {name: line[name] for name in ("instrument", "simulated")}
    about |= {"campaign_id": campaign.id, "campaign": campaign.name}
    waiting = [
        WaitingOut(
            what="decision" if item.state == "proposed" else "in_doubt",
            experiment_id=item.id,
            revision=item.revision,
            settings=wording.settings(item.values, view.problem),
            why=overview.why(item),
            since=item.created_at,
            **about,
        )
        for item in view.waiting
        if not view.is_finished or item.state == "in_doubt"
    ]
    if not view.is_finished and (sheet := asking.waiting(desk.ledger, campaign)) is not None:
        waiting.append(
            WaitingOut(
                what="bench",
                experiment_id=sheet.run.experiment,
                revision=None,
                settings=asking.line(sheet),
                why=sheet.why or "",
                since=min(one.since for one in sheet.questions),
                **about,
            )
        )
    summary = CampaignSummary(
        **line,
        budget=view.budget,
        used=view.used,
        failures=view.failures,
        best=overview.best_text(view),
        trace=list(view.trace[-100:]),
        waiting=len(waiting),
        underway=[item.id for item in view.underway],
        halted=None,
        is_driven=is_driven(desk.ledger, campaign.id),
        elapsed_s=view.elapsed_s,
        step=view.recent[-1] if view.recent else None,
        low=view.low,
    )
    return summary, waiting
