"""Whole campaigns from the command line, on a real ledger, a real worker and a simulated laboratory."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from athanor.console.commands.decisions import is_driven
from athanor.console.report.build import build
from athanor.memory.ledger import Ledger

pytestmark = pytest.mark.slow

ATHANOR = [sys.executable, "-m", "athanor.console"]


def athanor(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ATHANOR, *words], capture_output=True, text=True, timeout=300, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[subprocess.CompletedProcess[str]]]:
    """Two demonstrations, one after the other, in one folder."""
    folder = tmp_path_factory.mktemp("demo")
    runtime = tmp_path_factory.mktemp("r")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ATHANOR_")},
        "ATHANOR_HOME": str(folder / "home"),
        "ATHANOR_KEYS": str(folder / "keys"),
        "ATHANOR_RUNTIME": str(runtime),
        "ATHANOR_WORKER_IDLE_S": "5",
    }
    words = [*ATHANOR, "demo", "--budget", "7", "--seed", "1", "--json"]
    runs = [
        subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, cwd=folder, env=environment)
        for _ in range(2)
    ]
    return folder, runs


def test_the_demo_prints_one_object_and_says_the_rest_elsewhere(
    demos: tuple[Path, list[subprocess.CompletedProcess[str]]],
) -> None:
    folder, runs = demos
    for run, name in zip(runs, ("athanor-demo", "athanor-demo-2"), strict=True):
        assert run.returncode == 0, run.stderr
        result = json.loads(run.stdout)
        assert result["state"] == "succeeded"
        assert len(result["experiments"]) == 7
        report = folder / name / f"{result['campaign']}.html"
        assert str(report.relative_to(folder)) in run.stderr
        assert result["experiments"][0]["run"][:8] in report.read_text()
        assert "Traceback" not in run.stderr
        # Nobody has activated the environment: every printed command is found all the same, and does what it says.
        [shown] = [
            line.partition("why:")[2] for line in run.stderr.splitlines() if f"show {result['campaign']}" in line
        ]
        program = Path(shlex.split(shown)[0])
        assert program.is_absolute() or shutil.which(str(program))
        keys = {"ATHANOR_HOME": str(folder / "home"), "ATHANOR_KEYS": str(folder / "keys")}
        done = subprocess.run(
            shlex.split(shown),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=folder,
            env={**os.environ, **keys},
        )
        assert done.returncode == 0 and result["campaign"] in done.stdout + done.stderr


def test_the_same_seed_gives_the_same_campaign(demos: tuple[Path, list[subprocess.CompletedProcess[str]]]) -> None:
    first, second = (json.loads(run.stdout) for run in demos[1])
    assert first["campaign"] != second["campaign"]
    for key in ("values", "outcomes", "state", "source"):
        assert [e[key] for e in first["experiments"]] == [e[key] for e in second["experiments"]]


def test_the_demo_leaves_no_process_behind(demos: tuple[Path, list[subprocess.CompletedProcess[str]]]) -> None:
    places = [demos[0] / name / "instruments" / "snar-flow" for name in ("athanor-demo", "athanor-demo-2")]
    commands = [
        path.read_bytes().replace(b"\0", b" ").decode()
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if os.access(path, os.R_OK)
    ]
    assert not [command for command in commands for place in places if str(place) in command]


def test_the_report_says_what_the_ledger_says(
    demos: tuple[Path, list[subprocess.CompletedProcess[str]]], home: Path
) -> None:
    folder, runs = demos
    result = json.loads(runs[0].stdout)
    with Ledger.open(folder / "athanor-demo" / "ledger.db", keys=folder / "keys") as ledger:
        data = build(ledger, result["campaign"])
    assert data.simulated
    assert (data.used, data.budget) == (7, 7)
    assert [row.run for row in data.experiments] == [e["run"] for e in result["experiments"]]
    assert all(row.decision == "within grant" and row.decided_by for row in data.experiments)
    assert data.progress.is_truth
    assert data.progress.arms >= 20
    assert len(data.progress.campaign) == len(data.progress.median) == 7
    assert {item.outcome for item in data.effects.slices} == {"sty", "e_factor"}
    assert len(data.best) == len(result["best"])


@pytest.fixture
def opened(home: Path) -> Iterator[Callable[[], Ledger]]:
    """Opens the ledger that the commands use; it is closed with the test."""
    with contextlib.ExitStack() as ledgers:
        yield lambda: ledgers.enter_context(Ledger.open(home / "ledger.db", create=True))


def ready(folder: Path, budget: int) -> None:
    """Write a campaign in which a person approves every experiment."""
    assert athanor("new", "mine.yaml", cwd=folder).returncode == 0
    text = (folder / "mine.yaml").read_text()
    text = text.replace("experiments: 40", f"experiments: {budget}").replace("auto_within_limits", "approve_each")
    (folder / "mine.yaml").write_text(text)


def test_each_experiment_waits_and_ctrl_c_pauses_cleanly(
    home: Path, tmp_path: Path, opened: Callable[[], Ledger]
) -> None:
    ready(tmp_path, 2)
    running = subprocess.Popen([*ATHANOR, "run", "mine.yaml"], stderr=subprocess.PIPE, text=True, cwd=tmp_path)

    def wait_for(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120.0
        while not condition():
            assert running.poll() is None, running.communicate()[1]
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.05)

    try:
        wait_for((home / "ledger.db").exists)
        ledger = opened()
        wait_for(lambda: bool(ledger.campaigns()))
        campaign = ledger.campaigns()[0].id
        wait_for(lambda: bool(ledger.experiments(campaign, states=["proposed"])))
        first = ledger.experiments(campaign)[0]
        assert athanor("approve", f"{first.id}@{first.revision[:8]}", cwd=tmp_path).returncode == 0
        wait_for(lambda: ledger.experiment(first.id).state == "completed")
        wait_for(lambda: bool(ledger.experiments(campaign, states=["proposed"])))
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()  # closes its pipe as well
    assert running.returncode == 3, said
    assert f"resume {campaign}" in said
    assert f"{first.id}@{first.revision[:8]}" in said
    assert ledger.campaign(campaign).state == "paused"

    second = ledger.experiments(campaign, states=["proposed"])[0]
    assert athanor("approve", f"{second.id}@{second.revision[:8]}", cwd=tmp_path).returncode == 0
    resumed = athanor("resume", campaign, "--json", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    result = json.loads(resumed.stdout)
    assert [e["state"] for e in result["experiments"]] == ["completed", "completed"]
    again = athanor("resume", campaign, cwd=tmp_path)
    assert again.returncode == 1
    assert "is over" in again.stderr


ON_ITS_TERMINAL = (
    "import fcntl, os, signal, sys, termios\n"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'athanor.console', *sys.argv[1:]])\n"
)
"""Take standard input as the controlling terminal, so that closing it is felt as closing a window is, also when the
tests themselves run under `nohup`."""


def test_a_closed_terminal_pauses_the_campaign(tmp_path: Path, opened: Callable[[], Ledger]) -> None:
    ready(tmp_path, 2)
    ours, theirs = os.openpty()
    running = subprocess.Popen(
        [sys.executable, "-c", ON_ITS_TERMINAL, "run", "mine.yaml"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    try:
        deadline = time.monotonic() + 120.0
        while b"waiting for a person" not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 65536)
        os.close(ours)
        assert running.wait(timeout=60) == 3
    finally:
        running.kill()
        running.wait()
    ledger = opened()
    [campaign] = ledger.campaigns()
    assert campaign.state == "paused"
    assert not is_driven(ledger, campaign.id)
