"""One campaign at one look: where it stands and why, its hypotheses, and its pictures."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from pydantic import BaseModel

from athanor.console import overview, wording
from athanor.console.api.campaigns import CampaignOut, ExperimentOut, campaign_out
from athanor.console.api.door import Door, desk_of
from athanor.console.api.overview import FRESH_S, OVER_FRESH_S
from athanor.console.api.problems import Denied
from athanor.console.report.data import HypothesisCard

if TYPE_CHECKING:
    from athanor.console.api.desk import Desk
    from athanor.memory.records import Campaign

door = Door("campaigns")
log = logging.getLogger(__name__)

RECENT = 60
REPORT_S = 120.0
WRITING = threading.Lock()


class ParameterOut(BaseModel):
    """A parameter as its campaign has it: numbers from `low` to `high`, or one of `levels`."""

    name: str
    unit: str | None
    low: float | None
    high: float | None
    levels: list[float | int | str] | None
    is_integer: bool


class ObjectiveOut(BaseModel):
    """What is wanted: `goal` is maximize or minimize; else a `target`."""

    name: str
    unit: str | None
    goal: str | None
    target: float | None


class HypothesisBoard(HypothesisCard):
    """A hypothesis with the picture of its evidence."""

    picture: str | None


class RowOut(ExperimentOut):
    """An experiment with what was measured: mean and standard error."""

    observed: dict[str, tuple[float, float | None]]
    said: str


class LogLine(BaseModel):
    """Something that happened."""

    at: datetime
    text: str


class BoardOut(CampaignOut):
    """A campaign in full. Pictures are SVG, or empty where nothing was measured; `now` says what the loop does."""

    now: str
    halted: str | None
    is_driven: bool
    failures: int
    best_text: str
    parameters: list[ParameterOut]
    objectives: list[ObjectiveOut]
    outcomes: dict[str, str | None]
    constraints: list[str]
    cards: list[HypothesisBoard]
    progress: str
    front: str
    space: list[str]
    rows: list[RowOut]
    more_rows: int
    log: list[LogLine]
    by_hand: int
    references: list[str]
    low: list[str]
    tokens: int
    cost: float | None


@door.on("GET", "/campaigns/{campaign_id}/board", "read")
async def board(campaign_id: str, request: Request) -> BoardOut:
    """A campaign with all that its page shows."""
    desk = desk_of(request)

    def make(_position: int) -> Awaitable[tuple[bytes, bool]]:
        return desk.shared.wait(
            ("board", campaign_id),
            desk.watch.of(campaign_id),
            lambda made: OVER_FRESH_S if made[1] else FRESH_S,
            lambda: _text(desk, campaign_id),
        )

    # Many pages ask for this at once: the text is what is shared.
    text, _ = await desk.watch.answer(("board", campaign_id), campaign_id, make)
    return Response(text, media_type="application/json")  # type: ignore[return-value]


def _text(desk: Desk, campaign_id: str) -> tuple[bytes, bool]:
    """The board as it is sent, and whether the campaign is over."""
    with desk.ledger.one_moment():
        campaign = desk.ledger.campaign(campaign_id)
        return _board(desk, campaign).model_dump_json().encode(), campaign.finished_at is not None


def _board(desk: Desk, campaign: Campaign) -> BoardOut:
    from athanor.console.cli import context
    from athanor.console.commands.decisions import is_driven
    from athanor.console.report import charts, present
    from athanor.console.report.build import hypothesis_cards

    view = desk.looks.at(campaign.id)
    drawn = desk.shared.get(
        ("pictures", campaign.id),
        view.redrawn_at,
        1e9,
        lambda: (
            str(present.progress(view)),
            str(present.front(view)),
            [str(panel) for panel in present.space(view, view.problem.objectives[0].name)],
        ),
    )
    halt = context.halt(campaign, desk.ledger)
    driven = is_driven(desk.ledger, campaign.id)
    newest = list(view.experiments[: -RECENT - 1 : -1])
    return BoardOut(
        **campaign_out(view).model_dump(),
        now=now(view, halted=halt is not None, is_driven=driven),
        halted=None if halt is None else halt.text,
        is_driven=driven,
        failures=view.failures,
        best_text=overview.best_text(view),
        parameters=[_parameter(item) for item in view.problem.parameters],
        objectives=[ObjectiveOut.model_validate(item, from_attributes=True) for item in view.problem.objectives],
        outcomes={name: view.problem.unit(name) for name in view.problem.outcomes},
        constraints=[_constraint(item) for item in view.problem.constraints],
        cards=[
            HypothesisBoard(
                **card.model_dump(),
                picture=str(charts.evidence_chart(card.evidence, card.log_threshold_support, card.log_threshold_refute))
                if card.evidence
                else None,
            )
            for card in hypothesis_cards(desk.ledger, campaign.id, view.experiments)
        ],
        progress=drawn[0],
        front=drawn[1],
        space=drawn[2],
        rows=[
            RowOut(
                **ExperimentOut.of(item).model_dump(),
                observed=dict(view.observed.get(item.id, {})),
                said=overview.why(item),
            )
            for item in newest
        ],
        more_rows=max(0, len(view.experiments) - len(newest)),
        log=[LogLine(at=at, text=text) for at, text in _log(desk, campaign, view)[: -RECENT - 1 : -1]],
        by_hand=len(view.by_hand),
        references=list(view.references),
        low=view.low,
        tokens=view.tokens,
        cost=view.cost,
    )


DECIDED = {"approve": "approved", "reject": "rejected", "edit": "edited", "settle": "settled"}


def _log(desk: Desk, campaign: Campaign, view: overview.Overview) -> list[tuple[datetime, str]]:
    """What happened and what people decided, in order; what a grant approves by itself is left out."""
    decided = [
        (item.created_at, f"#{(item.experiment_id or '').rpartition('.')[2]} {DECIDED[item.kind]} by {item.decided_by}")
        for item in desk.ledger.decisions(campaign.id, newest_first=True, limit=4 * RECENT)
        if item.kind in DECIDED
    ]
    return sorted([*view.story, *decided], key=lambda pair: pair[0])


def now(view: overview.Overview, *, halted: bool, is_driven: bool) -> str:
    """What the loop does at this moment, and why, in a sentence."""
    state = view.campaign.state
    if view.is_finished:
        return f"{state}: {view.campaign.reason or 'it is over'}"
    if halted:
        return "nothing starts on the instrument"
    if state == "paused":
        return f"paused: {view.campaign.reason or 'somebody asked for it'}"
    if not is_driven:
        return "no process drives it: it goes on when somebody resumes it"
    if view.underway:
        item = view.underway[0]
        verb = {"approved": "approved, and about to start", "dispatched": "starting", "running": "running"}[item.state]
        return f"{verb}: {item.id} ({wording.settings(item.values, view.problem)}). {overview.why(item)}"
    if view.waiting:
        return "waiting for a person's decision"
    return "choosing the next experiment"


def _parameter(item: Any) -> ParameterOut:
    levels = getattr(item, "values", None)
    return ParameterOut(
        name=item.name,
        unit=getattr(item, "unit", None),
        low=getattr(item, "low", None),
        high=getattr(item, "high", None),
        levels=None if levels is None else list(levels),
        is_integer=item.kind == "integer",
    )


def _constraint(item: Any) -> str:
    if item.kind == "outcome":
        bounds = [f"≥ {wording.number(item.lower)}" if item.lower is not None else None]
        bounds += [f"≤ {wording.number(item.upper)}" if item.upper is not None else None]
        unit = f" {wording.pretty_unit(item.unit)}" if item.unit else ""
        shown = " and ".join(bound for bound in bounds if bound)
        return f"{item.name} {shown}{unit}, with probability {wording.number(item.probability, 3)}"
    if item.kind != "linear":
        return str(item)
    terms = " + ".join(f"{wording.number(factor)}·{name}" for name, factor in item.coefficients.items())
    if item.equals is not None:
        return f"{terms} = {wording.number(item.equals)}"
    low = f"{wording.number(item.lower)} ≤ " if item.lower is not None else ""
    return f"{low}{terms}" + (f" ≤ {wording.number(item.upper)}" if item.upper is not None else "")


@door.on("GET", "/campaigns/{campaign_id}/report", "read")
def report(campaign_id: str, request: Request) -> Response:
    """The report, as one HTML file to keep; written in a process of its own, which takes some seconds."""
    desk = desk_of(request)
    campaign = desk.ledger.campaign(campaign_id)
    if not WRITING.acquire(blocking=False):
        raise Denied(429, "report.busy", "another report is being written", "try again in a moment", wait_s=5.0)
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "report.html"
            polite = ["nice", "-n", "15"] if shutil.which("nice") else []  # those who watch come first
            command = [*polite, sys.executable, "-m", "athanor.console"]
            command += ["report", campaign.id, "--output", str(target)]
            done = subprocess.run(
                [*command, "--ledger", desk.ledger.url], capture_output=True, timeout=REPORT_S, check=False
            )
            if done.returncode != 0:
                log.error("the report of %s failed: %s", campaign.id, done.stderr.decode(errors="replace"))
                raise Denied(500, "report.failed", "the report could not be written; the console's log says why")
            body = target.read_bytes()
    except subprocess.TimeoutExpired:
        raise Denied(503, "report.slow", f"the report took more than {REPORT_S:.0f} s", "athanor report") from None
    finally:
        WRITING.release()
    headers = {"Content-Disposition": f'attachment; filename="{campaign.id}.html"'}
    return Response(body, media_type="text/html; charset=utf-8", headers=headers)
