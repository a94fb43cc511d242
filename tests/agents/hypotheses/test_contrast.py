from __future__ import annotations

import math
from collections import Counter
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.agents.hypotheses.claims import (
    Effect,
    Interaction,
    InvalidClaim,
    Irrelevance,
    Range,
    Region,
    Span,
    Threshold,
)
from athanor.agents.hypotheses.contrast import BlockDesign, compile_claim
from athanor.planners.problem import Continuous, Integer, LinearConstraint, Objective, Problem

PROBLEM = Problem(
    [Continuous("a", 0.0, 1.0), Continuous("b", 0.0, 1.0), Integer("n", 1, 5)], [Objective("y", "maximize", unit="g")]
)
BASE: dict[str, Any] = {"a": 0.5, "b": 0.25, "n": 3}


def response(design: BlockDesign, f: Any) -> float:
    """The statistic of a noise-free block."""
    return design.statistic({p.arm: f(**p.values) for p in design.points})


def linear(a: float, b: float, n: int) -> float:
    return 10.0 + 4.0 * a - 2.0 * b + 8.0 * a * b + 0.0 * n


def test_effects_are_differences_in_the_claimed_direction() -> None:
    up = Effect(outcome="y", parameter="a", low=0.0, high=1.0, direction="increases", margin=0.5)
    design = compile_claim(up, PROBLEM, BASE)
    assert (design.unit, design.margin, design.sided) == ("g", 0.5, "greater")
    assert response(design, linear) == pytest.approx(4.0 + 8.0 * 0.25)
    down = compile_claim(up.model_copy(update={"direction": "decreases"}), PROBLEM, BASE)
    assert response(down, linear) == pytest.approx(-6.0)
    assert all(p.values["b"] == 0.25 and p.values["n"] == 3 for p in design.points)


def test_averaged_effects_and_interactions_share_their_corners() -> None:
    span = Span(parameter="b", low=0.0, high=1.0)
    main = compile_claim(
        Effect(outcome="y", parameter="a", low=0.0, high=1.0, direction="increases", across=(span,)), PROBLEM, BASE
    )
    assert len(main.points) == 4 and response(main, linear) == pytest.approx(8.0)
    both = compile_claim(
        Interaction(outcome="y", first=Span(parameter="a", low=0.0, high=1.0), second=span, direction="positive"),
        PROBLEM,
        BASE,
    )
    assert response(both, linear) == pytest.approx(8.0)
    assert both.key == main.key and {p.arm: p.values for p in both.points} == {p.arm: p.values for p in main.points}


SPANS = {
    "a": Span(parameter="a", low=0.0, high=1.0),
    "b": Span(parameter="b", low=0.0, high=1.0),
    "n": Span(parameter="n", low=1, high=5),
}


def screening(direction: Literal["increases", "decreases"] = "increases") -> dict[str, BlockDesign]:
    """Claims about three parameters, each averaged over the two others."""
    return {
        name: compile_claim(
            Effect(
                outcome="y",
                parameter=name,
                low=own.low,
                high=own.high,
                direction=direction,
                across=tuple(span for other, span in SPANS.items() if other != name),
            ),
            PROBLEM,
            BASE,
        )
        for name, own in SPANS.items()
    }


def test_three_effects_share_four_runs_and_each_sees_only_its_own() -> None:
    designs = screening()
    assert len({d.key for d in designs.values()}) == 1
    for name, design in designs.items():
        assert len(design.points) == 4 and {abs(p.coefficient) for p in design.points} == {0.5}
        for p in design.points:
            ends = [1.0 if p.values[s.parameter] == s.high else -1.0 for s in SPANS.values()]
            assert ends[0] * ends[1] * ends[2] == 1.0
        slopes = {"a": 4.0, "b": -2.0, "n": 0.5}
        size = float(SPANS[name].high) - float(SPANS[name].low)
        expected = slopes[name] * size
        assert response(design, lambda a, b, n: 3.0 + 4.0 * a - 2.0 * b + 0.5 * n) == pytest.approx(expected)
        assert response(screening("decreases")[name], lambda a, b, n: 4.0 * a - 2.0 * b + 0.5 * n) == pytest.approx(
            -expected
        )


def test_an_interaction_of_the_others_counts_as_part_of_an_effect() -> None:
    """The price of half the runs, as the claim's docstring and statement say."""
    aliased = response(screening()["n"], lambda a, b, n: (2 * a - 1) * (2 * b - 1))
    assert aliased == pytest.approx(2.0)
    assert response(screening()["a"], lambda a, b, n: (2 * a - 1) * (2 * b - 1)) == pytest.approx(0.0)


outcome_lists = st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4)


@given(outcome_lists, st.floats(-1e3, 1e3))
def test_further_contrasts_hold_what_mean_and_statistic_leave(y: list[float], shift: float) -> None:
    span = SPANS["b"]
    both = Interaction(outcome="y", first=SPANS["a"], second=span, direction="positive")
    squares = math.fsum((v - math.fsum(y) / 4) ** 2 for v in y)
    for design in (*screening().values(), compile_claim(both, PROBLEM, BASE)):
        size = math.fsum(p.coefficient**2 for p in design.points)
        outcomes = dict(zip(design.arms, y, strict=True))
        rest = design.residuals(outcomes)
        assert len(rest) == 2
        total = design.statistic(outcomes) ** 2 + math.fsum(r * r for r in rest)
        assert total == pytest.approx(size * squares, rel=1e-9, abs=1e-6)
        moved = design.residuals({arm: v + shift for arm, v in outcomes.items()})
        assert moved == pytest.approx(rest, abs=1e-9 * (1.0 + abs(shift) + max(map(abs, y))) * 10)
        # Adding to the outcomes along the claim's own contrast moves the statistic and nothing else.
        along = {p.arm: outcomes[p.arm] + shift * p.coefficient for p in design.points}
        assert design.residuals(along) == pytest.approx(rest, abs=1e-6)


def test_a_pair_has_no_further_contrasts_and_arms_may_not_be_missing() -> None:
    pair = compile_claim(Effect(outcome="y", parameter="a", low=0.0, high=1.0, direction="increases"), PROBLEM, BASE)
    assert pair.residuals({"a": 1.0, "b": 2.0}) == ()
    with pytest.raises(KeyError):
        screening()["a"].residuals({"a": 1.0})


def test_irrelevance_thresholds_and_regions() -> None:
    nothing = compile_claim(Irrelevance(outcome="y", parameter="n", low=1, high=5, margin=0.1), PROBLEM, BASE)
    assert nothing.sided == "within" and response(nothing, linear) == 0.0
    step = compile_claim(
        Threshold(outcome="y", parameter="b", threshold=0.5, below=0.25, above=0.75, direction="decreases"),
        PROBLEM,
        BASE,
    )
    assert response(step, linear) == pytest.approx(2.0 * 0.5 - 8.0 * 0.5 * 0.5)
    region = compile_claim(
        Region(
            outcome="y",
            box={"a": Range(low=0.4, high=0.6)},
            inside=BASE,
            outside={**BASE, "a": 1.0},
            better="lower",
        ),
        PROBLEM,
        BASE,
    )
    assert response(region, linear) == pytest.approx(0.5 * 6.0)


def test_designs_with_the_same_points_have_the_same_key_arms_and_order() -> None:
    up = Effect(outcome="y", parameter="a", low=0.0, high=1.0, direction="increases")
    swapped = Effect(outcome="y", parameter="a", low=1.0, high=0.0, direction="decreases")
    nothing = Irrelevance(outcome="y", parameter="a", low=0.0, high=1.0, margin=1.0)
    first, *others = (compile_claim(c, PROBLEM, BASE) for c in (up, swapped, nothing))
    for other in others:
        assert other.key == first.key
        assert [other.values(arm) for arm in other.arms] == [first.values(arm) for arm in first.arms]
        assert [other.order(3, block) for block in range(9)] == [first.order(3, block) for block in range(9)]
    moved = compile_claim(up, PROBLEM, {**BASE, "b": 0.3})
    assert moved.key != first.key


def test_the_order_within_blocks_is_balanced_and_comes_from_the_seed() -> None:
    design = compile_claim(Effect(outcome="y", parameter="a", low=0.0, high=1.0, direction="increases"), PROBLEM, BASE)
    firsts = Counter(design.order(7, block)[0] for block in range(400))
    assert 150 < firsts["a"] < 250
    assert [design.order(7, i) for i in range(20)] == [design.order(7, i) for i in range(20)]
    assert [design.order(7, i) for i in range(20)] != [design.order(8, i) for i in range(20)]


def test_points_outside_the_problem_are_refused() -> None:
    claim = Effect(outcome="y", parameter="a", low=0.0, high=1.0, direction="increases")
    mixture = Problem(
        [Continuous("a", 0.0, 1.0), Continuous("b", 0.0, 1.0)],
        [Objective("y", "maximize")],
        [LinearConstraint({"a": 1.0, "b": 1.0}, equals=1.0)],
    )
    with pytest.raises(InvalidClaim, match="does not fit the problem"):
        compile_claim(claim, mixture, {"a": 0.5, "b": 0.5})
    with pytest.raises(InvalidClaim, match="missing"):
        compile_claim(claim, PROBLEM, {"a": 0.5})


def test_a_design_survives_json_and_refuses_missing_or_strange_outcomes() -> None:
    design = compile_claim(Effect(outcome="y", parameter="a", low=0.0, high=1.0, direction="increases"), PROBLEM, BASE)
    assert BlockDesign.model_validate_json(design.model_dump_json()) == design
    with pytest.raises(KeyError):
        design.statistic({"a": 1.0})
    with pytest.raises(ValueError, match="not finite"):
        design.statistic({"a": 1.0, "b": float("nan")})
    with pytest.raises(KeyError):
        design.values("z")
