from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from athanor.memory import heads as module
from athanor.memory.canonical import canonical, parse
from athanor.memory.heads import Head, Heads
from athanor.memory.records import JournalRow
from athanor.memory.signing import AnchorKey


def row(seq: int, chain: str = "site") -> JournalRow:
    return JournalRow(
        position=seq, chain=chain, seq=seq, kind="event", body="{}", previous="0" * 64, hash=f"{seq:064x}", at="now"
    )


@pytest.fixture
def key(tmp_path: Path) -> AnchorKey:
    return AnchorKey.load_or_create(tmp_path)


@pytest.fixture
def heads(tmp_path: Path) -> Heads:
    made = Heads(tmp_path, "ledger-1")
    made.prepare()
    return made


def test_a_head_moves_forward_only(heads: Heads, key: AnchorKey) -> None:
    for seq in (1, 5, 3):
        heads.advance([row(seq)], key)
    found, wrong = heads.read()
    assert (found["site"].seq, wrong) == (5, [])
    assert found["site"].is_signed_by(key.public)


def test_the_last_row_of_each_chain_is_signed(heads: Heads, key: AnchorKey) -> None:
    heads.advance([row(1), row(2), row(3, "campaign:a/b c")], key)
    found, _ = heads.read()
    assert {chain: head.seq for chain, head in found.items()} == {"site": 2, "campaign:a/b c": 3}
    assert all(path.parent == heads.folder for path in heads.folder.rglob("*.json"))


def test_every_field_is_signed(heads: Heads, key: AnchorKey) -> None:
    heads.advance([row(4)], key)
    head = heads.read()[0]["site"]
    for name, value in (("ledger", "x"), ("chain", "x"), ("seq", 3), ("position", 3), ("hash", "x"), ("at", "x")):
        assert not Head(**{**vars(head), name: value}).is_signed_by(key.public)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seq":1}', '{"$float":"nan"}'])
def test_a_file_that_is_no_head_is_named_and_kept(
    heads: Heads, key: AnchorKey, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = heads.folder / "site.json"
    path.write_text(content)
    heads.advance([row(4)], key)
    assert "could not be signed" in caplog.text
    assert path.read_text() == content
    found, wrong = heads.read()
    assert not found and "site.json" in wrong[0]


def test_a_head_in_another_s_place_is_named(heads: Heads, key: AnchorKey) -> None:
    heads.advance([row(4)], key)
    whole = parse((heads.folder / "site.json").read_text())
    (heads.folder / "site.json").write_text(canonical({**whole, "chain": "campaign:c1"}))
    assert "wrong place" in heads.read()[1][0]


def test_a_frozen_holder_of_the_lock_does_not_freeze_others(
    tmp_path: Path, key: AnchorKey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT_S", 0.05)
    folder = tmp_path / "heads" / "ledger-1"
    folder.mkdir(parents=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    heads = Heads(tmp_path, "ledger-1")
    heads.prepare()  # opening is not refused, and does not wait
    heads.advance([row(1)], key)
    assert "could not be signed" in caplog.text and "is it frozen?" in caplog.text
    assert heads.read() == ({}, [])
    os.close(descriptor)
    heads.advance([row(2)], key)
    assert heads.read()[0]["site"].seq == 2


def test_only_the_first_write_waits_long_for_a_frozen_holder(
    heads: Heads, key: AnchorKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    clock = iter(range(1_000))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(next(clock)), sleep=waited.append))
    descriptor = os.open(heads.folder / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    for expected in (module.LOCK_TIMEOUT_S, module.AGAIN_TIMEOUT_S):
        waited.clear()
        heads.advance([row(1)], key)
        assert len(waited) == int(expected)  # the clock goes on by a second each time it is read
    os.close(descriptor)
    heads.advance([row(1)], key)
    assert heads.read()[0]["site"].seq == 1


def test_retired_heads_are_kept_and_no_longer_read(heads: Heads, key: AnchorKey) -> None:
    heads.advance([row(4)], key)
    heads.retire("retired-1")
    assert heads.read() == ({}, [])
    assert (heads.folder / "retired-1" / "site.json").exists()
