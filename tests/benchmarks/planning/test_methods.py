"""Methods by name, their versions, and that each takes the problems it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.planning import methods
from benchmarks.planning.instances import Posed, pose
from benchmarks.planning.methods import Arm, cannot, digest, is_there, make, version


def test_a_name_is_taken_apart() -> None:
    assert Arm.parse("optuna-gp") == Arm("optuna-gp", None, 1)
    assert Arm.parse("athanor+good@8") == Arm("athanor", "good", 8)
    for wrong in ("nobody", "athanor@0", "athanor+", ""):
        with pytest.raises(KeyError, match="optuna-tpe"):
            Arm.parse(wrong)
    with pytest.raises(KeyError, match="only athanor takes advice"):
        Arm.parse("ax+good")


def test_a_version_changes_with_every_source_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one")
    found = [digest(tmp_path)]
    (tmp_path / "notes.txt").write_text("of no account")
    assert digest(tmp_path) == found[0]
    (tmp_path / "b.py").write_text("")
    found.append(digest(tmp_path))
    (tmp_path / "a.py").write_text("two")
    found.append(digest(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    found.append(digest(tmp_path))
    assert len(set(found)) == 4
    assert version("athanor") == version("sobol") == version("athanor+good@8")
    assert version("athanor").endswith(digest(Path(methods.__file__).parents[2] / "planners"))


def test_what_a_peer_cannot_be_given_is_said() -> None:
    assert cannot("baybe", pose("gramacy", 0).problem) == "knows no outcome constraints"
    assert "1,874,451,456" in str(cannot("baybe", pose("zdt5", 0).problem))
    assert cannot("baybe", pose("mixed5", 0).problem) is cannot("ax", pose("zdt5", 0).problem) is None


def take_part(method: str, posed: Posed) -> None:
    """Three suggestions, two of them at the same time, after one result that was not asked for."""
    planner = make(method, posed.problem, 0, 4)
    known = posed.problem.validate_point(posed.problem.from_unit([0.3] * len(posed.problem.parameters)))
    planner.learn(known, posed.outcomes(known, 1))
    asked = [planner.ask(), planner.ask()]
    for number, one in enumerate(reversed(asked), start=2):
        values = posed.problem.validate_point(one.values)
        planner.tell(one, posed.outcomes(values, number))
    posed.problem.validate_point(planner.ask().values)


@pytest.mark.parametrize("problem", ["mixed5", "pressure-vessel", "zdt5", "snar"])
@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_every_method_that_is_installed_takes_every_kind_of_problem(method: str, problem: str) -> None:
    if not is_there(method):
        pytest.skip(f"{method} is not installed here: make bench-peers")
    posed = pose(problem, 0)
    if cannot(method, posed.problem) is None:
        take_part(method, posed)


def test_the_same_seed_asks_for_the_same_points() -> None:
    posed = pose("gramacy", 1)
    found = []
    for _ in range(2):
        planner = make("athanor", posed.problem, 5, 6)
        asked = []
        for number in range(1, 7):
            one = planner.ask()
            asked.append(one.values)
            planner.tell(one, posed.outcomes(one.values, number))
        found.append(asked)
    assert found[0] == found[1]
    assert np.ptp([float(values["x1"]) for values in found[0]]) > 0.1
