"""After real deaths: what had an end gets it, what has none is in doubt, and a person's signed answer ends it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from athanor.agents.observing import BY_HAND
from athanor.instruments.quarantine import aside
from athanor.instruments.spool import spool_folder
from athanor.memory.decisions import body_of
from athanor.memory.errors import LeaseHeld
from athanor.memory.resources import Consumable, Sample
from athanor.memory.verify import verify
from tests.freezing import freeze

Drive = Callable[..., subprocess.Popen[str]]


def until(condition: Callable[[], Any], seconds: float = 90.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
    return found


@pytest.fixture
def drive(bench: Any) -> Iterator[Drive]:
    """Drive a campaign in a process of its own, which ends with the test at the latest."""
    with contextlib.ExitStack() as processes:

        def start(campaign_id: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                bench.command(campaign_id), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
            )
            processes.callback(process.wait)
            processes.callback(process.kill)
            return process

        yield start


def athanor(bench: Any, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "athanor.console", *words, "--ledger", str(bench.ledger.path)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def reconcile(bench: Any, *words: str, code: int | None = None) -> dict[str, Any]:
    done = athanor(bench, "reconcile", *words, "--json")
    assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stdout, (done.returncode, done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def moving(bench: Any, campaign_id: str) -> None:
    """Wait until the hardware of a campaign is on its way."""
    log = bench.place(campaign_id).directory / "controller.jsonl"
    until(lambda: log.exists() and len(bench.witness(campaign_id, "position")) > 3)


def kill(bench: Any, campaign_id: str, name: str) -> None:
    os.kill(int((bench.place(campaign_id).sockets / f"{name}.pid").read_text().split()[0]), signal.SIGKILL)


def dead_in_motion(bench: Any, drive: Drive, **changes: Any) -> tuple[str, str]:
    """Campaign process and worker die at the same moment of a motion; the campaign and its experiment."""
    campaign_id = bench.open(options={"time_scale": 0.5}, **changes)
    process = drive(campaign_id)
    moving(bench, campaign_id)
    process.kill()
    kill(bench, campaign_id, "worker")
    process.wait()
    return campaign_id, bench.witness(campaign_id, "run")[0]["experiment"]


def test_a_person_ends_the_doubt_with_outcomes_of_their_own(bench: Any, drive: Drive) -> None:
    campaign_id, name = dead_in_motion(bench, drive, experiments=3)
    assert bench.ledger.experiment(name).state in ("dispatched", "running")
    seen = reconcile(bench, code=1)
    [doubt] = seen["in_doubt"]
    assert bench.ledger.experiment(name).state == "in_doubt"
    assert doubt["experiment"] == name and doubt["approved"]["by"] == "tester" and doubt["intent"]["id"]
    assert doubt["controller_log"]["counts"]["run"] == 1 and doubt["controller_log"]["counts"]["set"] >= 1
    # The recovery process has outlived the worker: the device itself says where it stands.
    assert doubt["device"]["is_connected"] and doubt["device"]["is_moving"] is False
    axes = {axis["name"]: axis for axis in doubt["device"]["axes"]}
    assert set(axes) == set(bench.ledger.experiment(name).values)
    assert all(isinstance(axis["position"], float) for axis in axes.values())
    assert doubt["outcomes"] is None and "no reading" in doubt["no_outcomes"]

    # Without documents and without outcomes there is nothing that could be called complete.
    refused = athanor(bench, "reconcile", name, "--as", "completed", "--reason", "the display says so")
    assert refused.returncode == 1 and "--outcomes sty=" in refused.stderr
    wrong = athanor(bench, "reconcile", name, "--as", "completed", "--reason", "r", "--outcomes", "yield=3")
    assert wrong.returncode == 1 and "yield is no outcome" in wrong.stderr
    assert bench.ledger.experiment(name).state == "in_doubt"

    answer = ("--as", "completed", "--reason", "read off the display", "--outcomes", "sty=5000±20,e_factor=3")
    assert reconcile(bench, name, *answer, code=0)["state"] == "completed"
    [settlement] = [d for d in bench.ledger.decisions(campaign_id) if d.kind == "settle"]
    assert body_of(settlement)["outcomes"]["sty"] == {"mean": 5000.0, "sem": 20.0}
    assert bench.run(campaign_id).stdout.strip() == "succeeded", bench.ledger.campaign(campaign_id).reason
    [observed] = [o for o in bench.ledger.observations(campaign_id) if o.experiment_id == name]
    assert observed.outcomes == {"sty": {"mean": 5000.0, "sem": 20.0}, "e_factor": {"mean": 3.0, "sem": None}}
    assert (observed.status, observed.source, observed.reduction) == ("completed", "operator", BY_HAND)
    intents = [row["intent"] for row in bench.witness(campaign_id, "run")]
    assert len(intents) == len(set(intents)) == 3
    assert [p for p in verify(bench.ledger).problems if p.kind != "unanchored"] == []
    done = athanor(bench, "reconcile", campaign_id)
    assert done.returncode == 0 and "Nothing is in doubt" in done.stderr


def test_a_run_that_finished_alone_is_taken_in_and_nobody_is_asked(bench: Any, drive: Drive) -> None:
    campaign_id = bench.open(experiments=2, options={"time_scale": 0.5})
    process = drive(campaign_id)
    moving(bench, campaign_id)
    process.kill()
    process.wait()
    [name] = [row["experiment"] for row in bench.witness(campaign_id, "run")]
    assert reconcile(bench, campaign_id, code=0)["in_doubt"] == []
    until(lambda: bench.ledger.experiment(name).state == "completed")
    assert bench.run(campaign_id).stdout.strip() == "succeeded"
    assert len(bench.witness(campaign_id, "run")) == 2


def test_an_end_that_is_only_in_the_spool_is_found(bench: Any, drive: Drive) -> None:
    campaign_id = bench.open(experiments=1, options={"time_scale": 0.5})
    process = drive(campaign_id)
    moving(bench, campaign_id)
    spool = spool_folder(bench.place(campaign_id))
    with contextlib.closing(sqlite3.connect(bench.ledger.path, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")  # the ledger takes nothing any more
        until(lambda: any('"kind":"end"' in path.read_text() for path in spool.glob("*.jsonl")))
        process.kill()
        kill(bench, campaign_id, "worker")
        other.execute("ROLLBACK")
    process.wait()
    found = reconcile(bench, campaign_id, code=0)
    [stored] = [item for item in found["found"] if item["kind"] == "stored"]
    assert "completed" in stored["detail"]
    assert bench.ledger.experiment(stored["subject"]).state == "completed"
    assert bench.run(campaign_id).stdout.strip() == "succeeded"
    assert len(bench.witness(campaign_id, "run")) == 1


def test_a_spoiled_spool_file_keeps_nothing_from_going_on(bench: Any, drive: Drive) -> None:
    campaign_id, name = dead_in_motion(bench, drive, experiments=2)
    place = bench.place(campaign_id)
    [path] = spool_folder(place).glob("*.jsonl")
    content = path.read_bytes().replace(b'"kind":"document"', b'"kind:"document"', 1)
    path.write_bytes(content)
    found = reconcile(bench, place.name, code=1)
    assert [doubt["experiment"] for doubt in found["in_doubt"]] == [name]
    [[item]] = found["set_aside"].values()
    assert item["kind"] == "damaged" and item["experiment"] == name
    assert (place.directory / "quarantine" / item["file"]).read_bytes() == content
    reconcile(bench, name, "--as", "failed", "--reason", "stood still", code=0)
    assert bench.run(campaign_id).stdout.strip() == "succeeded", bench.ledger.campaign(campaign_id).reason
    assert len(aside(place)) == 1


def test_what_never_started_may_be_put_up_again(bench: Any, drive: Drive) -> None:
    campaign_id, name = dead_in_motion(bench, drive, experiments=2)
    several = athanor(bench, "reconcile", name, "--as", "failed", "--reason", " ")
    assert several.returncode == 2
    reconcile(bench, code=1)
    settled = reconcile(bench, name, "--as", "not-started", "--reason", "valve shut", "--again", code=0)
    again = bench.ledger.experiment(settled["again"])
    assert again.state == "proposed" and again.values == bench.ledger.experiment(name).values
    assert bench.ledger.experiment(name).state == "not_started"
    assert len(bench.witness(campaign_id, "run")) == 1, "nothing is run again by itself"
    done = athanor(bench, "reconcile", name, "--as", "failed", "--reason", "second thoughts")
    assert done.returncode == 1 and "Nothing is in doubt" in done.stderr


@pytest.mark.parametrize(("answer", "left"), [("failed", 7.0), ("not-started", 10.0)])
def test_what_the_dead_had_to_themselves_stays_theirs_until_somebody_knows(
    bench: Any, drive: Drive, answer: str, left: float
) -> None:
    bench.ledger.add_consumable(Consumable(id="ethanol", unit="mL", amount=10.0))
    bench.ledger.add_sample(Sample(id="sample-w1", label="w1"))
    needs = {"consumables": {"ethanol": "3 mL"}, "sample": "w1", "devices": ["oven"]}
    _, name = dead_in_motion(bench, drive, experiments=1, **needs)
    [level] = bench.ledger.levels()
    assert (level.consumable.amount, level.available) == (10.0, 7.0)
    reconcile(bench, code=1)
    assert bench.ledger.sample("w1").experiment_id == name, "nobody knows yet whether it was used"
    with pytest.raises(LeaseHeld, match=name):
        bench.ledger.acquire_lease("instrument:oven", "somebody", 60)
    reconcile(bench, name, "--as", answer, "--reason", "looked at it", code=0)
    [level] = bench.ledger.levels()
    assert level.consumable.amount == level.available == left
    assert bench.ledger.sample("w1").state == "free" and not bench.ledger.reservations(is_open=True)
    bench.ledger.acquire_lease("instrument:oven", "somebody", 60)
    assert [p for p in verify(bench.ledger).problems if p.kind != "unanchored"] == []


def test_the_doubt_is_written_down_when_the_campaign_is_resumed(bench: Any, drive: Drive) -> None:
    campaign_id, name = dead_in_motion(bench, drive, experiments=2)
    assert bench.run(campaign_id).stdout.strip() == "paused"
    assert f"athanor reconcile {name}" in bench.ledger.campaign(campaign_id).reason
    assert bench.run(campaign_id).stdout.strip() == "paused"
    [event] = bench.ledger.events(campaign_id, kinds=("doubt",))
    assert event.body["experiment"] == name
    assert event.body["device"]["is_connected"]


def test_walking_through_it_at_a_terminal(bench: Any, drive: Drive) -> None:
    campaign_id, name = dead_in_motion(bench, drive, experiments=2)
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "athanor.console", "reconcile", "--ledger", str(bench.ledger.path)]
    with subprocess.Popen(command, stdin=child, stdout=child, stderr=child, close_fds=True) as process:
        os.close(child)
        try:
            screen = b""
            for prompt, reply in (
                (b"Your answer", b"9\n"),
                (b"A number from", b"1\n"),  # completed, and I enter what was measured: nothing arrived to reduce
                (b"sty [", b"many\n"),
                (b"e_factor", b"\n"),
                (b"no number", b""),
                (b"sty [", b"4800 +- 15\n"),
                (b"e_factor", b"\n"),
                (b"How do you know", b"the chromatogram\n"),
                (b"settled as completed", b""),
            ):
                screen = _read(parent, screen, prompt)
                os.write(parent, reply)
            _drain(parent)
            assert process.wait(60) == 0
        finally:
            process.kill()
            os.close(parent)
    assert bench.ledger.experiment(name).state == "completed"
    [settlement] = [d for d in bench.ledger.decisions(campaign_id) if d.kind == "settle"]
    assert settlement.reason == "the chromatogram"
    assert body_of(settlement)["outcomes"] == {"sty": {"mean": 4800.0, "sem": 15.0}}


def _read(terminal: int, screen: bytes, wanted: bytes) -> bytes:
    """Read on until `wanted` stands there; what came after it."""
    deadline = time.monotonic() + 120
    while wanted not in screen:
        assert time.monotonic() < deadline, screen.decode(errors="replace")
        if select.select([terminal], [], [], 1.0)[0]:
            screen += os.read(terminal, 65536)
    return screen.split(wanted, 1)[1]


def _drain(terminal: int) -> None:
    with contextlib.suppress(OSError):  # the other side is closed
        while os.read(terminal, 65536):
            pass


def test_leases_of_the_dead_are_free_at_once(bench: Any, drive: Drive) -> None:
    first = bench.open(experiments=80, options={"time_scale": 0.5})  # longer than the second takes to ask
    second = bench.open(experiments=1, options={"time_scale": 0.5})
    process = drive(first)
    moving(bench, first)
    busy = bench.run(second)
    assert "CampaignBusy" in busy.stderr and bench.ledger.campaign(second).state == "queued"
    process.kill()
    process.wait()
    assert bench.ledger.lease(f"campaign:{first}") is not None, "nobody gave it back"
    # The run in hand is finished by the worker; the instrument is not held by the dead.
    until(lambda: not bench.ledger.experiments(first, states=["dispatched", "running"]))
    done = bench.run(second)
    assert done.stdout.strip() == "succeeded", (done.stderr, bench.ledger.campaign(second).reason)
    bench.ledger.request(first, "cancel", "tester")
    assert bench.run(first).stdout.strip() == "cancelled"
    for resource in (f"campaign:{first}", f"campaign:{second}", f"instrument:{bench.place(first).name}"):
        assert bench.ledger.lease(resource) is None


def test_a_frozen_worker_is_not_taken_for_a_dead_one(bench: Any, drive: Drive) -> None:
    campaign_id = bench.open(experiments=1, options={"time_scale": 0.5})
    process = drive(campaign_id)
    moving(bench, campaign_id)
    process.kill()
    process.wait()
    worker = int((bench.place(campaign_id).sockets / "worker.pid").read_text().split()[0])
    with contextlib.closing(sqlite3.connect(bench.ledger.path, isolation_level=None, timeout=30)) as lock:
        lock.execute("BEGIN IMMEDIATE")  # a worker frozen while it writes would lock the ledger
        freeze(worker)
        lock.execute("ROLLBACK")
    try:
        found = reconcile(bench, code=1)
        assert "stop-all --instrument snar-flow" in found["troubles"]["snar-flow"] and found["in_doubt"] == []
        assert bench.ledger.experiments(campaign_id, states=["dispatched", "running"])
    finally:
        os.kill(worker, signal.SIGCONT)
    until(lambda: bench.ledger.experiments(campaign_id, states=["completed"]))
    assert reconcile(bench, code=0)["troubles"] == {}


def test_nothing_in_doubt_is_said_so(bench: Any) -> None:
    assert reconcile(bench, code=0)["in_doubt"] == []
    done = athanor(bench, "reconcile")
    assert done.returncode == 0 and "Nothing is in doubt" in done.stderr
    assert athanor(bench, "reconcile", "no-such-thing").returncode == 1
