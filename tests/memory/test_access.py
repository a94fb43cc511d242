"""Who may read and write a ledger's file, whatever the umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from athanor.memory import access, maintenance
from athanor.memory.errors import LedgerUnreadable
from athanor.memory.ledger import Ledger
from athanor.memory.verify import verify
from tests.memory.conftest import Maker


@pytest.fixture(params=[0o000, 0o022, 0o007])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(path: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob(f"{path.name}*")}


def test_ledger_log_and_index_are_their_owner_s_alone(home: Path, make: Maker, umask: int) -> None:
    path = home / "l.db"
    with Ledger.create(path) as ledger:
        ledger.add_campaign(make.campaign())
        assert modes(path) == {"l.db": 0o600, "l.db-wal": 0o600, "l.db-shm": 0o600}
        assert not verify(ledger).notes
    assert modes(path) == {"l.db": 0o600}


def test_in_a_folder_that_hands_its_group_on_the_umask_decides_for_the_group(
    home: Path, make: Maker, umask: int
) -> None:
    (home / "ours").mkdir()
    (home / "ours").chmod(0o2770)
    path = home / "ours" / "l.db"
    with Ledger.create(path) as ledger:
        ledger.add_campaign(make.campaign())
        expected = 0o660 & ~umask
        assert modes(path) == {"l.db": expected, "l.db-wal": expected, "l.db-shm": expected}
        assert not verify(ledger).notes


def test_copies_are_as_private(home: Path, make: Maker, umask: int) -> None:
    with Ledger.create(home / "l.db") as ledger:
        ledger.add_campaign(make.campaign())
    maintenance.backup(home / "l.db", home / "copy")
    assert modes(home / "copy")["copy"] == 0o600
    maintenance.restore(home / "copy", home / "l.db", "a test", "tester")
    assert {mode for name, mode in modes(home / "l.db").items() if "heads" not in name} == {0o600}


@pytest.mark.parametrize(
    ("mode", "words"), [(0o666, "every account"), (0o602, "every account"), (0o660, "group"), (0o644, None)]
)
def test_a_file_that_is_there_is_left_alone_and_too_much_access_is_noted(
    home: Path, make: Maker, mode: int, words: str | None
) -> None:
    path = home / "l.db"
    Ledger.create(path).close()
    path.chmod(mode)
    with Ledger.create(path) as ledger:
        ledger.add_campaign(make.campaign())
        report = verify(ledger)
    assert modes(path)["l.db"] == mode
    assert report.is_clean
    assert {note.kind for note in report.notes} == ({"writable"} if words else set())
    assert all(words is not None and words in note.detail and "chmod" in note.detail for note in report.notes)


def test_a_log_beside_it_counts_too(home: Path) -> None:
    path = home / "l.db"
    access.make_private(path)
    assert access.too_open(path) == []
    (home / "l.db-wal").touch()
    (home / "l.db-wal").chmod(0o606)
    [line] = access.too_open(path)
    assert "l.db-wal" in line


def test_a_place_that_cannot_be_written_is_named(home: Path) -> None:
    (home / "file").touch()
    with pytest.raises(LedgerUnreadable, match="file"):
        maintenance.dialects.prepare_file(home / "file" / "l.db")
    Ledger.create(home / "l.db").close()
    with pytest.raises(LedgerUnreadable, match="file"):
        maintenance.dialects.copy(home / "l.db", home / "file" / "copy")
