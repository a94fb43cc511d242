"""What is so at the end of a shift, and what was decided in it: the facts of a handover."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from athanor.console import wording
from athanor.console.conditions import OPEN, Site, moment_of
from athanor.governance.alarm_catalogue import CATALOGUE
from athanor.governance.alarms import CLOCK, STATES
from athanor.governance.handover import Fact, Facts, SectionId

if TYPE_CHECKING:
    from athanor.governance.alarm_history import Alarms
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign, Experiment

MOST = 200
"""So many lines of a section are kept; how many more there are is said."""
SPENT = ("dispatched", "running", "completed", "failed", "aborted", "stopped_early", "in_doubt")

DID: dict[str, str] = {
    "take_over_ordered": "took {instrument} over: {reason}",
    "hand_back_ordered": "handed {instrument} back",
    "release_ordered": "released {instrument} from {holder}: {reason}",
    "reference_accepted": "accepted the new level of a reference: {reason}",
    "reference_recalibrated": "recalibrated after a reference had left its limits: {reason}",
}
"""Events of people that the next shift should know of, and how they read."""


def facts(site: Site, alarms: Alarms, since: datetime) -> Facts:
    """Return what is so now at a site, and what was decided in it since a moment."""
    ledger = site.ledger
    campaigns = ledger.campaigns()
    found: dict[SectionId, Callable[[], Iterator[Fact]]] = {
        "campaigns": lambda: _campaigns(ledger, campaigns, since),
        "approvals": lambda: _waiting(ledger, campaigns),
        "alarms": lambda: _alarms(alarms),
        "overrides": lambda: _overrides(site, campaigns),
        "doubt": lambda: _doubt(ledger),
        "stock": lambda: _stock(ledger),
        "decided": lambda: _decided(ledger, alarms, campaigns, since),
    }
    return {name: _cut(list(read())) for name, read in found.items()}


def _cut(lines: list[Fact]) -> list[Fact]:
    if len(lines) <= MOST:
        return lines
    return [*lines[:MOST], Fact(f"… and {len(lines) - MOST} more, which the console lists")]


def _campaigns(ledger: Ledger, campaigns: list[Campaign], since: datetime) -> Iterator[Fact]:
    from athanor.console.commands.decisions import is_driven

    for campaign in campaigns:
        is_open = campaign.state in OPEN
        if not is_open and (campaign.finished_at is None or campaign.finished_at < since):
            continue
        where = f"{campaign.instrument}{' (simulated)' if campaign.simulated else ''}"
        used, budget = len(ledger.experiments(campaign.id, SPENT)), campaign.spec.get("budget", {}).get("experiments")
        of = "" if budget is None else f" of {budget}"
        said = f"{campaign.name} ({campaign.id}) on {where}: {campaign.state}, {used}{of} experiments used"
        if campaign.state == "running" and not is_driven(ledger, campaign.id):
            said += "; no process drives it"
        if campaign.reason:
            said += f"; {campaign.reason}"
        yield Fact(said, campaign.id)


def _waiting(ledger: Ledger, campaigns: list[Campaign]) -> Iterator[Fact]:
    by_id = {campaign.id: campaign for campaign in campaigns}
    for experiment in ledger.experiments_in(("proposed",)):
        campaign = by_id.get(experiment.campaign_id)
        if campaign is not None and campaign.state in OPEN:
            since = wording.moment(experiment.created_at)
            yield Fact(f"{experiment.id} since {since}: {_settings(campaign, experiment)}", experiment.id)


def _settings(campaign: Campaign, experiment: Experiment) -> str:
    units = {item.get("name"): item.get("unit") for item in campaign.problem.get("parameters", ())}
    parts = []
    for name, value in experiment.values.items():
        unit = wording.pretty_unit(units.get(name))
        parts.append(f"{name} {wording.number(value)}{f' {unit}' if unit else ''}")
    return ", ".join(parts)


def _alarms(alarms: Alarms) -> Iterator[Fact]:
    found = [alarm for alarm in alarms.all() if alarm.state != "normal"]
    for alarm in sorted(found, key=lambda alarm: STATES.index(alarm.state)):
        title = CATALOGUE[alarm.definition].title if alarm.definition in CATALOGUE else alarm.definition
        said = f"{title} ({alarm.priority}, {alarm.state.replace('_', ' ')}): {alarm.detail or alarm.subject}"
        if alarm.hidden is not None:
            until = "" if alarm.hidden.until is None else f" until {wording.moment(alarm.hidden.until)}"
            said += f"; hidden by {alarm.hidden.by}{until}: {alarm.hidden.why}"
        elif alarm.acknowledged_by is not None:
            said += f"; acknowledged by {alarm.acknowledged_by}"
        yield Fact(said, alarm.id)


def _overrides(site: Site, campaigns: list[Campaign]) -> Iterator[Fact]:
    from athanor.agents.context import grant_in_force
    from athanor.agents.opening import instrument_place
    from athanor.instruments.latch import Latch
    from athanor.instruments.takeover import TakeOver
    from athanor.instruments.write_switch import WriteSwitch

    for place in site.places():
        latch, writes, standing = Latch(place).read(), WriteSwitch(place).read(), TakeOver(place).read()
        if latch.engaged:
            said = f"{place.name}: Stop All is latched: {latch.reason or 'no reason given'}"
            yield Fact(f"{said} ({_by(latch.by, latch.at)})", place.name)
        if not writes.on:
            said = f"{place.name}: writes are off: {writes.reason or 'no reason given'}"
            yield Fact(f"{said} ({_by(writes.by, writes.at)})", place.name)
        if standing.refusal is not None:
            yield Fact(f"{place.name}: {standing.refusal[1]}", place.name)
    for campaign in campaigns:
        if campaign.state not in OPEN:
            continue
        grant = grant_in_force(site.ledger, campaign.id, Latch(instrument_place(campaign, site.ledger)).read().count)
        if grant is not None:
            until = "" if grant.expires_at is None else f" until {wording.moment(grant.expires_at)}"
            yield Fact(
                f"{campaign.id} approves its own experiments{until} (granted by {grant.decided_by})", campaign.id
            )


def _by(person: str | None, at: str | None) -> str:
    moment = moment_of(at)
    return f"{person or 'nobody knows who'}, {'nobody knows when' if moment is None else wording.moment(moment)}"


def _doubt(ledger: Ledger) -> Iterator[Fact]:
    for experiment in ledger.experiments_in(("in_doubt",)):
        yield Fact(f"{experiment.id}: {experiment.reason or 'its run has no end'}", experiment.id)


def _stock(ledger: Ledger) -> Iterator[Fact]:
    for level in ledger.levels():
        if level.is_low:
            stock = level.consumable
            unit = f" {stock.unit}" if stock.unit else ""
            yield Fact(f"{stock.id}: {level.available:g}{unit} left (told at {stock.low:g}{unit})", stock.id)


def _decided(ledger: Ledger, alarms: Alarms, campaigns: list[Campaign], since: datetime) -> Iterator[Fact]:
    """Approvals by number, everything else one by one."""
    told: list[tuple[datetime, Fact]] = []
    approved: Counter[tuple[str, str]] = Counter()
    for campaign in campaigns:
        if campaign.finished_at is not None and campaign.finished_at < since:
            continue
        for decision in ledger.decisions(campaign.id):
            if decision.created_at < since:
                continue
            if decision.kind == "approve":
                approved[campaign.id, decision.decided_by] += 1
                continue
            verb = {"reject": "rejected", "edit": "edited", "grant": "granted autonomy to", "settle": "settled"}
            about = decision.experiment_id or campaign.id
            why = f": {decision.reason}" if decision.reason else ""
            told.append(_line(decision.created_at, f"{decision.decided_by} {verb[decision.kind]} {about}{why}", about))
    for event in ledger.events(kinds=tuple(DID)):
        if event.created_at >= since:
            said = DID[event.kind].format_map(_Known(event.body)).rstrip(": ")
            about = str(event.body.get("instrument") or event.campaign_id or "")
            told.append(_line(event.created_at, f"{event.body.get('by')} {said}", about))
    for entry in alarms.history():
        if entry.at >= since and entry.by != CLOCK:
            verb_ = entry.verb.replace("removed", "took out of service").replace("restored", "put back into service")
            told.append(_line(entry.at, f"{entry.by} {verb_} the alarm {entry.alarm}: {entry.why}", entry.alarm))
    for (campaign_id, person), count in sorted(approved.items()):
        yield Fact(
            f"{person} approved {count} {'experiment' if count == 1 else 'experiments'} of {campaign_id}", campaign_id
        )
    for _, fact in sorted(told, key=lambda item: item[0]):
        yield fact


class _Known(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "somebody" if key == "holder" else ""


def _line(at: datetime, said: str, about: str) -> tuple[datetime, Fact]:
    return at, Fact(f"{at.astimezone(UTC):%m-%d %H:%M} UTC: {said}", about)
