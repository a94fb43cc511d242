"""Advice: what a hypothesis suggests about where good points lie, as a bounded, decaying log-prior.

The prior of a piece of advice is an unnormalised density π with maximum 1 over the unit cube. It enters an
acquisition value (in log space) as w · β/(1 + t − t₀) · log[(1 − ε) π + ε]: bounded below by log ε, so that wrong
advice costs little, and decaying with the observations made since it was given, so that data win in the end.
After piBO (Hvarfner et al. 2022) and DynaBO (2025), with the bound added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from athanor.planners.problem import Categorical, Level, Name, Number, Problem, Record, Value

EPSILON = 0.1
"""Share of a uniform density mixed into every piece of advice: log(0.1) bounds what it can take away."""

BETA = 3.0
"""Strength of fresh advice, in units of log acquisition."""

SLOPE = 0.3
"""Distance along a parameter, as a share of its range, over which monotone advice falls by a factor e."""

Text = Annotated[str, Field(strict=True)]


class Advice(Record):
    """One piece of advice.

    `monotone`: good points lie towards the high (`increase`) or low (`decrease`) end of `parameter`.
    `region`: good points lie around `center` (values in the parameters' units), within `width` (share of each
    parameter's range, one standard deviation). `given_at` is the number of observations known when it was given.
    """

    id: Annotated[str, Field(strict=True, min_length=1)]
    kind: Literal["monotone", "region"]
    parameter: Name | None = None
    direction: Literal["increase", "decrease"] | None = None
    center: dict[Name, Level | Text] | None = None
    width: dict[Name, Annotated[Number, Field(gt=0, le=1)]] | None = None
    weight: Annotated[Number, Field(ge=0, le=1)] = 1.0
    given_at: Annotated[int, Field(strict=True, ge=0)] = 0

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            id: str,
            kind: Literal["monotone", "region"],
            parameter: str | None = None,
            direction: Literal["increase", "decrease"] | None = None,
            center: Mapping[str, Value] | None = None,
            width: Mapping[str, float] | None = None,
            weight: float = 1.0,
            given_at: int = 0,
        ) -> None: ...

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "monotone":
            if self.parameter is None or self.direction is None:
                raise ValueError(f"advice {self.id}: monotone advice needs parameter and direction")
            if self.center is not None or self.width is not None:
                raise ValueError(f"advice {self.id}: monotone advice takes no center or width")
        else:
            if not self.center or self.width is None or set(self.width) != set(self.center):
                raise ValueError(f"advice {self.id}: region advice needs center and width for the same parameters")
            if self.parameter is not None or self.direction is not None:
                raise ValueError(f"advice {self.id}: region advice takes no parameter or direction")
        return self

    def validate_for(self, problem: Problem) -> Self:
        """Return the advice if it fits the problem; raise `ValueError` or `InvalidPoint` naming what does not."""
        names = [self.parameter] if self.parameter is not None else list(self.center or {})
        for name in names:
            if name not in problem.names:
                raise ValueError(f"advice {self.id}: {name} is no parameter; use {', '.join(problem.names)}")
        if self.parameter is not None and isinstance(problem.parameter(self.parameter), Categorical):
            raise ValueError(f"advice {self.id}: {self.parameter} is categorical and has no direction")
        for name, value in (self.center or {}).items():
            problem.parameter(name).validate_value(value)
        return self

    def log_density(self, positions: Any, problem: Problem) -> Any:
        """Return log π at positions in the unit cube: an array or tensor (…, d) gives (…). The maximum is 0.

        Only arithmetic is used, so that numpy arrays and torch tensors (with their gradients) both work.
        """
        if self.kind == "monotone":
            assert self.parameter is not None  # by validation
            u = positions[..., problem.names.index(self.parameter)]
            return -(1.0 - u if self.direction == "increase" else u) / SLOPE
        total: Any = 0.0
        for name, value in (self.center or {}).items():
            parameter = problem.parameter(name)
            u = positions[..., problem.names.index(name)]
            if isinstance(parameter, Categorical):
                # Another category is as far away as one step of the width; distances between categories mean nothing.
                gap = 1.0 * (abs(u - parameter.to_unit(value)) > 0.25 / (len(parameter.values) - 1))
            else:
                gap = u - parameter.to_unit(value)
            total = total - 0.5 * (gap / (self.width or {})[name]) ** 2
        return total

    def strength(self, observations: int) -> float:
        """Return weight · β/(1 + t − t₀) with t observations made by now."""
        return self.weight * BETA / (1.0 + max(0, observations - self.given_at))

    def log_prior(self, positions: Any, problem: Problem, observations: int) -> Any:
        """Return the bounded, decayed term this advice adds to a log acquisition; numpy positions (…, d) to (…)."""
        import numpy as np

        density = np.exp(self.log_density(np.asarray(positions, dtype=float), problem))
        return self.strength(observations) * np.log((1.0 - EPSILON) * density + EPSILON)
