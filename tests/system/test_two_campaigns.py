"""Two campaigns on one instrument: one waits and says for whom, and a process that was killed holds nothing."""

from __future__ import annotations

import contextlib
import itertools
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

pytestmark = pytest.mark.slow

NAME = "snar-flow"
Process = subprocess.Popen[str]
Begin = Callable[..., Process]


def until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.05)
    return found


@pytest.fixture
def begin(bench: Any, tmp_path: Path) -> Iterator[Begin]:
    """Drive a campaign by the command line, in a process of its own that writes what it says into a file."""
    with contextlib.ExitStack() as processes:

        def start(campaign_id: str, *options: str) -> Process:
            said = processes.enter_context((tmp_path / f"{campaign_id}.said").open("a"))
            command = [sys.executable, "-m", "athanor.console", "resume", campaign_id, "--ledger", bench.ledger.url]
            process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=said, text=True)
            processes.callback(process.wait)
            processes.callback(process.kill)
            return process

        yield start


def said(tmp_path: Path, campaign_id: str) -> str:
    return (tmp_path / f"{campaign_id}.said").read_text()


def waits(bench: Any, campaign_id: str) -> list[str]:
    return [event.body["for"] for event in bench.ledger.events(campaign_id, kinds=("waiting",))]


def athanor(bench: Any, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "athanor.console", *words, "--ledger", bench.ledger.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def approve(bench: Any, campaign_id: str) -> None:
    """Approve what the campaign has put up, once it has."""
    [experiment] = until(lambda: bench.ledger.experiments(campaign_id, states=["proposed"]))
    bench.gate.approve(experiment.id, experiment.revision, 0)


def test_one_waits_for_the_other(bench: Any, begin: Begin, tmp_path: Path) -> None:
    first = bench.open(grant=False, experiments=1)
    second = bench.open(experiments=2)
    one = begin(first)
    until(lambda: bench.ledger.experiments(first, states=["proposed"]))
    other = begin(second)
    assert until(lambda: waits(bench, second)) == [f"campaign {first} is using it"]
    assert not bench.ledger.experiments(second), "it plans nothing yet"
    approve(bench, first)
    assert one.wait(240) == 0 and other.wait(240) == 0
    assert f"Waiting for {NAME}: campaign {first} is using it" in said(tmp_path, second)
    for campaign_id, count in ((first, 1), (second, 2)):
        assert [e.state for e in bench.ledger.experiments(campaign_id)] == ["completed"] * count
    runs = [bench.ledger.run_for(e.id) for name in (first, second) for e in bench.ledger.experiments(name)]
    spans = sorted((run.started_at, run.stopped_at) for run in runs)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), "never both at once"


def test_without_waiting_it_is_refused_and_stays_as_it_was(bench: Any, begin: Begin) -> None:
    first = bench.open(grant=False, experiments=1)
    second = bench.open(experiments=1)
    begin(first)
    until(lambda: bench.ledger.experiments(first, states=["proposed"]))
    refused = athanor(bench, "resume", second, "--no-wait")
    assert refused.returncode == 1 and "in use" in refused.stderr
    assert bench.ledger.campaign(second).state == "queued" and waits(bench, second) == []


def test_the_instrument_is_free_again_after_sigkill(bench: Any, begin: Begin) -> None:
    """The run in hand of the dead one goes on to its end; the next campaign waits for that, not for a lease."""
    first = bench.open(grant=False, experiments=1, options={"time_scale": 1.0})
    second = bench.open(experiments=2)
    one = begin(first)
    until(lambda: bench.ledger.experiments(first, states=["proposed"]))
    other = begin(second)
    until(lambda: waits(bench, second))
    approve(bench, first)
    until(lambda: bench.witness(first, "position"))
    os.kill(one.pid, signal.SIGKILL)
    assert other.wait(240) == 0
    assert [e.state for e in bench.ledger.experiments(second)] == ["completed"] * 2
    assert len(waits(bench, second)) == 2 and first in waits(bench, second)[1], "then for the run that is in hand"
    assert begin(first).wait(240) == 0
    [struck] = bench.ledger.experiments(first)
    assert struck.state == "completed", "what was in hand was measured, once, and is not lost"
    assert len(bench.ledger.observations(first)) == 1


def test_one_that_waits_is_paused_and_cancelled_like_any_other(bench: Any, begin: Begin) -> None:
    first = bench.open(grant=False, experiments=1)
    second = bench.open(experiments=2)
    begin(first)
    until(lambda: bench.ledger.experiments(first, states=["proposed"]))
    other = begin(second)
    until(lambda: waits(bench, second))
    assert athanor(bench, "pause", second).returncode == 0
    assert other.wait(120) == 3
    campaign = bench.ledger.campaign(second)
    assert campaign.state == "paused" and f"campaign {first} is using it" in campaign.reason
    again = begin(second)
    until(lambda: len(waits(bench, second)) == 2)
    again.send_signal(signal.SIGINT)
    assert again.wait(120) == 3 and bench.ledger.campaign(second).state == "paused"
    done = athanor(bench, "cancel", second)
    assert done.returncode == 0, done.stderr
    assert bench.ledger.campaign(second).state == "cancelled", "to end it, nobody needs the instrument"
    assert bench.ledger.experiments(second) == []
