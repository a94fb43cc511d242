"""Finding what earlier campaigns asked, claimed, decided and measured: by words, and by what it is about.

Words are looked up in the index that `recall` keeps of questions and hypotheses, and in reasons and names; everything
else is read from the tables. There is no second copy of anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Connection, and_, false, func, or_, select

from athanor.memory import dialects
from athanor.memory.canonical import time_text
from athanor.memory.ledger import Ledger
from athanor.memory.records import Campaign, Decision, Experiment, Hypothesis, Observation, Problem
from athanor.memory.rows import table_of

Kind = Literal["campaign", "hypothesis", "experiment"]
KINDS: tuple[Kind, ...] = ("campaign", "hypothesis", "experiment")
MOST = 1000
"""Hits of each kind that are ranked; whoever has more asks for something narrower."""
MOST_WORDS = 16
_CAMPAIGN, _HYPOTHESIS, _EXPERIMENT = table_of(Campaign), table_of(Hypothesis), table_of(Experiment)
_DECISION, _OBSERVATION, _PROBLEM = table_of(Decision), table_of(Observation), table_of(Problem)
_WORD = re.compile(r"\w+")
_TABLES = {"campaign": _CAMPAIGN, "hypothesis": _HYPOTHESIS, "experiment": _EXPERIMENT}
_TEXTS: Mapping[str, Sequence[Column[Any]]] = {
    "campaign": (_CAMPAIGN.c.id, _CAMPAIGN.c.name, _CAMPAIGN.c.question, _CAMPAIGN.c.reason, _CAMPAIGN.c.laboratory),
    "hypothesis": (_HYPOTHESIS.c.id, _HYPOTHESIS.c.statement, _HYPOTHESIS.c.rationale, _HYPOTHESIS.c.reason),
    "experiment": (_EXPERIMENT.c.id, _EXPERIMENT.c.reason, _EXPERIMENT.c.source, _EXPERIMENT.c.purpose),
}


@dataclass(frozen=True)
class Range:
    """Which values of a parameter, or means of an outcome, by the problem of a campaign: bounds in its own unit.

    A problem that is not named has no such parameter, and its experiments are not meant.
    """

    of: Literal["parameter", "outcome"]
    name: str
    bounds: Mapping[str, tuple[float | None, float | None]]
    level: str | None = None
    """A level of a categorical parameter, instead of bounds."""


@dataclass(frozen=True)
class Sought:
    """What is looked for; what is left out does not matter. Every word must occur, as a beginning."""

    words: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = KINDS
    campaign: str | None = None
    laboratory: str | None = None
    states: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    who: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ranges: tuple[Range, ...] = ()


@dataclass(frozen=True)
class Hit:
    """Something that was found."""

    kind: Kind
    id: str


@dataclass(frozen=True)
class Hits:
    """What was found, the best first; `is_cut`: there was more than is ranked."""

    found: list[Hit]
    is_cut: bool


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of what a person typed."""
    return tuple(_WORD.findall(text)[:MOST_WORDS])


def find(ledger: Ledger, sought: Sought, most: int = MOST) -> Hits:
    """Find things. With words, those in whose text they weigh most come first; then, and else, the newest."""
    ranked: list[tuple[float, int, Hit]] = []
    is_cut = False
    with ledger._reading() as connection:
        weights: dict[tuple[str, str], float] = {}
        if sought.words:
            weights = dialects.weigh(connection, list(sought.words), 2 * most)
        for kind in KINDS:
            if kind in sought.kinds:
                rows = _of_kind(connection, kind, sought, weights, most)
                is_cut |= len(rows) > most
                ranked += [
                    (weights.get((kind, identity), 0.0), -position, Hit(kind, identity))
                    for identity, position in rows[:most]
                ]
    ranked.sort(key=lambda item: item[:2])
    return Hits([hit for _, _, hit in ranked], is_cut)


def problems(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Return every problem by its hash."""
    return {found.hash: found.body for found in ledger._list(Problem, select(_PROBLEM))}


def _of_kind(
    connection: Connection, kind: Kind, sought: Sought, weights: Mapping[tuple[str, str], float], most: int
) -> list[tuple[str, int]]:
    table = _TABLES[kind]
    conditions = _conditions(kind, sought)
    if sought.words:
        here = [identity for other, identity in weights if other == kind]
        written = and_(
            *(
                or_(*(func.lower(text).contains(word.lower(), autoescape=True) for text in _TEXTS[kind]))
                for word in sought.words
            )
        )
        conditions.append(or_(table.c.id.in_(here), written) if here else written)
    query = select(table.c.id, table.c.position).where(*conditions)
    if kind != "campaign":
        query = query.join(_CAMPAIGN, _CAMPAIGN.c.id == table.c.campaign_id)
    rows = connection.execute(query.order_by(table.c.position.desc()).limit(most + 1))
    return [(str(row[0]), int(row[1])) for row in rows]


def _conditions(kind: Kind, sought: Sought) -> list[ColumnElement[bool]]:
    table = _TABLES[kind]
    conditions: list[ColumnElement[bool]] = []
    if sought.campaign is not None:
        conditions.append(_CAMPAIGN.c.id == sought.campaign)
    if sought.laboratory is not None:
        conditions.append(_CAMPAIGN.c.laboratory == sought.laboratory)
    if sought.states:
        conditions.append(table.c.state.in_(sought.states))
    if sought.since is not None:
        conditions.append(table.c.created_at >= time_text(sought.since))
    if sought.until is not None:
        conditions.append(table.c.created_at < time_text(sought.until))
    if sought.verdicts:
        conditions.append(_HYPOTHESIS.c.state.in_(sought.verdicts) if kind == "hypothesis" else false())
    if sought.who is not None:
        conditions.append(_by(kind, sought.who))
    if sought.ranges:
        conditions += [_within(one) for one in sought.ranges] if kind == "experiment" else [false()]
    return conditions


def _by(kind: Kind, who: str) -> ColumnElement[bool]:
    if kind == "hypothesis":
        return _HYPOTHESIS.c.proposer == who
    theirs = select(_DECISION.c.id).where(_DECISION.c.decided_by == who)
    if kind == "campaign":
        return theirs.where(_DECISION.c.campaign_id == _CAMPAIGN.c.id).exists()
    about = or_(_DECISION.c.experiment_id == _EXPERIMENT.c.id, _DECISION.c.id == _EXPERIMENT.c.decision_id)
    return theirs.where(_DECISION.c.campaign_id == _EXPERIMENT.c.campaign_id, about).exists()


def _within(one: Range) -> ColumnElement[bool]:
    """The condition that an experiment keeps to a range, in the unit of its own campaign."""
    later = _OBSERVATION.alias("later")
    newest = ~(
        select(later.c.id)
        .where(
            later.c.experiment_id == _OBSERVATION.c.experiment_id,
            later.c.revision_number > _OBSERVATION.c.revision_number,
        )
        .exists()
    )
    alternatives = []
    for problem, (low, high) in one.bounds.items():
        if one.of == "parameter":
            value = dialects.value_of(_EXPERIMENT.c.point, one.name)
        else:
            value = dialects.value_of(_OBSERVATION.c.outcomes, one.name, "mean")
        held = [value >= low] if low is not None else []
        held += [value <= high] if high is not None else []
        held += [value == one.level] if one.level is not None else []
        if one.of == "outcome":
            measured = select(_OBSERVATION.c.id).where(_OBSERVATION.c.experiment_id == _EXPERIMENT.c.id, newest, *held)
            held = [measured.exists()]
        alternatives.append(
            and_(_CAMPAIGN.c.problem_hash == problem, value.is_not(None), *held)
            if one.of == "parameter"
            else and_(_CAMPAIGN.c.problem_hash == problem, *held)
        )
    return or_(*alternatives) if alternatives else false()
