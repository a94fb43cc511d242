"""Connecting an instrument in a thread: one try at a time, and its failure is told and forgotten with the next."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from athanor.console.commands import connecting
from athanor.console.commands.connecting import Connecting
from athanor.console.commands.refused import Refused
from athanor.instruments.config import Config
from athanor.instruments.laboratory import load
from athanor.memory.places import InstrumentPlace

LEDGER: Any = None


class Line:
    def close(self) -> None:
        pass


@pytest.fixture
def place(home: Path) -> InstrumentPlace:
    found = InstrumentPlace.of("snar-flow", home)
    found.directory.mkdir(parents=True)
    Config(load("snar-flow").profile(), {}).write(found)
    return found


def test_who_asks_meanwhile_waits_for_the_same_try(place: InstrumentPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    go, tries = threading.Event(), []

    def connected(*_: Any) -> Line:
        tries.append(1)
        assert go.wait(60)
        return Line()

    monkeypatch.setattr(connecting, "connected", connected)
    found = Connecting()
    assert found.begin(LEDGER, place, 0.0) is False and found.is_underway(place)
    assert found.begin(LEDGER, place, 0.0) is False
    go.set()
    assert found.begin(LEDGER, place, 60.0) is True and found.failure(place) is None
    assert len(tries) <= 2, "the second began after the first had ended, if at all"


def test_a_failure_is_told_until_the_next_try(place: InstrumentPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: Any) -> Line:
        raise Refused("it hangs", "stop it")

    found = Connecting()
    monkeypatch.setattr(connecting, "connected", hangs)
    with pytest.raises(Refused, match="it hangs"):
        found.begin(LEDGER, place, 60.0)
    assert str(found.failure(place)) == "it hangs" and not found.is_underway(place)
    monkeypatch.setattr(connecting, "connected", lambda *_: Line())
    assert found.begin(LEDGER, place, 60.0) and found.failure(place) is None


def test_what_has_never_run_is_not_started(place: InstrumentPlace) -> None:
    (place.directory / "config.json").write_text("{")
    with pytest.raises(Refused, match="has never run here"):
        Connecting().begin(LEDGER, place, 60.0)
