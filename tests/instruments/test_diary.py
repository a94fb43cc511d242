"""The diary: events reach the ledger in order, also when it was locked for a while, and nobody waits for it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from rig import until

from athanor.instruments.diary import Diary
from athanor.memory.ledger import Ledger


def test_events_are_written_in_order(home: Path) -> None:
    ledger = Ledger.create(home / "ledger.db")
    diary = Diary(lambda: ledger)
    for number in range(3):
        diary.tell(None, "manual_move", {"number": number})
    assert diary.finish(20)
    assert [event.body["number"] for event in ledger.events(kinds=("manual_move",))] == [0, 1, 2]
    ledger.close()


def test_a_ledger_that_cannot_be_opened_yet_gets_them_later(home: Path) -> None:
    ledger = Ledger.create(home / "ledger.db")
    tries: list[int] = []

    def opened() -> Ledger:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("the disk does not answer")
        return ledger

    diary = Diary(opened)
    diary.RETRY_S = 0.01
    diary.tell(None, "kept", {})
    assert diary.finish(20)
    assert len(tries) == 3 and [event.kind for event in ledger.events(kinds=("kept",))] == ["kept"]
    ledger.close()


def test_while_the_ledger_is_locked_nobody_waits(home: Path) -> None:
    ledger = Ledger.create(home / "ledger.db")
    diary = Diary(lambda: ledger)
    with contextlib.closing(sqlite3.connect(ledger.path, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        diary.tell(None, "kept", {})  # returns at once, or this test hangs
        other.rollback()
    until(lambda: [event.kind for event in ledger.events(kinds=("kept",))] == ["kept"])
    assert diary.finish(20)
    ledger.close()


def test_what_the_ledger_refuses_does_not_keep_back_the_rest(home: Path) -> None:
    ledger = Ledger.create(home / "ledger.db")
    diary = Diary(lambda: ledger)
    diary.tell("no-such-campaign", "lost", {})
    diary.tell(None, "kept", {})
    assert diary.finish(20)
    assert [event.kind for event in ledger.events(kinds=("lost", "kept"))] == ["kept"]
    ledger.close()
