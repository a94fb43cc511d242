"""Remarks and deferrals, as a campaign's events have them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from athanor.memory.canonical import time_text
from athanor.memory.records import Event
from athanor.memory.remarks import DEFERRED, REMARK, RESUMED, deferrals, remarks

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def event(kind: str, experiment: str, **body: Any) -> Event:
    return Event(
        id="e", campaign_id="c", kind=kind, body={"experiment": experiment, "by": "ada", **body}, created_at=NOW
    )


def put_off(experiment: str, hours: float) -> Event:
    return event(DEFERRED, experiment, reason="lunch", until=time_text(NOW + timedelta(hours=hours)))


def test_the_last_word_on_each_counts_until_its_time() -> None:
    events = [put_off("a", 1), put_off("b", 5), put_off("a", 3), event(RESUMED, "b"), event("other", "c")]
    assert list(deferrals(events, NOW)) == ["a"]
    assert deferrals(events, NOW)["a"].until == NOW + timedelta(hours=3)
    assert deferrals(events, NOW + timedelta(hours=3)) == {}
    assert sorted(deferrals([*events, put_off("b", 1)], NOW)) == ["a", "b"]


def test_remarks_come_in_order() -> None:
    events = [event(REMARK, "a", text="hot"), put_off("a", 1), event(REMARK, "b", text="cold")]
    found = [(one.experiment, one.by, one.text) for one in remarks(events)]
    assert found == [("a", "ada", "hot"), ("b", "ada", "cold")]
