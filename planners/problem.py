"""The problem of a campaign: parameters with units, objectives and constraints.

Everything here is frozen, validated on construction and survives a JSON round trip. Nothing heavy is imported, so
that a specification can be checked, and a point refused, in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from athanor.planners.input_constraints import (
    Cardinality,
    ConstraintViolated,
    Exclusion,
    InputConstraint,
    NonlinearConstraint,
    check_input,
)
from athanor.planners.parameters import (
    Categorical,
    Continuous,
    Integer,
    InvalidPoint,
    Level,
    Name,
    Number,
    Ordinal,
    Parameter,
    Record,
    Unit,
    Value,
)

__all__ = [
    "Cardinality",
    "Categorical",
    "Constraint",
    "ConstraintViolated",
    "Continuous",
    "Exclusion",
    "InputConstraint",
    "Integer",
    "InvalidPoint",
    "Level",
    "LinearConstraint",
    "Name",
    "NonlinearConstraint",
    "Number",
    "Objective",
    "Ordinal",
    "OutcomeConstraint",
    "Parameter",
    "Problem",
    "Record",
    "Unit",
    "Value",
]


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


Constraint = Annotated[
    LinearConstraint | OutcomeConstraint | Exclusion | Cardinality | NonlinearConstraint, Field(discriminator="kind")
]


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
            constraints: Sequence[LinearConstraint | OutcomeConstraint | InputConstraint] = (),
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
        for other in self.input_constraints:
            check_input(other, self.parameters)
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
        """The constraints on sums of parameters."""
        return tuple(c for c in self.constraints if isinstance(c, LinearConstraint))

    @property
    def input_constraints(self) -> tuple[InputConstraint, ...]:
        """The constraints on parameters that are no sums: what is excluded, how many are non-zero, nonlinear ones."""
        return tuple(c for c in self.constraints if isinstance(c, Exclusion | Cardinality | NonlinearConstraint))

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

    def is_feasible(self, means: Mapping[str, float]) -> bool:
        """Whether measured means keep the bounds of every outcome constraint; one missing or not finite does not."""
        return all(
            math.isfinite(means.get(c.name, math.nan)) and c.is_satisfied(means[c.name])
            for c in self.outcome_constraints
        )

    def validate_point(self, values: Mapping[str, object], *, linear: bool = True) -> dict[str, Value]:
        """Return the point with every value in its parameter's own type, in the problem's order.

        Raises:
            InvalidPoint: for a missing or unknown parameter, a value of the wrong type, not finite, out of bounds or
                not listed, and (unless `linear` is False) for a violated constraint on parameters, linear or other
                (`ConstraintViolated`).
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
            self.check_inputs(point)
        return point

    def keeps_inputs(self, values: Mapping[str, Value]) -> bool:
        """Whether a point keeps every input constraint."""
        return all(constraint.is_satisfied(values) for constraint in self.input_constraints)

    def check_inputs(self, values: Mapping[str, Value]) -> None:
        """Check the constraints that bind people as well as planners; values may lie outside the parameters' ranges.

        Raises:
            ConstraintViolated: naming the constraint, the values and the remedy.
        """
        for constraint in self.input_constraints:
            if not constraint.is_satisfied(values):
                raise ConstraintViolated(constraint, values)

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
