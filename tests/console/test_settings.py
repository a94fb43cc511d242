"""The site's settings: what is wrong with them is said with line, field and remedy, and secrets stay in their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from athanor.console.cli.app import run
from athanor.console.settings import SETTINGS, SecretError, Settings, SettingsError, load, parse, secret

WHOLE = """
limits:
  change: {burst: 200, per_second: 5}
sign_in:
  providers:
    - name: institute
      title: Institute account
      issuer: https://login.example.org/realms/lab
      client_id: athanor
      client_secret_file: secrets/oidc
      roles:
        - {claim: groups, value: lab-operators, role: operator}
notifications:
  address: https://lab.example:8443
  people:
    - login: ada
      email: ada@example.org
      zone: Europe/Berlin
      quiet: {start: "22:00", end: "06:30"}
    - login: bob
      email: bob@example.org
  mail: {host: mail.example.org, sender: athanor@example.org, user: athanor, password_file: secrets/mail}
  webhooks:
    - {name: chat, url: "https://chat.example.org/hook", secret_file: secrets/hook}
  rules:
    - name: approvals
      when: [approval_waiting]
      to: [ada]
      by: [email, browser]
      escalate:
        - {after_min: 15, to: [bob], webhooks: [chat]}
    - name: alarms
      when: [event]
      events: ["alarm_*"]
      matching: {priority: [high, 1]}
      to: [ada, bob]
      urgent: true
"""


def home_with(folder: Path, text: str) -> Path:
    (folder / "secrets").mkdir(exist_ok=True)
    for name in ("oidc", "mail", "hook"):
        file = folder / "secrets" / name
        file.touch(mode=0o600)
        file.write_text(f"the {name} secret\n")
    (folder / SETTINGS).write_text(text)
    return folder


def wrong(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(home_with(folder, text))
    return str(caught.value)


def test_without_a_file_everything_is_as_by_itself(tmp_path: Path) -> None:
    assert load(tmp_path) == Settings()
    assert load(home_with(tmp_path, "")) == Settings()
    assert load(home_with(tmp_path, "# nothing yet\n")) == Settings()


def test_the_whole_is_read_and_files_are_beside_it(tmp_path: Path) -> None:
    found = load(home_with(tmp_path, WHOLE))
    [provider] = found.sign_in.providers
    assert provider.client_secret_file == tmp_path / "secrets" / "oidc"
    assert secret(provider.client_secret_file) == "the oidc secret"
    ada, bob = found.notifications.people
    assert ada.quiet is not None and ada.quiet.end.minute == 30 and bob.zone == "UTC"
    assert found.notifications.rules[1].matching == {"priority": ["high", 1]}
    assert found.limits["change"].burst == 200
    assert "secret" not in repr(found).replace("secret_file", "").replace("secrets/", "").replace("secret_in", "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("per_second: 5", "per_second: 0", "line 3: limits.change.per_second"),
        ("burst: 200", "burts: 200", "check the spelling"),
        ("sign_in:", "signin:", "signin"),
        ("issuer: https://login", "issuer: http://login", "needs https"),
        ("issuer: https://login.example.org/realms/lab", "issuer: ftp://x", "not an address"),
        ("role: operator", "role: owner", "'observer'"),
        ("client_id: athanor\n", "\n", "client_id"),
        ("name: institute", "name: The Institute", "small letters"),
        ("client_secret_file: secrets/oidc", "client_secret_file: secrets/none", "cannot be read"),
        ("client_secret_file: secrets/oidc", "client_secret: abc", "client_secret"),
        ("zone: Europe/Berlin", "zone: Berlin", "time zone"),
        ('end: "06:30"', 'end: "22:00"', "are the same"),
        ('end: "06:30"', 'end: "half past"', "end"),
        ("email: ada@example.org", "email: 'ada@x, eve@y'", "email"),
        ("email: ada@example.org\n", "\n", "ada has no e-mail address"),
        ("- login: bob", "- login: ada", "ada is there twice"),
        ("to: [ada]\n", "to: [eve]\n", "eve is not among people"),
        ("webhooks: [chat]", "webhooks: [pager]", "pager is not among webhooks"),
        ("  mail:", "  male:", "male"),
        ("user: athanor, ", "", "go together"),
        ("sender: athanor@example.org, user", "security: none, sender: athanor@example.org, user", "on this computer"),
        ('      events: ["alarm_*"]\n', "", "events"),
        ('["alarm_*"]', '["*_alarm"]', "at the end only"),
        ("after_min: 15", "after_min: 0", "after_min"),
        ("when: [approval_waiting]", "when: [lunch]", "'approval_waiting'"),
        ("notifications:", "notifications: [", "YAML"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in WHOLE
    text = wrong(tmp_path, WHOLE.replace(old, new, 1))
    assert said in text and SETTINGS in text
    assert "the mail secret" not in text


def test_it_is_a_mapping(tmp_path: Path) -> None:
    assert "not a mapping" in wrong(tmp_path, "- a\n- b\n")


def test_a_secret_that_others_can_read_is_none(tmp_path: Path) -> None:
    home_with(tmp_path, WHOLE)
    (tmp_path / "secrets" / "mail").chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        load(tmp_path)
    for text in ("", "two\nlines", b"\xff\xfe"):
        file = tmp_path / "secret"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(0o600)
        with pytest.raises(SecretError):
            secret(file)


def test_the_console_does_not_start_with_settings_that_are_wrong(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home_with(home, WHOLE.replace("to: [ada]\n", "to: [eve]\n", 1))
    assert run(["console", "--port", "1"]) == 1
    said = capsys.readouterr().err
    assert "eve is not among people" in said and str(home / SETTINGS) in said
    assert not (home / "ledger.db").exists(), "before anything was made"


def test_a_text_may_be_tried_before_it_is_kept(tmp_path: Path) -> None:
    assert parse("limits: {}\n", tmp_path / SETTINGS) == Settings()
