from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.hardware import Hardware
from athanor.instruments.latch import Latch
from athanor.instruments.line import Line, LineClosed
from athanor.instruments.recovery import Recovery
from athanor.memory.places import InstrumentPlace

BENCH = Path(__file__).with_name("stop_bench.py")


@pytest.fixture
def bench(home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH.parent))
    import stop_bench

    place = InstrumentPlace.of("bench")
    place.directory.mkdir(parents=True)
    place.sockets.mkdir()
    (place.directory / "config.json").write_text(
        json.dumps({"profile": {"laboratory": "file-bench", "simulated": True}, "options": {}})
    )
    bench = stop_bench.Bench(place.directory)
    bench.lay_out(x=0.0, y=10.0)
    return bench


@pytest.fixture
def place(bench: Any) -> InstrumentPlace:
    return InstrumentPlace.of("bench")


@pytest.fixture
def sleeper() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Processes that stand for a worker: there, and nothing more."""
    started = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def recover(place: InstrumentPlace) -> Iterator[Callable[..., Recovery]]:
    """Recovery objects that run in this process."""
    running: list[tuple[Recovery, threading.Thread]] = []

    def start(worker_pid: int | None = None, idle_s: float = 60.0) -> Recovery:
        import stop_bench

        recovery = Recovery(place, Hardware(lambda: stop_bench.connect(place.directory)), worker_pid, idle_s)
        thread = threading.Thread(target=recovery.run)
        thread.start()
        running.append((recovery, thread))
        until(lambda: recovery.hardware.is_connected, "connected")
        return recovery

    yield start
    for recovery, thread in running:
        recovery.end()
        thread.join(5)
        assert not thread.is_alive()


def until(condition: Callable[[], Any], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not seen in {timeout_s} s: {what}"
        time.sleep(0.01)


def ask(place: InstrumentPlace, verb: str, **fields: Any) -> dict[str, Any]:
    with Line.connect(place.sockets / "recovery.sock") as line:
        line.send({"id": 7, "verb": verb, **fields})
        while True:
            message = line.receive(time.monotonic() + 10)
            if message.get("id") == 7 and "ok" in message:
                return message


def answers(place: InstrumentPlace) -> bool:
    try:
        return bool(ask(place, "hello")["ok"])
    except (LineClosed, OSError):
        return False


def log_of(place: InstrumentPlace) -> str:
    path = place.directory / "recovery.log"
    return path.read_text() if path.exists() else ""


def test_greets_and_reads_back(place: InstrumentPlace, recover: Callable[..., Recovery]) -> None:
    recover()
    facts = ask(place, "hello")
    assert (facts["name"], facts["pid"], facts["connected"]) == ("bench", os.getpid(), True)
    assert facts["latch"]["engaged"] is False
    read = ask(place, "positions")
    assert read["positions"] == {"x": 0.0, "y": 10.0}
    assert (read["moving"], read["failures"]) == (False, {})
    assert (place.sockets / "recovery.sock").stat().st_mode & 0o777 == 0o600
    assert int((place.sockets / "recovery.pid").read_text()) == os.getpid()


def test_stop_all_says_at_once_that_it_is_at_it(
    bench: Any, place: InstrumentPlace, recover: Callable[..., Recovery]
) -> None:
    recover()
    bench.move("x", 1000.0, speed=10.0)
    with Line.connect(place.sockets / "recovery.sock") as line:
        line.send({"id": 1, "verb": "stop_all", "reason": "leak", "by": "rivera"})
        assert line.receive(time.monotonic() + 1)["event"] == "accepted"
        report = line.receive(time.monotonic() + 5)
    assert (report["ok"], report["confirmed"]) == (True, True)
    assert Latch(place).read().reason == "leak"
    until(lambda: "stop all by rivera (leak)" in log_of(place), "the record of it")


@pytest.mark.parametrize(
    "line", [b"garbage\n", b"[]\n", b'{"verb": 3}\n', b"\xff\n", b'{"id": 1, "verb": "dispatch"}\n']
)
def test_what_it_does_not_know_does_no_harm(
    place: InstrumentPlace, recover: Callable[..., Recovery], line: bytes
) -> None:
    recover()
    with Line.connect(place.sockets / "recovery.sock") as connection:
        connection.sock.sendall(line)
        try:
            message = connection.receive(time.monotonic() + 5)
        except LineClosed:
            message = {"ok": False}
    assert message["ok"] is False
    assert answers(place)


def test_adopts_one_worker_at_a_time(
    place: InstrumentPlace, recover: Callable[..., Recovery], sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    first, second = sleeper(), sleeper()
    recover(first.pid)
    assert ask(place, "adopt", worker_pid=first.pid)["ok"], "its own once more"
    refused = ask(place, "adopt", worker_pid=second.pid)
    assert (refused["ok"], refused["code"]) == (False, "worker_alive")
    first.kill()
    first.wait()
    assert ask(place, "adopt", worker_pid=second.pid)["worker_pid"] == second.pid
    for wrong in (None, "12", True, -1, 0):
        assert ask(place, "adopt", worker_pid=wrong)["code"] == "bad_pid"


def test_a_changed_configuration_needs_a_new_process(
    place: InstrumentPlace, recover: Callable[..., Recovery], sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    recover()
    (place.directory / "config.json").write_text("{}")
    assert ask(place, "adopt", worker_pid=sleeper().pid)["code"] == "config_changed"
    until(lambda: not (place.sockets / "recovery.sock").exists(), "its end")


def test_the_death_of_a_worker_stops_what_moves_without_latching(
    bench: Any, place: InstrumentPlace, recover: Callable[..., Recovery], sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    worker = sleeper()
    recover(worker.pid)
    bench.move("x", 1000.0, speed=10.0)
    bench.move("y", -1000.0, speed=10.0)
    worker.kill()
    worker.wait()
    until(lambda: not bench.is_moving(), "standstill", 2.0)
    assert abs(bench.position("x")) < 20.0
    assert not Latch(place).read().engaged
    until(lambda: f"worker {worker.pid} died while moving" in log_of(place), "the record of it")
    # From then on the instrument is people's: a motion they start is theirs.
    until(lambda: "positions" in log_of(place), "the end of the record")
    until(lambda: not ask(place, "hello")["worker_alive"], "the death seen")
    bench.move("x", 0.0, speed=20.0)
    until(lambda: bench.position("x") == 0.0, "the motion's end")


def test_a_living_worker_moves_undisturbed(
    bench: Any, place: InstrumentPlace, recover: Callable[..., Recovery], sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    recover(sleeper().pid)
    bench.move("x", 5.0, speed=10.0)
    until(lambda: bench.position("x") == 5.0, "the motion's end")
    assert log_of(place) == ""


def test_started_without_a_worker_it_stops_what_it_finds_moving(
    bench: Any, place: InstrumentPlace, recover: Callable[..., Recovery]
) -> None:
    bench.move("x", 1000.0, speed=1.0)
    recover()
    until(lambda: not bench.is_moving(), "standstill", 2.0)
    until(lambda: "moving without a worker" in log_of(place), "the record of it")


def test_ends_after_the_idle_period_but_not_while_a_worker_lives(
    place: InstrumentPlace, recover: Callable[..., Recovery], sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    worker = sleeper()
    recover(worker.pid, idle_s=0.3)
    # Twice the idle period of its own clock, without a request that would keep it awake.
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.6, "the idle period")
    assert answers(place)
    worker.kill()
    worker.wait()
    until(lambda: not (place.sockets / "recovery.sock").exists(), "its end")
    assert not (place.sockets / "recovery.pid").exists()


def test_stays_while_something_moves(bench: Any, place: InstrumentPlace, recover: Callable[..., Recovery]) -> None:
    bench.move("x", 2.0, speed=1.0, ignores_stop=True)
    recover(idle_s=0.2)
    until(lambda: bench.position("x") > 1.5, "most of the motion")
    assert answers(place)


def test_shutdown_is_refused_while_it_is_needed(
    bench: Any, place: InstrumentPlace, recover: Callable[..., Recovery], sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    worker = sleeper()
    recover(worker.pid)
    assert ask(place, "shutdown")["code"] == "worker_alive"
    worker.kill()
    worker.wait()
    until(lambda: not ask(place, "hello")["worker_alive"], "the death seen")
    assert ask(place, "shutdown")["ok"]
    until(lambda: not answers(place), "its end")


def test_a_latch_that_the_disk_did_not_take_is_saved_as_soon_as_it_does(
    place: InstrumentPlace, recover: Callable[..., Recovery]
) -> None:
    latch = Latch(place)
    latch.create()
    recover()
    aside = latch.path.rename(latch.path.with_name("aside"))
    latch.path.symlink_to("/dev/full")
    report = ask(place, "stop_all", reason="leak", by="rivera")
    assert (report["confirmed"], report["latch"]["saved"]) == (True, False)
    assert ask(place, "hello")["latch"]["engaged"]
    aside.replace(latch.path)
    until(lambda: Latch(place).read().engaged, "the saved latch")
    assert Latch(place).read().reason == "leak"


def test_a_newer_one_takes_over(place: InstrumentPlace, recover: Callable[..., Recovery]) -> None:
    old = recover()
    new = recover()
    until(old._ended.is_set, "the end of the old one")
    assert not new._ended.is_set()
    assert answers(place), "the old one has left the new one's socket alone"


@pytest.fixture
def laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the laboratory `file-bench` for child processes: an entry point beside the module."""
    site = tmp_path / "site"
    info = site / "file_bench-1.dist-info"
    info.mkdir(parents=True)
    (site / "stop_bench.py").write_text(BENCH.read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: file-bench\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[athanor.laboratories]\nfile-bench = stop_bench:LABORATORY\n")
    monkeypatch.setenv("PYTHONPATH", str(site))


def test_the_process_outlives_the_worker_that_started_it(bench: Any, place: InstrumentPlace, laboratory: None) -> None:
    """A worker starts it, is killed with its whole process group while moving: the hardware is stopped."""
    command = [sys.executable, "-m", "athanor.instruments.recovery", "--place", str(place.directory), "--worker-pid"]
    code = "import os, signal, subprocess, sys\nsubprocess.Popen([*sys.argv[1:], str(os.getpid())])\nsignal.pause()\n"
    worker = subprocess.Popen([sys.executable, "-c", code, *command], start_new_session=True)
    try:
        until(lambda: answers(place) and ask(place, "hello")["connected"], "connected", 60)
        assert ask(place, "hello")["worker_pid"] == worker.pid
        bench.move("x", 1000.0, speed=10.0)
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    until(lambda: not bench.is_moving(), "standstill", 2.0)
    report = ask(place, "stop_all", reason="after", by="test")
    assert (report["confirmed"], report["worker"]) == (True, "absent")
    assert ask(place, "shutdown")["ok"]
    until(lambda: not answers(place), "its end")
