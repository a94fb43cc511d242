"""A campaign in pictures while it runs: what was measured so far, without truth and without random arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from athanor.console import overview
from athanor.console.merit import Merit
from athanor.console.report import charts
from athanor.console.report.build import merit_words
from athanor.console.report.data import Progress
from athanor.console.report.markup import Child, Markup, tag
from athanor.console.report.scale import Scale, padded, tick_text
from athanor.console.report.slices import HEIGHT, WIDTH, level_text
from athanor.console.wording import number, pretty_unit
from athanor.planners.problem import Categorical, Continuous

if TYPE_CHECKING:
    from athanor.console.overview import Overview
    from athanor.memory.records import Experiment
    from athanor.planners.problem import Parameter

MOST = 300
MARKS = {"confirm": "test", "operator": "operator"}


def progress(view: Overview) -> Markup:
    """The best so far after each experiment that used the instrument, with the error of what was measured there."""
    spent = [item for item in view.experiments if item.state in overview.SPENT and item.state != "in_doubt"]
    words, unit, scale, _ = merit_words(view.problem, None)
    merit = Merit(view.problem)
    curve: list[float | None] = []
    errors: list[float | None] = []
    one = view.problem.objectives[0].name if len(view.problem.objectives) == 1 else None
    for item in spent:
        seen = view.observed.get(item.id, {}) if item.state == "completed" else {}
        value = merit.add({name: mean for name, (mean, _) in seen.items()})
        curve.append(None if value is None else value * scale)
        errors.append(seen.get(one, (0.0, None))[1] if one is not None else None)
    if not any(value is not None for value in curve):
        return Markup("")
    return charts.progress_chart(
        Progress(
            merit=words,
            unit=unit,
            is_truth=False,
            campaign=curve,
            errors=errors,
            marks=[_mark(item) for item in spent],
        )
    )


def _mark(item: Experiment) -> str:
    return MARKS.get(item.purpose, "plain") if item.state in ("completed", "running", "dispatched") else "failed"


def front(view: Overview) -> Markup:
    """Two objectives against each other; nothing where there are not two, or nothing was measured.

    Of many experiments, the newest `MOST`, and the best.
    """
    if len(view.problem.objectives) != 2:
        return Markup("")
    first, second = view.problem.objectives
    held = {(tuple(sorted(item.values.items()))) for item in view.best}
    points, errors = [], {}
    for index, item in enumerate(view.experiments):
        seen = view.observed.get(item.id, {})
        is_best = tuple(sorted(item.values.items())) in held
        if first.name not in seen or second.name not in seen or (not is_best and index < len(view.experiments) - MOST):
            continue
        label = item.id.rpartition(".")[2]
        points.append((seen[first.name][0], seen[second.name][0], is_best, label))
        errors[label] = (seen[first.name][1], seen[second.name][1])
    if not points:
        return Markup("")
    labels = [f"{o.name} [{pretty_unit(o.unit)}]" if o.unit else o.name for o in (first, second)]
    axes = ((labels[0], first.goal == "maximize"), (labels[1], second.goal == "maximize"))
    return charts.front_chart(points, axes, (first.reference, second.reference), errors)


def space(view: Overview, outcome: str) -> list[Markup]:
    """Where it was looked: an outcome against each parameter over its whole range; failures stand at the foot.

    Of many experiments, the newest `MOST`, and the best.
    """
    held = {tuple(sorted(item.values.items())) for item in view.best}
    ended = [item for item in view.experiments if item.state in ("completed", "failed", "aborted", "stopped_early")]
    seen = [
        (item, view.observed.get(item.id, {}).get(outcome), is_best)
        for index, item in enumerate(reversed(ended))
        if (is_best := tuple(sorted(item.values.items())) in held) or index < MOST
    ]
    values = [pair[0] for _, pair, _ in seen if pair is not None]
    if not values:
        return []
    y = Scale(*padded(values), HEIGHT - 42, 12)
    return [
        _panel(parameter, seen, outcome, y, is_first=index == 0)
        for index, parameter in enumerate(view.problem.parameters)
    ]


def _panel(
    parameter: Parameter,
    seen: list[tuple[Experiment, tuple[float, float | None] | None, bool]],
    outcome: str,
    y: Scale,
    *,
    is_first: bool,
) -> Markup:
    left, right = 46, WIDTH - 8
    parts: list[Child] = []
    for value in y.ticks(3):
        parts.append(tag("line", x1=left, x2=right, y1=y(value), y2=y(value), class_="grid"))
        if is_first:
            parts.append(charts.text(left - 6, y(value) + 3.5, tick_text(value), anchor="end"))
    foot = HEIGHT - 34
    parts.append(tag("line", x1=left, x2=right, y1=foot, y2=foot, class_="axis"))
    if isinstance(parameter, Categorical):
        levels = list(parameter.values)
        step = (right - left) / len(levels)
        places = {level: left + step * (index + 0.5) for index, level in enumerate(levels)}
        parts += [charts.text(place, foot + 14, level_text(str(level))) for level, place in places.items()]
    else:
        low, high = _ends(parameter)
        x = Scale(low, high, left + 4, right - 4, log=isinstance(parameter, Continuous) and parameter.log)
        parts += [charts.text(x(value), foot + 14, tick_text(value)) for value in x.ticks(3)]
        places = {}
    for item, pair, is_best in seen:
        given = item.values.get(parameter.name)
        if given is None:
            continue
        px = places.get(str(given)) if places else x(float(given))
        if px is None:
            continue
        short = item.id.rpartition(".")[2]
        if pair is None:
            parts.append(charts.cross(px, foot - 5, tag("title", f"#{short}: {item.state.replace('_', ' ')}")))
            continue
        hint = tag("title", f"#{short}: {parameter.name} {number(given)}, {outcome} {number(pair[0])}")
        size, class_ = (4.2, "mark") if is_best else (2.8, "mark-plain")
        parts.append(tag("circle", hint, cx=px, cy=y(pair[0]), r=size, class_=class_))
    unit = f" [{pretty_unit(parameter.unit)}]" if parameter.unit else ""
    parts.append(charts.text((left + right) / 2, HEIGHT - 3, f"{parameter.name}{unit}", class_="label"))
    return charts.figure(WIDTH, HEIGHT, f"{outcome} along {parameter.name}, as measured", *parts, class_="chart slice")


def _ends(parameter: Parameter) -> tuple[float, float]:
    if hasattr(parameter, "values"):
        found = [float(value) for value in parameter.values]
        return min(found), max(found)
    return float(parameter.low), float(parameter.high)
