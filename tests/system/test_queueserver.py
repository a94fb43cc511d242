"""What is peculiar to a queue: whoever may use it runs nothing unapproved, nothing is put back, and it may die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.config import Config
from athanor.instruments.executor import Refused, WorkerLost
from athanor.instruments.laboratory import InstrumentUnavailable, load
from athanor.instruments.queueserver.executor import QueueServerExecutor
from athanor.instruments.queueserver.manager import ManagerRefused
from athanor.instruments.queueserver.settings import GROUP, PLAN, folder_of, has_queue, remove, set_up
from athanor.memory.records import Intent
from athanor.memory.signing import GateKey
from tests.instruments.rig import POINT, start, until
from tests.system.queueing import QueuedRig, queued_rigs, ready

pytestmark = pytest.mark.slow


@pytest.fixture
def make_rig(home: Path) -> Iterator[Callable[..., QueuedRig]]:
    with queued_rigs(home) as make:
        yield make


def item(intent: Intent, **changes: Any) -> dict[str, Any]:
    """What somebody submits for an intent."""
    return {"item_type": "plan", "name": PLAN, "args": [{"intent": intent.id, "epoch": intent.epoch, **changes}]}


def attempts(rig: QueuedRig, intent: Intent) -> dict[str, tuple[dict[str, Any], str]]:
    """Items that nobody approved, and what each is refused with."""
    decision = rig.ledger.decision(intent.decision_id)
    edited = decision.body.replace("tester", "master")
    thief = GateKey.load_or_create(rig.place.directory / "stolen")
    other = rig.ledger.decision(rig.intent({**POINT, "temperature": 61.0}).decision_id)
    return {
        "no decision": (item(intent), "decision.unsigned"),
        "no signature": (item(intent, body=decision.body, signature=""), "decision.unsigned"),
        "edited": (item(intent, body=edited, signature=decision.signature), "decision.signature"),
        "forged": (item(intent, body=decision.body, signature=thief.sign(decision.body)), "decision.signature"),
        "of another": (item(intent, body=other.body, signature=other.signature), "decision.mismatch"),
        "no intent": ({"item_type": "plan", "name": PLAN, "args": [{}]}, "request.malformed"),
    }


def test_a_stranger_gets_nothing_into_the_queue_and_nothing_moves_for_who_has_its_key(
    make_rig: Callable[..., QueuedRig],
) -> None:
    rig = make_rig()
    executor = ready(rig)
    intent = rig.intent()
    decision = rig.ledger.decision(intent.decision_id)
    good = item(intent, body=decision.body, signature=decision.signature)
    who = {"user": "mallory", "user_group": GROUP}
    script = "from athanor.instruments.laboratory import load"
    for method, params in {
        "queue_item_add": {"item": good, **who},
        "queue_item_execute": {"item": good, **who},
        "queue_start": {},
        "script_upload": {"script": script},
        "function_execute": {"item": {"item_type": "function", "name": "print"}, **who},
        "permissions_set": {"user_group_permissions": {"user_groups": {"root": {}, GROUP: {}}}},
        "environment_destroy": {},
    }.items():
        for line in (rig.queue.stranger.call, rig.queue.stranger.order):
            with pytest.raises(ManagerRefused, match=r"[Ll]ock"):
                line(method, **params)

    # Its key lies in a file: the queue is not what protects the instrument.
    for foreign, group in (({"name": "count"}, GROUP), ({"name": "count"}, "root"), ({**good, "args": [[]]}, GROUP)):
        with pytest.raises(ManagerRefused):
            rig.queue.owner.order("queue_item_add", item={"item_type": "plan", **foreign}, user="m", user_group=group)
    client = executor._client
    assert client is not None
    for name, (submitted, code) in attempts(rig, intent).items():
        client.wait(0.0)
        rig.queue.owner.order("queue_item_add", item=submitted, **who)
        rig.queue.owner.order("queue_start")
        until(lambda: len(rig.queue.items()) == 1 and not rig.queue.owner.call("queue_get")["running_item"])
        rig.queue.idle()
        assert code in rig.queue.history()[-1]["result"]["msg"], name
        # That is what a manager does with what has failed: the executor takes it out, and says so.
        executor.ensure()
        assert rig.queue.items() == [], name
        assert rig.ledger.events(kinds=["queue_item_removed"])[-1].body["instrument"] == rig.place.name
        assert rig.state(intent) == "dispatched", name
    assert rig.witness("set", "motion", "run") == []

    executor.dispatch(intent)
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"
    # The very item that was approved, a second time.
    rig.queue.idle()
    rig.queue.owner.order("queue_item_execute", item=good, **who)
    until(lambda: "already_started" in rig.queue.history()[-1]["result"]["msg"])
    assert [line["intent"] for line in rig.witness("run")] == [intent.id]


def test_its_worker_takes_nothing_past_the_queue(make_rig: Callable[..., QueuedRig]) -> None:
    rig = make_rig()
    executor = ready(rig)
    intent = rig.intent()
    assert executor._client is not None
    with pytest.raises(Refused, match=r"dispatch\.queue"):
        executor._client.call("dispatch", intent=intent.id, epoch=intent.epoch)
    assert rig.state(intent) == "dispatched" and rig.witness("set", "motion", "run") == []
    executor.dispatch(intent)
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"


def test_what_is_aborted_is_not_put_back(make_rig: Callable[..., QueuedRig]) -> None:
    rig = make_rig(time_scale=1.0)
    executor = ready(rig)
    ours = start(rig, executor)
    executor.abort("enough")
    executor.wait(ours.experiment_id, rig.ledger)
    assert (rig.state(ours), rig.queue.items()) == ("aborted", [])
    rig.queue.idle()

    # By the manager itself, as a person at its console would: paused at once, then aborted.
    theirs = rig.intent({**POINT, "temperature": 115.0})
    executor.dispatch(theirs)
    until(lambda: rig.state(theirs) == "running")
    rig.queue.owner.order("re_pause", option="immediate")
    rig.queue.owner.await_state({"paused"}, 20.0)
    rig.queue.owner.order("re_abort")
    executor.wait(theirs.experiment_id, rig.ledger)
    assert rig.state(theirs) == "aborted"
    rig.queue.idle()
    assert rig.queue.items() == []

    # A pause by the manager repeats what was done before it: such a run ends, it does not go on.
    repeated = rig.intent({**POINT, "temperature": 45.0})
    executor.dispatch(repeated)
    until(lambda: rig.state(repeated) == "running")
    rig.queue.owner.order("re_pause", option="immediate")
    rig.queue.owner.await_state({"paused"}, 20.0)
    rig.queue.owner.order("re_resume")
    executor.wait(repeated.experiment_id, rig.ledger)
    experiment = rig.ledger.experiment(repeated.experiment_id)
    assert experiment.state == "aborted", experiment
    assert "athanor pause" in (experiment.reason or "")
    executor.ensure()
    assert rig.queue.items() == []

    # Paused and aborted by us: the manager does not hear of it, and its environment is opened anew.
    paused = rig.intent({**POINT, "temperature": 115.0})
    executor.dispatch(paused)
    until(lambda: rig.state(paused) == "running")
    executor.pause()
    rig.queue.owner.await_state({"paused"}, 20.0)
    executor.abort("seen enough")
    executor.wait(paused.experiment_id, rig.ledger)
    assert rig.ledger.experiment(paused.experiment_id).reason == "seen enough"
    executor.ensure()
    executor = ready(rig)
    assert rig.queue.items() == []
    last = rig.intent()
    executor.dispatch(last)
    executor.wait(last.experiment_id, rig.ledger)
    assert rig.state(last) == "completed"
    assert len(rig.witness("run")) == 5


def test_a_run_survives_the_death_of_its_manager_and_is_found_in_the_spool(make_rig: Callable[..., QueuedRig]) -> None:
    rig = make_rig(time_scale=2.0)
    executor = ready(rig)
    # The manager alone: its watchdog starts another, which finds the worker again.
    first = start(rig, executor)
    os.kill(rig.queue.manager_pid, signal.SIGKILL)
    executor.wait(first.experiment_id, rig.ledger)
    assert rig.state(first) == "completed"
    until(rig.queue.answers, 60.0)

    # Watchdog and manager: the worker finishes what it has in hand, and ends.
    executor.ensure()
    second = rig.intent({**POINT, "temperature": 45.0})
    executor.dispatch(second)
    until(lambda: rig.state(second) == "running")
    rig.queue.kill()
    executor.wait(second.experiment_id, rig.ledger)
    assert rig.state(second) == "completed"
    with pytest.raises(InstrumentUnavailable, match="queueserver run snar-flow"):
        executor.ensure()

    # With everything back it goes on, and nothing was run twice.
    until(lambda: not (rig.place.sockets / "worker.pid").exists(), 60.0)
    rig.queue.start()
    executor = ready(rig)
    assert rig.queue.items() == []
    third = rig.intent()
    executor.dispatch(third)
    executor.wait(third.experiment_id, rig.ledger)
    assert rig.state(third) == "completed"
    assert [line["intent"] for line in rig.witness("run")] == [first.id, second.id, third.id]


def test_when_everything_dies_the_outcome_is_in_doubt_and_nothing_is_run_again(
    make_rig: Callable[..., QueuedRig],
) -> None:
    rig = make_rig(time_scale=1.0)
    executor = ready(rig)
    intent = start(rig, executor)
    worker = rig.pid("worker")
    rig.queue.kill()
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(WorkerLost, match="outcome is unknown"):
        executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "in_doubt"
    rig.queue.start()
    executor = ready(rig)
    assert rig.queue.items() == []
    following = rig.intent()
    executor.dispatch(following)
    executor.wait(following.experiment_id, rig.ledger)
    assert [rig.state(intent), rig.state(following)] == ["in_doubt", "completed"]
    assert [line["intent"] for line in rig.witness("run")] == [intent.id, following.id]


@pytest.mark.parametrize("opener", ["lives", "is dead"])
def test_a_worker_that_dies_as_it_starts_does_not_keep_the_manager_waiting_for_ever(
    make_rig: Callable[..., QueuedRig], opener: str
) -> None:
    rig = make_rig()
    executor = rig.executor()
    assert isinstance(executor, QueueServerExecutor)
    if opener == "is dead":
        executor.ensure()
        executor.shutdown()
        until(lambda: starting(rig) is None and not rig.queue.owner.status()["worker_environment_exists"])
    killed = threading.Event()

    def kill() -> None:
        os.kill(until(lambda: starting(rig), 60.0), signal.SIGKILL)
        killed.set()

    threading.Thread(target=kill, daemon=True).start()
    if opener == "is dead":  # the manager is left with what it had asked of it
        rig.queue.owner.order("environment_open")
        assert killed.wait(60)
        assert rig.queue.owner.status()["manager_state"] == "creating_environment"
    executor.ensure()
    assert killed.is_set()
    intent = rig.intent()
    executor.dispatch(intent)
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"


def starting(rig: QueuedRig) -> int | None:
    """The number of the worker's process, once there is one."""
    with suppress(OSError, ValueError):
        return rig.pid("worker")
    return None


def test_stop_all_halts_what_the_queue_runs(make_rig: Callable[..., QueuedRig]) -> None:
    rig = make_rig(time_scale=4.0)
    executor = ready(rig)
    intent = start(rig, executor)
    command = [sys.executable, "-m", "athanor.console", "stop-all", "--reason", "smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "aborted"
    assert rig.queue.items() == []
    assert not any(line.get("reached") and line["axis"] == "temperature" for line in rig.witness("end"))


def test_set_up_restricts_every_group_to_our_plan_and_keeps_its_files_private(home: Path) -> None:
    from athanor.memory.places import InstrumentPlace

    place = InstrumentPlace.of("snar-flow", home)
    assert not has_queue(place)
    folder = set_up(place, Config(load("snar-flow").profile(), {}), "localhost")
    assert folder == folder_of(place) and has_queue(place)
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
    key = (folder / "settings.json").read_text()
    set_up(place, Config(load("snar-flow").profile(), {}), "localhost")
    assert (folder / "settings.json").read_text() == key
    remove(place)
    assert not has_queue(place)
