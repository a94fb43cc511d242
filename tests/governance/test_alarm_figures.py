from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from athanor.governance.alarm_figures import figures
from athanor.governance.alarm_history import Entry
from athanor.governance.alarms import Alarm, Priority

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def entry(minutes_ago: float, alarm: str = "a~b", priority: Priority = "low", shown: bool = True) -> Entry:
    at = NOW - timedelta(minutes=minutes_ago)
    return Entry("e", alarm, "a", "b", priority, "raised", "unacknowledged", "athanor", "x", at, None, "", shown)


def test_nothing_happened() -> None:
    found = figures([], [], NOW - timedelta(hours=1), NOW)
    assert (found.raised, found.per_hour, found.floods, found.is_flood, found.worst_ten_minutes) == (0, 0, (), False, 0)


def test_ten_in_ten_minutes_are_none_and_eleven_are_a_flood() -> None:
    ten = [entry(10 - index * 0.9) for index in range(10)]
    assert figures(ten, [], NOW - timedelta(hours=1), NOW).floods == ()
    eleven = [*ten, entry(1.05)]
    found = figures(eleven, [], NOW - timedelta(hours=1), NOW)
    [flood] = found.floods
    assert (flood.count, flood.worst, found.is_flood) == (11, 11, False), "the oldest is ten minutes old now"
    assert (flood.began, flood.ended) == (eleven[0].at, eleven[-1].at)
    assert figures([*eleven, entry(0.5)], [], NOW - timedelta(hours=1), NOW).is_flood


def test_two_floods_are_two_and_one_that_goes_on_is_one() -> None:
    long = [entry(600 - index * 0.5) for index in range(60)]
    later = [entry(100 - index * 0.1) for index in range(15)]
    found = figures([*long, *later], [], NOW - timedelta(hours=24), NOW)
    assert [(flood.count, flood.worst) for flood in found.floods] == [(60, 20), (15, 15)]


def test_what_was_hidden_or_is_older_does_not_count() -> None:
    entries = [entry(600), entry(5, shown=False), entry(4, "c~d", "critical"), entry(3.9, "c~d"), entry(3.8, "c~d")]
    found = figures(entries, [], NOW - timedelta(hours=1), NOW)
    assert (found.raised, found.per_hour, found.chattering) == (3, pytest.approx(3.0), ("c~d",))
    assert found.most_frequent == (("c~d", 3),) and found.shares["critical"] == pytest.approx(1 / 3)


def test_what_stands_for_more_than_a_day_is_named() -> None:
    old = Alarm("a~b", "a", "b", is_active=True, raised_at=NOW - timedelta(hours=25))
    new = Alarm("c~d", "c", "d", is_active=True, raised_at=NOW - timedelta(hours=23))
    assert figures([], [old, new], NOW - timedelta(hours=1), NOW).standing == ("a~b",)
