"""A reactor that can be got moving again and again, and a campaign process that does nothing but have started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from athanor.instruments.executor import LocalExecutor, Refused, WorkerLost
from athanor.instruments.laboratory import InstrumentUnavailable, load
from athanor.instruments.latch import Latch
from athanor.instruments.profile import Profile
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace, keys_dir
from athanor.memory.signing import GateKey
from athanor.sandbox.witness import read_witness
from benchmarks.driving import free_port
from tests.instruments.rig import Rig, new_campaign
from tests.sandbox.serving.served import Served

TIME_SCALE = 8.0
"""The temperature needs 30 s and more for its way: whoever does not stop it is seen to go on."""
LOW = {"residence_time": 0.5, "equivalents": 1.0, "concentration": 0.1, "temperature": 30.0}
HIGH = {"residence_time": 2.0, "equivalents": 5.0, "concentration": 0.5, "temperature": 120.0}
BLOCK_S = 60.0

# A driver that holds the RunEngine's loop is a line in the worker alone, and only while the file is there.
BLOCKING = f"""
import sys
from pathlib import Path

HERE = Path(__file__).parent
if any("athanor.instruments.worker" in word for word in sys.orig_argv):
    import asyncio
    import time

    from athanor.instruments import limits

    plain = limits.LimitedAxis._pass_on

    def hold():
        (HERE / "blocked").touch()
        time.sleep({BLOCK_S})

    def blocking(self, *arguments, **options):
        status = plain(self, *arguments, **options)
        if (HERE / "block").exists() and self.name.endswith("temperature"):
            asyncio.get_running_loop().call_later(0.3, hold)
        return status

    limits.LimitedAxis._pass_on = blocking
"""

# Standard library only: it starts as fast as it can be killed.
CAMPAIGN = """
import socket, sys
line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
line.connect(sys.argv[1])
line.sendall(sys.argv[2].encode() + b"\\n")
for answer in line.makefile():
    if '"ok"' in answer:
        print(answer.strip(), flush=True)
        break
silent = socket.create_server(("127.0.0.1", 0))
if sys.argv[3] == "hang":
    model = socket.create_connection(silent.getsockname())
    model.sendall(b"POST /v1/chat/completions HTTP/1.1\\r\\n\\r\\n")
    model.recv(1)
import signal
signal.pause()
"""


def until(condition: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    """What the condition gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.005)
    return found


class Campaign:
    """The process that has handed the intent over; its answer is what the worker said."""

    def __init__(self, socket: Path, intent: str, epoch: int, hang: bool) -> None:
        request = json.dumps({"id": 1, "verb": "dispatch", "intent": intent, "epoch": epoch})
        command = [sys.executable, "-S", "-c", CAMPAIGN, str(socket), request, "hang" if hang else "wait"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.answer: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"ok": false}')

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class StopRig:
    """One instrument on one front end, with everything that it takes to get it moving.

    Args:
        front: `socket`, or the protocol over which the laboratory is served.
        folder: Where all files are kept.
    """

    def __init__(self, front: str, folder: Path) -> None:
        self._hooks = folder / "hooks"
        self._hooks.mkdir()
        (self._hooks / "sitecustomize.py").write_text(BLOCKING)
        paths = [str(self._hooks), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self.served: Served | None = None
        options: dict[str, Any] = {"time_scale": TIME_SCALE, "noise": 0.0, "timeout_s": 600.0}
        profile: Profile = load("snar-flow").profile()
        if front != "socket":
            said = ["--time-scale", str(TIME_SCALE), "--timeout", "600", "--port", str(free_port())]
            self.served = Served(folder / "served", front, "snar-flow", *said)
            profile, options = self.served.profile(), {}
        ledger = Ledger.create(folder / "ledger.db")
        new_campaign(ledger, "camp", profile.laboratory, instrument=profile.name)
        key = GateKey.load_or_create(keys_dir())
        self.place = InstrumentPlace.of(profile.name, folder)
        lease = ledger.acquire_lease(f"instrument:{profile.name}", f"benchmark:{os.getpid()}", 86400)
        self._latch = Latch(self.place)
        self._latch.create()
        self._rig = Rig(ledger, self.place, key, "camp", lease, options, profile.name)
        self.ledger_path = str(ledger.path)
        self._executor = LocalExecutor(profile, options, self.place, ledger.url, keys_dir() / "gate.pub")
        where = self.served.folder if self.served is not None else self.place.directory
        self._witness = where / "controller.jsonl"
        self._is_high = False

    def log(self, *kinds: str) -> list[dict[str, Any]]:
        """What the controller has logged of these kinds since the last `ready`."""
        return [row for row in read_witness(self._witness) if row["kind"] in kinds]

    def pid(self, name: str) -> int:
        """The number of one of the instrument's processes."""
        return int((self.place.sockets / f"{name}.pid").read_text().split()[0])

    def ready(self) -> None:
        """Reset the latch, and wait for a worker that can be given something and has its recovery process."""
        for name in ("block", "blocked"):
            (self._hooks / name).unlink(missing_ok=True)
        if self._latch.read().engaged:
            self._latch.reset("the next trial", "benchmark")
        until(self._is_ready, "a worker that is ready", 180.0)
        self._executor.close()
        if self._witness.exists():
            os.truncate(self._witness, 0)  # the controller appends: its log stays short

    def _is_ready(self) -> bool:
        try:
            self._executor.ensure()
            facts = self._executor.status()
        except (InstrumentUnavailable, WorkerLost):
            return False  # one that is still starting on a busy machine says nothing for a while
        return (
            facts is not None
            and facts["state"] in ("idle", "parked")
            and facts["recovery"] is None
            and facts["experiment"] is None
        )

    def is_blocked(self) -> bool:
        """Whether the RunEngine's loop has begun to be held."""
        return (self._hooks / "blocked").exists()

    def stands_still(self) -> bool:
        """Whether every motion that began has ended."""
        rows = self.log("motion", "end")
        return {r["move"] for r in rows if r["kind"] == "motion"} == {r["move"] for r in rows if r["kind"] == "end"}

    @contextmanager
    def moving(self, *, block: bool = False, hang: bool = False) -> Iterator[Campaign]:
        """All axes on their way to the other end of their ranges; the campaign process that has started them."""
        if block:
            (self._hooks / "block").touch()
        self._is_high = not self._is_high
        intent = self._rig.intent(HIGH if self._is_high else LOW)
        deadline = time.monotonic() + 60
        while True:
            campaign = Campaign(self.place.sockets / "worker.sock", intent.id, intent.epoch, hang)
            if campaign.answer["ok"]:
                break
            campaign.kill()
            if time.monotonic() > deadline:
                raise Refused(str(campaign.answer.get("code")), str(campaign.answer.get("detail")))
            time.sleep(0.1)
        try:
            until(lambda: len({row["axis"] for row in self.log("position")}) == len(LOW), "all axes move")
            yield campaign
        finally:
            campaign.kill()

    def close(self) -> None:
        """End everything."""
        for name in ("worker", "recovery", "controller"):
            try:
                os.kill(self.pid(name), signal.SIGKILL)
            except (OSError, ValueError, IndexError):
                pass
        self._executor.close()
        if self.served is not None:
            self.served.kill()
        self._rig.ledger.close()
