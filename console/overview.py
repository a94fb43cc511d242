"""Where a campaign stands: one small picture of it read from the ledger, for the list, the live view and the report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from athanor.console import wording

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign, Event, Evidence, Experiment, Hypothesis, Observation, Registration
    from athanor.memory.remarks import Deferral
    from athanor.memory.resources import Level
    from athanor.planners.problem import Problem

SPENT = ("dispatched", "running", "completed", "failed", "aborted", "stopped_early", "in_doubt")
"""Experiments in these states count towards the budget: the instrument was, or may have been, used."""


@dataclass(frozen=True)
class Best:
    """One of the best points found: the settings, what was measured, and the experiment it came from."""

    experiment: str | None
    values: Mapping[str, float | int | str]
    outcomes: Mapping[str, tuple[float, float | None]]


@dataclass(frozen=True)
class HypothesisLine:
    """A hypothesis with the evidence gathered so far, in natural logarithms of e-values."""

    id: str
    statement: str
    kind: str
    proposer: str
    state: str
    prior: float
    blocks: int
    log_e_support: float | None
    log_e_refute: float | None
    log_threshold_support: float | None
    log_threshold_refute: float | None


@dataclass(frozen=True)
class Overview:
    """A campaign at one moment."""

    campaign: Campaign
    problem: Problem
    budget: int
    used: int
    counts: Mapping[str, int]
    best: Sequence[Best]
    trace: Sequence[float]
    """The best so far after each measured experiment, larger is better; the hypervolume for several objectives."""
    experiments: Sequence[Experiment]
    observed: Mapping[str, Mapping[str, tuple[float, float | None]]]
    hypotheses: Sequence[HypothesisLine]
    waiting: Sequence[Experiment]
    underway: Sequence[Experiment]
    failures: int
    deadline_s: float | None
    cost: float | None
    tokens: int
    story: Sequence[tuple[datetime, str]]
    """What happened and when, in order."""
    by_hand: Sequence[Observation] = ()
    """What people measured beside the loop: it used no budget."""
    stocks: Sequence[Level] = ()
    """How the consumables stand that this campaign uses."""
    deferred: Mapping[str, Deferral] = field(default_factory=dict)
    """What of it was put off, and is not among `waiting` until then."""
    references: Sequence[str] = ()
    """How the charts of its reference measurements stand, a line for each."""
    redrawn_at: int = 0
    """Where in the journal what its pictures show has changed last, as far as who looked could tell."""

    @property
    def recent(self) -> list[str]:
        """What happened last, as short lines."""
        return [text for _, text in self.story[-4:]]

    @property
    def low(self) -> list[str]:
        """The consumables that run low, as short lines."""
        return [low_text(level) for level in self.stocks if level.is_low]

    @property
    def is_finished(self) -> bool:
        """Whether the campaign can do nothing more."""
        return self.campaign.state in ("succeeded", "failed", "cancelled")

    @property
    def elapsed_s(self) -> float:
        """Seconds since the campaign was made, until it ended."""
        return ((self.campaign.finished_at or datetime.now(UTC)) - self.campaign.created_at).total_seconds()

    @property
    def current(self) -> HypothesisLine | None:
        """The hypothesis under test, or the last one settled."""
        open_ones = [line for line in self.hypotheses if line.state in ("testing", "registered")]
        return open_ones[0] if open_ones else (self.hypotheses[-1] if self.hypotheses else None)


def look(ledger: Ledger, campaign: Campaign) -> Overview:
    """Read the present state of a campaign from its ledger. Who looks again and again has `athanor.console.looks`."""
    from athanor.planners.problem import Problem

    problem = Problem.model_validate(campaign.problem)
    found = Found(problem)
    found.add(ledger.observations(campaign.id))
    return view_of(ledger, campaign, ledger.experiments(campaign.id), found, ledger.events(campaign.id))


def view_of(
    ledger: Ledger,
    campaign: Campaign,
    experiments: Sequence[Experiment],
    found: Found,
    events: Sequence[Event],
    most_told: int | None = None,
) -> Overview:
    """Put together what was read of a campaign, and read the rest, which is little.

    Args:
        ledger: where it is.
        campaign: as it stands.
        experiments: all of them, in order.
        found: all of its observations.
        events: all of them in order; where `most_told` is given, the last of them are enough.
        most_told: of what happened, only the last so many lines.
    """
    from athanor.memory.remarks import KINDS, deferrals

    problem = found.problem
    calls = ledger.model_calls(campaign.id)
    hypotheses, registrations = ledger.hypotheses(campaign.id), ledger.registrations(campaign.id)
    evidence = ledger.evidence(campaign=campaign.id)
    told = found.latest if most_told is None else found.latest[-most_told:]
    # Not from `events`, of which the last may be all there is.
    put_off = deferrals(ledger.events(campaign.id, kinds=KINDS))
    story = happenings(problem, told, hypotheses, registrations, evidence, events)
    counts: Counter[str] = Counter(item.state for item in experiments)
    budget = campaign.spec.get("budget", {})
    wall_time = budget.get("wall_time")
    costs = [call.cost for call in calls if call.cost is not None]
    return Overview(
        campaign=campaign,
        problem=problem,
        budget=int(budget.get("experiments", 0)),
        used=sum(counts[state] for state in SPENT),
        counts=counts,
        best=noted_best(events, len(found.observations)) or found.best(),
        trace=list(found.trace),
        experiments=experiments,
        observed=dict(found.observed),
        hypotheses=hypothesis_lines(hypotheses, registrations, evidence),
        waiting=[item for item in experiments if item.state == "in_doubt" or _is_open(item, put_off)],
        deferred={item.id: put_off[item.id] for item in experiments if item.state == "proposed" and item.id in put_off},
        underway=[item for item in experiments if item.state in ("approved", "dispatched", "running")],
        failures=sum(counts[state] for state in ("failed", "aborted", "stopped_early", "refused")),
        deadline_s=float(wall_time) if isinstance(wall_time, int | float) else None,
        cost=sum(costs) if costs else None,
        tokens=sum(call.tokens_in + call.tokens_out for call in calls),
        story=story if most_told is None else story[-most_told:],
        by_hand=list(found.by_hand),
        references=_references(ledger, campaign, experiments, found.observations),
        stocks=stocks(ledger, campaign),
    )


def stocks(ledger: Ledger, campaign: Campaign) -> list[Level]:
    """Return how the consumables stand that a campaign uses."""
    names = list(campaign.spec.get("consumables") or {})
    return ledger.levels(names) if names else []


class Found:
    """What was measured in a campaign, taken in as it comes: the best so far, and how it came to be.

    Attributes:
        observations: every revision, in order.
        latest: the newest revision of each, in the order in which they were first made.
        observed: mean and standard error of each outcome, by experiment.
        trace: the merit after each measurement, larger is better.
        by_hand: what people measured beside the loop.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.observations: list[Observation] = []
        self._begin()

    def _begin(self) -> None:
        from athanor.console.merit import Merit

        self._merit = Merit(self.problem)
        self._known: set[str] = set()
        self._front: list[tuple[list[float], Best]] = []
        self.latest: list[Observation] = []
        self.observed: dict[str, Mapping[str, tuple[float, float | None]]] = {}
        self.trace: list[float] = []
        self.by_hand: list[Observation] = []

    def add(self, observations: Sequence[Observation]) -> None:
        """Take in what came since."""
        self.observations += observations
        keys = [item.experiment_id or item.id for item in observations]
        if len(set(keys)) < len(keys) or not self._known.isdisjoint(keys):
            self._begin()  # one was reduced anew, which changes what came after it
            observations = latest(self.observations)
            keys = [item.experiment_id or item.id for item in observations]
        self._known.update(keys)
        for item in observations:
            self._take(item)

    def best(self) -> list[Best]:
        """Return the best feasible measured point, or the measured Pareto set ordered by the first objective."""
        return [found for _, found in sorted(self._front, key=lambda pair: -pair[0][0])]

    def _take(self, item: Observation) -> None:
        from athanor.agents.byhand import is_by_hand

        self.latest.append(item)
        if is_by_hand(item):
            self.by_hand.append(item)
        if item.experiment_id is not None and item.outcomes:
            self.observed[item.experiment_id] = outcomes_of(item)
        outcomes = outcomes_of(item) if is_measured(item) else {}
        means = {name: mean for name, (mean, _) in outcomes.items()}
        value = self._merit.add(means)
        if value is not None:
            self.trace.append(value)
        scored = scores(self.problem, means)
        if scored is None or any(covers(known, scored) for known, _ in self._front):
            return
        kept = [pair for pair in self._front if not covers(scored, pair[0])]
        self._front = [*kept, (scored, Best(item.experiment_id, item.values, outcomes))]


def is_told(event: Event) -> bool:
    """Whether an event is among what happened, for those who look."""
    return event.kind in ("resumed", "waiting") or bool(event.body.get("fallback"))


def best_text(view: Overview) -> str:
    """Write the best found so far in one line: the value, or the size and ends of the Pareto set."""
    if not view.best:
        return wording.MISSING
    names = [objective.name for objective in view.problem.objectives]
    if len(names) == 1:
        mean, sem = view.best[0].outcomes[names[0]]
        return f"{names[0]} {wording.measured(mean, sem, view.problem.unit(names[0]))}"
    ends = []
    for objective in view.problem.objectives:
        top = max(view.best, key=lambda item: objective.score(item.outcomes[objective.name][0]))
        ends.append(f"{objective.name} {wording.number(top.outcomes[objective.name][0])}")
    return f"{wording.count(len(view.best), 'trade-off')}: " + " … ".join(ends)


def why(item: Experiment) -> str:
    """Say in a sentence why an experiment was put up."""
    reason: Any = item.candidate.get("why")
    if isinstance(reason, dict):
        text = wording.prose(str(reason.get("detail") or reason.get("method") or ""))
        return f"{text} (fallback: {reason['fallback']})" if reason.get("fallback") else text
    if reason:
        return wording.prose(str(reason))
    return {"operator": "put up by a person", "reasoner": "tests a hypothesis"}.get(item.source, item.source)


def _is_open(item: Experiment, put_off: Mapping[str, Deferral]) -> bool:
    return item.state == "proposed" and item.id not in put_off


def low_text(level: Level) -> str:
    """Write what is left of a stock, and when people are told."""
    stock = level.consumable
    left = wording.measured(level.available, None, stock.unit)
    return f"{stock.id} is low: {left} left, told at {wording.measured(stock.low, None, stock.unit)}"


def _references(
    ledger: Ledger, campaign: Campaign, experiments: Sequence[Experiment], observations: Sequence[Observation]
) -> list[str]:
    if not campaign.spec.get("reference"):
        return []
    from athanor.agents import references
    from athanor.agents.spec import Spec

    found = references.look(ledger, campaign.id, Spec.model_validate(campaign.spec), experiments, observations)
    return [] if found is None else references.in_short(found)


def latest(observations: Iterable[Observation]) -> list[Observation]:
    """Return the newest revision of every observation, in the order in which they were first made."""
    newest: dict[str, Observation] = {}
    for item in observations:
        key = item.experiment_id or item.id
        if key not in newest or item.revision_number >= newest[key].revision_number:
            newest[key] = item
    return list(newest.values())


def is_measured(observation: Observation) -> bool:
    """Whether an observation carries outcomes one may compare."""
    return observation.status == "completed" and bool(observation.outcomes)


def outcomes_of(observation: Observation) -> dict[str, tuple[float, float | None]]:
    """Return mean and standard error of every outcome that was measured."""
    return {name: (float(pair["mean"]), pair["sem"]) for name, pair in observation.outcomes.items()}


def pareto(points: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the points no other point dominates, of equal ones the first; coordinates are to be large.

    Points are taken from large to small, so that each is held against the front alone, whatever the number of points.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: ([-value for value in points[i]], i)):
        point = points[index]
        if not any(covers(points[other], point) for other in front):
            front.append(index)
    return sorted(front)


def covers(point: Sequence[float], other: Sequence[float]) -> bool:
    """Whether a point is at least as large as another in every coordinate."""
    return all(a >= b for a, b in zip(point, other, strict=True))


def scores(problem: Problem, outcomes: Mapping[str, float]) -> list[float] | None:
    """Return every objective so that larger is better, or None where a point does not count.

    A point does not count when an objective was not measured or a bound on an outcome is broken.
    """
    means = [outcomes.get(objective.name, math.nan) for objective in problem.objectives]
    if not all(math.isfinite(mean) for mean in means) or not problem.is_feasible(outcomes):
        return None
    return [objective.score(mean) for objective, mean in zip(problem.objectives, means, strict=True)]


def best(problem: Problem, observations: Iterable[Observation]) -> list[Best]:
    """Return the best feasible measured point, or the measured Pareto set ordered by the first objective."""
    found = Found(problem)
    found.add(list(observations))
    return found.best()


def noted_best(events: Sequence[Event], observations: int) -> list[Best]:
    """Return what the planner held for best after exactly so many observations, if that was noted; else nothing."""
    for event in reversed(events):
        if event.kind == "best" and event.body.get("observations") == observations:
            return [
                Best(
                    None,
                    item["values"],
                    {name: (float(entry["mean"]), entry.get("sem")) for name, entry in item["measured"].items()},
                )
                for item in event.body["best"]
                if item["measured"]
            ]
    return []


def trace(problem: Problem, observations: Iterable[Observation]) -> list[float]:
    """Return the merit of everything measured so far, after each observation in turn; larger is better."""
    found = Found(problem)
    found.add(list(observations))
    return found.trace


def hypothesis_lines(
    hypotheses: Iterable[Hypothesis], registrations: Iterable[Registration], evidence: Iterable[Evidence]
) -> list[HypothesisLine]:
    """Join each hypothesis with its registration and its latest evidence."""
    registered = {item.hypothesis_id: item for item in registrations}
    gathered: dict[str, list[Evidence]] = {}
    for row in evidence:
        gathered.setdefault(row.registration_id, []).append(row)
    lines = []
    for item in sorted(hypotheses, key=lambda h: h.ordinal):
        registration = registered.get(item.id)
        rows = sorted(gathered.get(registration.id, []), key=lambda e: e.block) if registration else []
        support, refute = log_thresholds(registration.body if registration else None)
        lines.append(
            HypothesisLine(
                id=item.id,
                statement=item.statement,
                kind=item.kind,
                proposer=item.proposer,
                state=item.state,
                prior=item.prior,
                blocks=len(rows),
                log_e_support=rows[-1].log_e_support if rows else None,
                log_e_refute=rows[-1].log_e_refute if rows else None,
                log_threshold_support=support,
                log_threshold_refute=refute,
            )
        )
    return lines


def log_thresholds(body: Mapping[str, Any] | None) -> tuple[float | None, float | None]:
    """Return the natural logarithms of the e-values at which a registered test supports and refutes."""

    def side(name: str) -> float | None:
        share = (body or {}).get(name)
        threshold = share.get("threshold") if isinstance(share, Mapping) else None
        return math.log(threshold) if isinstance(threshold, int | float) and threshold > 0 else None

    return side("support"), side("refute")


def happenings(
    problem: Problem,
    observations: Sequence[Observation],
    hypotheses: Sequence[Hypothesis],
    registrations: Sequence[Registration],
    evidence: Sequence[Evidence],
    events: Sequence[Event],
) -> list[tuple[datetime, str]]:
    """Return what happened, as short lines in the order of time: results, registrations, verdicts, interruptions."""
    lines: list[tuple[datetime, str]] = []
    for item in observations:
        if item.experiment_id is None and item.source != "operator":
            continue
        number = (item.experiment_id or item.id).rpartition("." if item.experiment_id else "/")[2]
        results = ", ".join(
            f"{name} {wording.measured(mean, sem, problem.unit(name))}"
            for name, (mean, sem) in outcomes_of(item).items()
        )
        how = item.status.replace("_", " ") if item.experiment_id else "by hand"
        lines.append((item.created_at, f"#{number} {how}: {results or item.reason or ''}"))
    statements = {item.id: item for item in hypotheses}
    last: dict[str, datetime] = {}
    for registration in registrations:
        hypothesis = statements[registration.hypothesis_id]
        short = hypothesis.id.rpartition(".")[2]
        lines.append((registration.created_at, f"{short} registered: {hypothesis.statement}"))
        times = [row.created_at for row in evidence if row.registration_id == registration.id]
        last[hypothesis.id] = max(times, default=registration.created_at)
    for hypothesis in hypotheses:
        if hypothesis.state in ("supported", "refuted", "inconclusive", "void"):
            short = hypothesis.id.rpartition(".")[2]
            at = last.get(hypothesis.id, hypothesis.created_at)
            lines.append((at, f"{short} {hypothesis.state}: {hypothesis.reason or hypothesis.statement}"))
    for event in filter(is_told, events):
        if event.kind == "resumed":
            lines.append((event.created_at, "resumed"))
        elif event.kind == "waiting":
            lines.append((event.created_at, f"waiting: {event.body['for']}"))
        else:
            lines.append((event.created_at, f"fallback: {event.body['fallback']}"))
    return sorted(lines, key=lambda pair: pair[0])
