"""The problem of a campaign: parameters with units, objectives and constraints.

Everything here is frozen, validated on construction and survives a JSON round trip. Nothing heavy is imported, so
that a specification can be checked, and a point refused, in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Value = float | int | str
"""A parameter's value: a float (continuous), an int (integer), a listed number (ordinal) or a string (categorical)."""

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Level = Annotated[int, Field(strict=True)] | Number
Name = Annotated[str, Field(strict=True, min_length=1, max_length=100, pattern=r"^\S(.*\S)?$")]
Unit = Annotated[str, Field(strict=True, max_length=50)] | None


class InvalidPoint(ValueError):
    """A point that does not belong to the problem: names the parameter, the value and the remedy."""

    def __init__(self, parameter: str, value: object, detail: str, remedy: str) -> None:
        super().__init__(f"{parameter} = {value!r}: {detail}. {remedy}.")
        self.parameter = parameter
        self.value = value
        self.remedy = remedy


class Record(BaseModel):
    """Frozen, closed record whose first fields may be given positionally, in the order of `positional`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    positional: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) > len(self.positional):
            raise TypeError(f"{type(self).__name__} takes at most {len(self.positional)} positional arguments")
        for name, value in zip(self.positional, args, strict=False):
            if name in kwargs:
                raise TypeError(f"{type(self).__name__} got {name} twice")
            kwargs[name] = value
        super().__init__(**kwargs)


def _number(name: str, value: object, unit: str | None) -> float:
    suffix = f" in {unit}" if unit else ""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidPoint(name, value, f"is a {type(value).__name__}, not a number", f"Give a number{suffix}")
    number = float(value)
    if not math.isfinite(number):
        raise InvalidPoint(name, value, "is not finite", f"Give a finite number{suffix}")
    return number


class Continuous(Record):
    """A real parameter in [low, high]; with `log` it is searched on a logarithmic scale."""

    positional: ClassVar[tuple[str, ...]] = ("name", "low", "high", "unit", "log")
    kind: Literal["continuous"] = "continuous"
    name: Name
    low: Number
    high: Number
    unit: Unit = None
    log: bool = False

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            low: float,
            high: float,
            unit: str | None = None,
            log: bool = False,
            kind: Literal["continuous"] = "continuous",
        ) -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"{self.name}: low {self.low:g} must be below high {self.high:g}")
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"{self.name}: the range from {self.low:g} to {self.high:g} is too wide to be represented")
        if self.log and self.low <= 0:
            raise ValueError(f"{self.name}: a logarithmic scale needs low > 0, got {self.low:g}")
        return self

    def validate_value(self, value: object) -> float:
        """Return the value as a float; raise `InvalidPoint` if it is no finite number within bounds."""
        number = _number(self.name, value, self.unit)
        _within(self.name, number, self.low, self.high, self.unit)
        return number

    def to_unit(self, value: Value) -> float:
        """Map a value to 0..1 (on the logarithmic scale if there is one)."""
        number = float(value)
        if self.log:
            return (math.log(number) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (number - self.low) / (self.high - self.low)

    def from_unit(self, position: float) -> float:
        """Map 0..1 back to a value within bounds."""
        if self.log:
            number = math.exp(math.log(self.low) + position * (math.log(self.high) - math.log(self.low)))
        else:
            number = self.low + position * (self.high - self.low)
        return min(max(number, self.low), self.high)


class Integer(Record):
    """A whole-number parameter in low..high, both included."""

    positional: ClassVar[tuple[str, ...]] = ("name", "low", "high", "unit")
    kind: Literal["integer"] = "integer"
    name: Name
    low: Annotated[int, Field(strict=True)]
    high: Annotated[int, Field(strict=True)]
    unit: Unit = None

    if TYPE_CHECKING:

        def __init__(
            self, name: str, low: int, high: int, unit: str | None = None, kind: Literal["integer"] = "integer"
        ) -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"{self.name}: low {self.low} must be below high {self.high}")
        if max(abs(self.low), abs(self.high)) > 2**53:
            raise ValueError(f"{self.name}: whole numbers beyond 2^53 are not represented exactly")
        return self

    @property
    def levels(self) -> Sequence[int]:
        """All values in order."""
        return range(self.low, self.high + 1)

    def validate_value(self, value: object) -> int:
        """Return the value as an int; raise `InvalidPoint` if it is not whole, finite and within bounds."""
        number = _number(self.name, value, self.unit)
        if number != int(number):
            raise InvalidPoint(self.name, value, "is not a whole number", f"Give one of {self.low}..{self.high}")
        _within(self.name, number, self.low, self.high, self.unit)
        return int(number)

    def to_unit(self, value: Value) -> float:
        """Map a value to 0..1."""
        return (float(value) - self.low) / (self.high - self.low)

    def from_unit(self, position: float) -> int:
        """Map 0..1 to the nearest whole number."""
        return min(max(math.floor(self.low + position * (self.high - self.low) + 0.5), self.low), self.high)


class Ordinal(Record):
    """A parameter that takes one of a few listed numbers, in increasing order."""

    positional: ClassVar[tuple[str, ...]] = ("name", "values", "unit")
    kind: Literal["ordinal"] = "ordinal"
    name: Name
    values: Annotated[tuple[Level, ...], Field(min_length=2, max_length=10_000)]
    unit: Unit = None

    if TYPE_CHECKING:

        def __init__(
            self, name: str, values: Sequence[float], unit: str | None = None, kind: Literal["ordinal"] = "ordinal"
        ) -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(b <= a for a, b in zip(self.values, self.values[1:], strict=False)):
            raise ValueError(f"{self.name}: values must increase strictly, got {list(self.values)}")
        return self

    @property
    def levels(self) -> Sequence[float]:
        """All values in order."""
        return self.values

    def validate_value(self, value: object) -> float | int:
        """Return the listed number equal to the value; raise `InvalidPoint` if there is none."""
        number = _number(self.name, value, self.unit)
        for level in self.values:
            if math.isclose(level, number, rel_tol=1e-12, abs_tol=0.0):
                return level
        raise InvalidPoint(self.name, value, "is not one of the listed values", f"Give one of {list(self.values)}")

    def to_unit(self, value: Value) -> float:
        """Map a value to 0..1, keeping the distances between the numbers."""
        return (float(value) - self.values[0]) / (self.values[-1] - self.values[0])

    def from_unit(self, position: float) -> float | int:
        """Map 0..1 to the level whose share of 0..1 contains it: every level is equally likely under a uniform draw."""
        index = min(max(math.floor(position * len(self.values)), 0), len(self.values) - 1)
        return self.values[index]


class Categorical(Record):
    """A parameter that takes one of a few named values without an order."""

    positional: ClassVar[tuple[str, ...]] = ("name", "values")
    kind: Literal["categorical"] = "categorical"
    name: Name
    values: Annotated[tuple[Name, ...], Field(min_length=2, max_length=1_000)]

    if TYPE_CHECKING:

        def __init__(self, name: str, values: Sequence[str], kind: Literal["categorical"] = "categorical") -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"{self.name}: values must differ, got {list(self.values)}")
        return self

    @property
    def unit(self) -> None:
        """A category has no unit."""
        return

    @property
    def levels(self) -> Sequence[str]:
        """All values as listed."""
        return self.values

    def validate_value(self, value: object) -> str:
        """Return the value; raise `InvalidPoint` if it is not one of the listed strings."""
        if not isinstance(value, str) or value not in self.values:
            raise InvalidPoint(self.name, value, "is not one of the listed values", f"Give one of {list(self.values)}")
        return str(value)

    def to_unit(self, value: Value) -> float:
        """Map a value to its place in the list, 0..1; distances mean nothing."""
        return self.values.index(str(value)) / (len(self.values) - 1)

    def from_unit(self, position: float) -> str:
        """Map 0..1 to a value: every value is equally likely under a uniform draw."""
        return self.values[min(max(math.floor(position * len(self.values)), 0), len(self.values) - 1)]


Parameter = Annotated[Continuous | Integer | Ordinal | Categorical, Field(discriminator="kind")]


def _within(name: str, number: float, low: float, high: float, unit: str | None) -> None:
    if not low <= number <= high:
        suffix = f" {unit}" if unit else ""
        side = "below" if number < low else "above"
        raise InvalidPoint(name, number, f"is {side} the bounds", f"Give a value in {low:g}..{high:g}{suffix}")


class Objective(Record):
    """An outcome to maximise, to minimise, or to bring to a target.

    `reference` is the value from which on the outcome is worth nothing (for a target: the largest deviation that
    still counts); it is the reference point of the hypervolume when there are several objectives.
    """

    positional: ClassVar[tuple[str, ...]] = ("name", "goal", "target", "unit", "reference")
    name: Name
    goal: Literal["maximize", "minimize"] | None = None
    target: Number | None = None
    unit: Unit = None
    reference: Number | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            goal: Literal["maximize", "minimize"] | None = None,
            target: float | None = None,
            unit: str | None = None,
            reference: float | None = None,
        ) -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.goal is None) == (self.target is None):
            raise ValueError(f'{self.name}: give either goal="maximize", goal="minimize" or target=a number')
        if self.target is not None and self.reference is not None and self.reference <= 0:
            raise ValueError(f"{self.name}: with a target, reference is the largest deviation that counts, above 0")
        return self

    def score(self, outcome: float) -> float:
        """Return the outcome on a scale where more is better."""
        if self.target is not None:
            return -abs(outcome - self.target)
        return outcome if self.goal == "maximize" else -outcome

    @property
    def reference_score(self) -> float | None:
        """The reference on the scale where more is better, if there is one."""
        if self.reference is None:
            return None
        if self.target is not None:
            return -self.reference
        return self.reference if self.goal == "maximize" else -self.reference


class LinearConstraint(Record):
    """lower ≤ Σ coefficient · parameter ≤ upper, or the sum equals a number; in the parameters' own units."""

    positional: ClassVar[tuple[str, ...]] = ("coefficients", "lower", "upper", "equals")
    kind: Literal["linear"] = "linear"
    coefficients: Annotated[dict[Name, Number], Field(min_length=1)]
    lower: Number | None = None
    upper: Number | None = None
    equals: Number | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            coefficients: Mapping[str, float],
            lower: float | None = None,
            upper: float | None = None,
            equals: float | None = None,
            kind: Literal["linear"] = "linear",
        ) -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        text = " + ".join(f"{c:g}·{name}" for name, c in self.coefficients.items())
        if self.equals is not None and (self.lower is not None or self.upper is not None):
            raise ValueError(f"{text}: give either equals or bounds, not both")
        if self.equals is None and self.lower is None and self.upper is None:
            raise ValueError(f"{text}: give lower, upper or equals")
        if self.lower is not None and self.upper is not None and not self.lower < self.upper:
            raise ValueError(f"{text}: lower {self.lower:g} must be below upper {self.upper:g}; or use equals")
        if any(c == 0 for c in self.coefficients.values()):
            raise ValueError(f"{text}: a coefficient of 0 has no effect; leave the parameter out")
        return self

    def __str__(self) -> str:
        """The constraint as a formula."""
        text = " + ".join(f"{c:g}·{name}" for name, c in self.coefficients.items())
        if self.equals is not None:
            return f"{text} = {self.equals:g}"
        low = f"{self.lower:g} ≤ " if self.lower is not None else ""
        high = f" ≤ {self.upper:g}" if self.upper is not None else ""
        return f"{low}{text}{high}"

    def total(self, values: Mapping[str, Value]) -> float:
        """Σ coefficient · parameter at a point."""
        return math.fsum(c * float(values[name]) for name, c in self.coefficients.items())

    def is_satisfied(self, values: Mapping[str, Value]) -> bool:
        """Whether the point meets the constraint, within 1e-6 of the size of its terms."""
        total = self.total(values)
        bounds = [b for b in (self.lower, self.upper, self.equals) if b is not None]
        terms = [abs(c * float(values[name])) for name, c in self.coefficients.items()]
        slack = 1e-6 * max(1e-300, *terms, *(abs(b) for b in bounds))
        if self.equals is not None:
            return abs(total - self.equals) <= slack
        return (self.lower is None or total >= self.lower - slack) and (
            self.upper is None or total <= self.upper + slack
        )


class OutcomeConstraint(Record):
    """An outcome that must stay within bounds with at least the given probability."""

    positional: ClassVar[tuple[str, ...]] = ("name", "lower", "upper", "probability", "unit")
    kind: Literal["outcome"] = "outcome"
    name: Name
    lower: Number | None = None
    upper: Number | None = None
    probability: Annotated[Number, Field(gt=0, lt=1)] = 0.95
    unit: Unit = None

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            lower: float | None = None,
            upper: float | None = None,
            probability: float = 0.95,
            unit: str | None = None,
            kind: Literal["outcome"] = "outcome",
        ) -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.lower is None and self.upper is None:
            raise ValueError(f"{self.name}: give lower, upper or both")
        if self.lower is not None and self.upper is not None and not self.lower < self.upper:
            raise ValueError(f"{self.name}: lower {self.lower:g} must be below upper {self.upper:g}")
        return self

    def is_satisfied(self, outcome: float) -> bool:
        """Whether a value of the outcome lies within the bounds."""
        return (self.lower is None or outcome >= self.lower) and (self.upper is None or outcome <= self.upper)


Constraint = Annotated[LinearConstraint | OutcomeConstraint, Field(discriminator="kind")]


class Problem(Record):
    """What a campaign varies, what it wants, and what it must respect."""

    positional: ClassVar[tuple[str, ...]] = ("parameters", "objectives", "constraints")
    parameters: Annotated[tuple[Parameter, ...], Field(min_length=1)]
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)]
    constraints: tuple[Constraint, ...] = ()

    if TYPE_CHECKING:

        def __init__(
            self,
            parameters: Sequence[Continuous | Integer | Ordinal | Categorical],
            objectives: Sequence[Objective],
            constraints: Sequence[LinearConstraint | OutcomeConstraint] = (),
        ) -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [p.name for p in self.parameters]
        _refuse_repeats("parameter", names)
        _refuse_repeats("objective", [o.name for o in self.objectives])
        _refuse_repeats("outcome constraint", [c.name for c in self.outcome_constraints])
        both = sorted(set(names) & set(self.outcomes))
        if both:
            raise ValueError(f"{both[0]} is both a parameter and an outcome: rename one of them")
        for constraint in self.linear_constraints:
            self._check_linear(constraint)
        return self

    def _check_linear(self, constraint: LinearConstraint) -> None:
        low = high = 0.0
        for name, coefficient in constraint.coefficients.items():
            parameter = next((p for p in self.parameters if p.name == name), None)
            if parameter is None:
                raise ValueError(f"{constraint}: {name} is no parameter of this problem")
            if isinstance(parameter, Categorical):
                raise ValueError(f"{constraint}: {name} is categorical and cannot be added up")
            if isinstance(parameter, Continuous) and parameter.log:
                raise ValueError(f"{constraint}: {name} is on a logarithmic scale and cannot be added up; drop log")
            ends = [coefficient * float(parameter.from_unit(0.0)), coefficient * float(parameter.from_unit(1.0))]
            low, high = low + min(ends), high + max(ends)
        wanted_low = constraint.equals if constraint.equals is not None else constraint.lower
        wanted_high = constraint.equals if constraint.equals is not None else constraint.upper
        slack = 1e-9 * max(abs(low), abs(high))
        if (wanted_low is not None and wanted_low > high + slack) or (
            wanted_high is not None and wanted_high < low - slack
        ):
            raise ValueError(f"{constraint}: within the bounds the sum only reaches {low:g}..{high:g}")

    @property
    def linear_constraints(self) -> tuple[LinearConstraint, ...]:
        """The constraints on parameters."""
        return tuple(c for c in self.constraints if isinstance(c, LinearConstraint))

    @property
    def outcome_constraints(self) -> tuple[OutcomeConstraint, ...]:
        """The constraints on outcomes."""
        return tuple(c for c in self.constraints if isinstance(c, OutcomeConstraint))

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names in order."""
        return tuple(p.name for p in self.parameters)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The names of all outcomes: objectives first, then constrained outcomes that are no objective."""
        return tuple(dict.fromkeys([o.name for o in self.objectives] + [c.name for c in self.outcome_constraints]))

    def parameter(self, name: str) -> Continuous | Integer | Ordinal | Categorical:
        """Return the parameter of that name; raise `KeyError` naming the ones there are."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(f"no parameter {name!r}; this problem has {', '.join(self.names)}")

    def unit(self, name: str) -> str | None:
        """Return the unit of a parameter or outcome, None where it has none or is unknown."""
        for item in (*self.parameters, *self.objectives, *self.outcome_constraints):
            if item.name == name and item.unit is not None:
                return item.unit
        return None

    def validate_point(self, values: Mapping[str, object], *, linear: bool = True) -> dict[str, Value]:
        """Return the point with every value in its parameter's own type, in the problem's order.

        Raises:
            InvalidPoint: for a missing or unknown parameter, a value of the wrong type, not finite, out of bounds or
                not listed, and (unless `linear` is False) for a violated linear constraint.
        """
        if not isinstance(values, Mapping):
            raise InvalidPoint("values", values, "is not a mapping", "Give one value per parameter by name")
        for name in values:
            if name not in self.names:
                raise InvalidPoint(str(name), values[name], "is no parameter", f"Use {', '.join(self.names)}")
        point: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.name not in values:
                raise InvalidPoint(parameter.name, None, "is missing", "Give a value for every parameter")
            point[parameter.name] = parameter.validate_value(values[parameter.name])
        if linear:
            for constraint in self.linear_constraints:
                if not constraint.is_satisfied(point):
                    total = f"{constraint.total(point):g}"
                    raise InvalidPoint(
                        "+".join(constraint.coefficients),
                        total,
                        f"violates {constraint}",
                        "Change the values to meet it",
                    )
        return point

    def to_unit(self, values: Mapping[str, Value]) -> list[float]:
        """Map a point to the unit cube, one number per parameter in the problem's order."""
        return [p.to_unit(values[p.name]) for p in self.parameters]

    def from_unit(self, position: Sequence[float]) -> dict[str, Value]:
        """Map a position in the unit cube to the point of the problem it stands for."""
        return {p.name: p.from_unit(float(u)) for p, u in zip(self.parameters, position, strict=True)}

    def digest(self) -> str:
        """Return the sha256 of the problem's canonical JSON, in hex."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _refuse_repeats(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name} is given twice")
