"""How alarms do: how many come, how fast, which ones again and again. The measures are those of EEMUA 191."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from athanor.governance.alarms import PRIORITIES, Alarm, Priority

if TYPE_CHECKING:
    from athanor.governance.alarm_history import Entry

FLOOD_COUNT, FLOOD_TIME = 10, timedelta(minutes=10)
"""More than so many new alarms in so long are more than one person can answer."""
STANDING = timedelta(days=1)
CHATTER_COUNT, CHATTER_TIME = 3, timedelta(minutes=1)


@dataclass(frozen=True)
class Flood:
    """A time in which more alarms came than a person can answer; `worst` is the most within ten minutes."""

    began: datetime
    ended: datetime
    count: int
    worst: int


@dataclass(frozen=True)
class Figures:
    """How the alarms did in a span of time.

    `per_hour`: new alarms put before people, by hour; `standing`: those active now for more than a day; `shares`: of
    the new ones, by priority; `chattering`: those raised three times or more within a minute.
    """

    since: datetime
    until: datetime
    raised: int
    per_hour: float
    worst_ten_minutes: int
    standing: tuple[str, ...]
    floods: tuple[Flood, ...]
    is_flood: bool
    most_frequent: tuple[tuple[str, int], ...]
    chattering: tuple[str, ...]
    shares: Mapping[Priority, float]


def figures(entries: Iterable[Entry], alarms: Iterable[Alarm], since: datetime, until: datetime) -> Figures:
    """Return how the alarms did from `since` to `until`."""
    shown = [entry for entry in entries if entry.was_shown and since <= entry.at <= until]
    times = [entry.at for entry in shown]
    windows = [_within(times, index, FLOOD_TIME) for index in range(len(times))]
    counted = Counter(entry.alarm for entry in shown)
    priorities = Counter(entry.priority for entry in shown)
    by_alarm: dict[str, list[datetime]] = {}
    for entry in shown:
        by_alarm.setdefault(entry.alarm, []).append(entry.at)
    floods = _floods(times, windows)
    hours = max((until - since).total_seconds() / 3600, 1e-9)
    return Figures(
        since=since,
        until=until,
        raised=len(shown),
        per_hour=len(shown) / hours,
        worst_ten_minutes=max(windows, default=0),
        standing=tuple(
            alarm.id
            for alarm in alarms
            if alarm.is_active and alarm.raised_at is not None and until - alarm.raised_at > STANDING
        ),
        floods=floods,
        is_flood=sum(at > until - FLOOD_TIME for at in times) > FLOOD_COUNT,
        most_frequent=tuple(counted.most_common(10)),
        chattering=tuple(
            name
            for name, at in by_alarm.items()
            if any(_within(at, index, CHATTER_TIME) >= CHATTER_COUNT for index in range(len(at)))
        ),
        shares={one: priorities[one] / len(shown) if shown else 0.0 for one in PRIORITIES},
    )


def _within(times: Sequence[datetime], index: int, span: timedelta) -> int:
    """How many lie in the span that ends with the one at `index`."""
    first = index
    while first > 0 and times[index] - times[first - 1] < span:
        first -= 1
    return index - first + 1


def _floods(times: Sequence[datetime], windows: Sequence[int]) -> tuple[Flood, ...]:
    """Runs of alarms in each of which, at some moment, more than `FLOOD_COUNT` lay within `FLOOD_TIME`."""
    found: list[Flood] = []
    first = last = worst = -1
    for index, count in enumerate(windows):
        if count <= FLOOD_COUNT:
            continue
        begin = index - count + 1
        if begin <= last:
            last, worst = index, max(worst, count)
            found[-1] = Flood(times[first], times[last], last - first + 1, worst)
        else:
            first, last, worst = begin, index, count
            found.append(Flood(times[first], times[last], last - first + 1, worst))
    return tuple(found)
