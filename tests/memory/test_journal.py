from __future__ import annotations

import pytest

from athanor.memory import journal
from athanor.memory.canonical import digest
from athanor.memory.journal import GENESIS, SITE, chain_of, row_hash
from athanor.memory.ledger import Ledger
from tests.memory.conftest import Maker

FIELDS = {"position": 1, "chain": "site", "seq": 1, "kind": "event", "body": "{}", "previous": GENESIS, "at": "now"}


@pytest.mark.parametrize("name", list(FIELDS))
def test_the_hash_covers_every_field(name: str) -> None:
    other = 2 if isinstance(FIELDS[name], int) else "other"
    assert row_hash(**FIELDS) == digest(FIELDS) != row_hash(**{**FIELDS, name: other})  # type: ignore[arg-type]


def test_chains_are_linked_and_positions_run_over_all(ledger: Ledger, make: Maker) -> None:
    make.full(ledger)
    last = {SITE: (0, GENESIS), chain_of("c1"): (0, GENESIS)}
    for position, row in enumerate(ledger.journal(), 1):
        seq, previous = last[row.chain]
        assert (row.position, row.seq, row.previous) == (position, seq + 1, previous)
        last[row.chain] = (row.seq, row.hash)
    assert last[SITE][0] > 1 and last[chain_of("c1")][0] > 20


def test_a_failed_transaction_leaves_no_gap(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError), ledger._writing() as writer:
        writer.journal.append(SITE, "event", {})
        raise RuntimeError
    ledger.add_event(None, "x", {})
    assert [row.position for row in ledger.journal()] == [1, 2]


def test_one_transaction_has_one_time(ledger: Ledger) -> None:
    with ledger._writing() as writer:
        for number in range(3):
            writer.journal.append(SITE, "note", {"n": number})
    with ledger._reading() as connection:
        assert len({row.at for row in journal.rows(connection, after=1)}) == 1
