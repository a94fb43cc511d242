"""The problems planners are compared on: nothing is better than the optimum they state, and no place is special."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from athanor.planners.problem import Value
from benchmarks.planning.problems import MARGIN, SHIFT, TASKS, VARIANTS, Instance, Task, instance

SEEDS = st.integers(0, 10_000)
NAMES = st.sampled_from(sorted(TASKS))


def best_combination(task: Task) -> tuple[float, ...]:
    """The options that are best at the first minimiser."""
    at = task.minimisers[0]
    return min(itertools.product(*task.levels), key=lambda found: task.function(np.concatenate([at, found])))


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_known_minimisers_are_minima_of_the_stated_value(name: str) -> None:
    task = TASKS[name]
    options = best_combination(task)
    for at in task.minimisers:
        found = minimize(lambda x: task.function(np.concatenate([x, options])), at, method="BFGS")
        assert found.fun == pytest.approx(task.optimum, abs=2e-6)
        assert np.abs(found.x - at).max() < 1e-3 * float((task.box[1] - task.box[0]).max())


@pytest.mark.parametrize("name", sorted(TASKS))
def test_brute_force_finds_nothing_better_in_any_box_a_seed_may_make(name: str) -> None:
    """Local searches in the box widened by the largest shift, for every combination of options."""
    task = TASKS[name]
    low, high = task.box
    reach = SHIFT * (high - low)
    rng = np.random.default_rng(1)
    starts = rng.uniform(low - reach, high + reach, (4_000, len(low)))
    least = np.inf
    for options in itertools.product(*task.levels):
        values = np.array([task.function(np.concatenate([x, options])) for x in starts])
        for x in starts[np.argsort(values)[:12]]:
            found = minimize(
                lambda at, options=options: task.function(np.concatenate([at, options])), x, method="L-BFGS-B"
            )
            least = min(least, float(found.fun))
    assert least >= task.optimum - 2e-6
    if name not in ("ackley4", "levy5", "griewank5"):  # with dents by the thousand, where local searches end
        assert least == pytest.approx(task.optimum, abs=1e-4)


@given(NAMES, SEEDS)
def test_a_minimiser_stays_inside_off_every_face_wherever_the_box_goes(name: str, seed: int) -> None:
    found = instance(name, seed)
    task = found.task
    numbers = found.problem.parameters[: len(task.box[0])]
    low, high = np.array([[p.low, p.high] for p in numbers]).T  # type: ignore[union-attr]
    inside = [outside(found, at) for at in task.minimisers]
    held = [
        np.all((at >= low + (MARGIN - 1e-9) * (high - low)) & (at <= high - (MARGIN - 1e-9) * (high - low)))
        for at in inside
    ]
    assert any(held)
    values = dict(zip([p.name for p in numbers], map(float, inside[held.index(True)]), strict=True))
    options = best_combination(task)
    values |= {
        p.name: f"option {levels.index(level)}"
        for p, levels, level in zip(found.problem.parameters[len(low) :], task.levels, options, strict=True)
    }
    assert found.regret(found.problem.validate_point(values)) == pytest.approx(0.0, abs=1e-4)


def outside(found: Instance, at: np.ndarray) -> np.ndarray:
    """Where a point of the function lies in the box of an instance."""
    return (at - found._offset) / found._sign


@given(NAMES, SEEDS)
def test_a_seed_makes_one_instance_and_another_seed_another(name: str, seed: int) -> None:
    assert instance(name, seed).problem == instance(name, seed).problem
    assert instance(name, seed).problem != instance(name, seed + 1).problem


def test_axes_are_turned_and_options_shuffled() -> None:
    turned = np.array([instance("hartmann6", seed)._sign for seed in range(200)])
    assert 0.35 < (turned < 0).mean() < 0.65
    orders = {instance("mixed5", seed).problem.parameters[-1].levels for seed in range(50)}  # type: ignore[union-attr]
    assert len(orders) > 10


def test_noise_belongs_to_the_evaluation_and_has_the_stated_size() -> None:
    found = instance("noisy-hartmann6", 3)
    middle: dict[str, Value] = {p.name: p.from_unit(0.5) for p in found.problem.parameters}
    errors = np.array([found.measure(middle, number) - found.truth(middle) for number in range(2_000)])
    assert found.measure(middle, 7) == found.measure(middle, 7)
    assert errors.std() == pytest.approx(found.task.noise, rel=0.1) and abs(errors.mean()) < 0.02
    exact = instance("hartmann6", 3)
    assert exact.measure(middle, 1) == exact.truth(middle)


@given(st.sampled_from(sorted(TASKS | VARIANTS)), SEEDS)
def test_the_best_point_of_an_instance_has_no_regret(name: str, seed: int) -> None:
    found = instance(name, seed)
    best = found.problem.validate_point(found.best)
    assert found.regret(best) == pytest.approx(0.0, abs=2e-4)
    assert found.losses({"y": [found.truth(best) + 2.0, found.truth(best)]}) == pytest.approx([2.0, 0.0], abs=2e-4)


@given(SEEDS, st.randoms(use_true_random=False))
def test_of_a_hundred_axes_the_few_that_matter_are_strewn_about(seed: int, random: Random) -> None:
    found = instance("hartmann6-in-100", seed)
    values = {p.name: p.from_unit(random.random()) for p in found.problem.parameters}
    assert len(values) == 100
    active = {name for name in values if name in found._axes}
    other = {p.name: values[p.name] if p.name in active else p.from_unit(0.5) for p in found.problem.parameters}
    assert len(active) == 6 and found.truth(other) == found.truth(values)
    assert active != set(instance("hartmann6-in-100", seed + 1)._axes)
    plain = instance("hartmann6", seed)
    same = {f"x{i + 1}": values[name] for i, name in enumerate(found._axes)}
    assert plain.truth(same) == found.truth(values)


def test_an_unknown_problem_names_those_there_are() -> None:
    with pytest.raises(KeyError, match="branin"):
        instance("brainin", 0)
