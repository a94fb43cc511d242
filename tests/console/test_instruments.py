"""The write switch from the command line: which instrument is meant, and what is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from athanor.console.cli.app import run
from athanor.instruments.write_switch import WriteState, WriteSwitch
from athanor.memory.places import InstrumentPlace

OFF = ["instruments", "writes", "off"]


def instrument(name: str, base: Path) -> WriteSwitch:
    place = InstrumentPlace.of(name, base)
    place.directory.mkdir(parents=True)
    switch = WriteSwitch(place)
    switch.create()
    return switch


def test_off_and_on(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    switch = instrument("bench", home)
    assert run([*OFF, "bench", "--reason", "new tubing", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"instrument": "bench", "on": False, "reason": "new tubing", "saved": True}
    assert "stop-all" in said.err, "it says what it does not do"
    assert (switch.read().on, switch.read().reason) == (False, "new tubing")
    assert run(["instruments", "writes", "on", "bench", "--reason", "fitted"]) == 0
    assert switch.read().on


def test_without_a_reason_or_an_instrument_nothing_is_turned(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    switch = instrument("bench", home)
    assert run([*OFF, "bench"]) == 2
    assert run([*OFF, "bench", "--reason", "  "]) == 2
    assert run([*OFF, "bank", "--reason", "leak"]) == 1
    assert "bench" in capsys.readouterr().err
    assert run(["instruments", "writes", "maybe", "bench", "--reason", "leak"]) == 2
    assert switch.read().on


def test_of_two_with_one_name_the_ledger_says_which(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, other = instrument("bench", home), instrument("bench", tmp_path / "other")
    ledger = ["--ledger", str(tmp_path / "other" / "ledger.db")]
    assert run([*OFF, "bench", "--reason", "leak", *ledger]) == 0
    assert (ours.read().on, other.read().on) == (True, False)


def test_a_disk_that_takes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = instrument("bench", home)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(WriteSwitch, "_write", full)
    assert run([*OFF, "bench", "--reason", "leak"]) == 0
    assert not switch.read().on
    assert run(["instruments", "writes", "on", "bench", "--reason", "fitted"]) == 1
    assert not switch.read().on
    monkeypatch.setattr("os.truncate", full)
    monkeypatch.setattr(WriteSwitch, "read", lambda _: WriteState(True))
    assert run([*OFF, "bench", "--reason", "leak"]) == 1, "that it is still on is not passed over in silence"
