from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from athanor.agents.hypotheses.claims import Effect, Interaction, Irrelevance, Region
from athanor.agents.hypotheses.contrast import compile_claim
from athanor.agents.reasoners.protocol import Known, Proposal, Reasoner, Recalled, Remaining, Seen, Situation
from athanor.agents.reasoners.statistical import StatisticalReasoner, known_noise, shrunk, smallest_interest
from athanor.planners.problem import Categorical, Continuous, LinearConstraint, Objective, Problem


def propose(situation: Situation, limit: int = 2, **changes: Any) -> tuple[Proposal, ...]:
    return StatisticalReasoner().propose(situation.model_copy(update=changes), limit).proposals


def as_known(proposals: tuple[Proposal, ...]) -> tuple[Known, ...]:
    return tuple(
        Known(
            id=f"H{i}", kind=p.kind, statement=p.statement, claim=p.claim.model_dump(mode="json"), state="inconclusive"
        )
        for i, p in enumerate(proposals)
    )


def changed(situation: Situation, **fields: Any) -> dict[str, Any]:
    """The situation's effects with the first change altered."""
    assert situation.effects is not None
    first, *rest = situation.effects["changes"]
    return {"changes": [{**first, **fields}, *rest]}


def test_it_is_a_reasoner_and_repeats_itself(situation: Situation) -> None:
    reasoner = StatisticalReasoner()
    assert isinstance(reasoner, Reasoner) and reasoner.name == "statistical"
    assert reasoner.propose(situation, 3) == reasoner.propose(situation, 3)
    assert reasoner.propose(situation, 0).proposals == ()


def test_a_decided_direction_is_set_against_irrelevance_on_the_same_runs(situation: Situation) -> None:
    claim, rival = propose(situation)
    assert isinstance(claim.claim, Effect) and isinstance(rival.claim, Irrelevance)
    assert claim.claim.direction == "increases" and claim.claim.parameter == "temperature"
    assert rival.shares_runs_with == 0 and claim.shares_runs_with is None
    assert claim.statement == (
        "Raising temperature from 30 degC to 120 degC increases sty, other settings as at the base point."
    )
    assert "+4000 kg/m^3/h ± 300 kg/m^3/h" in claim.rationale and "4 observations" in claim.rationale
    assert claim.cites == ("s.1", "s.2", "s.3", "s.4")
    assert claim.prior == 0.95 and rival.prior == 0.05


def test_an_undecided_direction_is_set_against_its_opposite(situation: Situation) -> None:
    up, down = propose(situation, effects=changed(situation, change=2500.0, sd=5000.0, importance=0.2))
    assert isinstance(up.claim, Effect) and isinstance(down.claim, Effect)
    assert (up.claim.direction, down.claim.direction) == ("increases", "decreases")
    assert up.prior + down.prior == pytest.approx(1.0) and 0.5 < up.prior < 0.9


def test_a_change_too_small_to_matter_is_claimed_irrelevant(situation: Situation) -> None:
    nothing, rival = propose(situation, effects=changed(situation, change=20.0, sd=100.0, importance=0.2))
    assert isinstance(nothing.claim, Irrelevance) and nothing.claim.margin == 300.0 and nothing.prior > 0.9
    assert isinstance(rival.claim, Effect)


def test_a_parameter_that_matters_without_a_direction_is_asked_about_at_the_base_point(situation: Situation) -> None:
    middle = {"temperature": 70.0, "time": 1.0, "stages": 3}
    effects = changed(situation, change=20.0, sd=400.0)
    loss, rival = propose(situation, effects=effects, base_point=middle)
    assert isinstance(loss.claim, Effect) and isinstance(rival.claim, Irrelevance) and rival.shares_runs_with == 0
    assert (loss.claim.low, loss.claim.high, loss.claim.direction) == (70.0, 120.0, "decreases")
    assert loss.prior == 0.8 and "80%" in loss.rationale
    torn = effects["changes"][0]
    leaning = {"changes": [{**torn, "change": 250.0}, *effects["changes"][1:]]}
    direction = propose(situation, effects=leaning, base_point=middle)[0].claim  # likelier than two to one
    assert isinstance(direction, Effect) and (direction.low, direction.high) == (30.0, 120.0)
    at_an_end = {**middle, "temperature": 120.0}
    assert isinstance(propose(situation, effects=effects, base_point=at_an_end)[0].claim, Irrelevance)


def test_nothing_is_asked_twice(situation: Situation) -> None:
    asked = situation.hypotheses
    seen: set[str] = set()
    for _ in range(5):
        proposals = propose(situation, 2, hypotheses=asked)
        for proposal in proposals:
            key = proposal.claim.model_dump_json()
            assert key not in seen
            seen.add(key)
        asked = (*asked, *as_known(proposals))
    assert proposals == () and len(seen) == 2  # time was asked about before


def test_without_effects_memory_is_asked_and_else_nothing(situation: Situation) -> None:
    assert propose(situation, effects=None) == ()
    claim = {
        "kind": "effect",
        "outcome": "sty",
        "parameter": "temperature",
        "low": 40.0,
        "high": 80.0,
        "direction": "increases",
    }
    items = [
        Recalled(id="m0", campaign_id="old", text="", claim={"kind": "strange"}, verdict="supported"),
        Recalled(id="m1", campaign_id="old", text="", claim={**claim, "parameter": "volts"}, verdict="supported"),
        Recalled(id="m2", campaign_id="old", text="", claim=claim, verdict="supported", tainted=True),
    ]
    assert propose(situation, effects=None, memory=tuple(items[:1])) == ()
    [proposal] = propose(situation, effects=None, memory=(items[0], items[2]))
    assert proposal.tainted and proposal.cites == ("m2",) and proposal.prior == 0.7
    assert "old" in proposal.rationale


def test_interactions_and_regions_follow_once_the_effects_were_asked(situation: Situation) -> None:
    pair = {
        "outcome": "sty",
        "first": "temperature",
        "first_low": 30.0,
        "first_high": 120.0,
        "second": "stages",
        "second_low": 1,
        "second_high": 5,
        "change": -900.0,
        "sd": 100.0,
    }
    effects = {**changed(situation), "pairs": [pair], "box": {"temperature": (90.0, 110.0), "stages": (2.0, 4.0)}}
    rounds: list[tuple[Proposal, ...]] = []
    while found := propose(situation, 9, effects=effects):
        rounds.append(found)
        situation = situation.model_copy(update={"hypotheses": (*situation.hypotheses, *as_known(found))})
    assert [[p.kind for p in found] for found in rounds] == [["effect", "irrelevance"], ["interaction"], ["region"]]
    interaction, region = rounds[1][0].claim, rounds[2][0].claim
    assert isinstance(interaction, Interaction) and interaction.direction == "negative"
    assert isinstance(region, Region)
    assert region.inside == situation.base_point and region.outside["temperature"] == 80.0
    assert region.better == "higher" and all(p.shares_runs_with is None for p in (rounds[1][0], rounds[2][0]))


def unclear(situation: Situation, left: int | None = 20, **fields: Any) -> Situation:
    """Nothing asked yet, three parameters, none of them clear, and `left` runs for tests."""
    effects = changed(situation, sd=1100.0, **fields)
    stages = {**effects["changes"][1], "parameter": "stages", "low": 1, "high": 5, "change": 500.0}
    changes = [*effects["changes"], stages]
    return situation.model_copy(
        update={"effects": {"changes": changes}, "hypotheses": (), "remaining": Remaining(confirmatory=left)}
    )


def test_what_is_not_clear_is_asked_about_at_once_on_the_same_runs(situation: Situation) -> None:
    situation = unclear(situation)
    found = propose(situation, 3)
    claims = [p.claim for p in found]
    assert all(isinstance(c, Effect) for c in claims)
    assert [(c.parameter, c.direction) for c in claims if isinstance(c, Effect)] == [
        ("temperature", "increases"),
        ("stages", "increases"),
        ("time", "decreases"),
    ]
    assert [p.shares_runs_with for p in found] == [None, 0, 0]
    problem = situation.parsed_problem()
    designs = [compile_claim(c, problem, situation.base_point or {}) for c in claims]
    assert len({d.key for d in designs}) == 1 and len(designs[0].points) == 4
    assert all(0.5 <= p.prior <= 0.95 and "asked about together" in p.rationale for p in found)
    assert propose(situation, 3, hypotheses=as_known(found)) == ()
    two = propose(situation, 2)
    assert [p.shares_runs_with for p in two] == [None, 0]
    assert all(isinstance(p.claim, Effect) and len(p.claim.across) == 1 for p in two)


def test_one_is_asked_about_by_itself_when_it_is_clear_or_runs_are_few(situation: Situation) -> None:
    for alone in (unclear(situation, left=19), unclear(situation, change=4400.0), unclear(situation, left=12)):
        claim = propose(alone, 3)[0].claim
        assert isinstance(claim, Effect) and claim.across == ()
    assert len(propose(unclear(situation, left=None), 3)) == 3
    assert len(propose(unclear(situation), 1)) == 1


def test_a_corner_next_to_a_failed_run_is_not_asked_for(situation: Situation) -> None:
    hot = Seen(id="s.9", values={"temperature": 110.0, "time": 1.9, "stages": 4}, status="failed", note="it boiled")
    claim = propose(unclear(situation), 3, observations=(*situation.observations, hot))[0].claim
    assert isinstance(claim, Effect) and claim.across == ()


def test_levels_stay_within_reach_of_what_ran(situation: Situation) -> None:
    hot = {"temperature": 119.0, "time": 1.0, "stages": 3}
    failed = Seen(id="s.9", values=hot, status="failed", note="it boiled")
    observations = (*situation.observations, failed)
    claim, _ = propose(situation, observations=observations)
    assert isinstance(claim.claim, Effect)
    assert claim.claim.low == pytest.approx(58.0) and 100.0 <= float(claim.claim.high) < 112.0


def test_contrasts_that_break_a_linear_constraint_are_passed_over() -> None:
    problem = Problem(
        [Continuous("a", 0.0, 1.0), Continuous("b", 0.0, 1.0), Categorical("s", ["A", "B"])],
        [Objective("y", "maximize")],
        [LinearConstraint({"a": 1.0, "b": 1.0}, equals=1.0)],
    )
    change = {"outcome": "y", "low": 0.0, "high": 1.0, "change": 1.0, "sd": 0.1, "importance": 0.5}
    situation = Situation(
        campaign_id="c",
        ordinal=1,
        question="?",
        problem=problem.model_dump(mode="json"),
        base_point={"a": 0.5, "b": 0.5, "s": "A"},
        effects={
            "changes": [
                {**change, "parameter": "a"},
                {**change, "parameter": "s", "low": "A", "high": "B", "importance": 0.1},
            ]
        },
    )
    proposals = propose(situation, 4)
    assert {getattr(p.claim, "parameter", None) for p in proposals} == {"s"}


def test_malformed_effects_are_a_defect(situation: Situation) -> None:
    with pytest.raises(ValidationError):
        propose(situation, effects={"changes": [{"outcome": "sty"}]})


def test_the_smallest_interesting_change() -> None:
    assert smallest_interest("y", {"y": 1.0}, [0.0, 5.0]) == 2.0
    assert smallest_interest("y", {}, [0.0, 123.0]) == 13.0
    assert smallest_interest("y", {}, []) is None and smallest_interest("y", {}, [3.0]) is None


def test_noise_is_pooled_over_repeated_settings(situation: Situation) -> None:
    rng = np.random.default_rng(0)
    repeated = tuple(
        Seen(id=f"r{i}", values={"temperature": 50.0 + i % 20, "time": 1.0, "stages": 3}, outcomes={"sty": float(v)})
        for i, v in enumerate(rng.normal(100.0, 7.0, size=400))
    )
    found = known_noise(situation.model_copy(update={"observations": repeated, "noise": {}}))
    assert found["sty"] == pytest.approx(7.0, rel=0.15)
    assert known_noise(situation)["sty"] == 60.0
    assert known_noise(situation.model_copy(update={"noise": {}})) == {}


def test_priors_are_shrunk() -> None:
    assert (shrunk(1.0), shrunk(0.0), shrunk(0.5), shrunk(0.9)) == (0.95, 0.05, 0.5, 0.86)


@pytest.mark.slow
def test_it_reads_the_effects_of_the_real_planner(situation: Situation) -> None:
    from athanor.planners.bayesian import BayesianPlanner
    from athanor.planners.diagnostics import effects
    from athanor.planners.protocol import Observation

    problem = situation.parsed_problem()
    planner = BayesianPlanner(problem, seed=3)
    rng = np.random.default_rng(3)
    points = [
        {"temperature": float(30 + 90 * u), "time": float(0.5 + 1.5 * v), "stages": int(1 + 4.999 * w)}
        for u, v, w in rng.random((14, 3))
    ]
    planner.ingest(
        [Observation(values=p, outcomes={"sty": 40.0 * p["temperature"] + float(rng.normal(0, 40))}) for p in points]
    )
    learned = effects(planner).model_dump(mode="json")
    seen = tuple(Seen(id=f"s.{i}", values=p, outcomes={"sty": 40.0 * p["temperature"]}) for i, p in enumerate(points))
    found = propose(
        situation, effects=learned, base_point=learned["incumbent"], observations=seen, hypotheses=(), noise={}
    )
    assert [p.kind for p in found] == ["effect", "irrelevance"]
    claim = found[0].claim
    assert isinstance(claim, Effect) and (claim.parameter, claim.direction) == ("temperature", "increases")
