"""What was done before: searching across campaigns, and campaigns side by side."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from athanor.console import overview
from athanor.console.api.campaigns import BestOut
from athanor.console.api.door import Door, desk_of
from athanor.console.api.paging import After, Limit, Page, page
from athanor.console.api.problems import Denied
from athanor.console.commands import memory as commands
from athanor.memory import finding
from athanor.memory.records import CampaignState, ExperimentState, HypothesisState, Value

door = Door("memory")

State = CampaignState | ExperimentState | HypothesisState
Verdict = Literal["supported", "refuted", "inconclusive", "void"]
Text = Query(max_length=500, description="Words; every one must occur, as a beginning.")
Written = Annotated[str, Field(max_length=300)]
Ranges = Annotated[list[Written] | None, Query(max_length=20, description="NAME:LOW..HIGH UNIT, or NAME:LEVEL.")]
Short = Query(min_length=1, max_length=200)


class PieceOut(BaseModel):
    """A part of a text, and whether it is what was looked for."""

    model_config = ConfigDict(from_attributes=True)

    text: str
    is_match: bool


class MemoryOut(BaseModel):
    """Something that was found.

    `texts`: its texts by name, cut into pieces. `values` and `observed` (mean, standard error) are in `units`.
    `tainted` marks what came from outside, such as a model's text.
    """

    kind: finding.Kind
    id: str
    campaign_id: str
    campaign: str
    laboratory: str
    instrument: str
    simulated: bool
    state: str
    at: datetime
    who: str | None
    tainted: bool
    texts: dict[str, list[PieceOut]]
    values: dict[str, Value]
    observed: dict[str, tuple[float, float | None]]
    units: dict[str, str]

    @classmethod
    def of(cls, found: commands.Remembered) -> MemoryOut:
        """As it is shown."""
        return cls(
            kind=found.kind,
            id=found.id,
            campaign_id=found.campaign.id,
            campaign=found.campaign.name,
            laboratory=found.campaign.laboratory,
            instrument=found.campaign.instrument,
            simulated=found.campaign.simulated,
            state=found.state,
            at=found.at,
            who=found.who,
            tainted=found.tainted,
            texts={name: [PieceOut.model_validate(one) for one in pieces] for name, pieces in found.texts.items()},
            values=found.values,
            observed=found.observed,
            units=found.units,
        )


class MemoryPage(Page[MemoryOut]):
    """Some of what was found. `total` is how many were ranked; where `is_cut`, there are more, and something narrower
    finds them. `notes` say of what nothing could be told, and why."""

    total: int
    is_cut: bool
    notes: list[str]


class RangeOut(BaseModel):
    """A parameter as a campaign has it: numbers from `low` to `high`, or `levels`."""

    unit: str | None
    low: float | None
    high: float | None
    levels: list[float | int | str] | None


class HypothesisCompared(BaseModel):
    """A hypothesis of a campaign, and what became of it."""

    id: str
    statement: str
    state: str


class ComparedOut(BaseModel):
    """A campaign beside others. `curve`: the best so far as steps (experiment, value); null if not comparable."""

    id: str
    name: str
    question: str
    state: str
    laboratory: str
    instrument: str
    simulated: bool
    problem_hash: str
    created_at: datetime
    elapsed_s: float
    budget: int
    used: int
    failures: int
    measured: int
    tokens: int
    cost: float | None
    best_text: str
    best: list[BestOut]
    units: dict[str, str]
    objectives: list[str]
    parameters: dict[str, RangeOut]
    hypotheses: list[HypothesisCompared]
    curve: list[tuple[int, float]] | None


class ComparisonOut(BaseModel):
    """Campaigns side by side, and in `notes` what of them cannot be compared.

    `shared`: the parameters that all have. `merit` and `unit` say what the curves are; `picture` is SVG, or empty.
    """

    campaigns: list[ComparedOut]
    is_same_problem: bool
    shared: list[str]
    merit: str | None
    unit: str | None
    picture: str
    notes: list[str]


@door.on("GET", "/memory/search", "read")
def search(
    request: Request,
    text: Annotated[str, Text] = "",
    kind: Annotated[list[finding.Kind] | None, Query()] = None,
    campaign: Annotated[str | None, Short] = None,
    laboratory: Annotated[str | None, Short] = None,
    state: Annotated[list[State] | None, Query()] = None,
    verdict: Annotated[list[Verdict] | None, Query(description="Only hypotheses that came to this.")] = None,
    who: Annotated[str | None, Short] = None,
    since: Annotated[AwareDatetime | None, Query()] = None,
    until: Annotated[AwareDatetime | None, Query()] = None,
    parameter: Ranges = None,
    outcome: Ranges = None,
    limit: Limit = 50,
    after: After = None,
) -> MemoryPage:
    """Search campaigns, hypotheses with their verdicts, and experiments.

    With words, where they weigh most comes first; then, and else, the newest. Ranges are about experiments alone; they
    are converted to the unit that each campaign has.
    """
    ledger = desk_of(request).ledger
    try:
        ranges, notes = commands.ranges(ledger, parameter or (), outcome or ())
    except commands.RangeError as error:
        raise Denied(422, "range.invalid", str(error), error.remedy) from error
    words = finding.words_of(text)
    if text.strip() and not words:
        notes.append("there is no word in what was looked for")
    sought = finding.Sought(
        words=words,
        kinds=tuple(kind or finding.KINDS),
        campaign=campaign,
        laboratory=laboratory,
        states=tuple(state or ()),
        verdicts=tuple(verdict or ()),
        who=who,
        since=since,
        until=until,
        ranges=ranges,
    )
    found = finding.find(ledger, sought)
    cut = page(found.found, limit, after, lambda hit: f"{hit.kind}:{hit.id}")
    items = [MemoryOut.of(one) for one in commands.remembered(ledger, cut.items, words)]
    return MemoryPage(items=items, next=cut.next, total=len(found.found), is_cut=found.is_cut, notes=notes)


@door.on("GET", "/memory/compare", "read")
def compare(
    request: Request,
    campaign: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Query(min_length=1, max_length=6)],
) -> ComparisonOut:
    """Campaigns side by side; the others are held against the first."""
    from athanor.console.report.compared import comparison_chart

    found = commands.compare(desk_of(request).looks, list(dict.fromkeys(campaign)))
    picture = comparison_chart(found.curves, found.merit, found.unit) if found.merit is not None else ""
    return ComparisonOut(
        campaigns=[_compared(view, found.curves.get(view.campaign.id)) for view in found.views],
        is_same_problem=found.is_same_problem,
        shared=list(found.shared),
        merit=found.merit,
        unit=found.unit,
        picture=str(picture),
        notes=found.notes,
    )


def _compared(view: overview.Overview, curve: list[tuple[int, float]] | None) -> ComparedOut:
    campaign, problem = view.campaign, view.problem
    names = [*problem.names, *problem.outcomes]
    return ComparedOut(
        **{name: getattr(campaign, name) for name in ("id", "name", "question", "state", "laboratory", "instrument")},
        simulated=campaign.simulated,
        problem_hash=campaign.problem_hash,
        created_at=campaign.created_at,
        elapsed_s=view.elapsed_s,
        budget=view.budget,
        used=view.used,
        failures=view.failures,
        measured=len(view.observed),
        tokens=view.tokens,
        cost=view.cost,
        best_text=overview.best_text(view),
        best=[
            BestOut(experiment=one.experiment, values=dict(one.values), outcomes=dict(one.outcomes))
            for one in view.best[:12]
        ],
        units={name: unit for name in names if (unit := problem.unit(name))},
        objectives=[_aim(objective) for objective in problem.objectives],
        parameters={item.name: _range(item) for item in problem.parameters},
        hypotheses=[HypothesisCompared(id=h.id, statement=h.statement, state=h.state) for h in view.hypotheses],
        curve=curve,
    )


def _aim(objective: Any) -> str:
    from athanor.console.wording import number, pretty_unit

    unit = f" {pretty_unit(objective.unit)}" if objective.unit else ""
    if objective.target is not None:
        return f"{objective.name} at {number(objective.target)}{unit}"
    return f"{objective.name} {'as large' if objective.goal == 'maximize' else 'as small'} as can be"


def _range(item: Any) -> RangeOut:
    levels = getattr(item, "values", None)
    return RangeOut(
        unit=getattr(item, "unit", None),
        low=getattr(item, "low", None),
        high=getattr(item, "high", None),
        levels=None if levels is None else list(levels),
    )
