"""The sections of a report about the model itself: may it be trusted, what matters, and its maps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from athanor.console.report.charts import figure, path, text
from athanor.console.report.data import ReportData
from athanor.console.report.maps import Ground, ground, legend, map_chart
from athanor.console.report.markup import Child, Markup, join, tag
from athanor.console.report.scale import Scale, padded, tick_text
from athanor.console.report.sections import data_table, named
from athanor.console.wording import number, pretty_unit, prose, settings
from athanor.planners.explanations import Calibration, Explanation, Finding, Importance, LeftOut, Map

NINE = 1.645
"""Standard deviations on either side that hold 90 % of a normal belief."""

WORDS = {
    "few-points": "there are enough settings",
    "constant": "no outcome is stuck",
    "fit-failed": "the fit succeeded",
    "no-better-than-mean": "it foretells better than the mean",
    "overconfident": "its intervals hold as often as they should",
    "mostly-noise": "noise does not drown what there is to learn",
    "length-scale-at-bound": "no length scale is at its bound",
    "outlier": "no measurement stands out",
    "uneven-residuals": "it misses no more in one place than in another",
    "repeats-disagree": "repeats agree within their stated errors",
    "nothing-feasible": "feasible points are known",
    "best-on-the-edge": "the best point does not lean on a bound",
}
"""What the silence of each check says."""

UNKNOWN = 0.5
"""Cells of a map are struck through where the sd is larger than this share of what the map's mean spans."""


def trust_section(data: ReportData) -> Markup:
    """The health check, and what the model says of measurements that it was not shown."""
    model = data.model
    if model is None:
        return Markup("")
    health = model.health
    first = tag("strong", health.verdict if not health.findings else health.verdict.partition(". ")[0] + ".")
    parts: list[Child] = [tag("h2", "Can the model be trusted?"), tag("p", first)]
    parts += [_card(item) for item in health.findings]
    quiet = [WORDS[name] for name in health.quiet if name in WORDS and _applies(name, data, model)]
    if quiet:
        parts.append(tag("p", f"Checked and in order: {'; '.join(quiet)}.", class_="note"))
    if model.notes:
        parts.append(tag("p", f"{prose('; '.join(model.notes))}.", class_="note"))
    if not model.calibrations:
        return join(*parts)
    lead = (
        "Every setting was left out in turn, with all its measurements, and predicted from the others: on the line "
        "the prediction is right, and nine in ten bars should reach it (90% intervals for a measurement, noise "
        "included)."
    )
    parts.append(tag("h3", "Asked about settings that it was not shown"))
    parts.append(tag("p", lead, class_="lead"))
    labels = _labels(data)
    parts.append(tag("div", *(_left_out_chart(item, labels) for item in model.calibrations), class_="pair"))
    parts.append(_calibration_table(model.calibrations))
    return join(*parts)


def _applies(name: str, data: ReportData, model: Explanation) -> bool:
    """Whether a check had anything to look at: its silence is only then worth a word."""
    if name == "repeats-disagree":
        return any(p.repeats > 1 and p.sem for item in model.calibrations for p in item.points)
    if name == "nothing-feasible":
        return bool(data.problem.outcome_constraints)
    if name == "best-on-the-edge":
        return len(data.problem.objectives) == 1
    return True


def _card(item: Finding) -> Markup:
    return tag(
        "section",
        tag("header", tag("h3", prose(item.seen)), tag("span", item.severity, class_=f"badge {item.severity}")),
        tag("p", prose(item.means), " ", tag("span", prose(item.remedy), class_="remedy"), class_="rationale"),
        class_="card finding",
    )


def _labels(data: ReportData) -> dict[tuple[tuple[str, object], ...], list[tuple[dict[str, float], str]]]:
    found: dict[tuple[tuple[str, object], ...], list[tuple[dict[str, float], str]]] = {}
    for row in data.experiments:
        means = {name: outcome.mean for name, outcome in row.outcomes.items()}
        found.setdefault(tuple(sorted(row.values.items())), []).append((means, f"#{row.ordinal}"))
    return found


def _label(
    point: LeftOut, outcome: str, labels: dict[tuple[tuple[str, object], ...], list[tuple[dict[str, float], str]]]
) -> str:
    for means, label in labels.get(tuple(sorted(point.values.items())), []):
        if means.get(outcome) == point.measured:
            return label
    return "an earlier measurement"


def _left_out_chart(
    item: Calibration, labels: dict[tuple[tuple[str, object], ...], list[tuple[dict[str, float], str]]]
) -> Markup:
    """Draw predictions of left-out settings against what was measured there."""
    width, height = 430, 330
    measured = [p.measured for p in item.points]
    low, high = padded([*measured, *(p.mean for p in item.points)])
    x = Scale(low, high, 62, width - 14)
    y = Scale(low, high, height - 46, 30)
    parts: list[Child] = []
    for value in y.ticks(5):
        parts.append(tag("line", x1=x.start, x2=x.end, y1=y(value), y2=y(value), class_="grid"))
        parts.append(text(x.start - 8, y(value) + 3.5, tick_text(value), anchor="end"))
        parts.append(text(x(value), y.start + 17, tick_text(value)))
    parts.append(tag("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    parts.append(path([(x(low), y(low)), (x(high), y(high))], "reference"))
    unit = f" [{pretty_unit(item.unit)}]" if item.unit else ""
    for p in sorted(item.points, key=lambda p: abs(p.residual)):
        top, foot = (y(min(max(p.mean + side * NINE * p.sd, low), high)) for side in (1, -1))
        is_off = abs(p.residual) > NINE
        parts.append(
            tag("line", x1=x(p.measured), x2=x(p.measured), y1=top, y2=foot, class_="whisker" if is_off else "reach")
        )
        hint = tag(
            "title",
            f"{_label(p, item.outcome, labels)}: measured {number(p.measured)}{unit}, expected {number(p.mean)} ± "
            f"{number(p.sd, 2)} without it",
        )
        size, class_ = (3.6, "mark") if is_off else (2.8, "mark-plain")
        parts.append(tag("circle", hint, cx=x(p.measured), cy=y(p.mean), r=size, class_=class_))
    worst = [p for p in sorted(item.points, key=lambda p: -abs(p.residual))[:3] if abs(p.residual) > 2.5]
    for p in worst:
        parts.append(
            text(x(p.measured) + 6, y(p.mean) - 5, _label(p, item.outcome, labels), class_="tick", anchor="start")
        )
    parts.append(text((x.start + x.end) / 2, height - 8, f"measured {item.outcome}{unit}", class_="label"))
    parts.append(text(0, 14, "predicted without it", class_="label", anchor="start"))
    return figure(width, height, f"{item.outcome}: predictions of left-out settings", *parts, class_="chart half")


def _calibration_table(items: Sequence[Calibration]) -> Markup:
    heads: list[Child] = [
        "outcome",
        "settings",
        "variation explained",
        "within 50% interval",
        "within 90% interval",
        "likelier than by the mean",
    ]
    rows: list[list[Child]] = []
    for item in items:
        rows.append(
            [
                named(item.outcome, item.unit),
                item.settings,
                f"{max(item.r2, 0.0):.0%}" if item.r2 > 0 else "none",
                f"{item.coverage_50:.0%}",
                f"{item.coverage_90:.0%}",
                f"{_factor(item.gain)} times",
            ]
        )
    note = (
        "Variation explained is of left-out settings. The last column says how much likelier a measurement was by the "
        "model than by a constant with its spread, on the average (geometric)."
    )
    return join(data_table(heads, rows, [False] + [True] * 5), tag("p", note, class_="note"))


def _factor(gain: float) -> str:
    """Write e to a mean difference of log densities, without overflow."""
    from math import exp

    return "over 1000" if gain > 6.9 else number(exp(gain), 2)


def importance_part(model: Explanation | None) -> Markup:
    """Which parameters matter: a panel of bars for each outcome."""
    if model is None or model.sensitivity is None:
        return Markup("")
    found = model.sensitivity
    outcomes = list(dict.fromkeys(item.outcome for item in found.importances))
    panels = [_bars(outcome, found.of(outcome)) for outcome in outcomes]
    parts: list[Child] = [
        tag("h3", "Which parameters matter"),
        tag(
            "p",
            f"{found.what} Full bar: first. Pale bar: total, in figures, and its interval.",
            class_="lead",
        ),
        tag("div", *panels, class_="pair"),
    ]
    strong = [item for item in found.interactions if item.low > 0.02]
    if strong:
        told = "; ".join(
            f"{item.first} and {item.second}, {item.share:.0%} of {item.outcome} ({item.low:.0%} to {item.high:.0%})"
            for item in sorted(strong, key=lambda item: -item.share)[:4]
        )
        parts.append(tag("p", f"Act together beyond what each does alone: {told}.", class_="note"))
    return join(*parts)


def _bars(outcome: str, items: Sequence[Importance]) -> Markup:
    ordered = sorted(items, key=lambda item: -(item.first if item.total is None else item.total))[:12]
    width, step = 430, 25
    height = 34 + step * len(ordered) + 22
    x = Scale(0.0, 1.0, 150, width - 44)
    parts: list[Child] = [text(0, 14, outcome, class_="label", anchor="start")]
    foot = 28 + step * len(ordered)
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(tag("line", x1=x(value), x2=x(value), y1=24, y2=foot, class_="grid"))
        parts.append(text(x(value), foot + 15, f"{value:.0%}"))
    for k, item in enumerate(ordered):
        y = 30 + step * k
        parts.append(text(x.start - 8, y + 12, _cut(item.parameter), class_="label", anchor="end"))
        if item.total is not None and item.total_low is not None and item.total_high is not None:
            parts.append(tag("rect", x=x.start, y=y + 2, width=x(item.total) - x.start, height=13, class_="total"))
        parts.append(tag("rect", x=x.start, y=y + 2, width=x(item.first) - x.start, height=13, class_="first"))
        ends = (item.first_low, item.first_high) if item.total_low is None else (item.total_low, item.total_high)
        low, high = ends[0], ends[1] if ends[1] is not None else item.first_high
        parts.append(tag("line", x1=x(low), x2=x(high), y1=y + 8.5, y2=y + 8.5, class_="interval"))
        shown = item.first if item.total is None else item.total
        parts.append(text(x(max(shown, high)) + 6, y + 12.5, f"{shown:.0%}", anchor="start"))
    return figure(width, height, f"Importance of the parameters for {outcome}", *parts, class_="chart half")


def _cut(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:20]}…"


def maps_section(data: ReportData) -> Markup:
    """Maps over the pairs of parameters that matter most."""
    model = data.model
    if model is None or model.landscape is None or not model.landscape.maps:
        return Markup("")
    landscape = model.landscape
    base = settings(landscape.base, data.problem)
    lead = (
        f"Predicted by the model, the other parameters at {base}. Dots are measured settings, wherever their other "
        "parameters were; the ring is the best point."
    )
    if any(any(chain(*_faint(item, outcome))) for item in landscape.maps for outcome in item.mean):
        lead += (
            " Struck through is where the model hardly knows: one standard deviation there is more than half of what "
            "the map spans."
        )
    if any(not all(row) for item in landscape.maps for row in item.allowed):
        lead += " Blank is what the sums of parameters do not allow."
    parts: list[Child] = [tag("h2", "Two parameters at a time"), tag("p", lead, class_="lead")]
    if landscape.likely_share is not None and landscape.feasible_share is not None:
        parts.append(
            tag(
                "p",
                f"All bounds on outcomes hold, more likely than not, in {landscape.likely_share:.0%} of all settings; "
                f"each as surely as asked for in {landscape.feasible_share:.0%}.",
            )
        )
    seen = [p.values for item in model.calibrations[:1] for p in item.points]
    for item in landscape.maps:
        here = (landscape.base[item.first], landscape.base[item.second])
        at = [(v[item.first], v[item.second]) for v in seen if item.first in v and item.second in v]
        on = ground(
            (data.problem.parameter(item.first), data.problem.parameter(item.second)),
            (item.first_values, item.second_values),
            item.allowed,
            here,
            at,
        )
        parts.append(tag("div", *_panels(item, on, data), class_="maps"))
    return join(*parts)


def _panels(item: Map, on: Ground, data: ReportData) -> list[Markup]:
    panels = []
    for outcome, mean in item.mean.items():
        limits = _limits(item, outcome)
        if limits is None:
            continue
        faint = _faint(item, outcome)
        unit = data.problem.unit(outcome)
        words = (number(limits[0], 3), f"{number(limits[1], 3)}{f' {pretty_unit(unit)}' if unit else ''}")
        title = f"{outcome} over {item.first} and {item.second}"
        panels.append(_panel(outcome, map_chart(on, mean, title, limits, faint=faint), legend(limits, words)))
    for name, grid in (("all bounds hold", item.feasible), ("the process works", item.works)):
        if grid is not None:
            title = f"Probability that {name}, over {item.first} and {item.second}"
            chart = map_chart(on, grid, title, (0.0, 1.0), class_="heat cool")
            panels.append(_panel(f"P({name})", chart, legend((0.0, 1.0), ("0%", "100%"), class_="heat cool")))
    return panels


def _limits(item: Map, outcome: str) -> tuple[float, float] | None:
    """Return the least and the greatest mean where the map is allowed; None where it is nowhere."""
    cells = zip(chain(*item.mean[outcome]), chain(*item.allowed), strict=True)
    kept = [value for value, is_allowed in cells if is_allowed]
    return (min(kept), max(kept)) if kept else None


def _faint(item: Map, outcome: str) -> list[list[bool]]:
    """Return for each cell whether it is allowed and hardly known."""
    low, high = _limits(item, outcome) or (0.0, 0.0)
    reach = UNKNOWN * (high - low)
    rows = zip(item.sd[outcome], item.allowed, strict=True)
    return [[a and sd > reach for sd, a in zip(sds, allowed, strict=True)] for sds, allowed in rows]


def _panel(name: str, chart: Markup, bar: Markup) -> Markup:
    return tag("figure", tag("figcaption", name), chart, bar, class_="panel map")
