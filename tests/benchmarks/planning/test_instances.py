"""Every problem is found by its name, and a change of a problem changes its fingerprint."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.planning.framed import frame
from benchmarks.planning.instances import NAMES, fingerprint, pose
from benchmarks.planning.several import SEVERAL


@pytest.mark.parametrize("name", NAMES)
def test_a_problem_gives_the_outcomes_it_names(name: str) -> None:
    posed = pose(name, 2)
    values = posed.problem.from_unit([0.4] * len(posed.problem.parameters))
    truths = posed.truths(values)
    assert tuple(truths) == posed.problem.outcomes == tuple(posed.outcomes(values, 1))
    losses = posed.losses({outcome: [value] * 3 for outcome, value in truths.items()})
    assert losses.shape == (3,) and losses[0] == losses[2] >= 0.0 and posed.budget >= 40


def test_a_fingerprint_tells_problems_seeds_and_functions_apart() -> None:
    posed = pose("zdt1", 1)
    assert fingerprint(posed) == fingerprint(pose("zdt1", 1))
    changed = replace(SEVERAL["zdt1"], function=lambda x: {"f1": 0.0, "f2": 0.0})
    others = [fingerprint(pose("zdt1", 2)), fingerprint(pose("zdt2", 1)), fingerprint(frame(changed, 1))]
    assert len({fingerprint(posed), *others}) == 4


def test_an_unknown_problem_names_those_there_are() -> None:
    with pytest.raises(KeyError, match="speed-reducer"):
        pose("speed-reduser", 0)
