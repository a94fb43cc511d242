"""A person takes an instrument over: one holder, nothing started for any campaign, whoever asks and whatever dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "instruments"))

from rig import Rig, make_rig_fixture, rig_fixture, start  # noqa: F401 - fixtures
from rig import until as within

from athanor.console.cli.app import run
from athanor.governance.orders import Orders
from athanor.instruments.executor import LocalExecutor, Refused
from athanor.instruments.laboratory import InstrumentUnavailable
from athanor.instruments.takeover import HELD, UNKNOWN, TakeOver
from athanor.memory.records import Intent

NAME = "snar-flow"


def until(condition: Callable[[], Any]) -> Any:
    """Wait for it, on a busy machine too."""
    return within(condition, 120)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("athanor.console.commands.runs.PATIENCE_S", 60.0)
    monkeypatch.setattr("athanor.console.commands.runs.READ_BACK_S", 60.0)
    monkeypatch.setattr("athanor.console.commands.runs.END_S", 60.0)


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Be somebody else, for the command line."""

    def become(person: str) -> None:
        monkeypatch.setenv("LOGNAME", person)

    become("ada")
    return become


def athanor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    code = run([*words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def take(rig: Rig, seconds: float = 600.0, person: str = "ada") -> None:
    TakeOver(rig.place, rig.key.public).take(
        person, lambda: Orders(rig.ledger, rig.key, person).take_over(NAME, timedelta(seconds=seconds), "new tubing")
    )


def is_there(executor: LocalExecutor) -> bool:
    """Whether its worker could be had: one that gets no time for a second looks as if it hung."""
    try:
        executor.ensure()
    except InstrumentUnavailable:
        return False
    return True


def ready(rig: Rig, campaign: str | None = None) -> LocalExecutor:
    """A worker with its recovery process, which on a busy machine may take longer than anybody waits for it."""
    executor = rig.executor(campaign)
    until(lambda: is_there(executor))
    until(lambda: (status := executor.status()) is not None and status["recovery"] is None)
    return executor


def refused(executor: LocalExecutor, intent: Intent) -> str:
    with pytest.raises(Refused) as caught:
        executor.dispatch(intent)
    assert not caught.value.final
    return caught.value.code


def test_nothing_is_started_until_it_is_handed_back(
    rig: Rig, be: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    executor = ready(rig)
    code, told, said = athanor(capsys, "take-over", NAME, "--for", "30m", "--reason", "new tubing")
    assert code == 0, said
    assert (told["holder"], told["running"], told["moving"]) == ("ada", None, False) and told["positions"]
    intent = rig.intent()
    assert refused(executor, intent) == HELD
    assert rig.state(intent) == "dispatched", "the experiment is not used up"
    assert not rig.witness("set", "run")
    status = executor.status()
    assert status is not None and "ada" in status["takeover"] and status["refusals"][HELD] == 1
    be("grace")
    code, _, said = athanor(capsys, "take-over", NAME, "--reason", "mine")
    assert code == 1 and "ada" in said and "--emergency-release" in said
    code, _, said = athanor(capsys, "hand-back", NAME)
    assert code == 1 and "ada" in said
    assert refused(executor, intent) == HELD
    be("ada")
    assert athanor(capsys, "hand-back", NAME)[0] == 0
    executor.dispatch(intent)
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"
    assert athanor(capsys, "hand-back", NAME)[0] == 1


def test_it_ends_by_itself(rig: Rig) -> None:
    executor = ready(rig)
    intent = rig.intent()
    take(rig)
    assert refused(executor, intent) == HELD
    take(rig, seconds=0.2)
    until(lambda: TakeOver(rig.place).read().tenure is None)
    executor.dispatch(intent)
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"


def test_an_emergency_release_ends_it_and_is_recorded(
    rig: Rig, be: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    executor = ready(rig)
    take(rig)
    be("grace")
    assert athanor(capsys, "take-over", NAME, "--emergency-release", "--reason", " ")[0] == 1
    code, told, said = athanor(capsys, "take-over", NAME, "--emergency-release", "--reason", "ada has gone home")
    assert code == 0 and told["was"] == "ada", said
    [event] = rig.ledger.events(kinds=("release_ordered",))
    assert (event.body["by"], event.body["holder"]) == ("grace", "ada")
    intent = rig.intent()
    executor.dispatch(intent)
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"
    assert athanor(capsys, "take-over", NAME, "--emergency-release", "--reason", "again")[0] == 1


def test_a_run_in_motion_is_waited_for(
    make_rig: Callable[..., Rig], be: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    rig = make_rig(time_scale=1.0)
    executor = ready(rig)
    intent = start(rig, executor)
    code, told, said = athanor(capsys, "take-over", NAME, "--reason", "new tubing")
    assert code == 0 and told["running"] is None, said
    assert intent.experiment_id in said, "it says what it waits for"
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"
    assert refused(executor, rig.intent()) == HELD


def test_a_run_in_motion_is_aborted_by_choice(
    make_rig: Callable[..., Rig], be: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    rig = make_rig(time_scale=1.0)
    executor = ready(rig)
    intent = start(rig, executor)
    code, told, said = athanor(capsys, "take-over", NAME, "--now", "--reason", "leak")
    assert code == 0 and told["running"] is None and told["moving"] is False, said
    assert told["positions"]["temperature"] < 110.0
    executor.wait(intent.experiment_id, rig.ledger)
    experiment = rig.ledger.experiment(intent.experiment_id)
    assert experiment.state == "aborted" and "taken over by ada: leak" in (experiment.reason or "")
    assert refused(executor, rig.intent()) == HELD


def test_a_paused_run_must_end_first(
    make_rig: Callable[..., Rig], be: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    rig = make_rig(time_scale=1.0)
    executor = ready(rig)
    intent = start(rig, executor)
    assert athanor(capsys, "pause-run", NAME)[1]["state"] == "paused"
    code, _, said = athanor(capsys, "take-over", NAME, "--reason", "leak")
    assert code == 1 and "--now" in said and TakeOver(rig.place).read().tenure is None
    take(rig)  # somehow it is taken over all the same: then nobody makes it move
    code, _, said = athanor(capsys, "resume-run", NAME)
    assert code == 1 and HELD in said
    assert athanor(capsys, "take-over", NAME, "--now", "--reason", "leak")[0] == 0
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "aborted"


def test_a_dispatch_that_is_being_checked_does_not_slip_through(rig: Rig, be: Callable[[str], None]) -> None:
    """Whoever has taken over and is told that nothing runs is right, however the moments fall."""
    executor = ready(rig, "camp")
    started: list[str] = []
    for round_ in range(8):
        intent = rig.intent()

        def dispatch(intent: Intent = intent) -> None:
            with contextlib.suppress(Refused):
                executor.dispatch(intent)
                started.append(intent.id)

        thread = threading.Thread(target=dispatch)
        thread.start()
        if round_ % 2:
            until(lambda: executor.status()["is_preparing"] or not thread.is_alive())  # type: ignore[index]  # noqa: B023
        assert run(["take-over", NAME, "--reason", "race"]) == 0
        runs = len(rig.witness("run"))
        thread.join()
        assert len(rig.witness("run")) == runs, "nothing has begun since it was told that nothing runs"
        assert run(["hand-back", NAME]) == 0
        if rig.state(intent) == "dispatched":
            with contextlib.suppress(Refused):
                executor.dispatch(intent)
        executor.wait(intent.experiment_id, rig.ledger)


def test_it_outlives_the_worker(rig: Rig) -> None:
    executor = ready(rig)
    take(rig)
    os.kill(rig.pid("worker"), signal.SIGKILL)
    executor.close()
    until(lambda: executor.status() is None)
    assert refused(ready(rig), rig.intent()) == HELD
    assert not rig.witness("run")


def test_whoever_only_has_the_files_frees_nothing(rig: Rig, tmp_path: Path) -> None:
    """Neither rows in the ledger nor an order without the gate's key hand an instrument back."""
    from athanor.memory.signing import GateKey

    executor = ready(rig)
    take(rig)
    intent = rig.intent()
    rig.alter("DELETE FROM event WHERE kind = 'take_over_ordered'")
    rig.ledger.add_event(None, "hand_back_ordered", {"instrument": NAME, "by": "ada"})
    assert refused(executor, intent) == HELD
    it = TakeOver(rig.place)
    nonce = json.loads(json.loads(it.path.read_text())["body"])["nonce"]
    forged = Orders(rig.ledger, GateKey.load_or_create(tmp_path / "forger"), "ada").hand_back(NAME, nonce)
    it.path.write_text(json.dumps(forged.as_dict()))
    assert refused(executor, intent) == UNKNOWN
    it.path.unlink()
    assert refused(executor, intent) == UNKNOWN
    assert not rig.witness("set", "run")


# -- whole campaigns --------------------------------------------------------------------------------------------------


@pytest.fixture
def drive(bench: Any) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    with contextlib.ExitStack() as processes:

        def begin(campaign_id: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(bench.command(campaign_id), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            processes.callback(process.wait)
            processes.callback(process.kill)
            return process

        yield begin


def test_a_campaign_pauses_with_the_reason_and_goes_on_when_resumed(
    bench: Any,
    drive: Callable[[str], subprocess.Popen[bytes]],
    be: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    campaign_id = bench.open(experiments=4, options={"time_scale": 0.2})
    process = drive(campaign_id)
    until(lambda: bench.ledger.experiments(campaign_id, states=["running"]))
    where = ["--ledger", bench.ledger.url]
    code, _, said = athanor(capsys, "take-over", NAME, "--reason", "new tubing", *where)
    assert code == 0, said
    runs = len(bench.witness(campaign_id, "run"))
    assert process.wait(120) == 0
    campaign = bench.ledger.campaign(campaign_id)
    assert campaign.state == "paused"
    assert "ada" in campaign.reason and "new tubing" in campaign.reason and "athanor resume" in campaign.reason
    assert bench.run(campaign_id).stdout.strip() == "paused", "whoever resumes it now is told the same"
    assert len(bench.witness(campaign_id, "run")) == runs
    code, _, said = athanor(capsys, "hand-back", NAME, *where)
    assert code == 0 and f"resume {campaign_id}" in said
    assert bench.run(campaign_id).stdout.strip() == "succeeded"
    states = [experiment.state for experiment in bench.ledger.experiments(campaign_id)]
    assert states == ["completed"] * 4
