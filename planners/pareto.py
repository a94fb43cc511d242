"""Which measured points are not dominated, and the hypervolume they dominate. Light: standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from athanor.planners.problem import Problem
from athanor.planners.protocol import Observation


def pareto(problem: Problem, observations: Sequence[Observation]) -> list[Observation]:
    """Return the observations no other one beats in every objective (for one objective: the first of the best).

    Observations that lack an objective are left out; outcome constraints are the caller's business.
    """
    names = [o.name for o in problem.objectives]
    complete = [o for o in observations if set(names) <= set(o.outcomes)]
    scores = [scores_of(problem, {n: o.outcomes[n].mean for n in names}) for o in complete]
    chosen = non_dominated(scores)
    if len(names) == 1:
        chosen = chosen[:1]
    return [complete[i] for i in chosen]


def scores_of(problem: Problem, outcomes: Mapping[str, float]) -> tuple[float, ...]:
    """Return one score per objective, more is better."""
    return tuple(o.score(outcomes[o.name]) for o in problem.objectives)


def non_dominated(scores: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the score vectors that no other vector beats (more is better; of equals, the first)."""
    chosen = []
    for i, own in enumerate(scores):
        beaten = any(
            all(b >= a for a, b in zip(own, other, strict=True)) and (tuple(other) != tuple(own) or j < i)
            for j, other in enumerate(scores)
            if j != i
        )
        if not beaten:
            chosen.append(i)
    return chosen


def hypervolume(problem: Problem, observations: Sequence[Observation], reference: Mapping[str, float]) -> float:
    """Return the volume, in the product of the objectives' units, dominated beyond the reference point.

    `reference` gives one outcome per objective (for a target: the largest deviation that counts). Computed by
    slicing along the last objective, exact for any number of objectives; meant for the tens of points of a campaign.
    """
    origin = []
    for objective in problem.objectives:
        value = reference[objective.name]
        origin.append(-abs(value) if objective.target is not None else objective.score(value))
    points = []
    for observation in observations:
        if all(o.name in observation.outcomes for o in problem.objectives):
            scores = scores_of(problem, {n: m.mean for n, m in observation.outcomes.items() if n in reference})
            gains = tuple(s - r for s, r in zip(scores, origin, strict=True))
            if all(g > 0 for g in gains):
                points.append(gains)
    return _volume(points)


def _volume(points: Sequence[tuple[float, ...]]) -> float:
    """Volume of the union of the boxes from the origin to each point."""
    if not points:
        return 0.0
    if len(points[0]) == 1:
        return max(p[0] for p in points)
    ordered = sorted(points, key=lambda p: p[-1], reverse=True)
    total = 0.0
    for i, point in enumerate(ordered):
        below = ordered[i + 1][-1] if i + 1 < len(ordered) else 0.0
        if point[-1] > below:
            total += (point[-1] - below) * _volume([p[:-1] for p in ordered[: i + 1]])
    return total
