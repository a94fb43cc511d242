"""From runs to a verdict: blocks by the registered rules, evidence block by block, the first crossing decides.

Everything here is a function of the registration and the runs, so that a verdict can be computed again at any time
from the ledger and comes out the same.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from athanor.agents.hypotheses.claims import Level
from athanor.agents.hypotheses.evidence import Evidence, log_e, weigh
from athanor.agents.hypotheses.registration import RegistrationBody, analysis_hash

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
    """One block: complete with its statistic, dropped by the exclusion rule, or open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    status: Literal["complete", "dropped", "open"]
    statistic: float | None = None
    experiments: tuple[str, ...] = ()
    reason: str | None = None


class Weighed(NamedTuple):
    """The evidence as it stood after one complete block."""

    block: Block
    evidence: Evidence


class Assessment(BaseModel):
    """What the runs say so far: one entry of evidence per complete block, and the verdict once there is one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trail: tuple[Weighed, ...]
    verdict: Verdict | None
    reason: str

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
    return Block(
        number=number, status="complete", statistic=registration.design.statistic(done), experiments=experiments
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
    trail: list[Weighed] = []
    statistics: list[float] = []
    for attempts, block in enumerate(sorted(blocks, key=lambda item: item.number), start=1):
        if block.status == "open":
            break
        if block.statistic is not None and block.status == "complete":
            statistics.append(block.statistic)
            evidence = weigh(
                statistics, registration.design.margin, registration.design.sided, registration.e_process.scales
            )
            trail.append(Weighed(block, evidence))
            verdict, reason = _decide(registration, evidence, statistics)
            if verdict is not None:
                return Assessment(trail=tuple(trail), verdict=verdict, reason=reason)
        if attempts >= registration.cap_attempts:
            if not trail:
                return Assessment(trail=(), verdict="void", reason=f"none of {attempts} blocks could be measured")
            reason = f"{attempts} blocks were begun, the registered most, and {len(statistics)} counted"
            return Assessment(trail=tuple(trail), verdict="inconclusive", reason=reason)
    if ended is not None:
        settled: Verdict = "inconclusive" if trail else "void"
        return Assessment(trail=tuple(trail), verdict=settled, reason=ended)
    return Assessment(trail=tuple(trail), verdict=None, reason=f"{len(statistics)} of {registration.cap_blocks} blocks")


def next_step(registration: RegistrationBody, runs: Sequence[RunResult]) -> Step | None:
    """The next run of the test, or None while the block in hand waits for its last runs.

    A block that lost a run is not finished: the next run begins a new block. Call it for the carrier of a group, as
    long as any of the group has no verdict.
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


def _decide(registration: RegistrationBody, evidence: Evidence, d: Sequence[float]) -> tuple[Verdict | None, str]:
    support, refute = registration.support, registration.refute
    if evidence.log_e_support >= math.log(support.threshold):
        return "supported", _crossing("for", evidence.log_e_support, support.threshold, evidence.blocks)
    if evidence.log_e_refute >= math.log(refute.threshold):
        return "refuted", _crossing("against", evidence.log_e_refute, refute.threshold, evidence.blocks)
    if evidence.blocks >= registration.cap_blocks:
        return "inconclusive", f"{evidence.blocks} blocks, the registered most, decided nothing"
    if is_futile(registration, d):
        return "inconclusive", f"after {evidence.blocks} blocks neither verdict was within reach of the cap"
    return None, ""


def _crossing(side: str, value: float, threshold: float, blocks: int) -> str:
    text = f"{math.exp(value):.3g}" if value < 30.0 else f"e^{value:.0f}"
    return f"evidence {side} it reached e = {text} ≥ {threshold:.3g} after {blocks} blocks"


def is_futile(registration: RegistrationBody, d: Sequence[float]) -> bool:
    """Apply the registered futility rule to the block statistics so far."""
    n = len(d)
    if n < registration.futility.after_blocks or n < 2:
        return False
    design, cap = registration.design, registration.cap_blocks
    mean = math.fsum(d) / n
    sd = math.sqrt(math.fsum((x - mean) ** 2 for x in d) / (n - 1))
    if sd == 0.0:
        return False
    scales = registration.e_process.scales

    def reach(distance: float) -> float:
        """Log e at the cap if the standardised distance from a bound is the one seen plus the registered optimism."""
        seen = distance / sd
        hoped = seen + registration.futility.optimism * math.sqrt((1.0 + seen * seen / 2.0) / n)
        rest = 1.0 - 1.0 / cap
        return float(log_e(cap, cap * hoped, cap * (hoped * hoped + rest), scales))

    if design.sided == "greater":
        support, refute = reach(mean - design.margin), reach(design.margin - mean)
    else:
        support = min(reach(design.margin - mean), reach(mean + design.margin))
        refute = max(reach(mean - design.margin), reach(-design.margin - mean)) - math.log(2.0)
    return support < math.log(registration.support.threshold) and refute < math.log(registration.refute.threshold)
