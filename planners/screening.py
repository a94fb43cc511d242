"""A quick figure of what many points are worth: close enough to an acquisition to say which deserve to be judged by it.

The acquisition averages over 16 draws of the hyper-parameters and 128 of the outcomes: some 0.1 ms a point. The figure
takes a few draws of the hyper-parameters, the marginal belief about each outcome under them and, in its first round,
single precision: about 1 µs a point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from botorch.acquisition.analytic import _log_ei_helper
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from botorch.utils.safe_math import log_fatplus, logmeanexp
from numpy.typing import NDArray
from torch import Tensor

from athanor.planners.acquisition import DOUBTFUL, PENALTY, REACH, SMOOTH, SURE, Chosen, reference_scores
from athanor.planners.hyperparameters import Matrix
from athanor.planners.pareto import non_dominated
from athanor.planners.process import Process
from athanor.planners.surrogate import Surrogate
from athanor.planners.viability import SCALE, Viability

WORK = 120
WORK_AGAIN = 240
"""Kernel values that may be computed per point, in single and in double precision: draws times observations."""

FIXED = 128
"""Observations that a variance is conditioned on in single precision: more only lower it, so that it is a bound."""

MOST_DRAWS = 6

NODES = 8
"""Values of an outcome, or of all, over which an improvement without a closed form is averaged."""

LEAST = 1e-12
"""Share of the hypervolume that is added to an improvement, so that points without one differ, too."""

Figure = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Marginals:
    """Marginal beliefs about one outcome under a few draws of its hyper-parameters, laid out to be quick.

    Shapes for r draws and n observations: metrics (r, d, d), right (r, d + 2, n), weights (r, n), whiten (r, k, k) for
    the k observations `fixed` that the variance is conditioned on.
    """

    metrics: Tensor
    right: Tensor
    weights: Tensor
    whiten: Tensor
    fixed: Tensor
    mean: list[float]
    scale: list[float]

    @classmethod
    def of(cls, process: Process, draws: int, dtype: torch.dtype) -> Marginals:
        """Take as many of the process's draws, if it has so many, evenly from all of them."""
        h, n = process.alpha.shape
        draws = min(draws, h)
        picked = [(2 * i + 1) * h // (2 * draws) for i in range(draws)]
        base = process.rows @ process.metrics[picked].mT
        squares = 5.0 * base.square().sum(-1).unsqueeze(1)
        right = torch.cat([-10.0 * base.mT, squares, torch.full_like(squares, 5.0)], dim=1)
        factor = process.factor[picked]
        fixed = torch.arange(n)
        if dtype == torch.float32 and n > FIXED:
            fixed = torch.as_tensor(_farthest(base[0].numpy(), FIXED))
            covariance = (factor @ factor.mT)[:, fixed][:, :, fixed]
            factor = torch.linalg.cholesky(covariance)
        eye = torch.eye(len(fixed), dtype=torch.double).expand(draws, -1, -1)
        whiten = torch.linalg.solve_triangular(factor, eye, upper=False)
        return cls(
            process.metrics[picked].to(dtype),
            right.to(dtype),
            process.alpha[picked].to(dtype),
            whiten.to(dtype),
            fixed,
            [float(process.mean[i]) for i in picked],
            [float(process.scale[i]) for i in picked],
        )

    def at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and sds, each (r, b), of the noise-free outcome at rows (b, d)."""
        means, sds = [], []
        ones = torch.ones(len(x), 1, dtype=x.dtype)
        for i, scale in enumerate(self.scale):
            scaled = x @ self.metrics[i].T
            r = torch.cat([scaled, ones, scaled.square().sum(-1, keepdim=True)], dim=1) @ self.right[i]
            r.clamp_min_(1e-12).sqrt_()
            cross = torch.exp(-r)
            cross.mul_(r.mul(1.0 / 3.0).add_(1.0).mul_(r).add_(1.0)).mul_(scale)
            means.append(self.mean[i] + cross @ self.weights[i])
            part = cross if len(self.fixed) == cross.shape[1] else cross[:, self.fixed]
            explained = (part @ self.whiten[i].T).square_().sum(-1)
            sds.append((scale - explained).clamp_min(1e-6 * scale).sqrt())
        return torch.stack(means), torch.stack(sds)


def figure(surrogate: Surrogate, chosen: Chosen, viability: Viability | None, dtype: torch.dtype) -> Figure:
    """Return a function of rows (b, d) of that precision that gives (b,) figures, larger for a worthier point.

    It stands for the first term of the acquisition; in single precision also for the terms of nearness and viability,
    else these are left out.
    """
    names = surrogate.problem.outcomes
    several = len(surrogate.problem.objectives) > 1
    work = sum(len(surrogate.outcomes[name].process.rows) for name in names)
    draws = max(1, min(MOST_DRAWS, (WORK if dtype == torch.float32 else WORK_AGAIN) // work))
    beliefs = [Marginals.of(surrogate.outcomes[name].process, draws, dtype) for name in names]
    count = max(len(b.scale) for b in beliefs)
    gain = _gain(surrogate, chosen, several)
    extra = [] if dtype == torch.double else _extra(chosen, viability)

    def worth(x: Tensor) -> Tensor:
        pairs = [belief.at(x) for belief in beliefs]
        # An outcome whose hyper-parameters are certain has one draw.
        mean = torch.stack([m.expand(count, -1) for m, _ in pairs], dim=-1)
        sd = torch.stack([s.expand(count, -1) for _, s in pairs], dim=-1)
        total = gain(mean, sd)
        for term in extra:
            total = total + term(x)
        return total.double()

    return worth


def _gain(surrogate: Surrogate, chosen: Chosen, several: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what the acquisition's first term is about, of means and sds (r, b, m)."""

    def log_feasible(mean: Tensor, sd: Tensor) -> Tensor:
        total = torch.zeros_like(mean[..., 0])
        for limit in chosen.limits:
            total = total + limit.log_probability(mean[..., limit.outcome], sd[..., limit.outcome])
        return total

    problem = surrogate.problem
    if chosen.method == "qLogProbabilityOfFeasibility":
        return lambda mean, sd: log_feasible(*_mixed(mean, sd))
    objective = problem.objectives[0]
    place = problem.outcomes.index(objective.name)
    sign = {"maximize": 1.0, "minimize": -1.0}.get(objective.goal or "", 0.0)
    if chosen.method == "posterior mean":

        def collected(mean: Tensor, sd: Tensor) -> Tensor:
            mean, sd = _mixed(mean, sd)
            return sign * mean[..., place] + PENALTY * (log_feasible(mean, sd) - math.log(SURE)).clamp_max(0.0)

        return collected
    if several:
        volume = _volume(surrogate, chosen.likely)
        return lambda mean, sd: logmeanexp(volume(mean, sd) + log_feasible(mean, sd), dim=0)
    scale = surrogate.outcomes[objective.name].scale
    known = torch.as_tensor(surrogate.posterior(surrogate.rows[chosen.likely])[0][:, place])
    if sign and not scale.is_bounded_above:
        best = float((sign * known).max())

        def improvement(mean: Tensor, sd: Tensor) -> Tensor:
            width = sd[..., place]
            log_gain = _log_ei_helper((sign * mean[..., place] - best) / width) + width.log()
            return logmeanexp(log_gain + log_feasible(mean, sd), dim=0)

        return improvement

    def score(outcome: Tensor) -> Tensor:
        value = scale.from_model(outcome)
        return (
            -(value - objective.target).abs() / scale.spread
            if objective.target is not None
            else (sign * value / scale.unit)
        )

    top = float(score(known).max())
    nodes = torch.special.ndtri((torch.arange(NODES, dtype=torch.double) + 0.5) / NODES).view(-1, 1, 1)

    def sampled(mean: Tensor, sd: Tensor) -> Tensor:
        gains = log_fatplus(score(mean[..., place] + sd[..., place] * nodes) - top, tau=SMOOTH)
        return logmeanexp(logmeanexp(gains, dim=0) + log_feasible(mean, sd), dim=0)

    return sampled


def _mixed(mean: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and sd (b, m) over all draws."""
    return mean.mean(0), (sd.square().mean(0) + mean.var(0, correction=0)).sqrt()


def _volume(surrogate: Surrogate, likely: NDArray[np.intp]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the log of the hypervolume that a point is expected to add to the front of the known means, (r, b)."""
    problem = surrogate.problem
    scores = surrogate.scores(surrogate.rows[likely])
    front = scores[non_dominated(scores.tolist())]
    reference = reference_scores(surrogate, front)
    spread = np.maximum(front.max(axis=0) - reference, 1e-9 * np.abs(reference) + 1e-12)
    normal = torch.as_tensor((front - reference) / spread)
    cells = FastNondominatedPartitioning(torch.zeros(len(spread), dtype=torch.double), normal).hypercell_bounds
    low, high = cells[0].float(), cells[1].float()
    places = [problem.outcomes.index(o.name) for o in problem.objectives]
    engine = torch.quasirandom.SobolEngine(len(places), scramble=True, seed=0)
    nodes = torch.special.ndtri(engine.draw(NODES, dtype=torch.double).clamp(1e-3, 1.0 - 1e-3))

    def volume(mean: Tensor, sd: Tensor) -> Tensor:
        total = torch.zeros(mean.shape[:2])
        ahead = torch.zeros(mean.shape[:2])
        for node in nodes:
            columns = []
            for k, (objective, i) in enumerate(zip(problem.objectives, places, strict=True)):
                value = surrogate.outcomes[objective.name].scale.from_model(mean[..., i] + sd[..., i] * node[k])
                if objective.target is not None:
                    score = -(value - objective.target).abs()
                else:
                    score = value if objective.goal == "maximize" else -value
                columns.append((score - float(reference[k])) / float(spread[k]))
            at = torch.stack(columns, dim=-1).float()
            sides = (torch.minimum(at.unsqueeze(-2), high) - low).clamp_min(0.0)
            total += sides.prod(dim=-1).sum(dim=-1)
            ahead += at.mean(dim=-1)
        return (total / NODES + LEAST * torch.sigmoid(ahead / NODES)).double().log()

    return volume


def _extra(chosen: Chosen, viability: Viability | None) -> list[Figure]:
    """Return what bounds nearness from above, and viability, in single precision."""
    terms: list[Figure] = []
    if chosen.centre is not None:
        centre = torch.as_tensor(chosen.centre, dtype=torch.float32)
        terms.append(lambda x: -30.0 * ((x - centre).abs().amax(dim=-1) / REACH - 1.0).clamp_min(0.0))
    if viability is not None:
        lengths = viability.lengths.float()
        rows = viability.rows.float() / lengths
        squares = rows.square().sum(-1)
        weights, inverse = viability.weights.float(), viability.inverse.float()

        def viable(x: Tensor) -> Tensor:
            x = x / lengths
            gaps = x.square().sum(-1, keepdim=True) + squares - 2.0 * x @ rows.T
            cross = SCALE * torch.exp(-0.5 * gaps.clamp_min(0.0))
            variance = (SCALE - ((cross @ inverse) * cross).sum(-1)).clamp_min(1e-6)
            log_p = torch.special.log_ndtr(((viability.mean + cross @ weights) / (1.0 + variance).sqrt()).double())
            return log_p + PENALTY * (log_p - math.log(DOUBTFUL)).clamp_max(0.0)

        terms.append(viable)
    return terms


def _farthest(rows: Matrix, count: int) -> list[int]:
    """Return rows each the farthest from those before it."""
    chosen = [0]
    gaps = np.square(rows - rows[0]).sum(axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(gaps)))
        gaps = np.minimum(gaps, np.square(rows - rows[chosen[-1]]).sum(axis=1))
    return sorted(chosen)
