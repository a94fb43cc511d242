"""The best so far of several campaigns in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from athanor.console.report.charts import figure, frame, path, spread, stairs, text
from athanor.console.report.markup import Child, Markup
from athanor.console.report.scale import Scale, padded
from athanor.console.wording import pretty_unit

LINES = 6
"""Kinds of lines: by colour and by dashes, and each is named at its end."""


def comparison_chart(curves: Mapping[str, Sequence[tuple[int, float]]], merit: str, unit: str | None) -> Markup:
    """Draw steps (experiment, value) by name; nothing where there are none."""
    values = [value for steps in curves.values() for _, value in steps]
    if not values:
        return Markup("")
    width, height = 880, 340
    length = max(2, *(steps[-1][0] for steps in curves.values() if steps))
    x = Scale(1, length, 62, width - 198)
    y = Scale(*padded(values), height - 50, 34)
    label = merit + (f" [{pretty_unit(unit)}]" if unit else "")
    parts: list[Child] = [frame(x, y, "experiments that used the instrument", label, x_count=min(8, length - 1))]
    ends: list[tuple[float, str, str]] = []
    for index, (name, steps) in enumerate(curves.items()):
        if steps:
            line = [(x(number), y(value)) for number, value in steps]
            parts.append(path(stairs(line), f"compared compared-{index % LINES + 1}"))
            ends.append((line[-1][1], f"{index + 1}: {name}", f"compared-{index % LINES + 1}"))
    for place, words, class_ in spread(ends, 15):
        parts.append(text(x.end + 8, place + 4, words, class_=f"end {class_}", anchor="start"))
    return figure(width, height, f"{label} of {', '.join(curves)}", *parts)
