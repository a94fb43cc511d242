"""Main effects by least squares: what a flexible surrogate cannot tell yet, because it has too much to learn.

With a few noisy runs a Gaussian process cannot tell a slope from a wiggle and decides no direction at all. The classic
screening fit (a constant and one slope per parameter) has far fewer quantities to learn. It is asked only then, and
believed only where it decides something itself, so that a bend which the surrogate sees keeps its say.
Source: Box, Hunter & Hunter, "Statistics for Experimenters" (2nd ed. 2005), chapters 5 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from athanor.agents.reasoners.picture import Change
from athanor.agents.reasoners.protocol import Seen

if TYPE_CHECKING:
    from athanor.planners.problem import Problem

DECIDED = 0.9
"""Direction probability from which a direction counts as decided."""

FREEDOM = 4
"""Runs beyond the quantities fitted, at least: with fewer the noise is not known well enough."""


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
