"""How good everything tried so far is, in one number: the best value, or the hypervolume of several objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from athanor.planners.problem import Problem


class Merit:
    """The merit of a growing set of points; larger is better.

    With one objective it is the best feasible score (the value itself, its negative when minimised, minus the distance
    to a target). With several it is the hypervolume that the feasible points dominate above the reference point; where
    an objective has no reference, the worst of the first points seen stands in for it.
    """

    def __init__(self, problem: Problem, reference: Sequence[float] | None = None) -> None:
        self.problem = problem
        self._points: list[list[float]] = []
        given = [objective.reference_score for objective in problem.objectives]
        self._reference = list(reference) if reference is not None else None
        if self._reference is None and all(value is not None for value in given):
            self._reference = [float(value) for value in given if value is not None]
        self.value: float | None = None

    def add(self, outcomes: Mapping[str, float]) -> float | None:
        """Take one point in (empty: it failed) and return the merit so far, None before the first that counts."""
        from athanor.console.overview import covers, scores

        point = scores(self.problem, outcomes)
        if len(self.problem.objectives) == 1:
            if point is not None and (self.value is None or point[0] > self.value):
                self.value = point[0]
            return self.value
        if self._reference is not None and self.value is None:
            self.value = 0.0
        if point is None:
            return self.value
        if self._reference is None:
            self._reference = list(point)
        if any(covers(known, point) for known in self._points):
            return self.value  # it adds nothing
        self._points = [known for known in self._points if not covers(point, known)] + [point]
        self.value = hypervolume(self._points, self._reference)
        return self.value


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """Return the volume that points dominate above a reference point; every coordinate is to be large.

    Exact, by slicing along the last coordinate; meant for the few points and objectives of a report.
    """
    inside = [list(point) for point in points if all(a > b for a, b in zip(point, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return max(point[0] for point in inside) - reference[0]
    if len(reference) == 2:
        return _area(inside, reference)
    total = 0.0
    levels = sorted({point[-1] for point in inside}, reverse=True)
    for upper, lower in zip(levels, [*levels[1:], reference[-1]], strict=True):
        slab = [point[:-1] for point in inside if point[-1] >= upper]
        total += (upper - lower) * hypervolume(slab, reference[:-1])
    return total


def _area(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float:
    """The same in two dimensions, by one walk along the first coordinate."""
    total, height = 0.0, reference[1]
    for x, y in sorted(map(tuple, points), reverse=True):
        if y > height:
            total += (x - reference[0]) * (y - height)
            height = y
    return total
