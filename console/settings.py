"""The site's settings for the console: `console.yaml` in the data folder.

A field that nobody knows is an error. Secrets are never in the file: it names files that hold them, which only their
owner may read. Without the file everything is as it is by itself: no other way to sign in, and no notifications.
"""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from athanor.governance.people import LOGIN

SETTINGS = "console.yaml"
"""The name of the file, in the data folder."""


@dataclass(frozen=True)
class SettingsProblem:
    """One thing that is wrong with the file."""

    line: int | None
    field: str
    detail: str
    remedy: str

    def __str__(self) -> str:
        where = "" if self.line is None else f"line {self.line}: "
        return f"{where}{self.field}: {self.detail}" + (f" → {self.remedy}" if self.remedy else "")


class SettingsError(Exception):
    """The settings cannot be used; every problem with its line, field and remedy."""

    def __init__(self, file: Path, problems: list[SettingsProblem]) -> None:
        self.problems = problems
        said = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{file}\n{said}")


class Part(BaseModel):
    """A part of the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _name(text: str) -> str:
    if not LOGIN.fullmatch(text):
        raise ValueError("up to 32 small letters, digits, '.', '_' and '-', a letter first")
    return text


def _safe_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
        raise ValueError("not an address such as https://lab.example/path")
    if parts.scheme != "https" and not is_loopback(parts.hostname):
        raise ValueError("needs https: only this computer itself is spoken to in the clear")
    return text


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("not a time zone such as Europe/Berlin")
    return text


def _no_two(where: str, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{where}: {twice[0]} is there twice")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this computer's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


Name = Annotated[str, AfterValidator(_name)]
Address = Annotated[str, Field(max_length=2000), AfterValidator(_safe_address)]
Words = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
MailAddress = Annotated[str, Field(max_length=254, pattern=r"^[^\s@<>,;:\"\x00-\x1f]+@[A-Za-z0-9.-]+$")]
Minutes = Annotated[float, Field(ge=0, le=7 * 1440, allow_inf_nan=False)]


# -- signing in -------------------------------------------------------------------------------------------------------


class RoleRule(Part):
    """Whoever has this claim with this value (or a list with it) has this role; the first rule that fits counts.

    A provider never makes an owner: that is for an owner to do.
    """

    claim: Words
    value: Annotated[str, Field(min_length=1, max_length=500)]
    role: Literal["observer", "scientist", "operator", "developer", "steward"]


class ProviderSettings(Part):
    """A provider of OpenID Connect, at which people may sign in."""

    name: Name
    title: Words
    issuer: Address
    client_id: Words
    client_secret_file: Path | None = None
    """None for a public client."""
    secret_in: Literal["header", "body"] = "header"
    scopes: Annotated[list[Words], Field(min_length=1, max_length=20)] = ["openid", "profile"]
    algorithms: Annotated[
        list[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]],
        Field(min_length=1),
    ] = ["RS256", "ES256"]
    authority_file: Path | None = None
    """The certificate (PEM) of who signed the provider's, where the computer does not know them."""
    login_claim: Words = "preferred_username"
    name_claim: Words = "name"
    makes_accounts: bool = True
    """Whether somebody whom a rule gives a role gets an account at the first sign-in."""
    may_link: bool = True
    """Whether people may sign in there to an account that they have here."""
    trusts_second_factor: bool = False
    """Whether an account with a second factor here may be entered though the provider does not say it asked for one."""
    roles: Annotated[list[RoleRule], Field(max_length=100)] = []

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if "openid" not in self.scopes:
            raise ValueError("scopes: 'openid' must be among them")
        if urlsplit(self.issuer).query:
            raise ValueError("issuer: has no query")
        return self


class SignInSettings(Part):
    """How people may sign in besides a password."""

    providers: Annotated[list[ProviderSettings], Field(max_length=10)] = []

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        _no_two("providers", [provider.name for provider in self.providers])
        _no_two("providers: issuer", [provider.issuer for provider in self.providers])
        return self


# -- notifications ----------------------------------------------------------------------------------------------------

What = Literal[
    "approval_waiting",
    "in_doubt",
    "campaign_paused",
    "campaign_failed",
    "campaign_done",
    "stop_all",
    "alarm",
    "event",
]
"""What people may be told of; `event` is any event of the journal, by its kind."""


class QuietHours(Part):
    """From when until when somebody is left alone, in their own zone; over midnight, too."""

    start: time
    end: time

    @model_validator(mode="after")
    def _are_hours(self) -> Self:
        if self.start == self.end:
            raise ValueError("start and end are the same; leave quiet hours out to have none")
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise ValueError("give times such as 22:00, without a zone; the zone is a field of its own")
        return self


class Recipient(Part):
    """Somebody to tell: an account, and how it is reached."""

    login: Name
    email: MailAddress | None = None
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    quiet: QuietHours | None = None


class MailSettings(Part):
    """The mail server. In the clear only on this computer."""

    host: Words
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: Words | None = None
    password_file: Path | None = None
    sender: MailAddress
    authority_file: Path | None = None

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.security == "none" and not is_loopback(self.host):
            raise ValueError("security: 'none' is for a mail server on this computer; use starttls or tls")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together")
        return self


class WebhookSettings(Part):
    """An address that is told by POST, with a signature over time and body (HMAC-SHA256)."""

    name: Name
    url: Address
    secret_file: Path
    authority_file: Path | None = None


class Step(Part):
    """Whom to tell as well, if nobody has acknowledged it so many minutes after the beginning."""

    after_min: Annotated[float, Field(gt=0, le=7 * 1440, allow_inf_nan=False)]
    to: Annotated[list[Name], Field(max_length=50)] = []
    webhooks: Annotated[list[Name], Field(max_length=10)] = []


class NotifyRule(Part):
    """What is told to whom, and how."""

    name: Name
    when: Annotated[list[What], Field(min_length=1)]
    events: Annotated[list[Words], Field(max_length=50)] = []
    """Kinds of events for `when: [event]`; a `*` at the end stands for anything."""
    matching: Annotated[dict[Words, list[str | int | float | bool]], Field(max_length=20)] = {}
    """Fields of the event's body, and what they may be."""
    until: Annotated[list[Words], Field(max_length=20)] = []
    """Kinds of later events with the same `same` that end it, such as alarm_acknowledged."""
    same: Annotated[list[Words], Field(max_length=10)] = []
    """Fields of the body that say whether two events are about one thing; none: all of one kind and campaign are."""
    simulated: bool = True
    """Whether also campaigns on simulated instruments."""
    to: Annotated[list[Name], Field(max_length=50)] = []
    by: Annotated[list[Literal["email", "browser"]], Field(min_length=1)] = ["browser"]
    webhooks: Annotated[list[Name], Field(max_length=10)] = []
    urgent: bool = False
    """Passes quiet hours."""
    after_min: Minutes = 0.25
    """How long something must wait for a person before anybody is told."""
    again_after_min: Minutes = 15.0
    """How long the same is not told again."""
    escalate: Annotated[list[Step], Field(max_length=10)] = []

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if ("event" in self.when) != bool(self.events):
            raise ValueError("events: give the kinds that `when: [event]` is about, and only there")
        if not self.to and not self.webhooks:
            raise ValueError("to: name somebody, or a webhook")
        if any("*" in kind[:-1] for kind in self.events):
            raise ValueError("events: '*' stands at the end only")
        waits = [step.after_min for step in self.escalate]
        if waits != sorted(set(waits)):
            raise ValueError("escalate: each step later than the one before")
        return self


class NotifySettings(Part):
    """Who is told of what."""

    address: Address | None = None
    """What links begin with, such as https://lab.example:8443; none: no links."""
    details: bool = False
    """Whether mails and webhooks may hold reasons and settings; else they say what happened, where, and no more."""
    people: Annotated[list[Recipient], Field(max_length=500)] = []
    mail: MailSettings | None = None
    webhooks: Annotated[list[WebhookSettings], Field(max_length=20)] = []
    rules: Annotated[list[NotifyRule], Field(max_length=100)] = []
    mails_per_hour: Annotated[int, Field(ge=1, le=1000)] = 30
    """At most so many to one person, urgent ones aside; more wait."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _no_two("people", [person.login for person in self.people])
        _no_two("webhooks", [hook.name for hook in self.webhooks])
        _no_two("rules", [rule.name for rule in self.rules])
        known, hooks = {person.login: person for person in self.people}, {hook.name for hook in self.webhooks}
        for rule in self.rules:
            told = [*rule.to, *(login for step in rule.escalate for login in step.to)]
            if missing := [login for login in told if login not in known]:
                raise ValueError(f"rules: {rule.name}: {missing[0]} is not among people")
            wanted = [*rule.webhooks, *(name for step in rule.escalate for name in step.webhooks)]
            if missing := [name for name in wanted if name not in hooks]:
                raise ValueError(f"rules: {rule.name}: {missing[0]} is not among webhooks")
            if "email" in rule.by and self.mail is None:
                raise ValueError(f"rules: {rule.name}: e-mail needs `mail`")
            if "email" in rule.by and (nowhere := [login for login in told if known[login].email is None]):
                raise ValueError(f"rules: {rule.name}: {nowhere[0]} has no e-mail address")
        return self


# -- the whole --------------------------------------------------------------------------------------------------------


class RateSettings(Part):
    """So many at once, and so many per second for good."""

    burst: Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)]
    per_second: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class Settings(Part):
    """All of it."""

    limits: dict[Literal["address", "read", "change", "account", "sign_in", "refused"], RateSettings] = {}
    sign_in: SignInSettings = SignInSettings()
    notifications: NotifySettings = NotifySettings()


_REMEDIES = {
    "missing": "add this field",
    "extra_forbidden": "remove it, or check the spelling",
    "literal_error": "use one of the words named",
}


def load(home: Path) -> Settings:
    """Read the settings of the site whose data folder this is; without a file, those that hold by themselves.

    Files that it names are relative to it, and are looked at here already: a secret that is missing is found at the
    start and not at night.

    Raises:
        SettingsError: the file, or one that it names, cannot be read or is wrong.
    """
    path = home / SETTINGS
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(path, [SettingsProblem(None, "file", f"cannot be read: {error}", "")]) from error
    return parse(text, path)


def parse(text: str, path: Path) -> Settings:
    """Read settings from text that stands, or might stand, in the file `path`. Raises `SettingsError`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    from athanor.instruments.yaml_tree import line_of, plain

    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        problem = SettingsProblem(line, "YAML", str(error.problem), "check indentation, colons and quotes")
        raise SettingsError(path, [problem]) from error
    except YAMLError as error:
        raise SettingsError(path, [SettingsProblem(None, "YAML", str(error), "")]) from error
    if tree is None:
        return Settings()
    if not isinstance(tree, Mapping):
        raise SettingsError(path, [SettingsProblem(1, "document", "is not a mapping", "start with `sign_in:`")])
    try:
        found = Settings.model_validate(plain(tree))
    except ValidationError as error:
        problems = [
            SettingsProblem(
                line_of(tree, item["loc"]),
                ".".join(str(part) for part in item["loc"]) or "document",
                item["msg"].removeprefix("Value error, "),
                _REMEDIES.get(item["type"], ""),
            )
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError(path, problems) from error
    placed: Settings = _placed(found, path.resolve().parent)
    if faults := [fault for field, file in _files(placed) if (fault := _fault(field, file)) is not None]:
        raise SettingsError(path, faults)
    return placed


def _placed(part: Any, folder: Path) -> Any:
    """The same settings with every file's full path."""
    if isinstance(part, Path):
        return folder / part.expanduser()
    if isinstance(part, Part):
        return part.model_copy(update={name: _placed(getattr(part, name), folder) for name in type(part).model_fields})
    if isinstance(part, list):
        return [_placed(item, folder) for item in part]
    return part


def _files(part: Any, field: str = "") -> list[tuple[str, Path]]:
    if isinstance(part, Path):
        return [(field, part)]
    items: list[tuple[str, Any]] = []
    if isinstance(part, Part):
        items = [(f"{field}.{name}".lstrip("."), getattr(part, name)) for name in type(part).model_fields]
    elif isinstance(part, list):
        items = [(f"{field}.{number}", item) for number, item in enumerate(part)]
    return [found for name, item in items for found in _files(item, name)]


def _fault(field: str, file: Path) -> SettingsProblem | None:
    if field.endswith("authority_file"):
        return None if file.is_file() else SettingsProblem(None, field, f"there is no file {file}", "give a PEM file")
    try:
        secret(file)
    except SecretError as error:
        return SettingsProblem(None, field, str(error), error.remedy)
    return None


class SecretError(Exception):
    """A file that holds a secret cannot be used."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def secret(file: Path) -> str:
    """What a file holds that only its owner may read. Raises `SecretError`, which never says what is in it."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise SecretError(f"{file} cannot be read: {why}", "put the secret into this file") from error
    if mode & 0o077:
        raise SecretError(f"{file} can be read by others (mode {mode:04o})", f"chmod 600 {file}")
    if not text or "\n" in text:
        raise SecretError(f"{file} does not hold one line with a secret", "put the secret into it, and nothing else")
    return text
