"""Vertices of what linear constraints leave."""

from __future__ import annotations

import numpy as np

from athanor.planners.tied import vertices


def test_vertices_of_a_cut_square() -> None:
    found = vertices(np.array([[1.0, 1.0]]), np.array([-np.inf]), np.array([1.5]))
    assert found is not None
    assert {tuple(row) for row in found.tolist()} == {(0, 0), (1, 0), (0, 1), (1, 0.5), (0.5, 1)}
    assert vertices(np.ones((1, 30)), np.array([1.0]), np.array([1.0])) is None
