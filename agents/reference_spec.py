"""The part of a campaign file that asks for reference measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from athanor.planners.problem import Problem

MOST_REFERENCES = 300
"""A chart of more would take minutes to compute a limit for."""


class ReferenceSpec(BaseModel):
    """Reference measurements: the same point measured again and again, to see whether the instrument has changed.

    `baseline` of them come first, one after the other, then one after every `every` experiments. `sd` states the
    standard deviation of one reference where it is known: fewer are then needed to see a change. They count as
    experiments of the budget.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: Annotated[dict[str, int | float | str], Field(min_length=1)]
    every: Annotated[int, Field(ge=1)] = 8
    baseline: Annotated[int, Field(ge=3, le=100)] | None = None
    outcomes: list[str] = Field(default_factory=list)
    sd: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)

    @property
    def first(self) -> int:
        """References in the baseline: as given, else 5 where the spread is stated and 12 where it is not."""
        return self.baseline if self.baseline is not None else (5 if self.sd else 12)

    def later(self, budget: int) -> int:
        """References after the baseline."""
        return max(0, budget - self.first) // (self.every + 1)

    def is_sure(self, problem: Problem, budget: int) -> bool:
        """Whether a shift of 4 sd pauses the campaign within 3 references with 95 % at least.

        From simulated charts (`tests/agents/test_drift.py`): five references and a stated sd suffice; without one it
        takes twelve, and of all references no more than three in eight after them.
        """
        if set(self.outcomes or problem.outcomes) <= set(self.sd):
            return self.first >= 5
        return self.first >= 12 and self.later(budget) <= 0.6 * self.first


def check_reference(wanted: ReferenceSpec, problem: Problem, budget: int) -> None:
    """Check that references fit their campaign.

    Raises:
        ValueError: an outcome that is none, a point outside the problem, or a budget that they do not fit in.
    """
    for name in (*wanted.outcomes, *wanted.sd):
        if name not in problem.outcomes:
            raise ValueError(f"reference: {name} is no outcome; use one of: {', '.join(problem.outcomes)}")
    if wanted.first >= budget:
        raise ValueError(f"reference: a baseline of {wanted.first} leaves nothing of the budget of {budget}")
    if (count := wanted.first + budget // (wanted.every + 1)) > MOST_REFERENCES:
        raise ValueError(f"reference: {count} references are more than {MOST_REFERENCES}; raise every")
    try:
        problem.validate_point(wanted.values)
    except ValueError as error:
        raise ValueError(f"reference: {error}") from error
