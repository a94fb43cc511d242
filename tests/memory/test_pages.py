"""The journal in pages: each row once, in order, however it is filtered; and as it lies, when somebody changed it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from athanor.memory import pages
from athanor.memory.errors import NoSuchPlace
from athanor.memory.ledger import Ledger
from athanor.memory.pages import Wanted
from tests.instruments.rig import new_campaign


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    made = Ledger.create(home / "ledger.db")
    for name, instrument in (("one", "reactor"), ("two", "oven")):
        new_campaign(made, name, instrument=instrument)
    for index in range(20):
        made.add_event(("one", "two", None)[index % 3], "note", {"by": ("ada", "eve")[index % 2], "index": index})
    made.add_event(None, "api_refused", {"login": "eve", "needs": "people.manage", "path": "/x"})
    made.add_event(None, "manual_move", {"instrument": "oven", "code": "limit", "by": "ada"})
    made.add_event(None, "manual_move", {"instrument": "oven", "code": None, "by": "ada"})
    yield made
    made.close()


def walk(ledger: Ledger, wanted: Wanted, limit: int, most: int = 1000, *, oldest_first: bool = False) -> list[int]:
    found: list[int] = []
    after: int | None = None
    for _ in range(200):
        part = pages.read(ledger, wanted, limit, after, oldest_first=oldest_first, most=most)
        assert len(part.rows) <= limit
        found += [row.position for row in part.rows]
        if part.reached is None:
            return found
        after = part.reached
    raise AssertionError("it does not end")


@pytest.mark.parametrize("limit", [1, 3, 500])
@pytest.mark.parametrize("most", [1, 4, 1000])
@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(chain="campaign:one"),
        Wanted(chain="site", who="ada"),
        Wanted(who="eve"),
        Wanted(kinds=("note",)),
        Wanted(is_refused=True),
        Wanted(instrument="oven"),
        Wanted(chain="campaign:none"),
    ],
)
def test_pages_hold_everything_once_and_in_order(ledger: Ledger, wanted: Wanted, limit: int, most: int) -> None:
    expected = walk(ledger, wanted, 500, oldest_first=True)
    assert expected == sorted(set(expected))
    assert walk(ledger, wanted, limit, most, oldest_first=True) == expected
    assert walk(ledger, wanted, limit, most) == expected[::-1]


def test_filters_find_what_they_say(ledger: Ledger) -> None:
    rows = {row.position: row for row in ledger.journal()}

    def found(wanted: Wanted) -> list[str]:
        return [rows[position].body for position in walk(ledger, wanted, 500, oldest_first=True)]

    assert len(found(Wanted())) == len(rows)
    assert len(found(Wanted(who="eve"))) == 11 and len(found(Wanted(who="ada"))) == 12
    assert found(Wanted(who="a")) == [] == found(Wanted(who='"')) == found(Wanted(who="%"))
    refused = found(Wanted(is_refused=True))
    assert len(refused) == 2 and "api_refused" in refused[0] and '"code":"limit"' in refused[1]
    assert len(found(Wanted(kinds=("manual_move", "campaign")))) == 4
    on_oven = found(Wanted(instrument="oven"))
    assert len(on_oven) == 1 + 7 + 2 and len(found(Wanted(instrument="ove"))) == 0
    now = ledger.now()
    assert found(Wanted(since=now)) == [] and len(found(Wanted(until=now))) == len(rows)
    assert len(found(Wanted(since=now - timedelta(days=1)))) == len(rows)


def test_going_on_beyond_the_ends(ledger: Ledger) -> None:
    last = ledger.changes()
    assert pages.read(ledger, Wanted(), 5, 10**12).rows[0].position == last
    assert pages.read(ledger, Wanted(), 5, 0).rows == [] and pages.read(ledger, Wanted(), 5, 1).reached is None
    beyond = pages.read(ledger, Wanted(), 5, 10**12, oldest_first=True)
    assert (beyond.rows, beyond.reached) == ([], None)
    with pytest.raises(NoSuchPlace):
        pages.row(ledger, last + 1)


def test_everything_is_what_was_there_at_the_beginning(ledger: Ledger) -> None:
    wanted = Wanted(chain="site")
    before = [row.position for row in pages.everything(ledger, wanted)]
    giving = pages.everything(ledger, wanted, chunk=2)
    given = [next(giving).position]
    for _ in range(5):  # written while somebody takes a copy
        ledger.add_event(None, "note", {})
    given += [row.position for row in giving]
    assert given == before


def test_rows_are_shown_as_somebody_left_them(ledger: Ledger) -> None:
    with contextlib.closing(sqlite3.connect(ledger.path)) as file, file:
        file.execute("UPDATE journal SET body = 'not JSON', hash = 'x' WHERE position = 5")
        file.execute("DELETE FROM journal WHERE position = 7")
    assert pages.row(ledger, 5).body == "not JSON"
    for wanted in (Wanted(), Wanted(who="ada"), Wanted(is_refused=True), Wanted(kinds=("note",))):
        assert walk(ledger, wanted, 3, 4) == walk(ledger, wanted, 500, oldest_first=True)[::-1]


def test_rows_before_and_places(ledger: Ledger) -> None:
    rows = list(pages.everything(ledger, Wanted(chain="campaign:two")))
    before = pages.befores(ledger, rows)
    assert rows[0].position not in before
    for one, two in pairwise(rows):
        assert before[two.position] == (one.position, one.hash)
        assert pages.position_of(ledger, two.chain, two.seq) == two.position
        assert pages.position_before(ledger, two.chain, two.seq) == one.position
    assert pages.befores(ledger, []) == {} and pages.position_of(ledger, "site", 10**9) is None
