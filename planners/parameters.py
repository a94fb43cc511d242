"""The kinds of parameters, and what it takes for a value to belong to one. Standard library and pydantic only."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
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
