"""What is so now and wants somebody's answer: read from the ledger, the instruments' folders and the disk.

Nothing is concluded that was not seen. A place that cannot be read says nothing of its alarms: they stay as they are,
and one more alarm says that it cannot be read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from athanor.governance import alarm_catalogue as names
from athanor.governance.alarms import Condition
from athanor.memory.tail import Tail

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.records import Campaign, Event

log = logging.getLogger(__name__)

SITE = "site"
OPEN = ("queued", "running", "paused")
BY_A_PERSON = ("paused by a person", "paused: the command was interrupted", "interrupted.")
"""How the reason begins of a pause that somebody wanted."""
BY_DRIFT = "reference "
EVER = datetime(1970, 1, 1, tzinfo=UTC)


class Site(Protocol):
    """What is looked at."""

    @property
    def ledger(self) -> Ledger:
        """The ledger."""
        ...

    def places(self) -> list[InstrumentPlace]:
        """The instruments."""
        ...

    def is_simulated_at(self, place: InstrumentPlace) -> bool:
        """Whether one of them is simulated."""
        ...


@dataclass
class Reading:
    """What is so now; of the definitions in `unread` nobody can tell."""

    conditions: list[Condition] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)


def conditions(site: Site) -> list[Condition]:
    """Return what is so now at a site."""
    return Conditions(site).look().conditions


class Conditions:
    """Looks at a site again and again. For one thread at a time."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ledger = site.ledger
        self._tail = Tail(site.ledger, "refusals", "sign_in_refused")
        self._recent: deque[Event] = deque()
        self._changes = -1
        self._campaigns: list[Campaign] = []
        self._parts: tuple[tuple[str, tuple[str, ...], Callable[[datetime], Iterator[Condition]]], ...] = (
            ("the instruments", INSTRUMENT, self._instruments),
            ("the campaigns", CAMPAIGN, self._of_campaigns),
            ("refusals and sign-ins", EVENT, self._events),
            ("the stocks", (names.STOCK, names.STOCK_EMPTY), self._stocks),
            ("the disk of the ledger", (names.LEDGER_SPACE, names.LEDGER_FULL), self._space),
        )

    def look(self) -> Reading:
        """Return what is so now."""
        now, found = self._ledger.now(), Reading()
        for what, definitions, read in self._parts:
            try:
                found.conditions += read(now)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are still looked at
                log.warning("%s cannot be looked at: %s", what, error)
                found.unread.update(definitions)
                detail = f"{what} cannot be looked at: {type(error).__name__}: {error}"
                found.conditions.append(Condition(names.BLIND, what, detail))
        return found

    # -- instruments ---------------------------------------------------------------------------------------------------

    def _instruments(self, now: datetime) -> Iterator[Condition]:
        self._read_campaigns()
        used = {campaign.instrument for campaign in self._campaigns if campaign.state in OPEN}
        places = self._site.places()
        called = [place.name for place in places]
        for place in places:
            name = place.name if called.count(place.name) == 1 else f"{place.name} in {place.directory}"
            found = list(_of_instrument(place, now, is_used=place.name in used))
            is_simulated = bool(found) and self._site.is_simulated_at(place)
            for definition, detail, since, occurrence in found:
                yield Condition(definition, name, detail, since, occurrence, place.name, is_simulated)

    # -- campaigns -----------------------------------------------------------------------------------------------------

    def _read_campaigns(self) -> None:
        changes = self._ledger.changes()
        if changes != self._changes:
            self._campaigns = self._ledger.campaigns()
            self._changes = changes

    def _of_campaigns(self, now: datetime) -> Iterator[Condition]:
        self._read_campaigns()
        for campaign in self._campaigns:
            for definition, detail, since, occurrence in _of_campaign(campaign, self._ledger, now):
                yield _about(campaign, definition, campaign.id, detail, since, occurrence)
        by_id = {campaign.id: campaign for campaign in self._campaigns}
        oldest: dict[str, tuple[datetime, str, int]] = {}
        for experiment in self._ledger.experiments_in(("in_doubt", "proposed")):
            campaign = by_id.get(experiment.campaign_id) or self._ledger.campaign(experiment.campaign_id)
            if experiment.state == "in_doubt":
                why = experiment.reason or "its run has no end"
                yield _about(campaign, names.IN_DOUBT, experiment.id, f"{experiment.id}: {why}", None, "")
            elif campaign.state in ("running", "paused"):
                since, first, count = oldest.get(campaign.id, (experiment.created_at, experiment.id, 0))
                oldest[campaign.id] = (since, first, count + 1)
        for campaign_id, (since, first, count) in oldest.items():
            if now - since < timedelta(seconds=names.APPROVAL_S):
                continue
            more = "" if count == 1 else f", and {count - 1} more"
            detail = f"{first} has been waiting since {since:%Y-%m-%d %H:%M} UTC{more}"
            yield _about(by_id[campaign_id], names.APPROVAL, campaign_id, detail, since, "")

    # -- events --------------------------------------------------------------------------------------------------------

    def _events(self, now: datetime) -> Iterator[Condition]:
        self._recent.extend(self._tail.new())
        longest = timedelta(seconds=max(names.SIGN_IN_S, names.INTERLOCK_S))
        while self._recent and now - self._recent[0].created_at > longest:
            self._recent.popleft()
        yield from self._refusals(now)
        tried: dict[str, list[Event]] = {}
        for event in self._within("sign_in_refused", names.SIGN_IN_S, now):
            tried.setdefault(event.body.get("login") or "unknown logins", []).append(event)
        for login, events in tried.items():
            if len(events) >= names.SIGN_IN_COUNT:
                # From where is for those who may read the audit; alarms are for everybody.
                detail = f"{login}: {len(events)} failures in {names.SIGN_IN_S / 60:g} minutes"
                yield Condition(names.SIGN_IN, login, detail)

    def _refusals(self, now: datetime) -> Iterator[Condition]:
        counted: dict[str, dict[str, int]] = {}
        for event in self._within("refusals", names.INTERLOCK_S, now):
            for code, count in event.body["counts"].items():
                if str(code).startswith("interlock."):
                    codes = counted.setdefault(str(event.body["instrument"]), {})
                    codes[str(code)] = codes.get(str(code), 0) + int(count)
        places = {place.name: place for place in self._site.places()} if counted else {}
        for name, codes in counted.items():
            said = ", ".join(f"{code} × {count}" for code, count in sorted(codes.items()))
            is_simulated = name in places and self._site.is_simulated_at(places[name])
            yield Condition(names.INTERLOCK, name, f"{name}: {said}", None, "", name, is_simulated)

    def _within(self, kind: str, seconds: float, now: datetime) -> Iterator[Event]:
        for event in self._recent:
            if event.kind == kind and now - event.created_at <= timedelta(seconds=seconds):
                yield event

    # -- stocks and disk -----------------------------------------------------------------------------------------------

    def _stocks(self, now: datetime) -> Iterator[Condition]:
        for level in self._ledger.levels():
            stock = level.consumable
            unit = f" {stock.unit}" if stock.unit else ""
            left = f"{stock.id}: {level.available:g}{unit} left"
            if level.available <= 0 and stock.low is not None:
                yield Condition(names.STOCK_EMPTY, stock.id, left)
            elif level.is_low:
                yield Condition(names.STOCK, stock.id, f"{left}, of which people are told at {stock.low:g}{unit}")

    def _space(self, now: datetime) -> Iterator[Condition]:
        folder = self._ledger.path.resolve().parent
        free = shutil.disk_usage(folder).free
        if free < names.LOW_BYTES:
            definition = names.LEDGER_FULL if free < names.FULL_BYTES else names.LEDGER_SPACE
            yield Condition(definition, SITE, f"{free / 2**20:.0f} MiB are free on the disk of {folder}")


_Found = tuple[str, str, datetime | None, str]
INSTRUMENT = (
    names.STOP_ALL,
    names.WORKER_LOST,
    names.WORKER_FAILED,
    names.TAKEOVER_UNKNOWN,
    names.TAKEOVER_LONG,
    names.TAKEOVER_EXPIRED,
    names.WRITES_OFF,
    names.SPOOL_ASIDE,
)
CAMPAIGN = (
    names.IN_DOUBT,
    names.CAMPAIGN_LOST,
    names.CAMPAIGN_PAUSED,
    names.CAMPAIGN_FAILED,
    names.APPROVAL,
    names.GRANT,
    names.DRIFT,
)
EVENT = (names.INTERLOCK, names.SIGN_IN)


def _about(
    campaign: Campaign, definition: str, subject: str, detail: str, since: datetime | None, occurrence: str
) -> Condition:
    return Condition(definition, subject, detail, since, occurrence, campaign.instrument, campaign.simulated)


# -- one instrument ---------------------------------------------------------------------------------------------------


def _of_instrument(place: InstrumentPlace, now: datetime, *, is_used: bool) -> Iterator[_Found]:
    """What is the matter with one instrument; `is_used`: whether a campaign that is not over runs on it."""
    from athanor.instruments.latch import Latch
    from athanor.instruments.quarantine import aside
    from athanor.instruments.write_switch import WriteSwitch

    latch = Latch(place).read()
    if latch.engaged:
        by = f", by {latch.by}" if latch.by else ""
        detail = f"{place.name}: {latch.reason or 'no reason given'}{by}"
        yield names.STOP_ALL, detail, moment_of(latch.at), str(latch.count)
    writes = WriteSwitch(place).read()
    if not writes.on:
        by = f", by {writes.by}" if writes.by else ""
        detail = f"{place.name}: {writes.reason or 'no reason given'}{by}"
        yield names.WRITES_OFF, detail, moment_of(writes.at), writes.at or ""
    yield from _hands(place, now)
    if is_used:
        yield from _worker(place)
    damaged = [item for item in aside(place) if item.kind != "foreign"]
    if damaged:
        detail = f"{place.name}: {len(damaged)} set aside; the last is {damaged[-1].file}: {damaged[-1].detail}"
        yield names.SPOOL_ASIDE, detail, None, str(len(damaged))


def _hands(place: InstrumentPlace, now: datetime) -> Iterator[_Found]:
    from athanor.instruments.takeover import TakeOver

    standing = TakeOver(place).read(now)
    if standing.trouble is not None:
        yield names.TAKEOVER_UNKNOWN, standing.trouble, None, ""
        return
    if standing.tenure is not None:
        if now - standing.tenure.since > timedelta(seconds=names.LONG_TAKEOVER_S):
            yield names.TAKEOVER_LONG, f"{place.name}: {standing.tenure}", standing.tenure.since, standing.tenure.nonce
        return
    tenure = TakeOver(place).read(EVER).tenure  # of all times: the last one, if nobody handed it back
    if tenure is not None and now - tenure.until < timedelta(seconds=names.EXPIRED_TAKEOVER_S):
        ended = f"until {tenure.until:%Y-%m-%d %H:%M} UTC ({tenure.reason})"
        yield names.TAKEOVER_EXPIRED, f"{place.name}: {tenure.holder} had it {ended}", tenure.until, tenure.nonce


def _worker(place: InstrumentPlace) -> Iterator[_Found]:
    note = place.directory / "worker.exit"
    if note.exists():
        said = {}
        with contextlib.suppress(OSError, ValueError):
            said = json.loads(note.read_text(encoding="utf-8"))
        detail = str(said.get("detail") or "worker.log says more") if isinstance(said, Mapping) else "see worker.log"
        yield names.WORKER_FAILED, f"{place.name}: {detail}", None, ""
        return
    try:
        pid = int((place.sockets / "worker.pid").read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return  # it has left in good order, or never was there
    if (trouble := _trouble_of(pid)) is not None:
        yield names.WORKER_LOST, f"{place.name}: its worker (process {pid}) {trouble}", None, str(pid)


def _trouble_of(pid: int) -> str | None:
    """What is the matter with a worker's process, without speaking to it: that would count as using it."""
    from athanor.instruments.stop import WORKERS

    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return "has ended without a word"
        except PermissionError:
            pass
        return None
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "has ended without a word"
    if state in "ZX" or not any(name in command for name in WORKERS):
        return "has ended without a word"
    return "is frozen" if state in "Tt" else None


def moment_of(text: str | None) -> datetime | None:
    """A time as the files of an instrument have it; None where it is none."""
    try:
        found = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found is None or found.tzinfo is not None else found.replace(tzinfo=UTC)


# -- one campaign -----------------------------------------------------------------------------------------------------


def _of_campaign(campaign: Campaign, ledger: Ledger, now: datetime) -> Iterator[_Found]:
    said = f"{campaign.id}: {campaign.reason or 'it gives no reason'}"
    if campaign.state == "failed" and campaign.finished_at is not None:
        if now - campaign.finished_at < timedelta(seconds=names.FAILED_S):
            yield names.CAMPAIGN_FAILED, said, campaign.finished_at, ""
    elif campaign.state == "paused":
        yield from _paused(campaign, said)
    elif campaign.state == "running":
        yield from _driven(campaign, ledger, now)
        if campaign.autonomy == "auto_within_limits":
            yield from _grant(campaign, ledger, now)


def _paused(campaign: Campaign, said: str) -> Iterator[_Found]:
    reason = campaign.reason or ""
    if reason.startswith(BY_A_PERSON):
        return
    occurrence = hashlib.sha256(reason.encode("utf-8", "replace")).hexdigest()[:12]
    definition = names.DRIFT if reason.startswith(BY_DRIFT) else names.CAMPAIGN_PAUSED
    yield definition, said, None, occurrence


def _driven(campaign: Campaign, ledger: Ledger, now: datetime) -> Iterator[_Found]:
    from athanor.agents.holders import is_gone

    lease = ledger.lease(f"campaign:{campaign.id}")
    if lease is None or lease.expires_at <= now or is_gone(lease.holder):
        who = "" if lease is None else f" ({lease.holder})"
        since = None if lease is None else min(lease.expires_at, now)
        epoch = "" if lease is None else str(lease.epoch)
        yield names.CAMPAIGN_LOST, f"{campaign.id} is running, but its process is gone{who}", since, epoch


def _grant(campaign: Campaign, ledger: Ledger, now: datetime) -> Iterator[_Found]:
    ends = [
        decision.expires_at
        for decision in ledger.decisions(campaign.id)
        if decision.kind == "grant" and decision.expires_at is not None
    ]
    if ends and timedelta(0) < max(ends) - now < timedelta(seconds=names.GRANT_S):
        detail = f"{campaign.id}: its leave ends at {max(ends):%Y-%m-%d %H:%M} UTC"
        yield names.GRANT, detail, None, max(ends).isoformat()
