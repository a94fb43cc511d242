from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from athanor.agents.hypotheses.claims import Effect, Irrelevance, Span
from athanor.agents.hypotheses.registration import RegistrationBody, register
from athanor.agents.hypotheses.verdicts import (
    Block,
    RunResult,
    assess,
    collect,
    complete_block,
    is_futile,
    next_step,
    update,
)
from athanor.planners.problem import Continuous, Objective, Problem

PROBLEM = Problem([Continuous("a", 0.0, 1.0)], [Objective("y", "maximize", unit="g"), Objective("z", "minimize")])
UP = Effect(outcome="y", parameter="a", low=0.0, high=1.0, direction="increases")
NOTHING = Irrelevance(outcome="y", parameter="a", low=0.0, high=1.0, margin=1.0)
GROUP = ("H1", "H2")


def frozen(hypothesis: str = "H1", claim: Any = UP, **changes: Any) -> RegistrationBody:
    fields: dict[str, Any] = {"position": 1, "seed": 3, "prior": 0.7, "proposer": "statistical", **changes}
    return register(hypothesis, claim, PROBLEM, {"a": 0.5}, **fields)


def run(block: int, arm: str, value: float | None, state: str = "completed", hypothesis: str = "H1") -> RunResult:
    outcomes = None if value is None else {"y": value, "z": 0.0}
    return RunResult(
        experiment=f"e{block}{arm}", hypothesis=hypothesis, block=block, arm=arm, state=state, outcomes=outcomes
    )


def runs(differences: list[float]) -> list[RunResult]:
    """Complete blocks: arm a is the low level, arm b the high one."""
    return [r for i, d in enumerate(differences, 1) for r in (run(i, "a", 5.0), run(i, "b", 5.0 + d))]


def blocks(differences: list[float]) -> list[Block]:
    return [Block(number=i, status="complete", statistic=d) for i, d in enumerate(differences, 1)]


LARGE = [10.0, 10.5, 9.7, 10.2, 9.9]


def test_a_large_effect_is_supported_and_its_rival_refuted() -> None:
    one, two = frozen(group=GROUP), frozen("H2", NOTHING, position=2, group=GROUP)
    found = assess([two, one], runs(LARGE))
    assert found["H1"].verdict == "supported" and found["H2"].verdict == "refuted"
    assert "e = " in found["H1"].reason and found["H1"].settled_at in (3, 4)
    assert found["H1"].latest is not None and found["H1"].latest.estimate == pytest.approx(10.0, abs=0.3)


def test_the_opposite_effect_is_refuted() -> None:
    assert update(frozen(), blocks([-d for d in LARGE])).verdict == "refuted"


def test_the_first_crossing_decides_for_good() -> None:
    supported = update(frozen(), blocks(LARGE))
    assert supported.verdict == "supported"
    later = update(frozen(), blocks([*LARGE, *[-100.0, -90.0, -95.0] * 3]))
    assert later == supported


def test_evidence_does_not_depend_on_the_order_of_arrival() -> None:
    results = runs([0.4, 1.9, -0.3, 1.1])
    expected = assess([frozen()], results)
    for seed in range(5):
        shuffled = results[:]
        random.Random(seed).shuffle(shuffled)
        assert assess([frozen()], shuffled) == expected


def test_blocks_count_up_to_the_first_open_one() -> None:
    results = runs([0.4, 1.9, -0.3])
    results[2] = run(2, "a", None, state="running")
    found = collect(frozen(), results)
    assert [b.status for b in found] == ["complete", "open", "complete"]
    assert len(update(frozen(), found).trail) == 1


@pytest.mark.parametrize(
    "lost", [run(2, "b", None, state) for state in ("failed", "aborted", "rejected", "stopped_early", "not_started")]
)
def test_a_block_with_a_lost_run_is_dropped_whole(lost: RunResult) -> None:
    results = [*runs([0.4]), run(2, "a", 5.0), lost]
    found = collect(frozen(), results)
    assert [b.status for b in found] == ["complete", "dropped"]
    assert lost.state in (found[1].reason or "") and found[1].statistic is None
    step = next_step(frozen(), results)
    assert step is not None and step.block == 3


def test_a_run_that_lacks_the_outcome_or_gave_no_number_drops_its_block() -> None:
    without = RunResult(experiment="e", hypothesis="H1", block=1, arm="a", state="completed", outcomes={"z": 1.0})
    assert collect(frozen(), [without, run(1, "b", 5.0)])[0].status == "dropped"
    strange = run(1, "a", float("nan"))
    assert collect(frozen(), [strange, run(1, "b", 5.0)])[0].status == "dropped"


def test_a_run_in_doubt_keeps_its_block_open() -> None:
    results = [run(1, "a", 5.0), run(1, "b", None, "in_doubt")]
    assert collect(frozen(), results)[0].status == "open"
    assert next_step(frozen(), results) is None


def test_runs_of_others_never_count() -> None:
    foreign = [run(1, "a", 5.0, hypothesis="H9"), run(1, "b", 99.0, hypothesis="H9")]
    assert collect(frozen(), foreign) == ()
    with pytest.raises(ValueError, match="does not have"):
        collect(frozen(), [run(1, "q", 5.0)])
    with pytest.raises(ValueError, match="same arm"):
        collect(frozen(), [run(1, "a", 5.0), run(1, "a", 6.0)])


def test_losing_too_many_blocks_ends_the_test() -> None:
    lost = [Block(number=i, status="dropped", reason="e1 ended failed") for i in (1, 2)]
    void = update(frozen(), lost)
    assert void.verdict == "void" and "e1 ended failed" in void.reason
    some = [Block(number=0, status="complete", statistic=0.1), *lost]
    assert update(frozen(), some).verdict is None
    more = [*some, *(Block(number=i, status="dropped", reason="e9 ended failed") for i in (3, 4))]
    assert update(frozen(), more).verdict == "inconclusive"


def test_the_cap_ends_the_test() -> None:
    body = frozen(cap_blocks=3)
    assert update(body, blocks([0.5, 2.0])).verdict is None
    assert update(body, blocks([0.5, 2.0, 1.0])).verdict == "inconclusive"


def test_noise_alone_becomes_futile_before_the_cap() -> None:
    rng = np.random.default_rng(1)
    ended = [update(frozen(), blocks(rng.normal(size=12).tolist())) for _ in range(50)]
    assert {a.verdict for a in ended} <= {"inconclusive", "supported", "refuted"}
    assert float(np.median([len(a.trail) for a in ended])) <= 6


def test_a_strong_effect_is_never_called_futile() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        assessment = update(frozen(), blocks(rng.normal(3.0, 1.0, size=4).tolist()))
        assert assessment.latest is not None
        assert assessment.verdict is not None or not is_futile(frozen(), assessment.latest)


def test_an_ended_campaign_leaves_no_open_test() -> None:
    assert update(frozen(), blocks([0.5]), ended="the budget is spent").verdict == "inconclusive"
    assert update(frozen(), (), ended="the budget is spent").verdict == "void"


def test_changed_analysis_code_voids_the_test() -> None:
    changed = frozen().model_copy(update={"analysis_hash": "0" * 64})
    assessment = update(changed, blocks(LARGE))
    assert assessment.verdict == "void" and "analysis code" in assessment.reason


def test_riders_end_with_a_carrier_that_found_nothing_and_go_on_with_one_that_did() -> None:
    one, two = frozen(group=GROUP, cap_blocks=3), frozen("H2", NOTHING, position=2, group=GROUP, cap_blocks=12)
    found = assess([one, two], runs([0.5, 2.0, 1.0, 0.7]))
    assert found["H1"].verdict == found["H2"].verdict == "inconclusive" and len(found["H2"].trail) == 3
    assert "H1" in found["H2"].reason
    strong = assess([frozen(group=GROUP), two], runs(LARGE[:4]))
    assert strong["H1"].verdict == "supported"
    with pytest.raises(ValueError, match="not registered to share"):
        assess([frozen(), two], [])


WIDE = Problem([Continuous(name, 0.0, 1.0) for name in "abc"], [Objective("y", "maximize", unit="g")])
THREE = ("H1", "H2", "H3")


def screening(**changes: Any) -> list[RegistrationBody]:
    """Three claims about three parameters, registered on the same four runs a block."""
    spans = {name: Span(parameter=name, low=0.0, high=1.0) for name in "abc"}
    claims = [
        Effect(
            outcome="y",
            parameter=name,
            low=0.0,
            high=1.0,
            direction="increases",
            across=tuple(span for other, span in spans.items() if other != name),
        )
        for name in spans
    ]
    fields: dict[str, Any] = {"seed": 3, "prior": 0.7, "proposer": "statistical", "ends_by_itself": True, **changes}
    base = {"a": 0.5, "b": 0.5, "c": 0.5}
    return [
        register(name, claim, WIDE, base, position=i, group=THREE, **fields)
        for i, (name, claim) in enumerate(zip(THREE, claims, strict=True), 1)
    ]


def factorial(group: list[RegistrationBody], count: int, slopes: tuple[float, float, float], seed: int = 4) -> Any:
    """Completed runs of `count` blocks on a linear response with noise of one."""
    rng = np.random.default_rng(seed)
    design = group[0].design
    return [
        run(i, arm, sum(s * float(design.values(arm)[n]) for s, n in zip(slopes, "abc", strict=True)) + rng.normal())
        for i in range(1, count + 1)
        for arm in design.arms
    ]


def test_claims_about_different_parameters_end_each_by_itself() -> None:
    group = screening()
    results = factorial(group, 12, (0.0, 12.0, -12.0))
    found = assess(group, results)
    ended = {name: (item.verdict, len(item.trail)) for name, item in found.items()}
    assert ended["H2"][0] == "supported" and ended["H3"][0] == "refuted"
    assert ended["H1"][0] == "inconclusive" and ended["H1"][1] >= 4


def test_what_becomes_of_one_parameter_does_not_end_another() -> None:
    outlived = 0
    for seed in range(20):
        results = factorial(screening(), 12, (0.0, 1.3, -12.0), seed)
        found = assess(screening(), results)
        assert found == {body.hypothesis: update(body, collect(body, results)) for body in screening()}
        rivals = assess(screening(ends_by_itself=False), results)
        if found["H1"].verdict == "inconclusive":
            outlived += len(found["H2"].trail) > len(found["H1"].trail)
            assert len(rivals["H2"].trail) <= len(rivals["H1"].trail), "rivals end with their carrier"
    assert outlived >= 3


def test_a_block_of_four_arms_carries_what_its_other_contrasts_say() -> None:
    group = screening()
    results = factorial(group, 3, (1.0, 2.0, 3.0))
    blocks = collect(group[0], results)
    assert [len(b.residuals) for b in blocks] == [2, 2, 2]
    others = [collect(body, results) for body in group[1:]]
    for i, block in enumerate(blocks):
        squares = block.statistic**2 + sum(r * r for r in block.residuals)  # type: ignore[operator]
        for other in others:
            assert other[i].statistic ** 2 + sum(r * r for r in other[i].residuals) == pytest.approx(squares)  # type: ignore[operator]
    trail = update(group[0], blocks).trail
    assert trail[-1].evidence.sd is not None
    unpooled = update(group[0], [b.model_copy(update={"residuals": ()}) for b in blocks]).trail
    assert unpooled[-1].evidence.sd != pytest.approx(trail[-1].evidence.sd)


def test_futility_of_four_arms_knows_the_noise_better() -> None:
    body = screening()[0]
    rng = np.random.default_rng(5)

    def end(slope: float) -> Any:
        draws = [{arm: float(rng.normal()) for arm in body.design.arms} for _ in range(12)]
        size = {arm: slope * (body.design.values(arm)["a"] == 1.0) for arm in body.design.arms}
        made = [complete_block(body, i, {a: y + size[a] for a, y in d.items()}) for i, d in enumerate(draws, 1)]
        return update(body, made)

    idle = [end(0.0) for _ in range(60)]
    assert float(np.median([len(a.trail) for a in idle])) <= 6
    assert sum(end(2.0).verdict == "supported" for _ in range(60)) >= 54


def test_steps_lead_through_blocks_in_the_registered_order() -> None:
    body = frozen()
    results: list[RunResult] = []
    for block in (1, 2, 3):
        for arm in body.design.order(body.seed, block):
            step = next_step(body, results)
            assert step is not None and (step.block, step.arm) == (block, arm)
            assert step.values == body.design.values(arm)
            results.append(run(block, arm, None, "running"))
        assert next_step(body, results) is None
        results = [r.model_copy(update={"state": "completed", "outcomes": {"y": 1.0, "z": 0.0}}) for r in results]
