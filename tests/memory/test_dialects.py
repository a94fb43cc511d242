from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from athanor.memory import dialects
from athanor.memory.errors import LedgerBusy, LedgerUnreadable, UnsupportedDatabase


def test_a_url_names_a_file(tmp_path: Path) -> None:
    assert dialects.path_of("sqlite:////a/b.db") == Path("/a/b.db")
    assert dialects.path_of("sqlite:///b.db") == Path("b.db").absolute()
    assert dialects.path_of(tmp_path / "l.db") == tmp_path / "l.db"
    assert dialects.path_of(dialects.url_of(tmp_path / "l.db")) == tmp_path / "l.db"
    for url in ("mysql://x", "sqlite:", ""):
        with pytest.raises(UnsupportedDatabase):
            dialects.path_of(url)


class Contended:
    """A connection whose lock is refused `times` times, while others commit (or do not) in between."""

    def __init__(self, times: int, *, others_commit: bool) -> None:
        self.times = times
        self.others_commit = others_commit
        self.version = 1
        self.begun = False

    def execute(self, statement: str) -> Any:
        if statement.startswith("PRAGMA"):
            return self
        if self.times:
            self.times -= 1
            self.version += self.others_commit
            raise sqlite3.OperationalError("database is locked")
        self.begun = True
        return self

    def fetchone(self) -> tuple[int]:
        return (self.version,)


def test_being_passed_over_is_no_error_while_others_get_on() -> None:
    connection = Contended(7, others_commit=True)
    dialects._take_write_lock(connection, Path("l.db"))  # type: ignore[arg-type]
    assert connection.begun


def test_a_holder_that_does_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LedgerBusy, match=r"l\.db"):
        dialects._take_write_lock(Contended(1, others_commit=False), Path("l.db"))  # type: ignore[arg-type]
    monkeypatch.setattr(dialects, "STARVED_S", 0.0)
    with pytest.raises(LedgerBusy):
        dialects._take_write_lock(Contended(10**6, others_commit=True), Path("l.db"))  # type: ignore[arg-type]


def test_the_version_changes_when_another_connection_commits(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as one, closing(sqlite3.connect(tmp_path / "x.db")) as other:
        one.execute("CREATE TABLE t (x)")
        one.commit()
        before = dialects._version(one)
        one.execute("INSERT INTO t VALUES (1)")
        one.commit()
        assert dialects._version(one) == before
        other.execute("INSERT INTO t VALUES (2)")
        other.commit()
        assert dialects._version(one) != before


def test_a_copy_replaces_what_was_there_and_is_one_file(tmp_path: Path) -> None:
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    for path, value in ((source, "new"), (target, "old")):
        dialects.prepare_file(path)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE t (x)")
            connection.execute("INSERT INTO t VALUES (?)", (value,))
            connection.commit()
    dialects.copy(source, target)
    dialects.leave_log(target)
    assert sorted(path.name for path in tmp_path.glob("b.db*")) == ["b.db"]
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("SELECT x FROM t").fetchall() == [("new",)]
    with pytest.raises(LedgerUnreadable):
        dialects.copy(tmp_path / "nothing.db", target)
