"""What a candidate is worth: a BoTorch log acquisition plus viability, advice and distance from refused points.

All terms live in log space and simply add. Base acquisitions: qLogNEI (one objective), qLogNEHVI (several), both
from Ament et al., "Unexpected Improvements to Expected Improvement" (2023), and qLogProbabilityOfFeasibility while
no observed point is likely to be feasible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogNoisyExpectedImprovement, qLogProbabilityOfFeasibility
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.sampling import SobolQMCNormalSampler
from scipy.special import ndtr, ndtri
from torch import Tensor

from athanor.planners.advice import EPSILON, Advice
from athanor.planners.hyperparameters import Matrix
from athanor.planners.pareto import non_dominated
from athanor.planners.problem import Categorical
from athanor.planners.space import Space
from athanor.planners.surrogate import Surrogate
from athanor.planners.viability import Viability

SAMPLES = 128
SAMPLES_MANY = 32
"""Monte-Carlo samples with one or two, and with three or more objectives (whose hypervolume is dear)."""

LIKELY = 0.5
"""P(all constraints hold) at an observed point from which on improvement, not feasibility, is sought."""

DOUBTFUL = 0.7
"""P(viable) below which a point is penalised beyond the loss of expected improvement."""

PENALTY = 6.0
REFUSED_RADIUS = 0.05

PROBE = 256
"""Points at which the region of a piece of advice is judged."""

Constraint = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Chosen:
    """An acquisition ready to be maximised, its name, good rows to start from, and the advice that is in it."""

    acquisition: AcquisitionFunction
    method: str
    seeds: Matrix
    advice: tuple[str, ...]


class Worth(AcquisitionFunction):
    """The sum of a base acquisition and the further terms, each a function of rows (b, d)."""

    def __init__(self, base: AcquisitionFunction, terms: Sequence[Callable[[Tensor], Tensor]]) -> None:
        super().__init__(model=base.model)
        self.base = base
        self.terms = list(terms)

    def forward(self, X: Tensor) -> Tensor:
        """Return the worth (b,) of points (b, 1, d)."""
        value = self.base(X)
        for term in self.terms:
            value = value + term(X.squeeze(-2))
        return value


def choose(
    surrogate: Surrogate,
    viability: Viability | None,
    pending: Matrix,
    refused: Matrix,
    advice: Sequence[Advice],
    number: int,
    seed: int,
) -> Chosen:
    """Build the acquisition for suggestion `number`; `pending` (a, d) and `refused` (r, d) are rows of the space."""
    space, problem = surrogate.space, surrogate.problem
    constraints, feasibility = _constraints(surrogate)
    x_pending = torch.as_tensor(pending) if len(pending) else None
    base: AcquisitionFunction
    if len(constraints) and float(feasibility.max()) < LIKELY:
        method = "qLogProbabilityOfFeasibility"
        base = qLogProbabilityOfFeasibility(
            surrogate.model, constraints, sampler=_sampler(SAMPLES, seed), X_pending=x_pending
        )
        seeds = surrogate.rows[np.argsort(-feasibility, kind="stable")[:3]]
    elif len(problem.objectives) == 1:
        method = "qLogNEI"
        base = qLogNoisyExpectedImprovement(
            surrogate.model,
            torch.as_tensor(surrogate.rows),
            sampler=_sampler(SAMPLES, seed),
            objective=_objective(surrogate),
            constraints=constraints or None,
            X_pending=x_pending,
            prune_baseline=True,
        )
        scores = np.where(feasibility >= LIKELY, surrogate.scores(surrogate.rows)[:, 0], -np.inf)
        seeds = surrogate.rows[np.argsort(-scores, kind="stable")[:2]]
    else:
        method = "qLogNEHVI"
        scores = surrogate.scores(surrogate.rows)
        front = np.array(non_dominated(np.where(feasibility[:, None] >= LIKELY, scores, -np.inf).tolist()))
        reference = reference_scores(surrogate, scores[front])
        spread = np.maximum(scores[front].max(axis=0) - reference, 1e-9 * np.abs(reference) + 1e-12)
        many = len(problem.objectives) > 2
        base = qLogNoisyExpectedHypervolumeImprovement(
            surrogate.model,
            torch.zeros(len(reference), dtype=torch.double),
            torch.as_tensor(surrogate.rows),
            sampler=_sampler(SAMPLES_MANY if many else SAMPLES // 2, seed),
            objective=_objectives(surrogate, reference, spread),
            constraints=constraints or None,
            X_pending=x_pending,
            prune_baseline=True,
        )
        seeds = surrogate.rows[front]
    terms: list[Callable[[Tensor], Tensor]] = []
    if viability is not None:
        terms.append(lambda x: _viability_term(viability, x))
    if len(refused):
        terms.append(lambda x: _refused_term(torch.as_tensor(refused), x))
    used, notes = _weigh_advice(surrogate, advice, number)
    if used:
        count = len(surrogate.observations)
        terms.append(lambda x: _advice_term(space, used, count, x))
    return Chosen(Worth(base, terms), method, seeds, tuple(notes))


def reference_scores(surrogate: Surrogate, front: Matrix) -> Matrix:
    """Return the hypervolume's reference point in scores: as stated, else a little below the front (f, m)."""
    spread = front.max(axis=0) - front.min(axis=0)
    size = np.where(spread > 0, spread, np.maximum(1.0, np.abs(front).max(axis=0)) * 0.1)
    inferred = front.min(axis=0) - 0.1 * size
    stated = [o.reference_score for o in surrogate.problem.objectives]
    return np.array([i if s is None else s for i, s in zip(inferred.tolist(), stated, strict=True)])


def _sampler(samples: int, seed: int) -> SobolQMCNormalSampler:
    return SobolQMCNormalSampler(torch.Size([samples]), seed=seed)


def _objective(surrogate: Surrogate) -> GenericMCObjective:
    """One objective on the model's scale: a logarithmic scale keeps its order, and improvement there is relative."""
    objective = surrogate.problem.objectives[0]
    scale = surrogate.outcomes[objective.name].scale
    i = surrogate.problem.outcomes.index(objective.name)
    if objective.target is None:
        sign = 1.0 if objective.goal == "maximize" else -1.0
        return GenericMCObjective(lambda samples, X=None: sign * samples[..., i])
    target, spread = objective.target, scale.spread
    return GenericMCObjective(lambda samples, X=None: -(scale.from_model(samples[..., i]) - target).abs() / spread)


def _objectives(surrogate: Surrogate, reference: Matrix, spread: Matrix) -> GenericMCMultiOutputObjective:
    """All objectives as scores in their own units, reference at 0, the best of the front at 1."""
    problem = surrogate.problem

    def scores(samples: Tensor, X: Tensor | None = None) -> Tensor:
        columns = []
        for k, objective in enumerate(problem.objectives):
            y = surrogate.outcomes[objective.name].scale.from_model(
                samples[..., problem.outcomes.index(objective.name)]
            )
            if objective.target is not None:
                y = -(y - objective.target).abs()
            elif objective.goal == "minimize":
                y = -y
            columns.append((y - float(reference[k])) / float(spread[k]))
        return torch.stack(columns, dim=-1)

    return GenericMCMultiOutputObjective(scores)


def _constraints(surrogate: Surrogate) -> tuple[list[Constraint], Matrix]:
    """Return functions of samples, negative where a constraint holds with a margin, and P(all hold so) as observed.

    A point can only be reported if the constraint holds there with its probability *after* it was measured, so the
    bound is moved inwards by that quantile of the belief that remains at a well-known observed point.
    """
    mean, variance = surrogate.posterior(surrogate.rows)
    sd = np.sqrt(variance)
    found: list[Constraint] = []
    feasibility = np.ones(len(mean))
    for constraint in surrogate.problem.outcome_constraints:
        i = surrogate.problem.outcomes.index(constraint.name)
        low, high = surrogate.bounds(constraint)
        margin = max(0.0, float(ndtri(constraint.probability))) * float(np.quantile(sd[:, i], 0.25))
        if math.isfinite(low) and math.isfinite(high):
            margin = min(margin, 0.25 * (high - low))
        low, high = low + margin, high - margin
        feasibility *= ndtr((high - mean[:, i]) / sd[:, i]) - ndtr((low - mean[:, i]) / sd[:, i])
        if math.isfinite(low):
            found.append(partial(_below, i, low))
        if math.isfinite(high):
            found.append(partial(_above, i, high))
    return found, feasibility


def _below(outcome: int, edge: float, samples: Tensor) -> Tensor:
    return edge - samples[..., outcome]


def _above(outcome: int, edge: float, samples: Tensor) -> Tensor:
    return samples[..., outcome] - edge


def _viability_term(viability: Viability, x: Tensor) -> Tensor:
    log_p = viability.probability(x).clamp_min(1e-12).log()
    return log_p + PENALTY * (log_p - math.log(DOUBTFUL)).clamp_max(0.0)


def _refused_term(refused: Tensor, x: Tensor) -> Tensor:
    gaps = (x.unsqueeze(-2) - refused).square().sum(dim=-1)
    return torch.log1p(-0.9999 * torch.exp(-0.5 * gaps / REFUSED_RADIUS**2)).sum(dim=-1)


def _positions(space: Space, x: Tensor) -> Tensor:
    """Map rows (b, d) to one position per parameter (b, p), keeping gradients of the continuous ones."""
    columns = []
    for parameter, part in zip(space.problem.parameters, space.slices, strict=True):
        if isinstance(parameter, Categorical):
            columns.append(x[:, part].argmax(dim=-1).to(x) / (len(parameter.values) - 1))
        else:
            columns.append(x[:, part.start])
    return torch.stack(columns, dim=-1)


def _advice_term(space: Space, advice: Sequence[Advice], count: int, x: Tensor) -> Tensor:
    positions = _positions(space, x)
    total = torch.zeros(len(x), dtype=x.dtype)
    for item in advice:
        density = torch.exp(item.log_density(positions, space.problem))
        total = total + item.strength(count) * torch.log((1.0 - EPSILON) * density + EPSILON)
    return total


def _weigh_advice(surrogate: Surrogate, advice: Sequence[Advice], number: int) -> tuple[list[Advice], list[str]]:
    """Return the advice to use for this suggestion, and a note on each piece."""
    if not advice:
        return [], []
    if number % 3 == 0:
        return [], ["none: every third suggestion goes by the data alone"]
    count = len(surrogate.observations)
    used, notes = [], []
    for item in sorted(advice, key=lambda a: a.id):
        if item.weight == 0.0:
            notes.append(f"{item.id}: ignored, its weight is 0")
        elif is_hopeless(surrogate, item):
            notes.append(
                f"{item.id}: ignored, even the upper bound (mean + 2 sd) of its region is below the best known"
            )
        else:
            used.append(item)
            notes.append(f"{item.id}: used with strength {item.strength(count):.2f}")
    return used, notes


def is_hopeless(surrogate: Surrogate, advice: Advice) -> bool:
    """Whether the optimistic outcome (mean + 2 sd) everywhere in the advised region is beaten by a known point."""
    space, problem = surrogate.space, surrogate.problem
    cube = space.to_cube(space.sample(PROBE, 0))
    if advice.kind == "monotone":
        assert advice.parameter is not None  # by validation
        i = problem.names.index(advice.parameter)
        cube[:, i] = (2.0 + cube[:, i]) / 3.0 if advice.direction == "increase" else cube[:, i] / 3.0
    else:
        for name, value in (advice.center or {}).items():
            i, width = problem.names.index(name), (advice.width or {})[name]
            parameter = problem.parameters[i]
            middle = parameter.to_unit(value)
            if isinstance(parameter, Categorical):
                cube[:, i] = (parameter.values.index(str(value)) + 0.5) / len(parameter.values)
            else:
                cube[:, i] = np.clip(middle + width * (2.0 * cube[:, i] - 1.0), 0.0, 1.0)
    rows = space.project(space.from_cube(cube))
    rows = rows[space.is_feasible(rows)]
    if len(rows) == 0:
        return True
    optimistic = surrogate.scores(rows, optimism=2.0)
    known = surrogate.scores(surrogate.rows)
    if problem.outcome_constraints:
        known = known[surrogate.is_feasible(surrogate.rows)]
    beaten = np.all(known[None, :, :] >= optimistic[:, None, :], axis=2)
    return bool(np.all(np.any(beaten, axis=1)))
