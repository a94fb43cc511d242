"""The keeper of the recovery process; that a killed one is replaced is shown in tests/system/test_worker_loss.py."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from rig import until

from athanor.instruments.keeper import RecoveryKeeper
from athanor.instruments.wire import Connection, Message, Server
from athanor.memory.places import InstrumentPlace


@pytest.fixture
def place(home: Path) -> InstrumentPlace:
    place = InstrumentPlace.of("reactor", home)
    place.directory.mkdir(parents=True)
    place.sockets.mkdir(parents=True)
    return place


class Recovery:
    """Stands for a recovery process: answers as it is told to."""

    def __init__(self, place: InstrumentPlace, **facts: Any) -> None:
        latch = {"count": 0, "engaged": False, "saved": True, "reason": None}
        self.facts: dict[str, Any] = {"pid": 2**22 + 1, "worker_pid": None, "connected": True, "trouble": None}
        self.facts |= {"latch": latch, **facts}
        self.adopted: list[int] = []
        self.server = Server(place.sockets / "recovery.sock", self._answer)

    def _answer(self, _: Connection, message: Message) -> Message:
        if message["verb"] == "adopt":
            self.adopted.append(message["worker_pid"])
            self.facts["worker_pid"] = message["worker_pid"]
        return dict(self.facts)


def test_one_that_runs_is_taken_over(place: InstrumentPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    recovery = Recovery(place)
    keeper = RecoveryKeeper(place)
    assert keeper.missing is not None
    keeper.start()
    until(lambda: keeper.missing is None)
    assert recovery.adopted == [os.getpid()]
    keeper.end()
    recovery.server.close()


def test_one_that_is_not_connected_is_none(place: InstrumentPlace) -> None:
    recovery = Recovery(place, connected=False, trouble="no cable")
    keeper = RecoveryKeeper(place)
    keeper.start()
    until(lambda: "no cable" in (keeper.missing or ""))
    recovery.facts["connected"] = True
    until(lambda: keeper.missing is None)
    keeper.end()
    recovery.server.close()


def test_one_that_holds_an_unsaved_stop_lets_nothing_run(place: InstrumentPlace) -> None:
    recovery = Recovery(place, latch={"count": 1, "engaged": True, "saved": False, "reason": "smoke"})
    keeper = RecoveryKeeper(place)
    keeper.start()
    until(lambda: "smoke" in (keeper.missing or ""))
    keeper.end()
    recovery.server.close()


def test_one_that_cannot_start_is_missing_and_is_not_tried_all_the_time(
    place: InstrumentPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[float] = []
    real = threading.Event()

    class Failing:
        pid = 0

        def __init__(self, *_: Any, **__: Any) -> None:
            started.append(1.0)
            real.set()

        def poll(self) -> int:
            return 1

    monkeypatch.setattr("athanor.instruments.detached.subprocess.Popen", Failing)
    keeper = RecoveryKeeper(place)
    keeper.start()
    assert real.wait(5)
    until(lambda: len(started) >= 2)
    assert not threading.Event().wait(1.0)
    assert len(started) <= 5
    assert keeper.missing is not None and "does not answer" in keeper.missing
    keeper.end()
