from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.abort import Worker
from athanor.instruments.hardware import Hardware
from athanor.instruments.ladder import StopLine
from athanor.instruments.latch import Latch
from athanor.memory.places import InstrumentPlace

BENCH = Path(__file__).with_name("stop_bench.py")


@pytest.fixture
def bench(home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH.parent))
    import stop_bench

    place = InstrumentPlace.of("bench")
    place.directory.mkdir(parents=True)
    place.sockets.mkdir()
    bench = stop_bench.Bench(place.directory)
    bench.lay_out(x=0.0, y=10.0)
    return bench


@pytest.fixture
def place(bench: Any) -> InstrumentPlace:
    return InstrumentPlace.of("bench")


@pytest.fixture
def hardware(bench: Any) -> Hardware:
    import stop_bench

    hardware = Hardware(lambda: stop_bench.connect(bench.path.parent))
    assert hardware.connect()
    return hardware


class Workers:
    def __init__(self, place: InstrumentPlace) -> None:
        self.path = place.sockets / "worker.sock"
        self.started: list[subprocess.Popen[str]] = []

    def start(self, mode: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(BENCH), str(self.path), mode]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.started.append(worker)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        return worker


@pytest.fixture
def workers(place: InstrumentPlace) -> Iterator[Workers]:
    workers = Workers(place)
    yield workers
    for worker in workers.started:
        worker.kill()
        worker.communicate()


def line_of(place: InstrumentPlace, hardware: Hardware, worker: subprocess.Popen[str] | None = None) -> StopLine:
    Latch(place).create()
    watched = Worker(worker.pid) if worker is not None else None
    return StopLine(hardware, Latch(place), place.sockets / "worker.sock", lambda: watched)


def positions(bench: Any) -> dict[str, float]:
    return {name: bench.position(name) for name in bench.load()}


def test_a_worker_that_aborts_is_left_alive(
    bench: Any, place: InstrumentPlace, hardware: Hardware, workers: Workers
) -> None:
    worker = workers.start("obedient")
    bench.move("x", 1000.0, speed=10.0)
    report = line_of(place, hardware, worker).stop_all("leak", "rivera")
    assert (report["confirmed"], report["worker"], report["moving"]) == (True, "parked", False)
    assert report["elapsed_s"] < 0.5
    assert report["positions"] == positions(bench)
    assert report["positions"]["x"] < 1000.0
    assert worker.poll() is None
    assert report["latch"] == {"count": 1, "engaged": True, "saved": True, "reason": "leak"}
    assert Latch(place).read().by == "rivera"


@pytest.mark.parametrize("mode", ["deaf", "busy", "frozen"])
def test_a_worker_that_does_not_come_to_rest_is_killed(
    bench: Any, place: InstrumentPlace, hardware: Hardware, workers: Workers, mode: str
) -> None:
    worker = workers.start("obedient" if mode == "frozen" else mode)
    if mode == "frozen":
        os.kill(worker.pid, signal.SIGSTOP)
    bench.move("x", 1000.0, speed=10.0)
    report = line_of(place, hardware, worker).stop_all("leak", "rivera")
    assert (report["confirmed"], report["worker"]) == (True, "killed")
    assert 0.5 <= report["elapsed_s"] < 2.0
    assert worker.wait(5) == -signal.SIGKILL
    assert "killed" in report["detail"]
    assert report["positions"] == positions(bench)


def test_an_unknown_worker_is_found_by_its_socket(
    bench: Any, place: InstrumentPlace, hardware: Hardware, workers: Workers
) -> None:
    worker = workers.start("deaf")
    report = line_of(place, hardware).stop_all("leak", "rivera")
    assert report["worker"] == "killed"
    assert worker.wait(5) == -signal.SIGKILL


def test_without_a_worker(bench: Any, place: InstrumentPlace, hardware: Hardware) -> None:
    bench.move("y", -1000.0, speed=10.0)
    report = line_of(place, hardware).stop_all("leak", "rivera")
    assert (report["confirmed"], report["worker"]) == (True, "absent")
    assert not bench.is_moving()


def test_a_second_stop_says_the_same_and_latches_once(bench: Any, place: InstrumentPlace, hardware: Hardware) -> None:
    line = line_of(place, hardware)
    first, second = line.stop_all("leak", "rivera"), line.stop_all("again", "okafor")
    assert first["latch"] == second["latch"]
    assert second["confirmed"]


def test_many_at_once_share_one_descent(
    bench: Any, place: InstrumentPlace, hardware: Hardware, workers: Workers
) -> None:
    worker = workers.start("obedient")
    bench.move("x", 1000.0, speed=10.0)
    line = line_of(place, hardware, worker)
    reports: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: reports.append(line.stop_all("leak", "x"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 20
    assert all(report["confirmed"] and report["latch"]["count"] == 1 for report in reports)
    assert (place.sockets / "aborts").read_text() == "1"


def test_one_axis_that_hangs_keeps_no_other_from_stopping(
    bench: Any, place: InstrumentPlace, hardware: Hardware
) -> None:
    bench.move("x", 1000.0, speed=1000.0, hangs=True)
    bench.move("y", -1000.0, speed=1.0)
    report = line_of(place, hardware).stop_all("leak", "rivera")
    assert bench.load()["y"]["target"] == pytest.approx(10.0, abs=0.5), "stopped at once, though x hung"
    assert report["confirmed"], "x came to its end by itself"


def test_an_axis_that_ignores_the_stop_is_not_called_still(
    bench: Any, place: InstrumentPlace, hardware: Hardware, workers: Workers
) -> None:
    worker = workers.start("obedient")
    bench.move("x", 1000.0, speed=1.0, ignores_stop=True)
    report = line_of(place, hardware, worker).stop_all("leak", "rivera")
    assert (report["confirmed"], report["moving"], report["worker"]) == (False, True, "killed")
    assert "moves" in report["detail"]
    assert Latch(place).read().engaged


def test_an_instrument_that_does_not_say_whether_it_moves_is_not_called_still(
    bench: Any, place: InstrumentPlace, hardware: Hardware
) -> None:
    assert hardware._devices is not None
    hardware._devices.is_moving = threading.Event().wait
    report = line_of(place, hardware).stop_all("leak", "rivera")
    assert (report["confirmed"], report["moving"]) == (False, None)
    assert "does not say" in report["detail"]


def test_without_a_connection_it_latches_ends_the_worker_and_says_so(
    bench: Any, place: InstrumentPlace, hardware: Hardware, workers: Workers
) -> None:
    worker = workers.start("deaf")
    bench.path.unlink()
    report = line_of(place, hardware, worker).stop_all("leak", "rivera")
    assert (report["confirmed"], report["connected"], report["worker"]) == (False, False, "killed")
    assert "not connected" in report["detail"] or "does not say" in report["detail"]
    assert Latch(place).read().engaged
    assert report["elapsed_s"] < 3.0


def test_without_a_connection_an_obedient_worker_keeps_its_own(
    bench: Any, place: InstrumentPlace, hardware: Hardware, workers: Workers
) -> None:
    worker = workers.start("obedient")
    bench.path.unlink()
    report = line_of(place, hardware, worker).stop_all("leak", "rivera")
    assert (report["confirmed"], report["worker"]) == (False, "parked")
    assert worker.poll() is None


def test_a_connection_that_comes_back_during_the_stop_is_used(
    bench: Any, place: InstrumentPlace, hardware: Hardware
) -> None:
    bench.move("x", 1000.0, speed=1.0)
    hidden = bench.path.rename(bench.path.with_name("hidden"))
    keeper = threading.Thread(target=hardware.keep_connected)
    keeper.start()
    deadline = time.monotonic() + 5
    while hardware.generation and hardware._devices is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    line = line_of(place, hardware)
    threading.Timer(0.3, lambda: hidden.rename(bench.path)).start()
    report = line.stop_all("leak", "rivera")
    hardware.close()
    keeper.join()
    assert report["confirmed"]
    assert not bench.is_moving()


@pytest.mark.parametrize(("mode", "fate"), [("obedient", "killed"), ("latching", "parked")])
def test_a_latch_that_cannot_be_saved_leaves_no_worker_that_does_not_hold_it_too(
    bench: Any, place: InstrumentPlace, hardware: Hardware, workers: Workers, mode: str, fate: str
) -> None:
    worker = workers.start(mode)
    line = line_of(place, hardware, worker)
    line.latch.path.unlink()
    line.latch.path.symlink_to("/dev/full")
    report = line.stop_all("leak", "rivera")
    assert (report["confirmed"], report["worker"], report["latch"]["saved"]) == (True, fate, False)
    assert "in memory only" in report["detail"]
    assert line.latch.read().engaged


@pytest.mark.parametrize(("mode", "fate"), [("obedient", "killed"), ("latching", "parked")])
def test_a_disk_that_does_not_answer_holds_nothing_up(
    bench: Any, place: InstrumentPlace, hardware: Hardware, workers: Workers, mode: str, fate: str
) -> None:
    worker = workers.start(mode)
    bench.move("x", 1000.0, speed=10.0)
    line = line_of(place, hardware, worker)
    line.latch.path.unlink()
    os.mkfifo(line.latch.path)  # Opening it waits for ever, like a dead disk.
    report = line.stop_all("leak", "rivera")
    assert (report["confirmed"], report["worker"], report["latch"]["saved"]) == (True, fate, False)
    assert bench.position("x") < 10.0
    assert "has not answered" in report["detail"]


def test_coroutine_stops_run_on_the_engine_loop(bench: Any, place: InstrumentPlace) -> None:
    import stop_bench

    bench.lay_out(async_x=0.0)
    hardware = Hardware(lambda: stop_bench.connect(bench.path.parent))
    assert hardware.connect()
    bench.move("async_x", 1000.0, speed=10.0)
    report = line_of(place, hardware).stop_all("leak", "rivera")
    assert report["confirmed"]
    assert bench.position("async_x") < 1000.0


def test_a_dead_process_is_not_confused_with_the_next_of_its_number() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    worker = Worker(child.pid)
    child.wait()
    assert not worker.is_alive()
    assert worker.kill()
