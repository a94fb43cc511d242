"""People: accounts, how they sign in, their sessions and tokens.

Kept in a file of their own beside the ledger, never in it: a ledger is copied, backed up and handed on, and secrets
must not travel with it. What was done to an account, and by whom, goes into the ledger's journal through `audit`.

Passwords are hashed with Argon2id, second factors are time-based codes (RFC 6238), and of sessions, tokens and recovery
codes only a hash is kept. The secret of a second factor has to be kept as it is: only its owner may read the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import json
import logging
import math
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from athanor.governance.rights import ROLES, SCOPES, Role, Scope, scopes_of

log = logging.getLogger(__name__)

SCHEMA = 1
PEOPLE = "people.db"
"""The file of accounts, in the data folder."""
LOGIN = re.compile(r"[a-z][a-z0-9._-]{0,31}")
SHORTEST, LONGEST = 12, 256
"""Length of a password."""
FREE_TRIES = {"login": 5, "from": 20}
"""Failures before the next try has to wait, which doubles from one second."""
FORGIVE_S = {"login": math.inf, "from": 60.0}
"""In so many seconds one failure is forgiven: many people may come from one address."""
HASHING = 4
"""Passwords that are hashed at once, each in 64 MiB."""
HASHING_S = 10.0
LONGEST_WAIT_S = 900.0
FORGIVEN_S = 86400.0
"""Failures are forgotten so long after the last one."""
IDLE_S = 30 * 60.0
"""A session that nobody uses ends; only Stop All still takes it, until it ends for good."""
SESSION_S = 12 * 3600.0
"""A session's whole life: a shift."""
TOKEN_S = 365 * 86400.0
"""The longest life of a token."""
STEP_S = 30
"""Length of a step of the second factor; one before and one after hold, for clocks that differ."""
RECOVERY_CODES = 8
SEEN_S = 15.0
"""How exactly it is kept when a session was last used."""
_EASY = ("password", "passwort", "athanor", "letmein", "qwerty", "123456")
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


@dataclass(frozen=True)
class Caller:
    """Whoever asks, by a session or by a token, and what that person may do by it."""

    person: Person
    by: str
    """Id of the session or token."""
    limit: frozenset[Scope] | None = None
    """What a token is limited to; None for a session, which has all of its person's."""
    is_only_stopping: bool = False
    """The session was idle for too long: it takes Stop All and nothing else."""

    def may(self, scope: Scope, *, simulated: bool = False) -> bool:
        """Whether it may do this, on a simulated or a real instrument."""
        if self.is_only_stopping or self.person.must_change:
            return False
        return scope in scopes_of(self.person.role, simulated=simulated) and (self.limit is None or scope in self.limit)


@dataclass(frozen=True)
class SignedIn:
    """A new session: its secret, which is told once, and whose it is."""

    secret: str
    caller: Caller


@dataclass(frozen=True)
class Access:
    """A session or a token as it is listed. Times are Unix seconds."""

    id: str
    login: str
    label: str
    """Where a session came from; what a token is for."""
    began: float
    seen: float | None
    expires: float
    scopes: tuple[Scope, ...] | None


Audit = Callable[[str, dict[str, Any]], object]


class People:
    """The accounts of one site.

    Args:
        path: the file; made when it is not there, and readable by its owner alone.
        audit: told of every change to an account, before it is made for good; what it raises undoes the change. Signing
            in and out does not hang on it: who has to stop something must get in while the ledger is full.
        clock: Unix time in seconds.

    Raises:
        PeopleError: the libraries are missing, or the file is of a later version.
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
        with self._change() as file:
            version = file.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA:
                raise PeopleError("file.newer", f"{path} is of a later version of Athanor; use that one")
            if version == 0:
                for statement in _TABLES.split(";"):
                    file.execute(statement)
                file.execute(f"PRAGMA user_version = {SCHEMA}")

    # -- accounts ------------------------------------------------------------------------------------------------------

    def add(self, login: str, name: str, role: Role, by: str) -> str:
        """Add a person; the password, which must be changed at the first sign-in and is told nowhere else.

        Raises:
            PeopleError: the login is none or taken, there is no name, or no such role.
        """
        if not LOGIN.fullmatch(login):
            raise PeopleError(
                "login.malformed",
                f"{login!r} is no login: up to 32 small letters, digits, '.', '_', '-', a letter first",
            )
        if not name.strip():
            raise PeopleError("name.missing", f"{login} needs a name that colleagues know")
        _check_role(role)
        password = _word(5, 4)
        hashed = self._hashed(password)
        with self._change() as file:
            if self._find(file, login) is not None:
                raise PeopleError("login.taken", f"there is a {login} already; choose another login")
            file.execute(
                "INSERT INTO person (login, name, role, is_active, added, password, must_change)"
                " VALUES (?, ?, ?, 1, ?, ?, 1)",
                (login, name.strip(), role, self._clock(), hashed),
            )
            self._audit("person_added", {"login": login, "name": name.strip(), "role": role, "by": by})
        return password

    def everybody(self) -> list[Person]:
        """All accounts, by login."""
        with self._look() as file:
            return [_person(row) for row in file.execute("SELECT * FROM person ORDER BY login")]

    def person(self, login: str) -> Person:
        """One account. Raises `PeopleError` when there is none."""
        with self._look() as file:
            return _person(self._known(file, login))

    def set_role(self, login: str, role: Role, by: str) -> None:
        """Give another role; it counts at once, in open sessions too. Raises `PeopleError`."""
        _check_role(role)
        with self._change() as file:
            row = self._known(file, login)
            if row["role"] == "owner" and role != "owner":
                self._keep_an_owner(file, login)
            file.execute("UPDATE person SET role = ? WHERE login = ?", (role, login))
            self._audit("person_role_set", {"login": login, "role": role, "was": row["role"], "by": by})

    def set_active(self, login: str, is_active: bool, by: str) -> None:
        """Close an account, which ends its sessions and tokens, or open it again. Raises `PeopleError`."""
        with self._change() as file:
            row = self._known(file, login)
            if not is_active:
                if row["role"] == "owner":
                    self._keep_an_owner(file, login)
                self._end_all(file, login)
            file.execute("UPDATE person SET is_active = ? WHERE login = ?", (int(is_active), login))
            self._audit("person_opened" if is_active else "person_closed", {"login": login, "by": by})

    def _keep_an_owner(self, file: sqlite3.Connection, login: str) -> None:
        others = "SELECT count(*) FROM person WHERE role = 'owner' AND is_active = 1 AND login != ?"
        if not file.execute(others, (login,)).fetchone()[0]:
            raise PeopleError("owner.last", f"{login} is the only owner; make somebody else one first")

    # -- passwords and second factors ----------------------------------------------------------------------------------

    def new_password(self, login: str, by: str) -> str:
        """Give out another password, as for a new account; ends sessions, tokens and what kept the person waiting."""
        password = _word(5, 4)
        hashed = self._hashed(password)
        with self._change() as file:
            self._known(file, login)
            file.execute("UPDATE person SET password = ?, must_change = 1 WHERE login = ?", (hashed, login))
            file.execute("DELETE FROM attempt WHERE key = ?", (f"login:{login}",))
            self._end_all(file, login)
            self._audit("password_given_out", {"login": login, "by": by})
        return password

    def change_password(self, login: str, old: str, new: str, keep: str = "", *, end_tokens: bool = False) -> None:
        """Change one's own password; ends all sessions but `keep`, and, if wanted, all tokens.

        Raises:
            PeopleError: the new one is too short or too easy.
            SignInRefused: the old one is wrong.
        """
        row = self._tried(login, "", old, None, only_password=True)
        self._check_password(login, old, new)
        hashed = self._hashed(new)
        with self._change() as file:
            self._still(file, row)
            file.execute("UPDATE person SET password = ?, must_change = 0 WHERE login = ?", (hashed, login))
            self._end_all(file, login, tokens=end_tokens, keep=keep)
            self._audit("password_changed", {"login": login, "tokens_ended": end_tokens})

    def _check_password(self, login: str, old: str, new: str) -> None:
        if not SHORTEST <= len(new) <= LONGEST:
            raise PeopleError("password.length", f"a password has {SHORTEST} to {LONGEST} characters")
        plain = new.casefold()
        words = (*_EASY, *([login] if len(login) >= 3 else []))
        if new == old or any(word in plain for word in words) or len(set(plain)) < 6:
            raise PeopleError(
                "password.easy", "this one is too easy to guess; take several words, none of them your login"
            )

    def begin_second_factor(self, login: str, password: str, code: str | None = None) -> tuple[str, str]:
        """A new secret, and the address that an authenticator reads it from; it counts from `confirm_second_factor`.

        An open session is not enough: it needs the password, and a code of the second factor that is there already.

        Raises:
            SignInRefused: one of them is wrong or missing.
        """
        row = self._tried(login, "", password, code)
        secret = str(self._pyotp.random_base32())
        with self._change() as file:
            self._still(file, row)
            file.execute("UPDATE person SET pending = ? WHERE login = ?", (secret, login))
            self._audit("second_factor_begun", {"login": login})
        return secret, str(self._pyotp.TOTP(secret).provisioning_uri(name=login, issuer_name="Athanor"))

    def confirm_second_factor(self, login: str, code: str) -> list[str]:
        """Have the pending secret count, by a code of it; one-time codes for the day on which it is lost.

        Raises:
            PeopleError: nothing is pending, or the code is wrong.
        """
        codes = [_word(4, 2) for _ in range(RECOVERY_CODES)]
        with self._change() as file:
            row = self._known(file, login)
            if not row["pending"]:
                raise PeopleError("second_factor.none", "there is no second factor to confirm; begin anew")
            if (step := self._step_of(row["pending"], code, 0)) is None:
                raise PeopleError("second_factor.wrong", "this code is not right; is the clock of that device?")
            file.execute("UPDATE person SET secret = pending, pending = NULL, step = ? WHERE login = ?", (step, login))
            file.execute("DELETE FROM recovery WHERE login = ?", (login,))
            file.executemany("INSERT INTO recovery VALUES (?, ?)", [(login, _hash(code)) for code in codes])
            self._audit("second_factor_set", {"login": login})
        return codes

    def remove_second_factor(self, login: str, by: str) -> None:
        """Do without it, as when the device is lost; ends the person's sessions and tokens."""
        with self._change() as file:
            self._known(file, login)
            file.execute("UPDATE person SET secret = NULL, pending = NULL WHERE login = ?", (login,))
            file.execute("DELETE FROM recovery WHERE login = ?", (login,))
            self._end_all(file, login)
            self._audit("second_factor_removed", {"login": login, "by": by})

    def _step_of(self, secret: str, code: str, after: int) -> int | None:
        """The step that a code is of, if it is right and of a later one than the last that was used."""
        code = re.sub(r"\s", "", code)
        now = int(self._clock()) // STEP_S
        totp = self._pyotp.TOTP(secret, interval=STEP_S)
        for step in (now - 1, now, now + 1):
            if step > after and hmac.compare_digest(str(totp.generate_otp(step)).encode(), code.encode()):
                return step
        return None

    # -- signing in ----------------------------------------------------------------------------------------------------

    def sign_in(self, login: str, password: str, code: str | None = None, source: str = "") -> SignedIn:
        """Open a session.

        Args:
            login: who.
            password: the password.
            code: of the second factor, or a recovery code; None when none was asked for yet.
            source: where from, such as an address: kept with the session, and kept waiting after many failures.

        Raises:
            SignInRefused: `sign_in.wrong`, `sign_in.wait`, `second_factor.needed` (the password was right) or
                `second_factor.wrong`. Never says whether there is such a login.
        """
        row = self._tried(login, source, password, code)
        secret, session = secrets.token_urlsafe(32), _identity("session")
        now = self._clock()
        with self._change() as file:
            self._still(file, row)
            file.execute(
                "INSERT INTO session (id, hash, login, source, began, seen) VALUES (?, ?, ?, ?, ?, ?)",
                (session, _hash(secret), row["login"], source, now, now),
            )
            file.execute("DELETE FROM session WHERE began < ?", (now - 30 * 86400.0,))
        self._note("signed_in", {"login": row["login"], "session": session, "source": source})
        return SignedIn(secret, Caller(_person(row), session))

    def _tried(
        self, login: str, source: str, password: str, code: str | None, *, only_password: bool = False
    ) -> dict[str, Any]:
        """The account, if password and code are right. Every try counts before it is looked at; success undoes that."""
        password = password[: LONGEST + 1]
        keys = [f"login:{login}"] if LOGIN.fullmatch(login) else []
        # On this computer everybody has one address.
        keys += [f"from:{source}"] if source and not _is_loopback(source) else []
        row = self._count(keys, login)
        # A login that nobody has costs as much time as one that somebody has.
        is_right = self._verify(row["password"] if row is not None else self._decoy(), password)
        if row is None or not row["is_active"] or not is_right:
            # What was typed for a login may be a password: it is told only where it is a login.
            told = {"login": None if row is None else login, "source": source, "code": "sign_in.wrong"}
            self._note("sign_in_refused", told)
            raise _wrong()
        if row["secret"] and not only_password:
            if code is None:
                self._uncount(keys)
                raise SignInRefused("second_factor.needed", "give the code of your second factor")
            if not self._use_code(login, code):
                self._note("sign_in_refused", {"login": login, "source": source, "code": "second_factor.wrong"})
                raise SignInRefused("second_factor.wrong", "this code is not right, or was used before")
        self._uncount(keys)
        with self._change() as file:
            file.execute("DELETE FROM attempt WHERE key = ?", (f"login:{login}",))
        return row

    def _count(self, keys: Sequence[str], login: str) -> dict[str, Any] | None:
        """Count a try as if it had failed, and look the account up. Raises `SignInRefused` for who has to wait."""
        now = self._clock()
        with self._change() as file:
            file.execute("DELETE FROM attempt WHERE at < ?", (now - FORGIVEN_S,))
            found = {key: file.execute("SELECT * FROM attempt WHERE key = ?", (key,)).fetchone() for key in keys}
            waits = [row["until"] - now for row in found.values() if row is not None]
            # More than the longest wait was set by a clock that was ahead.
            if (wait := max((w for w in waits if w <= LONGEST_WAIT_S), default=0.0)) > 0:
                raise SignInRefused("sign_in.wait", f"too many failures; try again in {math.ceil(wait)} s", wait)
            for key, row in found.items():
                kind = key.split(":", 1)[0]
                before = 0.0 if row is None else max(0.0, row["failed"] - (now - row["at"]) / FORGIVE_S[kind])
                failed = before + 1.0
                beyond = failed - FREE_TRIES[kind]
                until = now + (min(LONGEST_WAIT_S, 2.0 ** min(beyond, 20.0)) if beyond >= 0 else 0.0)
                file.execute("INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?)", (key, failed, now, until))
            account = self._find(file, login)
        return None if account is None else dict(account)

    def _uncount(self, keys: Sequence[str]) -> None:
        """What was counted was no failure."""
        with self._change() as file:
            for key in keys:
                file.execute("UPDATE attempt SET failed = max(0, failed - 1), until = 0 WHERE key = ?", (key,))

    def _still(self, file: sqlite3.Connection, row: dict[str, Any]) -> None:
        """See that an account whose password was right is as it was. Raises `SignInRefused`."""
        found = self._find(file, row["login"])
        if found is None or not found["is_active"] or found["password"] != row["password"]:
            raise _wrong()

    def _use_code(self, login: str, code: str) -> bool:
        """Whether a code is right; it is used up with that."""
        with self._change() as file:
            row = self._known(file, login)
            step = self._step_of(row["secret"], code, row["step"])
            if step is not None:
                file.execute("UPDATE person SET step = ? WHERE login = ?", (step, login))
                return True
            spent = file.execute(
                "DELETE FROM recovery WHERE login = ? AND hash = ?", (login, _hash(code.strip().lower()))
            )
            if spent.rowcount:
                self._audit("recovery_code_used", {"login": login})
            return bool(spent.rowcount)

    def _verify(self, hashed: str, password: str) -> bool:
        with self._hash_room():
            try:
                return bool(self._hasher.verify(hashed, password)) and len(password) <= LONGEST
            except (self._argon2.exceptions.VerificationError, self._argon2.exceptions.InvalidHashError):
                return False

    def _hashed(self, password: str) -> str:
        with self._hash_room():
            return str(self._hasher.hash(password))

    @contextlib.contextmanager
    def _hash_room(self) -> Iterator[None]:
        if not self._hashing.acquire(timeout=HASHING_S):
            raise SignInRefused("sign_in.busy", "too many people sign in at once; try again", 1.0)
        try:
            yield
        finally:
            self._hashing.release()

    def _decoy(self) -> str:
        if not self._nobody:
            self._nobody = self._hashed(secrets.token_urlsafe(16))
        return self._nobody

    def _note(self, kind: str, body: dict[str, Any]) -> None:
        """Tell the audit of what happens whether or not it takes it."""
        try:
            self._audit(kind, body)
        except Exception:
            log.exception("%s could not be written down: %s", kind, body)

    # -- sessions and tokens -------------------------------------------------------------------------------------------

    def session(self, secret: str, *, touch: bool = True) -> Caller:
        """Whose session this is; using it keeps it awake, unless `touch` is not set.

        Raises:
            SignInRefused: `session.none`, `session.ended`. One that was idle too long is no error: it may still stop.
        """
        now = self._clock()
        with self._look() as file:
            row = file.execute("SELECT * FROM session WHERE hash = ?", (_hash(secret),)).fetchone()
            if row is None:
                raise SignInRefused("session.none", "sign in first")
            person = self._known(file, row["login"])
        if row["ended"] is not None or now >= row["began"] + SESSION_S or not person["is_active"]:
            raise SignInRefused("session.ended", "this session has ended; sign in again")
        is_idle = now >= row["seen"] + IDLE_S
        if touch and not is_idle and now - row["seen"] >= SEEN_S:
            self._saw("UPDATE session SET seen = ? WHERE id = ?", now, row["id"])
        return Caller(_person(person), row["id"], is_only_stopping=is_idle)

    def _saw(self, statement: str, now: float, identity: str) -> None:
        """Keep when it was used last; a file that cannot be written now keeps nobody out."""
        with contextlib.suppress(sqlite3.Error), self._look(timeout_s=0.2) as file:
            file.execute(statement, (now, identity))

    def sign_out(self, secret: str) -> None:
        """End one's own session; one that is not there has ended."""
        with self._change() as file:
            row = file.execute("SELECT * FROM session WHERE hash = ? AND ended IS NULL", (_hash(secret),)).fetchone()
            if row is None:
                return
            file.execute("UPDATE session SET ended = ? WHERE id = ?", (self._clock(), row["id"]))
        self._note("signed_out", {"login": row["login"], "session": row["id"]})

    def issue(self, login: str, label: str, scopes: Sequence[Scope], life_s: float, by: str) -> str:
        """Make a token for programs: it may do what its person may, and of that what is in `scopes`. It is told once.

        Raises:
            PeopleError: no scope, an unknown one, no label, or a life beyond a year.
        """
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise PeopleError("token.scopes", f"{', '.join(unknown) or 'none'}: give some of {', '.join(SCOPES)}")
        if not label.strip():
            raise PeopleError("token.label", "say what the token is for")
        if not 0 < life_s <= TOKEN_S:
            raise PeopleError("token.life", f"a token lives up to {TOKEN_S / 86400:.0f} days")
        secret, token = f"ath_{secrets.token_urlsafe(32)}", _identity("token")
        now = self._clock()
        wanted = sorted(set(scopes))
        with self._change() as file:
            self._known(file, login)
            file.execute(
                "INSERT INTO token (id, hash, login, label, scopes, issued, expires) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (token, _hash(secret), login, label.strip(), json.dumps(wanted), now, now + life_s),
            )
            told = {
                "login": login,
                "token": token,
                "label": label.strip(),
                "scopes": wanted,
                "life_s": life_s,
                "by": by,
            }
            self._audit("token_issued", told)
        return secret

    def bearer(self, secret: str) -> Caller:
        """Whose token this is. Raises `SignInRefused`: `token.none` or `token.ended`."""
        now = self._clock()
        with self._look() as file:
            row = file.execute("SELECT * FROM token WHERE hash = ?", (_hash(secret),)).fetchone()
            if row is None:
                raise SignInRefused("token.none", "there is no such token")
            person = self._known(file, row["login"])
        if row["ended"] is not None or now >= row["expires"] or not person["is_active"]:
            raise SignInRefused("token.ended", "this token has ended; issue another one")
        if row["seen"] is None or now - row["seen"] >= SEEN_S:
            self._saw("UPDATE token SET seen = ? WHERE id = ?", now, row["id"])
        return Caller(_person(person), row["id"], limit=frozenset(json.loads(row["scopes"])))

    def sessions(self, login: str | None = None) -> list[Access]:
        """Sessions that are open, of one person or of all, the oldest first."""
        now = self._clock()
        with self._look() as file:
            rows = file.execute("SELECT * FROM session WHERE ended IS NULL ORDER BY began, id").fetchall()
        return [
            Access(row["id"], row["login"], row["source"], row["began"], row["seen"], row["began"] + SESSION_S, None)
            for row in rows
            if now < row["began"] + SESSION_S and login in (None, row["login"])
        ]

    def tokens(self, login: str | None = None) -> list[Access]:
        """Tokens that hold, of one person or of all, the oldest first."""
        now = self._clock()
        with self._look() as file:
            rows = file.execute("SELECT * FROM token WHERE ended IS NULL ORDER BY issued, id").fetchall()
        return [
            Access(
                row["id"],
                row["login"],
                row["label"],
                row["issued"],
                row["seen"],
                row["expires"],
                tuple(json.loads(row["scopes"])),
            )
            for row in rows
            if now < row["expires"] and login in (None, row["login"])
        ]

    def end(self, identity: str, by: str) -> None:
        """End a session or a token by its id. Raises `PeopleError` when there is none that has not ended."""
        with self._change() as file:
            for table in ("session", "token"):
                row = file.execute(f"SELECT * FROM {table} WHERE id = ? AND ended IS NULL", (identity,)).fetchone()  # noqa: S608
                if row is not None:
                    file.execute(f"UPDATE {table} SET ended = ? WHERE id = ?", (self._clock(), identity))  # noqa: S608
                    self._audit(f"{table}_ended", {"login": row["login"], table: identity, "by": by})
                    return
        raise PeopleError("access.none", f"there is no session or token {identity} that has not ended")

    def _end_all(self, file: sqlite3.Connection, login: str, *, tokens: bool = True, keep: str = "") -> None:
        now = self._clock()
        file.execute("UPDATE session SET ended = ? WHERE login = ? AND ended IS NULL AND id != ?", (now, login, keep))
        if tokens:
            file.execute("UPDATE token SET ended = ? WHERE login = ? AND ended IS NULL", (now, login))

    # -- the file ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _look(self, timeout_s: float = 10.0) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=timeout_s, isolation_level=None)) as file:
            file.row_factory = sqlite3.Row
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


def _person(row: sqlite3.Row | dict[str, Any]) -> Person:
    return Person(
        login=row["login"],
        name=row["name"],
        role=row["role"],
        is_active=bool(row["is_active"]),
        added=row["added"],
        must_change=bool(row["must_change"]),
        has_second_factor=bool(row["secret"]),
    )


def _check_role(role: str) -> None:
    if role not in get_args(Role):
        raise PeopleError("role.unknown", f"{role!r} is no role; one of: {', '.join(ROLES)}")


def _is_loopback(source: str) -> bool:
    try:
        return ipaddress.ip_address(source).is_loopback
    except ValueError:
        return False


def _wrong() -> SignInRefused:
    return SignInRefused("sign_in.wrong", "login or password is wrong")


def _hash(secret: str) -> str:
    """Of a secret with so much chance in it that it needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _identity(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(8)}"


def _word(length: int, groups: int) -> str:
    """Letters and digits that nobody mistakes, in groups."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(length)) for _ in range(groups))
