from __future__ import annotations

import itertools

import numpy as np
import pytest

from athanor.planners import (
    Categorical,
    Continuous,
    DesignImpossible,
    Ordinal,
    Problem,
)
from athanor.planners.fractions import _Search, fraction

from .designs import GOAL, cube, planner

# Box, Hunter and Hunter, Statistics for Experimenters, table of two-level fractions by factors and runs.
RESOLUTIONS = {
    **{(3, 4): 3, (4, 8): 4, (5, 8): 3, (6, 8): 3, (7, 8): 3, (5, 16): 5, (6, 16): 4, (7, 16): 4, (8, 16): 4},
    **{(n, 16): 3 for n in range(9, 16)},
    **{(6, 32): 6, (7, 32): 4, (8, 32): 4, (9, 32): 4, (10, 32): 4, (11, 32): 4},
    **{(7, 64): 7, (8, 64): 5, (9, 64): 4, (10, 64): 4, (11, 64): 4},
    **{(8, 128): 8, (9, 128): 6, (10, 128): 5, (11, 128): 5},
}


@pytest.mark.parametrize(("factors", "runs"), RESOLUTIONS)
def test_fractions_are_orthogonal_and_of_the_textbooks_resolution(factors: int, runs: int) -> None:
    found = fraction(factors, runs.bit_length() - 1)
    assert found.resolution == RESOLUTIONS[factors, runs]
    signs = found.signs()
    assert signs.shape == (runs, factors)
    assert len(np.unique(signs, axis=0)) == runs
    x = np.hstack([np.ones((runs, 1), dtype=int), signs])
    assert (x.T @ x == runs * np.eye(factors + 1)).all()
    # The resolution is the length of the shortest product of columns that is constant.
    for length in range(1, min(found.resolution, 4) + 1):
        words = [
            w for w in itertools.combinations(range(factors), length) if abs(signs[:, w].prod(axis=1).sum()) == runs
        ]
        assert bool(words) == (length == found.resolution)
        assert words == list(found.words(length))


@pytest.mark.parametrize(
    ("factors", "runs", "shortest"), [(7, 32, 1), (8, 32, 3), (9, 32, 6), (9, 16, 4), (8, 64, 2), (10, 64, 2)]
)
def test_fractions_have_as_few_shortest_words_as_the_tables_have(factors: int, runs: int, shortest: int) -> None:
    found = fraction(factors, runs.bit_length() - 1)
    assert len(list(found.words(found.resolution))) == shortest


def test_a_fraction_states_its_generators_resolution_and_aliases() -> None:
    [candidate] = planner(cube(4), "fractional-factorial", runs=8).suggest(1)
    assert "2^(4-1)" in candidate.why.detail
    assert "Resolution IV: main effects clear of two-factor interactions" in candidate.why.detail
    assert "Its generators: D = A·B·C." in candidate.why.detail
    assert "A·B with C·D" in candidate.why.detail
    [candidate] = planner(cube(5), "fractional-factorial", runs=8).suggest(1)
    assert "A with B·D" in candidate.why.detail
    [candidate] = planner(cube(5), "fractional-factorial").suggest(1)
    assert "Run 1 of 16" in candidate.why.detail
    assert "main effects and two-factor interactions clear of each other" in candidate.why.detail


def test_a_fraction_varies_two_ends_of_what_is_listed() -> None:
    problem = Problem([Continuous("x", 1, 9), Ordinal("d", [1, 2, 5]), Categorical("s", ["a", "b"])], GOAL)
    points = planner(problem, "fractional-factorial").points
    assert {tuple(p.values()) for p in points} == {(1.0, 1, "b"), (9.0, 5, "b"), (9.0, 1, "a"), (1.0, 5, "a")}


@pytest.mark.parametrize(("factors", "runs"), [(3, 3), (7, 4), (4, 16), (5, 32), (8, 8)])
def test_impossible_fractions_are_refused(factors: int, runs: int) -> None:
    with pytest.raises(DesignImpossible, match="runs"):
        planner(cube(factors), "fractional-factorial", runs=runs)
    with pytest.raises(ValueError, match="no fraction"):
        fraction(3, 3)


def test_a_fraction_claims_no_more_aliases_than_it_has() -> None:
    found = fraction(7, 5)  # a single word of four letters: 3 of the 21 interactions have a partner
    assert len(list(found.words(4))) == 1
    assert "clear of two-factor interactions, some of which are aliased with each other" in found.describe()
    assert "some of them aliased with two-factor interactions" in fraction(5, 3).describe()
    assert "some" not in fraction(5, 4).describe()


def test_no_resolution_is_tried_that_a_word_cannot_have(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    run = _Search.run

    def spied(search: _Search) -> tuple[int, ...] | None:
        tried.append(search.resolution)
        return run(search)

    monkeypatch.setattr(_Search, "run", spied)
    fraction.cache_clear()
    assert fraction(15, 4).resolution == 3
    assert max(tried) == 5
