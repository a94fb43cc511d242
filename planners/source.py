"""Earlier data that a campaign may learn from: points of another campaign, or of a table, in the problem's units.

A source is no part of the campaign's own measurements. Nothing is concluded from it unless the campaign's own results
bear it out (`athanor.planners.transfer`). Nothing heavy is imported here, so that a campaign's file can be checked in
milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from athanor.planners.parameters import Categorical, Continuous, Level, Name, Record, Value
from athanor.planners.problem import Problem
from athanor.planners.protocol import Measured

LEAST = 5
"""Points that a source must have for an outcome to be modelled."""

REACH = 1.0
"""How far beyond a parameter's range, in widths of the range, a source's point may lie and still be used."""

Text = Annotated[str, Field(strict=True)]


class SourcePoint(Record):
    """One earlier measurement: values of the problem's parameters, as far as they are known, and its outcomes."""

    values: Annotated[dict[Name, Level | Text], Field(min_length=1)]
    outcomes: Annotated[dict[Name, Measured], Field(min_length=1)]

    if TYPE_CHECKING:

        def __init__(self, *, values: Mapping[str, Value], outcomes: Mapping[str, Measured]) -> None: ...


class Source(Record):
    """Earlier data on the same outcomes: where they are from, the points, and what was left out in reading them.

    All points give values for the same parameters: those of the problem that the source knows. The others had some
    value that nobody knows, the same for all points.
    """

    name: Annotated[str, Field(strict=True, min_length=1, max_length=200)]
    origin: Text = ""
    points: Annotated[tuple[SourcePoint, ...], Field(min_length=1)]
    notes: tuple[Text, ...] = ()

    if TYPE_CHECKING:

        def __init__(
            self, *, name: str, origin: str = "", points: Sequence[SourcePoint], notes: Sequence[str] = ()
        ) -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = set(self.points[0].values)
        for number, point in enumerate(self.points, 1):
            if set(point.values) != names:
                other = ", ".join(sorted(names ^ set(point.values)))
                raise ValueError(f"source {self.name}: point {number} and point 1 do not both give {other}")
        return self

    def validate_for(self, problem: Problem) -> Self:
        """Return the source if the problem can learn from it.

        Raises:
            ValueError: a name that is no parameter of the problem, a value of the wrong kind, or too few usable points.
        """
        for name in self.points[0].values:
            if name not in problem.names:
                raise ValueError(f"source {self.name}: {name} is no parameter; use {', '.join(problem.names)}")
        for number, point in enumerate(self.points, 1):
            for name, value in point.values.items():
                if isinstance(value, str) != isinstance(problem.parameter(name), Categorical):
                    kind = "a word" if isinstance(problem.parameter(name), Categorical) else "a number"
                    raise ValueError(f"source {self.name}: point {number}: {name} = {value!r} is not {kind}")
        usable, notes = self.usable(problem)
        counts = Counter(name for point in usable for name in point.outcomes if name in problem.outcomes)
        if max(counts.values(), default=0) < LEAST:
            known = ", ".join(f"{name} at {count}" for name, count in counts.items()) or "none of its outcomes"
            left = f" ({'; '.join(notes)})" if notes else ""
            raise ValueError(
                f"source {self.name}: {LEAST} usable points of one outcome are needed; it has {known}{left}"
            )
        return self

    def usable(self, problem: Problem) -> tuple[list[SourcePoint], list[str]]:
        """Return the points that can be placed in the problem's space, and in words what was left out or is unknown."""
        kept, why = [], Counter[str]()
        for point in self.points:
            reason = next((r for n, v in point.values.items() if (r := _beyond(problem, n, v))), None)
            if reason is None:
                kept.append(point)
            else:
                why[reason] += 1
        notes = [f"{count} point{'s' if count > 1 else ''} left out: {reason}" for reason, count in why.items()]
        unknown = [name for name in problem.names if name not in self.points[0].values]
        if unknown:
            notes.append(f"nothing known about {', '.join(unknown)}")
        return kept, notes


def _beyond(problem: Problem, name: str, value: Value) -> str | None:
    """Why a value has no place in the problem's space or lies too far outside to mean anything there, None if it does.

    A value a little outside the bounds is as good a measurement as any.
    """
    parameter = problem.parameter(name)
    if isinstance(parameter, Categorical):
        return None if value in parameter.values else f"{name} is {value}, which is no choice here"
    if isinstance(parameter, Continuous) and parameter.log and float(value) <= 0:
        return f"{name} is not above 0, and is on a logarithmic scale here"
    far = not -REACH <= parameter.to_unit(value) <= 1.0 + REACH
    return f"{name} lies more than its range's width outside the range" if far else None
