"""From runs to a verdict: blocks by the registered rules, evidence block by block, the first crossing decides.

Everything here is a function of the registration and the runs, so that a verdict can be computed again at any time
from the ledger and comes out the same.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from athanor.agents.hypotheses.claims import Level
from athanor.agents.hypotheses.evidence import Evidence, log_e, pooled_count, weigh
from athanor.agents.hypotheses.registration import RegistrationBody, analysis_hash, shares_design

Verdict = Literal["supported", "refuted", "inconclusive", "void"]

LOST = frozenset(
    {"failed", "aborted", "stopped_early", "rejected", "expired", "superseded", "withdrawn", "refused", "not_started"}
)
"""Experiment states from which no outcome will come."""


class RunResult(BaseModel):
    """One experiment of a test as the ledger knows it. `hypothesis` is the hypothesis whose registration id it carries.

    `outcomes` are the reduced means in the outcomes' units, None while there are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str
    hypothesis: str
    block: int
    arm: str
    state: str
    outcomes: dict[str, float] | None = None


class Block(BaseModel):
    """One block: complete with its statistic, dropped by the exclusion rule, or open.

    `residuals` are a complete block's further contrasts, as the design gives them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    status: Literal["complete", "dropped", "open"]
    statistic: float | None = None
    residuals: tuple[float, ...] = ()
    experiments: tuple[str, ...] = ()
    reason: str | None = None


class Weighed(NamedTuple):
    """The evidence as it stood after one complete block."""

    block: Block
    evidence: Evidence


class Assessment(BaseModel):
    """What the runs say so far: one entry of evidence per complete block, and the verdict once there is one.

    `settled_at` is the number of the block that brought the verdict, None where no block did.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trail: tuple[Weighed, ...]
    verdict: Verdict | None
    reason: str
    settled_at: int | None = None

    @property
    def latest(self) -> Evidence | None:
        """The evidence after the last block that counted."""
        return self.trail[-1].evidence if self.trail else None


class Step(NamedTuple):
    """The next run a test needs."""

    block: int
    arm: str
    values: dict[str, Level]


def collect(registration: RegistrationBody, runs: Iterable[RunResult]) -> tuple[Block, ...]:
    """Sort runs into blocks by the registered exclusion rule; runs of other registrations are ignored.

    Raises:
        ValueError: two runs claim the same arm of the same block, or an arm is not in the design.
    """
    arms = set(registration.design.arms)
    table: dict[int, dict[str, RunResult]] = defaultdict(dict)
    for run in runs:
        if run.hypothesis not in registration.group:
            continue
        if run.arm not in arms:
            raise ValueError(f"{run.experiment} carries arm {run.arm!r}, which the design does not have")
        if run.arm in table[run.block]:
            raise ValueError(f"{run.experiment} and {table[run.block][run.arm].experiment} are the same arm of a block")
        table[run.block][run.arm] = run
    return tuple(_block(registration, number, table[number]) for number in sorted(table))


def _block(registration: RegistrationBody, number: int, runs: dict[str, RunResult]) -> Block:
    # By arm, never by arrival: a block must come out the same however the runs came in.
    runs = {arm: runs[arm] for arm in sorted(runs)}
    experiments = tuple(run.experiment for run in runs.values())
    outcome = registration.design.outcome
    for run in runs.values():
        value = (run.outcomes or {}).get(outcome)
        finished_empty = run.state == "completed" and run.outcomes is not None and value is None
        not_finite = value is not None and not math.isfinite(value)
        if run.state in LOST or finished_empty or not_finite:
            why = run.state if run.state in LOST else f"without a finite {outcome}"
            return Block(
                number=number, status="dropped", experiments=experiments, reason=f"{run.experiment} ended {why}"
            )
    done = {arm: run.outcomes[outcome] for arm, run in runs.items() if run.state == "completed" and run.outcomes}
    if len(done) < len(registration.design.arms):
        return Block(number=number, status="open", experiments=experiments)
    return complete_block(registration, number, done, experiments)


def complete_block(
    registration: RegistrationBody, number: int, outcomes: Mapping[str, float], experiments: tuple[str, ...] = ()
) -> Block:
    """A block whose arms all have a finite outcome."""
    design = registration.design
    return Block(
        number=number,
        status="complete",
        statistic=design.statistic(outcomes),
        residuals=design.residuals(outcomes),
        experiments=experiments,
    )


def update(registration: RegistrationBody, blocks: Sequence[Block], *, ended: str | None = None) -> Assessment:
    """Weigh the blocks in order and give the verdict, if there is one.

    Blocks count up to the first open one, so that the result never depends on the order of arrival. The first
    crossing of a threshold decides and later blocks change nothing. `ended` says that no more blocks can come (for
    instance "the budget is spent").

    Returns:
        the trail of evidence up to the deciding block, and the verdict with its reason.
    """
    if registration.analysis_hash != analysis_hash():
        return Assessment(trail=(), verdict="void", reason="the analysis code changed after the registration")
    ordered = sorted(blocks, key=lambda block: block.number)
    closed = list(itertools.takewhile(lambda block: block.status != "open", ordered))
    counted = [(block.statistic, block.residuals) for block in closed if block.statistic is not None]
    design = registration.design
    evidence = iter(
        weigh(
            [statistic for statistic, _ in counted],
            design.margin,
            design.sided,
            registration.e_process.scales,
            residuals=[residuals for _, residuals in counted],
        )
    )
    trail: list[Weighed] = []
    dropped = 0
    for block in closed:
        verdict: Verdict | None = None
        reason = ""
        if block.statistic is not None:
            trail.append(Weighed(block, next(evidence)))
            verdict, reason = _decide(registration, trail[-1].evidence)
        else:
            dropped += 1
            if dropped >= (registration.cap_dropped if trail else registration.cap_dropped // 2):
                verdict = "inconclusive" if trail else "void"
                reason = f"{dropped} blocks were lost, the last because {block.reason}; {len(trail)} counted"
        if verdict is not None:
            return Assessment(trail=tuple(trail), verdict=verdict, reason=reason, settled_at=block.number)
    if ended is not None:
        return Assessment(trail=tuple(trail), verdict="inconclusive" if trail else "void", reason=ended)
    return Assessment(trail=tuple(trail), verdict=None, reason=f"{len(trail)} of {registration.cap_blocks} blocks")


def assess(
    group: Sequence[RegistrationBody], runs: Sequence[RunResult], *, ended: str | None = None
) -> dict[str, Assessment]:
    """Assess all hypotheses that share runs, by hypothesis id; a hypothesis with runs of its own is a group of one.

    As registered: rivals about the same change end with a carrier that ended without an answer, at the same block, and
    go on until their own answer with a supported or refuted one. Claims about different parameters end each by itself.

    Raises:
        ValueError: the registrations do not agree on sharing their runs.
    """
    [carrier, *others] = sorted(group, key=lambda item: item.hypothesis != item.carrier)
    for rider in others:
        if not shares_design(carrier, rider):
            raise ValueError(f"{rider.hypothesis} and {carrier.hypothesis} are not registered to share runs")
    blocks = collect(carrier, runs)
    lead = update(carrier, blocks, ended=ended)
    assessments = {carrier.hypothesis: lead}
    for rider in others:
        assessments[rider.hypothesis] = ride(rider, collect(rider, runs), lead, ended=ended)
    return assessments


def ride(rider: RegistrationBody, blocks: Sequence[Block], lead: Assessment, *, ended: str | None = None) -> Assessment:
    """Assess a hypothesis that is tested by the runs of another, whose assessment is `lead`."""
    is_alone = rider.ending == "each by itself"
    if is_alone or lead.verdict not in ("inconclusive", "void") or lead.settled_at is None:
        return update(rider, blocks, ended=ended)
    shared = [block for block in blocks if block.number <= lead.settled_at]
    return update(rider, shared, ended=f"the runs ended with {rider.carrier}, which was {lead.verdict}")


def next_step(registration: RegistrationBody, runs: Sequence[RunResult]) -> Step | None:
    """The next run of the test, or None while the block in hand waits for its last runs.

    A block that lost a run is not finished: the next run begins a new block. Call it for the carrier of a group, as
    long as any of the group has no verdict by `assess`.
    """
    blocks = collect(registration, runs)
    if blocks and blocks[-1].status == "open":
        number = blocks[-1].number
        begun = {run.arm for run in runs if run.hypothesis in registration.group and run.block == number}
        for arm in registration.design.order(registration.seed, number):
            if arm not in begun:
                return Step(number, arm, registration.design.values(arm))
        return None
    number = blocks[-1].number + 1 if blocks else 1
    arm = registration.design.order(registration.seed, number)[0]
    return Step(number, arm, registration.design.values(arm))


def _decide(registration: RegistrationBody, evidence: Evidence) -> tuple[Verdict | None, str]:
    support, refute = registration.support, registration.refute
    if evidence.log_e_support >= math.log(support.threshold):
        return "supported", _crossing("for", evidence.log_e_support, support.threshold, evidence.blocks)
    if evidence.log_e_refute >= math.log(refute.threshold):
        return "refuted", _crossing("against", evidence.log_e_refute, refute.threshold, evidence.blocks)
    if evidence.blocks >= registration.cap_blocks:
        return "inconclusive", f"{evidence.blocks} blocks, the registered most, decided nothing"
    if is_futile(registration, evidence):
        return "inconclusive", f"after {evidence.blocks} blocks neither verdict was within reach of the cap"
    return None, ""


def _crossing(side: str, value: float, threshold: float, blocks: int) -> str:
    text = f"{math.exp(value):.3g}" if value < 30.0 else f"e^{value:.0f}"
    return f"evidence {side} it reached e = {text} ≥ {threshold:.3g} after {blocks} blocks"


def is_futile(registration: RegistrationBody, evidence: Evidence) -> bool:
    """Apply the registered futility rule to the evidence so far."""
    n, mean, sd = evidence.blocks, evidence.estimate, evidence.sd
    if n < registration.futility.after_blocks or not sd:
        return False
    margin, cap = registration.design.margin, registration.cap_blocks
    if registration.design.sided == "greater":
        distances = [mean - margin, margin - mean]
    else:
        distances = [margin - mean, mean + margin, mean - margin, -margin - mean]
    seen = np.asarray(distances) / sd
    others = len(registration.design.points) - 2
    # The standardised distance from each bound seen so far, plus the registered optimism in standard errors of it.
    hoped = seen + registration.futility.optimism * np.sqrt(
        (1.0 + seen * seen / 2.0 * (n / pooled_count(n, others))) / n
    )
    reach = log_e(
        cap,
        cap * hoped,
        cap * (hoped * hoped + 1.0 - 1.0 / cap),
        registration.e_process.scales,
        residual=float(others * (cap - 1)) if others else None,
        others=others,
    )
    if registration.design.sided == "greater":
        support, refute = float(reach[0]), float(reach[1])
    else:
        support, refute = float(reach[:2].min()), float(reach[2:].max()) - math.log(2.0)
    return support < math.log(registration.support.threshold) and refute < math.log(registration.refute.threshold)
