"""Checks of the model as a whole: is there enough to go by, does it foretell, is its best point sound?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.stats import binom

from athanor.planners import calibration
from athanor.planners.diagnostics import base_point, contrast
from athanor.planners.explanations import Finding
from athanor.planners.findings import Seen, listed, value_text
from athanor.planners.hyperparameters import LENGTH_BOUNDS
from athanor.planners.problem import Categorical, Continuous, Value
from athanor.planners.surrogate import Surrogate

FEW = 2.0
"""Settings per coefficient of a straight line (parameters + 1), below which a model is called young."""

RARE = 0.005
"""Chance at which coverage and repeats are believed to be wrong, each shared among its looks."""

NARROW = 0.8
"""Spread of the residuals below which intervals are too wide; a few far ones among many small are another matter."""

NOISY = 0.8
"""Share of an outcome's variance that is noise, from which on there is hardly anything to model."""

AT_BOUND = 0.05
"""Distance to a bound of a logarithmic hyper-parameter that counts as on it."""

EDGE = 0.01
"""Distance to the end of a range, as a share of it, that counts as on it."""

INWARDS = 0.1
"""Step from the end of a range, as a share of it, whose loss must be sure for the end to be what holds the best."""

SURE = 2.0
"""How many standard deviations a loss must be for that."""


def few_points(seen: Seen) -> Iterator[Finding]:
    """Too few settings for the number of parameters."""
    parameters = len(seen.surrogate.problem.parameters)
    for name, model in seen.surrogate.outcomes.items():
        count = int(calibration.settings(model.process.rows.numpy()).max()) + 1
        if count >= FEW * (parameters + 1):
            continue
        is_less = count < parameters + 2
        yield Finding(
            name="few-points",
            severity="serious" if is_less else "note",
            outcome=name,
            seen=f"{name} was measured at {count} different settings of {_count(parameters, 'parameter')}.",
            means=(
                "That is too few to fit even a straight line and check it: predictions rest on the model's assumptions."
                if is_less
                else "The model is young: predictions between the settings rest mostly on its assumptions."
            ),
            remedy=f"Go on measuring; from {math.ceil(FEW * (parameters + 1))} settings on this is no longer said.",
            numbers={"settings": float(count), "parameters": float(parameters)},
        )


def constant(seen: Seen) -> Iterator[Finding]:
    """An outcome that never changed."""
    for name in seen.surrogate.outcomes:
        y = [o.outcomes[name].mean for o in seen.surrogate.observations if name in o.outcomes]
        if max(y) > min(y):
            continue
        yield Finding(
            name="constant",
            severity="serious",
            outcome=name,
            seen=f"{name} read {y[0]:.4g} in all {len(y)} measurements.",
            means="There is nothing to learn from; a sensor that is stuck or saturated reads like this.",
            remedy="Check how it is measured and reduced before the next experiment.",
            numbers={"value": y[0], "measurements": float(len(y))},
        )


def fit_failed(seen: Seen) -> Iterator[Finding]:
    """Hyper-parameters that were not fitted."""
    if seen.surrogate.fallback is None:
        return
    yield Finding(
        name="fit-failed",
        severity="serious",
        outcome=None,
        seen=f"The fit failed and {seen.surrogate.fallback} were taken.",
        means="The model was not adapted to the data.",
        remedy="Look for measurements that are not finite or differ by many orders of magnitude.",
    )


def no_better_than_mean(seen: Seen) -> Iterator[Finding]:
    """Left-out settings are foretold no better than by a constant."""
    for name, item in seen.calibrations.items():
        if item.gain > item.gain_error or seen.is_constant(name):
            continue
        is_worse = item.gain <= 0
        surely = "no better" if is_worse else "not surely better"
        yield Finding(
            name="no-better-than-mean",
            severity="serious" if is_worse else "warning",
            outcome=name,
            seen=f"{name} is foretold {surely} by the model than by the mean of all measurements: asked about "
            f"{item.settings} settings that it was not shown, it explains {_r2(item.r2)} of the variation.",
            means="What the model says of parameters and of new settings is no better than a guess so far.",
            remedy="Measure more settings; if it stays so, what decides the outcome may be no parameter here.",
            numbers={"r2": item.r2, "gain": item.gain, "error": item.gain_error, "settings": float(item.settings)},
        )


def coverage(seen: Seen) -> Iterator[Finding]:
    """Intervals that hold too seldom, or too often."""
    for name, item in seen.calibrations.items():
        if seen.is_constant(name):
            continue
        n = item.settings
        half, nine = item.coverage_50 * n, item.coverage_90 * n
        # Three looks share the bar: too few in either interval, too many in the smaller one.
        chances = (binom.cdf(math.ceil(half), n, 0.5), binom.cdf(math.ceil(nine), n, 0.9))
        if min(chances) < RARE / 3.0:
            yield Finding(
                name="overconfident",
                severity="warning" if item.spread < 2.0 else "serious",
                outcome=name,
                seen=f"{name} lies within the model's 90% interval in {item.coverage_90:.0%} of {n} settings that it "
                f"was not shown, and within the 50% interval in {item.coverage_50:.0%}.",
                means=f"The stated uncertainties are too small; the residuals call for {item.spread:.1f} times that.",
                remedy="Take predictions for rougher than they say. State the noise (sem) or repeat settings, and look "
                "for a jump or a condition that the parameters do not describe.",
                numbers={"coverage_50": item.coverage_50, "coverage_90": item.coverage_90, "spread": item.spread},
            )
        elif item.spread < NARROW and binom.sf(math.floor(half) - 1, n, 0.5) < RARE / 3.0:
            yield Finding(
                name="underconfident",
                severity="note",
                outcome=name,
                seen=f"{name} lies within the model's 50% interval in {item.coverage_50:.0%} of {n} settings that it "
                "was not shown.",
                means=f"The stated uncertainties are too large, about {1.0 / max(item.spread, 1e-3):.1f} times: the "
                "model knows more than it says and explores longer than it needs to.",
                remedy="Nothing is wrong with its predictions. If the sem that you state are too large, correct them.",
                numbers={"coverage_50": item.coverage_50, "coverage_90": item.coverage_90, "spread": item.spread},
            )


def mostly_noise(seen: Seen) -> Iterator[Finding]:
    """Noise explains nearly all."""
    for name, model in seen.surrogate.outcomes.items():
        if seen.is_constant(name):
            continue
        share = float(np.median(calibration.noise(model.process).mean(axis=0)))
        if share < NOISY or model.process.rows.shape[0] < calibration.LEAST:
            continue
        yield Finding(
            name="mostly-noise",
            severity="warning",
            outcome=name,
            seen=f"The model takes {min(share, 1.0):.0%} of the variation of {name} for noise.",
            means="Differences between settings are hardly larger than what one setting differs by from itself.",
            remedy="Measure longer or ask for replicates, widen the ranges, or find what else changes between runs.",
            numbers={"share": share},
        )


def length_scales(seen: Seen) -> Iterator[Finding]:
    """Length scales on their bounds."""
    surrogate = seen.surrogate
    low, high = LENGTH_BOUNDS
    for name, model in surrogate.outcomes.items():
        if seen.is_constant(name):
            continue
        # The median of the draws: of a dozen points the likeliest alone is on a bound by chance now and then.
        drawn = -model.process.metrics.diagonal(dim1=-2, dim2=-1).log().numpy()
        logs = np.median(drawn, axis=0)[[s.start for s in surrogate.space.slices]]
        names = np.array(surrogate.problem.names)
        short, long = names[logs <= low + AT_BOUND].tolist(), names[logs >= high - AT_BOUND].tolist()
        if short:
            yield Finding(
                name="length-scale-at-bound",
                severity="warning",
                outcome=name,
                seen=f"{name} seems to change within {math.exp(low):.0%} of the range of {listed(short)}, the shortest "
                "the model allows.",
                means="Neighbouring settings tell it nothing about each other: it knows the measured settings alone.",
                remedy=f"Repeat a few settings to see whether this is noise, or narrow the range of {listed(short)}.",
                numbers={n: float(math.exp(v)) for n, v in zip(names.tolist(), logs, strict=True)},
            )
        if long:
            yield Finding(
                name="length-scale-at-bound",
                severity="note",
                outcome=name,
                seen=f"{listed(long)} seem{'s' if len(long) == 1 else ''} to do nothing to {name}, or to act along a "
                "straight line: the length scale is the longest the model allows.",
                means="The model will hardly look for more of an effect there.",
                remedy="If you know of an effect, measure both ends of the range with all else held.",
                numbers={n: float(math.exp(v)) for n, v in zip(names.tolist(), logs, strict=True)},
            )


def on_the_edge(seen: Seen) -> Iterator[Finding]:
    """The best point on a bound of the space, against which it leans."""
    surrogate, problem = seen.surrogate, seen.surrogate.problem
    if len(problem.objectives) > 1:
        return
    [objective] = problem.objectives
    if objective.goal is None:
        return
    base = base_point(seen.planner, surrogate)
    sign = 1.0 if objective.goal == "maximize" else -1.0
    for i, parameter in enumerate(problem.parameters):
        if isinstance(parameter, Categorical):
            continue
        at = parameter.to_unit(base[parameter.name])
        if EDGE < at < 1.0 - EDGE:
            continue
        step = INWARDS if at <= EDGE else -INWARDS
        inner = _inwards(surrogate, i, at + step, base[parameter.name])
        if inner is None:
            continue
        change, sd = contrast(surrogate, objective.name, [{**base, parameter.name: inner}, dict(base)], [1.0, -1.0])
        if sign * change >= -SURE * sd:
            continue
        unit = f" {parameter.unit}" if parameter.unit else ""
        side = "lowest" if at <= EDGE else "highest"
        yield Finding(
            name="best-on-the-edge",
            severity="note",
            outcome=objective.name,
            seen=f"The best point has the {side} {parameter.name} that is allowed, "
            f"{value_text(base[parameter.name])}{unit}, and {objective.name} gets worse from there inwards.",
            means="The best setting of all may lie beyond the range; it was never allowed to be looked for there.",
            remedy=f"If it is safe, widen the range of {parameter.name}.",
            numbers={"loss": -sign * change, "sd": sd},
        )


def _inwards(surrogate: Surrogate, i: int, position: float, here: Value) -> Value | None:
    parameter = surrogate.problem.parameters[i]
    if isinstance(parameter, Continuous):
        return parameter.from_unit(position)
    if len(parameter.levels) < 3:
        return None
    values: list[Value] = [v for v in parameter.levels if v != here]
    return min(values, key=lambda value: abs(parameter.to_unit(value) - position))


def infeasible(seen: Seen) -> Iterator[Finding]:
    """Nothing known keeps all constraints."""
    surrogate, problem = seen.surrogate, seen.surrogate.problem
    if not problem.outcome_constraints:
        return
    complete = [o for o in surrogate.observations if {c.name for c in problem.outcome_constraints} <= set(o.outcomes)]
    kept = sum(problem.is_feasible({n: m.mean for n, m in o.outcomes.items()}) for o in complete)
    together = surrogate.feasibility(surrogate.rows).prod(axis=1)
    most = float(together.max())
    if not kept:
        yield Finding(
            name="nothing-feasible",
            severity="serious",
            outcome=None,
            seen=f"None of {len(complete)} measured points keeps all constraints; by the model the likeliest does with "
            f"a probability of {most:.0%}.",
            means="The point reported as best is only the likeliest to be feasible, not a solution.",
            remedy="Let it look on, relax a constraint that asks too much, or widen the ranges.",
            numbers={"measured": float(len(complete)), "likeliest": most},
        )
    elif not surrogate.is_feasible(surrogate.rows).any():
        yield Finding(
            name="nothing-feasible",
            severity="note",
            outcome=None,
            seen=f"{kept} of {len(complete)} measured points keep all constraints, none of them as surely as asked "
            f"for; the likeliest does with a probability of {most:.0%}.",
            means="What is reported as best may break a constraint when it is measured again.",
            remedy="Repeat it, or let the planner look on for a point with more to spare.",
            numbers={"measured": float(len(complete)), "kept": float(kept), "likeliest": most},
        )


def _r2(r2: float) -> str:
    return "nothing" if r2 <= 0.005 else f"{r2:.0%}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
