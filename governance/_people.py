"""The file of accounts: what is kept in it, and what all parts that work with it share.

Kept beside the ledger, never in it: a ledger is copied, backed up and handed on, and secrets must not travel with it.
What was done to an account, and by whom, goes into the ledger's journal through `audit`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from athanor.governance.rights import Role

log = logging.getLogger(__name__)

SCHEMA = 2
MOST_KEPT = 2000
"""So many rows are kept in mind."""
WAIT_S = 10.0
"""So long one waits for whoever holds the file."""
MOMENT_S = 0.2
"""So long one waits for the connection that all share."""
TICK_S = 0.1
"""Longer than any tick of the clock that files are dated by."""
HASHING = 4
"""Passwords that are hashed at once, each in 64 MiB."""
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"

_TABLES = """
CREATE TABLE person (
    login TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, is_active INTEGER NOT NULL, added REAL NOT NULL,
    password TEXT NOT NULL, must_change INTEGER NOT NULL, secret TEXT, pending TEXT, step INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE recovery (login TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (login, hash));
CREATE TABLE session (
    id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, login TEXT NOT NULL, source TEXT NOT NULL, began REAL NOT NULL,
    seen REAL NOT NULL, ended REAL
);
CREATE TABLE token (
    id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, login TEXT NOT NULL, label TEXT NOT NULL, scopes TEXT NOT NULL,
    issued REAL NOT NULL, expires REAL NOT NULL, seen REAL, ended REAL
);
CREATE TABLE attempt (key TEXT PRIMARY KEY, failed REAL NOT NULL, at REAL NOT NULL, until REAL NOT NULL);
"""
_SINCE_2 = """
CREATE TABLE identity (
    id TEXT PRIMARY KEY, issuer TEXT NOT NULL, subject TEXT NOT NULL, login TEXT NOT NULL, linked REAL NOT NULL,
    is_theirs INTEGER NOT NULL, UNIQUE (issuer, subject)
);
"""


_ROWS = {
    "person": "SELECT * FROM person WHERE login = ?",
    "session": "SELECT * FROM session WHERE hash = ?",
    "token": "SELECT * FROM token WHERE hash = ?",
}


class PeopleError(Exception):
    """What cannot be done as asked. `code` is stable; the message says why and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SignInRefused(PeopleError):
    """Somebody was not signed in, or is not any more; `wait_s` says how long to wait before the next try."""

    def __init__(self, code: str, message: str, wait_s: float = 0.0) -> None:
        super().__init__(code, message)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Person:
    """An account, without its secrets. Times are Unix seconds."""

    login: str
    name: str
    role: Role
    is_active: bool
    added: float
    must_change: bool
    """The password was given out by somebody else: nothing but Stop All is allowed before it is changed."""
    has_second_factor: bool


Audit = Callable[[str, dict[str, Any]], object]


class _Reader:
    """Rows that every request asks for, read by one connection that stays open and kept for as long as nobody writes.

    Whoever has changed the file, in whichever process, is seen by the next look; so is another file in its place or
    copied onto it. Nobody waits here for somebody who waits for the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._guard = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._close: Callable[[], object] = lambda: None
        self._stands: _Standing | None = None
        self._since = 0.0
        self._is_sure = False
        self._version = -1
        self._kept: dict[tuple[str, str], dict[str, Any]] = {}

    def row(self, table: Literal["person", "session", "token"], value: str) -> dict[str, Any] | None:
        """The row of a person by login, of a session or a token by the hash of its secret.

        Raises:
            OSError, sqlite3.Error: the file cannot be read now; the next call begins anew.
        """
        if self._guard.acquire(timeout=MOMENT_S):
            try:
                return self._look(table, value)
            except sqlite3.Error as error:
                if not _is_busy(error):
                    self._drop()
            finally:
                self._guard.release()
        with contextlib.closing(_connect(self._path, WAIT_S)) as file:
            _prepare(file)
            return _read(file, table, value)

    def _look(self, table: str, value: str) -> dict[str, Any] | None:
        # Looked at before anything is read: what changes meanwhile is seen next time.
        stands = _standing(self._path, self._log)
        if self._file is None or stands != self._stands:
            self._drop()
            file = _connect(self._path, 0.0)
            self._file, self._close = file, weakref.finalize(self, file.close)
            _prepare(file)
            self._stands, self._since = stands, time.monotonic()
        key = (table, value)
        try:
            (version,) = self._file.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            if self._is_sure and key in self._kept and _is_busy(error):
                return self._kept[key]  # somebody is about to write, and nobody has since these were read
            raise
        # Two writes within one tick of the clock leave the file dated alike.
        self._is_sure = time.monotonic() - self._since > TICK_S
        if version != self._version or len(self._kept) > MOST_KEPT:
            self._kept.clear()
            self._version = version
        if (found := self._kept.get(key)) is None:
            found = _read(self._file, table, value)
            if found is not None:  # what anybody may make up takes no room
                self._kept[key] = found
        return found

    def _drop(self) -> None:
        self._close()
        self._file, self._stands, self._is_sure = None, None, False
        self._kept.clear()


_Standing = tuple[tuple[int, ...] | None, ...]


def _standing(path: Path, log: Path) -> _Standing:
    """What differs once the file, or a log that belongs to it, is written or is another one.

    The time of the contents is not enough: `cp -p` sets it.
    """

    def of(path: Path) -> tuple[int, ...]:
        found = path.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    try:
        return of(path), of(log)
    except FileNotFoundError:
        return of(path), None


def _connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Open a file that is there: one that SQLite makes could be read by everybody."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )


def _prepare(file: sqlite3.Connection) -> None:
    """See that what is committed is in the file itself: a log beside it spoils copies and restored backups."""
    file.row_factory = sqlite3.Row
    if file.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        # As long as somebody else has it open, it stays so; that spoils copies alone.
        with contextlib.suppress(sqlite3.OperationalError):
            file.execute("PRAGMA journal_mode = DELETE")


def _read(file: sqlite3.Connection, table: str, value: str) -> dict[str, Any] | None:
    row = file.execute(_ROWS[table], (value,)).fetchone()
    return None if row is None else dict(row)


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY  # the rest says why it is


class PeopleFile:
    """The file, one writer at a time.

    Args:
        path: the file; made when it is not there, and readable by its owner alone.
        audit: told of every change to an account, before it is made for good; what it raises undoes the change. Signing
            in and out does not hang on it: who has to stop something must get in while the ledger is full.
        clock: Unix time in seconds.

    Raises:
        PeopleError: the libraries are missing, or the file is of a later version.
        sqlite3.Error: it is no such file, or somebody has held it for longer than `WAIT_S`.
    """

    def __init__(
        self,
        path: Path,
        audit: Audit,
        clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            import argon2
            import pyotp
        except ImportError as error:
            raise PeopleError(
                "library.missing", f"accounts need {error.name}; install it: pip install 'athanor-lab[console]'"
            ) from error
        self._argon2, self._pyotp = argon2, pyotp
        self._hasher = argon2.PasswordHasher()
        self._hashing = threading.BoundedSemaphore(HASHING)
        self._nobody = ""
        self._path = path
        self._audit = audit
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        path.chmod(0o600)
        self._reader = _Reader(path)
        with self._change() as file:
            version = file.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA:
                raise PeopleError("file.newer", f"{path} is of a later version of Athanor; use that one")
            for since, tables in ((1, _TABLES), (2, _SINCE_2)):
                if version < since:
                    for statement in tables.split(";"):
                        file.execute(statement)
            if version < SCHEMA:
                file.execute(f"PRAGMA user_version = {SCHEMA}")

    def _note(self, kind: str, body: dict[str, Any]) -> None:
        """Tell the audit of what happens whether or not it takes it."""
        try:
            self._audit(kind, body)
        except Exception:
            log.exception("%s could not be written down: %s", kind, body)

    def _end_all(self, file: sqlite3.Connection, login: str, *, tokens: bool = True, keep: str = "") -> None:
        now = self._clock()
        file.execute("UPDATE session SET ended = ? WHERE login = ? AND ended IS NULL AND id != ?", (now, login, keep))
        if tokens:
            file.execute("UPDATE token SET ended = ? WHERE login = ? AND ended IS NULL", (now, login))

    @contextlib.contextmanager
    def _look(self, timeout_s: float = WAIT_S) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(_connect(self._path, timeout_s)) as file:
            _prepare(file)
            yield file

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One writer at a time, whichever process; all of it or nothing."""
        with self._look() as file:
            file.execute("BEGIN IMMEDIATE")
            try:
                yield file
            except BaseException:
                file.execute("ROLLBACK")
                raise
            file.execute("COMMIT")

    def _find(self, file: sqlite3.Connection, login: str) -> sqlite3.Row | None:
        found: sqlite3.Row | None = file.execute("SELECT * FROM person WHERE login = ?", (login,)).fetchone()
        return found

    def _known(self, file: sqlite3.Connection, login: str) -> sqlite3.Row:
        if (row := self._find(file, login)) is None:
            raise PeopleError("login.unknown", f"there is no {login}")
        return row


def person_of(row: sqlite3.Row | dict[str, Any]) -> Person:
    return Person(
        login=row["login"],
        name=row["name"],
        role=row["role"],
        is_active=bool(row["is_active"]),
        added=row["added"],
        must_change=bool(row["must_change"]),
        has_second_factor=bool(row["secret"]),
    )


def hash_of(secret: str) -> str:
    """Of a secret with so much chance in it that it needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_identity(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(8)}"


def word(length: int, groups: int) -> str:
    """Letters and digits that nobody mistakes, in groups."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(length)) for _ in range(groups))
