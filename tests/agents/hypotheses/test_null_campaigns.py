"""Error rates and power of the whole hypothesis layer, measured on simulated campaigns.

Each campaign is exploration, effects, the statistical reasoner choosing claims from those noisy effects, registration
with its share of α, sequential blocks, verdicts, and again until the budget is spent, each by the code that real
campaigns run. Exploration visits the points of the planners' own scrambled Sobol design. Three parts are stand-ins, for
speed: the laboratory is a formula plus normal noise; the effects come from a linear model fitted by least squares
(`simulate(…, surrogate=True)` puts the planner's own surrogate in its place, half a second per fit); and when to ask is
decided here, first all exploration and then tests, where the loop lets them take turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
from scipy.stats import beta

from athanor.agents.hypotheses.claims import AnyClaim, Effect, Irrelevance, Level
from athanor.agents.hypotheses.contrast import compile_claim
from athanor.agents.hypotheses.evidence import log_e_pair
from athanor.agents.hypotheses.families import elond_level
from athanor.agents.hypotheses.registration import RegistrationBody, are_separate, register, shares_design
from athanor.agents.hypotheses.verdicts import Block, Verdict, complete_block, ride, update
from athanor.agents.inquiry import AT_ONCE
from athanor.agents.reasoners.protocol import Known, Proposal, Remaining, Seen, Situation
from athanor.agents.reasoners.statistical import StatisticalReasoner
from athanor.planners.problem import Continuous, Objective, Problem
from athanor.planners.sobol import SobolPlanner

CAMPAIGNS = 2000
BUDGET = 40
EXPLORATION = 12
PROBLEM = Problem([Continuous(name, 0.0, 1.0) for name in ("a", "b", "c")], [Objective("y", "maximize")])
PROBLEM_JSON = PROBLEM.model_dump(mode="json")


def upper_bound(events: int, trials: int) -> float:
    """Clopper–Pearson 95 % upper confidence bound of a rate."""
    return 1.0 if events == trials else float(beta.ppf(0.95, events + 1, trials - events))


def lower_bound(events: int, trials: int) -> float:
    return 0.0 if events == 0 else float(beta.ppf(0.05, events, trials - events + 1))


DESIGNS = 64
"""Different Sobol designs; the noise differs in every campaign."""


@cache
def sobol(seed: int) -> tuple[tuple[float, ...], ...]:
    """The first points of the planners' space-filling design."""
    points = SobolPlanner(PROBLEM, seed=seed).suggest(32)
    return tuple(tuple(float(point.values[name]) for name in PROBLEM.names) for point in points)


CORNERS = tuple((float(i & 1), float(i >> 1 & 1), float(i >> 2 & 1)) for i in (0, 3, 5, 6, 1, 2, 4, 7)) * 2


@dataclass
class SimulatedCampaign:
    """One campaign on y = slope · a + noise(sd 1), in which each run is one draw."""

    seed: int
    slope: float = 0.0
    budget: int = BUDGET
    exploration: int = EXPLORATION
    at_corners: bool = False
    surrogate: bool = False
    x: list[list[float]] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    tested: list[tuple[AnyClaim, RegistrationBody, Verdict]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([20_26, self.seed])

    def measure(self, point: Sequence[float]) -> float:
        value = self.slope * point[0] + float(self.rng.normal())
        self.x.append(list(point))
        self.y.append(value)
        return value

    def effects(self) -> tuple[dict[str, object], dict[str, Level]]:
        """What was learned from all data so far, and the best point."""
        return self.learned() if self.surrogate else self.fitted()

    def learned(self) -> tuple[dict[str, object], dict[str, Level]]:
        """What the planner's surrogate says, as the loop reads it."""
        from athanor.planners.bayesian import BayesianPlanner
        from athanor.planners.diagnostics import effects
        from athanor.planners.protocol import Observation

        planner = BayesianPlanner(PROBLEM, seed=self.seed)
        planner.ingest(
            Observation(candidate_id=None, values=dict(zip(PROBLEM.names, x, strict=True)), outcomes={"y": y})
            for x, y in zip(self.x, self.y, strict=True)
        )
        found = effects(planner).model_dump(mode="json")
        return found, found["incumbent"]

    def fitted(self) -> tuple[dict[str, object], dict[str, Level]]:
        """Least squares: change over each parameter's range, its standard error, share of the squares."""
        x, y = np.asarray(self.x), np.asarray(self.y)
        design = np.column_stack([np.ones(len(x)), x])
        inverse = np.linalg.inv(design.T @ design)
        fit = inverse @ design.T @ y
        residual = y - design @ fit
        noise = float(np.sqrt(residual @ residual / (len(y) - design.shape[1])))
        share = fit[1:] ** 2 / (fit[1:] ** 2).sum()
        changes = [
            {
                "outcome": "y",
                "parameter": name,
                "low": 0.0,
                "high": 1.0,
                "change": float(fit[1 + i]),
                "sd": noise * float(np.sqrt(inverse[1 + i, 1 + i])),
                "importance": float(share[i]),
            }
            for i, name in enumerate(PROBLEM.names)
        ]
        return {"changes": changes}, dict(zip(PROBLEM.names, self.x[int(np.argmax(y))], strict=True))

    def run(self, reasoner: StatisticalReasoner) -> None:
        points = CORNERS if self.at_corners else sobol(self.seed % DESIGNS)
        for point in points[: self.exploration]:
            self.measure(point)
        while self.left() >= 8:
            effects, base = self.effects()
            situation = Situation(
                campaign_id="null",
                ordinal=len(self.y),
                question="?",
                problem=PROBLEM_JSON,
                base_point=base,
                effects=effects,
                observations=tuple(
                    Seen(id=f"o{i}", values=dict(zip(PROBLEM.names, x, strict=True)), outcomes={"y": y})
                    for i, (x, y) in enumerate(zip(self.x, self.y, strict=True))
                ),
                hypotheses=tuple(
                    Known(id=r.hypothesis, kind=c.kind, statement="", claim=c.model_dump(mode="json"), state=v)
                    for c, r, v in self.tested
                ),
                remaining=Remaining(experiments=self.left(), confirmatory=self.left()),
            )
            proposals = reasoner.propose(situation, limit=AT_ONCE).proposals
            if not proposals:
                return
            self.test(proposals, base)

    def test(self, proposals: Sequence[Proposal], base: dict[str, Level]) -> None:
        group = [f"H{len(self.tested) + 1 + i}" for i in range(len(proposals))]
        arms = len(compile_claim(proposals[0].claim, PROBLEM, base).points)
        cap = self.left() // arms
        registrations = [
            register(
                group[i],
                proposal.claim,
                PROBLEM,
                base,
                position=len(self.tested) + 1 + i,
                supported_before=sum(v == "supported" for *_, v in self.tested),
                refuted_before=sum(v == "refuted" for *_, v in self.tested),
                seed=self.seed,
                prior=proposal.prior,
                proposer="statistical",
                cap_blocks=cap,
                group=group,
                ends_by_itself=are_separate([item.claim for item in proposals]),
            )
            for i, proposal in enumerate(proposals)
        ]
        assert all(shares_design(registrations[0], other) for other in registrations)
        # Every block that the budget allows is drawn, then the verdicts say how many of them were run: the same as
        # running and weighing one after the other, since a verdict looks at nothing that comes after it.
        before = len(self.y)
        blocks = [self.draw_block(registrations, number) for number in range(1, cap + 1)]
        ended = "the budget is spent"
        own = [[block[i] for block in blocks] for i in range(len(registrations))]
        lead = update(registrations[0], own[0], ended=ended)
        results = [lead, *(ride(r, b, lead, ended=ended) for r, b in zip(registrations[1:], own[1:], strict=True))]
        run = max(len(result.trail) for result in results)
        del self.x[before + arms * run :], self.y[before + arms * run :]
        for proposal, registration, result in zip(proposals, registrations, results, strict=True):
            assert result.verdict is not None
            self.tested.append((proposal.claim, registration, result.verdict))

    def left(self) -> int:
        return self.budget - len(self.y)

    def draw_block(self, registrations: Sequence[RegistrationBody], number: int) -> list[Block]:
        """One block of the shared runs, with each registration's statistic."""
        design = registrations[0].design
        outcome = {
            arm: self.measure([float(design.values(arm)[name]) for name in PROBLEM.names])
            for arm in design.order(self.seed, number)
        }
        return [complete_block(registration, number, outcome) for registration in registrations]


def true_change(claim: Effect | Irrelevance, slope: float) -> float:
    """The change the claim is about, on y = slope · a; its levels may fall from the base point to an end."""
    return slope * (float(claim.high) - float(claim.low)) if claim.parameter == "a" else 0.0


def is_planted(claim: AnyClaim, slope: float) -> bool:
    """Whether it claims the planted change in its true direction."""
    return isinstance(claim, Effect) and true_change(claim, slope) * (1 if claim.direction == "increases" else -1) > 0.0


def is_false_support(claim: AnyClaim, slope: float) -> bool:
    """Whether supporting the claim is wrong on y = slope · a: every claim of a change is, but the planted one."""
    if isinstance(claim, Irrelevance):
        return abs(true_change(claim, slope)) >= claim.margin
    return not is_planted(claim, slope)


def is_false_refutation(claim: AnyClaim, slope: float) -> bool:
    if isinstance(claim, Irrelevance):
        return abs(true_change(claim, slope)) <= claim.margin
    return is_planted(claim, slope)


def simulate(
    count: int,
    slope: float,
    budget: int = BUDGET,
    exploration: int = EXPLORATION,
    at_corners: bool = False,
    surrogate: bool = False,
) -> list[SimulatedCampaign]:
    reasoner = StatisticalReasoner()
    campaigns = [SimulatedCampaign(seed, slope, budget, exploration, at_corners, surrogate) for seed in range(count)]
    for campaign in campaigns:
        campaign.run(reasoner)
        assert len(campaign.y) <= budget
    return campaigns


def supported(campaigns: Sequence[SimulatedCampaign], slope: float) -> int:
    """In how many campaigns the planted effect was supported."""
    return sum(any(v == "supported" and is_planted(c, slope) for c, _, v in x.tested) for x in campaigns)


def falsely_supported(campaigns: Sequence[SimulatedCampaign], slope: float) -> int:
    return sum(any(v == "supported" and is_false_support(c, slope) for c, _, v in x.tested) for x in campaigns)


def falsely_refuted(campaigns: Sequence[SimulatedCampaign], slope: float) -> int:
    return sum(any(v == "refuted" and is_false_refutation(c, slope) for c, _, v in x.tested) for x in campaigns)


@pytest.mark.slow
def test_null_campaigns_rarely_support_anything_false() -> None:
    campaigns = simulate(CAMPAIGNS, slope=0.0)
    assert sum(len(c.tested) for c in campaigns) >= 2 * CAMPAIGNS, "the reasoner hardly asked anything"
    assert upper_bound(falsely_supported(campaigns, 0.0), CAMPAIGNS) <= 0.05
    assert upper_bound(falsely_refuted(campaigns, 0.0), CAMPAIGNS) <= 0.05


def test_a_planted_effect_of_two_standard_deviations_is_supported_when_exploration_points_at_it() -> None:
    campaigns = simulate(300, 2.0, at_corners=True)
    assert lower_bound(supported(campaigns, 2.0), 300) >= 0.80
    assert upper_bound(falsely_supported(campaigns, 2.0), 300) <= 0.05


def test_a_planted_effect_is_supported_after_exploration_by_sobol_points() -> None:
    """Exploration alone often points at another knob; asking about all three on the same runs makes up for it."""
    campaigns = simulate(1000, 2.0)
    assert lower_bound(supported(campaigns, 2.0), 1000) >= 0.80
    assert upper_bound(falsely_supported(campaigns, 2.0), 1000) <= 0.05
    assert upper_bound(falsely_refuted(campaigns, 2.0), 1000) <= 0.05
    at_once = [x for x in campaigns if len(x.tested[0][1].design.points) == 4]
    assert len(at_once) > 500 and all(x.tested[0][1].ending == "each by itself" for x in at_once)


@pytest.mark.slow
def test_a_planted_effect_is_supported_also_where_the_planners_surrogate_says_what_to_ask() -> None:
    """The bounds leave room for the hundred campaigns; docs/measurements.md has the counts."""
    campaigns = simulate(100, 2.0, surrogate=True)
    assert lower_bound(supported(campaigns, 2.0), 100) >= 0.65
    assert falsely_supported(campaigns, 2.0) <= 5


def first_crossings(log_e: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Per campaign, whether any claim (second axis) ever reaches its threshold at any look (last axis)."""
    return (log_e >= -np.log(levels)[:, None]).any(axis=(1, 2))


def test_an_adversary_who_registers_the_most_extreme_of_many_and_peeks_gains_nothing() -> None:
    rng = np.random.default_rng(5)
    arms, picked, looks = 40, 12, 100
    explored = rng.normal(size=(CAMPAIGNS, arms, 4)).mean(axis=-1)
    chosen = np.argsort(-np.abs(explored), axis=1)[:, :picked]
    direction = np.sign(np.take_along_axis(explored, chosen, axis=1))
    confirmed = rng.normal(size=(CAMPAIGNS, picked, looks))
    support, refute = log_e_pair(direction[..., None] * confirmed, 0.0, "greater")
    levels = np.array([elond_level(t) for t in range(1, picked + 1)])
    assert upper_bound(int(first_crossings(support, levels).sum()), CAMPAIGNS) <= 0.05
    assert upper_bound(int(first_crossings(refute, levels).sum()), CAMPAIGNS) <= 0.05


def test_the_data_that_formed_a_claim_would_break_the_guarantee_if_they_counted() -> None:
    """The control of the test above, which can fail: counting the data that suggested a claim breaks the bound."""
    rng = np.random.default_rng(6)
    arms, picked, looks = 40, 12, 12
    data = rng.normal(size=(CAMPAIGNS, arms, looks))
    means = data[..., :4].mean(axis=-1)
    chosen = np.argsort(-np.abs(means), axis=1)[:, :picked]
    reused = (
        np.take_along_axis(data, chosen[..., None], axis=1) * np.sign(np.take_along_axis(means, chosen, 1))[..., None]
    )
    support, _ = log_e_pair(reused, 0.0, "greater")
    levels = np.array([elond_level(t) for t in range(1, picked + 1)])
    assert first_crossings(support, levels).mean() > 0.10


def test_claims_that_share_runs_keep_the_family_error() -> None:
    """Twelve claims on one outcome stream each, all tested on the same runs: the union bound needs no independence."""
    rng = np.random.default_rng(7)
    stream = rng.normal(size=(CAMPAIGNS, 1, 60))
    d = np.concatenate([stream * sign for sign in (1.0, -1.0)] * 6, axis=1)
    support, _ = log_e_pair(d, 0.0, "greater")
    levels = np.array([elond_level(t) for t in range(1, 13)])
    assert upper_bound(int(first_crossings(support, levels).sum()), CAMPAIGNS) <= 0.05
