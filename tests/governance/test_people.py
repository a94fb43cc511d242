"""Accounts: how people sign in, how sessions and tokens end, and what an audit is told."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import argon2
import pyotp
import pytest

from athanor.governance import _people as module
from athanor.governance.access import MOST_TOKENS
from athanor.governance.people import IDLE_S, LONGEST, SESSION_S, STEP_S, People, PeopleError, SignInRefused
from athanor.governance.rights import ROLES, SCOPES

GOOD = "seven brown otters swim"
OTHER = "a kettle full of rain"


class Site:
    """Accounts with a clock that the test turns and an audit that it reads."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_800_000_000.0
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.path = folder / "people.db"
        self.people = People(self.path, lambda kind, body: self.told.append((kind, body)), lambda: self.now)
        # A password costs a twentieth of a second on purpose; the tests try hundreds.
        self.people._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)

    def add(self, login: str = "ada", role: Any = "operator", password: str = GOOD) -> None:
        given = self.people.add(login, login.title(), role, "setup")
        self.people.change_password(login, given, password)

    def second_factor(self, login: str = "ada") -> tuple[pyotp.TOTP, list[str]]:
        secret, _ = self.people.begin_second_factor(login, GOOD)
        totp = pyotp.TOTP(secret)
        codes = self.people.confirm_second_factor(login, totp.at(int(self.now)))
        self.now += STEP_S
        return totp, codes

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def code_of(call: Any) -> str:
    with pytest.raises(PeopleError) as caught:
        call()
    return caught.value.code


# -- accounts ---------------------------------------------------------------------------------------------------------


def test_what_somebody_else_has_changed_counts_at_once(site: Site) -> None:
    """Rows are kept in mind between requests: another connection's change, or another file, is seen all the same."""
    site.add("ada")
    secret = site.people.sign_in("ada", GOOD).secret
    token = site.people.issue("ada", "robot", ["read"], 600.0, "ada")
    other = People(site.path, lambda kind, body: None, lambda: site.now)
    for _ in range(2):
        assert site.people.session(secret).person.role == site.people.bearer(token).person.role == "operator"
    other.set_role("ada", "observer", "owner")
    assert site.people.session(secret).person.role == site.people.bearer(token).person.role == "observer"
    other.end(other.tokens()[0].id, "owner")
    assert code_of(lambda: site.people.bearer(token)) == "token.ended"


def test_who_is_known_does_not_wait_for_who_writes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_S", -1.0)
    site.add("ada")
    secret = site.people.sign_in("ada", GOOD).secret
    site.people.session(secret)
    with contextlib.closing(sqlite3.connect(site.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert site.people.session(secret).person.login == "ada"
        other.execute("ROLLBACK")


def test_nobody_waits_for_somebody_who_waits(site: Site) -> None:
    site.add("ada")
    secret = site.people.sign_in("ada", GOOD).secret
    with concurrent.futures.ThreadPoolExecutor(1) as pool, site.people._reader._guard:  # a look that hangs
        assert pool.submit(site.people.session, secret).result(timeout=10.0).person.login == "ada"


def test_a_connection_that_has_gone_bad_is_replaced(site: Site) -> None:
    site.add("ada")
    secret = site.people.sign_in("ada", GOOD).secret
    for _ in range(2):
        assert site.people.session(secret).person.login == "ada"
        kept = site.people._reader._file
        assert kept is not None
        kept.close()


def shell(*words: str | Path) -> None:
    """As an operator does it, in another process."""
    subprocess.run([str(word) for word in words], check=True)


def beside(site: Site) -> list[str]:
    return sorted(path.name for path in site.path.parent.iterdir() if path.name.startswith("people.db-"))


@pytest.mark.parametrize("how", [["cp"], ["cp", "-p"], ["mv", "-f"]])
@pytest.mark.parametrize("is_larger", [False, True])
def test_a_backup_put_back_counts_at_the_next_request(site: Site, how: list[str], is_larger: bool) -> None:
    """The console is open and reading; the backup is one file, copied right after the last change."""
    site.add("ada")
    secret = site.people.sign_in("ada", GOOD).secret
    backup = site.path.with_name("backup")
    if is_larger:
        for number in range(MOST_TOKENS):
            site.people.issue("ada", f"program {number}", ["read"], 600.0, "ada")
    shell("cp", "-p", site.path, backup)
    site.people.set_role("ada", "observer", "owner")
    if is_larger:
        with contextlib.closing(sqlite3.connect(site.path, isolation_level=None)) as other:
            other.execute("DELETE FROM token")
            other.execute("VACUUM")
        assert site.path.stat().st_size < backup.stat().st_size
    else:
        for number in range(MOST_TOKENS):
            site.people.issue("ada", f"program {number}", ["read"], 600.0, "ada")
        assert site.path.stat().st_size > backup.stat().st_size
    for _ in range(2):
        assert site.people.session(secret).person.role == "observer"
    shell(*how, backup, site.path)
    assert site.people.session(secret).person.role == "operator"
    assert len(site.people.tokens()) == (MOST_TOKENS if is_larger else 0)
    site.people.set_role("ada", "scientist", "owner")
    assert site.people.session(secret).person.role == "scientist"
    with contextlib.closing(sqlite3.connect(site.path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert beside(site) == []


def _change_and_die(path: str) -> None:
    people = People(Path(path), lambda kind, body: None)
    secret = people.sign_in("ada", GOOD).secret
    people.session(secret)
    people.set_role("ada", "observer", "owner")
    os.kill(os.getpid(), signal.SIGKILL)


def test_who_is_killed_leaves_one_file_and_all_changes_in_it(site: Site) -> None:
    site.add("ada")
    killed = multiprocessing.get_context("spawn").Process(target=_change_and_die, args=(str(site.path),))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL and beside(site) == []
    copy = site.path.with_name("copy.db")
    shell("cp", site.path, copy)
    assert People(copy, lambda kind, body: None).person("ada").role == "observer"


def test_a_file_that_is_gone_is_not_made_anew(site: Site) -> None:
    """SQLite would make it for everybody to read, and the backup would be copied onto that."""
    site.add("ada")
    secret = site.people.sign_in("ada", GOOD).secret
    site.path.rename(site.path.with_name("backup"))
    with pytest.raises(FileNotFoundError):
        site.people.session(secret)
    with pytest.raises(sqlite3.OperationalError):
        site.people.sign_in("ada", GOOD)
    assert not site.path.exists()
    shell("cp", "-p", site.path.with_name("backup"), site.path)
    assert site.people.session(secret).person.login == "ada"


def test_a_file_with_a_log_beside_it_becomes_one_file(site: Site) -> None:
    """As earlier versions left it. While another program keeps it so, changes count all the same."""
    site.add("ada")
    secret = site.people.sign_in("ada", GOOD).secret
    backup = site.path.with_name("backup")
    other = People(site.path, lambda kind, body: None, lambda: site.now)
    with contextlib.closing(sqlite3.connect(site.path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.execute("SELECT * FROM person").fetchall()
        shell("cp", site.path, backup)
        for role in ("observer", "scientist", "observer"):
            other.set_role("ada", role, "owner")
            assert site.people.session(secret).person.role == role
        late = People(site.path, lambda kind, body: None, lambda: site.now)
        assert late.session(secret).person.role == "observer"
        assert beside(site) == ["people.db-shm", "people.db-wal"]
        for name in beside(site):
            assert stat.S_IMODE(site.path.with_name(name).stat().st_mode) == 0o600
    del late
    other.set_role("ada", "scientist", "owner")
    assert site.people.session(secret).person.role == "scientist"
    assert beside(site) == []
    shell("cp", backup, site.path)  # a backup says how it is to be opened
    assert site.people.session(secret).person.role == "operator"
    other.set_role("ada", "observer", "owner")
    assert site.people.session(secret).person.role == "observer"
    assert beside(site) == []


def test_a_password_that_was_given_out_allows_nothing_until_it_is_changed(site: Site) -> None:
    given = site.people.add("ada", "Ada Lovelace", "owner", "setup")
    caller = site.people.sign_in("ada", given).caller
    assert caller.person.must_change
    assert not any(caller.may(scope, simulated=True) for scope in SCOPES)
    site.people.change_password("ada", given, GOOD)
    caller = site.people.sign_in("ada", GOOD).caller
    assert all(caller.may(scope) for scope in SCOPES)
    assert code_of(lambda: site.people.sign_in("ada", given)) == "sign_in.wrong"


@pytest.mark.parametrize("login", ["", "Ada", "1ada", "a" * 33, "ada lovelace", "ада", "ada\n"])
def test_what_is_no_login(site: Site, login: str) -> None:
    assert code_of(lambda: site.people.add(login, "Ada", "observer", "setup")) == "login.malformed"


def test_what_else_an_account_needs(site: Site) -> None:
    site.add()
    assert code_of(lambda: site.people.add("ada", "Another", "observer", "setup")) == "login.taken"
    assert code_of(lambda: site.people.add("bob", " ", "observer", "setup")) == "name.missing"
    assert code_of(lambda: site.people.add("bob", "Bob", "king", "setup")) == "role.unknown"  # type: ignore[arg-type]
    assert code_of(lambda: site.people.set_role("ada", "king", "x")) == "role.unknown"  # type: ignore[arg-type]
    assert code_of(lambda: site.people.person("bob")) == "login.unknown"
    assert [person.login for person in site.people.everybody()] == ["ada"]


def test_the_last_owner_stays(site: Site) -> None:
    site.add("ada", "owner")
    assert code_of(lambda: site.people.set_role("ada", "observer", "ada")) == "owner.last"
    assert code_of(lambda: site.people.set_active("ada", False, "ada")) == "owner.last"
    site.add("bob", "owner")
    site.people.set_active("ada", False, "bob")
    assert code_of(lambda: site.people.set_role("bob", "observer", "bob")) == "owner.last"


def test_a_role_counts_at_once_and_a_closed_account_is_out_at_once(site: Site) -> None:
    site.add("ada", "observer")
    site.add("bob", "owner")
    secret = site.people.sign_in("ada", GOOD).secret
    token = site.people.issue("ada", "plots", ["read", "campaign.start"], 60.0, "ada")
    assert not site.people.session(secret).may("experiment.decide")
    site.people.set_role("ada", "scientist", "bob")
    assert site.people.session(secret).may("experiment.decide")
    assert site.people.bearer(token).may("campaign.start") and not site.people.bearer(token).may("experiment.decide")
    site.people.set_active("ada", False, "bob")
    assert code_of(lambda: site.people.session(secret)) == "session.ended"
    assert code_of(lambda: site.people.bearer(token)) == "token.ended"
    assert code_of(lambda: site.people.sign_in("ada", GOOD)) == "sign_in.wrong"
    site.people.set_active("ada", True, "bob")
    assert code_of(lambda: site.people.session(secret)) == "session.ended", "it does not come back"
    site.people.sign_in("ada", GOOD)


# -- passwords --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short one", "password.length"),
        ("x" * (LONGEST + 1), "password.length"),
        ("correct password 9", "password.easy"),
        ("ADA is my first name", "password.easy"),
        ("aaaaaaaaaaaaaaaa", "password.easy"),
        (GOOD, "password.easy"),
    ],
)
def test_passwords_that_are_not_taken(site: Site, password: str, code: str) -> None:
    site.add()
    assert code_of(lambda: site.people.change_password("ada", GOOD, password)) == code
    site.people.sign_in("ada", GOOD)


def test_changing_it_ends_the_other_sessions(site: Site) -> None:
    site.add()
    mine, other = site.people.sign_in("ada", GOOD), site.people.sign_in("ada", GOOD)
    assert code_of(lambda: site.people.change_password("ada", OTHER, OTHER)) == "sign_in.wrong"
    site.people.change_password("ada", GOOD, OTHER, keep=mine.caller.by)
    assert site.people.session(mine.secret).person.login == "ada"
    assert code_of(lambda: site.people.session(other.secret)) == "session.ended"


def test_another_password_given_out_ends_sessions_and_waiting(site: Site) -> None:
    site.add()
    secret = site.people.sign_in("ada", GOOD).secret
    for _ in range(5):
        assert code_of(lambda: site.people.sign_in("ada", OTHER)) == "sign_in.wrong"
    assert code_of(lambda: site.people.sign_in("ada", GOOD)) == "sign_in.wait"
    given = site.people.new_password("ada", "bob")
    assert code_of(lambda: site.people.session(secret)) == "session.ended"
    assert site.people.sign_in("ada", given).caller.person.must_change


def test_no_secret_is_in_the_file_or_in_the_audit(site: Site) -> None:
    given = site.people.add("ada", "Ada", "owner", "setup")
    site.people.change_password("ada", given, GOOD)
    secret = site.people.sign_in("ada", GOOD).secret
    token = site.people.issue("ada", "plots", ["read"], 60.0, "ada")
    _, codes = site.second_factor()
    with pytest.raises(SignInRefused):
        site.people.sign_in(OTHER, GOOD, source="127.0.0.1")  # the password, typed where the login belongs
    kept = site.path.read_bytes()
    told = json.dumps(site.told)
    for word in (given, GOOD, OTHER, secret, token, *codes):
        assert word.encode() not in kept and word not in told
    assert stat.S_IMODE(site.path.stat().st_mode) == 0o600


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_failures_make_the_next_try_wait_longer_and_longer(site: Site) -> None:
    site.add()
    for _ in range(4):
        assert code_of(lambda: site.people.sign_in("ada", OTHER)) == "sign_in.wrong"
    waits = []
    for _ in range(13):
        assert code_of(lambda: site.people.sign_in("ada", OTHER)) == "sign_in.wrong"
        with pytest.raises(SignInRefused) as caught:
            site.people.sign_in("ada", GOOD)
        assert caught.value.code == "sign_in.wait"
        waits.append(caught.value.wait_s)
        site.now += caught.value.wait_s
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900])
    site.people.sign_in("ada", GOOD)
    assert code_of(lambda: site.people.sign_in("ada", OTHER)) == "sign_in.wrong"
    site.people.sign_in("ada", GOOD)  # success has wiped the slate


def test_who_tries_many_logins_from_one_place_waits_too(site: Site) -> None:
    site.add()
    for number in range(20):
        assert code_of(lambda: site.people.sign_in(f"guess{number}", OTHER, source="10.0.0.9")) == "sign_in.wrong"  # noqa: B023
    assert code_of(lambda: site.people.sign_in("ada", GOOD, source="10.0.0.9")) == "sign_in.wait"
    site.people.sign_in("ada", GOOD, source="10.0.0.8")
    site.now += 600.0
    for _ in range(9):  # one a minute is forgiven
        assert code_of(lambda: site.people.sign_in("ada", OTHER, source="10.0.0.9")) in (
            "sign_in.wrong",
            "sign_in.wait",
        )
    for number in range(40):
        code_of(lambda: site.people.sign_in(f"guess{number}", OTHER, source="127.0.0.1"))  # noqa: B023
    site.people.new_password("ada", "owner")
    assert code_of(lambda: site.people.sign_in("ada", GOOD, source="127.0.0.1")) == "sign_in.wrong", (
        "all share this one"
    )


def test_tries_at_once_do_not_get_round_the_waiting(site: Site) -> None:
    site.add()
    codes: list[str] = []
    start = threading.Barrier(12)

    def guess() -> None:
        start.wait()
        codes.append(code_of(lambda: site.people.sign_in("ada", OTHER)))

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["sign_in.wait"] * 7 + ["sign_in.wrong"] * 5


def test_a_clock_that_was_ahead_keeps_nobody_out(site: Site) -> None:
    site.add()
    site.now += 10 * 86400.0
    for _ in range(5):
        code_of(lambda: site.people.sign_in("ada", OTHER))
    site.now -= 10 * 86400.0
    site.people.sign_in("ada", GOOD)


def test_a_password_changed_while_it_is_given_out_anew_stays_the_new_one(site: Site) -> None:
    site.add()
    hashed = site.people._hashed
    given: list[str] = []

    def meanwhile(password: str) -> str:
        if password == OTHER:
            given.append(site.people.new_password("ada", "owner"))
        return hashed(password)

    site.people._hashed = meanwhile  # type: ignore[method-assign]
    assert code_of(lambda: site.people.change_password("ada", GOOD, OTHER)) == "sign_in.wrong"
    site.people._hashed = hashed  # type: ignore[method-assign]
    assert code_of(lambda: site.people.sign_in("ada", OTHER)) == "sign_in.wrong"
    assert site.people.sign_in("ada", given[0]).caller.person.must_change


def test_who_is_kept_waiting_keeps_the_session_that_is_open(site: Site) -> None:
    site.add()
    secret = site.people.sign_in("ada", GOOD).secret
    for _ in range(5):
        code_of(lambda: site.people.sign_in("ada", OTHER))
    assert site.people.session(secret).may("instrument.operate")


# -- second factor ----------------------------------------------------------------------------------------------------


def test_with_a_second_factor_the_password_is_not_enough(site: Site) -> None:
    site.add()
    totp, codes = site.second_factor()
    assert code_of(lambda: site.people.sign_in("ada", GOOD)) == "second_factor.needed"
    assert code_of(lambda: site.people.sign_in("ada", OTHER)) == "sign_in.wrong", "nothing is said of the second"
    assert code_of(lambda: site.people.sign_in("ada", GOOD, "000000")) == "second_factor.wrong"
    code = totp.at(int(site.now))
    site.people.sign_in("ada", GOOD, f"{code[:3]} {code[3:]}")
    assert code_of(lambda: site.people.sign_in("ada", GOOD, code)) == "second_factor.wrong", "each code once"
    site.now += STEP_S
    site.people.sign_in("ada", GOOD, totp.at(int(site.now) + STEP_S))  # a clock that is ahead
    assert code_of(lambda: site.people.sign_in("ada", GOOD, totp.at(int(site.now)))) == "second_factor.wrong"
    site.people.sign_in("ada", GOOD, codes[0].upper())
    assert code_of(lambda: site.people.sign_in("ada", GOOD, codes[0])) == "second_factor.wrong"
    site.people.remove_second_factor("ada", "bob")
    site.people.sign_in("ada", GOOD)
    assert site.kinds().count("recovery_code_used") == 1


def test_old_codes_and_codes_to_come_do_not_hold(site: Site) -> None:
    site.add()
    totp, _ = site.second_factor()
    site.now += 10 * STEP_S
    for off in (-3, -2, 2, 3):
        wrong = totp.at(int(site.now) + off * STEP_S)
        assert code_of(lambda: site.people.sign_in("ada", GOOD, wrong)) in ("second_factor.wrong", "sign_in.wait")  # noqa: B023
        site.now += 0.0 if off < 3 else 1.0


def test_guessing_codes_is_slowed_down(site: Site) -> None:
    site.add()
    site.second_factor()
    for _ in range(5):
        assert code_of(lambda: site.people.sign_in("ada", GOOD)) == "second_factor.needed"
        assert code_of(lambda: site.people.sign_in("ada", GOOD, "123")) == "second_factor.wrong"
    for wait in (1, 2, 4):
        assert code_of(lambda: site.people.sign_in("ada", GOOD)) == "sign_in.wait"
        site.now += wait
        # To be asked for the code is no failure, and forgives none.
        assert code_of(lambda: site.people.sign_in("ada", GOOD)) == "second_factor.needed"
        assert code_of(lambda: site.people.sign_in("ada", GOOD, "123")) == "second_factor.wrong"


def test_a_second_factor_counts_once_it_is_confirmed(site: Site) -> None:
    site.add()
    assert code_of(lambda: site.people.confirm_second_factor("ada", "123456")) == "second_factor.none"
    secret, address = site.people.begin_second_factor("ada", GOOD)
    assert secret in address and "Athanor" in address
    site.people.sign_in("ada", GOOD)
    assert code_of(lambda: site.people.confirm_second_factor("ada", "abc")) == "second_factor.wrong"
    assert not site.people.person("ada").has_second_factor


def test_an_open_session_is_not_enough_for_another_second_factor(site: Site) -> None:
    site.add()
    assert code_of(lambda: site.people.begin_second_factor("ada", OTHER)) == "sign_in.wrong"
    totp, _ = site.second_factor()
    assert code_of(lambda: site.people.begin_second_factor("ada", GOOD)) == "second_factor.needed"
    site.people.begin_second_factor("ada", GOOD, totp.at(int(site.now)))
    assert "second_factor_begun" in site.kinds()


# -- sessions and tokens ----------------------------------------------------------------------------------------------


def test_an_idle_session_may_only_stop_and_every_session_ends(site: Site) -> None:
    site.add()
    secret = site.people.sign_in("ada", GOOD, source="127.0.0.1").secret
    for _ in range(3):
        site.now += IDLE_S - 1
        assert site.people.session(secret).may("read"), "use keeps it"
    site.now += IDLE_S - 1
    assert site.people.session(secret, touch=False).may("read")
    site.now += 1
    caller = site.people.session(secret)
    assert caller.is_only_stopping and not caller.may("read")
    assert site.people.session(secret).is_only_stopping, "looking does not wake it"
    site.now += SESSION_S
    assert code_of(lambda: site.people.session(secret)) == "session.ended"
    assert site.people.sessions() == []


def test_sessions_are_listed_and_ended_from_outside(site: Site) -> None:
    site.add()
    site.add("bob", "owner")
    first = site.people.sign_in("ada", GOOD, source="10.0.0.1")
    site.people.sign_in("bob", GOOD)
    [listed] = site.people.sessions("ada")
    assert (listed.id, listed.label, listed.scopes) == (first.caller.by, "10.0.0.1", None)
    assert len(site.people.sessions()) == 2
    site.people.end(listed.id, "bob")
    assert code_of(lambda: site.people.session(first.secret)) == "session.ended"
    assert code_of(lambda: site.people.end(listed.id, "bob")) == "access.none"
    assert code_of(lambda: site.people.session("made up")) == "session.none"
    second = site.people.sign_in("ada", GOOD)
    site.people.sign_out(second.secret)
    site.people.sign_out(second.secret)
    assert code_of(lambda: site.people.session(second.secret)) == "session.ended"
    assert site.kinds().count("signed_out") == 1


def test_a_token_does_no_more_than_it_says_nor_than_its_person(site: Site) -> None:
    site.add("ada", "scientist")
    token = site.people.issue("ada", "night run", ["read", "people.manage"], 3600.0, "ada")
    caller = site.people.bearer(token)
    assert caller.may("read") and not caller.may("campaign.start") and not caller.may("people.manage")
    [listed] = site.people.tokens("ada")
    assert listed.scopes == ("people.manage", "read") and listed.label == "night run"
    assert code_of(lambda: site.people.session(token)) == "session.none", "it is no session"
    site.now += 3600.0
    assert code_of(lambda: site.people.bearer(token)) == "token.ended"
    assert site.people.tokens() == []
    again = site.people.issue("ada", "night run", ["read"], 3600.0, "ada")
    site.people.end(site.people.tokens()[0].id, "bob")
    assert code_of(lambda: site.people.bearer(again)) == "token.ended"
    assert code_of(lambda: site.people.bearer("ath_made-up")) == "token.none"


def test_one_person_has_so_many_tokens(site: Site) -> None:
    site.add("ada", "operator")
    for number in range(MOST_TOKENS):
        site.people.issue("ada", f"program {number}", ["read"], 3600.0, "ada")
    with pytest.raises(PeopleError) as refused:
        site.people.issue("ada", "one more", ["read"], 3600.0, "ada")
    assert refused.value.code == "token.many"
    site.people.end(site.people.tokens("ada")[0].id, "ada")
    site.people.issue("ada", "one more", ["read"], 3600.0, "ada")


@pytest.mark.parametrize(
    ("scopes", "label", "life", "code"),
    [
        ([], "x", 60.0, "token.scopes"),
        (["read", "fly"], "x", 60.0, "token.scopes"),
        (["read"], " ", 60.0, "token.label"),
        (["read"], "x", 0.0, "token.life"),
        (["read"], "x", 366 * 86400.0, "token.life"),
        (["read"], "x", float("nan"), "token.life"),
    ],
)
def test_tokens_that_are_not_issued(site: Site, scopes: Any, label: str, life: float, code: str) -> None:
    site.add()
    assert code_of(lambda: site.people.issue("ada", label, scopes, life, "ada")) == code


# -- audit and file ---------------------------------------------------------------------------------------------------


def test_what_the_audit_does_not_take_is_not_done(site: Site) -> None:
    site.add("ada", "owner")
    site.add("bob", "observer")

    def full(kind: str, body: dict[str, Any]) -> None:
        raise OSError("no space left")

    broken = People(site.path, full, lambda: site.now)
    for change in (
        lambda: broken.add("eve", "Eve", "owner", "eve"),
        lambda: broken.set_role("bob", "owner", "eve"),
        lambda: broken.set_active("bob", False, "eve"),
        lambda: broken.new_password("bob", "eve"),
        lambda: broken.change_password("bob", GOOD, OTHER),
        lambda: broken.begin_second_factor("bob", GOOD),
        lambda: broken.issue("ada", "x", ["read"], 60.0, "eve"),
    ):
        with pytest.raises(OSError, match="no space"):
            change()
    assert [(p.login, p.role, p.is_active) for p in site.people.everybody()] == [
        ("ada", "owner", True),
        ("bob", "observer", True),
    ]
    assert site.people.sessions() == [] and site.people.tokens() == []
    # Who has to stop something gets in, wrong passwords count, and signing out is signing out.
    secret = broken.sign_in("ada", GOOD).secret
    for _ in range(5):
        assert code_of(lambda: broken.sign_in("bob", OTHER)) == "sign_in.wrong"
    assert code_of(lambda: broken.sign_in("bob", GOOD)) == "sign_in.wait"
    broken.sign_out(secret)
    assert code_of(lambda: broken.session(secret)) == "session.ended"


def test_a_file_that_cannot_be_written_keeps_nobody_from_stopping(site: Site) -> None:
    site.add()
    secret = site.people.sign_in("ada", GOOD).secret
    token = site.people.issue("ada", "x", ["read"], 3600.0, "ada")
    site.now += 60.0
    with contextlib.closing(sqlite3.connect(site.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert site.people.session(secret).may("read")
        assert site.people.bearer(token).may("read")
        other.execute("ROLLBACK")


def test_a_file_that_others_could_read_is_closed_to_them(site: Site) -> None:
    site.path.chmod(0o644)
    People(site.path, lambda kind, body: None)
    assert stat.S_IMODE(site.path.stat().st_mode) == 0o600


def test_every_change_is_told_with_who_made_it(site: Site) -> None:
    site.add("ada", "owner")
    site.people.set_role("ada", "owner", "bob")
    site.people.end(site.people.sign_in("ada", GOOD).caller.by, "bob")
    with pytest.raises(SignInRefused):
        site.people.sign_in("ada", OTHER, source="10.0.0.1")
    assert site.kinds() == [
        "person_added",
        "password_changed",
        "person_role_set",
        "signed_in",
        "session_ended",
        "sign_in_refused",
    ]
    assert site.told[-1][1] == {"login": "ada", "source": "10.0.0.1", "code": "sign_in.wrong"}
    assert all(body["login"] == "ada" for _, body in site.told)


def _add(path: str, number: int, results: Any) -> None:
    people = People(Path(path), lambda kind, body: None)
    try:
        people.add("ada", f"Ada {number}", "owner", "race")
    except PeopleError as error:
        results.put(error.code)
    else:
        results.put("added")


def test_several_processes_make_one_file_and_one_account(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    racers = [context.Process(target=_add, args=(str(tmp_path / "people.db"), n, results)) for n in range(4)]
    for racer in racers:
        racer.start()
    codes = sorted(results.get(timeout=60) for _ in racers)
    for racer in racers:
        racer.join()
    results.close()
    assert codes == ["added", "login.taken", "login.taken", "login.taken"]


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_many_begin_at_once(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "people.db"
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute(f"PRAGMA journal_mode = {mode}")
    start = threading.Barrier(16)

    def begin(number: int) -> str:
        start.wait()
        people = People(path, lambda kind, body: None)
        people._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        people.add(f"p{number}", "Ada", "owner", "race")
        return people.person(f"p{number}").login

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(begin, range(16)))) == 16
    assert len(People(path, lambda kind, body: None).everybody()) == 16


def test_what_is_beside_the_file_during_a_change_is_closed_to_others(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def look(kind: str, body: dict[str, Any]) -> None:
        seen.update({path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()})

    before = os.umask(0)
    try:
        People(tmp_path / "people.db", look).add("ada", "Ada", "owner", "setup")
    finally:
        os.umask(before)
    assert seen == {"people.db": 0o600, "people.db-journal": 0o600}


def test_a_file_of_a_later_version_is_left_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCHEMA", 0)
    assert code_of(lambda: People(site.path, lambda kind, body: None)) == "file.newer"


def test_missing_libraries_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "argon2", None)
    with pytest.raises(PeopleError, match=r"athanor-lab\[console\]"):
        People(tmp_path / "people.db", lambda kind, body: None)


@pytest.mark.parametrize("role", ROLES)
def test_a_caller_may_what_the_table_says(site: Site, role: Any) -> None:
    from athanor.governance.rights import scopes_of

    site.add("ada", role)
    caller = site.people.sign_in("ada", GOOD).caller
    for simulated in (False, True):
        assert {s for s in SCOPES if caller.may(s, simulated=simulated)} == scopes_of(role, simulated=simulated)


def test_passwords_are_hashed_as_the_library_advises(tmp_path: Path) -> None:
    people = People(tmp_path / "people.db", lambda kind, body: None)
    given = people.add("ada", "Ada", "owner", "setup")
    with contextlib.closing(sqlite3.connect(people._path)) as file:
        [(hashed,)] = file.execute("SELECT password FROM person")
    assert hashed.startswith("$argon2id$") and not argon2.PasswordHasher().check_needs_rehash(hashed)
    assert people.sign_in("ada", given)
