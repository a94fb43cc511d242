"""Maps over two parameters: bands of colour for what is predicted there, dots for what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from athanor.console.report.charts import figure, text
from athanor.console.report.markup import Child, Markup, tag
from athanor.console.report.scale import Scale, tick_text
from athanor.console.report.slices import level_text
from athanor.console.wording import pretty_unit
from athanor.planners.problem import Continuous, Parameter, Value

WIDTH, HEIGHT = 300, 264
LEFT, RIGHT, TOP, FOOT = 50, 8, 30, 46
BANDS = 10
"""Bands of colour."""

Grid = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Axis:
    """One side of a map: positions of a parameter, even on paper, from pixel `start` to pixel `end`."""

    parameter: Parameter
    values: Sequence[Value]
    start: float
    end: float

    @property
    def step(self) -> float:
        """The width of one cell in pixels, negative upwards."""
        return (self.end - self.start) / len(self.values)

    def edge(self, index: int) -> float:
        """Return where the cell of that index begins."""
        return self.start + index * self.step

    def __call__(self, value: Value) -> float | None:
        """Return the place of a value; None for one that is not on the axis."""
        if isinstance(self.parameter, Continuous):
            return self._scale(float(value))
        near = [i for i, level in enumerate(self.values) if level == value]
        if not near and not isinstance(value, str):
            near = [min(range(len(self.values)), key=lambda i: abs(float(self.values[i]) - float(value)))]
        return self.edge(near[0]) + 0.5 * self.step if near else None

    def ticks(self, count: int) -> list[tuple[float, str]]:
        """Return places and words of about `count` ticks."""
        if isinstance(self.parameter, Continuous):
            return [(self._scale(value), tick_text(value)) for value in self._scale.ticks(count)]
        every = max(1, -(-len(self.values) // (count + 2)))
        return [
            (self.edge(i) + 0.5 * self.step, level_text(v) if isinstance(v, str) else tick_text(float(v)))
            for i, v in list(enumerate(self.values))[::every]
        ]

    @property
    def _scale(self) -> Scale:
        assert isinstance(self.parameter, Continuous)
        half = 0.5 * self.step
        low, high = float(self.values[0]), float(self.values[-1])
        return Scale(low, high, self.start + half, self.end - half, log=self.parameter.log)


@dataclass(frozen=True)
class Ground:
    """What all panels of one pair of parameters share: both axes, what is allowed, and the places to mark."""

    across: Axis
    up: Axis
    allowed: Sequence[Sequence[bool]]
    here: tuple[Value, Value]
    measured: Sequence[tuple[Value, Value]]


def ground(
    parameters: tuple[Parameter, Parameter],
    values: tuple[Sequence[Value], Sequence[Value]],
    allowed: Sequence[Sequence[bool]],
    here: tuple[Value, Value],
    measured: Sequence[tuple[Value, Value]],
) -> Ground:
    """Return the ground of a map; `values` are the positions along both axes."""
    across = Axis(parameters[0], values[0], LEFT, WIDTH - RIGHT)
    up = Axis(parameters[1], values[1], HEIGHT - FOOT, TOP)
    return Ground(across, up, allowed, here, measured)


def map_chart(
    on: Ground,
    values: Grid,
    title: str,
    limits: tuple[float, float],
    *,
    class_: str = "heat",
    faint: Sequence[Sequence[bool]] | None = None,
) -> Markup:
    """Draw one map; `limits` are the values of the palest and the fullest colour, `faint` cells are struck through."""
    low, high = limits
    parts: list[Child] = []
    for i, row in enumerate(values):
        bands = [
            min(BANDS - 1, max(0, int((value - low) / (high - low) * BANDS))) if high > low else 0 for value in row
        ]
        runs = _runs(bands, on.allowed[i])
        parts += [_run(on, i, first, last, band, class_) for first, last, band in runs if band is not None]
    if faint is not None:
        parts.append(_strokes(on, faint))
    for place, words in on.across.ticks(3):
        parts.append(text(place, on.up.start + 15, words))
    for place, words in on.up.ticks(4):
        parts.append(text(LEFT - 6, place + 3.5, words, anchor="end"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, _named(on.across.parameter), class_="label"))
    parts.append(text(0, TOP - 16, f"↑ {_named(on.up.parameter)}", class_="label", anchor="start"))
    for first, second in on.measured:
        x, y = on.across(first), on.up(second)
        if x is not None and y is not None:
            parts.append(tag("circle", cx=x, cy=y, r=2.1, class_="mark-seen"))
    x, y = on.across(on.here[0]), on.up(on.here[1])
    if x is not None and y is not None:
        parts.append(tag("circle", tag("title", "best point"), cx=x, cy=y, r=6, class_="mark-here"))
    return figure(WIDTH, HEIGHT, title, *parts, class_="chart map")


def legend(limits: tuple[float, float], words: tuple[str, str], *, class_: str = "heat") -> Markup:
    """Draw the bar of colours under a map, with the words at its ends."""
    width, height = WIDTH, 15
    left, right = 90.0, WIDTH - 90.0
    step = (right - left) / BANDS
    parts: list[Child] = [
        tag("rect", x=left + k * step, y=4, width=step, height=8, class_=class_, fill_opacity=_opacity(k))
        for k in range(BANDS)
    ]
    parts.append(text(left - 6, 12, words[0], anchor="end"))
    parts.append(text(right + 6, 12, words[1], anchor="start"))
    return figure(width, height, f"from {words[0]} to {words[1]}", *parts, class_="chart map legend")


def _opacity(band: int) -> str:
    return f"{0.10 + 0.85 * band / (BANDS - 1):.2f}"


def _runs(bands: Sequence[int], allowed: Sequence[bool]) -> list[tuple[int, int, int | None]]:
    """Join neighbouring cells of one band: (first, last, band), None where nothing is allowed."""
    found: list[tuple[int, int, int | None]] = []
    for k, (band, is_allowed) in enumerate(zip(bands, allowed, strict=True)):
        own = band if is_allowed else None
        if found and found[-1][2] == own:
            found[-1] = (found[-1][0], k, own)
        else:
            found.append((k, k, own))
    return found


def _run(on: Ground, row: int, first: int, last: int, band: int, class_: str) -> Markup:
    x, end = on.across.edge(first), on.across.edge(last + 1)
    top, foot = on.up.edge(row + 1), on.up.edge(row)
    return tag("rect", x=x, y=top, width=end - x, height=foot - top, class_=class_, fill_opacity=_opacity(band))


def _strokes(on: Ground, faint: Sequence[Sequence[bool]]) -> Markup:
    steps = []
    for i, row in enumerate(faint):
        for k, is_faint in enumerate(row):
            if is_faint and on.allowed[i][k]:
                x, y = on.across.edge(k), on.up.edge(i)
                steps.append(f"M{x:.1f} {y:.1f}L{x + on.across.step:.1f} {y + on.up.step:.1f}")
    return tag("path", d="".join(steps), class_="unknown") if steps else Markup("")


def _named(parameter: Parameter) -> str:
    return f"{parameter.name} [{pretty_unit(parameter.unit)}]" if parameter.unit else parameter.name
