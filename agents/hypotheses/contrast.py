"""Every claim compiles to a block design: a few points, a coefficient each, measured once per block in random order.

The statistic of block i is d_i = Σ c·y over its points. Direction is folded into the coefficients, so that a claim
always says "E[d] is greater than the margin" (or, for irrelevance, "E[d] lies within ± the margin").
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from athanor.agents.hypotheses.claims import (
    AnyClaim,
    Effect,
    Interaction,
    InvalidClaim,
    Irrelevance,
    Level,
    Region,
    Span,
    Threshold,
    check_claim,
)

if TYPE_CHECKING:
    from athanor.planners.problem import Problem


class DesignPoint(BaseModel):
    """One point of a block: its arm (a letter), its full setting and its coefficient in the statistic."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    arm: str
    values: dict[str, Level]
    coefficient: float


class BlockDesign(BaseModel):
    """A contrast of one outcome over a few points.

    `sided` "greater" claims E[d] > margin; "within" claims |E[d]| < margin. `margin` is in the outcome's unit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    outcome: str
    unit: str | None
    points: tuple[DesignPoint, ...] = Field(min_length=2)
    margin: float = Field(ge=0.0)
    sided: Literal["greater", "within"]

    @property
    def key(self) -> str:
        """Identify the set of points: designs with equal keys can be measured by the same runs."""
        points = sorted(_canonical(point.values) for point in self.points)
        return hashlib.sha256("\n".join(points).encode()).hexdigest()

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms in alphabetical order."""
        return tuple(sorted(point.arm for point in self.points))

    def values(self, arm: str) -> dict[str, Level]:
        """The full setting of one arm. Raises KeyError for an arm the design does not have."""
        for point in self.points:
            if point.arm == arm:
                return dict(point.values)
        raise KeyError(arm)

    def statistic(self, outcomes: Mapping[str, float]) -> float:
        """The statistic d of one block from the outcome of each arm, in the outcome's unit.

        Raises:
            KeyError: an arm is missing.
            ValueError: an outcome is not finite.
        """
        total = math.fsum(point.coefficient * outcomes[point.arm] for point in self.points)
        if not math.isfinite(total):
            raise ValueError(f"an outcome of {self.outcome!r} is not finite")
        return total

    def residuals(self, outcomes: Mapping[str, float]) -> tuple[float, ...]:
        """The block's further contrasts: what the block mean and the statistic leave of its outcomes.

        There are two fewer than arms, so none for a pair. They are orthogonal to the mean, to the statistic and to each
        other, and have the statistic's unit and size: under equal noise in the arms, its variance too. Their
        own means are unknown (other effects); only how they vary from block to block says something, namely about the
        noise. Their sum of squares does not depend on which of the possible sets this is.

        Raises:
            KeyError: an arm is missing.
        """
        values = np.array([outcomes[arm] for arm in self.arms])
        return tuple(float(row @ values) for row in self._residual_rows())

    def _residual_rows(self) -> list[np.ndarray]:
        """Gram–Schmidt over the arms in alphabetical order, after the mean and the statistic."""
        weight = {point.arm: point.coefficient for point in self.points}
        own = np.array([weight[arm] for arm in self.arms])
        size = float(np.linalg.norm(own))
        basis: list[np.ndarray] = []
        for candidate in (np.ones(len(own)), own, *np.eye(len(own))):
            rest = candidate - sum((row * (row @ candidate) for row in basis), np.zeros(len(own)))
            if np.linalg.norm(rest) > 1e-9 * np.linalg.norm(candidate):
                basis.append(rest / np.linalg.norm(rest))
        return [row * size for row in basis[2:]]

    def order(self, seed: int, block: int) -> tuple[str, ...]:
        """The random order in which block number `block` (from 1) measures its arms: a function of its arguments."""
        rng = np.random.default_rng([seed, int(self.key[:12], 16), block])
        arms = self.arms
        return tuple(arms[i] for i in rng.permutation(len(arms)))


def compile_claim(claim: AnyClaim, problem: Problem, base_point: Mapping[str, Level]) -> BlockDesign:
    """Compile a claim to its block design.

    Args:
        claim: the claim.
        problem: gives units and bounds.
        base_point: setting of every parameter the claim does not vary (for instance the best point so far).

    Raises:
        InvalidClaim: the claim, or a point of the design, does not fit the problem.
    """
    check_claim(claim, problem)
    sided: Literal["greater", "within"] = "greater"
    if isinstance(claim, Effect):
        sign = 1.0 if claim.direction == "increases" else -1.0
        points = _pair(claim.parameter, claim.low, claim.high, claim.across, sign, base_point)
    elif isinstance(claim, Irrelevance):
        sided = "within"
        points = _pair(claim.parameter, claim.low, claim.high, claim.across, 1.0, base_point)
    elif isinstance(claim, Threshold):
        sign = 1.0 if claim.direction == "increases" else -1.0
        points = _pair(claim.parameter, claim.below, claim.above, (), sign, base_point)
    elif isinstance(claim, Interaction):
        sign = 1.0 if claim.direction == "positive" else -1.0
        corners = itertools.product((-1.0, 1.0), repeat=2)
        points = [
            (
                {
                    **base_point,
                    claim.first.parameter: claim.first.high if a > 0 else claim.first.low,
                    claim.second.parameter: claim.second.high if b > 0 else claim.second.low,
                },
                sign * a * b,
            )
            for a, b in corners
        ]
    else:
        assert isinstance(claim, Region)
        sign = 1.0 if claim.better == "higher" else -1.0
        points = [(dict(claim.inside), sign), (dict(claim.outside), -sign)]
    checked = sorted(((_checked(values, problem), weight) for values, weight in points), key=lambda p: _canonical(p[0]))
    return BlockDesign(
        outcome=claim.outcome,
        unit=problem.unit(claim.outcome),
        points=tuple(
            DesignPoint(arm=chr(ord("a") + i), values=values, coefficient=weight)
            for i, (values, weight) in enumerate(checked)
        ),
        margin=claim.margin,
        sided=sided,
    )


def _pair(
    parameter: str, low: Level, high: Level, across: Sequence[Span], sign: float, base: Mapping[str, Level]
) -> list[tuple[dict[str, Level], float]]:
    """One run at each level, averaged over the levels of other parameters: all of one, of two the half fraction.

    The half fraction has the defining relation I = ABC (Box, Hunter & Hunter, "Statistics for Experimenters", 2nd ed.
    2005, chapter 6), so that the same four runs give the effects of all three.
    """
    spans = (Span(parameter=parameter, low=low, high=high), *across)
    corners = [
        corner
        for corner in itertools.product((-1.0, 1.0), repeat=len(spans))
        if len(spans) < 3 or math.prod(corner) > 0.0
    ]
    share = sign * 2.0 / len(corners)
    return [
        (
            {
                **base,
                **{
                    span.parameter: span.high if end > 0.0 else span.low
                    for span, end in zip(spans, corner, strict=True)
                },
            },
            share * corner[0],
        )
        for corner in corners
    ]


def _checked(values: Mapping[str, Level], problem: Problem) -> dict[str, Level]:
    try:
        return dict(problem.validate_point(values))
    except ValueError as error:
        raise InvalidClaim(f"a point of the test does not fit the problem: {error}") from error


def _canonical(values: Mapping[str, Level]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"))
