"""Registration: everything about a test, frozen before its first run.

A registration says what is measured, against which null, by which design, with which e-process, at which share of α,
when it stops and which runs it leaves out, and under which analysis code. Nothing in it changes afterwards; another
question is another registration and pays its own share of α.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from athanor.agents.hypotheses.claims import AnyClaim, Claim, Level, subject_of
from athanor.agents.hypotheses.contrast import BlockDesign, compile_claim
from athanor.agents.hypotheses.evidence import SCALES
from athanor.agents.hypotheses.families import ALPHA, elond_level

if TYPE_CHECKING:
    from athanor.planners.problem import Problem

ANALYSIS_MODULES = ("claims", "contrast", "evidence", "families", "registration", "verdicts")
CAP_BLOCKS = 12
CAP_DROPPED = 4
RIDING = (
    "A hypothesis tested by the runs of another (its carrier) ends without an answer when that one does; it goes on "
    "until its own answer when the carrier is supported or refuted."
)
RIDING_ALONE = (
    "The hypotheses tested by these runs are about different parameters. Each goes on until its own test has an "
    "answer, is futile or has reached its cap, whatever becomes of the others; the runs end with the last of them."
)
EXCLUSION = (
    "A block counts only when every one of its runs completed with a finite outcome. A block with a run that failed, "
    "was aborted, stopped early, rejected or never started is dropped whole and another is begun. The test ends after "
    "`cap_dropped` dropped blocks, or half as many if no block was complete by then. "
    "Runs made before the registration, or without its id, never count."
)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EProcess(_Record):
    """The e-process and its parameters.

    "Also pooled": the mean of the e-values with the variance of the statistic alone and with the variance pooled within
    the blocks, which for pairs are the same. Earlier registrations have the former name.
    """

    name: Literal[
        "half-normal mixture t, right-Haar scale", "half-normal mixture t, variance also pooled within blocks"
    ] = "half-normal mixture t, variance also pooled within blocks"
    scales: tuple[float, ...] = SCALES


class Share(_Record):
    """The share of α of one family. `threshold` is the e-value at which the family's verdict falls."""

    family: Literal["support", "refute"]
    method: Literal["e-LOND"] = "e-LOND"
    alpha: float
    position: int
    discoveries: int
    level: float
    threshold: float


class Futility(_Record):
    """When to stop for want of a prospect.

    From `after_blocks` complete blocks on: inconclusive if neither e-value would reach its threshold by the cap, were
    all remaining blocks to show the standardised effect seen so far plus `optimism` standard errors of it.
    """

    after_blocks: int = 4
    optimism: float = 1.5


class RegistrationBody(_Record):
    """The body of a registration; JSON round trip.

    Its runs are those that carry the registration id of its `carrier`. `group` names every hypothesis tested by them,
    the carrier first and this one included; it is the same in all their registrations. `ending` says whether those
    tested by another's runs end with it when it finds nothing (rivals about the same change) or each by itself (claims
    about different parameters); `riding` says it in words.
    """

    format: Literal[1] = 1
    hypothesis: str
    group: tuple[str, ...]
    carrier: str
    claim: Claim
    design: BlockDesign
    design_key: str
    replicates: int = 1
    null_support: str
    null_refute: str
    e_process: EProcess = EProcess()
    support: Share
    refute: Share
    cap_blocks: int = Field(ge=2)
    cap_dropped: int = Field(ge=2)
    futility: Futility = Futility()
    exclusion: str = EXCLUSION
    ending: Literal["with the carrier", "each by itself"] = "with the carrier"
    riding: str = RIDING
    seed: int
    problem_digest: str
    analysis_hash: str
    prior: float = Field(ge=0.0, le=1.0)
    proposer: str
    cites: tuple[str, ...] = ()

    @property
    def shares_runs(self) -> bool:
        """Whether other hypotheses are tested by the same runs."""
        return len(self.group) > 1


def register(
    hypothesis: str,
    claim: AnyClaim,
    problem: Problem,
    base_point: Mapping[str, Level],
    *,
    position: int,
    supported_before: int = 0,
    refuted_before: int = 0,
    seed: int,
    prior: float,
    proposer: str,
    cites: Sequence[str] = (),
    cap_blocks: int = CAP_BLOCKS,
    cap_dropped: int = CAP_DROPPED,
    group: Sequence[str] = (),
    ends_by_itself: bool = False,
    alpha: float = ALPHA,
    replicates: int = 1,
) -> RegistrationBody:
    """Freeze the test of one claim.

    Args:
        hypothesis: id of the hypothesis.
        claim: what it claims.
        problem: of the campaign.
        base_point: setting of the parameters the claim does not vary.
        position: how many registrations this campaign has, this one included (it sets the share of α).
        supported_before: supported verdicts in this campaign at this moment.
        refuted_before: refuted verdicts in this campaign at this moment.
        seed: of the campaign; it orders the runs within blocks.
        prior: the proposer's own probability that the claim is true.
        proposer: name of the reasoner or person.
        cites: observations and memory items the claim was formed from; they can never confirm it.
        cap_blocks: complete blocks after which the test ends.
        cap_dropped: blocks lost to failed runs after which it ends; half as many if none was complete by then.
        group: hypotheses tested by the same runs, the carrier first; default: this one alone.
        ends_by_itself: the group's claims are about different parameters (see `are_separate`).
        alpha: level of each family.
        replicates: repeated readings within each run.

    Raises:
        InvalidClaim: the claim does not fit the problem.
        ValueError: the hypothesis is not in its own group, or a cap is too small.
    """
    members = tuple(group) or (hypothesis,)
    if hypothesis not in members or len(set(members)) != len(members):
        raise ValueError(f"{hypothesis} must stand once in its own group {members}")
    design = compile_claim(claim, problem, base_point)
    unit = f" {design.unit}" if design.unit else ""
    bound = f"{design.margin:g}{unit}"
    within = design.sided == "within"
    shares: list[Share] = []
    families: tuple[tuple[Literal["support", "refute"], int], ...] = (
        ("support", supported_before),
        ("refute", refuted_before),
    )
    for family, discoveries in families:
        level = elond_level(position, discoveries, alpha)
        shares.append(
            Share(
                family=family,
                alpha=alpha,
                position=position,
                discoveries=discoveries,
                level=level,
                threshold=1.0 / level,
            )
        )
    return RegistrationBody(
        hypothesis=hypothesis,
        group=members,
        carrier=members[0],
        claim=claim,
        design=design,
        design_key=design.key,
        replicates=replicates,
        null_support=f"|E[d]| ≥ {bound}" if within else f"E[d] ≤ {bound}",
        null_refute=f"|E[d]| ≤ {bound}" if within else f"E[d] ≥ {bound}",
        support=shares[0],
        refute=shares[1],
        cap_blocks=cap_blocks,
        cap_dropped=cap_dropped,
        ending="each by itself" if ends_by_itself else "with the carrier",
        riding=RIDING_ALONE if ends_by_itself else RIDING,
        seed=seed,
        problem_digest=problem.digest(),
        analysis_hash=analysis_hash(),
        prior=prior,
        proposer=proposer,
        cites=tuple(cites),
    )


def parse_registration(body: Mapping[str, Any]) -> RegistrationBody:
    """Read a stored registration body back."""
    return RegistrationBody.model_validate(dict(body))


def are_separate(claims: Sequence[AnyClaim]) -> bool:
    """Whether claims tested by the same runs are about different parameters: the end of one says nothing of another."""
    return len({frozenset(subject_of(claim)) for claim in claims}) > 1


def shares_design(first: RegistrationBody, second: RegistrationBody) -> bool:
    """Whether the same runs test both: both registrations say so, and the points are the same."""
    return (
        first.group == second.group
        and first.hypothesis in second.group
        and second.hypothesis in first.group
        and first.design_key == second.design_key
        and first.ending == second.ending
    )


@cache
def analysis_hash() -> str:
    """sha256 over the source of the modules that turn runs into verdicts."""
    digest = hashlib.sha256()
    package = resources.files("athanor.agents.hypotheses")
    for name in ANALYSIS_MODULES:
        source = package.joinpath(f"{name}.py").read_bytes()
        digest.update(f"{name}:{len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()
