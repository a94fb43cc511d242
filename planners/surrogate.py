"""The surrogate: one Gaussian process per outcome, on a scale that suits the data.

Models see standardised (and where the data ask for it, logarithmic) outcomes; everything reported to people is in the
outcomes' own units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from scipy.special import log_ndtr
from torch import Tensor

from athanor.planners.hyperparameters import (
    Fit,
    FitFailed,
    Hyperparameters,
    Matrix,
    correlation,
    fit,
    last_resort,
    squared_distances,
)
from athanor.planners.problem import Objective, OutcomeConstraint, Problem, Value
from athanor.planners.process import Process
from athanor.planners.protocol import Measured, Observation, Predicted
from athanor.planners.source import LEAST as FEWEST
from athanor.planners.source import Source
from athanor.planners.source_model import SourceModel, outcomes_of, source_model
from athanor.planners.space import Space
from athanor.planners.transfer import Choice, Mixture, Relation, ignored, relate

LOG_ODDS = {"plain": 0.0, "log": 3.0, "saturating": 3.0, "logit": 6.0}
"""By how much the log evidence of a scale must exceed that of the plain one to be taken: more for one whose ends were
placed by the data."""

Kind = Literal["plain", "log", "saturating", "logit"]
NAMES = {"log": "logarithmic", "saturating": "saturating logarithmic", "logit": "logit"}
LEAST = 5
EDGE = 0.03
"""How far beyond the largest (and smallest) outcome, as a share of their range, a scale with an edge ends."""

DOUBT = 4.0
"""Points' worth of evidence that two outcomes have nothing to do with each other."""

QUADRATURE = 32
"""Nodes for moments that have no closed form."""

CONSTANT = 1e-9
"""Spread of outcomes, relative to their size, up to which they are all the same."""

LOG_SPAN = 3.0
"""Ratio of largest to smallest outcome below which a logarithmic scale is not considered."""


@dataclass(frozen=True)
class Scale:
    """The scale an outcome y is modelled on: (t − shift) / spread, with t = y or one of

    - log: log(y − floor), floor 0, for an outcome that spans orders of magnitude;
    - saturating: −log(edge − y), edge a little above the largest, for one that saturates there;
    - logit: log(y − floor) − log(edge − y), for one that saturates at both ends.

    All increase with y.
    """

    kind: Kind
    shift: float
    spread: float
    floor: float = 0.0
    edge: float = 0.0

    @property
    def is_linear(self) -> bool:
        """Whether equal steps of the outcome are equal steps of the model."""
        return self.kind == "plain"

    def stretch(self, y: Any) -> Any:
        """Map outcomes to t."""
        if self.kind == "plain":
            return y
        t = 0.0 if self.kind == "saturating" else np.log(y - self.floor)
        return t if self.kind == "log" else t - np.log(self.edge - y)

    def log_slope(self, y: Matrix) -> Matrix:
        """Return log dt/dy."""
        if self.kind == "plain":
            return np.zeros_like(y)
        if self.kind == "log":
            return -np.log(y - self.floor)
        slope = -np.log(self.edge - y)
        return slope if self.kind == "saturating" else slope - np.log(y - self.floor) + math.log(self.edge - self.floor)

    @property
    def is_bounded_above(self) -> bool:
        """Whether the scale has an upper end, before which it stretches small differences."""
        return self.kind in ("saturating", "logit")

    @property
    def unit(self) -> float:
        """One spread in the middle, in the outcome's unit."""
        z = torch.tensor([-0.5, 0.5], dtype=torch.double)
        low, high = self.from_model(z).tolist()
        return float(high - low)

    def to_model(self, y: Any) -> Any:
        """Map outcomes to the model's scale."""
        return (self.stretch(y) - self.shift) / self.spread

    def bound(self, value: float) -> float:
        """Map a bound to the model's scale; at or beyond an end of a stretched scale it is infinite."""
        if self.kind in ("log", "logit") and value <= self.floor:
            return -math.inf
        if self.kind in ("saturating", "logit") and value >= self.edge:
            return math.inf
        return float(self.to_model(value))

    def from_model(self, z: Tensor) -> Tensor:
        """Map tensors on the model's scale back to the outcome's unit."""
        t = z * self.spread + self.shift
        if self.kind == "plain":
            return t
        if self.kind == "logit":
            return self.floor + (self.edge - self.floor) * torch.sigmoid(t)
        return self.floor + torch.exp(t) if self.kind == "log" else self.edge - torch.exp(-t)

    def moments(self, mean: Matrix, variance: Matrix) -> tuple[Matrix, Matrix]:
        """Return mean and sd in the outcome's unit of a normal belief on the model's scale."""
        if self.kind == "logit":
            nodes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE)
            z = mean[..., None] + np.sqrt(variance)[..., None] * nodes
            y = self.from_model(torch.as_tensor(z)).numpy()
            share = weights / weights.sum()
            middle = y @ share
            return middle, np.sqrt(np.square(y - middle[..., None]) @ share)
        m, v = mean * self.spread + self.shift, variance * self.spread**2
        if self.kind == "plain":
            return m, np.sqrt(v)
        v = np.minimum(v, 4.0)
        sign, origin = (1.0, self.floor) if self.kind == "log" else (-1.0, self.edge)
        size = np.exp(sign * m + 0.5 * v)
        return origin + sign * size, size * np.sqrt(np.expm1(v))


@dataclass(frozen=True)
class OutcomeModel:
    """The fitted process of one outcome, averaged over its hyper-parameters; `hyperparameters` are the likeliest."""

    name: str
    scale: Scale
    process: Process
    hyperparameters: Hyperparameters


@dataclass
class Surrogate:
    """All outcome models of a problem, and the points they have seen together.

    `relations` say, outcome by outcome, what each source of earlier data has to say.
    """

    problem: Problem
    space: Space
    outcomes: dict[str, OutcomeModel]
    correlation: Matrix
    rows: Matrix
    observations: list[Observation]
    notes: list[str] = field(default_factory=list)
    fallback: str | None = None
    relations: list[Relation] = field(default_factory=list)

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


def moderated(problem: Problem, observations: Sequence[Observation]) -> list[Observation]:
    """Return the observations with results of an objective far below its middle raised to a middling one.

    As far below the median as the best lies above it is where they are held, and no better than a stated reference. A
    process that works well on a plateau and badly beyond its edges looks to a stationary model like one long slope, and
    the plateau's own shape is lost; what lies at the foot of the slope need not be known to climb. Objectives that have
    a target or bounds of their own are left as they are.
    """
    least: dict[str, float] = {}
    for objective in problem.objectives:
        scores = [
            objective.score(o.outcomes[objective.name].mean) for o in observations if objective.name in o.outcomes
        ]
        bounded = any(c.name == objective.name for c in problem.outcome_constraints)
        if objective.goal is not None and not bounded and scores:
            held = 2.0 * float(np.median(scores)) - max(scores)
            stated = objective.reference_score
            least[objective.name] = objective.score(held if stated is None else min(held, stated))
    signs = {o.name: 1.0 if o.goal == "maximize" else -1.0 for o in problem.objectives}

    def hold(name: str, measured: Measured) -> Measured:
        if name not in least or signs[name] * (measured.mean - least[name]) >= 0.0:
            return measured
        return measured.model_copy(update={"mean": least[name]})

    return [
        o.model_copy(update={"outcomes": {name: hold(name, measured) for name, measured in o.outcomes.items()}})
        for o in observations
    ]


def build(
    problem: Problem, space: Space, observations: Sequence[Observation], sources: Sequence[Source] = ()
) -> Surrogate:
    """Fit one process per outcome to the observations that have it, and to `sources` where they bear it out.

    Raises:
        FitFailed: if an outcome has fewer than two observations.
    """
    outcomes: dict[str, OutcomeModel] = {}
    notes: list[str] = []
    fallback: str | None = None
    relations: list[Relation] = []
    measured: dict[str, dict[int, float]] = {}
    for name in problem.outcomes:
        having = [o for o in observations if name in o.outcomes]
        if len(having) < 2:
            raise FitFailed(f"{name} has {len(having)} observations; a model needs 2")
        rows = space.encode([o.values for o in having])
        y = np.array([o.outcomes[name].mean for o in having])
        asked = Asked(problem, sources, name, _levels(problem, name))
        scale, hyperparameters, draws, failure, taken = _fit_outcome(space, rows, y, _variances(having, name), asked)
        relations += asked.relations
        if failure is not None:
            fallback = f"fixed hyper-parameters for {name} ({failure})"
        if not scale.is_linear:
            notes.append(f"{name} is modelled on a {NAMES[scale.kind]} scale")
        process = Process.build(rows, scale.to_model(y), draws, taken)
        outcomes[name] = OutcomeModel(name, scale, process, hyperparameters)
        measured[name] = {
            i: scale.to_model(o.outcomes[name].mean) for i, o in enumerate(observations) if name in o.outcomes
        }
    complete = list(observations)
    rows = space.encode([o.values for o in complete])
    return Surrogate(
        problem=problem,
        space=space,
        outcomes=outcomes,
        correlation=_correlation(rows, outcomes, measured),
        rows=rows,
        observations=complete,
        notes=notes,
        fallback=fallback,
        relations=relations,
    )


def _correlation(
    rows: Matrix, outcomes: Mapping[str, OutcomeModel], measured: Mapping[str, Mapping[int, float]]
) -> Matrix:
    """Return the correlation (m, m) of the outcomes' processes, each pair judged by the points that have both.

    That is the cosine between the two fitted functions in the space of functions of their mean kernel, which leaves out
    what is noise; a correlation seen in a few points only is drawn towards 0. Where outcomes trade off, a point
    that may be good in one and may be good in the other is hardly ever good in both.
    """
    names = list(outcomes)
    found = np.eye(len(names))
    for i, a in enumerate(names):
        for j, b in enumerate(names[:i]):
            both = sorted(set(measured[a]) & set(measured[b]))
            if len(both) < LEAST:
                continue
            kernels, weights = [], []
            for name in (a, b):
                fitted = outcomes[name].hyperparameters
                own = correlation(squared_distances(rows[both] @ fitted.metric.T))[0]
                place = [sorted(measured[name]).index(k) for k in both]
                covariance = fitted.scale * own + np.diag(fitted.noise[place])
                y = np.array([measured[name][k] for k in both])
                weights.append(np.linalg.solve(covariance, y - fitted.mean))
                kernels.append(own)
            kernel = 0.5 * (kernels[0] + kernels[1])
            size = float(weights[0] @ kernel @ weights[0]) * float(weights[1] @ kernel @ weights[1])
            if size > 0:
                distinct = len(np.unique(rows[both], axis=0))
                share = distinct / (distinct + DOUBT)
                found[i, j] = found[j, i] = share * float(weights[0] @ kernel @ weights[1]) / math.sqrt(size)
    # Pairs judged one by one may contradict one another.
    least = float(np.linalg.eigvalsh(found)[0])
    return found if least > 1e-3 else (found + (1e-3 - least) * np.eye(len(names))) / (1.0 + 1e-3 - least)


def _variances(observations: Sequence[Observation], name: str) -> Matrix | None:
    """Return the squared standard errors if all are known (floored: a few replicates may agree by chance)."""
    sems = [o.outcomes[name].sem for o in observations]
    known = np.array([s for s in sems if s is not None])
    if len(known) < len(sems) or not np.any(known > 0):
        return None
    return np.maximum(np.square(known), 0.05 * np.mean(np.square(known)))


def _levels(problem: Problem, name: str) -> list[float]:
    """Return the values of an outcome that are asked about: bounds and a target."""
    limits = [b for c in problem.outcome_constraints if c.name == name for b in (c.lower, c.upper)]
    limits += [o.target for o in problem.objectives if o.name == name]
    return [level for level in limits if level is not None]


def _candidate_scales(y: Matrix, levels: Sequence[float], every: bool = False) -> list[Scale]:
    """Return the scales worth trying, neither shifted nor spread; stretched ones need enough points to tell.

    With `every` all that are possible. Their ends lie beyond every outcome seen and every level asked about, which
    would else be out of reach for ever.
    """
    scales = [Scale("plain", 0.0, 1.0)]
    if len(y) < LEAST:
        return scales
    middle = float(np.median(y))
    low, high = min(*y.tolist(), *levels), max(*y.tolist(), *levels)
    reach = EDGE * (high - low)
    if y.min() > 0 and (every or y.max() > LOG_SPAN * y.min()):
        scales.append(Scale("log", 0.0, 1.0))
    if (every and reach > 0) or high - middle < (middle - low) / 2:
        scales.append(Scale("saturating", 0.0, 1.0, edge=high + reach))
    if reach > 0:
        scales.append(Scale("logit", 0.0, 1.0, floor=low - reach, edge=high + reach))
    return scales


@dataclass
class Asked:
    """An outcome of which earlier data may know something; `relations` are found while it is fitted."""

    problem: Problem
    sources: Sequence[Source]
    name: str
    levels: Sequence[float]
    relations: list[Relation] = field(default_factory=list)

    def models(self, kind: Kind) -> dict[int, SourceModel]:
        """Return the processes of the sources that know the outcome, each on its own scale of one kind, by place."""
        found = {}
        for k, source in enumerate(self.sources):
            y = outcomes_of(self.problem, source, self.name)[1]
            raw = next((s for s in _candidate_scales(y, self.levels, every=True) if s.kind == kind), None)
            if len(y) < FEWEST or raw is None or float(np.std(y)) == 0.0:
                continue
            texts = self.problem.model_dump_json(), source.model_dump_json()
            if (model := source_model(*texts, self.name, standardised(raw, y))) is not None:
                found[k] = model
        return found


def standardised(raw: Scale, y: Matrix) -> Scale:
    """Return a scale with the shift and spread of outcomes."""
    t = raw.stretch(y)
    spread = float(np.std(t, ddof=1))
    size = max(1e-300, float(np.abs(t).max()))
    return replace(raw, shift=float(np.mean(t)), spread=spread if spread > CONSTANT * size else 1.0)


def _fit_outcome(
    space: Space, rows: Matrix, y: Matrix, variances: Matrix | None, asked: Asked
) -> tuple[Scale, Hyperparameters, list[Hyperparameters], str | None, Mixture | None]:
    choices: list[tuple[float, float, Scale, Fit]] = []
    failure = "no fit"
    for raw in _candidate_scales(y, asked.levels):
        scale = standardised(raw, y)
        slope = raw.log_slope(y)
        noise = None if variances is None else variances * np.exp(2.0 * slope) / scale.spread**2
        try:
            found = fit(rows, scale.to_model(y), space.groups, noise)
        except FitFailed as error:
            failure = str(error)
            continue
        # The evidence of y itself: the density on the model's scale times the derivative of the scale.
        evidence = found.likeliest.evidence - len(y) * math.log(scale.spread) + float(slope.sum())
        offset = float(slope.sum()) - len(y) * math.log(scale.spread) - LOG_ODDS[scale.kind]
        choices.append((evidence - LOG_ODDS[scale.kind], offset, scale, found))
    if choices and float(np.std(y, ddof=1)) <= CONSTANT * float(np.abs(y).max()):
        # There is nothing to scale by, so what a source says could be of any size.
        asked.relations = ignored(asked.sources, asked.name, "all own results are equal")
    elif choices and asked.sources:
        every = [Choice(scale, found, asked.models(scale.kind), offset) for _, offset, scale, found in choices]
        taken, asked.relations = relate(every, asked.sources, asked.name, len(y))
        if taken is not None:
            return taken.scale, taken.likeliest, taken.draws, None, taken.mixture
    if choices:
        _, _, scale, found = max(choices, key=lambda c: c[0])
        return scale, *found.draw(), None, None
    scale = Scale("plain", float(np.mean(y)), float(np.std(y, ddof=1)) or 1.0)
    noise = None if variances is None else variances / scale.spread**2
    asked.relations = ignored(asked.sources, asked.name, "there is no fit of the own results")
    middling = last_resort(rows, scale.to_model(y), space.groups, noise)
    return scale, middling, [middling], failure, None


def _optimistic(objective: Objective, scale: Scale, mean: Matrix, sd: Matrix, optimism: float) -> Matrix:
    if objective.target is None:
        sign = 1.0 if objective.goal == "maximize" else -1.0
        return sign * scale.from_model(torch.as_tensor(mean + sign * optimism * sd)).numpy()
    target = scale.bound(objective.target)
    moved = np.where(np.abs(mean - target) <= optimism * sd, target, mean + np.sign(target - mean) * optimism * sd)
    return -np.abs(scale.from_model(torch.as_tensor(moved)).numpy() - objective.target)
