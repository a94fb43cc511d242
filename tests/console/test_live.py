"""The live view: what it shows, and that nothing in a record can break it."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from athanor.agents.campaign import open_campaign, propose_experiment
from athanor.agents.spec import load
from athanor.console import overview
from athanor.console.cli import context, drive, live, output
from athanor.console.cli.app import run
from athanor.governance.orders import Orders
from athanor.instruments import laboratory
from athanor.instruments.latch import Latch
from athanor.instruments.takeover import TakeOver
from athanor.memory.ledger import Ledger
from athanor.memory.places import keys_dir
from athanor.memory.signing import GateKey

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


@pytest.mark.parametrize("how", ["stopped", "taken over", "nobody can tell"])
def test_every_view_says_what_holds_the_instrument_and_how_it_ends(
    ledger: Ledger, campaign: str, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    place = context.instrument_place(ledger.campaign(campaign), ledger)
    place.directory.mkdir(parents=True)
    key = GateKey.load_or_create(keys_dir())
    take_over = TakeOver(place, key.public)
    if how == "stopped":
        latch = Latch(place)
        latch.create()
        latch.engage("smoke", "ada")
        text, way_on, word = "Stop All is latched: smoke", "reset-stop --instrument snar-flow", "Stop All"
    else:
        orders = Orders(ledger, key, "ada")
        take_over.take("ada", lambda: orders.take_over("snar-flow", timedelta(hours=1), "new tubing"))
        text, way_on, word = "taken over: ada has it in hand", "hand-back snar-flow", "taken over"
    if how == "nobody can tell":
        take_over.path.write_text("{")
        text, way_on, word = "nobody can tell who has snar-flow in hand", "--emergency-release", "taken over?"
    where = ("--ledger", ledger.url)
    assert run(["show", campaign, *where]) == 0
    shown = capsys.readouterr().out
    assert text in shown and way_on in shown
    assert run(["list", *where]) == 0
    assert word in capsys.readouterr().out
    assert run(["list", "--json", *where]) == 0
    assert text in json.loads(capsys.readouterr().out)["campaigns"][0]["halted"]
    with live.Follower(ledger, campaign) as follower:
        follower.update()
        follower.update(force=True)
    said = capsys.readouterr().err
    assert said.count(text) == 1 and way_on in said
    console = output.console()
    console.width = 200
    with console.capture() as captured:
        view = overview.look(ledger, ledger.campaign(campaign))
        console.print(live.panel(view, halt=context.halt(view.campaign, ledger)))
    assert text in captured.get() and way_on in captured.get()

    ledger.set_campaign_state(campaign, "cancelled")
    assert context.halt(ledger.campaign(campaign), ledger) is None


def test_what_a_grant_does_not_approve_waits_for_a_person(ledger: Ledger, campaign: str) -> None:
    """A point outside the ranges of a grant, or after its end, is put up and stays so."""
    made = propose_experiment(ledger, campaign, POINT, by="someone")
    view = overview.look(ledger, ledger.campaign(campaign))
    [item] = view.waiting
    granted = replace(
        view,
        campaign=view.campaign.model_copy(update={"autonomy": "auto_within_limits"}),
        waiting=[item.model_copy(update={"source": "planner"})],
    )
    assert live.wants_person(granted, made.created_at + live.GRACE / 2) == []
    assert [one.id for one in live.wants_person(granted, made.created_at + 2 * live.GRACE)] == [made.id]


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
