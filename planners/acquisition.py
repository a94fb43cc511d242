"""What a candidate is worth: expected improvement in log space, plus viability, advice and distance from refusals.

All terms live in log space and simply add. The improvements are those of BoTorch's qLogNEI (one objective) and
qLogNEHVI (several), from Ament et al., "Unexpected Improvements to Expected Improvement" (2023) and Daulton et al.,
"Parallel Bayesian Optimization of Multiple Noisy Objectives" (2021), with BoTorch's numerics: averages over joint
draws of the noise-free outcomes at all known and pending points. While no known point is likely to be feasible, the
probability of feasibility takes their place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition.analytic import _log_ei_helper
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from botorch.utils.safe_math import log_fatplus, logmeanexp
from botorch.utils.sampling import draw_sobol_normal_samples
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor

from athanor.planners.advice import EPSILON, Advice
from athanor.planners.hyperparameters import Matrix
from athanor.planners.input_space import ROUNDING
from athanor.planners.pareto import non_dominated
from athanor.planners.problem import Categorical
from athanor.planners.process import Conditional
from athanor.planners.space import Space
from athanor.planners.surrogate import Surrogate
from athanor.planners.viability import Viability

SAMPLES = 128
"""Joint draws of the outcomes at known points."""

SMOOTH = 1e-3
"""Width, in units of the objective's spread, over which an improvement of nothing turns into one."""

LIKELY = 0.5
"""P(all constraints hold) at an observed point from which on improvement, not feasibility, is sought."""

DOUBTFUL = 0.7
"""P(viable) below which a point is penalised beyond the loss of expected improvement."""

PENALTY = 6.0
REFUSED_RADIUS = 0.05

SURE = 0.7
"""P(all limits hold, margin included) asked of a point while the last of the budget is used to collect."""

STEP = 0.03
"""Gain, in units of the model's scale, that counts as one while collecting."""

REACH = 0.3
"""How far from the best known point, per parameter and as a share of its range, a suggestion near it may lie."""

APART = 0.075
"""Distance over which being next to a measured point costs a suggestion near the best one."""

PROBE = 256
"""Points at which the region of a piece of advice is judged."""

NEAR = " near the best"
"""Added to the method's name."""

Term = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Chosen:
    """An acquisition ready to be maximised, its name, good rows to start from, and the advice that is in it.

    For a quicker figure of the same (`athanor.planners.screening`): the limits with their margins, which of the known
    rows are likely feasible, and the row (d,) that a suggestion is to stay near to, if it is.
    """

    acquisition: Worth
    method: str
    seeds: Matrix
    advice: tuple[str, ...]
    limits: tuple[Limit, ...]
    likely: NDArray[np.intp]
    centre: Matrix | None = None


class Worth(AcquisitionFunction):
    """The sum of terms, each a function of rows (b, d) giving (b,)."""

    def __init__(self, terms: Sequence[Term]) -> None:
        super().__init__(model=None)
        self.terms = list(terms)

    def forward(self, X: Tensor) -> Tensor:
        """Return the worth (b,) of points (b, 1, d)."""
        rows = X.squeeze(-2)
        total = self.terms[0](rows)
        for term in self.terms[1:]:
            total = total + term(rows)
        return total


def choose(
    surrogate: Surrogate,
    viability: Viability | None,
    pending: Matrix,
    refused: Matrix,
    advice: Sequence[Advice],
    number: int,
    seed: int,
    collecting: bool = False,
    near: bool = False,
) -> Chosen:
    """Build the acquisition for suggestion `number`; `pending` (a, d) and `refused` (r, d) are rows of the space.

    `collecting` seeks, for one objective, the best result that is likely to hold instead of the improvement that new
    knowledge may bring: there is no budget left to use that knowledge. `near` looks for the improvement within reach of
    the best known point, or of the one that is the best compromise by itself, yet apart from every measured one.
    """
    space, problem = surrogate.space, surrogate.problem
    limits, feasibility = _limits(surrogate)
    terms: list[Term] = []
    centre = None
    if limits and float(feasibility.max()) < LIKELY:
        method = "qLogProbabilityOfFeasibility"
        terms.append(lambda x: _log_feasibility(surrogate, limits, x))
        seeds = surrogate.rows[np.argsort(-feasibility, kind="stable")[:3]]
        refused = np.concatenate([refused, pending])
    else:
        scores = surrogate.scores(surrogate.rows)
        scores = np.where(feasibility[:, None] >= LIKELY, scores, -np.inf)
        front = np.array(non_dominated(scores.tolist()))
        collected = _collecting(surrogate, limits, feasibility) if collecting else None
        if collected is not None:
            method, advice = "posterior mean", ()
            terms.append(collected)
            refused = np.concatenate([refused, pending])
        else:
            draws = Draws.build(surrogate, limits, pending, seed)
            several = len(problem.objectives) > 1
            method = "qLogNEHVI" if several else "qLogNEI"
            terms.append(draws.hypervolume_improvement(scores[front]) if several else draws.improvement())
            worth = _alone(surrogate, scores, scores[front]) if several else scores[:, 0]
            if near and not (several and worth.max() <= 0.0):
                method += NEAR
                centre = _centre(surrogate, worth)
                terms.append(_near(surrogate, centre))
        seeds = surrogate.rows[front if len(problem.objectives) > 1 else np.argsort(-scores[:, 0], kind="stable")[:2]]
    if viability is not None:
        terms.append(lambda x: _viability_term(viability, x))
    if len(refused):
        terms.append(lambda x: _refused_term(torch.as_tensor(refused), x))
    used, notes = _weigh_advice(surrogate, advice, number)
    if used:
        count = len(surrogate.observations)
        terms.append(lambda x: _advice_term(space, used, count, x))
    likely = np.flatnonzero(feasibility >= LIKELY)
    return Chosen(Worth(terms), method, seeds, tuple(notes), tuple(limits), likely, centre)


@dataclass(frozen=True)
class Limit:
    """Bounds of one outcome on its model scale, margin included; `outcome` is its place among the outcomes."""

    outcome: int
    low: float
    high: float

    def log_probability(self, mean: Tensor, sd: Tensor) -> Tensor:
        """Return log P(low ≤ outcome ≤ high)."""
        total = torch.zeros_like(mean)
        if math.isfinite(self.low):
            total = total + torch.special.log_ndtr((mean - self.low) / sd)
        if math.isfinite(self.high):
            total = total + torch.special.log_ndtr((self.high - mean) / sd)
        return total


@dataclass(frozen=True)
class Draws:
    """Joint draws of every outcome at all known and pending rows, and what an outcome elsewhere adds to each draw."""

    surrogate: Surrogate
    limits: Sequence[Limit]
    conditionals: Sequence[Conditional]
    normals: Tensor
    feasible: Tensor

    @classmethod
    def build(cls, surrogate: Surrogate, limits: Sequence[Limit], pending: Matrix, seed: int) -> Draws:
        """Draw from the surrogate; `normals` (s, m) are kept for the outcomes at the point to be judged."""
        base = torch.as_tensor(np.unique(np.concatenate([surrogate.rows, pending]), axis=0))
        names = surrogate.problem.outcomes
        p, m = len(base), len(names)
        normals = draw_sobol_normal_samples((p + 1) * m, SAMPLES, dtype=torch.double, seed=seed)
        normals = torch.linalg.cholesky(torch.as_tensor(surrogate.correlation)) @ normals.unflatten(1, (m, p + 1))
        conditionals = [
            Conditional.build(surrogate.outcomes[name].process, base, normals[:, i, :p]) for i, name in enumerate(names)
        ]
        feasible = torch.ones(SAMPLES, p, dtype=torch.bool)
        for limit in limits:
            at = conditionals[limit.outcome].draws
            feasible &= (at >= limit.low) & (at <= limit.high)
        feasible &= torch.as_tensor(_allowed(surrogate, base.numpy()))
        return cls(surrogate, limits, conditionals, normals[:, :, p], feasible)

    def improvement(self) -> Term:
        """Return the log of the expected improvement over the best feasible known point."""
        objective = self.surrogate.problem.objectives[0]
        i = self.surrogate.problem.outcomes.index(objective.name)
        limited = any(limit.outcome == i for limit in self.limits)
        scores = self._score(0, self.conditionals[i].draws)
        worst = scores.min(dim=1).values
        best = torch.where(self.feasible, scores, worst.unsqueeze(-1)).max(dim=1).values.unsqueeze(-1)
        sign = {"maximize": 1.0, "minimize": -1.0}.get(objective.goal or "", 0.0)

        def exact(x: Tensor) -> Tensor:
            mean, sd = self.conditionals[i].marginal(x)
            u = (sign * mean - best) / sd
            log_gain = _log_ei_helper(u)
            # Mean and variance of the standard normal behind the objective, weighed by the improvement it brings.
            middle = torch.exp(torch.special.log_ndtr(u) - log_gain)
            density = torch.exp(-0.5 * u.square() - 0.5 * math.log(2.0 * math.pi) - log_gain)
            spread = (1.0 + density - middle.square()).clamp(0.0, 1.0)
            return logmeanexp(log_gain + sd.log() + self._log_feasible(x, {i: (sign * middle, spread)}), dim=0)

        def sampled(x: Tensor) -> Tensor:
            outcomes = self._outcomes(x)
            log_gain = log_fatplus(self._score(0, outcomes[i]) - best, tau=SMOOTH)
            return logmeanexp(log_gain + self._log_feasible(x, self._drawn(), outcomes), dim=0)

        bounded = self.surrogate.outcomes[objective.name].scale.is_bounded_above
        return exact if sign and not limited and not bounded else sampled

    def hypervolume_improvement(self, front: Matrix) -> Term:
        """Return the log of the expected hypervolume improvement; `front` (f, m) are the known best scores."""
        objectives = self.surrogate.problem.objectives
        places = [self.surrogate.problem.outcomes.index(o.name) for o in objectives]
        reference = reference_scores(self.surrogate, front)
        spread = np.maximum(front.max(axis=0) - reference, 1e-9 * np.abs(reference) + 1e-12)

        def normalised(outcomes: Sequence[Tensor]) -> Tensor:
            columns = [
                (self._score(k, outcomes[i]) - float(reference[k])) / float(spread[k]) for k, i in enumerate(places)
            ]
            return torch.stack(columns, dim=-1)

        known = normalised([c.draws for c in self.conditionals])
        known = torch.where(self.feasible.unsqueeze(-1), known, torch.full_like(known, -1.0))
        cells = FastNondominatedPartitioning(torch.zeros(len(places), dtype=torch.double), known).hypercell_bounds
        low, high = cells[0].unsqueeze(1), cells[1].unsqueeze(1)  # (s, 1, cells, m)

        def gain(x: Tensor) -> Tensor:
            outcomes = self._outcomes(x)
            scores = normalised(outcomes).unsqueeze(-2)  # (s, b, 1, m)
            sides = log_fatplus(torch.minimum(scores, high) - low, tau=SMOOTH)
            log_gain = torch.logsumexp(sides.sum(dim=-1), dim=-1)
            return logmeanexp(log_gain + self._log_feasible(x, self._drawn(), outcomes), dim=0)

        return gain

    def _outcomes(self, x: Tensor) -> list[Tensor]:
        """Return one draw (s, b) per outcome at rows x (b, d), given the draws at known rows."""
        found = []
        for i, conditional in enumerate(self.conditionals):
            mean, sd = conditional.marginal(x)
            found.append(mean + sd * self.normals[:, i : i + 1])
        return found

    def _score(self, k: int, outcome: Tensor) -> Tensor:
        """Return objective k, more is better, of draws on the model's scale.

        One objective to maximise or minimise stays on that scale, where improvement may be relative. In their own units
        are compared: a target, several objectives, and one whose scale ends above.
        """
        objective = self.surrogate.problem.objectives[k]
        scale = self.surrogate.outcomes[objective.name].scale
        if objective.target is not None:
            return -(scale.from_model(outcome) - objective.target).abs() / scale.spread
        if len(self.surrogate.problem.objectives) > 1:
            value = scale.from_model(outcome)
        else:
            value = scale.from_model(outcome) / scale.unit if scale.is_bounded_above else outcome
        return value if objective.goal == "maximize" else -value

    def _drawn(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Return the standard normals (s, 1) behind the drawn objectives, which have no variance left."""
        problem = self.surrogate.problem
        places = [problem.outcomes.index(o.name) for o in problem.objectives]
        return {i: (self.normals[:, i : i + 1], torch.zeros(1, dtype=torch.double)) for i in places}

    def _log_feasible(
        self, x: Tensor, given: Mapping[int, tuple[Tensor, Tensor]], outcomes: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Return log P(all limits hold) per draw (s, b), given mean and variance of the normals behind objectives.

        An outcome that is also an objective is taken as drawn.
        """
        total = torch.zeros(1, dtype=torch.double)
        correlation = torch.as_tensor(self.surrogate.correlation)
        places = list(given)
        for limit in self.limits:
            if outcomes is not None and limit.outcome in given:
                width = torch.full((1,), SMOOTH, dtype=torch.double)
                total = total + limit.log_probability(outcomes[limit.outcome], width)
                continue
            mean, sd = self.conditionals[limit.outcome].marginal(x)
            cross = correlation[limit.outcome, places]
            slopes = torch.linalg.solve(correlation[places][:, places], cross)
            share = 1.0 - cross @ slopes
            for slope, (middle, variance) in zip(slopes, given.values(), strict=True):
                mean = mean + slope * sd * middle
                share = share + slope.square() * variance
            total = total + limit.log_probability(mean, sd * share.clamp_min(1e-6).sqrt())
        return total


def reference_scores(surrogate: Surrogate, front: Matrix) -> Matrix:
    """Return the hypervolume's reference point in scores: as stated, else a little below the front (f, m)."""
    spread = front.max(axis=0) - front.min(axis=0)
    size = np.where(spread > 0, spread, np.maximum(1.0, np.abs(front).max(axis=0)) * 0.1)
    inferred = front.min(axis=0) - 0.1 * size
    stated = [o.reference_score for o in surrogate.problem.objectives]
    return np.array([i if s is None else s for i, s in zip(inferred.tolist(), stated, strict=True)])


def _limits(surrogate: Surrogate) -> tuple[list[Limit], Matrix]:
    """Return the outcome constraints with a margin, and P(all hold so) at the observed rows.

    A point can only be reported if a constraint holds there with its probability *after* it was measured, so the
    bound is moved inwards by that quantile of the belief that remains at a well-known observed point.
    """
    mean, variance = surrogate.posterior(surrogate.rows)
    sd = np.sqrt(variance)
    limits: list[Limit] = []
    feasibility = np.ones(len(mean))
    for constraint in surrogate.problem.outcome_constraints:
        i = surrogate.problem.outcomes.index(constraint.name)
        low, high = surrogate.bounds(constraint)
        margin = max(0.0, float(ndtri(constraint.probability))) * float(np.quantile(sd[:, i], 0.25))
        if math.isfinite(low) and math.isfinite(high):
            margin = min(margin, 0.25 * (high - low))
        limit = Limit(i, low + margin, high - margin)
        feasibility *= ndtr((limit.high - mean[:, i]) / sd[:, i]) - ndtr((limit.low - mean[:, i]) / sd[:, i])
        limits.append(limit)
    return limits, feasibility * _allowed(surrogate, surrogate.rows)


def _allowed(surrogate: Surrogate, rows: Matrix) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which known rows keep the input constraints (all where none does): only these are to be improved on."""
    inputs = surrogate.space.inputs
    kept = np.ones(len(rows), dtype=bool) if inputs is None else inputs.is_feasible(rows, ROUNDING)
    return kept if kept.any() else ~kept


def _log_feasibility(surrogate: Surrogate, limits: Sequence[Limit], x: Tensor) -> Tensor:
    total = torch.zeros(len(x), dtype=torch.double)
    for limit in limits:
        mean, variance = surrogate.outcomes[surrogate.problem.outcomes[limit.outcome]].process.marginal(x)
        total = total + limit.log_probability(mean, variance.sqrt())
    return total


def _collecting(surrogate: Surrogate, limits: Sequence[Limit], feasibility: Matrix) -> Term | None:
    """Return the log of what the posterior mean gains over the best known, where all limits hold for near certain."""
    objective = surrogate.problem.objectives[0]
    if len(surrogate.problem.objectives) > 1 or objective.goal is None:
        return None
    process = surrogate.outcomes[objective.name].process
    sign = 1.0 if objective.goal == "maximize" else -1.0
    means = sign * surrogate.posterior(surrogate.rows)[0][:, surrogate.problem.outcomes.index(objective.name)]
    best = float(means[feasibility >= LIKELY].max())

    def gain(x: Tensor) -> Tensor:
        log_gain = log_fatplus(sign * process.marginal(x)[0] - best, tau=STEP)
        short = (_log_feasibility(surrogate, limits, x) - math.log(SURE)).clamp_max(0.0)
        return log_gain + PENALTY * short

    return gain


def _alone(surrogate: Surrogate, scores: Matrix, front: Matrix) -> Matrix:
    """Return the hypervolume (n,) that each row's scores (n, m) cover by themselves, as a share of the front's box."""
    reference = reference_scores(surrogate, front)
    spread = np.maximum(front.max(axis=0) - reference, 1e-9 * np.abs(reference) + 1e-12)
    return np.asarray(np.prod(np.clip((scores - reference) / spread, 0.0, None), axis=1))


def _centre(surrogate: Surrogate, scores: Matrix) -> Matrix:
    """Return the best of the known rows (d,), of those that are feasible if any is."""
    certain = surrogate.is_feasible(surrogate.rows)
    return np.asarray(surrogate.rows[int(np.argmax(np.where(certain, scores, -np.inf) if certain.any() else scores))])


def _near(surrogate: Surrogate, centre: Matrix) -> Term:
    """Return a term that keeps to the surroundings of the best point, but off points measured already.

    A model that is wrong about a slope nearby sees nothing to gain there and sends every suggestion to where it knows
    least, into the corners. Such a step finds out (a trust region, as in Eriksson et al., "Scalable Global Optimization
    via Local Bayesian Optimization", NeurIPS 2019).
    """
    best, measured = torch.as_tensor(centre), torch.as_tensor(surrogate.rows)

    def term(x: Tensor) -> Tensor:
        beyond = ((x - best).abs().amax(dim=-1) / REACH - 1.0).clamp_min(0.0)
        gap = (x.unsqueeze(-2) - measured).square().sum(dim=-1).amin(dim=-1)
        return 2.0 * torch.log1p(-0.9999 * torch.exp(-0.5 * gap / APART**2)) - 30.0 * beyond

    return term


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
    if number % 2 == 0:
        return [], ["none: every second suggestion goes by the data alone"]
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
