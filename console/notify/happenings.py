"""What happens that people may be told of: read from the journal as it grows, and from the latches of Stop All.

Some things last, such as an experiment that waits for approval: they are told if they still hold after a while, and are
over when they do not. Others happen, such as the end of a campaign.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.console.settings import NotifyRule
from athanor.memory.canonical import parse
from athanor.memory.errors import NotFound
from athanor.memory.records import JournalRow

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.records import Campaign

log = logging.getLogger(__name__)

OWN = "notification"
"""How the kinds of our own events begin: of those nobody is told."""
MOST_ROWS = 50_000
"""Who was away for longer than this is not told of what came before."""
ENDED: Mapping[str, str] = {"succeeded": "campaign_done", "cancelled": "campaign_done", "failed": "campaign_failed"}
WAITS: Mapping[str, str] = {"proposed": "approval_waiting", "in_doubt": "in_doubt"}
RINGING = ("unacknowledged", "latched_unacknowledged")
"""States of an alarm that wants somebody."""
RETURNED = "returned"
"""Its condition has gone, and nobody has acknowledged it: it still wants somebody."""


@dataclass(frozen=True)
class Happening:
    """Something to tell."""

    key: str
    """What tells it from everything else that ever happens."""
    group: str
    """What it has in common with what is the same to people."""
    what: str
    title: str
    text: str
    detail: str
    """What may not leave the house unless the site says so: reasons and settings."""
    path: str
    """The page about it."""
    at: datetime
    position: int | None
    """Its row of the journal; None for what lasts and is found by looking."""
    campaign_id: str | None = None
    simulated: bool = False
    lasts: bool = False
    """It holds until it is over, and is then no news any more."""
    kind: str = ""
    """The kind of the event that it is."""
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """An event of the journal."""

    position: int
    id: str
    kind: str
    campaign_id: str | None
    body: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True)
class Look:
    """What was seen: everything that holds, what has happened, and the events that may end something."""

    standing: Mapping[str, Happening]
    happened: list[Happening]
    rows: list[Row]
    position: int


@dataclass
class _Waiting:
    state: str
    campaign_id: str
    at: datetime
    position: int | None
    detail: str = ""


class Happenings:
    """Looks at a site again and again. For one thread at a time.

    Args:
        ledger: what is looked at.
        places: the instruments there are.
    """

    def __init__(self, ledger: Ledger, places: Callable[[], list[InstrumentPlace]]) -> None:
        self._ledger = ledger
        self._places = places
        self._position: int | None = None
        self._experiments: dict[str, _Waiting] = {}
        self._paused: dict[str, _Waiting] = {}
        self._campaigns: dict[str, Campaign] = {}
        self._latched: dict[Path, tuple[int, datetime]] = {}

    def look(self, since: int, told: Iterable[str] = ()) -> Look:
        """What is so, and what has happened since.

        Args:
            since: at the first look, the row of the journal after which to begin.
            told: at the first look, the keys of what was told and was not over then.
        """
        if self._position is None:
            self._position = max(since, self._ledger.changes() - MOST_ROWS)
            self._begin(told)
        happened: list[Happening] = []
        rows: list[Row] = []
        for row in self._ledger.journal(None, self._position):
            self._position = row.position
            try:
                self._take(row, happened, rows)
            except (KeyError, TypeError, ValueError, NotFound) as error:
                log.warning("row %s of the journal cannot be told of: %s", row.position, error)
        standing = [*self._lasting(), *self._stops()]
        return Look({one.key: one for one in standing}, happened, rows, self._position)

    def _begin(self, told: Iterable[str]) -> None:
        """What waits already: its rows are long past."""
        pauses = {key.split(":")[1]: int(key.split(":")[2]) for key in told if key.startswith("campaign_paused:")}
        for campaign in self._ledger.campaigns():
            if campaign.state in ENDED:
                continue
            if campaign.state == "paused" and campaign.id in pauses:
                self._paused[campaign.id] = _Waiting(
                    campaign.reason or "", campaign.id, self._ledger.now(), pauses[campaign.id]
                )
            for experiment in self._ledger.experiments(campaign.id, list(WAITS)):
                self._experiments[experiment.id] = _Waiting(
                    experiment.state, campaign.id, experiment.created_at, None, _settings(experiment.values)
                )

    def _take(self, row: JournalRow, happened: list[Happening], rows: list[Row]) -> None:
        at = datetime.fromisoformat(row.at)
        body = parse(row.body) if row.kind in ("experiment", "experiment_state", "campaign_state", "event") else {}
        if row.kind == "experiment" and body["state"] in WAITS:
            detail = _settings(body["values"])
            self._experiments[body["id"]] = _Waiting(body["state"], body["campaign_id"], at, row.position, detail)
        elif row.kind == "experiment_state":
            campaign = row.chain.removeprefix("campaign:")
            self._experiments.pop(body["experiment"], None)
            if body["to"] in WAITS:
                self._experiments[body["experiment"]] = _Waiting(body["to"], campaign, at, row.position)
        elif row.kind == "campaign_state":
            self._campaign_went(row, body["campaign"], body["to"], str(body.get("reason") or ""), at, happened)
        elif row.kind == "event" and not str(body["kind"]).startswith(OWN):
            found = Row(row.position, body["id"], body["kind"], body["campaign_id"], body["body"], at)
            rows.append(found)
            happened.append(self._event(found))

    def _campaign_went(
        self, row: JournalRow, campaign_id: str, to: str, reason: str, at: datetime, happened: list[Happening]
    ) -> None:
        self._paused.pop(campaign_id, None)
        if to == "paused":
            self._paused[campaign_id] = _Waiting(reason, campaign_id, at, row.position)
        if to not in ENDED:
            return
        for experiment in [one for one, waiting in self._experiments.items() if waiting.campaign_id == campaign_id]:
            if self._experiments[experiment].state == "proposed":
                del self._experiments[experiment]
        campaign = self._campaign(campaign_id)
        happened.append(
            Happening(
                key=f"row:{row.position}",
                group=f"campaign:{campaign_id}:{to}",
                what=ENDED[to],
                title=f"{campaign.name}: the campaign {'has failed' if to == 'failed' else 'is over'}",
                text=f"Campaign {campaign_id} on {campaign.instrument}: {to}.",
                detail=reason,
                path=f"/campaigns/{campaign_id}",
                at=at,
                position=row.position,
                campaign_id=campaign_id,
                simulated=campaign.simulated,
            )
        )

    def _event(self, row: Row) -> Happening:
        alarm = alarm_of(row)
        about, subject = row.body.get("alarm"), row.body.get("subject") or row.body.get("instrument")
        where = f" of {subject}" if subject else ""
        title = f"{row.kind.replace('_', ' ')}{where}"
        if alarm is not None:
            title = f"Alarm, {row.body.get('priority') or 'no priority'}: {row.body.get('definition') or about}{where}"
        return Happening(
            key=f"event:{row.id}",
            group=f"event:{row.kind}:{row.campaign_id or ''}" if alarm is None else f"alarm:{alarm}",
            what="alarm" if alarm is not None and rings(row) else "event",
            title=title[:200],
            text=f"Written in the journal as {row.kind}"
            + (f" of campaign {row.campaign_id}." if row.campaign_id else "."),
            detail=str(row.body.get("why") or row.body.get("reason") or row.body.get("detail") or ""),
            path="/alarms" if alarm is not None else f"/campaigns/{row.campaign_id}" if row.campaign_id else "/",
            at=row.at,
            position=row.position,
            campaign_id=row.campaign_id,
            simulated=self._is_simulated(row),
            lasts=alarm is not None and rings(row),
            kind=row.kind,
            body=row.body,
        )

    def _is_simulated(self, row: Row) -> bool:
        if row.campaign_id is not None:
            return self._campaign(row.campaign_id).simulated
        return row.body.get("simulated") is True

    def _lasting(self) -> Iterable[Happening]:
        for identifier, waiting in self._experiments.items():
            campaign = self._campaign(waiting.campaign_id)
            what = WAITS[waiting.state]
            says = "an experiment waits for a decision" if what == "approval_waiting" else "an experiment is in doubt"
            yield Happening(
                key=f"{what}:{identifier}",
                group=f"{what}:{campaign.id}",
                what=what,
                title=f"{campaign.name}: {says}",
                text=f"Experiment {identifier} on {campaign.instrument}.",
                detail=waiting.detail,
                path=f"/experiments/{identifier}",
                at=waiting.at,
                position=None,
                campaign_id=campaign.id,
                simulated=campaign.simulated,
                lasts=True,
            )
        for identifier, waiting in self._paused.items():
            campaign = self._campaign(identifier)
            yield Happening(
                key=f"campaign_paused:{identifier}:{waiting.position}",
                group=f"campaign:{identifier}:paused",
                what="campaign_paused",
                title=f"{campaign.name}: the campaign is paused",
                text=f"Campaign {identifier} on {campaign.instrument}.",
                detail=waiting.state,
                path=f"/campaigns/{identifier}",
                at=waiting.at,
                position=waiting.position,
                campaign_id=identifier,
                simulated=campaign.simulated,
                lasts=True,
            )

    def _stops(self) -> Iterable[Happening]:
        from athanor.instruments.latch import Latch

        for place in self._places():
            state = Latch(place).read()
            if not state.engaged:
                continue
            by = f" by {state.by}" if state.by else ""
            yield Happening(
                key=f"stop_all:{place.directory}:{state.count}",
                group="stop_all",
                what="stop_all",
                title=f"Stop All is latched on {place.name}",
                text=f"It was stopped{by}. Nothing starts there until a person resets it.",
                detail=state.reason or "",
                path=f"/instruments/{place.name}",
                at=self._stopped(place.directory, state.count, state.at),
                position=None,
                lasts=True,
            )

    def _stopped(self, directory: Path, count: int, at: str | None) -> datetime:
        """Since when an instrument is stopped; a clock that was ahead of ours keeps nobody from being told."""
        known = self._latched.get(directory)
        if known is None or known[0] != count:
            now = self._ledger.now()
            known = self._latched[directory] = count, min(_moment(at, now), now)
        return known[1]

    def _campaign(self, identifier: str) -> Campaign:
        """A campaign's name and instrument, which do not change."""
        if identifier not in self._campaigns:
            if len(self._campaigns) > 1000:
                self._campaigns.clear()
            self._campaigns[identifier] = self._ledger.campaign(identifier)
        return self._campaigns[identifier]


def alarm_of(row: Row) -> str | None:
    """Which alarm an event is about; None when it is about none."""
    if row.kind != "alarm" and not row.kind.startswith("alarm_"):
        return None
    alarm = row.body.get("alarm")
    return None if alarm is None else f"{alarm}:{row.body.get('subject') or ''}"


def rings(row: Row) -> bool:
    """Whether an event says that an alarm wants somebody: by its state or, where there is none, by its name."""
    state = row.body.get("state")
    if state is not None:
        return state in RINGING
    return row.kind == "alarm_raised" or row.body.get("verb") == "raised"


def fits(rule: NotifyRule, one: Happening) -> bool:
    """Whether a rule is about this."""
    if one.simulated and not rule.simulated:
        return False
    is_named = one.kind != "" and any(_is_kind(kind, one.kind) for kind in rule.events)
    if not is_named and (one.what == "event" or one.what not in rule.when):
        return False
    return all(one.body.get(name) in allowed for name, allowed in rule.matching.items())


def same(rule: NotifyRule, one: Happening) -> str:
    """What a happening has in common with others that are the same to this rule."""
    if not rule.same or not one.kind:
        return one.group
    return f"{one.group}:" + ":".join(str(one.body.get(name)) for name in rule.same)


def ends(rule: NotifyRule, row: Row, group: str) -> bool:
    """Whether an event ends what a rule has told of under this group."""
    alarm = alarm_of(row)
    is_answered = not rings(row) and row.body.get("state") != RETURNED
    if alarm is not None and is_answered and (group == f"alarm:{alarm}" or group.startswith(f"alarm:{alarm}:")):
        return True
    if not any(_is_kind(kind, row.kind) for kind in rule.until):
        return False
    marks = ":".join(str(row.body.get(name)) for name in rule.same)
    campaign = group.split(":")[2] if group.startswith("event:") and group.count(":") >= 2 else ""
    return campaign == (row.campaign_id or "") and (not rule.same or group.endswith(f":{marks}"))


def _is_kind(pattern: str, kind: str) -> bool:
    return kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _moment(text: str | None, default: datetime) -> datetime:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return default
    return found if found.tzinfo is not None else default
