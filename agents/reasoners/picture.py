"""What a surrogate learned, in the few numbers a reasoner needs, whatever fitted it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from athanor.agents.hypotheses.claims import Level


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Change(_Record):
    """The predicted change of an outcome from `low` to `high` of one parameter, the others at the base point.

    `change` and `sd` (of the belief about it) are in the outcome's unit; `importance` is the parameter's first-order
    Sobol index, or another share between 0 and 1. `source` says whose belief it is.
    """

    outcome: str
    parameter: str
    low: Level
    high: Level
    change: float
    sd: float = Field(ge=0.0)
    importance: float = Field(default=0.0, ge=0.0)
    source: str = "the surrogate"

    @property
    def probability_up(self) -> float:
        """The belief that the change is an increase."""
        return normal_cdf(self.change / self.sd) if self.sd > 0.0 else float(self.change > 0.0)

    def probability_within(self, margin: float) -> float:
        """The belief that the change is smaller than the margin, up or down."""
        if self.sd <= 0.0:
            return float(abs(self.change) < margin)
        upper, lower = ((bound - self.change) / self.sd for bound in (margin, -margin))
        return normal_cdf(upper) - normal_cdf(lower)


class Pair(_Record):
    """The predicted interaction of two parameters: change of the effect of `first` from low to high of `second`."""

    outcome: str
    first: str
    first_low: Level
    first_high: Level
    second: str
    second_low: Level
    second_high: Level
    change: float
    sd: float = Field(ge=0.0)


class Picture(_Record):
    """Everything read off a surrogate around the `incumbent`.

    `box` is the predicted best region: low and high per numeric parameter.
    """

    incumbent: dict[str, Level] | None = None
    changes: tuple[Change, ...] = ()
    pairs: tuple[Pair, ...] = ()
    box: dict[str, tuple[float, float]] = Field(default_factory=dict)


def normal_cdf(z: float) -> float:
    """The standard normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def read_picture(effects: Mapping[str, Any] | None) -> Picture | None:
    """Read the JSON form of a picture; None where there is none. Raises pydantic.ValidationError if it is malformed."""
    if effects is None:
        return None
    # The point the effects are stated around travels beside them, as the situation's base point.
    return Picture.model_validate({name: value for name, value in effects.items() if name != "incumbent"})
