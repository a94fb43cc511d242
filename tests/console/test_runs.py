"""Pause, resume and abort of the run in hand, from the command line, on a worker with motions that take their time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "instruments"))

from rig import Rig, make_rig_fixture, slow, start, until  # noqa: F401 - fixture

from athanor.console.cli.app import run
from athanor.console.cli.context import person


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine answers late."""
    monkeypatch.setattr("athanor.console.commands.runs.PATIENCE_S", 60.0)
    monkeypatch.setattr("athanor.console.commands.runs.READ_BACK_S", 60.0)


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    code = run([*words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def test_pause_and_resume_the_run_in_hand(make_rig: Callable[..., Rig], capsys: pytest.CaptureFixture[str]) -> None:
    rig, executor = slow(make_rig)
    intent = start(rig, executor)
    code, told, said = call(capsys, "pause-run", "snar-flow")
    assert code == 0, said
    assert (told["experiment"], told["state"], told["moving"]) == (intent.experiment_id, "paused", False)
    where = told["positions"]["temperature"]
    assert where < 110 and f"temperature {where}" in said, "the true read-back, not the set point"
    assert call(capsys, "pause-run", "snar-flow")[1]["positions"]["temperature"] == where, "and there it stays"
    code, told, said = call(capsys, "resume-run", "snar-flow")
    assert code == 0 and told["state"] == "running", said
    executor.wait(intent.experiment_id, rig.ledger)
    assert rig.state(intent) == "completed"
    until(lambda: len(rig.ledger.events(rig.campaign, kinds=("run_paused", "run_resumed"))) >= 2)
    [paused, resumed] = rig.ledger.events(rig.campaign, kinds=("run_paused", "run_resumed"))
    assert (paused.kind, resumed.kind) == ("run_paused", "run_resumed")
    assert paused.body["by"] == resumed.body["by"] == person()
    assert paused.body["experiment"] == intent.experiment_id
    code, _, said = call(capsys, "resume-run", "snar-flow")
    assert code == 1 and "run.none" in said


def test_abort_the_run_in_hand(make_rig: Callable[..., Rig], capsys: pytest.CaptureFixture[str]) -> None:
    rig, executor = slow(make_rig)
    intent = start(rig, executor)
    code, told, said = call(capsys, "abort-run", "snar-flow", "--reason", "wrong bottle")
    assert code == 0, said
    assert told["experiment"] == intent.experiment_id and told["moving"] is False
    executor.wait(intent.experiment_id, rig.ledger)
    experiment = rig.ledger.experiment(intent.experiment_id)
    assert (experiment.state, experiment.reason) == ("aborted", f"wrong bottle ({person()})")
    code, _, said = call(capsys, "abort-run", "snar-flow", "--reason", "again")
    assert code == 1 and "no run in hand" in said
    [asked] = [event for event in rig.ledger.events(rig.campaign) if event.kind == "run_abort_asked"]
    assert asked.body["reason"] == f"wrong bottle ({person()})"


def test_without_a_worker_or_a_reason_it_says_so(
    make_rig: Callable[..., Rig], capsys: pytest.CaptureFixture[str]
) -> None:
    make_rig()
    for verb in ("pause-run", "resume-run"):
        code, _, said = call(capsys, verb, "snar-flow")
        assert code == 1 and "no worker" in said
    assert call(capsys, "abort-run", "snar-flow", "--reason", " ")[0] == 2
    assert call(capsys, "pause-run", "nowhere")[0] == 1
