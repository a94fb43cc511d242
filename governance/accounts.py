"""Accounts: who there is, their passwords and second factors, and the waiting of those who guess.

Passwords are hashed with Argon2id; second factors are time-based codes (RFC 6238), and of recovery codes only a hash is
kept. The secret of a second factor has to be kept as it is: only its owner may read the file.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import math
import re
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from athanor.governance._people import PeopleError, PeopleFile, Person, SignInRefused, hash_of, person_of, word
from athanor.governance.rights import ROLES, Role

LOGIN = re.compile(r"[a-z][a-z0-9._-]{0,31}")
SHORTEST, LONGEST = 12, 256
"""Length of a password."""
FREE_TRIES = {"login": 5, "from": 20}
"""Failures before the next try has to wait, which doubles from one second."""
FORGIVE_S = {"login": math.inf, "from": 60.0}
"""In so many seconds one failure is forgiven: many people may come from one address."""
HASHING_S = 10.0
LONGEST_WAIT_S = 900.0
FORGIVEN_S = 86400.0
"""Failures are forgotten so long after the last one."""
STEP_S = 30
"""Length of a step of the second factor; one before and one after hold, for clocks that differ."""
RECOVERY_CODES = 8
_EASY = ("password", "passwort", "athanor", "letmein", "qwerty", "123456")


class Accounts(PeopleFile):
    """The accounts of one site."""

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
        password = word(5, 4)
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
            return [person_of(row) for row in file.execute("SELECT * FROM person ORDER BY login")]

    def person(self, login: str) -> Person:
        """One account. Raises `PeopleError` when there is none."""
        with self._look() as file:
            return person_of(self._known(file, login))

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
        password = word(5, 4)
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
        codes = [word(4, 2) for _ in range(RECOVERY_CODES)]
        with self._change() as file:
            row = self._known(file, login)
            if not row["pending"]:
                raise PeopleError("second_factor.none", "there is no second factor to confirm; begin anew")
            if (step := self._step_of(row["pending"], code, 0)) is None:
                raise PeopleError("second_factor.wrong", "this code is not right; is the clock of that device?")
            file.execute("UPDATE person SET secret = pending, pending = NULL, step = ? WHERE login = ?", (step, login))
            file.execute("DELETE FROM recovery WHERE login = ?", (login,))
            file.executemany("INSERT INTO recovery VALUES (?, ?)", [(login, hash_of(code)) for code in codes])
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

    # -- trying --------------------------------------------------------------------------------------------------------

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
                "DELETE FROM recovery WHERE login = ? AND hash = ?", (login, hash_of(code.strip().lower()))
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
