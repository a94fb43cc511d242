from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from athanor.agents.hypotheses.claims import Effect
from athanor.agents.reasoners.drafts import shrunk
from athanor.agents.reasoners.picture import Change
from athanor.agents.reasoners.protocol import Remaining, Seen, Situation
from athanor.agents.reasoners.screening import is_decided, screened, screening_question
from athanor.planners.problem import Categorical, Continuous, Objective, Problem

PROBLEM = Problem(
    [Continuous("a", 10.0, 30.0), Continuous("b", 1.0, 100.0, log=True), Categorical("s", ["A", "B"])],
    [Objective("y", "maximize")],
)
SOLVENT = Change(outcome="y", parameter="s", low="A", high="B", change=0.1, sd=2.0, importance=0.1)


def changes(sd: float = 5.0) -> tuple[Change, ...]:
    """What a surrogate says that has learned nothing, or with a small sd something."""
    spans = (("a", 10.0, 30.0), ("b", 1.0, 100.0))
    told = (Change(outcome="y", parameter=p, low=a, high=b, change=1.0, sd=sd, importance=0.4) for p, a, b in spans)
    return (*told, SOLVENT)


def runs(count: int, slope: float = 6.0, noise: float = 0.5) -> list[Seen]:
    rng = np.random.default_rng(4)
    made = []
    for i in range(count):
        u, v = rng.random(2)
        values = {"a": 10.0 + 20.0 * u, "b": 100.0**v, "s": "AB"[i % 2]}
        y = slope * u + float(noise * rng.normal())
        made.append(Seen(id=f"o{i}", values=values, outcomes={"y": y}))
    return made


def test_main_effects_speak_where_the_surrogate_decides_nothing() -> None:
    a, b, solvent = screened(changes(), PROBLEM, runs(12))
    assert a.change == pytest.approx(6.0, abs=3.0 * a.sd) and is_decided(a) and a.source == "a fit of main effects"
    assert b.change == pytest.approx(0.0, abs=3.0 * b.sd) and a.importance > 0.8 and solvent == SOLVENT


def test_levels_that_fall_turn_the_change_round() -> None:
    falling = changes()[0].model_copy(update={"low": 20.0, "high": 10.0})
    [a] = screened([falling], PROBLEM, runs(12))
    assert a.change == pytest.approx(-3.0, abs=3.0 * a.sd) and (a.low, a.high) == (20.0, 10.0)


def test_the_surrogate_speaks_where_it_decides_something() -> None:
    assert screened(changes(sd=0.1), PROBLEM, runs(12)) == changes(sd=0.1)


def asked(base: dict[str, float | str], failed: tuple[Seen, ...] = (), left: int | None = 28) -> Situation:
    return Situation(
        campaign_id="c",
        ordinal=1,
        question="?",
        problem=PROBLEM.model_dump(mode="json"),
        base_point=base,
        observations=(*runs(12), *failed),
        remaining=Remaining(confirmatory=left),
    )


def parameters(situation: Situation, found: Sequence[Change], limit: int = 3) -> list[tuple[str, str]]:
    claims = [draft.claim for draft in screening_question(found, situation, PROBLEM, ("o1",), limit)]
    assert all(isinstance(claim, Effect) for claim in claims)
    return [(claim.parameter, claim.direction) for claim in claims if isinstance(claim, Effect)]


BASE: dict[str, float | str] = {"a": 20.0, "b": 10.0, "s": "A"}


def test_several_parameters_are_asked_about_in_their_likelier_directions() -> None:
    a, b, solvent = changes()
    down = b.model_copy(update={"change": -2.0})
    assert parameters(asked(BASE), (a, down, solvent)) == [("a", "increases"), ("b", "decreases")]
    drafts = screening_question((a, down), asked(BASE), PROBLEM, ("o1",), 3)
    assert [d.prior for d in drafts] == [shrunk(a.probability_up), shrunk(1.0 - down.probability_up)]
    other = b.model_copy(update={"outcome": "z"})
    for alone in ((a,), (a, solvent), (solvent, a, b), (a, other), ()):
        assert parameters(asked(BASE), alone) == []
    assert parameters(asked(BASE), (a, b), limit=1) == []
    assert parameters(asked(BASE, left=19), (a, b)) == [] and len(parameters(asked(BASE, left=20), (a, b))) == 2


def test_a_change_known_to_four_standard_deviations_is_asked_about_by_itself() -> None:
    assert len(parameters(asked(BASE), changes(sd=0.26))) == 2
    assert parameters(asked(BASE), changes(sd=0.25)) == [] and parameters(asked(BASE), changes(sd=0.0)) == []


def test_corners_that_cannot_be_run_or_lie_next_to_a_failure_are_not_asked_for() -> None:
    hot = Seen(id="f", values={"a": 29.9, "b": 99.0, "s": "A"}, status="failed")
    assert parameters(asked(BASE, (hot,)), changes()) == []
    inside = Seen(id="f", values={"a": 20.0, "b": 10.0, "s": "B"}, status="failed")
    corners = tuple(
        Seen(id=f"c{i}", values={"a": a, "b": b, "s": "A"}, outcomes={"y": 1.0})
        for i, (a, b) in enumerate([(10.0, 1.0), (10.0, 100.0), (30.0, 1.0), (30.0, 100.0)])
    )
    assert len(parameters(asked(BASE, (inside, *corners)), changes())) == 2
    assert parameters(asked({"a": 20.0, "b": 10.0}), changes()) == []


@pytest.mark.parametrize("seen", [runs(7), runs(12, slope=0.0), [runs(1)[0]] * 12], ids=["few", "flat", "one point"])
def test_a_fit_that_decides_nothing_changes_nothing(seen: list[Seen]) -> None:
    assert screened(changes(), PROBLEM, seen) == changes()
