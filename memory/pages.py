"""The journal in pages: some rows of it, newest or oldest first, by what they are about.

A page is read in one short transaction, and looks at a bounded number of rows however rare what is asked for: it says
from where to go on, and may hold little or nothing. Rows are never removed, so nothing moves between two pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select, tuple_

from athanor.memory import dialects
from athanor.memory.canonical import canonical, time_text
from athanor.memory.errors import NoSuchPlace
from athanor.memory.ledger import Ledger
from athanor.memory.records import Campaign, JournalRow
from athanor.memory.rows import table_of

MOST_LOOKED_AT = 50_000
"""Rows that one page looks at, at most."""
_JOURNAL = table_of(JournalRow)
_CAMPAIGN = table_of(Campaign)
_WHO = ("by", "decided_by", "login", "person", "body.by", "body.login", "body.person", "body.signed_by")
"""Where in a body a person is named."""


@dataclass(frozen=True)
class Wanted:
    """Which rows. What is left out does not matter.

    Attributes:
        chain: rows of this chain alone.
        who: what this person did, tried or was refused, by login or account name.
        kinds: rows of these kinds, or events of these kinds.
        instrument: of the campaigns on this instrument, and what names it.
        since: not before this time.
        until: before this time.
        is_refused: what was refused alone.
    """

    chain: str | None = None
    who: str | None = None
    kinds: tuple[str, ...] = ()
    instrument: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    is_refused: bool = False


@dataclass(frozen=True)
class Part:
    """Some rows in the order asked for.

    `reached` is where to go on: the position of the last row looked at, or its seq where one chain was asked for; None
    where there is nothing more.
    """

    rows: list[JournalRow]
    reached: int | None


def read(
    ledger: Ledger,
    wanted: Wanted,
    limit: int,
    after: int | None = None,
    *,
    oldest_first: bool = False,
    most: int = MOST_LOOKED_AT,
) -> Part:
    """Return `limit` rows at most, of `most` rows looked at.

    Args:
        ledger: the ledger.
        wanted: which rows.
        limit: the most to return.
        after: where to go on, as the part before says in `reached`.
        oldest_first: in the order in which they were written, not the other way round.
        most: the most to look at.
    """
    column = _JOURNAL.c.position if wanted.chain is None else _JOURNAL.c.seq
    within = [] if wanted.chain is None else [_JOURNAL.c.chain == wanted.chain]
    newest = select(column).where(*within).order_by(column.desc()).limit(1)
    with ledger._reading() as connection:
        last = int(connection.execute(newest).scalar() or 0)
        # Neither number has gaps, so that it is known beforehand how far a part looks.
        if oldest_first:
            start = after or 0
            end = min(start + most, last)
            order, window = column.asc(), column.between(start + 1, end)
        else:
            start = min(last + 1, last + 1 if after is None else after)
            end = max(start - most, 1)
            order, window = column.desc(), column.between(end, start - 1)
        query = select(_JOURNAL).where(*within, window, *_conditions(wanted)).order_by(order).limit(limit)
        found = [_as_it_lies(row) for row in connection.execute(query).mappings()]
    if len(found) == limit:
        end = found[-1].position if wanted.chain is None else found[-1].seq
    is_end = end >= last if oldest_first else end <= 1
    return Part(found, None if is_end else end)


def row(ledger: Ledger, position: int) -> JournalRow:
    """Return the row at a position.

    Raises:
        NoSuchPlace: there is none.
    """
    with ledger._reading() as connection:
        found = connection.execute(select(_JOURNAL).where(_JOURNAL.c.position == position)).mappings().first()
    if found is None:
        raise NoSuchPlace(str(position))
    return _as_it_lies(found)


def everything(ledger: Ledger, wanted: Wanted, chunk: int = 1000) -> Iterator[JournalRow]:
    """Give all rows that were there at the beginning, oldest first. The ledger is free between two chunks."""
    newest = ledger.changes()
    after: int | None = None
    while True:
        found = read(ledger, wanted, chunk, after, oldest_first=True)
        for item in found.rows:
            if item.position > newest:
                return
            yield item
        if found.reached is None:
            return
        after = found.reached


def position_of(ledger: Ledger, chain: str, seq: int) -> int | None:
    """Return the position of a row of a chain; None where it is missing."""
    with ledger._reading() as connection:
        found = connection.execute(
            select(_JOURNAL.c.position).where(_JOURNAL.c.chain == chain, _JOURNAL.c.seq == seq)
        ).scalar()
    return None if found is None else int(found)


def position_before(ledger: Ledger, chain: str, seq: int) -> int:
    """Return the position of the last row of a chain before `seq`; 0 where there is none."""
    query = select(_JOURNAL.c.position).where(_JOURNAL.c.chain == chain, _JOURNAL.c.seq < seq)
    with ledger._reading() as connection:
        return int(connection.execute(query.order_by(_JOURNAL.c.seq.desc()).limit(1)).scalar() or 0)


def befores(ledger: Ledger, rows: Sequence[JournalRow]) -> dict[int, tuple[int, str]]:
    """Return position and hash of the row before each of these in its chain, by position; none for the first ones."""
    before = {(item.chain, item.seq - 1): item.position for item in rows}
    if not before:
        return {}
    columns = (_JOURNAL.c.chain, _JOURNAL.c.seq, _JOURNAL.c.position, _JOURNAL.c.hash)
    query = select(*columns).where(tuple_(_JOURNAL.c.chain, _JOURNAL.c.seq).in_(list(before)))
    with ledger._reading() as connection:
        return {before[found.chain, found.seq]: (found.position, found.hash) for found in connection.execute(query)}


def _as_it_lies(row: Mapping[Any, Any]) -> JournalRow:
    """The row, unchecked: an audit shows what somebody has changed, too."""
    text: dict[str, Any] = {name: str(row[name]) for name in ("chain", "kind", "body", "previous", "hash", "at")}
    return JournalRow.model_construct(position=row["position"], seq=row["seq"], **text)


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    body, kind = _JOURNAL.c.body, _JOURNAL.c.kind
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(_JOURNAL.c.at >= time_text(wanted.since))
    if wanted.until is not None:
        conditions.append(_JOURNAL.c.at < time_text(wanted.until))
    if wanted.kinds:
        event = (kind == "event") & dialects.member(body, "kind").in_(wanted.kinds)
        conditions.append(or_(kind.in_(wanted.kinds), event))
    if wanted.is_refused:
        named = (kind == "event") & dialects.member(body, "kind").contains("refus")
        moved = (dialects.member(body, "kind") == "manual_move") & dialects.member(body, "body.code").is_not(None)
        state = (kind == "experiment_state") & (dialects.member(body, "to") == "refused")
        conditions.append(or_(named, (kind == "event") & moved, state))
    if wanted.who is not None:
        # Cheap first: most rows do not hold the name at all.
        conditions.append(dialects.holds(body, canonical(wanted.who)))
        conditions.append(or_(*(dialects.member(body, path) == wanted.who for path in _WHO)))
    if wanted.instrument is not None:
        on_it = select(("campaign:" + _CAMPAIGN.c.id).label("chain")).where(_CAMPAIGN.c.instrument == wanted.instrument)
        naming = dialects.holds(body, f'"instrument":{canonical(wanted.instrument)}')
        conditions.append(or_(_JOURNAL.c.chain.in_(on_it), naming))
    return conditions
