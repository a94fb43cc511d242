"""The surrogate: one Gaussian process per outcome, on a scale that suits the data.

Models see standardised (and where the data ask for it, logarithmic) outcomes; everything reported to people is in the
outcomes' own units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from scipy.special import log_ndtr
from torch import Tensor

from athanor.planners.hyperparameters import FitFailed, Hyperparameters, Matrix, fit, last_resort
from athanor.planners.problem import Objective, OutcomeConstraint, Problem, Value
from athanor.planners.process import Process
from athanor.planners.protocol import Observation, Predicted
from athanor.planners.space import Space

LOG_ODDS = 3.0
"""By how much the log evidence of a logarithmic scale must exceed that of the plain one to be taken."""

NAMES = {"log": "logarithmic", "saturating": "saturating logarithmic"}
LEAST = 5
EDGE = 0.03
"""How far above the largest outcome, as a share of their range, a saturating scale ends."""

LOG_SPAN = 3.0
"""Ratio of largest to smallest outcome below which a logarithmic scale is not considered."""


@dataclass(frozen=True)
class Scale:
    """The scale an outcome y is modelled on: (t − shift) / spread, with t = y, log(y − edge) or −log(edge − y).

    The logarithms stretch an outcome that spans orders of magnitude above 0 (edge 0), or that saturates below a
    largest value (edge a little above it). All three increase with y.
    """

    kind: Literal["plain", "log", "saturating"]
    shift: float
    spread: float
    edge: float = 0.0

    @property
    def is_linear(self) -> bool:
        """Whether equal steps of the outcome are equal steps of the model."""
        return self.kind == "plain"

    def stretch(self, y: Any) -> Any:
        """Map outcomes to t."""
        if self.kind == "plain":
            return y
        return np.log(y - self.edge) if self.kind == "log" else -np.log(self.edge - y)

    def log_slope(self, y: Matrix) -> Matrix:
        """Return log dt/dy."""
        if self.kind == "plain":
            return np.zeros_like(y)
        return -np.log(y - self.edge) if self.kind == "log" else -np.log(self.edge - y)

    def to_model(self, y: Any) -> Any:
        """Map outcomes to the model's scale."""
        return (self.stretch(y) - self.shift) / self.spread

    def bound(self, value: float) -> float:
        """Map a bound to the model's scale; beyond the edge of a stretched scale it is infinite."""
        if self.kind == "log" and value <= self.edge:
            return -math.inf
        if self.kind == "saturating" and value >= self.edge:
            return math.inf
        return float(self.to_model(value))

    def from_model(self, z: Tensor) -> Tensor:
        """Map tensors on the model's scale back to the outcome's unit."""
        t = z * self.spread + self.shift
        if self.kind == "plain":
            return t
        return self.edge + torch.exp(t) if self.kind == "log" else self.edge - torch.exp(-t)

    def moments(self, mean: Matrix, variance: Matrix) -> tuple[Matrix, Matrix]:
        """Return mean and sd in the outcome's unit of a normal belief on the model's scale."""
        m, v = mean * self.spread + self.shift, variance * self.spread**2
        if self.kind == "plain":
            return m, np.sqrt(v)
        v = np.minimum(v, 4.0)
        sign = 1.0 if self.kind == "log" else -1.0
        size = np.exp(sign * m + 0.5 * v)
        return self.edge + sign * size, size * np.sqrt(np.expm1(v))


@dataclass(frozen=True)
class OutcomeModel:
    """The fitted process of one outcome, averaged over its hyper-parameters; `hyperparameters` are the likeliest."""

    name: str
    scale: Scale
    process: Process
    hyperparameters: Hyperparameters


@dataclass
class Surrogate:
    """All outcome models of a problem, and the points they have seen together."""

    problem: Problem
    space: Space
    outcomes: dict[str, OutcomeModel]
    rows: Matrix
    observations: list[Observation]
    notes: list[str] = field(default_factory=list)
    fallback: str | None = None

    def posterior(self, rows: Matrix) -> tuple[Matrix, Matrix]:
        """Return mean and variance on the models' scales, each (n, m), of the noise-free outcomes at rows (n, d)."""
        x = torch.as_tensor(np.ascontiguousarray(rows))
        means, variances = [], []
        with torch.no_grad():
            for name in self.problem.outcomes:
                mean, variance = self.outcomes[name].process.marginal(x)
                means.append(mean.numpy())
                variances.append(variance.numpy())
        return np.stack(means, axis=1), np.stack(variances, axis=1)

    def predict_rows(self, rows: Matrix) -> tuple[Matrix, Matrix]:
        """Return mean and sd in the outcomes' units, each (n, m)."""
        mean, variance = self.posterior(rows)
        pairs = [
            self.outcomes[name].scale.moments(mean[:, i], variance[:, i])
            for i, name in enumerate(self.problem.outcomes)
        ]
        return np.stack([p[0] for p in pairs], axis=1), np.stack([p[1] for p in pairs], axis=1)

    def predict(self, values: Mapping[str, Value]) -> dict[str, Predicted]:
        """Return the predicted mean and sd of every outcome at one point."""
        mean, sd = self.predict_rows(self.space.encode([values]))
        return {name: Predicted(float(mean[0, i]), float(sd[0, i])) for i, name in enumerate(self.problem.outcomes)}

    def scores(self, rows: Matrix, optimism: float = 0.0) -> Matrix:
        """Return scores (n, objectives; more is better) of posterior means, moved by `optimism` sd towards better."""
        mean, variance = self.posterior(rows)
        columns = []
        for objective in self.problem.objectives:
            i = self.problem.outcomes.index(objective.name)
            scale, sd = self.outcomes[objective.name].scale, np.sqrt(variance[:, i])
            columns.append(_optimistic(objective, scale, mean[:, i], sd, optimism))
        return np.stack(columns, axis=1)

    def feasibility(self, rows: Matrix) -> Matrix:
        """Return P(constraint holds), (n, constraints), for the noise-free outcomes."""
        return np.exp(self.log_feasibility(rows))

    def log_feasibility(self, rows: Matrix) -> Matrix:
        """Return log P(constraint holds), (n, constraints): tells hopeless points apart."""
        mean, variance = self.posterior(rows)
        columns = []
        for constraint in self.problem.outcome_constraints:
            i = self.problem.outcomes.index(constraint.name)
            low, high = self.bounds(constraint)
            sd = np.sqrt(variance[:, i])
            upper, lower = (high - mean[:, i]) / sd, (low - mean[:, i]) / sd
            # Of the two tails the smaller numbers are subtracted, so that nothing is lost to rounding near 1.
            flip = lower > 0
            upper, lower = np.where(flip, -lower, upper), np.where(flip, -upper, lower)
            columns.append(log_ndtr(upper) + np.log1p(-np.exp(np.minimum(log_ndtr(lower) - log_ndtr(upper), -1e-12))))
        return np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0))

    def bounds(self, constraint: OutcomeConstraint) -> tuple[float, float]:
        """Return a constraint's bounds on the model's scale."""
        scale = self.outcomes[constraint.name].scale
        low = -math.inf if constraint.lower is None else scale.bound(constraint.lower)
        return low, math.inf if constraint.upper is None else scale.bound(constraint.upper)

    def is_feasible(self, rows: Matrix) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return for each row whether every constraint holds with its required probability."""
        required = np.array([c.probability for c in self.problem.outcome_constraints])
        return np.asarray((self.feasibility(rows) >= required).all(axis=1))


def build(problem: Problem, space: Space, observations: Sequence[Observation]) -> Surrogate:
    """Fit one process per outcome to the observations that have it.

    Raises:
        FitFailed: if an outcome has fewer than two observations.
    """
    outcomes: dict[str, OutcomeModel] = {}
    notes: list[str] = []
    fallback: str | None = None
    for name in problem.outcomes:
        having = [o for o in observations if name in o.outcomes]
        if len(having) < 2:
            raise FitFailed(f"{name} has {len(having)} observations; a model needs 2")
        rows = space.encode([o.values for o in having])
        y = np.array([o.outcomes[name].mean for o in having])
        scale, hyperparameters, draws, failure = _fit_outcome(space, rows, y, _variances(having, name))
        if failure is not None:
            fallback = f"fixed hyper-parameters for {name} ({failure})"
        if not scale.is_linear:
            notes.append(f"{name} is modelled on a {NAMES[scale.kind]} scale")
        process = Process.build(rows, scale.to_model(y), draws, space.groups)
        outcomes[name] = OutcomeModel(name, scale, process, hyperparameters)
    complete = list(observations)
    return Surrogate(
        problem=problem,
        space=space,
        outcomes=outcomes,
        rows=space.encode([o.values for o in complete]),
        observations=complete,
        notes=notes,
        fallback=fallback,
    )


def _variances(observations: Sequence[Observation], name: str) -> Matrix | None:
    """Return the squared standard errors if all are known (floored: a few replicates may agree by chance)."""
    sems = [o.outcomes[name].sem for o in observations]
    known = np.array([s for s in sems if s is not None])
    if len(known) < len(sems) or not np.any(known > 0):
        return None
    return np.maximum(np.square(known), 0.05 * np.mean(np.square(known)))


def _candidate_scales(y: Matrix) -> list[tuple[Literal["plain", "log", "saturating"], float]]:
    """Return the scales worth trying, with their edges; stretched ones need enough points to tell."""
    scales: list[tuple[Literal["plain", "log", "saturating"], float]] = [("plain", 0.0)]
    if len(y) < LEAST:
        return scales
    low, middle, high = (float(q) for q in np.quantile(y, [0.0, 0.5, 1.0]))
    if low > 0 and high > LOG_SPAN * low:
        scales.append(("log", 0.0))
    if high - middle < (middle - low) / 2:
        scales.append(("saturating", high + EDGE * (high - low)))
    return scales


def _fit_outcome(
    space: Space, rows: Matrix, y: Matrix, variances: Matrix | None
) -> tuple[Scale, Hyperparameters, list[Hyperparameters], str | None]:
    choices: list[tuple[float, Scale, Hyperparameters, list[Hyperparameters]]] = []
    failure = "no fit"
    for kind, edge in _candidate_scales(y):
        raw = Scale(kind, 0.0, 1.0, edge)
        t = raw.stretch(y)
        spread = float(np.std(t, ddof=1))
        size = max(1e-300, float(np.abs(t).max()))
        scale = Scale(kind, float(np.mean(t)), spread if spread > 1e-9 * size else 1.0, edge)
        slope = raw.log_slope(y)
        noise = None if variances is None else variances * np.exp(2.0 * slope) / scale.spread**2
        try:
            found, draws = fit(rows, scale.to_model(y), space.groups, noise)
        except FitFailed as error:
            failure = str(error)
            continue
        # The evidence of y itself: the density on the model's scale times the derivative of the scale.
        evidence = found.evidence - len(y) * math.log(scale.spread) + float(slope.sum())
        choices.append((evidence - (0.0 if scale.is_linear else LOG_ODDS), scale, found, draws))
    if choices:
        _, scale, found, draws = max(choices, key=lambda c: c[0])
        return scale, found, draws, None
    scale = Scale("plain", float(np.mean(y)), float(np.std(y, ddof=1)) or 1.0)
    noise = None if variances is None else variances / scale.spread**2
    found = last_resort(rows, scale.to_model(y), space.groups, noise)
    return scale, found, [found], failure


def _optimistic(objective: Objective, scale: Scale, mean: Matrix, sd: Matrix, optimism: float) -> Matrix:
    if objective.target is None:
        sign = 1.0 if objective.goal == "maximize" else -1.0
        return sign * scale.from_model(torch.as_tensor(mean + sign * optimism * sd)).numpy()
    target = scale.bound(objective.target)
    moved = np.where(np.abs(mean - target) <= optimism * sd, target, mean + np.sign(target - mean) * optimism * sd)
    return -np.abs(scale.from_model(torch.as_tensor(moved)).numpy() - objective.target)
