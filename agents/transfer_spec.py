"""The part of a campaign file that names earlier data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from athanor.planners.problem import Problem


class TransferSpec(BaseModel):
    """Earlier data to learn from as far as the campaign's own results bear them out: another campaign, or a table.

    `campaign` is the id or the name of a campaign in the same ledger; `table` the path of a CSV file whose columns are
    named `name [unit]`. A parameter that they do not have must be named, in `held` with the value that it had all the
    time, or in `without` where nobody knows it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    campaign: Annotated[str, Field(min_length=1)] | None = None
    table: Annotated[str, Field(min_length=1)] | None = None
    held: dict[str, Annotated[float, Field(allow_inf_nan=False)] | str] = Field(default_factory=dict)
    without: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one(self) -> TransferSpec:
        if (self.campaign is None) == (self.table is None):
            raise ValueError("give either campaign: its id or name, or table: the path of a CSV file")
        if both := sorted(set(self.held) & set(self.without)):
            raise ValueError(f"{both[0]} is in held and in without: it is either known or not")
        return self

    @property
    def title(self) -> str:
        """What it names."""
        return f"campaign {self.campaign}" if self.campaign is not None else f"table {self.table}"


def check_transfer(wanted: list[TransferSpec], problem: Problem, planner: object) -> None:
    """Check that earlier data can be of use to a campaign.

    Raises:
        ValueError: a planner that learns nothing, a name that is no parameter, or the same data twice.
    """
    if wanted and planner != "bayesian":
        raise ValueError("transfer: only the bayesian planner learns from earlier data; remove transfer, or planner")
    for one in wanted:
        for name in (*one.held, *one.without):
            if name not in problem.names:
                raise ValueError(f"transfer: {name} is no parameter; use one of: {', '.join(problem.names)}")
    titles = [one.title for one in wanted]
    if (twice := next((title for title in titles if titles.count(title) > 1), None)) is not None:
        raise ValueError(f"transfer: {twice} is named twice")
