"""The witness log."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from athanor.sandbox.witness import Witness, read_witness


def test_lines_carry_both_clocks_and_are_read_back_in_order(tmp_path: Path) -> None:
    log = Witness(tmp_path / "log.jsonl")
    for number in range(5):
        log("set", axis="x", value=number)
    lines = read_witness(tmp_path / "log.jsonl")  # written as they come, not when closed
    assert [line["value"] for line in lines] == [0, 1, 2, 3, 4]
    assert all(line["kind"] == "set" and line["t"] > 1e9 for line in lines)
    assert [line["mono"] for line in lines] == sorted(line["mono"] for line in lines)
    log.close()


def test_what_is_not_finite_is_logged_as_text(tmp_path: Path) -> None:
    log = Witness(tmp_path / "log.jsonl")
    log("refusal", value=math.nan)
    log.close()
    assert read_witness(tmp_path / "log.jsonl")[0]["value"] == "nan"


def test_an_unfinished_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"kind": "set"}\n{"kind": "po', encoding="utf-8")
    assert read_witness(path) == [{"kind": "set"}]
    assert read_witness(tmp_path / "none.jsonl") == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_neither_stops_it_nor_loses_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.symlink_to("/dev/full")
    log = Witness(path)
    for number in range(3):
        log("set", value=number)
    path.unlink()
    log("set", value=3)
    log.close()
    assert [line["value"] for line in read_witness(path)] == [0, 1, 2, 3]
