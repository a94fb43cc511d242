"""The control charts of a report: what the references read, what was expected of them, and what a person made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from athanor.console.report.charts import figure, frame, path, text
from athanor.console.report.data import ReferenceChart, ReferencePoint, ReportData
from athanor.console.report.markup import Child, Markup, join, tag
from athanor.console.report.scale import Scale, padded
from athanor.console.wording import count, number, pretty_unit

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign


def section(data: ReportData) -> Markup:
    """The reference measurements, a chart for each outcome; nothing where the campaign asked for none."""
    if not data.references:
        return Markup("")
    runs = sum(row.purpose == "reference" for row in data.experiments)
    lost = sum(row.purpose == "reference" and row.state != "completed" for row in data.experiments)
    failed = f"; {count(lost, 'reference')} gave no reading" if lost else ""
    note = (
        f"{count(runs, 'experiment')} of the budget measured the reference point again{failed}. Inside the shaded band "
        "the next reading of a steady instrument is expected; a run of readings to one side is found as well. The "
        "chance that a steady instrument pauses the campaign at all is 1 % for each baseline."
    )
    parts: list[Child] = [tag("h2", "Was the instrument steady?"), tag("p", note, class_="note")]
    for chart in data.references:
        parts.append(control_chart(chart))
        parts.extend(tag("p", _capital(line), class_="note") for line in chart.said)
    return join(*parts)


def _capital(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def control_chart(chart: ReferenceChart) -> Markup:
    """Draw the readings of one reference, with the limits that each was held against."""
    width, height = 880, 250
    unit = f" [{pretty_unit(chart.unit)}]" if chart.unit else ""
    values = [p.value for p in chart.points]
    if not values:
        return tag("p", f"{chart.outcome}: no reference has been measured yet.", class_="note")
    spread = max(values) - min(values)
    near = [edge for p in chart.points for edge in (p.low, p.high) if edge is not None]
    # Limits after a very short baseline may lie far out: they are cut, so that the readings stay apart.
    near = [min(max(edge, min(values) - 1.5 * spread), max(values) + 1.5 * spread) for edge in near]
    low, high = padded([*values, *near])
    x = Scale(1, max(len(values), 2), 62, width - 158)
    y = Scale(low, high, height - 50, 34)
    parts: list[Child] = [frame(x, y, "references", f"{chart.outcome}{unit}", y_count=4)]
    step = (x(2) - x(1)) / 2
    for run in _runs(chart.points):
        held = [(index, p) for index, p in run if p.low is not None and p.high is not None and p.centre is not None]
        if held:
            cells = [(x(i) + side * step, p) for i, p in held for side in (-1, 1)]
            cells = [(min(max(place, x.start), x.end), p) for place, p in cells]
            top = [(place, y(min(p.high or 0.0, high))) for place, p in cells]
            foot = [(place, y(max(p.low or 0.0, low))) for place, p in reversed(cells)]
            parts.append(path([*top, *foot], "band", closed=True))
            parts.append(path([(place, y(p.centre or 0.0)) for place, p in cells], "baseline"))
        parts.append(path([(x(index), y(p.value)) for index, p in run], "control"))
    for index, p in enumerate(chart.points, 1):
        words = {"baseline": "baseline", "in": "within its limits", "out": "out of its limits", "void": "declared void"}
        hint = tag("title", f"reference {index}, {p.experiment}: {number(p.value)}{unit} ({words[p.mark]})")
        class_ = {"baseline": "mark-plain", "in": "mark", "out": "mark-out", "void": "mark-void"}[p.mark]
        parts.append(tag("circle", hint, cx=x(index), cy=y(p.value), r=5.2 if p.mark == "out" else 3.6, class_=class_))
    last = chart.points[-1]
    if last.centre is not None:
        parts.append(text(x.end + 8, y(last.centre) + 4, "expected", class_="end baseline-text", anchor="start"))
    title = f"Control chart of {chart.outcome}: {count(len(values), 'reference')}"
    return figure(width, height, title, *parts)


def _runs(points: Sequence[ReferencePoint]) -> list[list[tuple[int, ReferencePoint]]]:
    """Points with their numbers, apart wherever a new baseline begins; void ones are left out of the line."""
    runs: list[list[tuple[int, ReferencePoint]]] = []
    last = -1
    for index, point in enumerate(points, 1):
        if point.mark == "void":
            continue
        if point.chart != last:
            runs.append([])
            last = point.chart
        runs[-1].append((index, point))
    return runs


def charts_of(ledger: Ledger, campaign: Campaign) -> list[ReferenceChart]:
    """Read the charts of a campaign from its ledger."""
    from athanor.agents import references
    from athanor.agents.spec import Spec

    if not campaign.spec.get("reference"):
        return []
    spec = Spec.model_validate(campaign.spec)
    found = references.look(ledger, campaign.id, spec)
    if found is None:
        return []
    said = [references.decision_in_words(e) for e in found.events if e.kind != references.CHART]
    units = spec.problem()
    charts = []
    for position, outcome in enumerate(references.outcomes_of(spec)):
        points: list[tuple[int, ReferencePoint]] = []
        for number_, group in enumerate(found.charts):
            if position >= len(group):
                continue
            chart = group[position]
            for point, reading in zip(chart.points, chart.readings, strict=True):
                mark = "out" if reading.is_out else "baseline" if reading.centre is None else "in"
                entry = ReferencePoint(
                    experiment=point.experiment,
                    value=point.value,
                    centre=reading.centre,
                    low=reading.low,
                    high=reading.high,
                    mark=mark,
                    chart=number_,
                )
                points.append((point.ordinal, entry))
        for point in references.void_points(ledger, campaign.id, found, outcome):
            void = ReferencePoint(experiment=point.experiment, value=point.value, mark="void", chart=-1)
            points.append((point.ordinal, void))
        ordered = [entry for _, entry in sorted(points, key=lambda pair: pair[0])]
        charts.append(ReferenceChart(outcome=outcome, unit=units.unit(outcome), points=ordered, said=said))
    return charts
