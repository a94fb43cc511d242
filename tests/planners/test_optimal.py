"""D-optimal designs within linear constraints: candidates, coefficients and determinants against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from athanor.planners import (
    Categorical,
    Continuous,
    DesignImpossible,
    Integer,
    LinearConstraint,
    Objective,
    Ordinal,
    Problem,
)
from athanor.planners.design_options import Model, coefficients
from athanor.planners.fractions import _Search, fraction
from athanor.planners.optimal import LinearModel, Optimal, d_efficiency, d_optimal
from athanor.planners.problem import Value
from athanor.planners.space import InfeasibleSpace

GOAL = [Objective("f", "maximize")]


def category(name: str, m: int) -> Categorical:
    return Categorical(name, [f"{name}{i}" for i in range(m)])


def unit(name: str) -> Continuous:
    return Continuous(name, 0, 1)


# -- fractions --------------------------------------------------------------------------------------------------------


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
