"""What every planner speaks: observations in, candidates out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol, Self, runtime_checkable

from pydantic import Field, field_validator

from athanor.planners.problem import Level, Name, Number, Problem, Record, Value

Status = Literal[
    "proposed",
    "approved",
    "rejected",
    "expired",
    "superseded",
    "withdrawn",
    "dispatched",
    "refused",
    "running",
    "completed",
    "failed",
    "aborted",
    "stopped_early",
    "in_doubt",
    "not_started",
]
"""The states of an experiment."""

PENDING: frozenset[str] = frozenset({"proposed", "approved", "dispatched", "running", "in_doubt"})
"""States in which the outcome may still come, or will never be known: the point is not suggested again."""

MEASURED: frozenset[str] = frozenset({"completed", "stopped_early"})
"""States whose outcomes, where there are any, are learnt from."""


class Measured(Record):
    """A measured mean and its standard error (None: unknown), in the outcome's unit."""

    positional: ClassVar[tuple[str, ...]] = ("mean", "sem")
    mean: Number
    sem: Annotated[Number, Field(ge=0)] | None = None

    if TYPE_CHECKING:

        def __init__(self, mean: float, sem: float | None = None) -> None: ...


class Predicted(Record):
    """A predicted mean and the standard deviation of the model's belief about it, in the outcome's unit."""

    positional: ClassVar[tuple[str, ...]] = ("mean", "sd")
    mean: Number
    sd: Annotated[Number, Field(ge=0)]

    if TYPE_CHECKING:

        def __init__(self, mean: float, sd: float) -> None: ...


class Observation(Record):
    """What came of a point. `outcomes` takes numbers or `Measured`; a point that failed has none.

    `candidate_id` is None for points no candidate stands behind (an operator's, historical data). A status in which
    the outcome may still come marks the point as pending.
    """

    candidate_id: str | None = None
    values: dict[Name, Level | Annotated[str, Field(strict=True)]]
    outcomes: dict[Name, Measured] = {}
    status: Status = "completed"

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            candidate_id: str | None = None,
            values: Mapping[str, Value],
            outcomes: Mapping[str, float | Measured] = {},
            status: Status = "completed",
        ) -> None: ...

    @field_validator("outcomes", mode="before")
    @classmethod
    def _accept_numbers(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return {
                name: item if isinstance(item, (Measured, Mapping)) else Measured(item) for name, item in value.items()
            }
        return value


class Compromise(Record):
    """How a candidate stands to the best compromises of several objectives, by what the model expects.

    It `improves` on the compromise compared with in every objective, `extends` the front in `objective` beyond all of
    them, comes `between` them, or lies `behind` them (then the hope is in what is not known). `changes` is the
    difference of each objective to the compromise compared with, in the objective's unit; `candidate_id` and `values`
    are that compromise's.
    """

    kind: Literal["improves", "extends", "between", "behind"]
    objective: Name | None = None
    candidate_id: str | None = None
    values: dict[Name, Level | Annotated[str, Field(strict=True)]]
    changes: dict[Name, Number]


class Tradeoff(Record):
    """What a candidate trades off, in numbers.

    `distance` is the largest step, as a share of a parameter's range (1 for another category), to the nearest measured
    setting, which is `nearest`. `feasible` is the probability that all outcome constraints hold (None: there are none),
    `works` that the process works at all (None: it never failed). For one objective and a feasible best point, `better`
    is the probability to beat that point, `improvement` by how much in expectation (less counts as nothing; in the
    objective's unit, of distance for a target), and `exploration` the share of that hope, 0..1, which rests on what is
    not known rather than on what is predicted. For several objectives `compromise` says what it adds.
    """

    nearest: dict[Name, Level | Annotated[str, Field(strict=True)]]
    nearest_id: str | None = None
    distance: Annotated[Number, Field(ge=0)]
    feasible: Number | None = None
    works: Number | None = None
    improvement: Number | None = None
    better: Number | None = None
    exploration: Number | None = None
    compromise: Compromise | None = None


class Why(Record):
    """Why a candidate was chosen: method, fallback if one was taken, a sentence for a scientist, advice used.

    `transfer` says what was taken from earlier data, `tradeoff` what the candidate trades off where a model can say so.
    Both are left out of the record where there is nothing to say.
    """

    method: str
    fallback: str | None = None
    detail: str
    advice: tuple[str, ...] = ()
    transfer: Annotated[tuple[str, ...], Field(exclude_if=lambda lines: not lines)] = ()
    tradeoff: Annotated[Tradeoff | None, Field(exclude_if=lambda found: found is None)] = None


class Candidate(Record):
    """A point the planner suggests: suggestion number (from 1), values, prediction per outcome, and why.

    `label` is what a row of a pool is called: the vial, the well, the sample.
    """

    id: str
    number: Annotated[int, Field(strict=True, ge=1)]
    values: dict[Name, Level | Annotated[str, Field(strict=True)]]
    predicted: dict[Name, Predicted] = {}
    why: Why
    label: Annotated[str | None, Field(exclude_if=lambda label: label is None)] = None


class Best(Record):
    """A point the planner holds for best: its values, the model's view of its outcomes, and what was measured there.

    `probability` is the model's probability that all outcome constraints hold there (None: no constraints or no
    model yet); `is_feasible` says whether every constraint reaches its required probability.
    """

    candidate_id: str | None = None
    values: dict[Name, Level | Annotated[str, Field(strict=True)]]
    predicted: dict[Name, Predicted] = {}
    measured: dict[Name, Measured] = {}
    probability: float | None = None
    is_feasible: bool = True


@runtime_checkable
class Planner(Protocol):
    """Ask and tell. Candidate k is a function of the problem, the seed, k, and everything ingested; nothing else."""

    @property
    def problem(self) -> Problem:
        """The problem the planner works on."""
        ...

    def suggest(self, n: int = 1, number: int | None = None) -> list[Candidate]:
        """Return n candidates, numbered from `number` (default: one after the last)."""
        ...

    def ingest(self, observations: Sequence[Observation]) -> None:
        """Take observations in; one with a known candidate id replaces what was known of that candidate."""
        ...

    def best(self) -> list[Best]:
        """Return the incumbent (one objective) or the Pareto set (several); empty before the first outcome."""
        ...

    def to_json(self) -> str:
        """Return the whole state as JSON text."""
        ...

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild a planner from `to_json`."""
        ...
