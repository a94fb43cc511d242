from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from athanor.memory import records
from athanor.memory.canonical import canonical, parse
from tests.memory.conftest import Maker

ARGUMENTS: dict[str, Any] = {
    "campaign": "c", "ordinal": 1, "values": {"t": 1.0}, "purpose": "explore", "registration_id": None, "block": None,
    "arm": None, "replicates": 1, "problem_hash": "h",
}  # fmt: skip
CHANGES: dict[str, Any] = {
    "campaign": "d", "ordinal": 2, "values": {"t": 1}, "purpose": "confirm", "registration_id": "r", "block": 0,
    "arm": "high", "replicates": 2, "problem_hash": "g",
}  # fmt: skip


@pytest.mark.parametrize("name", list(ARGUMENTS))
def test_a_revision_changes_with_everything_that_is_approved(name: str) -> None:
    assert records.revision_of(**ARGUMENTS) != records.revision_of(**{**ARGUMENTS, name: CHANGES[name]})


def test_a_revision_is_that_of_the_record(make: Maker) -> None:
    experiment = make.experiment(registration_id="r", block=1, arm="low", replicates=3)
    assert experiment.expected_revision(make.problem_hash) == experiment.revision
    assert experiment.expected_revision("other") != experiment.revision


@given(
    st.dictionaries(
        st.text("abc", min_size=1), st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text()
    )
)
def test_values_keep_their_type_through_text(values: dict[str, Any]) -> None:
    experiment = Maker().experiment(values=values)
    back = records.Experiment.model_validate(parse(canonical(experiment)))
    assert back == experiment
    assert {name: type(value) for name, value in back.values.items()} == {
        name: type(value) for name, value in values.items()
    }
    assert back.expected_revision(Maker.problem_hash) == experiment.revision


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None, [1.0], b"x"])
def test_a_value_that_is_none_is_refused(make: Maker, value: Any) -> None:
    with pytest.raises(ValidationError):
        make.observation(values={"t": value})


def test_numpy_numbers_are_plain_numbers(make: Maker) -> None:
    stored = make.observation(values={"t": np.float64(1.5)}).values["t"]
    assert type(stored) is float


def test_unknown_fields_changes_and_loose_types_are_refused(make: Maker) -> None:
    with pytest.raises(ValidationError):
        make.campaign(colour="red")
    with pytest.raises(ValidationError):
        make.campaign(seed="1")
    with pytest.raises(ValidationError):
        make.campaign(simulated=1)
    with pytest.raises(ValidationError):
        make.campaign().state = "running"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        make.observation(outcomes={"y": {"mean": 1.0}})
    with pytest.raises(ValidationError):
        make.observation(outcomes={"y": {"mean": float("nan"), "sem": None}})


def test_times_have_a_zone_and_are_utc(make: Maker) -> None:
    with pytest.raises(ValidationError, match="zone"):
        make.campaign(created_at=datetime(2026, 1, 1))
    local = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=3)))
    stored = make.campaign(created_at=local).created_at
    assert (stored, stored.tzinfo) == (local, UTC)
    assert make.campaign(created_at="2026-01-01T09:00:00Z").created_at == local


def test_ids_sort_by_time_and_can_be_typed() -> None:
    assert len({records.new_id("x") for _ in range(1000)}) == 1000
    assert records.new_id("run").startswith("run-") and len(records.new_id("run")) == 30
    for name, start in (
        ("SnAr: flow reactor!", "snar-flow-reactor-"),
        ("触媒", "campaign-"),
        ("x" * 90, "x" * 40 + "-"),
    ):
        assert records.new_campaign_id(name).startswith(start)


def test_a_spooled_document_knows_its_hash() -> None:
    stored = records.SpooledDocument(run_uid="r", position=0, name="start", body="{}").stored()
    assert stored.sha256 == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
