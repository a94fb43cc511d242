"""Is the ledger what was written? Finds and names what was altered, removed, reordered or cut off.

The journal's hashes show a change of any row; the signed heads show a tail that was cut; replaying the journal shows a
table row that was changed, removed or put in by hand. What this cannot show is in `docs/security.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any, NamedTuple

from sqlalchemy import Connection

from athanor.memory import access, dialects
from athanor.memory._replay import Replay, scan
from athanor.memory.errors import LedgerUnreadable
from athanor.memory.heads import Head
from athanor.memory.journal import GENESIS, row_hash
from athanor.memory.ledger import Ledger
from athanor.memory.records import JournalRow
from athanor.memory.rows import table_of
from athanor.memory.signing import AnchorKey, GateKey, KeyProblem, PublicKey, load_public

_JOURNAL = table_of(JournalRow)
_TEXT = ("chain", "kind", "body", "previous", "hash", "at")
# Pairs of altered rows are compared; beyond so many the ledger is not reordered but ruined.
_MOST_COMPARED = 64


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: `altered`, `missing`, `reordered`, `cut`, `head` (a signed head that is no head), `table` (a row that
            differs from its journal), `order` (evidence from a run that no registration came before, or that never
            was to be), `transition`, `decision` (not signed by the gate) or `damaged` (the file itself).
        chain: the chain concerned, if one is.
        seq: the row of that chain, if one is.
        detail: a sentence for a person.
    """

    kind: str
    chain: str | None
    seq: int | None
    detail: str


@dataclass
class Report:
    """What `verify` found.

    Attributes:
        problems: what is wrong, the journal's first; empty for a clean ledger.
        notes: what is no error: rows that no head covers yet (`unanchored`), chains without a head here (`no_head`),
            a file that too many accounts may write (`writable`), decisions whose signatures were not checked for want
            of the gate's public key (`no_gate`).
        rows: rows of the journal read.
        chains: chains of the journal read.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    rows: int = 0
    chains: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


class _Row(NamedTuple):
    position: int
    chain: str
    seq: int
    kind: str
    body: str
    previous: str
    hash: str
    at: str


def verify(
    ledger: Ledger,
    heads: Mapping[str, Head] | None = None,
    anchor: PublicKey | None = None,
    gate: PublicKey | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Read the whole ledger, as of one moment, and report what is wrong.

    Args:
        ledger: the ledger, open for writing or for reading.
        heads: signed heads to hold it against, by default those beside the keys.
        anchor: the public key of the heads, by default `anchor.pub` in the folder of keys.
        gate: the gate's public key, which every decision's signature is checked with; by default `gate.pub` in the
            folder of keys, if heads of this ledger are there too. Without one a note says so.
        progress: told after each row of the journal how many have been read.
    """
    report = Report()
    if heads is None:
        # Before the rows: a head signed in between would look like a cut.
        heads, wrong = ledger.heads.read()
        report.problems += [Problem("head", None, None, line) for line in wrong]
    if anchor is None and heads:
        anchor = _anchor(ledger, report)
    if gate is None and heads:
        gate = _gate(ledger)
    report.notes += [Problem("writable", None, None, line) for line in access.too_open(ledger.path)]
    replay = Replay(gate)
    try:
        with ledger._reading() as connection:
            report.problems += [Problem("damaged", None, None, line) for line in dialects.damage(connection)]
            chains = _Chains(report)
            for row in _rows(connection, report):
                chains.add(row)
                replay.add(row.position, row.chain, row.seq, row.kind, row.body)
                if progress is not None:
                    progress(report.rows)
            chains.finish(heads, anchor, ledger.ledger_id)
            report.problems += [
                Problem(kind, chain, seq, detail)
                for kind, chain, seq, detail in replay.finish(connection, ledger.ledger_id)
            ]
    except LedgerUnreadable as error:
        report.problems.append(Problem("damaged", None, None, str(error)))
    if replay.unchecked:
        one = replay.unchecked == 1
        detail = f"{replay.unchecked} decision{'' if one else 's'} not checked: this ledger's gate.pub is not at hand"
        report.notes.append(Problem("no_gate", None, None, detail))
    return report


def _gate(ledger: Ledger) -> PublicKey | None:
    try:
        return load_public(ledger.heads.keys / GateKey.public_name)
    except KeyProblem:
        return None


def _anchor(ledger: Ledger, report: Report) -> PublicKey | None:
    try:
        return load_public(ledger.heads.keys / AnchorKey.public_name)
    except KeyProblem as error:
        report.problems.append(Problem("head", None, None, str(error)))
        return None


def _rows(connection: Connection, report: Report) -> Iterator[_Row]:
    for key, row in scan(connection, _JOURNAL):
        if isinstance(row, str):
            report.problems.append(Problem("altered", None, None, f"row {key} of the journal cannot be read: {row}"))
            continue
        typed = all(isinstance(row[name], str) for name in _TEXT)
        if not typed or type(row["seq"]) is not int or type(row["position"]) is not int:
            report.problems.append(
                Problem("altered", None, None, f"row {key} of the journal has fields of a wrong type")
            )
            continue
        yield _Row(**{name: row[name] for name in _Row._fields})


class _Chains:
    """Follows the chains row by row, in the order of their positions."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._position = 0
        self._holes: list[tuple[int, int]] = []
        self._seqs: dict[str, list[int]] = {}
        self._last: dict[str, _Row] = {}
        self._hashes: dict[tuple[str, int], str] = {}
        self._bad: list[_Row] = []
        self._broken: list[tuple[_Row, _Row | None]] = []

    def add(self, row: _Row) -> None:
        """Take the next row."""
        self._report.rows += 1
        if row.position != self._position + 1:
            self._holes.append((self._position + 1, row.position - 1))
        self._position = row.position
        self._seqs.setdefault(row.chain, []).append(row.seq)
        self._hashes[row.chain, row.seq] = row.hash
        before = self._last.get(row.chain)
        if _fingerprint(row) != row.hash:
            self._bad.append(row)
        elif row.previous != (before.hash if before else GENESIS) and row.seq == (before.seq + 1 if before else 1):
            self._broken.append((row, before))
        self._last[row.chain] = row

    def finish(self, heads: Mapping[str, Head], anchor: PublicKey | None, ledger_id: str) -> None:
        """Report what the rows, taken together and held against the heads, show."""
        report = self._report
        report.chains = len(self._seqs)
        moved = _moved(self._bad)
        for row in self._bad:
            other = moved.get(row.position)
            if other is None:
                detail = f"row {row.position} ({row.kind}) differs from what its hash covers"
                report.problems.append(Problem("altered", row.chain, row.seq, detail))
            else:
                detail = f"rows {row.position} and {other.position} ({row.kind}, {other.kind}) have changed places"
                report.problems.append(Problem("reordered", row.chain, row.seq, detail))
        bad = {row.position for row in self._bad}
        for row, before in self._broken:
            if before is None:
                detail = f"row {row.position} begins its chain but refers to a row before it"
                report.problems.append(Problem("altered", row.chain, row.seq, detail))
            elif before.position not in bad:
                detail = f"row {before.position} ({before.kind}) was rewritten: the row after it holds another hash"
                report.problems.append(Problem("altered", before.chain, before.seq, detail))
        self._report_gaps()
        for chain in sorted({*self._seqs, *heads}):
            self._hold_against(chain, heads.get(chain), anchor, ledger_id)

    def _report_gaps(self) -> None:
        named = False
        for chain, seqs in sorted(self._seqs.items()):
            for first, last in _gaps(sorted(seqs)):
                named = True
                rows = f"row {first} is" if first == last else f"rows {first} to {last} are"
                self._report.problems.append(Problem("missing", chain, first, f"{rows} missing from the chain"))
            if seqs != sorted(seqs) and not self._bad:
                at = next(after for before, after in pairwise(seqs) if after < before)
                self._report.problems.append(Problem("reordered", chain, at, f"row {at} stands before its time"))
        for first, last in self._holes:
            if not named and last >= first:
                detail = f"positions {first} to {last} of the journal are missing, from the end of a chain"
                self._report.problems.append(Problem("missing", None, None, detail))

    def _hold_against(self, chain: str, head: Head | None, anchor: PublicKey | None, ledger_id: str) -> None:
        last = max(self._seqs.get(chain, [0]))
        if head is None:
            detail = f"no head of this chain ({last} rows) is signed here, so a cut tail would not be seen"
            self._report.notes.append(Problem("no_head", chain, None, detail))
            return
        if head.ledger != ledger_id or anchor is None or not head.is_signed_by(anchor):
            self._report.problems.append(
                Problem("head", chain, head.seq, "the head of this chain is not signed with this ledger's anchor key")
            )
        elif last < head.seq:
            detail = f"the chain was signed up to row {head.seq} and ends at row {last}: its tail was cut off"
            self._report.problems.append(Problem("cut", chain, last + 1, detail))
        elif (found := self._hashes.get((chain, head.seq))) is not None and found != head.hash:
            detail = f"row {head.seq} is not the one that was signed as head at {head.at}"
            self._report.problems.append(Problem("altered", chain, head.seq, detail))
        elif last > head.seq:
            detail = f"rows {head.seq + 1} to {last} were committed but not yet signed, as after a crash"
            self._report.notes.append(Problem("unanchored", chain, head.seq + 1, detail))


def _fingerprint(row: _Row, **other: Any) -> str:
    changed = row._replace(**other)
    return row_hash(
        changed.position, changed.chain, changed.seq, changed.kind, changed.body, changed.previous, changed.at
    )


def _moved(bad: list[_Row]) -> dict[int, _Row]:
    """Return, for each row that is whole in the place of another, that other; by position."""
    moved: dict[int, _Row] = {}
    for row, other in product(bad[:_MOST_COMPARED], repeat=2):
        if row is other or row.position in moved:
            continue
        contents = {"kind": other.kind, "body": other.body, "at": other.at}
        places = product((row, other), (row, other), (row, other))
        if _fingerprint(row, **contents) == row.hash or any(
            _fingerprint(row, position=a.position, chain=b.chain, seq=b.seq, previous=c.previous) == row.hash
            for a, b, c in places
        ):
            moved[row.position] = other
    return moved


def _gaps(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Give the first and last of each stretch that is missing from sorted numbers that should begin with 1."""
    for before, after in pairwise([0, *numbers]):
        if after > before + 1:
            yield before + 1, after - 1
