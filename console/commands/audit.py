"""The audit: the journal in pages and in words, and a copy of it for others to check."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from athanor.console.sentences import Sentence, sentence
from athanor.memory import pages
from athanor.memory.journal import GENESIS, row_hash
from athanor.memory.pages import Wanted

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import JournalRow

CHUNK = 500


@dataclass(frozen=True)
class AuditRow:
    """A row of the journal, what it says, and how it hangs together with the one before it.

    Attributes:
        before: position of the row before in its chain; None for the first, or where that row is missing.
        is_whole: whether its hash is that of what it says.
        is_linked: whether it holds the hash of the row before.
    """

    row: JournalRow
    said: Sentence
    before: int | None
    is_whole: bool
    is_linked: bool


def look(
    ledger: Ledger, wanted: Wanted, limit: int, after: int | None, *, oldest_first: bool
) -> tuple[list[AuditRow], int | None]:
    """Return a page of the journal, and the position to go on after; see `athanor.memory.pages.read`."""
    found = pages.read(ledger, wanted, limit, after, oldest_first=oldest_first)
    return audited(ledger, found.rows), found.reached


def one(ledger: Ledger, position: int) -> AuditRow:
    """Return one row. Raises `NotFound`."""
    return audited(ledger, [pages.row(ledger, position)])[0]


def audited(ledger: Ledger, rows: Sequence[JournalRow]) -> list[AuditRow]:
    """Say what rows say, and whether they are whole and linked. Every row of the journal is checked by `verify`."""
    before = pages.befores(ledger, rows)
    return [_audited(row, before.get(row.position)) for row in rows]


def _audited(row: JournalRow, before: tuple[int, str] | None) -> AuditRow:
    expected = row_hash(row.position, row.chain, row.seq, row.kind, row.body, row.previous, row.at)
    linked = GENESIS if before is None and row.seq == 1 else None if before is None else before[1]
    return AuditRow(
        row=row,
        said=sentence(row.kind, row.body),
        before=None if before is None else before[0],
        is_whole=row.hash == expected,
        is_linked=row.previous == linked,
    )


def export(ledger: Ledger, wanted: Wanted) -> Iterator[str]:
    """Give the rows oldest first as lines of JSON: every field that a row's hash covers, and the hash.

    In lines of several rows at once, so that a long copy is not a call for each.
    """
    lines: list[str] = []
    for row in pages.everything(ledger, wanted, CHUNK):
        lines.append(json.dumps(row.model_dump(), ensure_ascii=True, separators=(",", ":")) + "\n")
        if len(lines) == CHUNK:
            yield "".join(lines)
            lines.clear()
    if lines:
        yield "".join(lines)
