"""Good advice points at the optimum; wrong, adversarial and permuted advice points elsewhere, each in its way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from athanor.planners import BayesianPlanner
from athanor.planners.problem import Categorical
from benchmarks.planning.advised import KINDS, MISS, WIDTH, advice, decoy
from benchmarks.planning.problems import TASKS, instance


def gap(name: str, kind: str, seed: int) -> float:
    """Root mean square distance of the advised point from the optimum, over continuous axes in shares of ranges."""
    posed = instance(name, seed)
    [item] = advice(kind, posed)
    assert item.center is not None
    here, best = (np.array(posed.problem.to_unit(values)) for values in (item.center, posed.best))
    kept = [not isinstance(p, Categorical) for p in posed.problem.parameters]
    return float(np.sqrt(np.square(here - best)[kept].mean()))


@pytest.mark.parametrize("name", sorted(TASKS))
def test_only_good_advice_points_at_the_optimum(name: str) -> None:
    gaps = {kind: [gap(name, kind, seed) for seed in range(20)] for kind in KINDS}
    assert np.mean(gaps["good"]) < 1.2 * MISS
    assert gaps["wrong"] == pytest.approx([0.5] * 20)
    assert np.mean(gaps["adversarial"]) > 1.5 * WIDTH
    # On the other four the optimum lies at the same place of every axis, up to shifts and turns.
    apart = 1.5 if name in ("branin", "hartmann6", "noisy-hartmann6", "mixed5") else 0.75
    assert np.mean(gaps["permuted"]) > apart * WIDTH


def test_a_decoy_is_good_and_far() -> None:
    posed = instance("hartmann6", 4)
    [item] = advice("adversarial", posed)
    assert item.center is not None
    rng = np.random.default_rng(0)
    others = [posed.truth(posed.problem.from_unit(row)) for row in rng.random((400, 6)).tolist()]
    assert posed.truth(item.center) < np.quantile(others, 0.35)
    points = [posed.problem.from_unit([u] * 6) for u in (0.3, 0.1, 0.9, 0.95)]
    assert decoy(posed.problem, points, posed.problem.from_unit([0.2] * 6), 0.75) == points[2]
    ideal = posed.problem.to_unit(posed.best)
    assert math.dist(posed.problem.to_unit(item.center), ideal) > 0.5


def test_permuted_advice_is_good_advice_under_other_labels() -> None:
    posed = instance("mixed5", 1)
    [good], [permuted] = advice("good", posed), advice("permuted", posed)
    assert good.center is not None and permuted.center is not None
    shares = [posed.problem.to_unit(item.center) for item in (good, permuted)]
    assert sorted(shares[0][:3]) == pytest.approx(sorted(shares[1][:3])) and shares[0][:3] != shares[1][:3]
    assert {k: good.center[k] for k in ("c1", "c2")} == {k: permuted.center[k] for k in ("c1", "c2")}


def test_wrong_advice_names_other_options_and_every_kind_is_taken_by_the_planner() -> None:
    posed = instance("mixed5", 2)
    [wrong] = advice("wrong", posed)
    assert wrong.center is not None and all(wrong.center[c] != posed.best[c] for c in ("c1", "c2"))
    for kind in KINDS:
        planner = BayesianPlanner(posed.problem, 0)
        planner.advise(advice(kind, posed))
        assert planner.advice[0].id == kind
    with pytest.raises(KeyError, match="adversarial"):
        advice("bad", posed)
