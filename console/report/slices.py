"""The parameter-effect picture: one small panel per parameter and outcome, on a scale shared along each outcome."""

from __future__ import annotations

from collections.abc import Sequence

from athanor.console.report.charts import figure, path, text
from athanor.console.report.data import Slice
from athanor.console.report.markup import Child, Markup, tag
from athanor.console.report.scale import Scale, padded, tick_text
from athanor.console.wording import number, pretty_unit
from athanor.planners.problem import Categorical, Continuous, Integer, Ordinal, Problem

WIDTH, HEIGHT = 214, 158


def slice_chart(item: Slice, problem: Problem, y_range: tuple[float, float], *, is_first: bool) -> Markup:
    """Draw how one outcome is predicted to change along one parameter, with twice the standard deviation around it."""
    parameter = problem.parameter(item.parameter)
    left = 46
    y = Scale(*y_range, HEIGHT - 34, 12)
    parts: list[Child] = []
    for value in y.ticks(3):
        parts.append(tag("line", x1=left, x2=WIDTH - 8, y1=y(value), y2=y(value), class_="grid"))
        if is_first:
            parts.append(text(left - 6, y(value) + 3.5, tick_text(value), anchor="end"))
    parts.append(tag("line", x1=left, x2=WIDTH - 8, y1=y.start, y2=y.start, class_="axis"))
    if isinstance(parameter, Categorical):
        parts += _levels(item, y, left)
    else:
        parts += _curve(item, parameter, y, left)
    unit = f" [{pretty_unit(parameter.unit)}]" if parameter.unit else ""
    parts.append(text((left + WIDTH - 8) / 2, HEIGHT - 3, f"{item.parameter}{unit}", class_="label"))
    return figure(WIDTH, HEIGHT, f"{item.outcome} along {item.parameter}", *parts, class_="chart slice")


def _curve(item: Slice, parameter: Continuous | Integer | Ordinal, y: Scale, left: float) -> list[Child]:
    xs = [float(value) for value in item.positions]
    log = isinstance(parameter, Continuous) and parameter.log
    x = Scale(min(xs), max(xs), left, WIDTH - 8, log=log)

    def clip(value: float) -> float:
        # A band beyond the axis is cut at its edge.
        return min(max(value, y.low), y.high)

    top = [(x(a), y(clip(m + 2 * s))) for a, m, s in zip(xs, item.mean, item.sd, strict=True)]
    low = [(x(a), y(clip(m - 2 * s))) for a, m, s in zip(xs, item.mean, item.sd, strict=True)]
    parts: list[Child] = [path([*top, *reversed(low)], "band ember", closed=True)]
    parts.append(path([(x(a), y(clip(m))) for a, m in zip(xs, item.mean, strict=True)], "campaign thin"))
    here = x(float(item.at))
    parts.append(tag("line", x1=here, x2=here, y1=y.start, y2=y.end, class_="here"))
    ticks = x.ticks(3)
    parts += [text(x(value), y.start + 14, tick_text(value)) for value in ticks]
    return parts


def _levels(item: Slice, y: Scale, left: float) -> list[Child]:
    parts: list[Child] = []
    step = (WIDTH - 8 - left) / len(item.positions)
    for index, (level, mean, sd) in enumerate(zip(item.positions, item.mean, item.sd, strict=True)):
        place = left + step * (index + 0.5)
        if level == item.at:
            parts.append(tag("line", x1=place, x2=place, y1=y.start, y2=y.end, class_="here"))
        high, low = min(mean + 2 * sd, y.high), max(mean - 2 * sd, y.low)
        parts.append(tag("line", x1=place, x2=place, y1=y(high), y2=y(low), class_="whisker"))
        parts.append(tag("circle", tag("title", number(mean)), cx=place, cy=y(mean), r=3.6, class_="mark"))
        parts.append(text(place, y.start + 14, level_text(str(level))))
    return parts


def slice_grid(slices: Sequence[Slice], problem: Problem) -> Markup:
    """Return all panels, one row per outcome."""
    rows: list[Child] = []
    for outcome in problem.outcomes:
        row = [item for item in slices if item.outcome == outcome]
        if not row:
            continue
        # The mean sets the scale, and a part of the uncertainty: a panel that knows nothing must not flatten the rest.
        means = [value for item in row for value in item.mean]
        reach = sorted(sd for item in row for sd in item.sd)[len(row) * len(row[0].sd) // 2]
        y_range = padded([*means, min(means) - reach, max(means) + reach])
        unit = problem.unit(outcome)
        panels: list[Child] = []
        for index, item in enumerate(row):
            share = f"explains {item.share:.0%}" if item.share is not None else ""
            panels.append(
                tag(
                    "figure",
                    slice_chart(item, problem, y_range, is_first=index == 0),
                    tag("figcaption", share) if share else None,
                    class_="panel",
                )
            )
        rows.append(tag("h3", outcome, tag("span", f" [{pretty_unit(unit)}]" if unit else "", class_="unit")))
        rows.append(tag("div", *panels, class_="panels"))
    return tag("div", *rows)


def level_text(level: str) -> str:
    """Return a category's name, cut to fit under its place."""
    return level if len(level) <= 10 else f"{level[:8]}…"
