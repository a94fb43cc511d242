"""The journal: append-only chains of rows, each holding the hash of the one before.

One chain for each campaign (`campaign:<id>`) and one for the site (`site`). `position` runs over all chains without a
gap, so that a chain cannot disappear as a whole. Both numbers are taken from the rows themselves under the write lock,
never from a sequence, which would leave gaps when a transaction fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, insert, select

from athanor.memory.canonical import canonical, digest, time_text
from athanor.memory.records import JournalRow
from athanor.memory.rows import record_from, table_of

SITE = "site"
GENESIS = "0" * 64
_TABLE = table_of(JournalRow)


def chain_of(campaign_id: str | None) -> str:
    """Return the chain of a campaign, or that of the site."""
    return SITE if campaign_id is None else f"campaign:{campaign_id}"


def row_hash(position: int, chain: str, seq: int, kind: str, body: str, previous: str, at: str) -> str:
    """Return the hash of a row: SHA-256 (hex) of the canonical text of all its other fields."""
    return digest(
        {
            "position": position,
            "chain": chain,
            "seq": seq,
            "kind": kind,
            "body": body,
            "previous": previous,
            "at": at,
        }
    )


class Journal:
    """The journal within one write transaction."""

    def __init__(self, connection: Connection, moment: datetime) -> None:
        self._connection = connection
        self._at = time_text(moment)
        self._position: int | None = None
        self._last: dict[str, tuple[int, str]] = {}
        self.appended: list[JournalRow] = []

    def append(self, chain: str, kind: str, body: Any) -> JournalRow:
        """Append a row to a chain; `body` is turned into canonical text."""
        if self._position is None:
            self._position = self._connection.execute(select(func.max(_TABLE.c.position))).scalar() or 0
        seq, previous = self._last.get(chain) or self._tail(chain)
        self._position += 1
        seq += 1
        text = canonical(body)
        fingerprint = row_hash(self._position, chain, seq, kind, text, previous, self._at)
        row = JournalRow(
            position=self._position,
            chain=chain,
            seq=seq,
            kind=kind,
            body=text,
            previous=previous,
            hash=fingerprint,
            at=self._at,
        )
        self._connection.execute(insert(_TABLE), row.model_dump())
        self._last[chain] = (seq, fingerprint)
        self.appended.append(row)
        return row

    def _tail(self, chain: str) -> tuple[int, str]:
        newest = (
            select(_TABLE.c.seq, _TABLE.c.hash).where(_TABLE.c.chain == chain).order_by(_TABLE.c.seq.desc()).limit(1)
        )
        found = self._connection.execute(newest).one_or_none()
        return (int(found.seq), str(found.hash)) if found else (0, GENESIS)


class Line(NamedTuple):
    """What a row is about, without its body: enough to know who should look again."""

    position: int
    chain: str
    kind: str
    at: str


def lines(connection: Connection, after: int, limit: int) -> list[Line]:
    """Return rows with a position beyond `after` in order, without their bodies: `limit` of them at most."""
    query = (
        select(_TABLE.c.position, _TABLE.c.chain, _TABLE.c.kind, _TABLE.c.at)
        .where(_TABLE.c.position > after)
        .order_by(_TABLE.c.position)
        .limit(limit)
    )
    return [Line(*row) for row in connection.execute(query)]


def rows(connection: Connection, *, chain: str | None = None, after: int = 0) -> Iterator[JournalRow]:
    """Give the rows with a position beyond `after` in order, of one chain or of all."""
    query = select(_TABLE).where(_TABLE.c.position > after).order_by(_TABLE.c.position)
    if chain is not None:
        # Of what is beyond a position there is little: then the index of chains is not the way to it.
        query = query.where(_TABLE.c.chain + "" == chain if after else _TABLE.c.chain == chain)
    for row in connection.execute(query).mappings():
        yield record_from(JournalRow, row)
