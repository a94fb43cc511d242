"""What a candidate trades off: what is hoped for against what is known, likely or far away; as data and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from athanor.planners.hyperparameters import Matrix
from athanor.planners.paths import in_units
from athanor.planners.problem import Problem, Value
from athanor.planners.protocol import Best, Compromise, Tradeoff
from athanor.planners.space import sobol
from athanor.planners.surrogate import Surrogate
from athanor.planners.viability import Viability

DRAWS = 1024
"""Joint draws of the objective at the candidate and at the best point."""

MOSTLY = 0.8
"""Share of a hope from which on it is said to rest mostly on one side."""


def weigh(
    surrogate: Surrogate, viability: Viability | None, values: Mapping[str, Value], best: Sequence[Best]
) -> Tradeoff:
    """Return what a point trades off against the best points known; a function of its arguments alone."""
    space, problem = surrogate.space, surrogate.problem
    row = space.encode([values])
    gaps = np.abs(surrogate.rows - row).max(axis=1)
    nearest = int(np.argmin(gaps))
    known = surrogate.observations[nearest]
    is_feasible = bool(best) and best[0].is_feasible
    found = Tradeoff(
        nearest=known.values,
        nearest_id=known.candidate_id,
        distance=float(gaps[nearest]),
        feasible=float(surrogate.feasibility(row).prod()) if problem.outcome_constraints else None,
        works=None if viability is None else float(viability.probability(torch.as_tensor(row))),
    )
    if not is_feasible:
        return found
    if len(problem.objectives) > 1:
        return found.model_copy(update={"compromise": _compromise(surrogate, row, best)})
    gain = _gains(surrogate, np.concatenate([row, space.encode([best[0].values])]))
    improvement, better = float(np.maximum(gain, 0.0).mean()), float((gain > 0).mean())
    expected = max(0.0, float(gain.mean())) * better
    exploration = float(np.clip(1.0 - expected / improvement, 0.0, 1.0)) if improvement > 0 else None
    return found.model_copy(update={"improvement": improvement, "better": better, "exploration": exploration})


def _gains(surrogate: Surrogate, rows: Matrix) -> Matrix:
    """Return draws (DRAWS,) of the objective's score at the first row beyond that at the second, in its unit."""
    [objective] = surrogate.problem.objectives
    model = surrogate.outcomes[objective.name]
    with torch.no_grad():
        mean, covariance = model.process.joint(torch.as_tensor(rows))
        values, vectors = torch.linalg.eigh(covariance)
        normals = torch.special.ndtri(torch.as_tensor(sobol(2, DRAWS, 0)).clamp(1e-6, 1.0 - 1e-6))
        drawn = in_units(model, (mean + normals @ (vectors * values.clamp_min(0.0).sqrt()).T).numpy())
    score = drawn if objective.goal == "maximize" else -drawn
    if objective.target is not None:
        score = -np.abs(drawn - objective.target)
    return np.asarray(score[:, 0] - score[:, 1])


def _compromise(surrogate: Surrogate, row: Matrix, best: Sequence[Best]) -> Compromise:
    """Return how the expected scores of a row stand to those of the best compromises."""
    problem = surrogate.problem
    rows = surrogate.space.encode([b.values for b in best])
    front, here = surrogate.scores(rows), surrogate.scores(row)[0]
    span = front.max(axis=0) - front.min(axis=0)
    size = np.where(span > 0, span, np.maximum(np.abs(front).max(axis=0), 1e-12))
    beyond = (here - front.max(axis=0)) / size
    gaps = np.square((front - here) / size).sum(axis=1)
    kind, objective, near = "between", None, int(np.argmin(gaps))
    beaten, better = (here >= front).all(axis=1), (front >= here).all(axis=1)
    if beaten.any():
        kind, near = "improves", int(np.argmin(np.where(beaten, gaps, np.inf)))
    elif beyond.max() > 0:
        k = int(np.argmax(beyond))
        kind, near, objective = "extends", int(np.argmax(front[:, k])), problem.objectives[k].name
    elif better.any():
        kind, near = "behind", int(np.argmin(np.where(better, gaps, np.inf)))
    mean = surrogate.predict_rows(np.concatenate([row, rows[near : near + 1]]))[0]
    changes = {o.name: float(np.subtract(*mean[:, problem.outcomes.index(o.name)])) for o in problem.objectives}
    return Compromise.model_validate(
        {
            "kind": kind,
            "objective": objective,
            "candidate_id": best[near].candidate_id,
            "values": best[near].values,
            "changes": changes,
        }
    )


def in_words(found: Tradeoff, problem: Problem) -> str:
    """Return a trade-off as one or more sentences for a scientist."""
    sentences = []
    if found.better is not None and found.improvement is not None:
        objective = problem.objectives[0]
        unit = f" {objective.unit}" if objective.unit else ""
        closer = " nearer to the target" if objective.target is not None else ""
        text = f"With a probability of {_percent(found.better)} it beats that best point"
        if found.improvement > 0:
            text += f", and a gain of {found.improvement:.2g}{unit}{closer} is expected, where a loss counts as nothing"
        if found.exploration is not None and found.exploration >= MOSTLY:
            text += "; the hope rests on what is not yet known there (exploration)"
        elif found.exploration is not None and found.exploration <= 1.0 - MOSTLY:
            text += "; the hope rests on what is known already (exploitation)"
        elif found.exploration is not None:
            text += f"; {_percent(found.exploration)} of the hope rests on what is not yet known there (exploration)"
        sentences.append(text)
    if found.compromise is not None:
        sentences.append(_compromise_in_words(found.compromise, problem))
    if found.feasible is not None:
        sentences.append(f"All constraints hold there with a probability of {_percent(found.feasible)}")
    if found.works is not None:
        sentences.append(f"The process works there at all with a probability of {_percent(found.works)}")
    if found.distance == 0.0:
        sentences.append("The same setting was measured before")
    elif found.distance > 0.99:
        sentences.append("The nearest measured setting is another category or a whole range away")
    else:
        sentences.append(f"The nearest measured setting differs by {_percent(found.distance)} of a range at most")
    return ". ".join(sentences) + "."


def _compromise_in_words(found: Compromise, problem: Problem) -> str:
    changes = []
    for objective in problem.objectives:
        unit = f" {objective.unit}" if objective.unit else ""
        changes.append(f"{objective.name} {found.changes[objective.name]:+.3g}{unit}".replace("-", "−"))
    against = ", ".join(changes)
    if found.kind == "improves":
        return f"It is expected to be at least as good as a known compromise in every objective ({against})"
    if found.kind == "extends":
        return f"It is expected to extend the compromises towards better {found.objective} ({against} beside the best)"
    if found.kind == "between":
        return f"It is expected to fill a gap between known compromises ({against} beside the nearest)"
    return (
        f"It is expected to fall behind a known compromise ({against} beside it) and is tried for what is "
        "not yet known there"
    )


def _percent(share: float) -> str:
    if share < 0.01:
        return "less than 1%"
    return "more than 99%" if share > 0.99 else f"{share:.0%}"
