"""The pictures of a report as inline SVG: crisp at any size, a few kilobytes each, coloured by the page's own style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from athanor.console.report.data import EvidencePoint, Progress
from athanor.console.report.markup import Child, Markup, join, tag
from athanor.console.report.scale import Scale, padded, tick_text
from athanor.console.wording import e_value, number, pretty_unit

Point = tuple[float, float]


def figure(width: int, height: int, title: str, *children: Child, class_: str = "chart") -> Markup:
    """Return an SVG picture with its description for readers who cannot see it."""
    return tag(
        "svg",
        tag("title", title),
        *children,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=title,
        class_=class_,
        preserveAspectRatio="xMidYMid meet",
    )


def text(x: float, y: float, words: str, *, class_: str = "tick", anchor: str = "middle") -> Markup:
    """Return a piece of text at a place."""
    return tag("text", words, x=x, y=y, class_=class_, text_anchor=anchor)


def path(points: Sequence[Point], class_: str, *, closed: bool = False) -> Markup:
    """Return a line through points."""
    steps = " ".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
    return tag("path", d=steps + ("Z" if closed else ""), class_=class_)


def stairs(points: Sequence[Point]) -> list[Point]:
    """Return a staircase through points: a value holds until the next one."""
    result: list[Point] = []
    for x, y in points:
        if result:
            result.append((x, result[-1][1]))
        result.append((x, y))
    return result


def frame(x: Scale, y: Scale, x_label: str, y_label: str, *, x_count: int = 8, y_count: int = 5) -> Markup:
    """Return gridlines, ticks and axis titles."""
    parts: list[Child] = []
    for value in y.ticks(y_count):
        place = y(value)
        parts.append(tag("line", x1=x.start, x2=x.end, y1=place, y2=place, class_="grid"))
        parts.append(text(x.start - 8, place + 3.5, tick_text(value), anchor="end"))
    parts.append(tag("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    for value in x.ticks(x_count):
        place = x(value)
        parts.append(tag("line", x1=place, x2=place, y1=y.start, y2=y.start + 4, class_="axis"))
        parts.append(text(place, y.start + 18, tick_text(value)))
    parts.append(text((x.start + x.end) / 2, y.start + 38, x_label, class_="label"))
    parts.append(text(x.start - 8, y.end - 14, y_label, class_="label", anchor="start"))
    return join(*parts)


MARK_WORDS = {
    "plain": "experiment",
    "test": "test of a hypothesis",
    "operator": "put up by a person",
    "failed": "failed",
}


def progress_chart(progress: Progress) -> Markup:
    """Draw the best so far beside the random arms."""
    width, height = 880, 360
    length = max(len(progress.campaign), len(progress.median), 2)
    everything = [
        value
        for series in (progress.campaign, progress.low, progress.high, progress.median)
        for value in series
        if value is not None
    ]
    for value, error in zip(progress.campaign, progress.errors, strict=False):
        if value is not None and error is not None:
            everything += [value - error, value + error]
    if progress.reference is not None:
        everything.append(progress.reference)
    if not everything:
        return Markup("")
    low, high = padded(everything, floor=0.0 if min(everything) >= 0 else None)
    x = Scale(1, length, 62, width - 158)
    y = Scale(low, high, height - 50, 34)
    unit = f" [{pretty_unit(progress.unit)}]" if progress.unit else ""
    count = min(8, length - 1)  # whole experiments alone
    parts: list[Child] = [frame(x, y, "experiments that used the instrument", progress.merit + unit, x_count=count)]
    band_top = [(x(i), y(v)) for i, v in enumerate(progress.high, 1) if v is not None]
    # Where the lower quartile of the arms has found nothing yet, the band reaches down to the axis.
    pairs = enumerate(zip(progress.low, progress.high, strict=True), 1)
    band_low = [(x(i), y(below if below is not None else low)) for i, (below, above) in pairs if above is not None]
    if band_top and band_low:
        parts.append(path([*stairs(band_top), *reversed(stairs(band_low))], "band", closed=True))
    median = [(x(i), y(v)) for i, v in enumerate(progress.median, 1) if v is not None]
    if median:
        parts.append(path(stairs(median), "baseline"))
    if progress.reference is not None:
        place = y(progress.reference)
        parts.append(tag("line", x1=x.start, x2=x.end, y1=place, y2=place, class_="reference"))
    curve = [(i, v) for i, v in enumerate(progress.campaign, 1) if v is not None]
    # Where nothing changes the staircase needs no steps.
    steps = [pair for k, pair in enumerate(curve) if k in (0, len(curve) - 1) or pair[1] != curve[k - 1][1]]
    line = [(x(i), y(v)) for i, v in steps]
    parts.append(path(stairs(line), "campaign"))
    floor = y.start - 6
    for index, value in enumerate(progress.campaign, 1):
        error = progress.errors[index - 1] if index <= len(progress.errors) else None
        if value is not None and error and (index == 1 or value != progress.campaign[index - 2]):
            top, foot = y(min(value + error, high)), y(max(value - error, low))
            parts.append(tag("line", x1=x(index), x2=x(index), y1=top, y2=foot, class_="whisker"))
        mark = progress.marks[index - 1] if index <= len(progress.marks) else "plain"
        hint = tag("title", f"#{index}: {number(value)}{unit} ({MARK_WORDS[mark]})")
        if mark == "failed":
            parts.append(cross(x(index), floor, hint))
        elif value is not None and mark in ("test", "operator"):
            parts.append(_diamond(x(index), y(value), hint, f"mark-{mark}"))
        elif value is not None and (index == 1 or value != progress.campaign[index - 2]):
            parts.append(tag("circle", hint, cx=x(index), cy=y(value), r=3.6, class_="mark"))
    labels: list[tuple[float, str, str]] = []
    if line:
        labels.append((line[-1][1], "this campaign", "campaign-text"))
    if median:
        labels.append((median[-1][1], f"random, median of {progress.arms}", "baseline-text"))
    if progress.reference is not None:
        labels.append((y(progress.reference), "best possible", "reference-text"))
    for place, words, class_ in spread(labels, 15):
        parts.append(text(x.end + 8, place + 4, words, class_=f"end {class_}", anchor="start"))
    return figure(width, height, f"{progress.merit} after each experiment, beside random arms", *parts)


def spread(labels: Sequence[tuple[float, str, str]], gap: float) -> list[tuple[float, str, str]]:
    """Move labels apart vertically so that none covers another."""
    result: list[tuple[float, str, str]] = []
    for place, words, class_ in sorted(labels):
        if result and place - result[-1][0] < gap:
            place = result[-1][0] + gap
        result.append((place, words, class_))
    return result


def cross(x: float, y: float, hint: Markup) -> Markup:
    """Draw the mark of a failure."""
    arm = 3.2
    left, right, top, foot = (f"{place:.1f}" for place in (x - arm, x + arm, y - arm, y + arm))
    d = f"M{left} {top}L{right} {foot}M{left} {foot}L{right} {top}"
    return tag("path", hint, d=d, class_="mark-failed")


def _diamond(x: float, y: float, hint: Markup, class_: str) -> Markup:
    r = 4.4
    return tag(
        "path",
        hint,
        d=f"M{x:.1f} {y - r:.1f}L{x + r:.1f} {y:.1f}L{x:.1f} {y + r:.1f}L{x - r:.1f} {y:.1f}Z",
        class_=class_,
    )


def front_chart(
    points: Sequence[tuple[float, float, bool, str]],
    axes: tuple[tuple[str, bool], tuple[str, bool]],
    reference: tuple[float | None, float | None] = (None, None),
    errors: Mapping[str, tuple[float | None, float | None]] | None = None,
) -> Markup:
    """Draw two objectives against each other.

    Args:
        errors: the standard errors of points, by their label.
        points: (first, second, whether on the front, label) of every measured point.
        axes: label and "larger is better" of each objective.
        reference: the values from which on nothing counts, where the problem gives them.
    """
    width, height = 880, 380
    front = [p for p in points if p[2]]
    inside = [p for p in points if p[2] or _is_near(p, front, axes, reference)]
    xs = [p[0] for p in inside] + ([reference[0]] if reference[0] is not None else [])
    ys = [p[1] for p in inside] + ([reference[1]] if reference[1] is not None else [])
    x = Scale(*padded(xs), 62, width - 24)
    y = Scale(*padded(ys), height - 50, 34)
    (x_label, x_up), (y_label, y_up) = axes
    arrow_x, arrow_y = ("→ better" if x_up else "← better"), ("↑ better" if y_up else "↓ better")
    parts: list[Child] = [frame(x, y, f"{x_label}   {arrow_x}", f"{y_label}   {arrow_y}")]
    if reference[0] is not None and reference[1] is not None:
        corner = (x(reference[0]), y(reference[1]))
        if front:
            outline = _attained([(x(p[0]), y(p[1])) for p in front], corner, x_up, y_up)
            parts.append(path(outline, "attained", closed=True))
        parts.append(tag("circle", tag("title", "reference point"), cx=corner[0], cy=corner[1], r=3.5, class_="corner"))
        parts.append(text(corner[0] + 8, corner[1] + 4, "reference point", class_="tick", anchor="start"))
    labelled: list[Point] = []
    for first, second, is_front, label in sorted(inside, key=lambda p: p[2]):
        hint = tag("title", f"{label}: {number(first)}, {number(second)}")
        class_ = "mark" if is_front else "mark-plain"
        across, up = (errors or {}).get(label, (None, None))
        if is_front and across:
            parts.append(
                tag("line", x1=x(first - across), x2=x(first + across), y1=y(second), y2=y(second), class_="whisker")
            )
        if is_front and up:
            parts.append(tag("line", x1=x(first), x2=x(first), y1=y(second - up), y2=y(second + up), class_="whisker"))
        parts.append(tag("circle", hint, cx=x(first), cy=y(second), r=4.6 if is_front else 3.2, class_=class_))
        place = (x(first) + 7, y(second) - 6)
        if is_front and all(abs(place[0] - a) > 22 or abs(place[1] - b) > 13 for a, b in labelled):
            labelled.append(place)
            parts.append(text(*place, label, class_="tick", anchor="start"))
    left_out = len(points) - len(inside)
    if left_out:
        parts.append(text(x.end, y.end - 14, f"{left_out} measured points lie far outside", anchor="end"))
    return figure(width, height, f"Measured trade-off of {x_label} and {y_label}", *parts)


def _is_near(
    point: tuple[float, float, bool, str],
    front: Sequence[tuple[float, float, bool, str]],
    axes: tuple[tuple[str, bool], tuple[str, bool]],
    reference: tuple[float | None, float | None],
) -> bool:
    """Whether a point is not much worse than the reference: what lies far out would squeeze the rest together."""
    columns = ((point[0], [p[0] for p in front]), (point[1], [p[1] for p in front]))
    for (value, values), limit, (_, is_up) in zip(columns, reference, axes, strict=True):
        if limit is None:
            continue
        best = (max(values) if is_up else min(values)) if values else limit
        if (limit - value if is_up else value - limit) > 0.6 * abs(best - limit):
            return False
    return True


def _attained(front: Sequence[Point], corner: Point, x_up: bool, y_up: bool) -> list[Point]:
    """Return the outline, in pixels, of what points dominate above a corner: a staircase from the best in x back."""
    flip_x, flip_y = (1 if x_up else -1), (-1 if y_up else 1)  # pixels grow downwards
    inside = [p for p in front if (p[0] - corner[0]) * flip_x > 0 and (p[1] - corner[1]) * flip_y > 0]
    ordered = sorted(inside, key=lambda p: -p[0] * flip_x)
    outline: list[Point] = [corner]
    reach = corner[1]
    for px, py in ordered:
        if (py - reach) * flip_y > 0:
            outline += [(px, reach), (px, py)]
            reach = py
    outline.append((corner[0], reach))
    return outline


def evidence_chart(evidence: Sequence[EvidencePoint], support: float | None, refute: float | None) -> Markup:
    """Draw the e-values block by block on a logarithmic axis, with the thresholds that decide.

    Args:
        evidence: natural logarithms of the e-values after each block.
        support, refute: natural logarithms of the thresholds.
    """
    width, height = 400, 170
    limits = [value for value in (support, refute) if value is not None]
    top = max([*limits, *(max(p.log_e_support, p.log_e_refute) for p in evidence), 1.0]) * 1.08
    bottom = max(min([0.0, *(min(p.log_e_support, p.log_e_refute) for p in evidence)]), -top)
    x = Scale(0, max(len(evidence), 2), 44, width - 84)
    y = Scale(bottom, top, height - 34, 16)
    parts: list[Child] = [tag("line", x1=x.start, x2=x.end, y1=y(0), y2=y(0), class_="axis")]
    decade = math.log(10) * max(1, math.ceil(top / math.log(10) / 4))
    levels = [k * decade for k in range(math.ceil(bottom / decade), math.floor(top / decade) + 1)]
    for level in levels:
        if level:
            parts.append(tag("line", x1=x.start, x2=x.end, y1=y(level), y2=y(level), class_="grid"))
        parts.append(text(x.start - 6, y(level) + 3.5, e_value(level), anchor="end"))
    for index in range(1, len(evidence) + 1):
        if len(evidence) <= 12 or index % 5 == 0:
            parts.append(text(x(index), height - 18, str(index)))
    parts.append(text((x.start + x.end) / 2, height - 3, "blocks", class_="tick"))
    labels: list[tuple[float, str, str]] = []
    same = support is not None and refute is not None and math.isclose(support, refute)
    thresholds = (
        [(support, "decides", "")] if same else [(support, "supports", "support"), (refute, "refutes", "refute")]
    )
    for limit, words, class_ in thresholds:
        if limit is not None:
            parts.append(tag("line", x1=x.start, x2=x.end, y1=y(limit), y2=y(limit), class_=f"limit {class_}".strip()))
            labels.append((y(limit), words, "baseline-text"))
    for name, class_, words in (("log_e_support", "support", "for"), ("log_e_refute", "refute", "against")):
        line = [(x(0), y(0.0))] + [(x(i), y(max(getattr(point, name), bottom))) for i, point in enumerate(evidence, 1)]
        parts.append(path(line, f"evidence {class_}"))
        parts.extend(tag("circle", cx=px, cy=py, r=2.6, class_=f"dot {class_}") for px, py in line[1:])
        labels.append((line[-1][1], words, f"{class_}-text"))
    for place, words, class_ in spread(labels, 13):
        parts.append(text(x.end + 6, place + 4, words, class_=f"end {class_}", anchor="start"))
    return figure(width, height, "Evidence for and against, block by block", *parts, class_="chart small")
