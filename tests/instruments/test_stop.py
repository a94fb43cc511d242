from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments import stop
from athanor.instruments.latch import Latch
from athanor.instruments.line import Line, LineClosed
from athanor.memory.places import InstrumentPlace

BENCH = Path(__file__).with_name("stop_bench.py")


def until(condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not seen in {timeout_s} s: {what}"
        time.sleep(0.01)


class Instruments:
    """Instruments on the bench, with real recovery processes and the bench's worker."""

    def __init__(self) -> None:
        self.children: list[subprocess.Popen[Any]] = []

    def make(self, name: str, simulated: bool = True) -> tuple[InstrumentPlace, Any]:
        import stop_bench

        place = InstrumentPlace.of(name)
        place.directory.mkdir(parents=True)
        place.sockets.mkdir()
        (place.sockets / "place.json").write_text(json.dumps({"name": name, "directory": str(place.directory)}))
        config = {"profile": {"laboratory": "file-bench", "simulated": simulated}, "options": {}}
        (place.directory / "config.json").write_text(json.dumps(config))
        Latch(place).create()
        bench = stop_bench.Bench(place.directory)
        bench.lay_out(x=0.0)
        return place, bench

    def recover(self, place: InstrumentPlace, worker: subprocess.Popen[Any] | None = None) -> subprocess.Popen[Any]:
        command = [sys.executable, "-m", "athanor.instruments.recovery", "--place", str(place.directory)]
        command += ["--worker-pid", str(worker.pid)] if worker is not None else []
        process = subprocess.Popen(command)
        self.children.append(process)
        until(lambda: is_connected(place), "a connected recovery process")
        return process

    def work(self, place: InstrumentPlace, mode: str) -> subprocess.Popen[Any]:
        command = [sys.executable, str(BENCH), str(place.sockets / "worker.sock"), mode]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.children.append(worker)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        return worker


def is_connected(place: InstrumentPlace) -> bool:
    try:
        with Line.connect(place.sockets / "recovery.sock") as line:
            line.send({"id": 1, "verb": "hello"})
            return bool(line.receive(time.monotonic() + 1)["connected"])
    except (LineClosed, TimeoutError):
        return False


@pytest.fixture
def instruments(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instruments]:
    site = tmp_path / "site"
    info = site / "file_bench-1.dist-info"
    info.mkdir(parents=True)
    shutil.copy(BENCH, site / "stop_bench.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: file-bench\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[athanor.laboratories]\nfile-bench = stop_bench:LABORATORY\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(BENCH.parent))
    instruments = Instruments()
    yield instruments
    for child in instruments.children:
        child.kill()
        child.communicate()


def command(*arguments: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "athanor.instruments.stop", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def test_only_the_standard_library_is_imported() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"
        "import athanor.instruments.stop\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - sys.stdlib_module_names <= {"athanor"}


def test_stops_every_instrument_at_once(instruments: Instruments) -> None:
    places = []
    for name in ("one", "two"):
        place, bench = instruments.make(name)
        instruments.recover(place, instruments.work(place, "obedient"))
        bench.move("x", 1000.0, speed=10.0)
        places.append((place, bench))
    code, answer, text = command("--reason", "leak")
    assert (code, answer["confirmed"], answer["safety_system"]) == (0, True, False)
    assert "not a safety system" in answer["notice"] and "not a safety system" in text
    assert [one["name"] for one in answer["instruments"]] == ["one", "two"]
    for one, (place, bench) in zip(answer["instruments"], places, strict=True):
        assert (one["confirmed"], one["worker"], one["latched"]) == (True, "parked", "saved")
        assert one["positions"] == {"x": bench.position("x")}
        assert Latch(place).read().reason == "leak"


def test_one_instrument_by_name(instruments: Instruments) -> None:
    place, _ = instruments.make("one")
    other, _ = instruments.make("two")
    instruments.recover(place)
    code, answer, _ = command("--instrument", "one")
    assert (code, [one["name"] for one in answer["instruments"]]) == (0, ["one"])
    assert Latch(place).read().engaged
    assert not Latch(other).read().engaged


def test_a_wrong_name_is_told_loudly(instruments: Instruments) -> None:
    place, _ = instruments.make("one")
    code, _, text = command("--instrument", "uno")
    assert code == 3
    assert "NOTHING WAS STOPPED" in text and "known here: one" in text
    assert not Latch(place).read().engaged


def test_nothing_is_running_and_still_every_known_instrument_is_latched(instruments: Instruments, home: Path) -> None:
    noted, _ = instruments.make("noted")
    unnoted, _ = instruments.make("unnoted")
    shutil.rmtree(unnoted.sockets)
    code, answer, text = command()
    assert (code, answer["confirmed"]) == (3, False)
    assert {one["name"]: one["is_running"] for one in answer["instruments"]} == {"noted": False, "unnoted": False}
    assert "No instrument is running" in text
    for place in (noted, unnoted):
        assert Latch(place).read().engaged


def test_without_any_instrument(home: Path) -> None:
    code, answer, text = command()
    assert (code, answer["instruments"]) == (3, [])
    assert "none is known" in text


def test_a_removed_instrument_is_not_made_again(instruments: Instruments) -> None:
    place, _ = instruments.make("gone")
    shutil.rmtree(place.directory)
    code, answer, _ = command()
    assert (code, answer["instruments"]) == (3, [])
    assert not place.directory.exists()


@pytest.mark.parametrize(("mode", "fate"), [("latching", "parked"), ("deaf", "killed")])
def test_a_recovery_process_that_hangs_is_replaced(instruments: Instruments, mode: str, fate: str) -> None:
    place, bench = instruments.make("one", simulated=False)
    worker = instruments.work(place, mode)
    hung = instruments.recover(place, worker)
    os.kill(hung.pid, signal.SIGSTOP)
    bench.move("x", 100000.0, speed=10.0)
    code, answer, _ = command("--reason", "leak")
    (one,) = answer["instruments"]
    assert (one["confirmed"], one["latched"], one["worker"]) == (True, "saved", fate)
    assert code == 0
    assert any("does not answer" in step for step in one["steps"])
    assert any("new recovery process" in step for step in one["steps"])
    assert not bench.is_moving()
    assert (worker.poll() is None) == (fate == "parked")


def test_without_recovery_and_without_hardware_nothing_is_claimed(instruments: Instruments) -> None:
    place, bench = instruments.make("one", simulated=False)
    worker = instruments.work(place, "deaf")
    bench.path.unlink()
    code, answer, text = command()
    (one,) = answer["instruments"]
    assert (code, answer["confirmed"], one["confirmed"]) == (1, False, False)
    assert (one["worker"], one["latched"]) == ("killed", "saved")
    assert worker.wait(5) == -signal.SIGKILL
    assert "NOT CONFIRMED" in text


def test_a_simulated_instrument_whose_controller_died_is_not_called_still(instruments: Instruments) -> None:
    place, bench = instruments.make("one")
    instruments.recover(place)
    bench.path.unlink()
    code, answer, _ = command()
    (one,) = answer["instruments"]
    assert (code, one["confirmed"], one["latched"]) == (1, False, "saved")
    assert "not connected" in one["detail"]


def test_a_worker_that_came_back_with_another_number_is_not_killed_in_its_place(instruments: Instruments) -> None:
    place, _ = instruments.make("one")
    bystander = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    instruments.children.append(bystander)
    (place.sockets / "worker.pid").write_text(f"{bystander.pid}\n")
    code, _, _ = command()
    assert code == 3
    assert bystander.poll() is None


def test_an_unwritable_latch_is_told_and_not_zero(instruments: Instruments) -> None:
    place, _ = instruments.make("one")
    latch = Latch(place)
    latch.path.unlink()
    latch.path.symlink_to("/dev/full")
    instruments.recover(place)
    code, answer, text = command()
    (one,) = answer["instruments"]
    assert (code, one["confirmed"], one["latched"]) == (1, True, "memory")
    assert "MEMORY ONLY" in text


def test_output_for_people(instruments: Instruments, capsys: pytest.CaptureFixture[str]) -> None:
    place, _ = instruments.make("one")
    instruments.recover(place)
    assert stop.main(["--reason", "leak"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Stop All is a software stop, not a safety system.")
    assert "one: STANDSTILL CONFIRMED" in text
    assert "positions: x 0" in text
    assert "reset-stop" in text


def test_a_broken_line_is_not_an_answer(instruments: Instruments) -> None:
    """Something else listens on the recovery socket and talks nonsense: the instrument is latched all the same."""
    place, _ = instruments.make("one")
    code = (
        "import socket, sys\n"
        "listener = socket.socket(socket.AF_UNIX)\n"
        "listener.bind(sys.argv[1]); listener.listen(); print('ready', flush=True)\n"
        "while True: listener.accept()[0].sendall(b'nonsense\\n')\n"
    )
    liar = subprocess.Popen(
        [sys.executable, "-c", code, str(place.sockets / "recovery.sock")], stdout=subprocess.PIPE, text=True
    )
    instruments.children.append(liar)
    assert liar.stdout is not None and liar.stdout.readline() == "ready\n"
    code_, answer, _ = command()
    assert Latch(place).read().engaged
    assert code_ == 3, "simulated, no controller, no worker: nothing is running"
    assert answer["confirmed"] is False
