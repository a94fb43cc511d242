"""Access: signing in, sessions of people and tokens of programs. Of both only a hash is kept."""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from athanor.governance._people import PeopleError, Person, SignInRefused, hash_of, new_identity, person_of
from athanor.governance.accounts import Accounts
from athanor.governance.rights import SCOPES, Scope, scopes_of

IDLE_S = 30 * 60.0
"""A session that nobody uses ends; only Stop All still takes it, until it ends for good."""
SESSION_S = 12 * 3600.0
"""A session's whole life: a shift."""
MOST_TOKENS = 60
"""Open tokens of one person."""
TOKEN_S = 365 * 86400.0
"""The longest life of a token."""
SEEN_S = 60.0
"""How exactly it is kept when a session was last used."""


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


class Accesses(Accounts):
    """Who is let in, and for how long."""

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
        with self._change() as file:
            self._still(file, row)
            signed_in = self._opened(file, row, source)
        self._note("signed_in", {"login": row["login"], "session": signed_in.caller.by, "source": source})
        return signed_in

    def _opened(self, file: sqlite3.Connection, row: sqlite3.Row | dict[str, Any], source: str) -> SignedIn:
        """A new session of an account."""
        secret, session = secrets.token_urlsafe(32), new_identity("session")
        now = self._clock()
        file.execute(
            "INSERT INTO session (id, hash, login, source, began, seen) VALUES (?, ?, ?, ?, ?, ?)",
            (session, hash_of(secret), row["login"], source, now, now),
        )
        file.execute("DELETE FROM session WHERE began < ?", (now - 30 * 86400.0,))
        return SignedIn(secret, Caller(person_of(row), session))

    # -- sessions and tokens -------------------------------------------------------------------------------------------

    def session(self, secret: str, *, touch: bool = True) -> Caller:
        """Whose session this is; using it keeps it awake, unless `touch` is not set.

        Raises:
            SignInRefused: `session.none`, `session.ended`. One that was idle too long is no error: it may still stop.
        """
        now = self._clock()
        if (row := self._reader.row("session", hash_of(secret))) is None:
            raise SignInRefused("session.none", "sign in first")
        person = self._owner(row)
        if row["ended"] is not None or now >= row["began"] + SESSION_S or not person["is_active"]:
            raise SignInRefused("session.ended", "this session has ended; sign in again")
        is_idle = now >= row["seen"] + IDLE_S
        if touch and not is_idle and now - row["seen"] >= SEEN_S:
            self._saw("UPDATE session SET seen = ? WHERE id = ?", now, row["id"])
        return Caller(person_of(person), row["id"], is_only_stopping=is_idle)

    def _owner(self, row: Mapping[str, Any]) -> dict[str, Any]:
        if (person := self._reader.row("person", row["login"])) is None:
            raise PeopleError("login.unknown", f"there is no {row['login']}")
        return person

    def _saw(self, statement: str, now: float, identity: str) -> None:
        """Keep when it was used last; a file that cannot be written now keeps nobody out."""
        with contextlib.suppress(sqlite3.Error), self._look(timeout_s=0.2) as file:
            file.execute(statement, (now, identity))

    def sign_out(self, secret: str) -> None:
        """End one's own session; one that is not there has ended."""
        with self._change() as file:
            row = file.execute("SELECT * FROM session WHERE hash = ? AND ended IS NULL", (hash_of(secret),)).fetchone()
            if row is None:
                return
            file.execute("UPDATE session SET ended = ? WHERE id = ?", (self._clock(), row["id"]))
        self._note("signed_out", {"login": row["login"], "session": row["id"]})

    def issue(self, login: str, label: str, scopes: Sequence[Scope], life_s: float, by: str) -> str:
        """Make a token for programs: it may do what its person may, and of that what is in `scopes`. It is told once.

        Raises:
            PeopleError: no scope, an unknown one, no label, a life beyond a year, or too many tokens already.
        """
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            raise PeopleError("token.scopes", f"{', '.join(unknown) or 'none'}: give some of {', '.join(SCOPES)}")
        if not label.strip():
            raise PeopleError("token.label", "say what the token is for")
        if not 0 < life_s <= TOKEN_S:
            raise PeopleError("token.life", f"a token lives up to {TOKEN_S / 86400:.0f} days")
        secret, token = f"ath_{secrets.token_urlsafe(32)}", new_identity("token")
        now = self._clock()
        wanted = sorted(set(scopes))
        with self._change() as file:
            self._known(file, login)
            open_ones = "SELECT count(*) FROM token WHERE login = ? AND expires > ? AND ended IS NULL"
            [(there,)] = file.execute(open_ones, (login, now))
            if there >= MOST_TOKENS:
                raise PeopleError("token.many", f"{login} has {there} tokens; end some first")
            file.execute(
                "INSERT INTO token (id, hash, login, label, scopes, issued, expires) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (token, hash_of(secret), login, label.strip(), json.dumps(wanted), now, now + life_s),
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
        if (row := self._reader.row("token", hash_of(secret))) is None:
            raise SignInRefused("token.none", "there is no such token")
        person = self._owner(row)
        if row["ended"] is not None or now >= row["expires"] or not person["is_active"]:
            raise SignInRefused("token.ended", "this token has ended; issue another one")
        if row["seen"] is None or now - row["seen"] >= SEEN_S:
            self._saw("UPDATE token SET seen = ? WHERE id = ?", now, row["id"])
        return Caller(person_of(person), row["id"], limit=frozenset(json.loads(row["scopes"])))

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
