"""How results grow with the number of evaluations: small panels of medians and quartiles over seeds, as one SVG file.

Written out directly, since a picture that is committed should need no browser to be made again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from benchmarks.planning.gathered import LEAST, Gathered
from benchmarks.planning.problems import Vector
from benchmarks.planning.runner import base

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777")
"""Of Okabe and Ito: told apart also by those who see fewer colours. Ours comes first."""
WIDTH, HEIGHT, COLUMNS = 270, 200, 4
LEFT, TOP, RIGHT, BOTTOM = 46, 26, 8, 30
HEAD = 34


@dataclass(frozen=True)
class Series:
    """One method in one panel: places (n,), and the quartiles there (n, 3)."""

    method: str
    x: Vector
    y: Vector


@dataclass(frozen=True)
class Panel:
    """The methods on one problem."""

    title: str
    across: str
    series: Sequence[Series]


def panels(found: Gathered) -> list[Panel]:
    """One panel for each problem that was run; both axes of seconds are logarithmic, only the upright one else."""
    if found.part.unit == "seconds":
        return _timed(found)
    made = []
    for p in found.part.problems:
        seeds = found.seeds(p)
        series = []
        for m in found.able(p) if seeds else []:
            curves = np.array([found.runs[p, m][seed].losses for seed in seeds])
            quartiles = np.quantile(curves, [0.25, 0.5, 0.75], axis=0).T
            series.append(Series(m, np.arange(1.0, len(quartiles) + 1), quartiles))
        if series:
            made.append(Panel(f"{p} ({len(seeds)} seeds)", "evaluations", series))
    return made


def _timed(found: Gathered) -> list[Panel]:
    made = []
    for name in dict.fromkeys(base(p)[0] for p in found.part.problems):
        series = []
        for m in found.methods:
            points = []
            for p in found.part.problems:
                if base(p)[0] == name and len(taken := found.seconds(p, m)):
                    points.append((float(base(p)[1]), *np.quantile(taken, [0.25, 0.5, 0.75])))
            if points:
                series.append(Series(m, np.array(points)[:, 0], np.array(points)[:, 1:]))
        if series:
            made.append(Panel(name, "known points, logarithmic", series))
    return made


def svg(found: Gathered) -> str:
    """The picture. Raises `ValueError` when there is nothing to show."""
    made = panels(found)
    if not made:
        raise ValueError(f"{found.part.name}: no runs to draw; python -m benchmarks.planning run {found.part.name}")
    columns = min(COLUMNS, len(made))
    rows = math.ceil(len(made) / columns)
    width, height = columns * WIDTH, HEAD + rows * HEIGHT
    what = {"regret": "regret", "hypervolume": "hypervolume left to gain", "seconds": "seconds for a suggestion"}
    title = f"{found.part.title}: {what[found.part.unit]}, median and quartiles over seeds"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_legend(found, title),
    ]
    is_timed = found.part.unit == "seconds"
    for i, panel in enumerate(made):
        corner = (i % columns) * WIDTH, HEAD + (i // columns) * HEIGHT
        parts += [f'<g transform="translate({corner[0]},{corner[1]})">', *_panel(panel, found, is_timed), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _colour(found: Gathered, method: str) -> str:
    return COLOURS[found.part.methods.index(method) % len(COLOURS)]


def _legend(found: Gathered, title: str) -> list[str]:
    parts, x = [f'<text x="8" y="13" font-weight="bold">{escape(title)}</text>'], 8.0
    for m in found.methods:
        parts.append(f'<rect x="{x:g}" y="20" width="14" height="4" fill="{_colour(found, m)}"/>')
        parts.append(f'<text x="{x + 18:g}" y="26">{escape(m)}</text>')
        x += 30 + 6.5 * len(m)
    return parts


def _panel(panel: Panel, found: Gathered, is_timed: bool) -> list[str]:
    every = np.maximum(np.concatenate([s.y.ravel() for s in panel.series]), LEAST)
    low, high = math.log10(float(every.min())), math.log10(float(every.max()))
    if high - low < 0.1:
        low, high = low - 0.05, high + 0.05
    places = np.concatenate([s.x for s in panel.series])
    first, last = float(places.min()), max(float(places.max()), float(places.min()) + 1.0)
    across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at_x(value: float) -> float:
        share = math.log(value / first) / math.log(last / first) if is_timed else (value - first) / (last - first)
        return LEFT + across * share

    def at_y(value: float) -> float:
        return TOP + up * (high - math.log10(max(value, LEAST))) / (high - low)

    parts = [
        f'<text x="{LEFT}" y="{TOP - 6}">{escape(panel.title)}</text>',
        f'<rect x="{LEFT}" y="{TOP}" width="{across}" height="{up}" fill="none" stroke="#999999"/>',
        f'<text x="{LEFT + across / 2:g}" y="{HEIGHT - 4}" text-anchor="middle">{escape(panel.across)}</text>',
    ]
    for value in _ticks(low, high):
        y = at_y(value)
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + across}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end" font-size="9">{value:.2g}</text>')
    for value in (first, last):
        parts.append(
            f'<text x="{at_x(value):.1f}" y="{TOP + up + 12}" text-anchor="middle" font-size="9">{value:g}</text>'
        )
    for one in reversed(panel.series):  # ours comes last and lies on top
        colour = _colour(found, one.method)
        points = [[f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in zip(one.x, one.y[:, k], strict=True)] for k in range(3)]
        parts.append(
            f'<polygon points="{" ".join([*points[0], *reversed(points[2])])}" fill="{colour}" opacity="0.13"/>'
        )
        parts.append(
            f'<polyline points="{" ".join(points[1])}" fill="none" stroke="{colour}" stroke-width="1.6">'
            f"<title>{escape(one.method)}</title></polyline>"
        )
    return parts


def _ticks(low: float, high: float) -> list[float]:
    powers = [10.0**k for k in range(math.ceil(low), math.floor(high) + 1)]
    step = max(1, math.ceil(len(powers) / 6))
    return powers[::step] if len(powers) > 1 else [10.0**low, 10.0**high]
