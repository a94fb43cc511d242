"""What differs between databases, in one place. Today that is SQLite's; nothing outside this module knows it.

For PostgreSQL `begin` would take an advisory lock where SQLite takes its write lock, and full-text search would use its
own index.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Engine, case, create_engine, event, func, null, text
from sqlalchemy.exc import DatabaseError, OperationalError

from athanor.memory import access
from athanor.memory.errors import LedgerBusy, LedgerFull, LedgerUnreadable, NotFound, UnsupportedDatabase

BUSY_TIMEOUT_S = 5.0
STARVED_S = 60.0
_IMMEDIATE = "athanor_immediate"


def path_of(url: str | Path) -> Path:
    """Return the file of a ledger's URL, `sqlite:///relative.db`, `sqlite:////absolute.db` or a plain path.

    Raises:
        UnsupportedDatabase: another kind of URL.
    """
    given = str(url)
    if given.startswith("sqlite:///") and len(given) > len("sqlite:///"):
        given = given.removeprefix("sqlite:///")
    elif "://" in given or given.startswith("sqlite:") or not given:
        raise UnsupportedDatabase(
            f"{given.split('@')[-1]!r}: this release keeps its ledger in SQLite; give a path or sqlite:///PATH"
        )
    return Path(given).expanduser().absolute()


def url_of(path: Path) -> str:
    """Return the URL of a ledger's file."""
    return f"sqlite:///{path}"


def make_engine(path: Path, *, create: bool = False, read_only: bool = False) -> Engine:
    """Return an engine on the ledger's file. Its connections stay open and are shared between threads, one at a time.

    Raises:
        NotFound: there is no such file and `create` is not set.
    """
    if not create and not path.is_file():
        raise NotFound("ledger at", str(path))
    engine = create_engine(
        url_of(path),
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
        pool_size=8,
        max_overflow=-1,
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: Any) -> None:
        # Transactions begin where we say so, and as we say, not where the driver guesses.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get(_IMMEDIATE):
            _take_write_lock(cast(sqlite3.Connection, connection.connection.dbapi_connection), path)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _take_write_lock(connection: sqlite3.Connection, path: Path) -> None:
    """Begin a write transaction. SQLite's lock is not fair: as long as others get on, being passed over is no error."""
    deadline = time.monotonic() + STARVED_S
    seen = _version(connection)
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise LedgerUnreadable(f"{path}: {error}") from error
            before, seen = seen, _version(connection)
            if seen == before or time.monotonic() > deadline:
                raise _busy(path) from error


def _version(connection: sqlite3.Connection) -> int:
    """Return a number that changes when another connection commits."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _busy(path: Path | str | None) -> LedgerBusy:
    return LedgerBusy(
        f"another process has held {path} for more than {BUSY_TIMEOUT_S:.0f} s; "
        "look for a campaign that hangs (athanor list), then try again"
    )


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give a connection inside a write transaction that already holds the write lock; commit at the end.

    Raises:
        LedgerBusy: the lock was not to be had.
        LedgerUnreadable: the file is damaged or no database.
    """
    with translated(engine), engine.connect() as plain:
        connection = plain.execution_options(**{_IMMEDIATE: True})
        with connection.begin():
            yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection inside a read transaction: everything read in it is of one moment."""
    with translated(engine), engine.connect() as connection:
        yield connection


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turn the driver's complaints about locks and damaged files into ours."""
    try:
        yield
    except OperationalError as error:
        if "locked" in str(error.orig) or "busy" in str(error.orig):
            raise _busy(engine.url.database) from error
        if "full" in str(error.orig):
            raise LedgerFull(f"{engine.url.database}: {error.orig}; free some space") from error
        raise LedgerUnreadable(f"{engine.url.database}: {error.orig}") from error
    except DatabaseError as error:
        if isinstance(error.orig, sqlite3.IntegrityError):
            raise
        raise LedgerUnreadable(f"{engine.url.database}: {error.orig}") from error


@contextmanager
def guarded() -> Iterator[None]:
    """Turn a row that cannot be read into LedgerUnreadable."""
    try:
        yield
    except DatabaseError as error:
        raise LedgerUnreadable(str(error.orig)) from error


def damage(connection: Connection) -> list[str]:
    """Return what the database itself finds wrong with its file; empty if nothing."""
    rows = [str(row[0]) for row in connection.execute(text("PRAGMA integrity_check(20)"))]
    return [] if rows == ["ok"] else rows


def copy(source: Path, target: Path) -> None:
    """Copy a database that is in use, as of one moment. What `target` held is replaced, even under open connections.

    A new file is made for its owner alone.

    Raises:
        LedgerUnreadable, LedgerBusy: one of them cannot be read or written.
    """
    try:
        origin = sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
        try:
            access.make_private(target)
            copied = sqlite3.connect(target, timeout=BUSY_TIMEOUT_S)
            try:
                origin.backup(copied)
            finally:
                copied.close()
        finally:
            origin.close()
    except (sqlite3.DatabaseError, OSError) as error:
        if "locked" in str(error):
            raise LedgerBusy(f"{target} is locked by another process; end its campaigns first") from error
        raise LedgerUnreadable(f"cannot copy {source} to {target}: {error}") from error


def leave_log(path: Path) -> None:
    """Make a copy one file, without a log beside it. The counterpart of `prepare_file`."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("PRAGMA journal_mode=DELETE")
    finally:
        connection.close()


def prepare_file(path: Path) -> None:
    """Make the file ready for many processes, write-ahead log on; it stays so.

    Where there is none it is made, for its owner alone.

    Raises:
        LedgerBusy, LedgerUnreadable: it cannot be had, or is no database.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    try:
        access.make_private(path)
    except OSError as error:
        raise LedgerUnreadable(f"{path} cannot be made: {error.strerror or error}") from error
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
    try:
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                # Two processes that change the mode at once do not wait for each other: SQLite says "locked" at once.
                if "locked" not in str(error):
                    raise LedgerUnreadable(f"{path}: {error}") from error
                if time.monotonic() > deadline:
                    raise LedgerBusy(f"{path} is locked by another process; try again when it has ended") from error
                time.sleep(0.01)
    except sqlite3.DatabaseError as error:
        raise LedgerUnreadable(f"{path} is not a ledger: {error}") from error
    finally:
        connection.close()


SEARCH_TABLES = (
    # One line of text for each hypothesis and each campaign's question; kept by triggers, so that no writer can forget.
    "CREATE VIRTUAL TABLE recall USING fts5(kind UNINDEXED, ref UNINDEXED, body, tokenize = 'porter unicode61')",
    "CREATE TRIGGER recall_hypothesis AFTER INSERT ON hypothesis BEGIN "
    "INSERT INTO recall (kind, ref, body) VALUES ('hypothesis', new.id, new.statement || ' ' || new.rationale); END",
    "CREATE TRIGGER recall_campaign AFTER INSERT ON campaign BEGIN "
    "INSERT INTO recall (kind, ref, body) VALUES ('campaign', new.id, new.name || ' ' || new.question); END",
)


def search(connection: Connection, words: list[str], limit: int) -> list[tuple[str, str]]:
    """Return (kind, id) of the best matches, best first; a word matches as a prefix too."""
    if not words:
        return []
    # Each word stands in quotes, so that nothing a person types is taken for the query language.
    query = " OR ".join(f'"{word.replace(chr(34), "")}"*' for word in words)
    rows = connection.execute(
        text("SELECT kind, ref FROM recall WHERE recall MATCH :query ORDER BY rank LIMIT :limit"),
        {"query": query, "limit": limit},
    )
    return [(str(row[0]), str(row[1])) for row in rows]


def weigh(connection: Connection, words: list[str], limit: int) -> dict[tuple[str, str], float]:
    """Return the weight of the best matches by (kind, id), the smaller the better; every word must occur, as a prefix.

    Weights are below zero.
    """
    query = " AND ".join(f'"{word.replace(chr(34), "")}"*' for word in words)
    rows = connection.execute(
        text("SELECT kind, ref, rank FROM recall WHERE recall MATCH :query ORDER BY rank LIMIT :limit"),
        {"query": query, "limit": limit},
    )
    return {(str(row[0]), str(row[1])): float(row[2]) for row in rows}


def value_of(column: ColumnElement[str], *names: str) -> ColumnElement[Any]:
    """Return the value at a path of any names within canonical text, not JSON's own escapes; NULL where there is none.

    A name that no path can say is that of nothing.
    """
    path = "$" + "".join(f".{json.dumps(name, ensure_ascii=False)}" for name in names)
    if any('"' in name or "\\" in name for name in names):
        return null()
    return case((func.json_valid(column) == 1, func.json_extract(column, path)))


def member(column: ColumnElement[str], path: str) -> ColumnElement[Any]:
    """Return the value at a path of names, joined by dots, within canonical text; NULL where there is none.

    Text that is not JSON, as somebody's hand leaves it, holds nothing. Only for names that need no quotes.
    """
    return case((func.json_valid(column) == 1, func.json_extract(column, f"$.{path}")))


def holds(column: ColumnElement[str], part: str) -> ColumnElement[bool]:
    """Whether a text holds another, letter by letter."""
    return func.instr(column, part) > 0
