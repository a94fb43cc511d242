"""The write switch: off survives everything, on is only what a person said and the disk has kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from athanor.instruments import write_switch
from athanor.instruments.write_switch import SwitchError, WriteGuard, WriteSwitch


@pytest.fixture
def place(tmp_path: Path) -> SimpleNamespace:
    (tmp_path / "config.json").write_text('{"limits": 1}')
    return SimpleNamespace(directory=tmp_path)


def test_it_needs_the_standard_library_only() -> None:
    heavy = ("pydantic", "bluesky", "numpy")
    code = f"import sys, athanor.instruments.write_switch; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_off_and_on_are_seen_by_whoever_looks(place: SimpleNamespace) -> None:
    switch = WriteSwitch(place)
    assert switch.create().on
    assert switch.off("leak", "ada").on is False
    other = WriteSwitch(place)
    assert (other.read().on, other.read().reason, other.read().by) == (False, "leak", "ada")
    assert other.create().on is False, "starting a worker turns nothing on"
    assert other.on("mended", "ada").on
    assert switch.read().reason == "mended"
    for turn in (switch.off, switch.on):
        with pytest.raises(ValueError, match="reason"):
            turn("  ", "ada")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\xff\xfe", b"[" * 10**5, b'{"switch": {"on": true}, "sha256": "0"}', b'{"switch": null}', b"true"],
    ids=range(7),
)
def test_what_cannot_be_read_is_off(place: SimpleNamespace, content: bytes) -> None:
    switch = WriteSwitch(place)
    switch.create()
    switch.path.write_bytes(content)
    assert not switch.read().on
    assert "corrupt" in (switch.read().reason or "")


def test_a_bit_that_flips_is_no_permission(place: SimpleNamespace) -> None:
    switch = WriteSwitch(place)
    switch.off("leak", "ada")
    switch.path.write_text(switch.path.read_text().replace("false", "true"))
    assert not switch.read().on


def test_a_switch_that_was_removed_is_off_and_one_that_never_was_is_on(place: SimpleNamespace) -> None:
    switch = WriteSwitch(place)
    assert switch.read().on
    switch.create()
    switch.path.unlink()
    assert not switch.read().on
    assert not switch.create().on
    switch.path.mkdir()
    assert not switch.read().on


def test_a_full_disk_keeps_nobody_from_turning_it_off(place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = WriteSwitch(place)
    switch.create()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(write_switch.os, "write", full)
        state = switch.off("leak", "ada")
        assert (state.on, state.saved) == (False, False)
        with pytest.raises(SwitchError, match="free or repair"):
            switch.on("mended", "ada")
    assert not switch.read().on
    assert list(place.directory.glob("*.new")) == []


def test_the_guard_sees_the_switch_and_the_configuration(place: SimpleNamespace) -> None:
    guard = WriteGuard(place)
    config = place.directory / "config.json"
    assert guard.refusal() is None
    WriteSwitch(place).off("leak", "ada")
    assert guard.refusal() == ("writes.off", "writes were turned off by ada: leak")
    WriteSwitch(place).on("mended", "ada")
    before = config.read_text()
    config.write_text(json.dumps({"limits": 2}))
    assert (guard.refusal() or ("",))[0] == "config.changed"
    config.write_text(before)
    assert guard.refusal() is None, "the same words are the same configuration"
    config.unlink()
    assert (guard.refusal() or ("",))[0] == "config.changed"
    config.mkdir()
    assert (guard.refusal() or ("",))[0] == "config.changed"


def test_a_guard_without_a_configuration_refuses(tmp_path: Path) -> None:
    guard = WriteGuard(SimpleNamespace(directory=tmp_path))
    assert (guard.refusal() or ("",))[0] == "config.changed"
