from __future__ import annotations

import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.memory.signing import AnchorKey, GateKey, KeyProblem, load_public, verify


def test_a_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    key = GateKey.load_or_create(tmp_path)
    assert stat.S_IMODE((tmp_path / "gate.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "gate.pub").stat().st_mode) == 0o644
    again = GateKey.load_or_create(tmp_path)
    assert again.sign("x") == key.sign("x")
    assert verify(load_public(tmp_path / "gate.pub"), "x", key.sign("x"))


def test_makers_at_the_same_time_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        signatures = set(pool.map(lambda _: AnchorKey.load_or_create(tmp_path).sign("x"), range(16)))
    assert len(signatures) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anchor.key", "anchor.pub"]


def test_gate_and_anchor_do_not_sign_for_each_other(tmp_path: Path) -> None:
    gate, anchor = GateKey.load_or_create(tmp_path), AnchorKey.load_or_create(tmp_path)
    assert not verify(gate.public, "x", anchor.sign("x"))


@given(text=st.text(st.characters(exclude_categories=["Cs"])), other=st.text(st.characters(exclude_categories=["Cs"])))
def test_a_signature_is_over_one_text(text: str, other: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    key = GateKey.load_or_create(tmp_path_factory.getbasetemp() / "one-key")
    assert verify(key.public, text, key.sign(text))
    assert verify(key.public, other, key.sign(text)) == (text == other)


@pytest.mark.parametrize("signature", ["", "AAAA", "not base64!", "é", "A" * 88])
def test_what_is_no_signature_verifies_nothing(tmp_path: Path, signature: str) -> None:
    assert not verify(GateKey.load_or_create(tmp_path).public, "x", signature)


def test_a_gate_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    GateKey.load_or_create(tmp_path)
    (tmp_path / "gate.key").chmod(0o644)
    with pytest.raises(KeyProblem, match="chmod 600"):
        GateKey.load_or_create(tmp_path)


def test_the_public_half_alone_is_not_replaced(tmp_path: Path) -> None:
    GateKey.load_or_create(tmp_path)
    (tmp_path / "gate.key").unlink()
    before = (tmp_path / "gate.pub").read_bytes()
    with pytest.raises(KeyProblem, match="the account that holds the private key"):
        GateKey.load_or_create(tmp_path)
    assert (tmp_path / "gate.pub").read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gate.key").write_bytes(content)
    (tmp_path / "gate.key").chmod(0o600)
    with pytest.raises(KeyProblem, match=r"gate\.key"):
        GateKey.load(tmp_path)
    with pytest.raises(KeyProblem, match=r"gate\.pub"):
        load_public(tmp_path / "gate.pub")


@pytest.mark.skipif(os.getuid() == 0 and sys.platform == "linux", reason="root writes to read-only folders")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(KeyProblem, match="ATHANOR_KEYS"):
        AnchorKey.load_or_create(tmp_path)
