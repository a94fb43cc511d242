"""What is said of a model and of its limits, as data: calibration, importance, maps, health. Nothing here is heavy."""

from __future__ import annotations

from typing import Literal

from athanor.planners.problem import Level, Record

Grid = tuple[tuple[float, ...], ...]
"""One tuple per row of a map."""

Severity = Literal["note", "warning", "serious"]
"""Note: good to know. Warning: read with care. Serious: do not go by the model in this respect."""


class LeftOut(Record):
    """One measurement, and what the model says of it without any measurement of its setting.

    `measured`, `sem` (None: unknown), `mean` and `sd` are in the outcome's unit; `sd` is of a new measurement, noise
    included. `residual` is standardised: the standard normal quantile of where the measurement fell in the model's
    belief. `log_density` and `constant_log_density` (nats, in the outcome's unit) are the densities that the model and
    a constant gave the measurement. `repeats` is the number of measurements of the setting, this one included; `place`
    that of the observation among the ones the model was fitted to.
    """

    place: int
    candidate_id: str | None
    values: dict[str, Level | str]
    measured: float
    sem: float | None
    mean: float
    sd: float
    residual: float
    log_density: float
    constant_log_density: float
    repeats: int

    @property
    def weight(self) -> float:
        """The share of its setting that this measurement stands for: all settings count the same."""
        return 1.0 / self.repeats


class Calibration(Record):
    """Leave-one-out predictions of one outcome, and what they come to; every setting counts the same.

    `r2` is the share of the variation that the predictions foretell: 1 is perfect, 0 no better than the mean of the
    others, below 0 worse. `coverage_50` and `coverage_90` are the shares of measurements within the model's central
    50 % and 90 % intervals. `gain` is the mean log density (nats per measurement) beyond that of a constant model, a
    Student distribution around the mean of the others on the same scale; `gain_error` its standard error. `spread` is
    the root mean square of the standardised residuals: 1 if the model's sd is right, more if it is too small.
    """

    outcome: str
    unit: str | None
    settings: int
    r2: float
    coverage_50: float
    coverage_90: float
    log_density: float
    constant_log_density: float
    gain: float
    gain_error: float
    spread: float
    points: tuple[LeftOut, ...]


class Importance(Record):
    """Sobol indices of one parameter for one outcome, 0..1, with 5 % and 95 % quantiles over the drawn functions.

    `total` and its quantiles are None for a parameter that cannot be changed by itself.
    """

    outcome: str
    parameter: str
    first: float
    first_low: float
    first_high: float
    total: float | None
    total_low: float | None
    total_high: float | None


class Interaction(Record):
    """The share of an outcome's variance that two parameters explain together beyond what each explains by itself."""

    outcome: str
    first: str
    second: str
    share: float
    low: float
    high: float


class Sensitivity(Record):
    """Importance of every parameter for every outcome; `what` says in words what the indices are.

    `is_tied` is whether linear constraints tie parameters together; there are no interactions then.
    """

    is_tied: bool
    what: str
    importances: tuple[Importance, ...]
    interactions: tuple[Interaction, ...]

    def of(self, outcome: str) -> list[Importance]:
        """Return the importances for one outcome, in the problem's order."""
        return [item for item in self.importances if item.outcome == outcome]


class Map(Record):
    """Predictions over `first` (columns) and `second` (rows), the other parameters at the base point.

    `mean` and `sd` are per outcome in its unit, one row per value of `second`. `feasible` is P(all outcome constraints
    hold) by the model (None: there are none), `works` is P(the process works at all) (None: it never failed). `allowed`
    is False where a sum of parameters is broken; to keep one, its other continuous parameters move off the base point.
    """

    first: str
    second: str
    first_values: tuple[Level | str, ...]
    second_values: tuple[Level | str, ...]
    mean: dict[str, Grid]
    sd: dict[str, Grid]
    feasible: Grid | None
    works: Grid | None
    allowed: tuple[tuple[bool, ...], ...]


class Landscape(Record):
    """Maps through one base point, and how much of the space is likely to keep the constraints.

    `feasible_share` is the share of all allowed settings where every outcome constraint holds with its required
    probability, `likely_share` that where all of them together hold with a half (None: no constraints).
    """

    base: dict[str, Level | str]
    maps: tuple[Map, ...]
    feasible_share: float | None
    likely_share: float | None


class Finding(Record):
    """One reason for care: what was seen, with numbers, what it means, what to do.

    `name` is stable, for programs; `outcome` is None where it concerns all. `experiments` are the labels of the
    measurements concerned; `numbers` has what the words state, unrounded.
    """

    name: str
    severity: Severity
    outcome: str | None
    seen: str
    means: str
    remedy: str
    numbers: dict[str, float] = {}
    experiments: tuple[str, ...] = ()


class Health(Record):
    """All findings, the most severe first, a verdict in one sentence, and the names of the checks that were quiet."""

    verdict: str
    is_trusted: bool
    findings: tuple[Finding, ...]
    quiet: tuple[str, ...]

    @property
    def names(self) -> set[str]:
        """The names of the findings."""
        return {item.name for item in self.findings}


class Explanation(Record):
    """All that is said of a planner's model. Where there is no model, `health` says so and the rest is empty."""

    health: Health
    calibrations: tuple[Calibration, ...] = ()
    sensitivity: Sensitivity | None = None
    landscape: Landscape | None = None
    notes: tuple[str, ...] = ()
