"""How a record becomes a row, and a row a record.

Composite values are canonical text, times are ISO 8601 text in UTC: both read the same on every database.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from sqlalchemy import Table

from athanor.memory import records, resources, tables
from athanor.memory.canonical import canonical, parse, time_text
from athanor.memory.tables import METADATA

R = TypeVar("R", bound=records.Record)

_ROWS: Mapping[type[records.Record], type[tables.Base]] = {
    records.Problem: tables.ProblemRow,
    records.Campaign: tables.CampaignRow,
    records.Hypothesis: tables.HypothesisRow,
    records.Registration: tables.RegistrationRow,
    records.Evidence: tables.EvidenceRow,
    records.Experiment: tables.ExperimentRow,
    records.Decision: tables.DecisionRow,
    records.Intent: tables.IntentRow,
    records.Lease: tables.LeaseRow,
    records.Run: tables.RunRow,
    records.Document: tables.DocumentRow,
    records.Observation: tables.ObservationRow,
    records.ModelCall: tables.ModelCallRow,
    records.Event: tables.EventRow,
    records.JournalRow: tables.JournalTable,
    resources.Sample: tables.SampleRow,
    resources.Consumable: tables.ConsumableRow,
    resources.Reservation: tables.ReservationRow,
}
_RENAMED: Mapping[type[records.Record], Mapping[str, str]] = {
    records.Experiment: {"values": "point"},
    records.Observation: {"values": "point"},
    records.Document: {"position": "place"},
}
# Kept in a table of its own.
_ELSEWHERE: Mapping[type[records.Record], frozenset[str]] = {records.Campaign: frozenset({"problem"})}


def table_of(record: type[records.Record]) -> Table:
    """Return the table that keeps records of this class."""
    return METADATA.tables[str(_ROWS[record].__tablename__)]


def column_of(record: type[records.Record], field: str) -> str:
    """Return the name of the column that keeps a field."""
    return _RENAMED.get(record, {}).get(field, field)


def row_from(record: records.Record, position: int | None = None) -> dict[str, Any]:
    """Return the columns of a record; `position` is its place in the journal, where its table has one."""
    kind = type(record)
    composite = _composites(kind)
    row: dict[str, Any] = {}
    for field in kind.model_fields:
        if field in _ELSEWHERE.get(kind, ()):
            continue
        value = getattr(record, field)
        if value is not None and field in composite:
            value = canonical(value)
        elif isinstance(value, datetime):
            value = time_text(value)
        row[column_of(kind, field)] = value
    if position is not None:
        row["position"] = position
    return row


def record_from(kind: type[R], row: Mapping[Any, Any], **elsewhere: Any) -> R:
    """Return the record that a row keeps.

    Raises:
        pydantic.ValidationError, CanonicalError: the row was not written by the ledger.
    """
    composite = _composites(kind)
    fields: dict[str, Any] = dict(elsewhere)
    for field in kind.model_fields:
        if field in elsewhere:
            continue
        value = row[column_of(kind, field)]
        fields[field] = parse(value) if value is not None and field in composite else value
    record = kind.model_validate(fields)
    # All of them were set: one set says so for all records, where each would have kept its own, larger than the rest.
    object.__setattr__(record, "__pydantic_fields_set__", _fields(kind))
    return record


@cache
def _fields(kind: type[records.Record]) -> set[str]:
    return set(kind.model_fields)


@cache
def _composites(kind: type[records.Record]) -> frozenset[str]:
    return frozenset(name for name, field in kind.model_fields.items() if _is_composite(field.annotation))


def _is_composite(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return any(_is_composite(part) for part in get_args(annotation))
    return origin in (dict, list)
