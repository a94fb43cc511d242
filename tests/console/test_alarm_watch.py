"""The watch over the alarms: from what is so to what is told, by one console at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from athanor.console.alarm_watch import LEASE_S, RESOURCE, AlarmWatch
from athanor.governance.alarm_catalogue import CATALOGUE
from athanor.governance.alarm_history import Alarms
from athanor.instruments.latch import Latch
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace
from athanor.memory.resources import Consumable
from athanor.memory.verify import verify
from tests.console.serving import free_port, serving
from tests.instruments.rig import new_campaign, until


class Scene:
    def __init__(self, home: Path) -> None:
        self.now = datetime.now(UTC)
        self.ledger = Ledger.create(home / "ledger.db", clock=lambda: self.now)
        self.place = InstrumentPlace.of("reactor", home)
        self.place.directory.mkdir(parents=True)
        self.alarms = Alarms(self.ledger, CATALOGUE)

    def places(self) -> list[InstrumentPlace]:
        return [self.place]

    def is_simulated_at(self, place: InstrumentPlace) -> bool:
        return True

    def watch(self) -> AlarmWatch:
        return AlarmWatch(self, Alarms(self.ledger, CATALOGUE))

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def states(self) -> dict[str, str]:
        return {alarm.id: alarm.state for alarm in self.alarms.all()}


@pytest.fixture
def scene(home: Path) -> Iterator[Scene]:
    made = Scene(home)
    yield made
    made.ledger.close()


def test_an_alarm_comes_and_goes_with_its_condition(scene: Scene) -> None:
    watch = scene.watch()
    Latch(scene.place).engage("smoke", "ada")
    for _ in range(3):
        watch.look()
        scene.pass_(2)
    assert scene.states() == {"stop-all.engaged~reactor": "unacknowledged"}
    assert [entry.verb for entry in scene.alarms.history()] == ["raised"]
    Latch(scene.place).reset("steam", "ada")
    watch.look()
    assert scene.states() == {"stop-all.engaged~reactor": "returned"}
    scene.alarms.act("stop-all.engaged~reactor", "acknowledged", "ada", "seen")
    assert scene.states() == {"stop-all.engaged~reactor": "normal"}
    assert verify(scene.ledger).is_clean


def test_what_came_while_nobody_watched_is_seen_by_the_next_who_does(scene: Scene) -> None:
    scene.watch().look()
    Latch(scene.place).engage("smoke", "ada")
    scene.pass_(LEASE_S + 1)
    scene.watch().look()
    assert scene.states() == {"stop-all.engaged~reactor": "unacknowledged"}
    Latch(scene.place).reset("steam", "ada")
    Latch(scene.place).engage("fire", "bob")
    scene.pass_(LEASE_S + 1)
    scene.watch().look()
    found = scene.alarms.one("stop-all.engaged~reactor")
    assert (found.count, found.detail) == (2, "reactor: fire, by bob"), "nobody saw the first one end"


def test_one_console_watches_at_a_time(scene: Scene) -> None:
    one, other = scene.watch(), scene.watch()
    assert one.look() and not other.look()
    Latch(scene.place).engage("smoke", "ada")
    assert not other.look() and scene.states() == {}
    scene.pass_(LEASE_S + 1)  # the first is frozen, or dead on another host
    assert other.look() and scene.states() == {"stop-all.engaged~reactor": "unacknowledged"}
    assert not one.look(), "it has lost its turn"
    other.stop()
    assert one.look() and scene.ledger.lease(RESOURCE) is not None
    assert len(scene.alarms.history()) == 1


def test_one_that_keeps_its_turn_writes_no_line_for_it(scene: Scene) -> None:
    watch = scene.watch()
    watch.look()
    before = scene.ledger.changes()
    for _ in range(40):
        scene.pass_(2)
        assert watch.look()
    assert scene.ledger.changes() == before
    other = scene.watch()
    assert not other.look()


def test_stop_all_needs_one_answer(scene: Scene) -> None:
    watch = scene.watch()
    campaign = new_campaign(scene.ledger, "c", instrument="reactor").id
    scene.ledger.set_campaign_state(campaign, "running")
    scene.ledger.set_campaign_state(campaign, "paused", reason="Stop All is engaged on reactor (smoke, by ada)")
    Latch(scene.place).engage("smoke", "ada")
    for _ in range(10):
        watch.look()
        scene.pass_(2)
    paused = f"campaign.paused-itself~{campaign}"
    assert scene.states() == {"stop-all.engaged~reactor": "unacknowledged", paused: "suppressed"}
    Latch(scene.place).reset("steam", "ada")
    watch.look()
    watch.look()
    assert scene.states()[paused] == "unacknowledged", "now it is what somebody has to see to"


def test_a_shelf_ends_while_it_watches(scene: Scene) -> None:
    watch = scene.watch()
    scene.ledger.add_consumable(Consumable(id="MeCN", unit="mL", amount=1.0, low=20.0))
    watch.look()
    scene.alarms.act("stock.low~MeCN", "shelved", "ada", "it is ordered", timedelta(hours=1))
    scene.pass_(3601)
    watch.look()
    assert scene.states() == {"stock.low~MeCN": "unacknowledged"}


def test_it_runs_by_itself_and_leaves_its_place(scene: Scene) -> None:
    watch = scene.watch()
    Latch(scene.place).engage("smoke", "ada")
    watch.start()
    try:
        until(lambda: scene.states() == {"stop-all.engaged~reactor": "unacknowledged"})
    finally:
        watch.stop()
    assert scene.ledger.lease(RESOURCE) is None


def test_two_consoles_tell_it_once_and_one_goes_on_when_the_other_is_killed(home: Path, tmp_path: Path) -> None:
    place = InstrumentPlace.of("reactor", home)
    place.directory.mkdir(parents=True)
    with (
        Ledger.create(home / "ledger.db") as ledger,
        serving(free_port(), tmp_path / "one") as one,
        serving(free_port(), tmp_path / "two") as other,
    ):
        alarms = Alarms(ledger, CATALOGUE)
        Latch(place).engage("smoke", "ada")
        until(alarms.all)
        lease = until(lambda: ledger.lease(RESOURCE))
        assert lease is not None
        [killed] = [process for process in (one, other) if f":{process.pid}:" in lease.holder]
        killed.kill()
        killed.wait()
        Latch(place).reset("steam", "ada")
        until(lambda: alarms.one("stop-all.engaged~reactor").state == "returned")
        assert [entry.verb for entry in alarms.history()] == ["raised", "cleared"]


def test_trouble_does_not_end_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = scene.watch()
    seen: list[int] = []

    def broken(*_: object) -> object:
        seen.append(1)
        raise OSError("no")

    monkeypatch.setattr("athanor.console.alarm_watch.LOOK_S", 0.0)
    monkeypatch.setattr(watch._alarms, "expire", broken)
    watch.start()
    try:
        until(lambda: len(seen) > 2)
    finally:
        watch.stop()
