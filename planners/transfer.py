"""What earlier data say about this campaign, as far as its own results bear it out.

With a source the campaign's outcome is taken for y(x) = a + b · s(x) + r(x): the source's outcome s, known as well as
its own points tell (a Gaussian process fitted once), times a slope b > 0, plus a shift a, plus a remainder r with a
process of its own (Kennedy and O'Hagan, "Predicting the output from a complex computer code when fast approximations
are available", 2000; Golovin et al., "Google Vizier", 2017, stack processes in this way). Everything that is not known
about s, b and r goes into the prediction.

Whether a source has anything to say is a question about structure, like whether distances are oblique: "y has nothing
to do with any source" and "y is related to source k" are weighed by the evidence of the campaign's own results,
averaged over all hyper-parameters, and predictions are averaged over what remains. Related means that the remainder is
expected to be much smaller than the outcome itself; a source that leaves a remainder as large as the outcome explains
nothing and loses. One that has lost is left out altogether, and the model is then exactly what it is without sources.
(Feurer et al., "Practical Transfer Learning for Bayesian Optimization", 2018, weigh sources by how well they rank the
campaign's points and drop those that dilute; evidence also uses by how much.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch import Tensor

from athanor.planners.hyperparameters import (
    MANY,
    SAME,
    SCALE_PRIOR,
    SLANT_PRIOR,
    STARTS,
    WORTH,
    Fit,
    Hyperparameters,
    Matrix,
    Posterior,
    Weighed,
    correlation,
    curvature,
    losses,
    propose,
    resample,
    squared_distances,
)
from athanor.planners.parameters import Record
from athanor.planners.source import LEAST, Source
from athanor.planners.source_model import SourceModel

if TYPE_CHECKING:
    from athanor.planners.surrogate import Scale

RELATED = 0.5
"""Probability, before any result, that one of the sources is related; shared evenly among them."""

REMAINDER_PRIOR = (math.log(0.1), 1.0)
"""Mean and sd of the log of the remainder's variance, outcomes standardised, where a source is related."""
REMAINDER_BOUNDS = (math.log(1e-5), math.log(50.0))

SLOPE_PRIOR = (0.0, 0.5)
"""Mean and sd of the log of the slope: between 0.37 and 2.7 nearly always, and never below 0."""
SLOPE_BOUND = 3.0

FLOOR = 0.1
"""Weight below which a source is left out; of several sources, which share what is believed, as much less."""

DECIDE = 3
"""The campaign's own points from which on sources are weighed."""

TRUSTED = 0.8
"""Weight of all sources together from which on they stand in for the rest of the initial design."""


class Relation(Record):
    """What one source has to say about one outcome: its weight from 0 to 1, and the relation if it is used.

    On a linear scale the outcome is `slope` times the source's, and `shift` (in the outcome's unit) above it where the
    source's is middling; on a logarithmic one `shift` is a factor; else None.
    """

    source: str
    outcome: str
    weight: float
    slope: float | None = None
    shift: float | None = None
    kind: str = "plain"
    reason: str | None = None

    def words(self, unit: str | None) -> str:
        """Say it."""
        if self.slope is None:
            return f"{self.source} has nothing to say about {self.outcome}: ignored ({self.reason})"
        text = f"{self.source}: related in {self.outcome}, weight {self.weight:.2f}, slope {self.slope:.2g}"
        if self.shift is not None and self.kind == "plain":
            text += f", shift {self.shift:+.2g}{f' {unit}' if unit else ''}"
        return text + (f", factor {self.shift:.2g}" if self.shift is not None and self.kind == "log" else "")


@dataclass(frozen=True)
class Mixture:
    """What h draws take from their sources: slopes (h, s), of which each draw has at most one that is not 0."""

    models: tuple[SourceModel, ...]
    slopes: Tensor

    @property
    def size(self) -> Tensor:
        """The largest variance (h, 1) that is taken over."""
        scales = torch.stack([model.process.scale[0, 0] for model in self.models])
        return (self.slopes.square() @ scales).unsqueeze(-1)

    def mean(self, a: Tensor) -> Tensor:
        """Return means (h, p) at rows (p, d)."""
        return self.slopes @ torch.stack([model.mean(a) for model in self.models])

    def variance(self, a: Tensor) -> Tensor:
        """Return variances (h, p)."""
        return self.slopes.square() @ torch.stack([model.variance(a) for model in self.models])

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return covariances (h, p, q) between rows (p, d) and (q, d)."""
        found = torch.stack([model.covariance(a, b) for model in self.models])
        return torch.einsum("hs,spq->hpq", self.slopes.square(), found)


@dataclass(frozen=True)
class Choice:
    """One scale of the outcome: its fit without sources, what each source knows on it, and what its evidence lacks."""

    scale: Scale
    found: Fit
    models: dict[int, SourceModel]
    offset: float


@dataclass(frozen=True)
class Taken:
    """The model of an outcome that takes something over: scale, likeliest without sources, draws, what each takes."""

    scale: Scale
    likeliest: Hyperparameters
    draws: list[Hyperparameters]
    mixture: Mixture


@dataclass(frozen=True)
class Related:
    """Hyper-parameters of one structure of the remainder, and the slope, given what a source says.

    A vector holds what `posterior.shape` says, then the log of the slope. `mean` (n,) and `covariance` (n, n) are the
    source's belief at the campaign's rows, in units of the outcome's spread, for a slope of 1.
    """

    source: int
    model: SourceModel
    posterior: Posterior
    mean: Matrix
    covariance: Matrix

    @classmethod
    def build(cls, source: int, model: SourceModel, posterior: Posterior, scale: Scale) -> Related:
        """Ask a source about the rows of a posterior without it."""
        x, ratio = torch.as_tensor(posterior.rows), model.scale.spread / scale.spread
        with torch.no_grad():
            mean, covariance = model.mean(x).numpy(), model.covariance(x, x).numpy()
        return cls(source, model, posterior, ratio * mean, ratio**2 * covariance)

    def loss(self, theta: Matrix) -> tuple[float, Matrix]:
        """Return the negative log posterior, up to a constant, and its gradient at one vector."""
        slope, at = math.exp(theta[-1]), self.posterior.shape.count
        value, gradient, inner, alpha = self._shifted(slope).terms(theta[:-1], slope**2 * self.covariance)
        if value >= 1e9:
            return value, np.zeros_like(theta)
        by_slope = 2.0 * slope**2 * float((inner * self.covariance).sum()) - slope * float(alpha @ self.mean)
        gradient = np.append(gradient, by_slope + (theta[-1] - SLOPE_PRIOR[0]) / SLOPE_PRIOR[1] ** 2)
        gradient[at] += _gap(theta[at], REMAINDER_PRIOR)[1] - _gap(theta[at], SCALE_PRIOR)[1]
        return value + float(self._penalty(theta[None])[0]), gradient

    def _shifted(self, slope: float) -> Posterior:
        return replace(self.posterior, y=self.posterior.y - slope * self.mean)

    def _penalty(self, thetas: Matrix) -> Matrix:
        """Return what the negative log prior (k,) has more than without a source: the slope, a smaller remainder."""
        at = self.posterior.shape.count
        remainder = _gap(thetas[:, at], REMAINDER_PRIOR)[0] - _gap(thetas[:, at], SCALE_PRIOR)[0]
        return np.asarray(remainder + _gap(thetas[:, -1], SLOPE_PRIOR)[0])

    @cached_property
    def optima(self) -> list[tuple[float, Matrix]]:
        """The minima of the loss that the starts lead to, the least first."""
        shape, found = self.posterior.shape, []
        bounds = [*shape.bounds, (-SLOPE_BOUND, SLOPE_BOUND)]
        bounds[shape.count] = REMAINDER_BOUNDS
        for length, noise in STARTS:
            start = np.append(shape.start(length * math.sqrt(shape.count), noise), SLOPE_PRIOR[0])
            start[shape.count] = REMAINDER_PRIOR[0]
            result = minimize(self.loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200})
            if math.isfinite(result.fun) and result.fun < 1e9:
                found.append((float(result.fun), np.asarray(result.x)))
        return sorted(found, key=lambda optimum: optimum[0])

    def proposals(self) -> tuple[Matrix, Matrix]:
        """Return vectors (k, t) and the log worth (k,) of each, comparable with those of a posterior without source."""
        least, best = self.optima[0]
        modes = [best]
        for value, theta in self.optima[1:]:
            if value < least + WORTH and all(float(np.abs(theta - mode).max()) > SAME for mode in modes):
                modes.append(theta)
        thetas, log_density = propose(modes, [curvature(self.loss, mode) for mode in modes])
        thetas[:, -1] = thetas[:, -1].clip(-2.0 * SLOPE_BOUND, 2.0 * SLOPE_BOUND)
        slopes = np.exp(thetas[:, -1])
        at, y = self.posterior, self.posterior.y - slopes[:, None] * self.mean
        extra = np.square(slopes)[:, None, None] * self.covariance
        values = losses(thetas[:, :-1], at.rows, y, at.shape, at.fixed, extra) + self._penalty(thetas)
        # The parts of the densities of priors in which the structures differ.
        slants = len(at.shape.pairs[0])
        constant = (
            slants * math.log(SLANT_PRIOR) + math.log(SLOPE_PRIOR[1]) + 0.5 * (slants + 1) * math.log(2 * math.pi)
        )
        constant += math.log(REMAINDER_PRIOR[1] / SCALE_PRIOR[1])
        return thetas, -values - constant - log_density

    def finished(self, theta: Matrix) -> Hyperparameters:
        """Return a vector's hyper-parameters of the remainder; `mean` is the shift."""
        slope = math.exp(theta[-1])
        return self._shifted(slope).finished(theta[:-1], extra=slope**2 * self.covariance)


@dataclass(frozen=True)
class Structure:
    """One way to explain the outcome: without a source, or related to one. `log_weights` (k,) as they are worth."""

    choice: Choice
    owner: Posterior | Related
    optimum: Matrix
    thetas: Matrix
    log_weights: Matrix

    @property
    def source(self) -> int | None:
        """Which source it takes from."""
        return self.owner.source if isinstance(self.owner, Related) else None

    @property
    def total(self) -> float:
        """The log of what it is worth altogether."""
        return float(logsumexp(self.log_weights))


def relate(
    choices: Sequence[Choice], sources: Sequence[Source], outcome: str, count: int
) -> tuple[Taken | None, list[Relation]]:
    """Weigh all sources by the `count` own results of an outcome; None to model it as if there were none."""
    if count < DECIDE:
        return None, ignored(sources, outcome, f"{count} own results do not tell yet")
    if count > MANY:
        return None, ignored(sources, outcome, f"more than {MANY} own results speak for themselves")
    asked = {k for choice in choices for k in choice.models}
    ways = [_structures(choice, len(asked)) for choice in choices]
    # The scale first, over all that may be said on it; then the sources on that scale.
    place = int(np.argmax([logsumexp([s.total for s in structures]) for structures in ways]))
    choice, structures = choices[place], ways[place]
    total = logsumexp([s.total for s in structures])
    weights = {
        k: float(np.exp(logsumexp([s.total for s in structures if s.source == k] or [-math.inf]) - total))
        for k in range(len(sources))
    }
    floor = FLOOR / max(1, len(asked))
    relations = []
    for k, source in enumerate(sources):
        if k not in choice.models:
            relations.append(_ignored(source, outcome, _why_not(source, outcome)))
        elif weights[k] < floor:
            relations.append(_ignored(source, outcome, f"weight {weights[k]:.2f}", weights[k]))
        else:
            best = max((s for s in structures if s.source == k), key=lambda s: s.total)
            relations.append(_relation(source, outcome, weights[k], best))
    kept = [s for s in structures if s.source is None or weights[s.source] >= floor]
    if all(s.source is None for s in kept):
        return None, relations
    return _taken(choice, kept), relations


def _taken(choice: Choice, kept: Sequence[Structure]) -> Taken:
    owners = [(s.owner, theta) for s in kept for theta in s.thetas]
    picks = [owners[k] for k in resample(np.concatenate([s.log_weights for s in kept]))]
    order = list(choice.models)
    slopes = torch.zeros(len(picks), len(order), dtype=torch.double)
    for row, (owner, theta) in zip(slopes, picks, strict=True):
        if isinstance(owner, Related):
            row[order.index(owner.source)] = math.exp(theta[-1]) * owner.model.scale.spread / choice.scale.spread
    used = [k for k in range(len(order)) if bool(slopes[:, k].any())]
    without = max((s for s in kept if isinstance(s.owner, Posterior)), key=lambda s: s.total)
    assert isinstance(without.owner, Posterior)
    return Taken(
        choice.scale,
        without.owner.finished(without.optimum),
        [owner.finished(theta) for owner, theta in picks],
        Mixture(tuple(choice.models[order[k]] for k in used), slopes[:, used]),
    )


def _structures(choice: Choice, sources: int) -> list[Structure]:
    """Return every way to explain the outcome on one scale, with what is believed of each before any result."""
    weighed: list[Weighed] = choice.found.weigh()
    prior = 1.0 - RELATED if sources else 1.0
    found = []
    for one in weighed:
        worth = choice.offset + math.log(prior / len(weighed)) + _intercept(one.posterior, one.optimum[1])
        found.append(Structure(choice, one.posterior, one.optimum[1], one.thetas, one.log_weights + worth))
    for k, model in choice.models.items():
        for one in weighed:
            related = Related.build(k, model, one.posterior, choice.scale)
            if not related.optima:
                continue
            theta = related.optima[0][1]
            thetas, log_weights = related.proposals()
            slope = math.exp(theta[-1])
            worth = choice.offset + math.log(RELATED / sources / len(weighed))
            worth += _intercept(one.posterior, theta[:-1], slope**2 * related.covariance)
            found.append(Structure(choice, related, theta, thetas, log_weights + worth))
    return found


def _intercept(posterior: Posterior, theta: Matrix, extra: Matrix | None = None) -> float:
    """Return the log of what it is worth to fit the constant mean: little where it is known very well afterwards.

    Without it a structure with a small remainder, which pins the mean down, would be preferred.
    """
    found = posterior.finished(theta, extra=extra)
    kernel = found.scale * correlation(squared_distances(posterior.rows @ found.metric.T))[0] + np.diag(found.noise)
    kernel = kernel if extra is None else kernel + extra
    return -0.5 * math.log(float(np.linalg.solve(kernel, np.ones(len(kernel))).sum()))


def _gap(value: Matrix, prior: tuple[float, float]) -> tuple[Matrix, Matrix]:
    """Return the negative log density of a normal prior, up to a constant, and its derivative."""
    gap = (value - prior[0]) / prior[1]
    return 0.5 * np.square(gap), gap / prior[1]


def ignored(sources: Sequence[Source], outcome: str, reason: str) -> list[Relation]:
    """Say of every source that nothing is taken from it, and why."""
    return [_ignored(source, outcome, reason) for source in sources]


def _ignored(source: Source, outcome: str, reason: str, weight: float = 0.0) -> Relation:
    return Relation(source=source.name, outcome=outcome, weight=weight, reason=reason)


def _why_not(source: Source, outcome: str) -> str:
    count = sum(outcome in point.outcomes for point in source.points)
    if count < LEAST:
        return f"{count} points of it, {LEAST} are needed"
    return (
        "too few of its points can be used, or they hardly depend on these parameters, "
        "or cannot be put on the scale of this campaign's"
    )


def _relation(source: Source, outcome: str, weight: float, structure: Structure) -> Relation:
    assert isinstance(structure.owner, Related)
    own, other = structure.choice.scale, structure.owner.model.scale
    found = structure.owner.finished(structure.optimum)
    shift: float | None = own.shift + own.spread * found.mean - other.shift
    if own.kind == "log":
        shift = math.exp(float(shift or 0.0))
    elif own.kind != "plain":
        shift = None
    slope = math.exp(float(structure.optimum[-1]))
    return Relation(source=source.name, outcome=outcome, weight=weight, slope=slope, shift=shift, kind=own.kind)
