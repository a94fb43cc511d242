"""Interlocks and the write switch on a running worker, with the controller's own log as the witness."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "instruments"))

from rig import POINT, Rig, make_rig_fixture, rig_fixture, until  # noqa: F401 - fixtures

from athanor.console.cli.app import run as cli
from athanor.instruments.executor import LocalExecutor, Refused
from athanor.instruments.laboratory import load
from athanor.instruments.latch import Latch
from athanor.instruments.profile import Profile
from athanor.instruments.write_switch import WriteSwitch
from athanor.memory.records import Intent
from athanor.sandbox.link import Link

COOL = {"name": "cool", "require": "temperature < 80", "message": "the oil boils"}


def executor(rig: Rig, interlocks: list[dict[str, Any]] = (), **axes: dict[str, Any]) -> LocalExecutor:  # type: ignore[assignment]
    """A ready executor whose profile has these interlocks, and these changes to its axes."""
    found = load(rig.laboratory).profile().model_dump(mode="json")
    found["interlocks"] = list(interlocks)
    for name, changes in axes.items():
        found["axes"][name] |= changes
    made = rig.executor(profile=Profile.model_validate(found))
    made.ensure()
    return made


@contextmanager
def somebody_else(rig: Rig) -> Iterator[Link]:
    """A second line to the controller, as a person at its panel has one."""
    link = Link(rig.place.sockets / "controller.sock", client="panel")
    try:
        yield link
    finally:
        link.close()


def status(executor: LocalExecutor) -> dict[str, Any]:
    found = executor.status()
    assert found is not None
    return dict(found)


def ended(rig: Rig, executor: LocalExecutor, intent: Intent) -> tuple[str, str]:
    executor.wait(intent.experiment_id, rig.ledger)
    experiment = rig.ledger.experiment(intent.experiment_id)
    return experiment.state, experiment.reason or ""


def test_an_interlock_that_opens_between_approval_and_dispatch_refuses(rig: Rig) -> None:
    made = executor(rig, [COOL])
    intent = rig.intent()
    with somebody_else(rig) as panel:
        panel.move("temperature", 110.0).result(10)
        before = len(rig.witness("set"))
        for _ in range(2):
            with pytest.raises(Refused, match=r"cool: the oil boils: temperature < 80 \(temperature = 110") as caught:
                made.dispatch(intent)
            assert caught.value.code == "interlock.tripped"
            assert not caught.value.final
        assert (len(rig.witness("set")), rig.witness("run")) == (before, [])
        assert rig.state(intent) == "dispatched"
        assert status(made)["refusals"] == {"interlock.tripped": 2}
        panel.move("temperature", 40.0).result(10)
    made.dispatch(intent)
    assert ended(rig, made, intent) == ("completed", "")


def test_an_interlock_that_trips_during_a_motion_ends_the_run_and_stops_the_axes(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=1.0)
    made = executor(rig, [COOL])
    intent = rig.intent({**POINT, "temperature": 110.0})
    made.dispatch(intent)
    state, reason = ended(rig, made, intent)
    assert state == "aborted"
    assert reason.startswith("interlock.tripped: cool: the oil boils: temperature < 80 (temperature = 8")
    with somebody_else(rig) as panel:
        answer = panel.call("status")
    assert answer["moving"] == []
    assert 80.0 <= answer["positions"]["temperature"] < 110.0
    assert rig.witness("trigger") == []
    assert status(made)["refusals"] == {"interlock.tripped": 1}
    assert not Latch(rig.place).read().engaged, "the run ended by itself: nobody has to reset anything"


def test_one_that_only_refuses_lets_the_run_go_on(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=0.1)
    made = executor(rig, [{**COOL, "on_trip": "refuse"}])
    intent = rig.intent({**POINT, "temperature": 90.0})
    made.dispatch(intent)
    assert ended(rig, made, intent)[0] == "completed"
    with pytest.raises(Refused, match=r"interlock\.tripped"):
        made.dispatch(rig.intent())


def test_a_set_during_the_run_is_refused_by_its_interlock(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=0.1)
    walks = {"largest_step": 10.0, "walk": True}
    made = executor(rig, [{**COOL, "on_trip": "refuse"}], temperature=walks)
    intent = rig.intent({**POINT, "temperature": 110.0})
    made.dispatch(intent)
    state, reason = ended(rig, made, intent)
    assert state == "aborted" and reason.startswith("interlock.tripped: cool"), reason
    steps = [line["value"] for line in rig.witness("set") if line["axis"] == "temperature"]
    assert steps == [70.0, 80.0], "at 80 it must not go on"


def test_stop_all_ends_a_walk_between_two_steps(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=0.01)
    made = executor(rig, temperature={"largest_step": 5.0, "largest_rate": 10.0, "walk": True})
    intent = rig.intent({**POINT, "temperature": 110.0})
    made.dispatch(intent)
    until(lambda: len([line for line in rig.witness("set") if line["axis"] == "temperature"]) >= 2)
    Latch(rig.place).engage("smoke", "tester")
    state, reason = ended(rig, made, intent)
    assert (state, "smoke" in reason) == ("aborted", True), reason
    count = len(rig.witness("set"))
    assert [line["value"] for line in rig.witness("set") if line["axis"] == "temperature"][-1] < 110.0
    assert status(made)["state"] == "idle"
    assert len(rig.witness("set")) == count


def test_with_writes_off_nothing_is_set_and_nothing_is_lost(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    made = executor(rig)
    intent = rig.intent()
    ledger = ["--ledger", str(rig.ledger.path)]
    os.kill(rig.pid("worker"), signal.SIGSTOP)
    try:
        assert cli(["instruments", "writes", "off", rig.place.name, "--reason", "new tubing", *ledger]) == 0
    finally:
        os.kill(rig.pid("worker"), signal.SIGCONT)
    with pytest.raises(Refused, match=r"writes\.off.*new tubing") as caught:
        made.dispatch(intent)
    assert not caught.value.final
    assert rig.state(intent) == "dispatched"
    assert rig.witness("set", "run") == []
    assert status(made)["writes"].startswith("writes.off")
    assert not Latch(rig.place).read().engaged
    assert cli(["instruments", "writes", "off", rig.place.name, *ledger]) != 0, "a reason is needed"
    assert cli(["instruments", "writes", "on", rig.place.name, "--reason", "fitted", "--json", *ledger]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["on"] is True
    assert status(made)["writes"] is None
    made.dispatch(intent)
    assert ended(rig, made, intent) == ("completed", "")


def test_writes_turned_off_during_a_walk_end_it(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=0.01)
    made = executor(rig, temperature={"largest_step": 5.0, "largest_rate": 10.0, "walk": True})
    intent = rig.intent({**POINT, "temperature": 110.0})
    made.dispatch(intent)
    until(lambda: len([line for line in rig.witness("set") if line["axis"] == "temperature"]) >= 2)
    WriteSwitch(rig.place).off("leak", "tester")
    state, reason = ended(rig, made, intent)
    assert state == "aborted" and reason.startswith("writes.off") and "leak" in reason, reason
    assert status(made)["refusals"] == {"writes.off": 1}


@pytest.mark.parametrize("spoil", ["changed", "removed", "corrupt"])
def test_a_worker_whose_configuration_is_not_the_one_on_disk_sets_nothing(rig: Rig, spoil: str) -> None:
    made = executor(rig)
    intent = rig.intent()
    path = rig.place.directory / "config.json"
    before = path.read_text()
    if spoil == "removed":
        path.unlink()
    else:
        path.write_text(before.replace("120", "140") if spoil == "changed" else before[:-20])
    with pytest.raises(Refused, match=r"config\.changed"):
        made.dispatch(intent)
    assert rig.witness("set", "run") == []
    path.write_text(before)
    made.dispatch(intent)
    assert ended(rig, made, intent) == ("completed", "")


def test_a_switch_that_cannot_be_read_is_off(rig: Rig) -> None:
    made = executor(rig)
    WriteSwitch(rig.place).path.write_text("{}")
    with pytest.raises(Refused, match=r"writes\.off.*corrupt"):
        made.dispatch(rig.intent())
    WriteSwitch(rig.place).path.unlink()
    with pytest.raises(Refused, match=r"writes\.off.*removed"):
        made.dispatch(rig.intent())
    assert rig.witness("set", "run") == []


def test_a_campaign_waits_for_the_writes_and_goes_on_with_the_same_experiment(bench: Any) -> None:
    campaign = bench.open(experiments=2)
    switch = WriteSwitch(bench.place(campaign))
    switch.off("new tubing", "tester")
    assert bench.run(campaign).stdout.strip() == "paused"
    assert "writes.off" in (bench.ledger.campaign(campaign).reason or "")
    [waiting] = bench.ledger.experiments(campaign)
    assert waiting.state == "dispatched"
    assert bench.witness(campaign, "set", "run") == []
    switch.on("fitted", "tester")
    done = bench.run(campaign)
    assert done.stdout.strip() == "succeeded", done.stderr
    states = [(experiment.id, experiment.state) for experiment in bench.ledger.experiments(campaign)]
    assert states[0] == (waiting.id, "completed")
    assert len(states) == 2


def test_a_pause_is_watched_too(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=1.0)
    made = executor(rig, [COOL])
    intent = rig.intent({**POINT, "temperature": 70.0})
    made.dispatch(intent)
    until(lambda: rig.witness("motion") and rig.state(intent) == "running")
    assert made._client is not None
    made._client.call("pause")
    until(lambda: status(made)["state"] == "paused")
    with somebody_else(rig) as panel:
        panel.move("temperature", 110.0)
        state, reason = ended(rig, made, intent)
    assert state == "aborted" and reason.startswith("interlock.tripped: cool"), reason


def test_a_controller_that_freezes_in_motion_ends_in_stop_all(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=1.0)
    made = executor(rig, [{**COOL, "stale_s": 0.5}])
    intent = rig.intent({**POINT, "temperature": 75.0})
    made.dispatch(intent)
    until(lambda: rig.witness("position") and rig.state(intent) == "running")
    controller = rig.pid("controller")
    os.kill(controller, signal.SIGSTOP)
    try:
        state = until(lambda: (found := Latch(rig.place).read()).engaged and found)
    finally:
        os.kill(controller, signal.SIGCONT)
    assert state.by == "interlock" and "interlock.stale: cool" in (state.reason or ""), state
    until(lambda: rig.witness("stop"))  # what was sent to it meanwhile


def test_a_walk_that_was_paused_goes_on_and_arrives(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(time_scale=0.01)
    made = executor(rig, temperature={"largest_step": 5.0, "largest_rate": 20.0, "walk": True})
    intent = rig.intent({**POINT, "temperature": 80.0})
    made.dispatch(intent)
    until(lambda: len([line for line in rig.witness("set") if line["axis"] == "temperature"]) >= 2)
    assert made._client is not None
    made._client.call("pause")
    until(lambda: status(made)["state"] == "paused")
    count = len(rig.witness("set"))
    made._client.call("resume")
    assert ended(rig, made, intent) == ("completed", "")
    [reading] = rig.witness("trigger")
    assert reading["values"] == pytest.approx({**POINT, "temperature": 80.0})
    steps = [line["value"] for line in rig.witness("set") if line["axis"] == "temperature"]
    assert count < len(rig.witness("set"))
    assert all(0 < after - before <= 5.01 for before, after in zip([60.0, *steps], steps, strict=False)), steps
