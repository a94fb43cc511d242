"""Uniformly random points as a planner. It learns nothing; it is the baseline every planner has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from athanor.planners.problem import Problem
from athanor.planners.protocol import Candidate, Why
from athanor.planners.space import Matrix, Space
from athanor.planners.state import AskTell

if TYPE_CHECKING:
    from athanor.planners.pool import Pool

TRIES = 64
"""Draws made to find a point that is not taken."""
DRAWS = 1024
"""Draws made to find some that keep the input constraints."""


class RandomPlanner(AskTell):
    """Suggests points drawn uniformly (log-uniformly on logarithmic scales) from the space, or rows of a pool."""

    kind: ClassVar[str] = "random"

    def __init__(self, problem: Problem, seed: int = 0, pool: Pool | None = None) -> None:
        super().__init__(problem, seed, pool)
        self._space = Space(problem)

    def _choose(self, number: int) -> Candidate:
        rng = np.random.default_rng([self.seed, number])
        if self.pool is not None:
            free = self.pool.free(self._barred())
            detail = f"Drawn uniformly at random from the {len(free):,} rows that are left, not by any result."
            return self._row(number, int(free[rng.integers(len(free))]), Why(method="random", detail=detail))
        rows = self._draw(rng)
        taken = self.taken
        points = [self._space.decode(row) for row in rows]
        values = next((p for p in points if not self.is_in(p, taken)), None)
        fallback = None
        if values is None:
            values, fallback = points[0], "no point was free: one is repeated"
        detail = "A point drawn uniformly at random from the space, not by any result."
        return self._candidate(number, values, Why(method="random", fallback=fallback, detail=detail))

    def _draw(self, rng: np.random.Generator) -> Matrix:
        """Draw feasible rows (n, d), in the order in which they are to be tried."""
        count = len(self._problem.parameters)
        if self._space.inputs is not None:
            rows = self._space.inputs.inside(rng.random((DRAWS, count)), rng)
            rows = rows[self._space.is_feasible(rows)]
            if len(rows):
                return rows[:TRIES]
        if self._space.is_constrained:
            rows = self._space.sample(TRIES, int(rng.integers(2**31)))
            rng.shuffle(rows)
            return rows
        return self._space.from_cube(rng.random((TRIES, count)))
