"""Claims in plain sentences, with numbers and units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from athanor.agents.hypotheses.claims import AnyClaim, Effect, Interaction, Irrelevance, Level, Region, Span, Threshold

if TYPE_CHECKING:
    from athanor.planners.problem import Problem


def quantity(value: Level, unit: str | None, *, sign: bool = False) -> str:
    """A number with its unit, four significant digits ("1.5 min"); a text level as it is."""
    if isinstance(value, str):
        return value
    number = f"{value:+.4g}" if sign else f"{value:.4g}"
    return f"{number} {unit}" if unit else number


def describe(claim: AnyClaim, problem: Problem) -> str:
    """Say a claim in one plain sentence for a scientist."""
    unit = problem.unit(claim.outcome)
    more = f" by more than {quantity(claim.margin, unit)}" if claim.margin > 0.0 else ""
    if isinstance(claim, Effect):
        change = f"{_change(claim.parameter, claim.low, claim.high, problem)}{_across(claim.across, problem)}"
        return f"{change} {claim.direction} {claim.outcome}{more}, other settings as at the base point."
    if isinstance(claim, Irrelevance):
        change = f"{_change(claim.parameter, claim.low, claim.high, problem)}{_across(claim.across, problem)}"
        bound = quantity(claim.margin, unit)
        return f"{change} changes {claim.outcome} by less than {bound}, other settings as at the base point."
    if isinstance(claim, Threshold):
        name, own = claim.parameter, problem.unit(claim.parameter)
        verb = "higher" if claim.direction == "increases" else "lower"
        return (
            f"Above {name} = {quantity(claim.threshold, own)}, {claim.outcome} is {verb}{more} than below it "
            f"({quantity(claim.above, own)} against {quantity(claim.below, own)})."
        )
    if isinstance(claim, Interaction):
        first, second = claim.first, claim.second
        verb = "greater" if claim.direction == "positive" else "smaller"
        own = problem.unit(second.parameter)
        return (
            f"{_change(first.parameter, first.low, first.high, problem)} has a {verb} effect on {claim.outcome}{more} "
            f"at {second.parameter} = {quantity(second.high, own)} than at {quantity(second.low, own)}."
        )
    assert isinstance(claim, Region)
    box = ", ".join(
        f"{name} {quantity(span.low, None)} to {quantity(span.high, problem.unit(name))}"
        for name, span in claim.box.items()
    )
    return f"The best {claim.outcome} lies in {box}: it is {claim.better}{more} at the best point inside than outside."


def _change(name: str, low: Level, high: Level, problem: Problem) -> str:
    unit = problem.unit(name)
    if isinstance(low, str) or isinstance(high, str):
        return f"Changing {name} from {low} to {high}"
    verb = "Raising" if high > low else "Lowering"
    return f"{verb} {name} from {quantity(low, unit)} to {quantity(high, unit)}"


def _across(spans: Sequence[Span], problem: Problem) -> str:
    if not spans:
        return ""
    levels = []
    for span in spans:
        unit = problem.unit(span.parameter)
        levels.append(f"{span.parameter} {quantity(span.low, unit)} and {quantity(span.high, unit)}")
    if len(spans) == 1:
        return f" (averaged over {levels[0]})"
    names = " and ".join(span.parameter for span in spans)
    return f" (averaged over four settings with {', '.join(levels)}; an interaction of {names} counts as part of it)"
