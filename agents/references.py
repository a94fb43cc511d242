"""Reference measurements in a campaign: when one is due, what their charts say, and what a person made of an alarm.

All of it is read from the ledger: experiments with the purpose `reference`, their observations, and three kinds of
events: `chart` (what a chart began with), `reference_accepted` and `reference_recalibrated` (what a person decided).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from athanor.agents import drift
from athanor.agents.drift import Change, Reading, Spread

if TYPE_CHECKING:
    from athanor.agents.reference_spec import ReferenceSpec
    from athanor.agents.spec import Spec
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Event, Experiment, Observation

PURPOSE = "reference"
ACCEPTED, RECALIBRATED, CHART = "reference_accepted", "reference_recalibrated", "chart"
KINDS = (ACCEPTED, RECALIBRATED, CHART)
DRIFT = "drift"
WITH_DRIFT = " + drift"
"""Added to the name of a reduction whose `sem` includes what a chart says; an event `drift` has the parts."""

USED = frozenset({"dispatched", "running", "completed", "failed", "aborted", "stopped_early", "in_doubt"})
"""States in which the instrument was, or may have been, used."""

AGAIN = frozenset({"failed", "aborted", "stopped_early", "not_started"})
"""A reference that ended so is no point of a chart: it is measured again at once."""


class NoAlarm(ValueError):
    """There is nothing to accept or to recalibrate: every reference is within its limits."""


@dataclass(frozen=True)
class Point:
    """One reference that was measured."""

    experiment: str
    ordinal: int
    value: float
    sem: float | None


@dataclass(frozen=True)
class Chart:
    """The chart of one outcome since its baseline was last begun.

    Attributes:
        outcome: which.
        baseline: references before any test.
        top: limit of the score.
        spread: what was known of it before.
        points, readings: side by side.
        change: what the alarm says, None while there is none.
    """

    outcome: str
    baseline: int
    top: float
    spread: Spread
    points: tuple[Point, ...]
    readings: tuple[Reading, ...]
    change: Change | None

    @property
    def is_ready(self) -> bool:
        """Whether the baseline is complete."""
        return len(self.points) >= self.baseline

    @property
    def sd(self) -> float:
        """Repeatability of one reference, in the outcome's unit: from the baseline, or as stated."""
        found = drift.repeatability([p.value for p in self.points[: self.baseline]], self.spread)
        sems = [p.sem for p in self.points if p.sem is not None]
        return max(found, math.sqrt(sum(s * s for s in sems) / len(sems)) if sems else 0.0)

    def drift_error(self, ordinal: int) -> float:
        """What drift adds to the standard error of the observation with this ordinal; 0 before the baseline."""
        if not self.is_ready:
            return 0.0
        at, values = [p.ordinal for p in self.points], [p.value for p in self.points]
        return drift.drift_error(ordinal, at, values, self.baseline, self.sd)


@dataclass(frozen=True)
class References:
    """All references of a campaign and their charts, oldest chart first; the last of each outcome is in use."""

    spec: ReferenceSpec
    experiments: tuple[Experiment, ...]
    charts: tuple[tuple[Chart, ...], ...]
    """One tuple of charts, by outcome, for every baseline."""
    dropped: frozenset[str]
    """References that a person declared void by recalibrating."""
    events: tuple[Event, ...]

    @property
    def current(self) -> tuple[Chart, ...]:
        """The charts in use."""
        return self.charts[-1]

    def alarms(self) -> list[Chart]:
        """The charts that a reference has left the limits of, and nobody has decided on yet."""
        return [chart for chart in self.current if chart.change is not None]

    def is_due(self, experiments: Sequence[Experiment]) -> bool:
        """Whether the next experiment is a reference.

        Args:
            experiments: all of the campaign, by ordinal.
        """
        last = self.experiments[-1] if self.experiments else None
        if last is None:
            return True
        since = sum(e.state in USED and e.purpose != PURPOSE and e.ordinal > last.ordinal for e in experiments)
        if since >= self.spec.every:
            return True
        if last.state in AGAIN or self._is_asked_for(last):
            return True
        # One that a person rejected, or that could not be approved in time, has had its turn.
        is_ready = bool(self.current) and all(chart.is_ready for chart in self.current)
        return last.state == "completed" and not is_ready

    def _is_asked_for(self, last: Experiment) -> bool:
        """Whether a person has decided on an alarm since the last reference: the next shows whether it is so."""
        decided = [e for e in self.events if e.kind in (ACCEPTED, RECALIBRATED)]
        return bool(decided) and int(decided[-1].body["after"]) >= last.ordinal


def look(
    ledger: Ledger,
    campaign_id: str,
    spec: Spec,
    experiments: Sequence[Experiment] | None = None,
    observations: Sequence[Observation] | None = None,
) -> References | None:
    """Read a campaign's references and their charts; None where its file asks for none.

    Args:
        ledger, campaign_id, spec: which campaign.
        experiments, observations: as they stand in the ledger, where the caller has read them already.
    """
    wanted = spec.reference
    if wanted is None:
        return None
    everything = ledger.experiments(campaign_id) if experiments is None else experiments
    found = tuple(e for e in everything if e.purpose == PURPOSE)
    newest: dict[str, Observation] = {}
    for observation in ledger.observations(campaign_id) if observations is None else observations:
        if observation.experiment_id is not None:
            newest[observation.experiment_id] = observation
    events = tuple(ledger.events(campaign_id, kinds=KINDS))
    begun = [e.body for e in events if e.kind == CHART]
    dropped = frozenset(str(x) for e in events if e.kind == RECALIBRATED for x in e.body["dropped"])
    accepted = [e.body for e in events if e.kind == ACCEPTED]
    after = [0, *(int(body["after"]) for body in accepted), 2**62]
    charts = []
    for index in range(len(accepted) + 1):
        run = [e for e in found if after[index] < e.ordinal <= after[index + 1] and e.id not in dropped]
        body = begun[index] if index < len(begun) else None
        charts.append(tuple(_chart(name, body, run, newest) for name in outcomes_of(spec)) if body else ())
    return References(wanted, found, tuple(charts), dropped, events)


def outcomes_of(spec: Spec) -> list[str]:
    """The outcomes that have a chart: those named, else every objective."""
    assert spec.reference is not None
    return list(spec.reference.outcomes or spec.objectives)


def _chart(
    outcome: str, body: dict[str, Any], experiments: Sequence[Experiment], newest: dict[str, Observation]
) -> Chart:
    points = []
    for e in experiments:
        found = newest.get(e.id)
        if found is not None and found.status == "completed" and outcome in found.outcomes:
            pair = found.outcomes[outcome]
            points.append(Point(e.id, e.ordinal, pair["mean"], pair["sem"]))
    own = body["spread"][outcome]
    spread = Spread(own["sd"], own["squares"], own["df"])
    values = [p.value for p in points]
    top = math.inf if own["limit"] is None else float(own["limit"])
    readings = drift.read(values, body["baseline"], top, spread, [p.sem for p in points])
    return Chart(outcome, body["baseline"], top, spread, tuple(points), tuple(readings), drift.change(readings, spread))


def first_chart(spec: Spec, spent: int, earlier: dict[str, Spread]) -> dict[str, Any]:
    """What a new baseline begins with: its length, the references planned, each outcome's spread and limit.

    Args:
        spec: the campaign.
        spent: experiments already used of the budget.
        earlier: the spread that the campaign's earlier charts found.
    """
    wanted = spec.reference
    assert wanted is not None
    names = outcomes_of(spec)
    # A level can be found again with half as many once the spread is known from before.
    baseline = max(drift.FEWEST, (wanted.first + 1) // 2) if earlier else wanted.first
    left = spec.budget.experiments - spent - baseline
    planned = baseline + max(1, math.ceil(left / (wanted.every + 1)))
    spreads = {}
    for name in names:
        known = Spread(sd=wanted.sd[name]) if name in wanted.sd else earlier.get(name, Spread())
        top = drift.limit(baseline, planned, drift.ALPHA / len(names), is_known=known.sd is not None, df=known.df)
        spreads[name] = {"sd": known.sd, "squares": known.squares, "df": known.df, "limit": top}
    return {"baseline": baseline, "planned": planned, "alpha": drift.ALPHA, "spread": spreads}


def begin_chart(references: References, ledger: Ledger, campaign_id: str, spec: Spec, spent: int) -> None:
    """Write down, once for every baseline, what its chart begins with: the same after a crash or an upgrade."""
    if sum(e.kind == CHART for e in references.events) >= len(references.charts):
        return
    earlier: dict[str, Spread] = {}
    for charts in references.charts[:-1]:
        for chart in charts:
            steady = [p.value for p in chart.points]
            if chart.change is not None:
                steady = steady[: chart.change.index + 1 - chart.change.newer]
            if len(steady) >= 2:
                before, sd = earlier.get(chart.outcome, Spread()), drift.repeatability(steady)
                df = len(steady) - 1
                earlier[chart.outcome] = Spread(None, before.squares + df * sd**2, before.df + df)
    ledger.add_event(campaign_id, CHART, first_chart(spec, spent, earlier))


def cause(references: References, campaign_id: str) -> str | None:
    """Why the campaign must pause, in plain words; None while every reference is within its limits."""
    alarms = references.alarms()
    if not alarms:
        return None
    return (
        f"reference {'; '.join(_in_words(chart) for chart in alarms)}. The instrument may have drifted. Look at it, "
        f"then either recalibrate it and: athanor resume {campaign_id} --recalibrated WHAT-WAS-DONE, or take the new "
        f"level for the baseline: athanor resume {campaign_id} --accept-reference WHY"
    )


def _in_words(chart: Chart) -> str:
    found = chart.change
    assert found is not None
    side = "above" if found.after > found.before else "below"
    how_far = f"{abs(found.shift):.1f} sd" if math.isfinite(found.shift) else "far"
    newer = f"the mean of the last {found.newer} is" if found.newer > 1 else "it read"
    return (
        f"{chart.outcome} {how_far} {side} its baseline at reference {found.index + 1} "
        f"({newer} {found.after:.4g}, against {found.before:.4g})"
    )


def decide(ledger: Ledger, campaign_id: str, spec: Spec, kind: str, *, by: str, reason: str) -> None:
    """Record what a person made of an alarm: the new level accepted, or the instrument recalibrated.

    After `reference_accepted` a new baseline is measured. After `reference_recalibrated` the references since the
    change are void, the next experiment is a reference, and it must be within the limits.

    Raises:
        NoAlarm: every reference is within its limits.
        ValueError: without a reason.
    """
    if not reason.strip():
        raise ValueError("give the reason: it is kept in the record")
    references = look(ledger, campaign_id, spec)
    alarms = references.alarms() if references is not None else []
    if references is None or not alarms:
        raise NoAlarm(f"campaign {campaign_id}: every reference is within its limits, or it has none")
    newer = {p.experiment for chart in alarms if chart.change for p in chart.points[-chart.change.newer :]}
    body = {
        "by": by,
        "reason": reason,
        "after": references.experiments[-1].ordinal,
        "said": [_in_words(chart) for chart in alarms],
        "dropped": sorted(newer) if kind == RECALIBRATED else [],
    }
    ledger.add_event(campaign_id, kind, body)


def decision_in_words(event: Event) -> str:
    """What a person made of an alarm, in a sentence."""
    made = "accepted the new level" if event.kind == ACCEPTED else "recalibrated the instrument"
    return f"{'; '.join(event.body['said'])}: {event.body['by']} {made}: {event.body['reason']}"


def in_short(references: References) -> list[str]:
    """How each chart stands, in a line of its own."""
    lines = []
    for chart in references.current:
        if chart.change is not None:
            lines.append(_in_words(chart))
        elif not chart.is_ready:
            lines.append(f"{chart.outcome}: {len(chart.points)} of {chart.baseline} references of its baseline")
        else:
            where = f"{len(chart.points)} references, repeatable to {chart.sd:.3g}"
            lines.append(f"{chart.outcome}: within its limits after {where}")
    return lines


def void_points(ledger: Ledger, campaign_id: str, references: References, outcome: str) -> list[Point]:
    """The references that were declared void by a recalibration."""
    return [
        Point(o.experiment_id, int(o.experiment_id.rpartition(".")[2]), pair["mean"], pair["sem"])
        for o in ledger.observations(campaign_id)
        if o.experiment_id in references.dropped and (pair := o.outcomes.get(outcome)) is not None
    ]


def widened(
    references: References | None, experiment: Experiment, made: Observation
) -> tuple[Observation, dict[str, Any] | None]:
    """An observation with what the charts add to each `sem`, in quadrature, and the parts it is made of.

    sem² = s² + drift², where s is the observation's own standard error or, where one replicate tells none, the
    repeatability of a reference; `drift_error` says what drift is. References themselves stay as they were measured.
    """
    if references is None or experiment.purpose == PURPOSE or not made.outcomes:
        return made, None
    outcomes, said = dict(made.outcomes), {}
    charts = references.charts[_in_use(references, experiment.ordinal)]
    for chart in charts:
        pair = outcomes.get(chart.outcome)
        error = chart.drift_error(experiment.ordinal) if pair is not None else 0.0
        if pair is not None and error > 0.0:
            own = chart.sd if pair["sem"] is None else pair["sem"]
            outcomes[chart.outcome] = {"mean": pair["mean"], "sem": math.hypot(own, error)}
            said[chart.outcome] = {"measured": pair["sem"], "repeatability": chart.sd, "drift": error}
    if not said:
        return made, None
    body = {"observation": made.id, "sem": said, "references": len(charts[0].points)}
    return made.model_copy(update={"outcomes": outcomes, "reduction": f"{made.reduction}{WITH_DRIFT}"}), body


def since_last(references: References, experiments: Sequence[Experiment]) -> list[Experiment]:
    """The experiments between the last two references: the last one tells more of what drift there was."""
    measured = [e for e in references.experiments if e.state == "completed"]
    if len(measured) < 2:
        return []
    first, last = measured[-2].ordinal, measured[-1].ordinal
    if measured[-1].id in references.dropped:
        return []
    return [e for e in experiments if first < e.ordinal < last and e.purpose != PURPOSE and e.state == "completed"]


def is_other(new: Observation, old: Observation) -> bool:
    """Whether two revisions differ in some `sem` by more than a hundredth."""
    for name, pair in new.outcomes.items():
        before, after = old.outcomes[name]["sem"], pair["sem"]
        if (before is None) != (after is None):
            return True
        if before is not None and after is not None and not math.isclose(before, after, rel_tol=0.01):
            return True
    return False


def without(experiments: Sequence[Experiment], observations: Sequence[Observation]) -> list[Observation]:
    """Observations that are no references: those that the planner and the stopping rules look at."""
    own = {e.id for e in experiments if e.purpose == PURPOSE}
    return [o for o in observations if o.experiment_id not in own]


def filled(references: References | None, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give a `sem` to the outcomes that have none, where others have theirs from a chart: else a model could use none.

    Args:
        references: of the campaign.
        items: observations as the planner takes them.
    """
    for chart in references.current if references is not None and references.current else ():
        outcomes = [item["outcomes"][chart.outcome] for item in items if chart.outcome in item["outcomes"]]
        lacking = [pair for pair in outcomes if pair["sem"] is None]
        if chart.is_ready and 0 < len(lacking) < len(outcomes):
            for item in items:
                pair = item["outcomes"].get(chart.outcome)
                if pair is not None and pair["sem"] is None:
                    item["outcomes"] = {**item["outcomes"], chart.outcome: {"mean": pair["mean"], "sem": chart.sd}}
    return items


def _in_use(references: References, ordinal: int) -> int:
    """Which charts were in use when an experiment was made: a new baseline holds from its acceptance on."""
    accepted = [int(e.body["after"]) for e in references.events if e.kind == ACCEPTED]
    return sum(ordinal > after for after in accepted)
