"""The sources of the benchmark are what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import transfer
from benchmarks.planning.problems import instance

FOUND = instance("branin", 3)


def agreement(kind: str) -> float:
    """The correlation of a source's outcomes with the truth at its points."""
    points = transfer.source(FOUND, kind, 3).points
    told = [point.outcomes["y"].mean for point in points]
    return float(np.corrcoef(told, [FOUND.truth(point.values) for point in points])[0, 1])


@pytest.mark.parametrize("kind", transfer.RELATED[:3])
def test_related_sources_agree(kind: str) -> None:
    assert agreement(kind) > 0.9


@pytest.mark.parametrize("kind", ["unrelated", "noise"])
def test_unrelated_sources_do_not(kind: str) -> None:
    assert abs(agreement(kind)) < 0.6


def test_the_negated_one_is_upside_down() -> None:
    assert agreement("negated") == pytest.approx(-1.0)


def test_the_shifted_one_has_its_optimum_elsewhere_and_the_trap_far_away() -> None:
    truth = [FOUND.truth(point.values) for point in transfer.source(FOUND, "identical", 3).points]
    rng = np.random.default_rng(0)
    best = transfer._best(FOUND)
    outcome = {
        kind: transfer._function(FOUND, kind, float(np.std(truth)), rng, np.array(truth))
        for kind in ("shifted", "trap")
    }
    grid = [FOUND.problem.from_unit([a, b]) for a in np.linspace(0, 1, 41) for b in np.linspace(0, 1, 41)]
    far = {
        kind: float(np.abs(np.array(FOUND.problem.to_unit(min(grid, key=function))) - best).max())
        for kind, function in outcome.items()
    }
    assert far["trap"] > 0.3
    assert outcome["trap"](FOUND.problem.from_unit(best.tolist())) > 0.9 * np.median(truth)
    assert FOUND.regret(min(grid, key=outcome["shifted"])) > transfer.target_of("branin", FOUND)


def test_the_best_is_an_optimum() -> None:
    for seed in range(5):
        found = instance("hartmann6", seed)
        assert found.regret(found.problem.from_unit(transfer._best(found).tolist())) == pytest.approx(0.0, abs=1e-4)


def test_what_was_never_reached_counts_as_one_more_than_the_budget() -> None:
    assert transfer.reached([3.0, 1.0, 0.5], 1.0, 40) == 2
    assert transfer.reached([3.0] * 40, 1.0, 40) == 41


def test_a_campaign_ends_at_its_target() -> None:
    run = transfer.run("branin", "identical", 3, target=1e9, budget=5)
    assert len(run["regrets"]) == 1
