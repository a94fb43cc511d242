"""What a classical experimental design is asked for, and whether a problem admits it. Light: no numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from athanor.planners.parameters import Categorical, Continuous, Integer, Name, Ordinal, Record
from athanor.planners.problem import Problem

Design = Literal["full-factorial", "fractional-factorial", "latin-hypercube", "d-optimal"]
DESIGNS: tuple[str, ...] = get_args(Design)

Model = Literal["linear", "interactions", "quadratic"]
"""The model that a D-optimal design is for: main effects, these and two-factor interactions, these and squares."""

MOST_RUNS = 10_000
MOST_OPTIMAL_RUNS = 1_000
"""An exchange among more would take minutes, and gain nothing over a smaller design that is repeated."""

Count = Annotated[int, Field(strict=True, ge=1)]
Levels = Annotated[int, Field(strict=True, ge=2, le=1_000)]


class DesignImpossible(ValueError):
    """A design that this problem does not admit: says why, and what to ask for instead."""


class DesignOptions(Record):
    """Which design, and what is asked of it. Options that the design does not know are refused.

    `levels` (full factorial): how many of each continuous and integer parameter, one number for all or by name;
    default 2. `centre_points` (factorials): how many runs in the middle of all numbers; default 0. `runs`: how many, of
    a fraction a power of two; Latin hypercubes and D-optimal designs need it. `model` (D-optimal); default linear.
    """

    positional: ClassVar[tuple[str, ...]] = ("design",)
    design: Design
    levels: Levels | dict[Name, Levels] | None = None
    centre_points: Annotated[int, Field(strict=True, ge=0, le=1_000)] | None = None
    runs: Count | None = None
    model: Model | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            design: Design,
            *,
            levels: int | Mapping[str, int] | None = None,
            centre_points: int | None = None,
            runs: int | None = None,
            model: Model | None = None,
        ) -> None: ...

    @field_validator("levels", mode="before")
    @classmethod
    def _in_one_sentence(cls, value: Any) -> Any:
        # A union would say what is wrong with each of its members.
        counts = list(value.values()) if isinstance(value, Mapping) else [2 if value is None else value]
        if all(isinstance(n, int) and not isinstance(n, bool) and 2 <= n <= 1_000 for n in counts):
            return value
        raise ValueError(f"{value!r}: give a whole number from 2 to 1,000, or one per parameter as {{name: 3}}")

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = {
            "full-factorial": ("levels", "centre_points"),
            "fractional-factorial": ("runs", "centre_points"),
            "latin-hypercube": ("runs",),
            "d-optimal": ("runs", "model"),
        }[self.design]
        for name in ("levels", "centre_points", "runs", "model"):
            if getattr(self, name) is not None and name not in known:
                raise ValueError(f"{self.design} has no option {name}; it takes {' and '.join(known)}")
        most = MOST_OPTIMAL_RUNS if self.design == "d-optimal" else MOST_RUNS
        if self.runs is not None and self.runs > most:
            raise ValueError(
                f"runs: {self.runs:,} are more than {most:,}; ask for fewer, the design is repeated anyway"
            )
        return self

    def __str__(self) -> str:
        """The design and what was asked of it, in a line."""
        given = self.model_dump(exclude={"design"}, exclude_none=True)
        asked = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items())
        return f"{self.design} ({asked})" if asked else self.design

    @property
    def needs_runs(self) -> bool:
        """Whether the number of runs has to be said, since nothing else determines it."""
        return self.design in ("latin-hypercube", "d-optimal")

    def with_runs(self, available: int) -> DesignOptions:
        """Return the same with as many runs as are available, where a number is needed and none was given."""
        if not self.needs_runs or self.runs is not None:
            return self
        most = MOST_OPTIMAL_RUNS if self.design == "d-optimal" else MOST_RUNS
        return self.model_copy(update={"runs": min(max(1, available), most)})

    def levels_of(self, parameter: Continuous | Integer | Ordinal | Categorical) -> int:
        """How many levels of a parameter a full factorial takes."""
        if not isinstance(parameter, Continuous | Integer):
            return len(parameter.levels)
        wanted = self.levels.get(parameter.name, 2) if isinstance(self.levels, Mapping) else self.levels or 2
        return wanted if isinstance(parameter, Continuous) else min(wanted, len(parameter.levels))

    def check(self, problem: Problem) -> int:
        """Return the number of runs, those that a constraint on parameters may rule out included.

        Raises:
            DesignImpossible: too many runs, too few, or parameters that the design cannot vary or that are constrained
                in a way that it does not know; names the remedy.
        """
        if self.needs_runs and problem.input_constraints:
            raise DesignImpossible(
                f"{self.design} does not keep {'; '.join(map(str, problem.input_constraints))}: use a factorial, which "
                "leaves out points that break it, or sobol or bayesian, whose points keep it"
            )
        if self.centre_points and all(isinstance(p, Categorical) for p in problem.parameters):
            raise DesignImpossible("centre points need a number to be in the middle of; leave centre_points out")
        if self.design == "full-factorial":
            return self._full(problem)
        if self.design == "fractional-factorial":
            return (1 << self.basic_factors(problem)) + (self.centre_points or 0)
        if self.runs is None:
            raise DesignImpossible(f"{self.design} needs to know how many runs; give runs")
        if self.design == "d-optimal" and not any(c.equals is not None for c in problem.linear_constraints):
            check_runs(self.runs, coefficients(problem, self.model or "linear"), self.model or "linear")
        return self.runs

    def _full(self, problem: Problem) -> int:
        if isinstance(self.levels, Mapping):
            for name in self.levels:
                parameter = next((p for p in problem.parameters if p.name == name), None)
                if parameter is None:
                    raise DesignImpossible(f"levels: {name} is no parameter; use {', '.join(problem.names)}")
                if not isinstance(parameter, Continuous | Integer):
                    raise DesignImpossible(f"levels: {name} takes all of its listed values; leave it out of levels")
        runs = math.prod(self.levels_of(p) for p in problem.parameters) + (self.centre_points or 0)
        if runs > MOST_RUNS:
            raise DesignImpossible(
                f"the full factorial has {runs:,} runs, more than {MOST_RUNS:,}: "
                "ask for fewer levels, or for fractional-factorial, latin-hypercube or d-optimal"
            )
        return runs

    def basic_factors(self, problem: Problem) -> int:
        """Return k of a fraction of 2^k runs; by default the fewest runs of resolution IV, or else the half fraction.

        Raises:
            DesignImpossible: naming what is wrong with the number of runs or the parameters.
        """
        factors = len(problem.parameters)
        for parameter in problem.parameters:
            if isinstance(parameter, Categorical) and len(parameter.values) > 2:
                raise DesignImpossible(
                    f"a two-level fraction cannot vary {parameter.name}, which has {len(parameter.values)} values: "
                    "keep two of them, or use full-factorial or d-optimal"
                )
        if factors < 3:
            raise DesignImpossible(f"a fraction needs 3 parameters or more, there are {factors}: use full-factorial")
        if self.runs is None:
            # Resolution IV takes no more columns than there are of odd weight: 2^(k-1).
            k = min((factors - 1).bit_length() + 1, factors - 1)
            if 1 << k > MOST_RUNS:
                raise DesignImpossible(f"{factors} parameters are too many for a fraction of {MOST_RUNS:,} runs")
            return k
        k = self.runs.bit_length() - 1
        if self.runs != 1 << k:
            raise DesignImpossible(
                f"a two-level fraction has a power of two as its number of runs, not {self.runs}: "
                f"use {1 << k} or {2 << k}"
            )
        least, most = 1 << factors.bit_length(), 1 << (factors - 1)
        if not least <= self.runs <= most:
            instead = "use full-factorial" if self.runs > most else "with fewer, main effects could not be told apart"
            raise DesignImpossible(
                f"a fraction of {factors} two-level parameters has {least} to {most:,} runs, not {self.runs}: {instead}"
            )
        return k


def coefficients(problem: Problem, model: Model) -> int:
    """Return the number of coefficients of a model, intercept included, where no equality ties the parameters."""
    widths = [len(p.values) - 1 if isinstance(p, Categorical) else 1 for p in problem.parameters]
    count = 1 + sum(widths)
    if model != "linear":
        count += (sum(widths) ** 2 - sum(w * w for w in widths)) // 2
    if model == "quadratic":
        # A number with two levels has no curvature to tell.
        count += sum(
            isinstance(p, Continuous) or (not isinstance(p, Categorical) and len(p.levels) > 2)
            for p in problem.parameters
        )
    return count


def check_runs(runs: int, needed: int, model: Model) -> None:
    """Refuse fewer runs than a model has coefficients.

    Raises:
        DesignImpossible: naming both numbers.
    """
    if runs < needed:
        raise DesignImpossible(
            f"the model ({model}) has {needed} coefficients and takes {needed} runs at least, there are {runs}: "
            "raise runs, or choose a smaller model"
        )


def tidy(parameter: Continuous, value: float) -> float:
    """Return a value without the noise of its last digits, ten behind its range (a logarithmic one: behind itself)."""
    size = abs(value) if parameter.log else parameter.high - parameter.low
    return min(max(round(value, 10 - math.floor(math.log10(size))), parameter.low), parameter.high)
