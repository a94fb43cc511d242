"""The records: validated, frozen values. Every row of the ledger is built from one of these and read back as one."""

from __future__ import annotations

import base64
import os
import re
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from athanor.memory.canonical import digest, digest_text

CampaignState = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
ExperimentState = Literal[
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
HypothesisState = Literal["draft", "reviewed", "registered", "testing", "supported", "refuted", "inconclusive", "void"]
Request = Literal["none", "pause", "stop_after_step", "cancel"]
Purpose = Literal["explore", "confirm", "operator", "reference"]
ExperimentSource = Literal["planner", "reasoner", "operator", "baseline", "reference"]
DecisionKind = Literal["approve", "reject", "edit", "grant", "settle"]
ObservationSource = Literal["planner", "operator", "historical", "reasoner"]
CallStatus = Literal["ok", "invalid", "error", "timeout", "refused", "redirect"]
Value = float | int | str

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"


def now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


def new_id(kind: str) -> str:
    """Return `<kind>-<26 characters>`: 48 bits of milliseconds, then 80 random bits, so that ids sort by time."""
    number = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10), "big")
    return f"{kind}-{''.join(_BASE32[number >> shift & 31] for shift in range(125, -1, -5))}"


def new_campaign_id(name: str) -> str:
    """Return a short id that a person can type: the name's first words and four random characters."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].rstrip("-") or "campaign"
    return f"{slug}-{base64.b32encode(os.urandom(5)).decode('ascii')[:4].lower()}"


def revision_of(
    *,
    campaign: str,
    ordinal: int,
    values: dict[str, Value],
    purpose: str,
    registration_id: str | None,
    block: int | None,
    arm: str | None,
    replicates: int,
    problem_hash: str,
) -> str:
    """Return the revision (SHA-256, hex) of what would be run: the thing that a person approves."""
    return digest(
        {
            "campaign": campaign,
            "ordinal": ordinal,
            "values": values,
            "purpose": purpose,
            "registration_id": registration_id,
            "block": block,
            "arm": arm,
            "replicates": replicates,
            "problem_hash": problem_hash,
        }
    )


def storable(text: str) -> str:
    """Return a text that every database keeps: NUL and half a surrogate pair, which none does, made visible.

    A hostile reply of a model must not end a campaign because it cannot be stored.
    """
    return _UNSTORABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _storable(text: Any) -> Any:
    return storable(text) if isinstance(text, str) else text


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return value


def _utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs a zone; use datetime.now(UTC)")
    return value.astimezone(UTC)


Text = Annotated[str, BeforeValidator(_storable)]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Moment = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_utc)]


@with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class Outcome(TypedDict):
    """A measured outcome: its mean and the standard error of that mean, None where unknown."""

    mean: float
    sem: float | None


class Record(BaseModel):
    """What all records share: frozen, strict, no unknown field, finite numbers."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Problem(Record):
    """A problem as it stood when a campaign was opened: parameters with units, objectives, constraints."""

    hash: Name
    body: dict[str, Any]


class Campaign(Record):
    """One closed loop with a question, a problem, an instrument, a budget and a policy."""

    id: Name
    name: Text
    question: Text
    state: CampaignState = "queued"
    reason: Text | None = None
    spec: dict[str, Any]
    problem: dict[str, Any]
    problem_hash: Name
    laboratory: Name
    instrument: Name
    simulated: bool
    seed: int = Field(ge=0, lt=2**63)
    autonomy: Name
    requested: Request = "none"
    created_at: Moment = Field(default_factory=now)
    finished_at: Moment | None = None


class Hypothesis(Record):
    """A typed claim about the system. `prior` is the proposer's own probability that it holds."""

    id: Name
    campaign_id: Name
    ordinal: int = Field(ge=1)
    kind: Name
    statement: Text
    rationale: Text
    claim: dict[str, Any]
    proposer: Text
    prior: float = Field(ge=0, le=1)
    state: HypothesisState = "draft"
    reason: Text | None = None
    verdict: dict[str, Any] | None = None
    tainted: bool = False
    cites: list[Text] = Field(default_factory=list)
    created_at: Moment = Field(default_factory=now)


class Registration(Record):
    """What will be tested and how, fixed before the first run that counts. Immutable."""

    id: Name
    hypothesis_id: Name
    campaign_id: Name
    body: dict[str, Any]
    body_hash: Sha256
    created_at: Moment = Field(default_factory=now)


class Evidence(Record):
    """The state of a registered test after one more block; natural logarithms of the e-values."""

    id: Name
    registration_id: Name
    block: int = Field(ge=0)
    experiments: list[Name]
    statistic: float
    log_e_support: float
    log_e_refute: float
    created_at: Moment = Field(default_factory=now)


class Experiment(Record):
    """A candidate, or an operator's point, that was put up for decision."""

    id: Name
    campaign_id: Name
    ordinal: int = Field(ge=1)
    number: int | None = None
    revision: Sha256
    values: dict[Name, Value]
    purpose: Purpose = "explore"
    source: ExperimentSource = "planner"
    candidate: dict[str, Any] = Field(default_factory=dict)
    registration_id: Name | None = None
    block: int | None = None
    arm: Name | None = None
    replicates: int = Field(default=1, ge=1)
    state: ExperimentState = "proposed"
    reason: Text | None = None
    parent_id: Name | None = None
    decision_id: Name | None = None
    created_at: Moment = Field(default_factory=now)

    def expected_revision(self, problem_hash: str) -> str:
        """Return the revision that these contents have under the problem `problem_hash`."""
        return revision_of(
            campaign=self.campaign_id,
            ordinal=self.ordinal,
            values=self.values,
            purpose=self.purpose,
            registration_id=self.registration_id,
            block=self.block,
            arm=self.arm,
            replicates=self.replicates,
            problem_hash=problem_hash,
        )


class Decision(Record):
    """Who decided what on which revision, and why. `body` is the canonical text that `signature` covers."""

    id: Name
    campaign_id: Name
    experiment_id: Name | None = None
    kind: DecisionKind
    revision: Sha256 | None = None
    body: Text
    signature: Text
    decided_by: Text
    reason: Text
    expires_at: Moment | None = None
    nonce: Name
    created_at: Moment = Field(default_factory=now)


class Intent(Record):
    """Committed before hardware is touched. `epoch` is the fencing epoch of the instrument's lease."""

    id: Name
    key: Name
    campaign_id: Name
    experiment_id: Name
    decision_id: Name
    instrument: Name
    epoch: int = Field(ge=1)
    created_at: Moment = Field(default_factory=now)


class Lease(Record):
    """Who drives a campaign or an instrument. `epoch` grows with every change of holder."""

    resource: Name
    holder: Text
    epoch: int = Field(ge=1)
    renewed_at: Moment
    expires_at: Moment


class Run(Record):
    """The Bluesky run that measured an experiment."""

    uid: Name
    experiment_id: Name
    intent_id: Name
    instrument: Name
    simulated: bool
    started_at: Moment
    stopped_at: Moment | None = None
    exit_status: Text | None = None
    reason: Text | None = None
    num_events: int | None = Field(default=None, ge=0)


class SpooledDocument(Record):
    """A Bluesky document as a worker spools it: `body` is its canonical text, `position` counts from 0 in its run."""

    run_uid: Name
    position: int = Field(ge=0)
    name: Name
    body: str

    def stored(self) -> Document:
        """Return the document as the ledger keeps it."""
        return Document(
            run_uid=self.run_uid, position=self.position, name=self.name, body=self.body, sha256=digest_text(self.body)
        )


class Document(Record):
    """A Bluesky document in the ledger; `sha256` is that of its body."""

    run_uid: Name
    position: int = Field(ge=0)
    name: Name
    body: str
    sha256: Sha256


class Observation(Record):
    """What came out. Reducing again makes a new `revision_number`."""

    id: Name
    campaign_id: Name
    experiment_id: Name | None = None
    revision_number: int = Field(default=1, ge=1)
    candidate_id: Name | None = None
    values: dict[Name, Value]
    outcomes: dict[Name, Outcome]
    status: ExperimentState = "completed"
    reason: Text | None = None
    source: ObservationSource = "planner"
    reduction: Text
    reduction_hash: Text
    created_at: Moment = Field(default_factory=now)


class ModelCall(Record):
    """One question to a language model. `cost` is in the endpoint's currency, `seconds` is wall time."""

    id: Name
    campaign_id: Name
    purpose: Text
    model: Text
    endpoint: Text
    request: Text
    request_sha256: Sha256
    response: Text | None = None
    status: CallStatus
    detail: Text = ""
    tokens_in: int = Field(default=0, ge=0)
    tokens_out: int = Field(default=0, ge=0)
    cost: float | None = None
    seconds: float = Field(ge=0)
    created_at: Moment = Field(default_factory=now)


class Event(Record):
    """Something worth knowing that is nothing of the above."""

    id: Name
    campaign_id: Name | None = None
    kind: Name
    body: dict[str, Any]
    created_at: Moment = Field(default_factory=now)


class JournalRow(Record):
    """One link of the journal.

    `position` counts over the whole ledger and `seq` within the chain, both from 1 and without gaps; `previous` is the
    hash of the chain's row before (64 zeros for the first); `hash` covers all other fields.
    """

    position: int = Field(ge=1)
    chain: Name
    seq: int = Field(ge=1)
    kind: Name
    body: str
    previous: Sha256
    hash: Sha256
    at: Text
