"""Has a reference measurement changed? A control chart that needs no long history, and what drift adds to a `sem`.

The chart is the change-point chart for a mean and a spread that are both unknown: after every reference, each split of
the readings into an older and a newer part is tested, and the largest score is compared with a limit. A newer part of
one reading is a Shewhart rule with limits that know how uncertain their centre and spread are; longer ones find what is
small or slow, as a CUSUM does, without a size of shift to be chosen. The limit is computed for the whole chart, so that
the chance of *any* false alarm on it, with mean and spread estimated from its own readings, is at most `alpha`.

Sources: D. M. Hawkins, P. Qiu and C. W. Kang, "The changepoint model for statistical process control", Journal of
Quality Technology 35 (2003) 355-366; D. M. Hawkins, "Self-starting CUSUM charts for location and scale", The
Statistician 36 (1987) 299-316; D. L. Wallace, "Bounds on normal approximations to Student's and the chi-square
distributions", Annals of Mathematical Statistics 30 (1959) 1121-1130, for the score. Uncertainty from control charts:
Nordtest TR 537, "Handbook for calculation of measurement uncertainty in environmental laboratories".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ALPHA = 0.01
"""Chance that a whole chart of a steady instrument ever alarms."""

DRAWS = 40_000
"""Charts of a steady instrument that a limit is computed from, fewer where a chart is very long."""

FEWEST = 3
"""Readings that the older part of a split needs at the least."""

RESOLUTION = 1e-9
"""Spread, relative to the reading, below which nothing is told apart from rounding."""


@dataclass(frozen=True)
class Spread:
    """What is known of the spread before a chart begins.

    Attributes:
        sd: standard deviation of one reading where a person states it; nothing is estimated then.
        squares, df: sum of squares and degrees of freedom of earlier charts of the same reference.
    """

    sd: float | None = None
    squares: float = 0.0
    df: int = 0


@dataclass(frozen=True)
class Reading:
    """One reference on its chart.

    Attributes:
        value: as measured.
        centre, low, high: mean of those before, and the limits for this one alone; None within the baseline.
        score: the largest over all splits, in standard deviations of a normal distribution; 0 within the baseline.
        newer: readings in the newer part of that split.
        is_out: whether the score is above the chart's limit.
    """

    value: float
    centre: float | None
    low: float | None
    high: float | None
    score: float
    newer: int
    is_out: bool


@dataclass(frozen=True)
class Change:
    """What an alarm says: the newer part of the readings lies `shift` sd from the older."""

    index: int
    newer: int
    before: float
    after: float
    sd: float

    @property
    def shift(self) -> float:
        """How far the level has moved, in standard deviations of one reading."""
        return (
            (self.after - self.before) / self.sd if self.sd > 0 else math.copysign(math.inf, self.after - self.before)
        )


def lengths(n: int, baseline: int) -> list[int]:
    """Sizes of the newer part that are tested after `n` readings: all up to 8, then every fourth more of the last."""
    sizes, size = [], 1
    while size <= n - baseline:
        sizes.append(size)
        size = size + 1 if size < 8 else math.ceil(size * 1.25)
    return sizes


def scores(x: Floats, baseline: int, spread: Spread, floor: float = 0.0) -> tuple[Floats, Ints]:
    """Score every chart after each reading.

    A split's t statistic, with the spread pooled from within both parts, is put on the scale of a normal deviate, so
    that splits with few and with many degrees of freedom can be compared.

    Args:
        x: readings (charts, n).
        baseline: readings that come before any test.
        spread: what is known of it before.
        floor: least variance of one reading.

    Returns:
        The largest score (charts, n), 0 within the baseline, and the size of the newer part it belongs to.
    """
    charts, count = x.shape
    rows = np.ascontiguousarray(x.T)  # one reading of every chart side by side: several times as fast
    sums = np.zeros((count + 1, charts))
    squares = np.zeros((count + 1, charts))
    np.cumsum(rows, axis=0, out=sums[1:])
    np.cumsum(rows * rows, axis=0, out=squares[1:])
    best, newer = np.zeros((count, charts)), np.zeros((count, charts), dtype=np.int64)
    for n in range(baseline + 1, count + 1):
        df = n - 2 + spread.df
        for k in lengths(n, baseline):
            a = n - k
            later = sums[n] - sums[a]
            distance = np.square(later / k - sums[a] / a) / (1.0 / a + 1.0 / k)
            if spread.sd is not None:
                score = distance / max(spread.sd**2, floor, 1e-300)
            else:
                within = squares[n] - sums[a] ** 2 / a - later**2 / k
                variance = (np.maximum(within, 0.0) + spread.squares) / df
                score = np.log1p(distance / np.maximum(variance, max(floor, 1e-300)) / df)
            is_larger = score > best[n - 1]
            np.copyto(best[n - 1], score, where=is_larger)
            np.copyto(newer[n - 1], k, where=is_larger)
        if spread.sd is None:
            best[n - 1] *= _scale(df)
    return np.sqrt(best).T, newer.T


def _scale(df: int) -> float:
    """What log(1 + t²/df) is multiplied by to be the square of a normal deviate (Wallace)."""
    return ((8 * df + 1) / (8 * df + 3)) ** 2 * df


@lru_cache(maxsize=64)
def limit(baseline: int, planned: int, alpha: float = ALPHA, *, is_known: bool = False, df: int = 0) -> float:
    """The score that a steady instrument's chart passes with probability `alpha` at the most.

    Charts of a steady instrument have one distribution of scores whatever its mean and spread, so that it is enough to
    draw standard normal ones. The quantile is taken on the safe side of what so many draws leave open (99.9 %).

    Args:
        baseline, planned: readings before any test, and readings the chart will have in all.
        alpha: chance of a false alarm on the whole chart.
        is_known: whether the spread is stated and not estimated.
        df: degrees of freedom of the spread from earlier charts.
    """
    if planned <= baseline:
        return math.inf
    draws = max(20_000, min(DRAWS, DRAWS * 40 // planned))
    generator = np.random.default_rng([20031021, baseline, planned, int(is_known), df])
    tops: list[Floats] = []
    batch = max(500, min(10_000, 2_000_000 // planned))
    for start in range(0, draws, batch):
        size = min(batch, draws - start)
        x = generator.standard_normal((size, planned))
        if is_known:
            known = Spread(sd=1.0)
            tops.append(scores(x, baseline, known)[0].max(axis=1))
        elif df:
            tops.append(_with_earlier(x, baseline, generator.chisquare(df, size), df))
        else:
            tops.append(scores(x, baseline, Spread())[0].max(axis=1))
    allowed = math.floor(alpha * draws - 3.09 * math.sqrt(alpha * (1 - alpha) * draws))
    if allowed < 1:
        raise ValueError(f"alpha {alpha:g} is too small for {draws} draws; ask for 0.0005 or more")
    return float(np.sort(np.concatenate(tops))[draws - allowed])


def _with_earlier(x: Floats, baseline: int, squares: Floats, df: int) -> Floats:
    """The largest score of each chart, each with its own earlier sum of squares (charts,)."""
    # Spread.squares is added to every chart's own: an array of one per chart works as a number does.
    earlier = Spread(squares=squares, df=df)  # type: ignore[arg-type]
    best, _ = scores(x, baseline, earlier)
    return np.asarray(best.max(axis=1))


def read(
    values: Sequence[float],
    baseline: int,
    top: float,
    spread: Spread | None = None,
    sems: Sequence[float | None] = (),
) -> list[Reading]:
    """Put readings on a chart.

    Args:
        values: in the order they were measured.
        baseline: readings before any test.
        top: the limit of the score.
        spread: what is known of it before.
        sems: standard errors of the readings, where replicates tell them. No reading repeats better than that: their
            mean square is the least variance the chart assumes.
    """
    spread = spread or Spread()
    if not values:
        return []
    first = values[0]
    unit = max((abs(v - first) for v in values), default=0.0) or 1.0
    known = [s for s in sems if s is not None]
    size = max(abs(v) for v in values)
    floor = max((RESOLUTION * size) ** 2, float(np.mean(np.square(known))) if known else 0.0)
    scaled = Spread(None if spread.sd is None else spread.sd / unit, spread.squares / unit**2, spread.df)
    x = np.array([[(v - first) / unit for v in values]])
    best, newer = scores(x, baseline, scaled, floor / unit**2)
    readings = []
    for index, value in enumerate(values):
        if index < baseline:
            readings.append(Reading(value, None, None, None, 0.0, 0, False))
            continue
        earlier = np.array(values[:index])
        centre = float(earlier.mean())
        df = index - 1 + spread.df
        if spread.sd is not None:
            reach = top * max(spread.sd, math.sqrt(floor))
        else:
            within = float(np.square(earlier - centre).sum()) + spread.squares
            t = math.sqrt(df * math.expm1(top**2 / _scale(df))) if math.isfinite(top) else math.inf
            reach = t * math.sqrt(max(within / df, floor))
        reach *= math.sqrt(1.0 + 1.0 / index)
        score = float(best[0, index])
        low, high = (centre - reach, centre + reach) if math.isfinite(reach) else (None, None)
        readings.append(Reading(value, centre, low, high, score, int(newer[0, index]), score > top))
    return readings


def change(readings: Sequence[Reading], spread: Spread | None = None) -> Change | None:
    """What the first alarm on a chart says, None where there is none."""
    for index, reading in enumerate(readings):
        if reading.is_out:
            values = np.array([r.value for r in readings[: index + 1]])
            older, later = values[: -reading.newer], values[-reading.newer :]
            sd = repeatability([float(v) for v in older], spread)
            return Change(index, reading.newer, float(older.mean()), float(later.mean()), sd)
    return None


def repeatability(values: Sequence[float], spread: Spread | None = None) -> float:
    """Standard deviation of one reading of a steady reference: as stated, else from these and earlier readings."""
    spread = spread or Spread()
    if spread.sd is not None:
        return spread.sd
    df = len(values) - 1 + spread.df
    if df < 1:
        return 0.0
    return math.sqrt((float(np.square(np.array(values) - np.mean(values)).sum()) + spread.squares) / df)


def wander(at: Sequence[int], values: Sequence[float], baseline: int, sd: float) -> float:
    """Variance that the instrument's level gains per experiment, from the successive differences after the baseline.

    Two readings of a steady level differ by 2 sd² in the mean square; what is beyond that is the level's own:
    var = (mean d² - 2 sd²) / (mean experiments between). It is 0 unless the excess is more than its own standard error
    on a steady level, sd² 2 √(3n - 1) / n for n differences.

    Args:
        at: ordinals of the references.
        values: their readings.
        baseline: how many of them are the baseline.
        sd: repeatability of one reading.
    """
    if len(values) <= baseline or baseline < 1:
        return 0.0
    d = np.diff(np.array(values[baseline - 1 :], dtype=float))
    gap = float(np.mean(np.diff(np.array(at[baseline - 1 :], dtype=float))))
    count = len(d)
    excess = float(np.mean(d**2)) - 2.0 * sd**2
    return excess / max(gap, 1.0) if excess > 2.0 * sd**2 * math.sqrt(3 * count - 1) / count else 0.0


def drift_error(ordinal: int, at: Sequence[int], values: Sequence[float], baseline: int, sd: float) -> float:
    """What drift adds to the standard error of an observation: root mean square offset of the level from the baseline.

    The offset is taken for a random walk that starts at 0 and gains `wander` per experiment; a reference shows it with
    an error of `sd`. Given the references up to the observation, and the next one where it is there, the offset has a
    mean m and a variance v (Kalman filter, and one step back from the next reference); this is √(m² + v).

    Args:
        ordinal: of the observation's experiment.
        at, values: ordinals and readings of the references known, in order.
        baseline: how many of them are the baseline.
        sd: repeatability of one reading.
    """
    rate = wander(at, values, baseline, sd)
    if rate == 0.0:
        return 0.0
    level, centre = 0.0, float(np.mean(values[:baseline]))
    variance, last = 0.0, at[baseline - 1]
    for place, value in zip(at[baseline:], values[baseline:], strict=True):
        there = variance + rate * (place - last)
        gain = there / (there + sd**2) if there + sd**2 > 0 else 0.0
        if place > ordinal:
            here = variance + rate * max(0, ordinal - last)
            share = here / (there + sd**2) if there + sd**2 > 0 else 0.0
            return math.sqrt((level + share * (value - centre - level)) ** 2 + here * (1.0 - share))
        level, variance, last = level + gain * (value - centre - level), there * (1.0 - gain), place
    return math.sqrt(level**2 + variance + rate * max(0, ordinal - last))
