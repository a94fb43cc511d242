from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from athanor.memory import records, resources
from athanor.memory.canonical import CanonicalError
from athanor.memory.rows import column_of, record_from, row_from, table_of
from athanor.memory.tables import METADATA
from tests.memory.conftest import Maker

storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
KINDS = [
    records.Hypothesis, records.Registration, records.Evidence, records.Experiment, records.Decision, records.Intent,
    records.Lease, records.Run, records.Document, records.Observation, records.ModelCall, records.Event,
    records.JournalRow, records.Problem, resources.Sample, resources.Consumable, resources.Reservation,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_its_column(kind: type[records.Record]) -> None:
    columns = set(table_of(kind).columns.keys())
    fields = {column_of(kind, name) for name in kind.model_fields}
    assert fields <= columns
    assert columns - fields <= {"position"}


def test_a_campaign_s_problem_is_elsewhere() -> None:
    columns = set(table_of(records.Campaign).columns.keys())
    assert set(records.Campaign.model_fields) - columns == {"problem"}


def test_no_other_tables_are_there() -> None:
    assert set(METADATA.tables) == {table_of(kind).name for kind in [*KINDS, records.Campaign]} | {"meta"}


@given(
    values=st.dictionaries(st.text("ab", min_size=1), st.floats(allow_nan=False, allow_infinity=False) | st.integers()),
    reason=storable | st.none(),
    candidate=st.dictionaries(storable, st.floats() | storable, max_size=3),
)
def test_a_record_comes_back_from_its_row(
    values: dict[str, Any], reason: str | None, candidate: dict[str, Any]
) -> None:
    experiment = Maker().experiment(values=values, reason=reason, candidate=candidate)
    row = row_from(experiment, 7)
    assert row["position"] == 7
    assert row_from(record_from(records.Experiment, row), 7) == row


def test_a_row_that_no_record_made_is_refused(make: Maker) -> None:
    row = row_from(make.experiment(), 1)
    with pytest.raises(ValidationError):
        record_from(records.Experiment, {**row, "state": "done"})
    with pytest.raises(CanonicalError):
        record_from(records.Experiment, {**row, "point": "{"})
