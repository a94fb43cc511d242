"""What chance would have found: random campaigns of the same length on the same simulated laboratory."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from athanor.console.merit import Merit
from athanor.console.report.data import Advantage

if TYPE_CHECKING:
    from athanor.planners.problem import Problem

ARMS = 24

Truth = Callable[[Mapping[str, float | int | str]], dict[str, float]]
Curve = list[float | None]


def truth_or_nothing(truth: Truth, values: Mapping[str, float | int | str]) -> dict[str, float]:
    """Return the noise-free outcomes at a point; nothing where the process fails there."""
    from athanor.instruments.laboratory import ProcessFailed

    try:
        return truth(values)
    except ProcessFailed:
        return {}


def curve(problem: Problem, truths: Sequence[Mapping[str, float]]) -> Curve:
    """Return the merit after each point in turn."""
    merit = Merit(problem)
    return [merit.add(outcomes) for outcomes in truths]


def random_arms(problem: Problem, truth: Truth, length: int, seed: int, arms: int = ARMS) -> list[Curve]:
    """Run random campaigns in process, scored on the noise-free truth.

    Args:
        problem: of the campaign; the arms draw from the same space.
        truth: the laboratory's noise-free outcomes.
        length: experiments per arm.
        seed: of the campaign; arm k draws from seed + 1000 + k.
        arms: how many.
    """
    from athanor.planners.random import RandomPlanner

    curves: list[Curve] = []
    for index in range(arms):
        planner = RandomPlanner(problem, seed=seed + 1000 + index)
        points = [candidate.values for candidate in planner.suggest(length)]
        curves.append(curve(problem, [truth_or_nothing(truth, point) for point in points]))
    return curves


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile by linear interpolation. Minus infinity stands for nothing found."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    if ordered[low] == ordered[high]:
        return ordered[low]
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def band(curves: Sequence[Curve], share: float) -> Curve:
    """Return a quantile across arms after each experiment; None where it stands for arms that found nothing."""
    result: Curve = []
    for column in zip(*curves, strict=True):
        value = quantile([-math.inf if v is None else v for v in column], share)
        result.append(value if math.isfinite(value) else None)
    return result


def advantage(campaign: Curve, curves: Sequence[Curve]) -> Advantage | None:
    """Compare a campaign with random arms of the same length; None when there is nothing to compare."""
    if not campaign or campaign[-1] is None or not curves:
        return None
    final = campaign[-1]
    ends = [c[-1] for c in curves if c and c[-1] is not None]
    if len(ends) < len(curves) / 2:
        return None
    # An arm that found nothing that counts is worth no more than the worst that did.
    worst = min(ends)
    all_ends = ends + [worst] * (len(curves) - len(ends))
    median = statistics.median(all_ends)
    differences = [final - end for end in all_ends]
    reached = next((n for n, value in enumerate(campaign, 1) if value is not None and value >= median), None)
    return Advantage(
        difference=final - median,
        low=quantile(differences, 0.025),
        high=quantile(differences, 0.975),
        beaten=sum(final > end for end in all_ends),
        arms=len(curves),
        median_final=median,
        campaign_final=final,
        experiments_to_match=reached,
        experiments_median=len(curves[0]),
    )
