"""Space-filling design as a planner: a scrambled Sobol sequence. It learns nothing; it is a baseline."""

from __future__ import annotations

from typing import ClassVar

from athanor.planners.problem import Problem
from athanor.planners.protocol import Candidate, Why
from athanor.planners.space import Space
from athanor.planners.state import AskTell

BLOCK = 64
"""Points drawn beyond the one wanted, to step over points that are taken."""


class SobolPlanner(AskTell):
    """Suggests the points of a scrambled Sobol sequence (within constraints: a spread-out feasible design)."""

    kind: ClassVar[str] = "sobol"

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        super().__init__(problem, seed)
        self._space = Space(problem)

    def _choose(self, number: int) -> Candidate:
        # A power of two keeps the sequence the same however far it is drawn.
        size = 1 << (max(number, BLOCK) - 1).bit_length()
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
