"""What a report says, as data: built from the ledger by `build.build`, rendered by `page.render`.

Values are in the problem's units. Logarithms of e-values are natural. Times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from athanor.planners.explanations import Explanation
from athanor.planners.problem import Problem

Value = float | int | str


class Part(BaseModel):
    """Base of the report's parts: frozen and closed. Numbers may be missing, never NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Outcome(Part):
    """A measured or predicted outcome: mean and its standard error (or standard deviation, when predicted)."""

    mean: float
    error: float | None = None


class BestPoint(Part):
    """A point held for best: measured there, what the model makes of it, and the truth where it is known."""

    experiment: str | None
    values: dict[str, Value]
    measured: dict[str, Outcome] = {}
    predicted: dict[str, Outcome] = {}
    truth: dict[str, float] | None = None
    probability: float | None = None
    is_feasible: bool = True


class ExperimentRow(Part):
    """One experiment with everything that was decided and measured."""

    id: str
    ordinal: int
    values: dict[str, Value]
    outcomes: dict[str, Outcome] = {}
    state: str
    reason: str | None = None
    source: str
    purpose: str
    why: str = ""
    fallback: str | None = None
    decision: str | None = None
    decided_by: str | None = None
    run: str | None = None
    started_at: datetime | None = None
    seconds: float | None = None
    hypothesis: str | None = None
    block: int | None = None
    arm: str | None = None
    truth: dict[str, float] | None = None


class HandRow(Part):
    """One measurement that a person made beside the loop: no budget used, no test counts it."""

    id: str
    values: dict[str, Value]
    outcomes: dict[str, Outcome]
    by: str | None = None
    note: str = ""
    at: datetime


class EvidencePoint(Part):
    """The evidence of a test after one block."""

    block: int
    statistic: float
    log_e_support: float
    log_e_refute: float
    experiments: list[str]


class Arm(Part):
    """One setting of a registered test: its letter and the values it measures at."""

    arm: str
    values: dict[str, Value]


class HypothesisCard(Part):
    """One hypothesis: what was believed, how it was tested, what came out. Prior, evidence and verdict stay apart."""

    id: str
    kind: str
    statement: str
    rationale: str
    proposer: str
    prior: float
    state: str
    reason: str | None = None
    registered_at: datetime | None = None
    null_support: str | None = None
    null_refute: str | None = None
    log_threshold_support: float | None = None
    log_threshold_refute: float | None = None
    cap_blocks: int | None = None
    arms: list[Arm] = []
    evidence: list[EvidencePoint] = []
    runs: list[str] = []
    body_hash: str | None = None
    is_tainted: bool = False


class Slice(Part):
    """How one outcome is predicted to change along one parameter, the others held at the best point."""

    parameter: str
    outcome: str
    positions: list[Value]
    mean: list[float]
    sd: list[float]
    at: Value
    share: float | None = None


class Effects(Part):
    """The parameter-effect picture, or why there is none."""

    slices: list[Slice] = []
    base: dict[str, Value] = {}
    missing: str | None = None


class Progress(Part):
    """How good everything tried so far was, experiment by experiment, beside random arms of the same length.

    `campaign` and the arms hold the merit after 1, 2, … experiments that used the instrument; None before the first
    one that counts. `errors` has the standard errors of what was measured. With `is_truth` all of it is noise-free
    truth, the same measure for campaign and arms.
    """

    merit: str
    unit: str | None = None
    is_truth: bool
    campaign: list[float | None]
    marks: list[Literal["plain", "test", "operator", "failed"]] = []
    errors: list[float | None] = []
    median: list[float | None] = []
    low: list[float | None] = []
    high: list[float | None] = []
    arms: int = 0
    reference: float | None = None
    reference_how: str | None = None
    missing: str | None = None


class Advantage(Part):
    """What the campaign gained over random arms at the same budget.

    `low` and `high` span the middle 95 % of the differences to single arms.
    """

    difference: float
    low: float
    high: float
    beaten: int
    arms: int
    median_final: float
    campaign_final: float
    experiments_to_match: int | None
    experiments_median: int


class ReferencePoint(Part):
    """One reading of a reference, with the limits it was held against; None within a baseline."""

    experiment: str
    value: float
    centre: float | None = None
    low: float | None = None
    high: float | None = None
    mark: Literal["baseline", "in", "out", "void"]
    chart: int


class ReferenceChart(Part):
    """The control chart of one outcome: every reference in order, and what people decided on its alarms."""

    outcome: str
    unit: str | None = None
    points: list[ReferencePoint]
    said: list[str] = []


class CallSummary(Part):
    """Calls of one model, added up."""

    model: str
    endpoint: str
    calls: int
    failed: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    seconds: float
    failures: dict[str, int] = {}


class Provenance(Part):
    """What a reader needs to trust, repeat or challenge the result."""

    versions: dict[str, str]
    platform: str
    seed: int
    problem_hash: str
    spec_hash: str
    reduction: str | None
    reduction_hash: str | None
    analysis_hash: str | None
    ledger_id: str | None
    head_seq: int | None
    head_hash: str | None
    verified: str
    verified_ok: bool
    made_at: datetime


class ReportData(Part):
    """Everything a report says."""

    campaign: str
    name: str
    question: str
    state: str
    reason: str | None
    laboratory: str
    instrument: str
    instrument_title: str
    simulated: bool
    options: dict[str, object] = {}
    autonomy: str
    planner: str
    reasoner: str
    problem: Problem
    replicates: int
    budget: int
    used: int
    failures: int
    created_at: datetime
    finished_at: datetime | None
    best: list[BestPoint]
    progress: Progress
    advantage: Advantage | None
    hypotheses: list[HypothesisCard]
    effects: Effects
    model: Explanation | None = None
    experiments: list[ExperimentRow]
    historical: int = 0
    earlier: list[str] = []
    """Each source of earlier data that the campaign's file names, and what it had to say at the last suggestion."""
    by_hand: list[HandRow] = []
    references: list[ReferenceChart] = []
    calls: list[CallSummary] = []
    provenance: Provenance
