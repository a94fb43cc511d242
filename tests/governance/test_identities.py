"""Who is known by whom elsewhere: what needs no provider to be seen."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import argon2
import pytest

from athanor.governance._people import _TABLES
from athanor.governance.people import People, PeopleError, Proven, SignInRefused

ADA = Proven("institute", "https://login.example.org", "0001", "ada", "Ada", "operator", False)


class Site:
    def __init__(self, folder: Path) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.path = folder / "people.db"
        self.people = self.open()

    def open(self) -> People:
        people = People(self.path, lambda kind, body: self.told.append((kind, body)), lambda: 1_800_000_000.0)
        people._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        return people


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_file_of_before_is_brought_up_to_now(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        for statement in _TABLES.split(";"):
            file.execute(statement)
        file.execute("INSERT INTO person VALUES ('bob', 'Bob', 'owner', 1, 0, 'x', 0, NULL, NULL, 0)")
        file.execute("PRAGMA user_version = 1")
    site = Site(tmp_path)
    assert [person.login for person in site.people.everybody()] == ["bob"]
    site.people.sign_in_as(ADA)
    assert [one.subject for one in site.open().identities("ada")] == ["0001"]


def test_nobody_signs_in_with_a_password_to_an_account_that_has_none(site: Site) -> None:
    site.people.sign_in_as(ADA)
    for guess in ("", "!", "x" * 20):
        with pytest.raises(SignInRefused, match="wrong"):
            site.people.sign_in("ada", guess)


def test_what_the_audit_does_not_take_is_not_done(site: Site) -> None:
    def full(kind: str, body: dict[str, Any]) -> None:
        raise OSError("no space left")

    broken = People(site.path, full)
    for change in (lambda: broken.sign_in_as(ADA),):
        with pytest.raises(OSError, match="no space"):
            change()
    assert site.people.everybody() == [] and site.people.identities("ada") == []
    site.people.sign_in_as(ADA)
    assert broken.sign_in_as(ADA).caller.person.login == "ada", "signing in does not hang on it"
    [identity] = site.people.identities("ada")
    with pytest.raises(OSError, match="no space"):
        broken.unlink("ada", identity.id, "owner")
    assert len(site.people.identities("ada")) == 1


def test_one_identity_opens_one_account(site: Site) -> None:
    site.people.sign_in_as(ADA)
    site.people.add("bob", "Bob", "observer", "setup")
    with pytest.raises(PeopleError, match="already"):
        site.people.link("bob", ADA)
    other = Proven("institute", ADA.issuer, "0002", "ada", "Ada", None, True)
    site.people.link("bob", other)
    assert site.people.sign_in_as(other).caller.person.role == "observer", "the rules say nothing of linked ones"
    assert "identity_linked" in [kind for kind, _ in site.told]
