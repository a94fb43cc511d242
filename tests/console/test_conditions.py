"""What is so now: each condition comes with what makes it so, and goes with that."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from athanor.agents.holders import holder
from athanor.console.conditions import Conditions, conditions
from athanor.governance import alarm_catalogue as names
from athanor.governance.gate import Gate
from athanor.governance.orders import Orders
from athanor.instruments.latch import Latch
from athanor.instruments.quarantine import set_aside
from athanor.instruments.takeover import TakeOver
from athanor.instruments.write_switch import WriteSwitch
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace, keys_dir
from athanor.memory.records import Experiment, Intent, revision_of
from athanor.memory.resources import Consumable
from athanor.memory.signing import GateKey
from tests.instruments.rig import PROBLEM, Rig, make_rig_fixture, new_campaign, rig_fixture, until  # noqa: F401 - fixtures

HOUR = timedelta(hours=1)


class Scene:
    """A ledger whose clock can be set, and one instrument."""

    def __init__(self, home: Path) -> None:
        self.late = timedelta(0)
        self.ledger = Ledger.create(home / "ledger.db", clock=self.now)
        self.place = InstrumentPlace.of("reactor", home)
        self.place.directory.mkdir(parents=True)
        self.place.sockets.mkdir(parents=True)
        self.key = GateKey.load_or_create(keys_dir())
        self.is_broken = False

    def now(self) -> datetime:
        return datetime.now(UTC) + self.late

    def places(self) -> list[InstrumentPlace]:
        if self.is_broken:
            raise OSError("the folder is gone")
        return [self.place]

    def is_simulated_at(self, place: InstrumentPlace) -> bool:
        return True

    def found(self) -> dict[str, str]:
        """Detail by definition."""
        return {one.definition: one.detail for one in conditions(self)}

    def campaign(self, state: str = "running", reason: str | None = None, **changes: object) -> str:
        campaign = new_campaign(self.ledger, f"c{len(self.ledger.campaigns())}", instrument="reactor", **changes)
        self.ledger.set_campaign_state(campaign.id, "running")
        if state != "running":
            self.ledger.set_campaign_state(campaign.id, state, reason=reason)  # type: ignore[arg-type]
        return campaign.id

    def propose(self, campaign: str) -> Experiment:
        ordinal = self.ledger.next_ordinal(campaign)
        fields: dict[str, object] = {
            "campaign": campaign,
            "ordinal": ordinal,
            "values": {"x": 1.0},
            "purpose": "explore",
            "registration_id": None,
            "block": None,
            "arm": None,
            "replicates": 1,
        }
        return self.ledger.add_experiment(
            Experiment(
                id=f"{campaign}.{ordinal}",
                campaign_id=campaign,
                ordinal=ordinal,
                values={"x": 1.0},
                revision=revision_of(**fields, problem_hash=PROBLEM),  # type: ignore[arg-type]
                created_at=self.now(),
            )
        )


@pytest.fixture
def scene(home: Path) -> Iterator[Scene]:
    made = Scene(home)
    yield made
    made.ledger.close()


def test_where_nothing_is_the_matter_nothing_is_said(scene: Scene) -> None:
    assert scene.found() == {}


def test_stop_all_is_told_with_its_time_and_count(scene: Scene) -> None:
    latch = Latch(scene.place)
    latch.engage("smoke", "ada")
    [one] = conditions(scene)
    assert (one.definition, one.subject, one.instrument, one.simulated) == (names.STOP_ALL, "reactor", "reactor", True)
    assert one.detail == "reactor: smoke, by ada" and one.since is not None
    latch.reset("it was steam", "ada")
    assert scene.found() == {}
    latch.engage("fire", "bob")
    [again] = conditions(scene)
    assert again.occurrence != one.occurrence


def test_a_latch_that_cannot_be_read_is_engaged(scene: Scene) -> None:
    Latch(scene.place).create()
    Latch(scene.place).path.write_bytes(b"rubbish")
    assert "corrupt" in scene.found()[names.STOP_ALL]


def test_writes_that_are_off(scene: Scene) -> None:
    WriteSwitch(scene.place).off("new tubing", "ada")
    assert scene.found() == {names.WRITES_OFF: "reactor: new tubing, by ada"}
    WriteSwitch(scene.place).on("done", "ada")
    assert scene.found() == {}


def test_a_take_over_is_told_when_it_is_long_when_it_has_expired_and_when_nobody_can_tell(scene: Scene) -> None:
    orders = Orders(scene.ledger, scene.key, "ada")
    it = TakeOver(scene.place, scene.key.public)
    it.take("ada", lambda: orders.take_over("reactor", 6 * HOUR, "new tubing"))
    assert scene.found() == {}
    scene.late = 4.1 * HOUR
    assert "ada has it in hand" in scene.found()[names.TAKEOVER_LONG]
    scene.late = 6.1 * HOUR
    assert list(scene.found()) == [names.TAKEOVER_EXPIRED]
    assert "ada had it until" in scene.found()[names.TAKEOVER_EXPIRED]
    scene.late = 15 * HOUR
    assert scene.found() == {}, "by then it is history"
    scene.late = timedelta(0)
    it.hand_back("ada", lambda nonce: orders.hand_back("reactor", nonce))
    scene.late = 6.1 * HOUR
    assert scene.found() == {}
    it.path.write_text("{")
    assert "corrupt" in scene.found()[names.TAKEOVER_UNKNOWN]


def worker(scene: Scene) -> subprocess.Popen[bytes]:
    """A process that looks like a worker, and its note."""
    code = "import sys; sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "athanor.instruments.worker"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    (scene.place.sockets / "worker.pid").write_text(f"{process.pid}\n")
    return process


def test_a_worker_that_was_killed_or_frozen(scene: Scene) -> None:
    campaign = scene.campaign()
    scene.ledger.acquire_lease(f"campaign:{campaign}", holder(), 60.0)
    process = worker(scene)
    try:
        assert scene.found() == {}
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert "is frozen" in scene.found()[names.WORKER_LOST]
    finally:
        process.kill()
        process.communicate()
    assert "has ended without a word" in scene.found()[names.WORKER_LOST]
    (scene.place.sockets / "worker.pid").write_text(f"{os.getpid()}\n")
    assert names.WORKER_LOST in scene.found(), "another process has got its number"
    (scene.place.sockets / "worker.pid").unlink()
    assert scene.found() == {}, "one that left in good order takes its note along"


def test_a_real_worker_that_is_killed(rig: Rig) -> None:
    """What our own worker leaves behind is what is looked for."""
    rig.ledger.set_campaign_state(rig.campaign, "running")
    rig.executor().ensure()

    class Here:
        ledger = rig.ledger

        def places(self) -> list[InstrumentPlace]:
            return [rig.place]

        def is_simulated_at(self, place: InstrumentPlace) -> bool:
            return True

    def lost() -> list[str]:
        return [one.detail for one in conditions(Here()) if one.definition == names.WORKER_LOST]

    assert lost() == []
    pid = rig.pid("worker")
    os.kill(pid, signal.SIGKILL)
    [detail] = until(lost)
    assert detail == f"snar-flow: its worker (process {pid}) has ended without a word"
    rig.executor().ensure()
    assert lost() == [], "another one was started"


def test_a_worker_that_nobody_needs_is_not_missed(scene: Scene) -> None:
    (scene.place.sockets / "worker.pid").write_text("999999999\n")
    (scene.place.directory / "worker.exit").write_text("{}")
    assert scene.found() == {}


def test_a_worker_that_does_not_start_says_why(scene: Scene) -> None:
    scene.campaign("paused", "paused by a person")
    note = scene.place.directory / "worker.exit"
    note.write_text(json.dumps({"detail": "no controller at port 5", "remedy": "plug it in"}))
    assert scene.found() == {names.WORKER_FAILED: "reactor: no controller at port 5"}
    note.write_text("[")
    assert "worker.log" in scene.found()[names.WORKER_FAILED]


def test_data_that_was_set_aside(scene: Scene) -> None:
    spooled = scene.place.directory / "spool"
    spooled.mkdir()
    for kind in ("damaged", "foreign"):
        (spooled / f"{kind}.jsonl").write_text("{")
        set_aside(scene.place, spooled / f"{kind}.jsonl", kind, "half a line", None, None)  # type: ignore[arg-type]
    assert scene.found() == {names.SPOOL_ASIDE: "reactor: 1 set aside; the last is damaged.jsonl: half a line"}


def test_a_campaign_whose_process_is_gone(scene: Scene) -> None:
    campaign = scene.campaign()
    assert "its process is gone" in scene.found()[names.CAMPAIGN_LOST]
    scene.ledger.acquire_lease(f"campaign:{campaign}", holder(), 60.0)
    assert scene.found() == {}
    scene.late = timedelta(seconds=61)
    assert list(scene.found()) == [names.CAMPAIGN_LOST]


def test_a_pause_that_nobody_wanted(scene: Scene) -> None:
    wanted = ("paused by a person", "paused by a person while experiment c0.1 waits for approval")
    for reason in (*wanted, "paused: the command was interrupted", "interrupted. Resume with: athanor resume c0"):
        scene.campaign("paused", reason)
    assert scene.found() == {}
    campaign = scene.campaign("paused", "8 runs failed one after the other")
    [one] = conditions(scene)
    assert (one.definition, one.subject) == (names.CAMPAIGN_PAUSED, campaign)
    assert "8 runs failed" in one.detail and one.occurrence


def test_the_reasons_of_pauses_are_the_campaign_s_own_words() -> None:
    """The reasons are text: should the loop begin to word them otherwise, this must be noticed here."""
    root = Path(__file__).parents[2] / "agents"
    nodes, driver = (root / "nodes.py").read_text(), (root / "driver.py").read_text()
    assert '"paused by a person"' in nodes and '"paused: the command was interrupted"' in nodes
    assert 'f"paused by a person while' in driver and 'f"paused: the command was interrupted while' in driver
    assert 'else "interrupted"' in driver and '"{what}. Resume with' in driver
    assert 'f"reference {' in (root / "references.py").read_text()


def test_drift_is_its_own_alarm(scene: Scene) -> None:
    scene.campaign("paused", "reference sty 5.1 sd above its baseline at reference 4 (…). The instrument may …")
    assert list(scene.found()) == [names.DRIFT]


def test_a_campaign_that_failed_is_told_for_a_shift(scene: Scene) -> None:
    scene.campaign("failed", "no point is possible")
    assert "no point is possible" in scene.found()[names.CAMPAIGN_FAILED]
    scene.late = 13 * HOUR
    assert scene.found() == {}


def test_what_waits_for_approval_for_long(scene: Scene) -> None:
    campaign = scene.campaign("paused", "paused by a person")
    first = scene.propose(campaign)
    assert scene.found() == {}
    scene.late = timedelta(minutes=16)
    scene.propose(campaign)
    assert scene.found()[names.APPROVAL].startswith(f"{first.id} has been waiting since")
    assert scene.found()[names.APPROVAL].endswith(", and 1 more")
    Gate(scene.ledger, scene.key, "ada").reject(first.id, first.revision, "no")
    assert scene.found() == {}, "the other one has not been waiting for long"


def test_an_outcome_in_doubt_is_told_for_each(scene: Scene) -> None:
    campaign = scene.campaign("paused", "paused by a person")
    for _ in range(2):
        experiment = scene.propose(campaign)
        decision = Gate(scene.ledger, scene.key, "ada").approve(experiment.id, experiment.revision, 0)
        lease = scene.ledger.acquire_lease("instrument:reactor", "h", 60.0)
        intent: Intent = scene.ledger.commit_intent(experiment.id, decision.id, "reactor", "h", lease.epoch)
        assert intent.experiment_id == experiment.id
        scene.ledger.set_experiment_state(experiment.id, "in_doubt", "the worker was lost")
    found = [one for one in conditions(scene) if one.definition == names.IN_DOUBT]
    assert [one.subject for one in found] == [f"{campaign}.1", f"{campaign}.2"]
    assert "the worker was lost" in found[0].detail


def test_a_grant_that_ends_soon(scene: Scene) -> None:
    campaign = scene.campaign(autonomy="auto_within_limits")
    scene.ledger.acquire_lease(f"campaign:{campaign}", holder(), 86400.0)
    gate = Gate(scene.ledger, scene.key, "ada")
    gate.grant(campaign, "reactor", 0, {"x": {"low": 0, "high": 1}}, 5, HOUR)
    assert scene.found() == {}
    scene.late = timedelta(minutes=31)
    assert list(scene.found()) == [names.GRANT]
    gate.grant(campaign, "reactor", 0, {"x": {"low": 0, "high": 1}}, 5, HOUR)
    assert scene.found() == {}


def test_an_interlock_that_refused(scene: Scene) -> None:
    looker = Conditions(scene)
    assert looker.look().conditions == []
    counts = {"interlock.tripped": 2, "limit.high": 9}
    scene.ledger.add_event(None, "refusals", {"instrument": "reactor", "counts": counts})
    [one] = looker.look().conditions
    assert (one.definition, one.detail) == (names.INTERLOCK, "reactor: interlock.tripped × 2")
    assert conditions(scene) == [one], "whoever starts to look now sees it, too"
    scene.late = timedelta(minutes=3)
    assert looker.look().conditions == []


def test_sign_ins_that_fail_again_and_again(scene: Scene) -> None:
    for number in range(names.SIGN_IN_COUNT):
        assert scene.found() == {}
        body = {"login": "ada", "source": f"192.0.2.{number}", "code": "sign_in.wrong"}
        scene.ledger.add_event(None, "sign_in_refused", body)
    scene.ledger.add_event(None, "sign_in_refused", {"login": None, "source": "", "code": "sign_in.wrong"})
    [one] = conditions(scene)
    assert (one.definition, one.subject, one.instrument) == (names.SIGN_IN, "ada", None)
    assert one.detail == "ada: 5 failures in 10 minutes", "from where is for those who may read the audit"
    scene.late = timedelta(minutes=11)
    assert scene.found() == {}


def test_stocks(scene: Scene) -> None:
    scene.ledger.add_consumable(Consumable(id="MeCN", unit="mL", amount=100.0, low=20.0))
    scene.ledger.add_consumable(Consumable(id="swabs", amount=0.0))
    assert scene.found() == {}, "where no level is given, nobody wants to be told"
    scene.ledger.set_stock("MeCN", "ada", "spilt", amount=19.0)
    assert scene.found() == {names.STOCK: "MeCN: 19 mL left, of which people are told at 20 mL"}
    scene.ledger.set_stock("MeCN", "ada", "spilt", amount=0.0)
    assert scene.found() == {names.STOCK_EMPTY: "MeCN: 0 mL left"}


@pytest.mark.parametrize(
    ("free", "definition"), [(names.LOW_BYTES - 1, names.LEDGER_SPACE), (names.FULL_BYTES - 1, names.LEDGER_FULL)]
)
def test_a_disk_that_fills_up(scene: Scene, monkeypatch: pytest.MonkeyPatch, free: int, definition: str) -> None:
    usage = type(shutil.disk_usage("/"))(1 << 40, (1 << 40) - free, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert list(scene.found()) == [definition]


def test_what_cannot_be_read_is_said_and_everything_else_is_still_seen(scene: Scene) -> None:
    scene.campaign("failed", "no point is possible")
    scene.is_broken = True
    reading = Conditions(scene).look()
    assert {one.definition for one in reading.conditions} == {names.BLIND, names.CAMPAIGN_FAILED}
    assert names.STOP_ALL in reading.unread and names.CAMPAIGN_FAILED not in reading.unread


def test_two_instruments_of_one_name_are_two(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = InstrumentPlace.of("reactor", tmp_path / "elsewhere")
    other.directory.mkdir(parents=True)
    for place in (scene.place, other):
        Latch(place).engage("smoke", "ada")
    monkeypatch.setattr(scene, "places", lambda: [scene.place, other])
    found = conditions(scene)
    assert len({one.alarm_id for one in found}) == 2 and {one.instrument for one in found} == {"reactor"}
