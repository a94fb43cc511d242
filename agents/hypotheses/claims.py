"""Typed claims about the system under study: what a hypothesis may say, and nothing else.

A claim is always about one outcome and stated so that code can test it: it names levels of parameters, a direction and
a margin in the outcome's unit. Everything a proposer wants to add in words belongs to the hypothesis' statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

if TYPE_CHECKING:
    from athanor.planners.problem import Problem

Level = float | int | str
"""One setting of one parameter, in the parameter's own unit."""

Direction = Literal["increases", "decreases"]


class InvalidClaim(ValueError):
    """A claim does not fit the problem; the message names the offender and the remedy."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Span(_Frozen):
    """Two levels of one parameter, averaged over with equal weight."""

    parameter: str
    low: Level
    high: Level

    @model_validator(mode="after")
    def _two_levels(self) -> Span:
        if self.low == self.high:
            raise ValueError(f"the two levels of {self.parameter!r} are equal; name two different ones")
        return self


class Range(_Frozen):
    """A closed interval of one numeric parameter."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"a range needs low < high, not {self.low} and {self.high}")
        return self


def _as_spans(value: Any) -> Any:
    """Accept how claims were written before there could be two spans: nothing, or one span by itself."""
    if value is None:
        return ()
    return (value,) if isinstance(value, Mapping | Span) else tuple(value) if isinstance(value, list) else value


Across = Annotated[
    tuple[Span, ...],
    BeforeValidator(_as_spans),
    Field(max_length=2, description="none, one or two other parameters to average over, two levels each"),
]


class Effect(_Frozen):
    """Going from `low` to `high` of one parameter changes the outcome in a stated direction by more than `margin`.

    The other parameters stay at the base point of the registration. With one parameter in `across` the effect is the
    average over its two levels (a 2 × 2 factorial). With two it is the average over four settings, the half of the
    2 × 2 × 2 factorial in which the signs of the three levels (low −1, high +1) multiply to +1: the mean at `high` less
    the mean at `low`. An interaction of the two others is then not separated from the effect: it counts as part of it.
    """

    kind: Literal["effect"] = "effect"
    outcome: str
    parameter: str
    low: Level
    high: Level
    direction: Direction
    margin: float = Field(default=0.0, ge=0.0, description="smallest change that counts, in the outcome's unit")
    across: Across = ()

    @model_validator(mode="after")
    def _two_levels(self) -> Effect:
        _check_pair(self.parameter, self.low, self.high, self.across)
        return self


class Irrelevance(_Frozen):
    """Going from `low` to `high` of one parameter changes the outcome by less than `margin`, up or down.

    `across` is as for `Effect`.
    """

    kind: Literal["irrelevance"] = "irrelevance"
    outcome: str
    parameter: str
    low: Level
    high: Level
    margin: float = Field(gt=0.0, description="smallest change that would count, in the outcome's unit")
    across: Across = ()

    @model_validator(mode="after")
    def _two_levels(self) -> Irrelevance:
        _check_pair(self.parameter, self.low, self.high, self.across)
        return self


class Threshold(_Frozen):
    """Crossing `threshold` of one parameter, from `below` to `above`, changes the outcome by more than `margin`."""

    kind: Literal["threshold"] = "threshold"
    outcome: str
    parameter: str
    threshold: float
    below: float
    above: float
    direction: Direction
    margin: float = Field(default=0.0, ge=0.0, description="smallest change that counts, in the outcome's unit")

    @model_validator(mode="after")
    def _ordered(self) -> Threshold:
        if not self.below < self.threshold <= self.above:
            raise ValueError(
                f"a threshold needs below < threshold <= above, not {self.below}, {self.threshold}, {self.above}"
            )
        return self


class Interaction(_Frozen):
    """The effect of `first` at the high level of `second` minus that at the low level lies beyond ± `margin`."""

    kind: Literal["interaction"] = "interaction"
    outcome: str
    first: Span
    second: Span
    direction: Literal["positive", "negative"]
    margin: float = Field(default=0.0, ge=0.0, description="smallest interaction that counts, in the outcome's unit")

    @model_validator(mode="after")
    def _two_parameters(self) -> Interaction:
        if self.first.parameter == self.second.parameter:
            raise ValueError(f"an interaction needs two different parameters, not {self.first.parameter!r} twice")
        return self


class Region(_Frozen):
    """The best of a region beats the best outside it: outcome at `inside` against `outside`, both full settings."""

    kind: Literal["region"] = "region"
    outcome: str
    box: dict[str, Range] = Field(min_length=1, description="the region: a range per numeric parameter")
    inside: dict[str, Level] = Field(description="the setting expected to be best inside the region")
    outside: dict[str, Level] = Field(description="the setting expected to be best outside the region")
    better: Literal["higher", "lower"]
    margin: float = Field(default=0.0, ge=0.0, description="smallest difference that counts, in the outcome's unit")

    @model_validator(mode="after")
    def _placed(self) -> Region:
        if not contains(self.box, self.inside):
            raise ValueError("`inside` does not lie in the region")
        if contains(self.box, self.outside):
            raise ValueError("`outside` lies in the region; choose a setting beyond it")
        return self


Claim = Annotated[Effect | Irrelevance | Threshold | Interaction | Region, Field(discriminator="kind")]
AnyClaim = Effect | Irrelevance | Threshold | Interaction | Region
CLAIM: TypeAdapter[AnyClaim] = TypeAdapter(Claim)


def parse_claim(data: Mapping[str, Any]) -> AnyClaim:
    """Build a claim from its JSON form. Raises pydantic.ValidationError naming each offending field."""
    return CLAIM.validate_json(json.dumps(dict(data)))


def contains(box: Mapping[str, Range], values: Mapping[str, Level]) -> bool:
    """Say whether a setting lies in a region (a parameter the setting lacks, or a text level, is outside)."""
    for name, span in box.items():
        value = values.get(name)
        if value is None or isinstance(value, str) or not span.low <= value <= span.high:
            return False
    return True


def _check_pair(parameter: str, low: Level, high: Level, across: tuple[Span, ...]) -> None:
    if low == high:
        raise ValueError(f"the two levels of {parameter!r} are equal; name two different ones")
    names = [span.parameter for span in across]
    if parameter in names:
        raise ValueError(f"the effect of {parameter!r} cannot be averaged over {parameter!r} itself")
    if len(set(names)) < len(names):
        raise ValueError(f"the effect of {parameter!r} cannot be averaged over {names[0]!r} twice; name two parameters")


def parameters_of(claim: AnyClaim) -> tuple[str, ...]:
    """Name the parameters a claim varies, in order of mention."""
    if isinstance(claim, Effect | Irrelevance):
        return (claim.parameter, *(span.parameter for span in claim.across))
    return subject_of(claim)


def subject_of(claim: AnyClaim) -> tuple[str, ...]:
    """Name the parameters a claim is about, in order of mention: without those it only averages over."""
    if isinstance(claim, Effect | Irrelevance | Threshold):
        return (claim.parameter,)
    if isinstance(claim, Interaction):
        return (claim.first.parameter, claim.second.parameter)
    return tuple(claim.box)


def _levels(claim: AnyClaim) -> Iterator[tuple[str, Level]]:
    if isinstance(claim, Effect | Irrelevance):
        yield from ((claim.parameter, claim.low), (claim.parameter, claim.high))
        for span in claim.across:
            yield from ((span.parameter, span.low), (span.parameter, span.high))
    elif isinstance(claim, Threshold):
        yield from ((claim.parameter, claim.below), (claim.parameter, claim.above))
    elif isinstance(claim, Interaction):
        for span in (claim.first, claim.second):
            yield from ((span.parameter, span.low), (span.parameter, span.high))


def check_claim(claim: AnyClaim, problem: Problem) -> None:
    """Check that outcome, parameters and levels exist in the problem and lie within its bounds.

    Raises:
        InvalidClaim: naming the outcome, parameter or level that does not fit, and what would.
    """
    if claim.outcome not in problem.outcomes:
        raise InvalidClaim(f"unknown outcome {claim.outcome!r}; the outcomes are {', '.join(problem.outcomes)}")
    for name in parameters_of(claim):
        _known(name, problem)
    for name, level in _levels(claim):
        check_level(name, level, problem)
    if isinstance(claim, Region):
        for values in (claim.inside, claim.outside):
            if set(values) != set(problem.names):
                raise InvalidClaim(f"a setting must give every parameter once: {', '.join(problem.names)}")
            for name, level in values.items():
                check_level(name, level, problem)


def check_level(name: str, level: Level, problem: Problem) -> None:
    """Check one level of one parameter against the problem. Raises InvalidClaim with what would fit."""
    _known(name, problem)
    try:
        problem.parameter(name).validate_value(level)
    except ValueError as error:
        raise InvalidClaim(str(error)) from error


def _known(name: str, problem: Problem) -> None:
    if name not in problem.names:
        raise InvalidClaim(f"unknown parameter {name!r}; the parameters are {', '.join(problem.names)}")


def claim_key(claim: AnyClaim) -> str:
    """Identify a claim: equal claims, however built, have equal keys."""
    return json.dumps(claim.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
