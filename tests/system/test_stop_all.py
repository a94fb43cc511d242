"""Stop All against the whole chain: executor, worker, recovery process and the SnAr reactor's own controller.

The witness is the controller's log. Every bound is the stated one: the last position change at most 2 s after the
command (counted from before its interpreter starts), 3 s with a frozen or blocked worker, a frozen holder of the
ledger's write lock, or a full disk.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.deadlines import spawn
from athanor.instruments.executor import Refused, WorkerLost
from athanor.instruments.latch import Latch
from athanor.instruments.line import Line
from tests.freezing import freeze

sys.path.insert(0, str(Path(__file__).parents[1] / "instruments"))

from rig import make_rig_fixture  # noqa: F401 - a fixture

pytestmark = pytest.mark.deadline

FAR = {"residence_time": 2.0, "equivalents": 5.0, "concentration": 0.5, "temperature": 120.0}
TIME_SCALE = 4.0
"""At 15 degC/s the temperature needs 16 s for its 60 degC: whoever does not stop it is seen to go on."""


def until(condition: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not seen in {timeout_s} s: {what}"
        time.sleep(0.02)
    return answer


def moves(rig: Any, axis: str | None = None) -> list[float]:
    """When a position changed, of one axis or of any, by the controller's clock."""
    return [row["mono"] for row in rig.witness() if row["kind"] == "position" and axis in (None, row["axis"])]


def ask_recovery(rig: Any, verb: str) -> dict[str, Any]:
    with Line.connect(rig.place.sockets / "recovery.sock") as line:
        line.send({"id": 1, "verb": verb})
        return line.receive(time.monotonic() + 5)


def begin(rig: Any, values: dict[str, float] = FAR) -> tuple[Any, Any]:
    """Start an experiment and return when its axes move."""
    executor = rig.executor()
    executor.ensure()
    intent = rig.intent(values)
    executor.dispatch(intent)
    slowest = "temperature" if "temperature" in values else None
    until(lambda: len(moves(rig, slowest)) > 5, "motion")
    return executor, intent


def stop_all(*arguments: str) -> tuple[float, int, dict[str, Any]]:
    """Run the command as a person would; when it was given, its exit status and its answer."""
    given = time.monotonic()
    command = [sys.executable, "-m", "athanor.console", "stop-all", "--json", "--reason", "test", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return given, done.returncode, json.loads(done.stdout)


def assert_stopped(rig: Any, given: float, bound_s: float, name: str, record: Callable[[str, object], None]) -> None:
    """The last position change came within the bound, far from the target, and nothing moves for a second more."""
    nothing_moves(rig)
    last = moves(rig)[-1] - given
    record(f"{name}: last position change after the command (s)", round(last, 3))
    assert last < bound_s
    temperature = [
        line["position"] for line in rig.witness() if line["kind"] == "position" and line["axis"] == "temperature"
    ]
    assert temperature[-1] < FAR["temperature"], "it was stopped, it did not arrive"


def nothing_moves(rig: Any, for_s: float = 1.0) -> None:
    seen = len(moves(rig))
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert len(moves(rig)) == seen, "something moved after the stop"
        time.sleep(0.05)


@pytest.fixture
def rig(make_rig: Callable[..., Any]) -> Any:
    return make_rig(time_scale=TIME_SCALE)


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Callable[[str, object], None]:
    def keep(name: str, value: object) -> None:
        record_property(name, value)
        sys.stdout.write(f"{name}: {value}\n")

    return keep


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python code in a process of its own; returns when it has said something."""
    children: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        children.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    yield start
    for process in children:
        process.kill()
        process.communicate()


def test_while_moving_then_latched_until_reset(rig: Any, record: Callable[..., None]) -> None:
    executor, intent = begin(rig)
    waiting = rig.propose(FAR)
    early = rig.approve(waiting)
    given, code, answer = stop_all()
    assert_stopped(rig, given, 2.0, "while moving", record)
    (one,) = answer["instruments"]
    record("while moving: confirmed after (s)", one["elapsed_s"])
    assert (code, one["confirmed"], one["worker"], one["latched"]) == (0, True, "parked", "saved")
    assert one["positions"] == ask_recovery(rig, "positions")["positions"]
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "aborted"

    refused = rig.commit(waiting, early)
    with pytest.raises(Refused) as error:
        executor.dispatch(refused)
    assert error.value.code == "latch.engaged"
    nothing_moves(rig)

    latch = Latch(rig.place)
    latch.reset("the reactor was looked at", "tester")
    # Approved before the stop: void, also after the reset.
    void = rig.propose(FAR)
    decision = rig.gate.approve(void.id, void.revision, 0)
    with pytest.raises(Refused) as error:
        executor.dispatch(rig.commit(void, decision))
    assert error.value.code == "latch.changed"
    near = {name: round(at, 6) for name, at in one["positions"].items()}
    fresh = rig.intent(near)
    executor.dispatch(fresh)
    executor.wait(fresh.experiment_id, rig.ledger)
    assert rig.state(fresh) == "completed"


def test_while_the_campaign_is_busy_and_hangs(rig: Any, child: Callable[..., Any], record: Callable[..., None]) -> None:
    """Stands for a planner that fits and a model that does not answer: neither has a part in the stop."""
    begin(rig)  # Its line to the worker stays open in this process, which does not read it any more.
    for _ in range(os.cpu_count() or 2):
        child("print('fitting', flush=True)\nwhile True: sum(i * i for i in range(1000))\n")
    given, code, _ = stop_all()
    assert_stopped(rig, given, 2.0, "planner busy on every core", record)
    assert code == 0


def is_ready(facts: dict[str, Any]) -> bool:
    """Whether the worker is idle and its recovery process stands by."""
    return facts.get("state") == "idle" and facts.get("recovery") is None


def is_taken(executor: Any, intent: Any) -> bool:
    """Whether the worker took the intent; refused for the moment (it has just been released), it is tried again."""
    try:
        executor.dispatch(intent)
    except Refused as refusal:
        assert not refusal.final, refusal
        return False
    return True


def test_at_any_moment_of_a_dispatch(rig: Any, record: Callable[..., None]) -> None:
    """The stop arrives while the worker checks, starts, or begins to move: nothing moves after the answer."""
    executor = rig.executor()
    executor.ensure()
    latch = Latch(rig.place)
    last, started = 0.0, 0
    for step in range(12):
        if latch.read().engaged:
            latch.reset("next attempt", "tester")
        until(lambda: is_ready(executor.status() or {}), "an idle worker with its recovery process")
        intent = rig.intent({**FAR, "temperature": 119.0 if step % 2 else 31.0})
        sets = len(rig.witness("set"))
        # Later and later, and at last when it surely moves.
        if step == 11:
            until(lambda intent=intent: is_taken(executor, intent), "a dispatch that is taken")
            until(
                lambda sets=sets, intent=intent: (
                    len(rig.witness("set")) > sets
                    or rig.ledger.experiment(intent.experiment_id).state not in ("dispatched", "running")
                ),
                "a motion",
            )
            ended = rig.ledger.experiment(intent.experiment_id)
            assert ended.state in ("dispatched", "running"), (ended.state, ended.reason)
            outcome = None
        else:
            outcome = spawn(lambda intent=intent: executor.dispatch(intent), "dispatch")
            due = time.monotonic() + 0.03 * step
            until(lambda due=due: time.monotonic() >= due, "the moment")
        given = time.monotonic()
        with Line.connect(rig.place.sockets / "recovery.sock") as line:
            line.send({"id": 1, "verb": "stop_all", "reason": "race", "by": "test"})
            while (report := line.receive(given + 10)).get("id") != 1 or "ok" not in report:
                pass
        assert report["confirmed"], report
        answered = time.monotonic()
        nothing_moves(rig, 0.3)
        assert not [line for line in rig.witness("set") if line["mono"] > answered], "no set after the answer"
        if outcome is not None:
            outcome.exception(30)
        started += len(rig.witness("set")) > sets
        last = max(last, (moves(rig) or [given])[-1] - given)
        if report["worker"] != "parked":
            executor.ensure()
    record("race with a dispatch: worst last position change (s)", round(last, 3))
    record("race with a dispatch: attempts of 12 that had begun to move", started)
    assert last < 2.0


def test_with_devices_of_the_classic_family(make_rig: Callable[..., Any], record: Callable[..., None]) -> None:
    rig = make_rig("qubit-readout", time_scale=40.0, timeout_s=60.0)
    far = {"drive_amplitude": 150.0, "detuning": 30.0, "integration_time": 1000.0}
    begin(rig, far)
    given, code, answer = stop_all()
    nothing_moves(rig)
    record("classic devices: last position change after the command (s)", round(moves(rig)[-1] - given, 3))
    assert moves(rig)[-1] - given < 2.0
    (one,) = answer["instruments"]
    assert (code, one["confirmed"], one["worker"]) == (0, True, "parked")
    assert all(one["positions"][axis] < target for axis, target in far.items())


def test_with_a_driver_that_blocks_the_run_engine_loop(
    make_rig: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Callable[..., None]
) -> None:
    site = tmp_path / "site"
    info = site / "blocking_lab-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blocking-lab\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[athanor.laboratories]\nsnar-blocked = blocking_lab:LABORATORY\n")
    (site / "blocking_lab.py").write_text(textwrap.dedent(BLOCKING))
    from athanor.sandbox import laboratory as sandbox_laboratory

    profile = (sandbox_laboratory.LABORATORIES / "snar_flow.profile.yaml").read_text()
    (site / "snar_blocked.profile.yaml").write_text(profile.replace("snar-flow", "snar-blocked"))
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))

    rig = make_rig("snar-blocked", time_scale=TIME_SCALE)
    begin(rig)
    worker = rig.pid("worker")
    given, code, answer = stop_all()
    assert_stopped(rig, given, 3.0, "blocked RunEngine loop", record)
    (one,) = answer["instruments"]
    record("blocked RunEngine loop: confirmed after (s)", one["elapsed_s"])
    assert (code, one["confirmed"], one["worker"]) == (0, True, "killed")
    until(lambda: not is_alive(worker), "the worker's end", 2.0)


BLOCKING = """
    from pathlib import Path
    import time

    from athanor.instruments.laboratory import load
    from athanor.sandbox.laboratory import SimulatedLaboratory
    from athanor.sandbox.laboratories import snar_flow


    class Physics(snar_flow.SnarFlow):
        name = "snar-blocked"


    class Driver:
        # A driver as they exist: it starts the motion and waits for its end on the event loop.

        parent = None

        def __init__(self, axis):
            self.axis, self.name = axis, axis.name
            self.read, self.describe, self.stop = axis.read, axis.describe, axis.stop

        def set(self, value):
            self.axis._link.move(self.name, value)
            time.sleep(3600)


    class Blocking(SimulatedLaboratory):
        def connect(self, place, options):
            devices = super().connect(place, options)
            devices.axes["temperature"] = Driver(devices.axes["temperature"])
            return devices


    plain = load("snar-flow")
    LABORATORY = Blocking(
        Physics(),
        devices="async",
        challenge=plain.challenge,
        reference=plain.reference,
        folder=Path(__file__).parent,
    )
"""


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(shown.strip()) and not shown.strip().startswith("Z")


def test_with_the_worker_frozen(rig: Any, record: Callable[..., None]) -> None:
    executor, intent = begin(rig)
    worker = rig.pid("worker")
    freeze(worker)
    given, code, answer = stop_all()
    assert_stopped(rig, given, 3.0, "worker frozen", record)
    (one,) = answer["instruments"]
    record("worker frozen: confirmed after (s)", one["elapsed_s"])
    assert (code, one["confirmed"], one["worker"]) == (0, True, "killed")
    try:
        os.kill(worker, signal.SIGCONT)
    except ProcessLookupError:
        pass
    nothing_moves(rig)
    with pytest.raises(WorkerLost):
        executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "in_doubt"
    executor.ensure()  # A new worker, the latch still engaged.
    with pytest.raises(Refused) as error:
        executor.dispatch(rig.intent(FAR))
    assert error.value.code == "latch.engaged"
    nothing_moves(rig)


def test_with_the_ledger_locked_by_a_frozen_process(
    rig: Any, child: Callable[..., Any], record: Callable[..., None]
) -> None:
    begin(rig)
    holder = child(
        """
        import signal, sqlite3, sys
        ledger = sqlite3.connect(sys.argv[1], isolation_level=None)
        ledger.execute("PRAGMA busy_timeout=10000")
        ledger.execute("BEGIN IMMEDIATE")
        print("held", flush=True)
        signal.pause()
        """,
        str(rig.ledger.path),
    )
    os.kill(holder.pid, signal.SIGSTOP)
    given, code, answer = stop_all()
    assert_stopped(rig, given, 3.0, "ledger locked", record)
    assert (code, answer["confirmed"]) == (0, True)


@pytest.fixture
def small_home(home: Path) -> Iterator[Path]:
    """The data folder on a file system of 16 MiB of its own; needs the right to mount."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("mounting a small file system needs root on Linux")
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(home)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield home
    # Lazily: processes of the test are ended, and their files let go, only after this.
    subprocess.run(["umount", "-l", str(home)], check=True)


def test_with_the_disk_full(
    small_home: Path, make_rig: Callable[..., Any], tmp_path: Path, record: Callable[..., None]
) -> None:
    """Ledger, spool, logs and latch are on a file system without a free block. Only the witness is kept elsewhere."""
    rig = make_rig(time_scale=TIME_SCALE)
    witness = tmp_path / "witness.jsonl"
    witness.touch()
    (rig.place.directory / "controller.jsonl").symlink_to(witness)
    begin(rig)
    with pytest.raises(OSError, match="No space"), (small_home / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    given, code, answer = stop_all()
    assert_stopped(rig, given, 3.0, "disk full", record)
    (one,) = answer["instruments"]
    assert (code, one["confirmed"], one["latched"]) == (0, True, "saved")
    assert Latch(rig.place).read().engaged


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="sets another process's limits")
def test_with_no_file_that_may_grow(rig: Any, record: Callable[..., None]) -> None:
    """Without the right to mount: worker and recovery process may not write beyond 8 KiB of any file.

    That is a full disk for the spool and the ledger; small new files can still be made, unlike on a full disk.
    """
    begin(rig)
    for name in ("worker", "recovery"):
        resource.prlimit(rig.pid(name), resource.RLIMIT_FSIZE, (8192, 8192))
    given, code, answer = stop_all()
    assert_stopped(rig, given, 3.0, "files cannot grow", record)
    assert (code, answer["confirmed"]) == (0, True)


def test_without_its_recovery_process(rig: Any, record: Callable[..., None]) -> None:
    begin(rig)
    os.kill(rig.pid("recovery"), signal.SIGKILL)
    given, code, answer = stop_all()
    assert_stopped(rig, given, 3.0, "recovery process killed", record)
    assert (code, answer["confirmed"]) == (0, True), "by the worker's abort and a new recovery process"


def test_the_death_of_the_worker_stops_the_axes_and_latches_nothing(rig: Any, record: Callable[..., None]) -> None:
    begin(rig)
    killed = time.monotonic()
    os.kill(rig.pid("worker"), signal.SIGKILL)
    log = rig.place.directory / "recovery.log"
    until(lambda: log.exists() and "stop sent" in log.read_text(), "the record of the recovery process")
    assert_stopped(rig, killed, 2.0, "worker killed", record)
    assert not Latch(rig.place).read().engaged
    assert "died while moving" in log.read_text()
    # The next worker finds the same recovery process and is the one it watches from then on.
    recovery = ask_recovery(rig, "hello")["pid"]
    rig.executor().ensure()
    facts = until(lambda: (facts := ask_recovery(rig, "hello"))["worker_alive"] and facts, "the adoption")
    assert (facts["pid"], facts["worker_pid"]) == (recovery, rig.pid("worker"))


def test_with_the_controller_dead_nothing_is_confirmed(rig: Any) -> None:
    begin(rig)
    os.kill(rig.pid("controller"), signal.SIGKILL)
    _, code, answer = stop_all()
    (one,) = answer["instruments"]
    assert (code, one["confirmed"], one["latched"]) == (1, False, "saved")
    assert "connect" in one["detail"]


def test_with_the_controller_frozen_nothing_is_claimed(rig: Any, record: Callable[..., None]) -> None:
    begin(rig)
    controller = rig.pid("controller")
    os.kill(controller, signal.SIGSTOP)
    try:
        given, code, answer = stop_all()
        record("controller frozen: answered after (s)", round(time.monotonic() - given, 3))
        (one,) = answer["instruments"]
        assert (code, one["confirmed"], one["latched"]) == (1, False, "saved")
        assert time.monotonic() - given < 8.0
    finally:
        os.kill(controller, signal.SIGCONT)
    # The stops that were sent meanwhile are the first thing it reads.
    until(lambda: any(line["kind"] == "stop" for line in rig.witness()), "a stop")
    nothing_moves(rig)
