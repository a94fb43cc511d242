from __future__ import annotations

import numpy as np
import pytest

from athanor.agents.reasoners.picture import Change
from athanor.agents.reasoners.protocol import Seen
from athanor.agents.reasoners.screening import is_decided, screened
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


@pytest.mark.parametrize("seen", [runs(7), runs(12, slope=0.0), [runs(1)[0]] * 12], ids=["few", "flat", "one point"])
def test_a_fit_that_decides_nothing_changes_nothing(seen: list[Seen]) -> None:
    assert screened(changes(), PROBLEM, seen) == changes()
