"""The tables. `position` is a row's place in the journal.

Table classes do not validate, so no row is ever built but from a record: see `rows`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Float, MetaData, Text, UniqueConstraint
from sqlmodel import Field, SQLModel


class Base(SQLModel):
    """Keeps our tables apart from any other SQLModel user's in the same process."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def _key(reference: str | None = None) -> Any:
    return (
        Field(primary_key=True, sa_type=Text, foreign_key=reference)
        if reference
        else Field(primary_key=True, sa_type=Text)
    )


def _text(reference: str | None = None, *, index: bool = False, unique: bool = False) -> Any:
    if reference:
        return Field(sa_type=Text, foreign_key=reference, index=index, unique=unique)
    return Field(sa_type=Text, index=index, unique=unique)


def _maybe(reference: str | None = None, *, index: bool = False) -> Any:
    if reference:
        return Field(default=None, sa_type=Text, nullable=True, foreign_key=reference, index=index)
    return Field(default=None, sa_type=Text, nullable=True, index=index)


def _count() -> Any:
    return Field(sa_type=BigInteger)


def _maybe_count() -> Any:
    return Field(default=None, sa_type=BigInteger, nullable=True)


def _position() -> Any:
    return Field(sa_type=BigInteger, unique=True)


class MetaRow(Base, table=True):
    """What the ledger knows of itself: its id."""

    __tablename__ = "meta"
    name: str = _key()
    value: str = _text()


class JournalTable(Base, table=True):
    """The journal: append only."""

    __tablename__ = "journal"
    __table_args__ = (UniqueConstraint("chain", "seq"),)
    position: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    chain: str = _text()
    seq: int = _count()
    kind: str = _text()
    body: str = _text()
    previous: str = _text()
    hash: str = _text()
    at: str = _text()


class ProblemRow(Base, table=True):
    """Problems by hash; campaigns share them."""

    __tablename__ = "problem"
    hash: str = _key()
    body: str = _text()


class CampaignRow(Base, table=True):
    """Campaigns; the problem is in its own table."""

    __tablename__ = "campaign"
    id: str = _key()
    name: str = _text()
    question: str = _text()
    state: str = _text()
    reason: str | None = _maybe()
    spec: str = _text()
    problem_hash: str = _text("problem.hash")
    laboratory: str = _text()
    instrument: str = _text()
    simulated: bool
    seed: int = _count()
    autonomy: str = _text()
    requested: str = _text()
    created_at: str = _text()
    finished_at: str | None = _maybe()
    position: int = _position()


class HypothesisRow(Base, table=True):
    """Hypotheses."""

    __tablename__ = "hypothesis"
    __table_args__ = (UniqueConstraint("campaign_id", "ordinal"),)
    id: str = _key()
    campaign_id: str = _text("campaign.id")
    ordinal: int = _count()
    kind: str = _text()
    statement: str = _text()
    rationale: str = _text()
    claim: str = _text()
    proposer: str = _text()
    prior: float = Field(sa_type=Float)
    state: str = _text()
    reason: str | None = _maybe()
    verdict: str | None = _maybe()
    tainted: bool
    cites: str = _text()
    created_at: str = _text()
    position: int = _position()


class RegistrationRow(Base, table=True):
    """Registrations."""

    __tablename__ = "registration"
    id: str = _key()
    hypothesis_id: str = _text("hypothesis.id", unique=True)
    campaign_id: str = _text("campaign.id", index=True)
    body: str = _text()
    body_hash: str = _text()
    created_at: str = _text()
    position: int = _position()


class EvidenceRow(Base, table=True):
    """Evidence, one row for each block of a registration."""

    __tablename__ = "evidence"
    __table_args__ = (UniqueConstraint("registration_id", "block"),)
    id: str = _key()
    registration_id: str = _text("registration.id")
    block: int = _count()
    experiments: str = _text()
    statistic: float = Field(sa_type=Float)
    log_e_support: float = Field(sa_type=Float)
    log_e_refute: float = Field(sa_type=Float)
    created_at: str = _text()
    position: int = _position()


class DecisionRow(Base, table=True):
    """Decisions. A nonce is used once."""

    __tablename__ = "decision"
    id: str = _key()
    campaign_id: str = _text("campaign.id", index=True)
    # No foreign key: experiments refer to decisions, and two tables that refer to each other cannot be copied in order.
    experiment_id: str | None = _maybe(index=True)
    kind: str = _text()
    revision: str | None = _maybe()
    body: str = _text()
    signature: str = _text()
    decided_by: str = _text()
    reason: str = _text()
    expires_at: str | None = _maybe()
    nonce: str = _text(unique=True)
    created_at: str = _text()
    position: int = _position()


class ExperimentRow(Base, table=True):
    """Experiments. `values` is a reserved word in SQL, so the column is `point`."""

    __tablename__ = "experiment"
    __table_args__ = (UniqueConstraint("campaign_id", "ordinal"),)
    id: str = _key()
    campaign_id: str = _text("campaign.id")
    ordinal: int = _count()
    number: int | None = _maybe_count()
    revision: str = _text()
    point: str = _text()
    purpose: str = _text()
    source: str = _text()
    candidate: str = _text()
    registration_id: str | None = _maybe("registration.id", index=True)
    block: int | None = _maybe_count()
    arm: str | None = _maybe()
    replicates: int = _count()
    state: str = _text()
    reason: str | None = _maybe()
    parent_id: str | None = _maybe("experiment.id", index=True)
    decision_id: str | None = _maybe("decision.id")
    created_at: str = _text()
    position: int = _position()


class IntentRow(Base, table=True):
    """Intents: one for each experiment, ever."""

    __tablename__ = "intent"
    id: str = _key()
    key: str = _text(unique=True)
    campaign_id: str = _text("campaign.id", index=True)
    experiment_id: str = _text("experiment.id", unique=True)
    decision_id: str = _text("decision.id")
    instrument: str = _text()
    epoch: int = _count()
    created_at: str = _text()
    position: int = _position()


class LeaseRow(Base, table=True):
    """Leases: the only rows that change without a line in the journal, when they are renewed."""

    __tablename__ = "lease"
    resource: str = _key()
    holder: str = _text()
    epoch: int = _count()
    renewed_at: str = _text()
    expires_at: str = _text()


class RunRow(Base, table=True):
    """Runs."""

    __tablename__ = "run"
    uid: str = _key()
    experiment_id: str = _text("experiment.id", index=True)
    intent_id: str = _text("intent.id")
    instrument: str = _text()
    simulated: bool
    started_at: str = _text()
    stopped_at: str | None = _maybe()
    exit_status: str | None = _maybe()
    reason: str | None = _maybe()
    num_events: int | None = _maybe_count()
    position: int = _position()


class DocumentRow(Base, table=True):
    """Bluesky documents, in order. `place` is the document's position in its run."""

    __tablename__ = "document"
    run_uid: str = _key("run.uid")
    place: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    name: str = _text()
    body: str = _text()
    sha256: str = _text()
    position: int = _position()


class ObservationRow(Base, table=True):
    """Observations; reducing again adds a row."""

    __tablename__ = "observation"
    __table_args__ = (UniqueConstraint("experiment_id", "revision_number"),)
    id: str = _key()
    campaign_id: str = _text("campaign.id", index=True)
    experiment_id: str | None = _maybe("experiment.id")
    revision_number: int = _count()
    candidate_id: str | None = _maybe()
    point: str = _text()
    outcomes: str = _text()
    status: str = _text()
    reason: str | None = _maybe()
    source: str = _text()
    reduction: str = _text()
    reduction_hash: str = _text()
    created_at: str = _text()
    position: int = _position()


class ModelCallRow(Base, table=True):
    """Questions to language models."""

    __tablename__ = "model_call"
    id: str = _key()
    campaign_id: str = _text("campaign.id", index=True)
    purpose: str = _text()
    model: str = _text()
    endpoint: str = _text()
    request: str = _text()
    request_sha256: str = _text()
    response: str | None = _maybe()
    status: str = _text()
    detail: str = _text()
    tokens_in: int = _count()
    tokens_out: int = _count()
    cost: float | None = Field(default=None, sa_type=Float, nullable=True)
    seconds: float = Field(sa_type=Float)
    created_at: str = _text()
    position: int = _position()


class EventRow(Base, table=True):
    """Events of a campaign or of the site."""

    __tablename__ = "event"
    id: str = _key()
    campaign_id: str | None = _maybe("campaign.id", index=True)
    kind: str = _text()
    body: str = _text()
    created_at: str = _text()
    position: int = _position()


class SampleRow(Base, table=True):
    """Samples."""

    __tablename__ = "sample"
    id: str = _key()
    label: str = _text(index=True)
    description: str = _text()
    location: str | None = _maybe()
    parent_id: str | None = _maybe("sample.id")
    state: str = _text()
    reason: str | None = _maybe()
    experiment_id: str | None = _maybe("experiment.id")
    created_at: str = _text()
    position: int = _position()


class ConsumableRow(Base, table=True):
    """Stocks that runs draw down."""

    __tablename__ = "consumable"
    id: str = _key()
    description: str = _text()
    unit: str | None = _maybe()
    amount: float = Field(sa_type=Float)
    low: float | None = Field(default=None, sa_type=Float, nullable=True)
    created_at: str = _text()
    position: int = _position()


class ReservationRow(Base, table=True):
    """What an experiment has to itself: one row for each experiment, ever."""

    __tablename__ = "reservation"
    id: str = _key()
    experiment_id: str = _text("experiment.id", unique=True)
    campaign_id: str = _text("campaign.id", index=True)
    samples: str = _text()
    amounts: str = _text()
    devices: str = _text()
    state: str = _text(index=True)
    reason: str | None = _maybe()
    created_at: str = _text()
    position: int = _position()


METADATA = Base.metadata
