"""When the model should not be trusted, in words: named checks of what it was fitted to and how well it foretells.

Each check speaks only when chance alone would hardly have made it, or states a plain fact (too few points, nothing
feasible). The bars were set beforehand; how often models of what they are made for are accused is measured by
`benchmarks/health.py` and stated in `docs/guides/explanations.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from athanor.planners import calibration, checks, residuals
from athanor.planners.bayesian import BayesianPlanner, single_threaded
from athanor.planners.explanations import Calibration, Finding, Health
from athanor.planners.findings import Label, Seen, default_label, listed
from athanor.planners.hyperparameters import FitFailed

CHECKS: dict[str, Callable[[Seen], Iterator[Finding]]] = {
    "few-points": checks.few_points,
    "constant": checks.constant,
    "fit-failed": checks.fit_failed,
    "no-better-than-mean": checks.no_better_than_mean,
    "overconfident": checks.coverage,
    "mostly-noise": checks.mostly_noise,
    "length-scale-at-bound": checks.length_scales,
    "outlier": residuals.outliers,
    "uneven-residuals": residuals.uneven,
    "repeats-disagree": residuals.repeats,
    "nothing-feasible": checks.infeasible,
    "best-on-the-edge": checks.on_the_edge,
}
"""All checks by the name of what they find; that of coverage also finds `underconfident`."""


def health(
    planner: BayesianPlanner,
    calibrations: Sequence[Calibration] | None = None,
    label: Label = default_label,
) -> Health:
    """Return what speaks against the planner's model; a function of what was ingested.

    `calibrations` are taken as given where they were computed before; `label` says how findings name a measurement.
    Too little for any model is a finding, not an error.
    """
    planner = planner.alone()
    try:
        surrogate = planner.surrogate()
    except FitFailed as error:
        found = Finding(
            name="no-model",
            severity="serious",
            outcome=None,
            seen=f"No model could be fitted: {error}.",
            means="Nothing can be predicted yet.",
            remedy="Measure more settings.",
        )
        return _health([found], [])
    known = calibration.from_surrogate(surrogate) if calibrations is None else calibrations
    seen = Seen(planner, surrogate, {item.outcome: item for item in known}, label)
    findings: list[Finding] = []
    quiet: list[str] = []
    with single_threaded():
        for name, check in CHECKS.items():
            said = list(check(seen))
            findings += said
            if not any(item.name == name for item in said):
                quiet.append(name)
    return _health(findings, quiet)


def _health(findings: Sequence[Finding], quiet: Sequence[str]) -> Health:
    order = ("serious", "warning", "note")
    ordered = sorted(findings, key=lambda item: order.index(item.severity))
    serious = [item for item in ordered if item.severity == "serious"]
    if serious:
        about = sorted({item.outcome for item in serious if item.outcome is not None})
        is_whole = any(item.outcome is None for item in serious)
        verdict = f"Do not go by the model{'' if is_whole else f' of {listed(about)}'} yet. {serious[0].seen}"
    elif any(item.severity == "warning" for item in ordered):
        verdict = f"Read the model with care. {ordered[0].seen}"
    else:
        verdict = "Nothing speaks against the model."
    return Health(verdict=verdict, is_trusted=not serious, findings=tuple(ordered), quiet=tuple(quiet))
