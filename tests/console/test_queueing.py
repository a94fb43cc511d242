"""The commands about an instrument whose experiments go through a queue: what they write, and what they refuse."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from athanor.console.cli import queueing
from athanor.console.cli.app import run
from athanor.instruments.config import Config
from athanor.instruments.laboratory import load
from athanor.instruments.queueserver import settings
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace

QUEUE = ("instruments", "queueserver")


@pytest.fixture
def where(home: Path) -> tuple[str, str]:
    ledger = Ledger.create(home / "ledger.db")
    ledger.close()
    return ("--ledger", ledger.url)


@pytest.fixture
def place(home: Path) -> InstrumentPlace:
    return InstrumentPlace.of("snar-flow", home)


def test_set_up_and_removed_again(
    where: tuple[str, str], place: InstrumentPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*QUEUE, "setup", "snar-flow", "--redis", "127.0.0.1:1", *where, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"instrument": "snar-flow", "folder": str(settings.folder_of(place)), "redis": "127.0.0.1:1"}
    written = yaml.safe_load((settings.folder_of(place) / "manager.yml").read_text())
    assert written["network"]["redis_addr"] == "127.0.0.1:1"
    assert settings.has_queue(place)

    assert run([*QUEUE, "setup", "snar-flow", "--redis", "127.0.0.1:2", *where]) == 0
    said = capsys.readouterr().err
    assert "go through a queue" in said and "athanor instruments queueserver run snar-flow" in said

    assert run([*QUEUE, "remove", "snar-flow", *where]) == 0
    assert "not go through a queue any more" in capsys.readouterr().err
    assert not settings.has_queue(place)


@pytest.mark.parametrize("verb", ["run", "remove"])
def test_without_a_queue_it_says_how_to_set_one_up(
    where: tuple[str, str], place: InstrumentPlace, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    place.directory.mkdir(parents=True)
    Config(load("snar-flow").profile(), {}).write(place)
    assert run([*QUEUE, verb, "snar-flow", *where]) == 1
    said = capsys.readouterr().err
    assert "snar-flow has no queue" in said and "queueserver setup snar-flow" in said


def test_a_profile_with_faults_gets_no_queue(
    home: Path, where: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    profile = home / "bad.yml"
    profile.write_text("name: bad\naxes: {}\n")
    assert run([*QUEUE, "setup", str(profile), *where]) == 1
    assert "has faults" in capsys.readouterr().err


def test_run_becomes_the_manager_with_what_was_written(
    where: tuple[str, str], place: InstrumentPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run([*QUEUE, "setup", "snar-flow", "--redis", "127.0.0.1:1", *where]) == 0
    monkeypatch.setenv("ATHANOR_MODEL_API_KEY", "secret")
    became: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: became.append(arguments))
    assert run([*QUEUE, "run", "snar-flow", *where]) == 0
    own = place.sockets / "queue.pid"
    said = own.read_text()
    own.unlink()  # whoever cleans up would end this very process
    [(program, command, environment)] = became
    assert program == sys.executable and command[-1] == str(settings.folder_of(place) / "manager.yml")
    assert environment["OPHYD_CONTROL_LAYER"] == "dummy" and "ATHANOR_MODEL_API_KEY" not in environment
    assert said == f"{os.getpid()}\n"


def test_without_the_extra_it_says_what_to_install(
    where: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queueing, "find_spec", lambda _: None)
    assert run([*QUEUE, "run", "snar-flow", *where]) == 1
    assert "athanor-lab[queueserver]" in capsys.readouterr().err
