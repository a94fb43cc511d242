"""The RunEngine's owner: every way in which a run can end, and what is said about it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import until

from athanor.instruments.engine import Engine, Job
from athanor.instruments.laboratory import Devices, InstrumentLost, ProcessFailed, RunContext
from athanor.instruments.profile import AxisSpec, DetectorSpec, OutcomeSpec, Profile
from athanor.instruments.spool import Backlog, Ending, Header, RunSpool
from athanor.instruments.words import Refused, Seen

PROFILE = Profile(
    name="reactor",
    laboratory="reactor",
    simulated=True,
    axes={"x": AxisSpec(minimum=0, maximum=100, timeout_s=5)},
    detectors={"d": DetectorSpec(signals={"d": None}, timeout_s=5)},
    outcomes={"d": OutcomeSpec(signal="d")},
)


class Device:
    """An axis or a detector whose moves and readings wait until they are let go."""

    parent = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.free = threading.Event()
        self.free.set()
        self.begun = 0
        self.position = 0.0
        self.error: Exception | None = None
        self.may_stop = threading.Event()
        self.may_stop.set()
        self.is_stopping = False
        self._stopped = False

    def set(self, value: float = 1.0) -> Any:
        from ophyd_async.core import AsyncStatus

        self._stopped = False
        self.begun += 1

        async def move() -> None:
            while not self.free.is_set() and not self._stopped:
                await asyncio.sleep(0.002)
            if self.error is not None:
                raise self.error
            if not self._stopped:
                self.position = value

        return AsyncStatus(move())

    trigger = set

    async def stop(self, success: bool = True) -> None:
        self._stopped = self.is_stopping = True
        while not self.may_stop.is_set():
            await asyncio.sleep(0.002)

    async def locate(self) -> dict[str, Any]:
        return {"setpoint": self.position, "readback": self.position}

    async def read(self) -> dict[str, Any]:
        return {self.name: {"value": self.position, "timestamp": 0.0}}

    async def describe(self) -> dict[str, Any]:
        return {self.name: {"source": "test", "dtype": "number", "shape": []}}


class Stand:
    """An engine with two devices, and what became of its runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.x, self.d = Device("x"), Device("d")
        self.latched: str | None = None
        self.connected = True
        self.states: list[str] = []
        self.prepare: Callable[[RunContext], None] | None = None
        self.engine = Engine(PROFILE, self.states.append, lambda: self.latched)
        self.engine.attach(
            Devices({"x": self.x}, [self.d], prepare_run=self._prepare, is_connected=lambda: self.connected)
        )
        self.count = 0

    def _prepare(self, context: RunContext) -> None:
        if self.prepare is not None:
            self.prepare(context)

    def job(self, value: float = 5.0, replicates: int = 1, limit: int = 10**9) -> Job:
        self.count += 1
        name = f"intent-{self.count}"
        spool = RunSpool(
            self.folder / f"{name}.jsonl", Header(name, "camp.1", "camp", "decision", "reactor", True), Backlog(limit)
        )
        self.documents: list[str] = []
        self.endings: list[Ending] = []
        return Job(
            context=RunContext(name, "camp.1", 1, 1, replicates),
            values={"x": value},
            metadata={"intent": name},
            spool=spool,
            on_document=lambda _job, kind, _body, _size: self.documents.append(kind),
            on_end=lambda _job, ending: self.endings.append(ending),
        )

    def start(self, job: Job) -> Job:
        self.engine.start(job, self.engine.count_aborts())
        return job

    def end(self, job: Job) -> Ending:
        assert job.over.wait(10)
        [ending] = self.endings
        until(lambda: self.engine.state == "idle")
        return ending


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    for event in (stand.x.free, stand.d.free, stand.x.may_stop):
        event.set()
    stand.engine.abort("the test is over")
    until(lambda: stand.engine.state == "idle")


def moving(stand: Stand, **options: Any) -> Job:
    stand.x.free.clear()
    job = stand.start(stand.job(**options))
    until(lambda: stand.x.begun == 1)
    return job


def test_a_run_completes(stand: Stand) -> None:
    job = stand.start(stand.job(replicates=2))
    assert stand.end(job) == Ending("completed", None)
    assert stand.documents == ["start", "descriptor", "event", "event", "stop"]
    assert stand.states == ["running", "idle"]


def test_one_at_a_time(stand: Stand) -> None:
    job = moving(stand)
    with pytest.raises(Refused, match=r"instrument\.busy"):
        stand.start(stand.job())
    stand.endings.clear()
    stand.x.free.set()
    assert job.over.wait(10)


def test_abort_while_moving(stand: Stand) -> None:
    job = moving(stand)
    assert stand.engine.abort("enough")
    assert stand.end(job) == Ending("aborted", "enough")
    assert stand.documents == ["start", "stop"]


def test_another_run_than_was_seen_is_left_alone(stand: Stand) -> None:
    aborts = stand.engine.count_aborts()
    assert not stand.engine.abort("enough", Seen("camp.0"))
    assert stand.engine.count_aborts() == aborts, "what is being prepared is not the one that was seen"
    job = moving(stand)
    for seen in (Seen("camp.0"), Seen(None)):
        for ask in (stand.engine.check_seen, stand.engine.pause, lambda it: stand.engine.abort("enough", it)):
            with pytest.raises(Refused, match=r"run\.changed: .* camp\.1 is being run"):
                ask(seen)
    assert job.ends is None and not job.wants_pause and stand.engine.count_aborts() == aborts
    assert stand.engine.abort("enough", Seen("camp.1"))
    assert stand.end(job) == Ending("aborted", "enough")


def test_an_abort_during_the_run_engines_own_cleaning_up_leaves_it_usable(stand: Stand) -> None:
    """Its tasks would be cancelled, and it would never be idle again."""
    stand.x.may_stop.clear()
    stand.d.error = ProcessFailed("odd")  # of other faults the plan halts the axes itself
    job = stand.start(stand.job())
    until(lambda: stand.x.is_stopping)
    assert stand.engine.abort("enough")
    assert not job.over.wait(0.2)
    stand.x.may_stop.set()
    assert stand.end(job) == Ending("failed", "process failed: odd")
    stand.d.error = None
    assert stand.end(stand.start(stand.job())) == Ending("completed", None)


def test_a_plan_does_not_end_before_an_abort_that_is_on_its_way_has_struck(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    abort, states = stand.engine.RE.abort, []

    def late(reason: str = "") -> Any:
        stand.d.free.set()
        until(lambda: "stop" in stand.documents)
        assert not job.over.wait(0.2)
        states.append(str(stand.engine.RE.state))
        return abort(reason)

    monkeypatch.setattr(stand.engine.RE, "abort", late)
    stand.d.free.clear()
    job = stand.start(stand.job())
    until(lambda: stand.d.begun == 1)
    stand.engine.abort("enough")
    assert stand.end(job) == Ending("completed", None), "all was measured before the abort came"
    assert states == ["running"]
    assert stand.end(stand.start(stand.job())) == Ending("completed", None)


@pytest.mark.parametrize("how", ["halted", "failed"])
def test_what_stop_all_halts_is_no_fault_of_the_axis(stand: Stand, how: str) -> None:
    """The recovery process halts the axes; the worker may see that before it hears of an abort."""
    moving(stand)
    stand.latched = "smoke"
    stand.x._stopped = True
    stand.x.error = ValueError("stopped") if how == "failed" else None
    stand.x.free.set()
    until(lambda: stand.endings)
    assert stand.endings == [Ending("aborted", "Stop All: smoke")]


def test_an_abort_that_came_during_preparation_ends_it(stand: Stand) -> None:
    aborts = stand.engine.count_aborts()
    assert not stand.engine.abort("enough")
    with pytest.raises(Refused, match="aborted"):
        stand.engine.start(stand.job(), aborts)
    assert stand.x.begun == 0


def test_an_abort_before_the_run_is_open_moves_nothing(stand: Stand) -> None:
    def prepare(context: RunContext) -> None:
        stand.engine.abort("not this one")

    stand.prepare = prepare
    ending = stand.end(stand.start(stand.job()))
    assert ending.state in ("refused", "aborted") and "not this one" in (ending.reason or "")
    assert stand.x.begun == 0
    stand.prepare = None
    assert stand.end(stand.start(stand.job())).state == "completed", "the next one is not aborted with it"


def test_pause_stops_resume_goes_on_and_the_readings_are_whole(stand: Stand) -> None:
    stand.d.free.clear()
    job = stand.start(stand.job(replicates=2))
    until(lambda: stand.d.begun == 1)
    stand.engine.pause()
    assert stand.engine.state == "running", "a reading in hand is finished first"
    stand.d.free.set()
    until(lambda: stand.engine.state == "paused")
    assert not job.over.is_set()
    stand.engine.resume()
    assert stand.end(job) == Ending("completed", None)
    assert stand.d.begun == 2, "no reading is taken twice"
    assert stand.x.begun == 2, "before the next one the axis is sent where it belongs again"
    with pytest.raises(Refused):
        stand.engine.resume()


def test_a_pause_halts_a_motion_and_resume_begins_it_anew(stand: Stand) -> None:
    job = moving(stand)
    stand.engine.pause()
    until(lambda: stand.engine.state == "paused")
    until(lambda: stand.x._stopped)
    stand.x.free.set()
    stand.engine.resume()
    assert stand.end(job) == Ending("completed", None)
    assert (stand.x.begun, stand.d.begun) == (2, 1)


def test_abort_while_paused(stand: Stand) -> None:
    job = moving(stand)
    stand.engine.pause()
    until(lambda: stand.engine.state == "paused")
    stand.engine.abort("enough")
    assert stand.end(job) == Ending("aborted", "enough")


def test_a_pause_and_an_abort_at_once_end_the_run(stand: Stand) -> None:
    for _ in range(5):
        stand.d.free.clear()
        begun = stand.d.begun
        job = stand.start(stand.job())
        until(lambda: stand.d.begun > begun)  # noqa: B023
        stand.engine.pause()
        stand.engine.abort("enough")
        assert stand.end(job) == Ending("aborted", "enough")
    with pytest.raises(Refused):
        stand.engine.pause()


def test_stopped_early_is_not_completed(stand: Stand) -> None:
    stand.d.free.clear()
    job = stand.start(stand.job(replicates=3))
    until(lambda: stand.d.begun == 1)
    threading.Thread(target=stand.engine.RE.stop).start()
    assert stand.end(job) == Ending("stopped_early", "0 of 3 readings taken")


def test_a_device_that_fails_fails_the_run(stand: Stand) -> None:
    stand.d.error = ValueError("odd")
    assert stand.end(stand.start(stand.job())) == Ending("failed", "ValueError: odd")


def test_a_lost_instrument_leaves_the_outcome_unknown(stand: Stand) -> None:
    stand.d.error = InstrumentLost("cable")
    assert stand.end(stand.start(stand.job())) == Ending("in_doubt", "instrument lost: cable")
    stand.d.error = None
    job = moving(stand)
    assert stand.engine.lose("power") is job
    assert stand.end(job) == Ending("in_doubt", "instrument lost: power")


def test_a_failure_on_a_dropped_connection_is_a_lost_instrument(stand: Stand) -> None:
    stand.d.error = OSError("broken pipe")
    stand.connected = False
    assert stand.end(stand.start(stand.job())) == Ending("in_doubt", "instrument lost: OSError: broken pipe")


def test_what_was_measured_counts_even_if_the_connection_drops_afterwards(stand: Stand) -> None:
    stand.connected = False
    assert stand.end(stand.start(stand.job())) == Ending("completed", None)


def test_a_latched_stop_moves_nothing(stand: Stand) -> None:
    stand.latched = "smoke"
    ending = stand.end(stand.start(stand.job()))
    assert ending.state == "refused" and "smoke" in (ending.reason or "")
    assert stand.x.begun == 0


def test_outside_the_limits_nothing_is_set(stand: Stand) -> None:
    ending = stand.end(stand.start(stand.job(value=100.1)))
    assert ending.state == "failed" and "limit.above" in (ending.reason or "")
    assert stand.x.begun == 0


def test_a_spool_that_is_full_fails_the_run_visibly(stand: Stand) -> None:
    ending = stand.end(stand.start(stand.job(replicates=50, limit=3000)))
    assert ending.state == "failed" and "wait for the ledger" in (ending.reason or "")
    assert stand.documents[0] == "start" and "stop" not in stand.documents
    assert len(stand.documents) < 50
    assert stand.end(stand.start(stand.job())).state == "completed"


def test_a_spool_that_takes_nothing_moves_nothing(stand: Stand) -> None:
    job = stand.job(limit=-1)
    ending = stand.end(stand.start(job))
    assert ending.state == "refused" and "wait for the ledger" in (ending.reason or "")
    assert stand.x.begun == 0


def test_what_the_laboratory_did_not_connect_is_named(stand: Stand) -> None:
    with pytest.raises(Refused, match=r"instrument\.incomplete.*d"):
        stand.engine.attach(Devices({"x": stand.x}, []))


def test_a_resume_given_twice_does_not_undo_the_next_pause(stand: Stand) -> None:
    stand.d.free.clear()
    job = stand.start(stand.job(replicates=2))
    until(lambda: stand.d.begun == 1)
    stand.engine.pause()
    stand.d.free.set()
    until(lambda: stand.engine.state == "paused")
    stand.d.free.clear()
    stand.engine._commands.put("resume")  # two people at once: both saw it paused
    stand.engine.resume()
    until(lambda: stand.d.begun == 2)
    stand.engine.pause()
    stand.d.free.set()
    until(lambda: stand.states.count("paused") == 2)
    assert not job.over.wait(0.3)
    assert stand.engine.state == "paused"
    stand.engine.resume()
    assert stand.end(job) == Ending("completed", None)
