"""The seam between the loop and whoever proposes hypotheses: a situation in, typed proposals out, never an action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from athanor.agents.hypotheses.claims import Claim, Level

if TYPE_CHECKING:
    from athanor.planners.problem import Problem


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Seen(_Strict):
    """One observation as a reasoner sees it. `outcomes` are means in the outcomes' own units."""

    id: str
    values: dict[str, Level]
    outcomes: dict[str, float] = Field(default_factory=dict)
    status: str = "completed"
    note: str | None = None


class Known(_Strict):
    """One hypothesis of this campaign so far, with what became of it."""

    id: str
    kind: str
    statement: str
    claim: dict[str, Any]
    state: str
    prior: float | None = None


class Recalled(_Strict):
    """One item from memory of earlier campaigns. `tainted` items came from outside and are quoted, never trusted."""

    id: str
    campaign_id: str
    text: str
    kind: str = "verdict"
    claim: dict[str, Any] | None = None
    verdict: str | None = None
    tainted: bool = False


class Said(_Strict):
    """What a person of this site said about an experiment, in their words; who it was is not told."""

    experiment: str
    text: str


class Remaining(_Strict):
    """What is left of the budgets. None: no limit was set."""

    experiments: int | None = None
    confirmatory: int | None = None
    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None


class Situation(_Strict):
    """Everything a reasoner may look at; JSON round trip.

    `problem` is the JSON of `athanor.planners.problem.Problem`, `effects` that of
    `athanor.planners.diagnostics.effects` (None while there are too few data), `base_point` the setting around which
    effects are stated: the best so far. `noise` is the standard deviation of a single run per outcome, where it is
    known (from replicates or the surrogate).
    """

    campaign_id: str
    ordinal: int
    question: str
    problem: dict[str, Any]
    base_point: dict[str, Level] | None = None
    effects: dict[str, Any] | None = None
    noise: dict[str, float] = Field(default_factory=dict)
    observations: tuple[Seen, ...] = ()
    hypotheses: tuple[Known, ...] = ()
    memory: tuple[Recalled, ...] = ()
    instrument_notes: tuple[str, ...] = ()
    remarks: tuple[Said, ...] = ()
    remaining: Remaining = Remaining()
    seed: int = 0

    def parsed_problem(self) -> Problem:
        """The problem as an object."""
        from athanor.planners.problem import Problem

        return Problem.model_validate(self.problem)


class Proposal(_Strict):
    """One hypothesis put forward. `prior` is the proposer's own probability that it is true.

    `cites` are observation and memory ids; cited observations formed the claim and can never confirm it.
    What the planner may lean on is compiled from the claim by `athanor.agents.hypotheses.advice`. `shares_runs_with`
    is the position, in the same list, of an earlier proposal whose runs test this one too.
    """

    kind: str
    statement: str = Field(min_length=1, max_length=600)
    rationale: str = Field(max_length=2000)
    claim: Claim
    prior: float = Field(ge=0.01, le=0.99)
    cites: tuple[str, ...] = ()
    tainted: bool = False
    shares_runs_with: int | None = None


CallStatus = Literal["ok", "invalid", "error", "timeout", "refused", "redirect"]


class ModelCallRecord(_Strict):
    """One attempt to ask a model, complete: what was sent, what came back, what it cost.

    `request` and `response` are the exact texts (never the key). `cost` is in the currency of the configured prices,
    None where none are configured. `seconds` is wall time.
    """

    purpose: str
    model: str
    endpoint: str
    request: str
    request_sha256: str
    response: str | None
    status: CallStatus
    detail: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    seconds: float = 0.0


class Proposals(_Strict):
    """What a reasoner answers. `fallback` says why another reasoner took the step, None where it did not."""

    proposals: tuple[Proposal, ...] = ()
    calls: tuple[ModelCallRecord, ...] = ()
    fallback: str | None = None
    reasoner: str


@runtime_checkable
class Reasoner(Protocol):
    """Whoever proposes hypotheses."""

    @property
    def name(self) -> str:
        """The name that stands as `proposer` in the ledger."""

    def propose(self, situation: Situation, limit: int) -> Proposals:
        """Propose at most `limit` new hypotheses. Never raises for anything a model or the network did."""
