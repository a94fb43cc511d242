"""The reasoner without a model: reads effects, interactions and regions off the surrogate and asks the data.

It works with multiple working hypotheses (Chamberlin, Science 15 (1890) 92; Platt, Science 146 (1964) 347): beside the
claim it thinks likelier it registers a rival that the same runs test, so that either answer teaches something. Where
it does not know which parameter matters it asks about several at once, on shared factorial blocks. Its
probabilities are the surrogate's, shrunk towards one half, because surrogates are surer than they should be.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from athanor.agents.hypotheses.claims import (
    AnyClaim,
    Effect,
    Interaction,
    InvalidClaim,
    Irrelevance,
    Level,
    Range,
    Region,
    Span,
    claim_key,
    contains,
    parse_claim,
)
from athanor.agents.hypotheses.contrast import compile_claim
from athanor.agents.hypotheses.statements import describe, quantity
from athanor.agents.reasoners.drafts import Draft, expectation, shrunk
from athanor.agents.reasoners.picture import Change, Pair, Picture, normal_cdf, read_picture
from athanor.agents.reasoners.protocol import Proposal, Proposals, Seen, Situation
from athanor.agents.reasoners.screening import is_decided, screened, screening_question

if TYPE_CHECKING:
    from athanor.planners.problem import Problem

TORN = 2.0 / 3.0
"""Direction probability below which a parameter that matters may have its best level in between."""

MATTERS = 0.3
"""Importance from which a parameter without a direction is asked about at the base point."""

PEAK_PRIOR = 0.8
"""Prior that leaving the best level found so far is a loss; not higher, because the best of many is partly luck."""

NOISE_MULTIPLE = 2.0
RANGE_SHARE = 0.1
"""The smallest change of interest is the larger of 2 single-run standard deviations and a tenth of the range seen."""


class StatisticalReasoner:
    """Proposes the hypotheses the data so far make most worth testing; deterministic, needs no model and no network."""

    name = "statistical"

    def propose(self, situation: Situation, limit: int) -> Proposals:
        """Propose at most `limit` hypotheses that were never proposed before in this campaign, all of one question.

        Raises:
            pydantic.ValidationError: the situation's problem or effects are malformed (a defect, not bad luck).
        """
        problem = situation.parsed_problem()
        picture = read_picture(situation.effects)
        asked = _Asked(situation)
        proposals: list[Proposal] = []
        questions = self._questions(situation, problem, picture, asked, limit)
        for question in questions:
            if proposals:
                break
            first: int | None = None
            key: str | None = None
            for draft in question:
                if len(proposals) >= limit:
                    break
                if situation.base_point is None or asked.has(draft.claim):
                    continue
                try:
                    design = compile_claim(draft.claim, problem, situation.base_point)
                except InvalidClaim:
                    continue  # its points break a linear constraint: this contrast cannot be run
                asked.add(draft.claim)
                shares = first if first is not None and key == design.key else None
                if first is None:
                    first, key = len(proposals), design.key
                proposals.append(
                    Proposal(
                        kind=draft.claim.kind,
                        statement=describe(draft.claim, problem),
                        rationale=draft.rationale,
                        claim=draft.claim,
                        prior=draft.prior,
                        cites=draft.cites,
                        tainted=draft.tainted,
                        shares_runs_with=shares,
                    )
                )
        return Proposals(proposals=tuple(proposals), reasoner=self.name)

    def _questions(
        self, situation: Situation, problem: Problem, picture: Picture | None, asked: _Asked, limit: int
    ) -> Iterator[list[Draft]]:
        """Questions in the order they deserve an answer; the claims of each are testable by the same runs."""
        yield from _recalled(situation, problem, asked)
        if picture is None:
            return
        seen = [item for item in situation.observations if item.status == "completed" and item.outcomes]
        cites = tuple(item.id for item in seen)
        changes = screened(picture.changes, problem, seen)
        ranked = sorted(changes, key=lambda change: (-_worth(change), change.outcome, change.parameter))
        new = [change for change in ranked if (change.outcome, change.parameter) not in asked.effects]
        reachable = [found for change in new if (found := _within_reach(change, situation, problem)) is not None]
        yield screening_question(reachable, situation, problem, cites, limit)
        for change in reachable:
            peak = _peak_question(change, situation, problem, seen, cites)
            yield peak or _effect_question(change, situation, problem, seen, cites)
        # A parameter with its best level in between shows nothing when only its ends were compared, with others.
        for change in ranked:
            if (change.outcome, change.parameter) in asked.effects - asked.alone:
                within = _within_reach(change, situation, problem)
                yield (within and _peak_question(within, situation, problem, seen, cites)) or []
        for pair in sorted(
            picture.pairs, key=lambda pair: (-_certainty(pair.change, pair.sd), pair.first, pair.second)
        ):
            if (pair.outcome, frozenset((pair.first, pair.second))) not in asked.pairs:
                yield [_pair_draft(pair, problem, cites)]
        region = _region_draft(picture, situation, problem, seen)
        if region is not None and not asked.region:
            yield [region]


class _Asked:
    """What this campaign has asked already, whatever came of it."""

    def __init__(self, situation: Situation) -> None:
        self.keys: set[str] = set()
        self.effects: set[tuple[str, str]] = set()
        self.alone: set[tuple[str, str]] = set()
        """Those of `effects` that were not only asked about together with other parameters."""
        self.pairs: set[tuple[str, frozenset[str]]] = set()
        self.region = False
        for known in situation.hypotheses:
            try:
                self.add(parse_claim(known.claim))
            except ValidationError:
                continue  # a claim of a later format: it cannot equal one of ours

    def add(self, claim: AnyClaim) -> None:
        self.keys.add(claim_key(claim))
        if isinstance(claim, Effect | Irrelevance):
            self.effects.add((claim.outcome, claim.parameter))
            if not claim.across:
                self.alone.add((claim.outcome, claim.parameter))
        elif isinstance(claim, Interaction):
            self.pairs.add((claim.outcome, frozenset((claim.first.parameter, claim.second.parameter))))
        elif isinstance(claim, Region):
            self.region = True

    def has(self, claim: AnyClaim) -> bool:
        return claim_key(claim) in self.keys


def smallest_interest(outcome: str, noise: Mapping[str, float], observed: list[float]) -> float | None:
    """The smallest change worth knowing, in the outcome's unit, rounded up to two digits; None where nothing is known.

    Args:
        outcome: name of the outcome.
        noise: single-run standard deviation per outcome, where known.
        observed: all values of the outcome so far.
    """
    span = max(observed) - min(observed) if observed else 0.0
    size = max(NOISE_MULTIPLE * noise.get(outcome, 0.0), RANGE_SHARE * span)
    if not size > 0.0 or not math.isfinite(size):
        return None
    unit = 10.0 ** (math.floor(math.log10(size)) - 1)
    return float(f"{math.ceil(size / unit - 1e-9) * unit:.6g}")


def known_noise(situation: Situation) -> dict[str, float]:
    """Single-run standard deviation per outcome: as given, else pooled over repeated settings; none where unknown."""
    noise = dict(situation.noise)
    groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for item in situation.observations:
        if item.status == "completed":
            for outcome, value in item.outcomes.items():
                groups[outcome][json.dumps(item.values, sort_keys=True)].append(value)
    for outcome, settings in groups.items():
        repeated = [values for values in settings.values() if len(values) > 1]
        freedom = sum(len(values) - 1 for values in repeated)
        if outcome not in noise and freedom > 0:
            squares = math.fsum((v - math.fsum(values) / len(values)) ** 2 for values in repeated for v in values)
            noise[outcome] = math.sqrt(squares / freedom)
    return noise


def _within_reach(change: Change, situation: Situation, problem: Problem) -> Change | None:
    """The change with its ends where a test is likely to run.

    Without failed runs so far the ends stay as they are. With some, each is moved towards the base point, by 40 % at
    least and until the nearest run so far did not fail. None where nothing is left of it.
    """
    failed = [item for item in situation.observations if item.status == "failed"]
    parameter, base = problem.parameter(change.parameter), situation.base_point
    if not failed or base is None or parameter.kind == "categorical":
        return change
    known = [(problem.to_unit(item.values), item.status) for item in situation.observations]
    start = parameter.to_unit(base[change.parameter])

    def reach(end: Level) -> Level:
        for share in (0.6, 0.4, 0.25):
            level = parameter.from_unit(start + share * (parameter.to_unit(end) - start))
            point = problem.to_unit({**base, change.parameter: level})
            if min(known, key=lambda item: math.dist(item[0], point))[1] != "failed":
                return level
        return base[change.parameter]

    low, high = reach(change.low), reach(change.high)
    return None if low == high else change.model_copy(update={"low": low, "high": high})


def _certainty(change: float, sd: float) -> float:
    return abs(2.0 * normal_cdf(change / sd) - 1.0) if sd > 0.0 else float(change != 0.0)


def _worth(change: Change) -> float:
    """How much a question matters: the parameter's importance, weighted by how well the direction is known."""
    return max(change.importance, 1e-6) * _certainty(change.change, change.sd)


def _effect_question(
    change: Change, situation: Situation, problem: Problem, seen: list[Seen], cites: tuple[str, ...]
) -> list[Draft]:
    up = change.probability_up
    rising = up >= 0.5
    unit = problem.unit(change.outcome)
    low, high = (problem.parameter(change.parameter).validate_value(level) for level in (change.low, change.high))
    told = expectation(change, unit, len(seen))

    def effect(increases: bool) -> Draft:
        probability = up if increases else 1.0 - up
        claim = Effect(
            outcome=change.outcome,
            parameter=change.parameter,
            low=low,
            high=high,
            direction="increases" if increases else "decreases",
        )
        text = f"{told}, a probability of {probability:.2f} that {change.outcome} {claim.direction}."
        return Draft(claim, shrunk(probability), text, cites)

    observed = [item.outcomes[change.outcome] for item in seen if change.outcome in item.outcomes]
    margin = smallest_interest(change.outcome, known_noise(situation), observed)
    if margin is None:
        return [effect(rising), effect(not rising)]
    within = change.probability_within(margin)
    text = (
        f"{told}, a probability of {within:.2f} that it stays below {quantity(margin, unit)}, the least worth knowing."
    )
    nothing = Draft(
        Irrelevance(outcome=change.outcome, parameter=change.parameter, low=low, high=high, margin=margin),
        shrunk(within),
        text,
        cites,
    )
    if is_decided(change):  # then the rival is "it does not matter" rather than "it is the other way round"
        return [effect(rising), nothing]
    return [nothing, effect(rising)] if within > 0.5 else [effect(rising), effect(not rising)]


def _peak_question(
    change: Change, situation: Situation, problem: Problem, seen: list[Seen], cites: tuple[str, ...]
) -> list[Draft] | None:
    """For a parameter that matters without rising or falling throughout: is leaving the base point's level a loss?

    None where a direction is likelier than two to one (asking for it then teaches more), the parameter hardly matters,
    or "loss" has no single meaning.
    """
    parameter, base = problem.parameter(change.parameter), situation.base_point
    goal = next((item.goal for item in problem.objectives if item.name == change.outcome), None)
    is_torn = max(change.probability_up, 1.0 - change.probability_up) < TORN
    if base is None or goal is None or len(problem.objectives) > 1 or parameter.kind == "categorical":
        return None
    if not is_torn or change.importance < MATTERS:
        return None
    here = parameter.validate_value(base[change.parameter])
    ends = [parameter.validate_value(level) for level in (change.low, change.high)]
    if here in ends:
        return None  # the base point lies at an end: the change between the ends is this very question
    there = max(ends, key=lambda level: abs(parameter.to_unit(level) - parameter.to_unit(here)))
    unit = problem.unit(change.outcome)
    expected = f"{quantity(change.change, unit, sign=True)} ± {quantity(change.sd, unit)}"
    text = (
        f"{change.parameter} explains {change.importance:.0%} of what {change.source} sees in {change.outcome}, yet it "
        f"expects only {expected} between its ends: the best may lie between them."
    )
    loss = Effect(
        outcome=change.outcome,
        parameter=change.parameter,
        low=here,
        high=there,
        direction="decreases" if goal == "maximize" else "increases",
    )
    observed = [item.outcomes[change.outcome] for item in seen if change.outcome in item.outcomes]
    margin = smallest_interest(change.outcome, known_noise(situation), observed)
    if margin is None:
        return [Draft(loss, PEAK_PRIOR, text, cites)]
    rival = Irrelevance(outcome=change.outcome, parameter=change.parameter, low=here, high=there, margin=margin)
    return [Draft(loss, PEAK_PRIOR, text, cites), Draft(rival, round(1.0 - PEAK_PRIOR, 3), text, cites)]


def _pair_draft(pair: Pair, problem: Problem, cites: tuple[str, ...]) -> Draft:
    unit = problem.unit(pair.outcome)
    positive = pair.change >= 0.0
    probability = 0.5 + 0.5 * _certainty(pair.change, pair.sd)
    claim = Interaction(
        outcome=pair.outcome,
        first=Span(
            parameter=pair.first,
            low=problem.parameter(pair.first).validate_value(pair.first_low),
            high=problem.parameter(pair.first).validate_value(pair.first_high),
        ),
        second=Span(
            parameter=pair.second,
            low=problem.parameter(pair.second).validate_value(pair.second_low),
            high=problem.parameter(pair.second).validate_value(pair.second_high),
        ),
        direction="positive" if positive else "negative",
    )
    text = (
        f"The surrogate expects the effect of {pair.first} on {pair.outcome} to change by "
        f"{quantity(pair.change, unit, sign=True)} ± {quantity(pair.sd, unit)} between the two levels of {pair.second}."
    )
    return Draft(claim, shrunk(probability), text, cites)


def _region_draft(picture: Picture, situation: Situation, problem: Problem, seen: list[Seen]) -> Draft | None:
    """Base point inside the predicted best region against the best point measured outside it (one objective only)."""
    if not picture.box or situation.base_point is None or len(problem.objectives) != 1:
        return None
    objective = problem.objectives[0]
    box = {name: Range(low=low, high=high) for name, (low, high) in picture.box.items() if low < high}
    inside = dict(situation.base_point)
    beyond = [item for item in seen if objective.name in item.outcomes and not contains(box, item.values)]
    if not box or objective.goal is None or not contains(box, inside) or not beyond:
        return None
    best = max(beyond, key=lambda item: (objective.score(item.outcomes[objective.name]), item.id))
    claim = Region(
        outcome=objective.name,
        box=box,
        inside=inside,
        outside=dict(problem.validate_point(best.values)),
        better="higher" if objective.goal == "maximize" else "lower",
    )
    value = quantity(best.outcomes[objective.name], problem.unit(objective.name))
    text = (
        f"The surrogate places the best conditions in this region; the best result outside it, {value} ({best.id}), "
        "is the strongest rival."
    )
    return Draft(claim, 0.75, text, tuple(item.id for item in seen))


def _recalled(situation: Situation, problem: Problem, asked: _Asked) -> Iterator[list[Draft]]:
    """A claim that an earlier campaign settled, asked again here, one at a time: it may not carry over."""
    for item in situation.memory:
        if item.claim is None or item.verdict not in ("supported", "refuted"):
            continue
        draft = _from_memory(item.claim, item.verdict, item.campaign_id, item.id, item.tainted)
        if draft is not None and draft.claim.outcome in problem.outcomes and not asked.has(draft.claim):
            yield [draft]
            return


def _from_memory(claim: Mapping[str, Any], verdict: str, campaign: str, identifier: str, tainted: bool) -> Draft | None:
    try:
        parsed = parse_claim(claim)
    except ValidationError:
        return None
    if isinstance(parsed, Region):
        return None  # its points belong to the other campaign's problem and base point
    prior = 0.7 if verdict == "supported" else 0.3
    text = f"Campaign {campaign} found this claim {verdict}; here it is put to the test again under present conditions."
    return Draft(parsed, prior, text, (identifier,), tainted)
