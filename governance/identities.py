"""Identities: who is known by whom elsewhere, and signing in by that.

An identity is an issuer and a subject, never a name or an e-mail address: those can be given to somebody else. Nobody
is let into an account that is there already because they have the same name elsewhere: its person links it, signed in.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from athanor.governance._people import PeopleError, SignInRefused, new_identity
from athanor.governance.access import Accesses, SignedIn
from athanor.governance.accounts import LOGIN
from athanor.governance.rights import Role


@dataclass(frozen=True)
class Proven:
    """What a provider has proven of somebody, and the role that the site's rules give for it."""

    provider: str
    """The provider's name in the site's settings."""
    issuer: str
    subject: str
    login: str
    """What an account would be called; empty where the provider does not say."""
    name: str
    role: Role | None
    """None where no rule fits. Never an owner."""
    is_multi_factor: bool
    """Whether the provider says that it asked for more than a password."""


@dataclass(frozen=True)
class Identity:
    """A way to sign in elsewhere that an account has. `linked` is in Unix seconds."""

    id: str
    issuer: str
    subject: str
    login: str
    linked: float
    is_theirs: bool
    """The account was made by this; the site's rules say at each sign-in what role it has."""


class Identities(Accesses):
    """Signing in by what a provider has proven."""

    def sign_in_as(
        self, proven: Proven, source: str = "", *, makes_accounts: bool = True, trusts_second_factor: bool = False
    ) -> SignedIn:
        """Open a session for whom a provider has sent.

        An account that was made by this has the role that the rules give now, unless an owner made it one; where they
        give none any more, its sessions and tokens end. A linked account keeps the role that it has here.

        Args:
            proven: by whom, and who.
            source: where from.
            makes_accounts: whether somebody to whom a rule gives a role, and who has no account, gets one.
            trusts_second_factor: whether an account with a second factor here may be entered though the provider does
                not say that it asked for one.

        Raises:
            SignInRefused: `oidc.no_role`, `oidc.no_account`, `oidc.login`, `oidc.login_taken`, `oidc.closed` or
                `oidc.second_factor`.
        """
        unusable = self._decoy()  # nobody knows the password of this
        try:
            with self._change() as file:
                found = self._identity(file, proven.issuer, proven.subject)
                login = str(found["login"]) if found is not None else self._made(file, proven, unusable, makes_accounts)
                row = self._known(file, login)
                if not row["is_active"]:
                    raise SignInRefused("oidc.closed", f"the account {login} is closed; ask an owner")
                if found is not None and found["is_theirs"]:
                    self._follow(file, row, proven)
                if row["secret"] and not (proven.is_multi_factor or trusts_second_factor):
                    raise SignInRefused(
                        "oidc.second_factor",
                        f"{login} has a second factor here, and {proven.provider} does not say that it asked for one;"
                        " sign in with password and code",
                    )
                signed_in = self._opened(file, self._known(file, login), f"{source} by {proven.provider}".strip())
        except SignInRefused as error:
            self._out(proven, error, source)
            raise
        told = {"login": login, "session": signed_in.caller.by, "source": source, "provider": proven.provider}
        self._note("signed_in", told)
        return signed_in

    def _made(self, file: sqlite3.Connection, proven: Proven, unusable: str, makes_accounts: bool) -> str:
        """An account for somebody who has none. Raises `SignInRefused`."""
        if proven.role is None:
            raise _no_role()
        if not makes_accounts:
            raise SignInRefused("oidc.no_account", "you have no account here; ask an owner for one, and link it")
        if not LOGIN.fullmatch(proven.login):
            raise SignInRefused("oidc.login", f"{proven.login!r} cannot be a login here; ask an owner for an account")
        if self._find(file, proven.login) is not None:
            raise SignInRefused(
                "oidc.login_taken",
                f"there is an account {proven.login} already; if it is yours, sign in with its password and link it",
            )
        name, by = proven.name or proven.login, f"provider {proven.provider}"
        file.execute(
            "INSERT INTO person (login, name, role, is_active, added, password, must_change)"
            " VALUES (?, ?, ?, 1, ?, ?, 0)",
            (proven.login, name, proven.role, self._clock(), unusable),
        )
        self._audit("person_added", {"login": proven.login, "name": name, "role": proven.role, "by": by})
        self._link(file, proven, proven.login, is_theirs=True, by=by)
        return proven.login

    def _follow(self, file: sqlite3.Connection, row: sqlite3.Row, proven: Proven) -> None:
        """Give an account that a provider made the role that the rules give now. Raises `SignInRefused`."""
        if row["role"] == "owner":  # an owner made it one
            return
        if proven.role is None:
            raise _no_role()
        if row["role"] != proven.role:
            file.execute("UPDATE person SET role = ? WHERE login = ?", (proven.role, row["login"]))
            told = {"login": row["login"], "role": proven.role, "was": row["role"]}
            self._audit("person_role_set", {**told, "by": f"provider {proven.provider}"})

    def _out(self, proven: Proven, error: SignInRefused, source: str) -> None:
        """Write down who was not let in, and end what was open of somebody to whom the rules give no role any more."""
        with self._change() as file:
            found = self._identity(file, proven.issuer, proven.subject)
            if found is not None and error.code == "oidc.no_role":
                self._end_all(file, found["login"])
        told = {"login": None if found is None else found["login"], "source": source, "code": error.code}
        self._note("sign_in_refused", {**told, "provider": proven.provider, "subject": proven.subject})

    # -- linking -------------------------------------------------------------------------------------------------------

    def identities(self, login: str) -> list[Identity]:
        """How somebody may sign in elsewhere, the oldest first."""
        with self._look() as file:
            rows = file.execute("SELECT * FROM identity WHERE login = ? ORDER BY linked, id", (login,)).fetchall()
        return [
            Identity(r["id"], r["issuer"], r["subject"], r["login"], r["linked"], bool(r["is_theirs"])) for r in rows
        ]

    def prove(self, login: str, password: str, code: str | None, source: str = "") -> None:
        """See that it is still the same person who sits there. Raises `SignInRefused`."""
        self._tried(login, source, password, code)

    def link(self, login: str, proven: Proven) -> None:
        """Let somebody sign in elsewhere to the account that they have here.

        Raises:
            PeopleError: `identity.taken` when it opens an account already.
        """
        with self._change() as file:
            self._known(file, login)
            if (found := self._identity(file, proven.issuer, proven.subject)) is not None:
                whose = "yours" if found["login"] == login else "another one"
                raise PeopleError("identity.taken", f"this identity opens an account already: {whose}")
            self._link(file, proven, login, is_theirs=False, by=login)

    def unlink(self, login: str, identity: str, by: str) -> None:
        """End a way to sign in.

        Raises:
            PeopleError: `identity.none`, or `identity.only` where the person would have no way left.
        """
        with self._change() as file:
            row = file.execute("SELECT * FROM identity WHERE id = ? AND login = ?", (identity, login)).fetchone()
            if row is None:
                raise PeopleError("identity.none", f"{login} has no identity {identity}")
            if row["is_theirs"] and by == login:
                raise PeopleError(
                    "identity.only", "this account was made by it and has no password; ask an owner to give one out"
                )
            file.execute("DELETE FROM identity WHERE id = ?", (identity,))
            told = {"login": login, "issuer": row["issuer"], "subject": row["subject"], "by": by}
            self._audit("identity_unlinked", told)

    def _link(self, file: sqlite3.Connection, proven: Proven, login: str, *, is_theirs: bool, by: str) -> None:
        file.execute(
            "INSERT INTO identity (id, issuer, subject, login, linked, is_theirs) VALUES (?, ?, ?, ?, ?, ?)",
            (new_identity("identity"), proven.issuer, proven.subject, login, self._clock(), int(is_theirs)),
        )
        told = {"login": login, "issuer": proven.issuer, "subject": proven.subject, "by": by}
        self._audit("identity_linked", told)

    def _identity(self, file: sqlite3.Connection, issuer: str, subject: str) -> sqlite3.Row | None:
        found: sqlite3.Row | None = file.execute(
            "SELECT * FROM identity WHERE issuer = ? AND subject = ?", (issuer, subject)
        ).fetchone()
        return found


def _no_role() -> SignInRefused:
    return SignInRefused("oidc.no_role", "no rule of this site gives you a role; ask an owner")
