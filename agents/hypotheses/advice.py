"""From a claim and its state to advice for the planner: bounded, decaying, never a bound on the search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from athanor.agents.hypotheses.claims import AnyClaim, Effect, Level, Region, Threshold

if TYPE_CHECKING:
    from athanor.planners.advice import Advice
    from athanor.planners.problem import Problem

UNTESTED_WEIGHT = 0.5
"""Weight of a claim its proposer is certain of, while it is being tested."""

CATEGORY_WIDTH = 0.25


def compile_advice(
    identifier: str, claim: AnyClaim, problem: Problem, state: str, prior: float, given_at: int, tainted: bool = False
) -> Advice | None:
    """Compile a hypothesis to advice, or None where it has nothing to say about where good points lie.

    Args:
        identifier: id of the hypothesis; it becomes the advice's.
        claim: what it claims.
        problem: of the campaign.
        state: of the hypothesis. Registered, testing and supported ones advise; all others say nothing any more.
        prior: the proposer's probability; an untested claim at or below 0.5 advises nothing.
        given_at: number of observations when the advice was given; it decays from there.
        tainted: a claim with an untrusted origin advises only once it is supported.
    """
    if state == "supported":
        weight = 1.0
    elif state in ("registered", "testing") and not tainted:
        weight = UNTESTED_WEIGHT * max(0.0, 2.0 * prior - 1.0)
    else:
        return None
    objective = next((item for item in problem.objectives if item.name == claim.outcome), None)
    if objective is None or objective.goal is None or weight <= 0.0:
        return None
    # One objective among several: leaning on it fully would push the search to one end of the trade-off.
    weight /= len(problem.objectives)
    wanted = 1.0 if objective.goal == "maximize" else -1.0
    if isinstance(claim, Region):
        better = 1.0 if claim.better == "higher" else -1.0
        return _region(identifier, claim, problem, weight, given_at) if better == wanted else None
    if isinstance(claim, Effect):
        up = (1.0 if claim.direction == "increases" else -1.0) * wanted > 0
        return _towards(identifier, claim.parameter, claim.low, claim.high, up, problem, weight, given_at)
    if isinstance(claim, Threshold):
        up = (1.0 if claim.direction == "increases" else -1.0) * wanted > 0
        return _towards(identifier, claim.parameter, claim.below, claim.above, up, problem, weight, given_at)
    return None


def _towards(
    identifier: str, name: str, low: Level, high: Level, up: bool, problem: Problem, weight: float, given_at: int
) -> Advice:
    from athanor.planners.advice import Advice

    parameter = problem.parameter(name)
    if parameter.kind == "categorical":
        better = high if up else low
        return Advice(
            id=identifier,
            kind="region",
            center={name: better},
            width={name: CATEGORY_WIDTH},
            weight=weight,
            given_at=given_at,
        )
    rising = parameter.to_unit(high) > parameter.to_unit(low)
    return Advice(
        id=identifier,
        kind="monotone",
        parameter=name,
        direction="increase" if up == rising else "decrease",
        weight=weight,
        given_at=given_at,
    )


def _region(identifier: str, claim: Region, problem: Problem, weight: float, given_at: int) -> Advice:
    from athanor.planners.advice import Advice

    center: dict[str, Level] = {}
    width: dict[str, float] = {}
    for name, span in claim.box.items():
        parameter = problem.parameter(name)
        first, last = (min(1.0, max(0.0, _position(parameter, end))) for end in (span.low, span.high))
        center[name] = parameter.from_unit((first + last) / 2.0)
        width[name] = min(1.0, max(0.02, (last - first) / 2.0))
    return Advice(id=identifier, kind="region", center=center, width=width, weight=weight, given_at=given_at)


def _position(parameter: object, value: float) -> float:
    low, high = (getattr(parameter, "from_unit")(end) for end in (0.0, 1.0))  # noqa: B009
    return float(getattr(parameter, "to_unit")(min(max(value, low), high)))  # noqa: B009
