"""The live view: what it shows, and that nothing in a record can break it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from athanor.agents.campaign import open_campaign, propose_experiment
from athanor.agents.spec import load
from athanor.console import overview
from athanor.console.cli import drive, live, output
from athanor.instruments import laboratory
from athanor.memory.ledger import Ledger

POINT = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.3, "temperature": 80.0}


@pytest.fixture
def ledger(home: Path) -> Ledger:
    return Ledger.create(home / "ledger.db")


@pytest.fixture
def campaign(ledger: Ledger) -> str:
    spec = load(laboratory.load("snar-flow").campaign_file())  # type: ignore[attr-defined]
    return open_campaign(spec.model_copy(update={"name": "A [red]bold[/] name [/]"}), ledger)


def test_the_panel_shows_a_new_campaign(ledger: Ledger, campaign: str) -> None:
    console = output.console()
    console.width = 120
    with console.capture() as shown:
        console.print(live.panel(overview.look(ledger, ledger.campaign(campaign))))
    text = shown.get()
    for words in (campaign, "A [red]bold[/] name [/]", "0/40", "nothing measured yet", "simulated", "no safety system"):
        assert words in text


def test_without_a_terminal_news_are_said_once(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with live.Follower(ledger, campaign) as follower:
        experiment = propose_experiment(ledger, campaign, POINT, by="someone")
        follower.update()
        follower.update(force=True)
        follower.note("Pausing.")
    said = capsys.readouterr().err
    assert said.count(f"{experiment.id} is waiting") == 1
    assert f"approve {experiment.id}@{experiment.revision[:8]}" in said
    assert "Pausing." in said


def test_ctrl_c_asks_for_a_pause_and_a_second_press_says_so() -> None:
    before = signal.getsignal(signal.SIGINT)
    with drive.interrupts() as interrupt:
        assert not interrupt.is_wanted
        signal.raise_signal(signal.SIGINT)
        assert interrupt.is_wanted
        assert "Pausing" in (interrupt.message or "")
        signal.raise_signal(signal.SIGINT)
        assert "already" in (interrupt.message or "")
        assert "stop-all" in (interrupt.message or "")
    assert signal.getsignal(signal.SIGINT) is before
