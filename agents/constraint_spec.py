"""What a campaign's file says about constraints: the short forms a scientist writes, as the planner's constraints."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from athanor.planners.input_constraints import Condition
from athanor.planners.problem import (
    Cardinality,
    Exclusion,
    InputConstraint,
    LinearConstraint,
    NonlinearConstraint,
    OutcomeConstraint,
)

Number = Annotated[float, Field(allow_inf_nan=False)]


class ConstraintSpec(BaseModel):
    """A bound on a measured outcome, on a weighted sum of knobs or on an expression of them; what is excluded; how many
    of some amounts may be non-zero.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    outcome: str | None = None
    sum: dict[str, Number] | None = None
    excluded: dict[str, Condition] | None = None
    nonzero: list[str] | None = None
    expression: str | None = None
    lower: Number | None = None
    upper: Number | None = None
    equals: Number | None = None
    at_most: Annotated[int, Field(ge=1)] | None = None
    at_least: Annotated[int, Field(ge=0)] = 0
    threshold: Annotated[Number, Field(gt=0)] | None = None
    probability: Annotated[float, Field(gt=0, lt=1)] = 0.95
    unit: str | None = None

    @model_validator(mode="after")
    def _one(self) -> ConstraintSpec:
        kinds = ("outcome", "sum", "excluded", "nonzero", "expression")
        found = [name for name in kinds if getattr(self, name) is not None]
        if len(found) != 1:
            raise ValueError(
                "name one outcome, or give a weighted sum of parameters, or one of " + ", ".join(kinds[2:])
            )
        [kind] = found
        fields = {
            "outcome": {"lower", "upper", "equals", "probability", "unit"},
            "sum": {"lower", "upper", "equals", "probability", "unit"},
            "excluded": set(),
            "nonzero": {"at_most", "at_least", "threshold"},
            "expression": {"lower", "upper"},
        }[kind]
        given = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        if extra := sorted(given - fields - {kind}):
            takes = f"takes {', '.join(sorted(fields))}" if fields else "takes nothing else"
            raise ValueError(f"{extra[0]} has no place beside {kind}, which {takes}")
        if "lower" in fields and self.lower is None and self.upper is None and self.equals is None:
            raise ValueError("give lower, upper or equals" if kind != "expression" else "give lower or upper")
        if self.outcome is not None and self.equals is not None:
            raise ValueError("an outcome can be bounded, not fixed; make it an objective with a target instead")
        if kind in kinds[2:]:
            try:
                self.constraint()
            except ValidationError as error:
                raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
        return self

    def constraint(self) -> LinearConstraint | OutcomeConstraint | InputConstraint:
        """The constraint as the planner takes it.

        Raises:
            ValidationError: it makes no sense, whatever the knobs are.
        """
        if self.outcome is not None:
            return OutcomeConstraint(
                self.outcome, lower=self.lower, upper=self.upper, probability=self.probability, unit=self.unit
            )
        if self.excluded is not None:
            return Exclusion(self.excluded)
        if self.nonzero is not None:
            return Cardinality(self.nonzero, self.at_most, self.at_least, self.threshold)
        if self.expression is not None:
            return NonlinearConstraint(self.expression, lower=self.lower, upper=self.upper)
        return LinearConstraint(self.sum or {}, lower=self.lower, upper=self.upper, equals=self.equals)

    @property
    def is_input(self) -> bool:
        """Whether it is about knobs, and no sum of them."""
        return self.outcome is None and self.sum is None

    def named(self) -> tuple[str, ...]:
        """The knobs that it speaks of."""
        return tuple(self.sum or self.excluded or self.nonzero or ()) or (
            NonlinearConstraint(self.expression, lower=self.lower, upper=self.upper).names if self.expression else ()
        )
