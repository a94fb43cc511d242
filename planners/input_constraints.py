"""Constraints on parameters beyond sums: excluded combinations, cardinality, nonlinear inequalities.

Unlike a range or a sum they bind people too: what is excluded is mostly so for a reason that a hand does not remove.
Standard library and pydantic only, so that a campaign's file is checked without anything heavy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from athanor.planners.expressions import BadExpression, Expression
from athanor.planners.parameters import (
    Categorical,
    Continuous,
    Integer,
    InvalidPoint,
    Level,
    Name,
    Number,
    Ordinal,
    Record,
    Value,
)

Text = Annotated[str, Field(strict=True)]
AnyParameter = Continuous | Integer | Ordinal | Categorical

SLACK = 1e-9
"""Relative difference that is rounding: a value this near a bound lies on it."""


class ConstraintViolated(InvalidPoint):
    """A point that an input constraint forbids: names the constraint, the values and the remedy."""

    def __init__(self, constraint: InputConstraint, values: Mapping[str, Value]) -> None:
        given = ", ".join(
            f"{values[name]:g}" if _is_number(values[name]) else str(values[name]) for name in constraint.names
        )
        super().__init__("+".join(constraint.names), given, f"violates {constraint}", constraint.remedy(values))
        self.constraint = str(constraint)


class Condition(Record):
    """What a parameter's value is compared with, in its own unit: `above` and `below` exclude their bound.

    Short forms: a value for `equals`, a list for `one_of`. `between` includes both ends; `above` and `below` may be
    given together.
    """

    equals: Level | Text | None = None
    one_of: Annotated[tuple[Level | Text, ...], Field(min_length=1, max_length=1_000)] | None = None
    above: Number | None = None
    below: Number | None = None
    between: tuple[Number, Number] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            equals: Value | None = None,
            one_of: Sequence[Value] | None = None,
            above: float | None = None,
            below: float | None = None,
            between: tuple[float, float] | None = None,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        if isinstance(data, Mapping | Condition):
            return data
        if isinstance(data, list | tuple):
            return {"one_of": data}
        if isinstance(data, str | int | float) and not isinstance(data, bool):
            return {"equals": data}
        raise ValueError(f"{data!r} is no condition; give a value, a list of values, or {{above: number}}")

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if not given or (len(given) > 1 and set(given) != {"above", "below"}):
            raise ValueError("give one of equals, one_of, above, below, between (above and below may go together)")
        if self.above is not None and self.below is not None and not self.above < self.below:
            raise ValueError(f"above {self.above:g} and below {self.below:g} are never both so; the first is the lower")
        if self.between is not None and not self.between[0] < self.between[1]:
            raise ValueError(f"between needs a lower number first, got {self.between[0]:g} and {self.between[1]:g}")
        return self

    @property
    def listed(self) -> tuple[Value, ...] | None:
        """The values themselves, where they are listed."""
        return self.one_of if self.one_of is not None else None if self.equals is None else (self.equals,)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest number that it holds for (an end of `above` or `below` itself does not count)."""
        if self.between is not None:
            return self.between
        low, high = self.above, self.below
        return -math.inf if low is None else low, math.inf if high is None else high

    def said(self, name: str) -> str:
        """The condition as words about a parameter."""
        if self.listed is not None:
            values = " or ".join(str(value) for value in self.listed)
            return f"{name} = {values}"
        if self.between is not None:
            return f"{self.between[0]:g} ≤ {name} ≤ {self.between[1]:g}"
        low = f"{self.above:g} < " if self.above is not None and self.below is not None else ""
        rest = f"{name} < {self.below:g}" if self.below is not None else f"{name} > {self.above:g}"
        return low + rest

    def holds(self, value: Value) -> bool:
        """Whether it is so of a value; one within rounding of a bound counts as lying on it."""
        if self.listed is not None:
            return any(_equal(value, one) for one in self.listed)
        if isinstance(value, str):
            return False
        low, high = self.bounds
        if self.between is not None:
            return low <= value <= high or _equal(value, low) or _equal(value, high)
        return low < value < high and not _equal(value, low) and not _equal(value, high)

    def check(self, parameter: AnyParameter) -> None:
        """Raise `ValueError` where it is never so of a parameter, or cannot be asked of it."""
        name = parameter.name
        if isinstance(parameter, Categorical) and self.listed is None:
            raise ValueError(f"{name} is categorical and has no order; give one of {list(parameter.values)}")
        if self.listed is None:
            assert not isinstance(parameter, Categorical)
            if isinstance(parameter, Continuous):
                ends: Sequence[float] = (parameter.low, parameter.high)
                low, high = self.bounds
                inside = low < parameter.high and high > parameter.low
                is_met = inside or any(self.holds(end) for end in ends)
            else:
                ends = (parameter.levels[0], parameter.levels[-1])
                is_met = any(self.holds(level) for level in parameter.levels)
            if not is_met:
                raise ValueError(f"{self.said(name)} is never so within {ends[0]:g}..{ends[1]:g}: correct the number")
            return
        if self.one_of is not None and isinstance(parameter, Continuous):
            raise ValueError(f"{name} is continuous and takes no list of values; use above, below or between")
        for value in self.listed:
            parameter.validate_value(value)


class Exclusion(Record):
    """A combination that is forbidden: all conditions at once."""

    positional: ClassVar[tuple[str, ...]] = ("when",)
    kind: Literal["excluded"] = "excluded"
    when: Annotated[dict[Name, Condition], Field(min_length=1)]

    if TYPE_CHECKING:

        def __init__(self, when: Mapping[str, Any], kind: Literal["excluded"] = "excluded") -> None: ...

    @field_validator("when")
    @classmethod
    def _in_order(cls, when: dict[str, Condition]) -> dict[str, Condition]:
        # As it comes back from the JSON of a planner or a ledger: words and numbers must not depend on the order.
        return dict(sorted(when.items()))

    def __str__(self) -> str:
        """The combination in words."""
        return "excluded: " + " and ".join(condition.said(name) for name, condition in self.when.items())

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters it speaks of."""
        return tuple(self.when)

    def is_satisfied(self, values: Mapping[str, Value]) -> bool:
        """Whether the point is not of the forbidden combination."""
        return not all(condition.holds(values[name]) for name, condition in self.when.items())

    def remedy(self, values: Mapping[str, Value]) -> str:
        """What would put a forbidden point right."""
        return f"Change {' or '.join(self.names)}"

    def check(self, parameters: Mapping[str, AnyParameter]) -> None:
        """Raise `ValueError` where it does not fit the parameters of a problem."""
        for name, condition in self.when.items():
            try:
                condition.check(parameters[name])
            except ValueError as error:
                raise ValueError(f"{self}: {error}") from error
        if all(_is_always(condition, parameters[name]) for name, condition in self.when.items()):
            raise ValueError(f"{self}: that is every point there is; narrow a condition")


class Cardinality(Record):
    """At most, and at least, so many of some amounts are not zero; `threshold` is the least that one of them can be.

    For parameters whose low is 0. `threshold` is in their own unit, and 0 remains allowed.
    """

    positional: ClassVar[tuple[str, ...]] = ("parameters", "at_most", "at_least", "threshold")
    kind: Literal["cardinality"] = "cardinality"
    parameters: Annotated[tuple[Name, ...], Field(min_length=1)]
    at_most: Annotated[int, Field(strict=True, ge=1)] | None = None
    at_least: Annotated[int, Field(strict=True, ge=0)] = 0
    threshold: Annotated[Number, Field(gt=0)] | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            parameters: Sequence[str],
            at_most: int | None = None,
            at_least: int = 0,
            threshold: float | None = None,
            kind: Literal["cardinality"] = "cardinality",
        ) -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = len(self.parameters)
        if len(set(self.parameters)) != count:
            raise ValueError(f"{', '.join(self.parameters)}: a parameter is named twice")
        if (self.at_most is None or self.at_most >= count) and self.at_least == 0 and self.threshold is None:
            raise ValueError(f"{', '.join(self.parameters)}: give at_most (below {count}), at_least or threshold")
        if self.at_least > self.most:
            raise ValueError(f"at_least {self.at_least} is more than the {self.most} that may be non-zero")
        return self

    @property
    def most(self) -> int:
        """How many may be non-zero."""
        return len(self.parameters) if self.at_most is None else min(self.at_most, len(self.parameters))

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters it speaks of."""
        return self.parameters

    def __str__(self) -> str:
        """The constraint in words."""
        counts = [f"at least {self.at_least}"] * (self.at_least > 0)
        counts += [f"at most {self.most}"] * (self.most < len(self.parameters))
        least = [] if self.threshold is None else [f"each 0 or at least {self.threshold:g}"]
        if not counts:
            return f"{', '.join(self.parameters)}: {least[0]}"
        return ", ".join([f"{' and '.join(counts)} of {', '.join(self.parameters)} non-zero", *least])

    def non_zero(self, values: Mapping[str, Value]) -> list[str]:
        """The parameters that are not zero at a point."""
        return [name for name in self.parameters if values[name] != 0]

    def too_little(self, values: Mapping[str, Value]) -> list[str]:
        """The parameters that are not zero and below the threshold."""
        floor = 0.0 if self.threshold is None else self.threshold * (1.0 - SLACK)
        return [name for name in self.non_zero(values) if float(values[name]) < floor]

    def is_satisfied(self, values: Mapping[str, Value]) -> bool:
        """Whether so many are non-zero as may be, and none too little."""
        return self.at_least <= len(self.non_zero(values)) <= self.most and not self.too_little(values)

    def remedy(self, values: Mapping[str, Value]) -> str:
        """What would put a forbidden point right."""
        found = self.non_zero(values)
        if len(found) > self.most:
            return f"Set {len(found) - self.most} of {', '.join(found)} to 0"
        if small := self.too_little(values):
            return f"Set {' and '.join(small)} to 0 or to {self.threshold:g} at least"
        others = [name for name in self.parameters if name not in found]
        return f"Give {self.at_least - len(found)} of {', '.join(others)} a value above 0"

    def check(self, parameters: Mapping[str, AnyParameter]) -> None:
        """Raise `ValueError` where it does not fit the parameters of a problem."""
        for name in self.parameters:
            parameter = parameters[name]
            if isinstance(parameter, Categorical):
                raise ValueError(
                    f"{self}: {name} is categorical and has no amount; leave it out, or exclude values of it"
                )
            low, high = parameter.from_unit(0.0), parameter.from_unit(1.0)
            if low != 0:
                raise ValueError(f"{self}: {name} begins at {low:g} and is never zero; let it begin at 0")
            if self.threshold is not None and self.threshold > high:
                raise ValueError(f"{self}: {name} ends at {high:g}, below the threshold; lower it")
        if self.threshold is not None and len({parameters[name].unit for name in self.parameters}) > 1:
            raise ValueError(f"{self}: one threshold for several units; make a constraint of each unit")


class NonlinearConstraint(Record):
    """lower ≤ expression ≤ upper, with the parameters in their own units.

    The language is that of `athanor.planners.expressions`. Where the expression has no finite value, such as a
    division by zero, the constraint is violated.
    """

    positional: ClassVar[tuple[str, ...]] = ("expression", "lower", "upper")
    kind: Literal["nonlinear"] = "nonlinear"
    expression: Text
    lower: Number | None = None
    upper: Number | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            expression: str,
            lower: float | None = None,
            upper: float | None = None,
            kind: Literal["nonlinear"] = "nonlinear",
        ) -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            Expression.parse(self.expression)
        except BadExpression as error:
            raise ValueError(f"expression: {error}") from error
        if self.lower is None and self.upper is None:
            raise ValueError(f"{self.expression}: give lower, upper or both")
        if self.lower is not None and self.upper is not None and not self.lower < self.upper:
            raise ValueError(
                f"{self.expression}: lower {self.lower:g} must be below upper {self.upper:g}; nothing nonlinear can be "
                "held at one value, so leave out a parameter that the others determine"
            )
        return self

    @property
    def parsed(self) -> Expression:
        """The expression, read."""
        return Expression.parse(self.expression)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters it speaks of."""
        return self.parsed.names

    def __str__(self) -> str:
        """The constraint as a formula."""
        low = f"{self.lower:g} ≤ " if self.lower is not None else ""
        high = f" ≤ {self.upper:g}" if self.upper is not None else ""
        return f"{low}{self.parsed.text}{high}"

    def is_satisfied(self, values: Mapping[str, Value]) -> bool:
        """Whether the point meets the constraint, within 1e-9 of the size of its terms."""
        numbers = {name: float(values[name]) for name in self.names}
        found = self.parsed.value(numbers)
        if found is None:
            return False
        bounds = [b for b in (self.lower, self.upper) if b is not None]
        slack = SLACK * max(self.parsed.size(numbers), *(abs(b) for b in bounds))
        return (self.lower is None or found >= self.lower - slack) and (
            self.upper is None or found <= self.upper + slack
        )

    def remedy(self, values: Mapping[str, Value]) -> str:
        """What would put a forbidden point right."""
        found = self.parsed.value({name: float(values[name]) for name in self.names})
        names = " or ".join(self.names)
        if found is None:
            return f"It has no finite value here: change {names}"
        return f"It comes to {found:.6g} here: change {names}"

    def check(self, parameters: Mapping[str, AnyParameter]) -> None:
        """Raise `ValueError` where it does not fit the parameters of a problem."""
        for name in self.names:
            if isinstance(parameters[name], Categorical):
                raise ValueError(f"{self}: {name} is categorical and no number; exclude combinations with it instead")


InputConstraint = Exclusion | Cardinality | NonlinearConstraint


def check_input(constraint: InputConstraint, parameters: Sequence[AnyParameter]) -> None:
    """Raise `ValueError`, naming constraint and remedy, where a constraint does not fit the parameters of a problem."""
    known = {parameter.name: parameter for parameter in parameters}
    for name in constraint.names:
        if name not in known:
            raise ValueError(f"{constraint}: {name} is no parameter of this problem; use {', '.join(known)}")
    constraint.check(known)


def _is_always(condition: Condition, parameter: AnyParameter) -> bool:
    if not isinstance(parameter, Continuous):
        return all(condition.holds(level) for level in parameter.levels)
    return condition.holds(parameter.low) and condition.holds(parameter.high)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float)


def _equal(one: Value, other: Value) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return math.isclose(one, other, rel_tol=SLACK, abs_tol=0.0)
