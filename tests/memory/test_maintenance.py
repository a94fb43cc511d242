from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from athanor.memory import maintenance
from athanor.memory.ledger import Ledger
from athanor.memory.verify import verify
from tests.memory.conftest import Maker


def test_a_backup_is_one_file_that_verifies(ledger: Ledger, make: Maker, tmp_path: Path) -> None:
    make.full(ledger)
    made = maintenance.backup(ledger.url, tmp_path / "b.db")
    assert made.report.is_clean and made.report.rows == len(ledger.journal())
    assert sorted(path.name for path in tmp_path.glob("b.db*")) == ["b.db", "b.db.heads.json"]
    ledger.add_event("c1", "later", {})
    assert maintenance.verify_backup(made.path).is_clean
    with pytest.raises(maintenance.BackupProblem, match="another name"):
        maintenance.backup(ledger.url, tmp_path / "b.db")


def test_a_damaged_ledger_or_backup_is_not_taken(ledger: Ledger, make: Maker, tmp_path: Path) -> None:
    make.full(ledger)
    made = maintenance.backup(ledger.url, tmp_path / "b.db")
    with closing(sqlite3.connect(made.path)) as connection:
        connection.execute("DELETE FROM observation")
        connection.commit()
    assert not maintenance.verify_backup(made.path).is_clean
    with pytest.raises(maintenance.BackupProblem, match="not clean"):
        maintenance.restore(made.path, ledger.url, "test", "Ada")
    with closing(sqlite3.connect(ledger.path)) as connection:
        connection.execute("DELETE FROM journal WHERE position = 5")
        connection.commit()
    with pytest.raises(maintenance.BackupProblem, match="missing"):
        maintenance.backup(ledger.url, tmp_path / "c.db")
    assert not list(tmp_path.glob("c.db*"))
    made.heads.unlink()
    with pytest.raises(maintenance.BackupProblem, match="heads"):
        maintenance.verify_backup(made.path)


def test_a_file_put_back_by_hand_is_a_cut_and_a_restored_one_says_what_was_lost(
    ledger: Ledger, make: Maker, tmp_path: Path
) -> None:
    make.full(ledger)
    made = maintenance.backup(ledger.url, tmp_path / "b.db")
    before = len(ledger.journal("campaign:c1"))
    for number in range(3):
        ledger.add_event("c1", "lost", {"n": number})
    with Ledger.open(made.path, anchor=None) as by_hand:
        assert [problem.kind for problem in verify(by_hand).problems] == ["cut"]

    restored = maintenance.restore(made.path, ledger.url, "disk failed", "Ada")
    assert restored.lost == {"campaign:c1": (before + 1, before + 3)}
    report = verify(ledger)
    assert report.is_clean and {note.kind for note in report.notes} == {"no_gate"}
    event = ledger.events(kinds=["restored"])[0]
    assert event.body == {"reason": "disk failed", "by": "Ada", "lost": {"campaign:c1": [before + 1, before + 3]}}
    assert restored.kept is not None
    with Ledger.open(restored.kept, anchor=None) as kept:
        assert len(kept.events(kinds=["lost"])) == 3
    ledger.add_event("c1", "goes on", {})
    assert verify(ledger).is_clean


def test_a_lost_ledger_is_restored(ledger: Ledger, make: Maker, tmp_path: Path) -> None:
    make.full(ledger)
    made = maintenance.backup(ledger.url, tmp_path / "b.db")
    campaign = ledger.campaign("c1")
    ledger.close()
    for path in ledger.path.parent.glob("ledger.db*"):
        path.unlink()
    restored = maintenance.restore(made.path, ledger.url, "disk failed", "Ada")
    assert restored.kept is None and restored.lost == {}
    with Ledger.open(ledger.url) as again:
        assert again.campaign("c1") == campaign
        assert verify(again).is_clean
