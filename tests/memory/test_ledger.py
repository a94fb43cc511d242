from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from athanor.memory import filesystems, journal
from athanor.memory.errors import (
    LedgerBusy,
    LedgerUnreadable,
    NetworkFilesystem,
    NotFound,
    ReadOnlyLedger,
    UnsupportedDatabase,
)
from athanor.memory.ledger import Ledger
from athanor.memory.signing import KeyProblem
from athanor.memory.verify import verify
from tests.accounts import can_be_another
from tests.memory.conftest import Maker

Opening = Callable[..., Ledger]


def test_a_new_ledger_is_clean_and_signed(ledger: Ledger) -> None:
    heads, wrong = ledger.heads.read()
    assert set(heads) == {"site"} and not wrong
    report = verify(ledger)
    assert report.is_clean and not report.notes
    assert report.rows == 1


def test_the_database_is_set_up_to_lose_nothing(ledger: Ledger) -> None:
    with ledger._reading() as connection:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000)):
            assert connection.execute(text(f"PRAGMA {pragma}")).scalar() == value


def test_everything_comes_back_as_it_went_in(ledger: Ledger, make: Maker, opening: Opening) -> None:
    make.full(ledger)
    other = opening(ledger.url)
    assert other.ledger_id == ledger.ledger_id
    assert other.campaign("c1") == ledger.campaign("c1")
    assert other.experiment("c1.1").values == {"t": 11.0}
    assert other.hypotheses("c1")[0].verdict == {"e": 21.5}
    assert other.events("c1")[-1].body == {"text": "größer, 触媒"}
    assert other.events()[-1].body == {"x": float("inf")}
    assert verify(other).is_clean


def test_a_path_and_its_url_are_the_same_ledger(ledger: Ledger, opening: Opening) -> None:
    assert ledger.url == f"sqlite:///{ledger.path}"
    assert opening(ledger.path).ledger_id == opening(str(ledger.path)).ledger_id == ledger.ledger_id


@pytest.mark.parametrize("url", ["postgresql://ada:secret@host/x", "sqlite://", "", "sqlite:///"])
def test_other_databases_are_refused_without_their_password(home: Path, url: str) -> None:
    with pytest.raises(UnsupportedDatabase) as refused:
        Ledger.open(url)
    assert "secret" not in str(refused.value)


def test_a_ledger_that_is_not_there_is_not_made_by_accident(home: Path) -> None:
    with pytest.raises(NotFound):
        Ledger.open(home / "nothing.db")
    assert not (home / "nothing.db").exists()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look at" * 40, b"short", b""])
def test_a_file_that_is_no_ledger_is_left_alone(home: Path, content: bytes) -> None:
    path = home / "other.db"
    path.write_bytes(content)
    with pytest.raises(LedgerUnreadable, match=r"other\.db"):
        Ledger.open(path)
    assert path.read_bytes() == content


def test_no_ledger_is_made_in_somebody_else_s_database(home: Path) -> None:
    with closing(sqlite3.connect(home / "other.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
    for create in (False, True):
        with pytest.raises(LedgerUnreadable):
            Ledger.open(home / "other.db", create=create)
    with closing(sqlite3.connect(home / "other.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_many_makers_make_one_ledger(home: Path, opening: Opening) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: opening(home / "l.db", create=True), range(8)))
    assert len({ledger.ledger_id for ledger in made}) == 1
    assert [row.kind for row in made[0].journal()] == ["ledger"]


def test_threads_share_one_ledger(ledger: Ledger, make: Maker) -> None:
    ledger.add_campaign(make.campaign())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ledger.add_event("c1", "n", {"n": n}), range(80)))
    assert {event.body["n"] for event in ledger.events("c1")} == set(range(80))
    report = verify(ledger)
    assert report.is_clean and not report.notes


def test_what_is_read_together_is_of_one_moment(ledger: Ledger, make: Maker) -> None:
    with ledger.one_moment(), ledger.one_moment():
        before = ledger.changes()
        with ThreadPoolExecutor(1) as other:
            other.submit(ledger.add_event, None, "meanwhile", {}).result()
            assert other.submit(ledger.changes).result() == before + 1, "for this thread alone"
        assert ledger.changes() == before and not ledger.events(None, kinds=["meanwhile"])
        with pytest.raises(NotFound):
            ledger.campaign("nobody")
    assert ledger.changes() == before + 1
    with pytest.raises(RuntimeError), ledger.one_moment():
        raise RuntimeError
    ledger.add_event(None, "after", {})
    assert ledger.changes() == before + 2


def test_the_change_counter_grows_with_writes_and_not_with_renewals(ledger: Ledger, make: Maker) -> None:
    before = ledger.changes()
    ledger.add_campaign(make.campaign())
    after = ledger.changes()
    assert after > before
    lease = ledger.acquire_lease("campaign:c1", "me", 10)
    taken = ledger.changes()
    ledger.renew_lease(lease)
    assert ledger.changes() == taken > after


def test_a_refused_write_leaves_nothing(ledger: Ledger, make: Maker) -> None:
    rows = ledger.journal()
    with pytest.raises(NotFound):
        ledger.add_experiment(make.experiment(campaign="nowhere"))
    assert ledger.journal() == rows
    assert ledger.experiments("nowhere") == []


def test_reading_only_needs_no_key_and_writes_nothing(ledger: Ledger, make: Maker, tmp_path: Path) -> None:
    ledger.add_campaign(make.campaign())
    with Ledger.open(ledger.url, anchor=None, keys=tmp_path / "no-keys") as reader:
        assert reader.campaign("c1").id == "c1"
        with pytest.raises(ReadOnlyLedger):
            reader.add_event(None, "x", {})
        with pytest.raises(ReadOnlyLedger):
            reader.sign_heads()
    assert not (tmp_path / "no-keys").exists()


def test_a_network_file_system_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "_mounts", lambda: [("/", "nfs4")])
    with pytest.raises(NetworkFilesystem, match="nfs4"):
        Ledger.create(home / "l.db")
    assert not (home / "l.db").exists()


def test_a_lock_that_is_never_given_back_is_named(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with ledger._engine.connect() as holder:
        holder.exec_driver_sql("BEGIN IMMEDIATE") if False else holder.exec_driver_sql(
            "INSERT INTO meta VALUES ('a', 'b')"
        )
        with ledger._engine.connect() as other:
            other.exec_driver_sql("PRAGMA busy_timeout=10")
            other.rollback()
        # Every pooled connection waits; give those that come next a short patience too.
        monkeypatch.setattr("athanor.memory.dialects.BUSY_TIMEOUT_S", 0.01)
        with Ledger.open(ledger.url) as waiting, pytest.raises(LedgerBusy, match="athanor list"):
            waiting.add_event(None, "x", {})
        holder.rollback()


def test_rows_after_a_crash_before_the_head_are_unanchored_not_wrong(
    ledger: Ledger, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.add_campaign(make.campaign())
    with monkeypatch.context() as crash:
        crash.setattr(ledger.heads, "advance", lambda rows, key: None)
        ledger.add_event("c1", "x", {})
    report = verify(ledger)
    assert report.is_clean
    assert [(note.kind, note.chain, note.seq) for note in report.notes] == [("unanchored", "campaign:c1", 2)]
    ledger.add_event("c1", "y", {})
    assert not verify(ledger).notes


def test_a_killed_process_between_commit_and_head_leaves_unanchored_rows(ledger: Ledger) -> None:
    code = (
        "import os, signal, sys\n"
        "from athanor.memory.ledger import Ledger\n"
        "ledger = Ledger.open(sys.argv[1])\n"
        "ledger.heads.advance = lambda rows, key: os.kill(os.getpid(), signal.SIGKILL)\n"
        "ledger.add_event(None, 'last words', {})\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, ledger.url], check=False)
    assert ended.returncode == -9
    assert [event.kind for event in ledger.events()] == ["last words"]
    report = verify(ledger)
    assert report.is_clean
    assert [note.kind for note in report.notes] == ["unanchored"]


def test_a_head_that_cannot_be_signed_does_not_undo_the_write(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    (ledger.heads.folder / "site.json").write_text("rubbish")
    event = ledger.add_event(None, "x", {})
    assert event in ledger.events()
    assert "could not be signed" in caplog.text
    assert [problem.kind for problem in verify(ledger).problems] == ["head"]


@pytest.mark.skipif(os.getuid() == 0 and not can_be_another(), reason="no other account to be: all is writable to root")
def test_a_folder_of_keys_that_cannot_be_written_is_said_at_opening(ledger: Ledger) -> None:
    """Run as another user where we may, since nothing is read-only to root."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with Ledger.create(place / "l.db", keys=place / "keys") as made:
            folders = [place / "keys", place / "keys" / "heads", made.heads.folder]
        place.chmod(0o777)
        for path in place.rglob("*"):
            path.chmod(0o777)
        for path in folders:
            path.chmod(0o555)
        code = (
            "import os, sys\nfrom pathlib import Path\nfrom athanor.memory.ledger import Ledger\n"
            "Ledger.open(sys.argv[1], anchor=None, keys=Path(sys.argv[2])).close()\n"
            "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "from athanor.memory.signing import KeyProblem\n"
            "try: Ledger.open(sys.argv[1], keys=Path(sys.argv[2]))\n"
            "except KeyProblem as error: print(error)\n"
        )
        shown = subprocess.run(
            [sys.executable, "-c", code, str(place / "l.db"), str(place / "keys")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "cannot be written" in shown.stdout and "ATHANOR_KEYS" in shown.stdout
        for path in folders:
            path.chmod(0o755)


def test_keys_that_are_no_folder_are_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyProblem, match="file"):
        Ledger.create(home / "l.db", keys=tmp_path / "file")


def test_the_journal_reads_by_chain_and_position(ledger: Ledger, make: Maker) -> None:
    make.full(ledger)
    everything = ledger.journal()
    assert [row.position for row in everything] == list(range(1, len(everything) + 1))
    own = ledger.journal("campaign:c1")
    assert [row.seq for row in own] == list(range(1, len(own) + 1))
    assert ledger.journal(after=everything[-2].position) == everything[-1:]
    for row in everything:
        assert row.hash == journal.row_hash(row.position, row.chain, row.seq, row.kind, row.body, row.previous, row.at)


def test_opening_imports_no_alembic() -> None:
    code = "import sys, athanor.memory.ledger; print('alembic' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert shown.stdout.strip() == "False"
