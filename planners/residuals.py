"""Checks of single measurements: outliers, residuals that are larger in one place, repeats that disagree."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.special import ndtri
from scipy.stats import f, kruskal, spearmanr

from athanor.planners import calibration
from athanor.planners.checks import RARE
from athanor.planners.explanations import Calibration, Finding
from athanor.planners.findings import Seen, listed
from athanor.planners.hyperparameters import Matrix
from athanor.planners.problem import Categorical
from athanor.planners.surrogate import Surrogate

OUTLYING = 0.01
"""Chance that the largest of all standardised residuals of one outcome is taken for an outlier wrongly."""

UNEVEN = 2.5
"""How many times larger residuals are on one side than on the other before the difference matters."""

UNLIKELY = 0.0005
"""Chance at which residuals are believed to be uneven, shared among its looks. Residuals of neighbours go together, so
that a test which takes them for independent accuses about ten times as often as it says."""

DISAGREE = 2.0
"""How many times the stated standard error repeats scatter by before the difference matters."""

NAMED = 3
"""Outliers named in one finding."""


def outliers(seen: Seen) -> Iterator[Finding]:
    """Single measurements far from what the others say."""
    for name, item in seen.calibrations.items():
        if seen.is_constant(name):
            continue
        beyond = -float(ndtri(0.5 * OUTLYING / len(item.points)))
        found = calibration.worst(item, beyond)
        if not found:
            continue
        names = seen.named([p.place for p in found[:NAMED]])
        unit = f" {item.unit}" if item.unit else ""
        told = "; ".join(
            f"{label} read {p.measured:.4g}{unit} where {p.mean:.4g} ± {p.sd:.2g} was expected "
            f"({abs(p.residual):.1f} standard deviations off)"
            for label, p in zip(names, found, strict=False)
        )
        more = f", and {len(found) - NAMED} more" if len(found) > NAMED else ""
        yield Finding(
            name="outlier",
            severity="warning",
            outcome=name,
            seen=f"{name} does not fit what the other measurements say: {told}{more}.",
            means="Either the measurement went wrong, or something happens there that no other measurement shows. "
            "It pulls the model at its neighbours, which may look wrong because of it.",
            remedy="Look at the run, and repeat the setting before you trust or discard it.",
            numbers={"beyond": beyond, "largest": abs(found[0].residual)},
            experiments=names,
        )


def uneven(seen: Seen) -> Iterator[Finding]:
    """Residuals much larger in one part of the space than in another."""
    problem, space = seen.surrogate.problem, seen.surrogate.space
    for name, item in seen.calibrations.items():
        if seen.is_constant(name) or item.settings < 4 * calibration.LEAST:
            continue
        sizes, rows, means = _by_setting(item, seen.surrogate)
        looks: list[tuple[str, Matrix]] = [(f"where {name} is", means)]
        looks += [
            (f"where {p.name} is", rows[:, columns.start])
            for p, columns in zip(problem.parameters, space.slices, strict=True)
            if not isinstance(p, Categorical)
        ]
        categories = [
            (p, rows[:, columns])
            for p, columns in zip(problem.parameters, space.slices, strict=True)
            if isinstance(p, Categorical)
        ]
        bar = UNLIKELY / (len(looks) + len(categories))
        worst: tuple[float, str, float] | None = None
        for words, along in looks:
            if np.ptp(along) == 0.0 or np.ptp(sizes) == 0.0:
                continue
            chance = float(spearmanr(along, sizes).pvalue)
            order = np.argsort(along, kind="stable")
            third = len(order) // 3
            low, high = (_rms(sizes[part]) for part in (order[:third], order[-third:]))
            ratio = max(low, high) / max(min(low, high), 1e-9)
            if chance < bar and ratio >= UNEVEN and (worst is None or chance < worst[0]):
                worst = (chance, f"{words} {'high' if high > low else 'low'}", ratio)
        for parameter, columns in categories:
            parts = [sizes[columns[:, k] == 1.0] for k in range(columns.shape[1])]
            kept = [k for k, part in enumerate(parts) if len(part) >= calibration.LEAST]
            if len(kept) < 2:
                continue
            chance = float(kruskal(*(parts[k] for k in kept)).pvalue)
            widths = {k: _rms(parts[k]) for k in kept}
            top = max(widths, key=lambda k: widths[k])
            ratio = widths[top] / max(min(widths.values()), 1e-9)
            if chance < bar and ratio >= UNEVEN and (worst is None or chance < worst[0]):
                worst = (chance, f"where {parameter.name} is {parameter.values[top]}", ratio)
        if worst is None:
            continue
        chance, words, ratio = worst
        yield Finding(
            name="uneven-residuals",
            severity="warning",
            outcome=name,
            seen=f"The model misses {name} by {ratio:.1f} times as much {words} as elsewhere, measured in the standard "
            f"deviations that it states (by chance: {chance:.1g}).",
            means="One noise and one smoothness do not suit the whole space: it is too sure there and too unsure "
            "elsewhere.",
            remedy="State a sem for each measurement if the noise differs, use a logarithmic range for a parameter "
            "that acts by ratios, or split the problem where the process changes its nature.",
            numbers={"ratio": ratio, "chance": chance},
        )


def _by_setting(item: Calibration, surrogate: Surrogate) -> tuple[Matrix, Matrix, Matrix]:
    """Return per setting the size of its residuals (root mean square), its row, and its predicted mean."""
    rows = surrogate.rows[[p.place for p in item.points]]
    groups = calibration.settings(rows)
    counts = np.bincount(groups)
    first = np.unique(groups, return_index=True)[1]
    squares = np.bincount(groups, weights=np.square([p.residual for p in item.points]))
    means = np.bincount(groups, weights=[p.mean for p in item.points]) / counts
    return np.sqrt(squares / counts), rows[first], means


def repeats(seen: Seen) -> Iterator[Finding]:
    """Repeats that disagree beyond their stated standard errors."""
    surrogate = seen.surrogate
    for name in surrogate.outcomes:
        places = [i for i, o in enumerate(surrogate.observations) if name in o.outcomes and o.outcomes[name].sem]
        if len(places) < 2:
            continue
        groups = calibration.settings(surrogate.rows[places])
        scatter, stated, freedom, members = 0.0, 0.0, 0, 0
        widest: tuple[float, list[int]] = (0.0, [])
        for g in range(int(groups.max()) + 1):
            own = [places[k] for k in np.flatnonzero(groups == g)]
            if len(own) < 2:
                continue
            y = np.array([surrogate.observations[i].outcomes[name].mean for i in own])
            sems = np.array([surrogate.observations[i].outcomes[name].sem for i in own], dtype=float)
            scatter += float(np.square(y - y.mean()).sum())
            stated += (len(own) - 1) * float(np.square(sems).mean())
            freedom, members = freedom + len(own) - 1, members + len(own)
            widest = max(widest, (float(np.ptp(y)), own), key=lambda pair: pair[0])
        if freedom == 0 or stated <= 0.0:
            continue
        ratio = scatter / stated
        # A sem may come of two readings only: it is then itself uncertain, which the F distribution allows for.
        chance = float(f.sf(ratio, freedom, members))
        if chance >= RARE or ratio < DISAGREE**2:
            continue
        unit = surrogate.problem.unit(name)
        labels = seen.named(widest[1])
        yield Finding(
            name="repeats-disagree",
            severity="warning",
            outcome=name,
            seen=f"Repeated settings differ in {name} by {math.sqrt(ratio):.1f} times what their stated standard "
            f"errors allow, most of all {listed(labels[:4])} (by {widest[0]:.3g}{f' {unit}' if unit else ''}).",
            means="Something changes between runs that is no parameter: drift, a new batch, a set-up that is not "
            "reproduced. The model takes the stated errors at their word and follows what is chance.",
            remedy="Find what changed between these runs, measure a reference now and then, or state a sem that "
            "includes it.",
            numbers={"ratio": math.sqrt(ratio), "chance": chance, "repeats": float(members)},
            experiments=labels,
        )


def _rms(values: Matrix) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
