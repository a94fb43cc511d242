"""Space-filling design as a planner: a scrambled Sobol sequence. It learns nothing; it is a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from athanor.planners.problem import Problem
from athanor.planners.protocol import Candidate, Why
from athanor.planners.space import Space, sobol
from athanor.planners.state import AskTell

if TYPE_CHECKING:
    from athanor.planners.pool import Pool

BLOCK = 64
"""Points drawn beyond the one wanted, to step over points that are taken."""


class SobolPlanner(AskTell):
    """Suggests the points of a scrambled Sobol sequence (within constraints: a spread-out feasible design).

    With a pool, the rows nearest to them.
    """

    kind: ClassVar[str] = "sobol"

    def __init__(self, problem: Problem, seed: int = 0, pool: Pool | None = None) -> None:
        super().__init__(problem, seed, pool)
        self._space = Space(problem)

    def _choose(self, number: int) -> Candidate:
        # A power of two keeps the sequence the same however far it is drawn.
        size = 1 << (max(number, BLOCK) - 1).bit_length()
        if self.pool is not None:
            cube = sobol(len(self._problem.parameters), size, self.seed)[number - 1 : number]
            row = self.pool.nearest(self._space.from_cube(cube)[0], self.pool.free(self._barred()))
            detail = f"Of the rows left the nearest to point {number} of a scrambled Sobol sequence, not by any result."
            return self._row(number, row, Why(method="scrambled Sobol", detail=detail))
        rows = self._space.sample(size, self.seed)
        first = (number - 1) % len(rows)
        order = [*range(first, len(rows)), *range(first)]
        taken = self.taken
        points = (self._space.decode(rows[i]) for i in order)
        values = next((p for p in points if not self.is_in(p, taken)), None)
        fallback = None
        if values is None:
            values, fallback = self._space.decode(rows[first]), "every point of the design is taken: one is repeated"
        detail = f"Point {number} of a scrambled Sobol sequence, chosen to fill the space and not by any result."
        return self._candidate(number, values, Why(method="scrambled Sobol", fallback=fallback, detail=detail))
