"""When a condition counts as one: not before it has held, or been gone, for a while."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from athanor.governance.alarms import Alarm, Condition, Definition


@dataclass(frozen=True)
class Due:
    """What is to be told now: alarms to suppress (with what explains them), to raise, to clear, to show again."""

    explain: tuple[tuple[Condition, str], ...] = ()
    raise_: tuple[Condition, ...] = ()
    clear: tuple[str, ...] = ()
    unexplain: tuple[str, ...] = ()


class Deadband:
    """Holds what comes and goes too fast: a condition counts once it has held, or been gone, for its delay.

    A delay counts from when the condition began, where that is known, so that whoever looks first late is not late
    once more.
    """

    def __init__(self, catalogue: Mapping[str, Definition]) -> None:
        self._catalogue = catalogue
        self._began: dict[str, datetime] = {}
        self._gone: dict[str, datetime] = {}

    def due(
        self, conditions: Iterable[Condition], unread: Iterable[str], alarms: Iterable[Alarm], now: datetime
    ) -> Due:
        """Return what is to be told.

        Args:
            conditions: what is so now.
            unread: definitions of which nobody could tell whether they are so: theirs stay as they are.
            alarms: as they stand.
            now: the present time (UTC).
        """
        holding = {condition.alarm_id: condition for condition in conditions}
        blind = set(unread)
        known = {alarm.id: alarm for alarm in alarms}
        self._began = {name: self._began.get(name, now) for name in holding}
        explained: list[tuple[Condition, str]] = []
        raised: list[Condition] = []
        causes = self._causes(holding, known, blind)
        for name, condition in holding.items():
            self._gone.pop(name, None)
            alarm = known.get(name)
            is_new = self._is_new(condition, alarm, now)
            if alarm is None or alarm.hidden is None:
                cause = self._cause(condition.definition, condition.instrument, causes)
                if cause is not None and (is_new or (alarm is not None and alarm.is_active)):
                    explained.append((condition, cause))
            if is_new:
                raised.append(condition)
        cleared = []
        for alarm in known.values():
            if not alarm.is_active or alarm.id in holding or alarm.definition in blind:
                self._gone.pop(alarm.id, None)
                continue
            delay = self._catalogue[alarm.definition].off_delay_s if alarm.definition in self._catalogue else 0.0
            if now - self._gone.setdefault(alarm.id, now) >= timedelta(seconds=delay):
                cleared.append(alarm.id)
        shown = [
            alarm.id
            for alarm in known.values()
            if alarm.hidden is not None
            and alarm.hidden.cause is not None
            and self._cause(alarm.definition, alarm.instrument, causes) is None
            and not self._is_blind_for(alarm.definition, blind)
        ]
        return Due(tuple(explained), tuple(raised), tuple(cleared), tuple(shown))

    def _is_new(self, condition: Condition, alarm: Alarm | None, now: datetime) -> bool:
        if alarm is not None and alarm.is_active:
            return alarm.occurrence != condition.occurrence
        began = min(condition.since or now, self._began[condition.alarm_id])
        return now - began >= timedelta(seconds=self._catalogue[condition.definition].on_delay_s)

    def _causes(
        self, holding: Mapping[str, Condition], known: Mapping[str, Alarm], blind: set[str]
    ) -> dict[tuple[str, str | None], str]:
        """What may explain others, by definition and instrument: its condition holds, or it is active and not read."""
        found = {(one.definition, one.instrument): name for name, one in holding.items()}
        for alarm in known.values():
            if alarm.is_active and (alarm.id in holding or alarm.definition in blind):
                found.setdefault((alarm.definition, alarm.instrument), alarm.id)
        return found

    def _cause(
        self, definition: str, instrument: str | None, causes: Mapping[tuple[str, str | None], str]
    ) -> str | None:
        defined = self._catalogue.get(definition)
        if defined is None or instrument is None:
            return None
        return next((causes[one, instrument] for one in defined.suppressed_by if (one, instrument) in causes), None)

    def _is_blind_for(self, definition: str, blind: set[str]) -> bool:
        defined = self._catalogue.get(definition)
        return defined is not None and any(one in blind for one in defined.suppressed_by)
