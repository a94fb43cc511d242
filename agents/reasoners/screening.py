"""Screening: finding out which parameters matter, by a fit of main effects and by asking about several at once.

With a few noisy runs a Gaussian process cannot tell a slope from a wiggle and decides no direction at all. The classic
screening fit (a constant and one slope per parameter) has far fewer quantities to learn. It is asked only then, and
believed only where it decides something itself, so that a bend which the surrogate sees keeps its say.

A few runs inside the space often point at the wrong parameter, and a test of that one spends what the right one needs.
A factorial block varies two or three parameters in the same four runs, and each run tells of every one of them.
Source: Box, Hunter & Hunter, "Statistics for Experimenters" (2nd ed. 2005), chapters 5, 6 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from athanor.agents.hypotheses.claims import Effect, InvalidClaim, Span
from athanor.agents.hypotheses.contrast import compile_claim
from athanor.agents.reasoners.drafts import Draft, expectation, shrunk
from athanor.agents.reasoners.picture import Change
from athanor.agents.reasoners.protocol import Seen, Situation

if TYPE_CHECKING:
    from athanor.planners.problem import Problem

DECIDED = 0.9
"""Direction probability from which a direction counts as decided."""

FREEDOM = 4
"""Runs beyond the quantities fitted, at least: with fewer the noise is not known well enough."""

CLEAR = 4.0
"""Size of a change in standard deviations of the belief about it from which the parameter is asked about by itself.

The noise is known from eight degrees of freedom or so (a dozen runs less what was fitted). Of ten parameters that do
nothing, the largest such ratio then exceeds 4 by chance in one campaign of twenty-five (Student's t, Bonferroni).
"""

AT_ONCE = 3
"""Parameters asked about at once, at most: four runs give the effects of three."""

ARMS = 4
LEAST_BLOCKS = 5
"""Blocks that must be affordable; with fewer the claims share too little evidence to be told from noise."""


def is_decided(change: Change) -> bool:
    """Whether the direction of the change is known well enough to be called so."""
    return max(change.probability_up, 1.0 - change.probability_up) >= DECIDED


def screened(changes: Sequence[Change], problem: Problem, seen: Sequence[Seen]) -> tuple[Change, ...]:
    """Put main effects in place of the surrogate's, per outcome, where it decides no direction and they decide one.

    Args:
        changes: what the surrogate expects, any number of outcomes.
        problem: gives the parameters' scales.
        seen: completed runs.

    Returns:
        the changes in their order; those of categories stay as they are.
    """
    found = {}
    for outcome in {change.outcome for change in changes}:
        own = [change for change in changes if change.outcome == outcome]
        if not any(is_decided(change) for change in own):
            fitted = _main_effects(own, problem, [item for item in seen if outcome in item.outcomes])
            if any(is_decided(change) for change in fitted):
                found.update({(change.outcome, change.parameter): change for change in fitted})
    return tuple(found.get((change.outcome, change.parameter), change) for change in changes)


def _main_effects(changes: Sequence[Change], problem: Problem, seen: Sequence[Seen]) -> list[Change]:
    """Fit the outcome of these changes to all parameters; empty where the runs do not determine every slope."""
    columns = [np.ones(len(seen))]
    place: dict[str, int] = {}
    for parameter in problem.parameters:
        if parameter.kind == "categorical":
            for value in parameter.values[1:]:
                columns.append(np.array([float(item.values[parameter.name] == value) for item in seen]))
        else:
            place[parameter.name] = len(columns)
            columns.append(np.array([parameter.to_unit(item.values[parameter.name]) for item in seen]))
    design = np.column_stack(columns)
    freedom = len(seen) - design.shape[1]
    if freedom < FREEDOM or np.linalg.matrix_rank(design, tol=1e-3 * math.sqrt(len(seen))) < design.shape[1]:
        return []
    outcome = np.array([item.outcomes[changes[0].outcome] for item in seen])
    inverse = np.linalg.inv(design.T @ design)
    slopes = inverse @ design.T @ outcome
    residual = outcome - design @ slopes
    # The variance of Student's t: a few runs know the noise badly, so they are less sure than a normal would be.
    variance = float(residual @ residual) / (freedom - 2)
    squares = sum(float(slopes[column]) ** 2 for column in place.values())
    fitted = []
    for change in changes:
        if (column := place.get(change.parameter)) is None:
            continue
        parameter = problem.parameter(change.parameter)
        reach = parameter.to_unit(change.high) - parameter.to_unit(change.low)
        fitted.append(
            change.model_copy(
                update={
                    "change": float(slopes[column]) * reach,
                    "sd": math.sqrt(variance * float(inverse[column, column])) * abs(reach),
                    "importance": float(slopes[column]) ** 2 / squares if squares > 0.0 else 0.0,
                    "source": "a fit of main effects",
                }
            )
        )
    return fitted


def screening_question(
    changes: Sequence[Change], situation: Situation, problem: Problem, cites: tuple[str, ...], limit: int
) -> list[Draft]:
    """Ask about two or three parameters at once, while it is not clear which matters; empty where it is no good.

    Args:
        changes: those not asked about yet, the most worthwhile first.
        situation: gives the runs that are left and the base point.
        problem: of the campaign.
        cites: the observations behind the changes.
        limit: hypotheses wanted, at most.

    Returns:
        one effect per parameter, in the likelier direction, averaged over the levels of the others: all on the same
        four runs. Empty where the first change is clear or about a category, where fewer than `LEAST_BLOCKS` blocks can
        be run, or where a corner lies nearest to a run that failed.
    """
    left, base = situation.remaining.confirmatory, situation.base_point
    if base is None or not changes or (left is not None and left < ARMS * LEAST_BLOCKS):
        return []
    lead = changes[0]
    numeric = [
        change
        for change in changes
        if change.outcome == lead.outcome and problem.parameter(change.parameter).kind != "categorical"
    ][: min(AT_ONCE, limit)]
    if len(numeric) < 2 or numeric[0] is not lead or abs(lead.change) >= CLEAR * lead.sd:
        return []
    spans = {
        change.parameter: Span(
            parameter=change.parameter,
            low=problem.parameter(change.parameter).validate_value(change.low),
            high=problem.parameter(change.parameter).validate_value(change.high),
        )
        for change in numeric
    }
    drafts = []
    for change in numeric:
        own = spans[change.parameter]
        up = change.probability_up
        claim = Effect(
            outcome=change.outcome,
            parameter=own.parameter,
            low=own.low,
            high=own.high,
            direction="increases" if up >= 0.5 else "decreases",
            across=tuple(span for name, span in spans.items() if name != own.parameter),
        )
        told = expectation(change, problem.unit(change.outcome), len(cites))
        probability = max(up, 1.0 - up)
        text = (
            f"{told}, a probability of {probability:.2f} that {change.outcome} {claim.direction}. It is not clear yet "
            f"which parameter matters: {', '.join(spans)} are asked about together, on the same runs."
        )
        drafts.append(Draft(claim, shrunk(probability), text, cites))
    return drafts if _is_within_reach(drafts[0], situation, problem) else []


def _is_within_reach(draft: Draft, situation: Situation, problem: Problem) -> bool:
    """Whether the design can be run and none of its points lies nearest to a run that failed."""
    try:
        design = compile_claim(draft.claim, problem, situation.base_point or {})
    except InvalidClaim:
        return False
    known = [(problem.to_unit(item.values), item.status) for item in situation.observations]
    if all(status != "failed" for _, status in known):
        return True
    points = [problem.to_unit(point.values) for point in design.points]
    return all(min(known, key=lambda item: math.dist(item[0], point))[1] != "failed" for point in points)
