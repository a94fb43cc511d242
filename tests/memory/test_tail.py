from __future__ import annotations

from pathlib import Path

from athanor.memory.ledger import Ledger
from athanor.memory.tail import Tail


def test_each_event_comes_once_and_in_order(home: Path) -> None:
    with Ledger.create(home / "ledger.db") as ledger:
        ledger.add_event(None, "a", {"n": 0})
        ledger.add_event(None, "b", {"n": 0})
        tail = Tail(ledger, "a", "c")
        assert [event.kind for event in tail.new()] == ["a"]
        assert tail.new() == []
        for kind in ("c", "b", "a"):
            ledger.add_event(None, kind, {"n": 1})
        found = tail.new()
        assert [event.kind for event in found] == ["c", "a"]
        assert found == ledger.events(kinds=("a", "c"))[1:] and tail.new() == []
        assert Tail(ledger, "a", "c").new() == ledger.events(kinds=("a", "c"))


def test_what_comes_while_it_looks_is_neither_lost_nor_told_twice(home: Path) -> None:
    with Ledger.create(home / "ledger.db") as ledger:
        ledger.add_event(None, "a", {"n": 0})
        tail = Tail(ledger, "a")
        changes = ledger.changes

        def slow() -> int:
            position = changes()
            ledger.add_event(None, "a", {"n": position})
            return position

        ledger.changes = slow  # type: ignore[method-assign]
        told = [event.id for _ in range(3) for event in tail.new()]
        ledger.changes = changes  # type: ignore[method-assign]
        told += [event.id for event in tail.new()]
        assert told == [event.id for event in ledger.events(kinds=("a",))]
