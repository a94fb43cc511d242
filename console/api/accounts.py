"""Signing in, one's own account, and the accounts of others."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from athanor.console.api.door import COOKIE, Door, caller_of, csrf_of, desk_of
from athanor.console.api.problems import Denied
from athanor.governance.people import LONGEST, SESSION_S, Access, Person, SignedIn
from athanor.governance.rights import Role, Scope, scopes_of

door = Door("people")

Login = Annotated[str, Field(min_length=1, max_length=64)]
Password = Annotated[str, Field(min_length=1, max_length=LONGEST, repr=False)]


class Asked(BaseModel):
    """What is sent; a field that nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class SignIn(Asked):
    """Who signs in. `code` is of the second factor, or one of the recovery codes."""

    login: Login
    password: Password
    code: Annotated[str | None, Field(max_length=32)] = None


class PersonOut(BaseModel):
    """An account."""

    login: str
    name: str
    role: Role
    is_active: bool
    added: datetime
    must_change: bool
    has_second_factor: bool

    @classmethod
    def of(cls, person: Person) -> PersonOut:
        """As it is shown."""
        return cls(**{**asdict(person), "added": datetime.fromtimestamp(person.added, UTC)})


class SessionOut(BaseModel):
    """Who is signed in, and what they may do. `csrf` goes into the header X-CSRF-Token of every change."""

    person: PersonOut
    scopes: list[Scope]
    scopes_on_simulated: list[Scope]
    is_only_stopping: bool
    csrf: str | None


class AccessOut(BaseModel):
    """A session (without `scopes`) or a token."""

    id: str
    login: str
    label: str
    began: datetime
    seen: datetime | None
    expires: datetime
    scopes: list[Scope] | None

    @classmethod
    def of(cls, access: Access) -> AccessOut:
        """As it is shown."""
        moments = {
            name: None if at is None else datetime.fromtimestamp(at, UTC)
            for name, at in (("began", access.began), ("seen", access.seen), ("expires", access.expires))
        }
        scopes = None if access.scopes is None else list(access.scopes)
        return cls(id=access.id, login=access.login, label=access.label, scopes=scopes, **moments)


class PasswordChange(Asked):
    """One's own old and new password. One's other sessions end; one's tokens as well, if wanted."""

    old: Password
    new: Password
    end_tokens: bool = False


class Proof(Asked):
    """That it is still the same person: the password, and a code of the second factor where there is one."""

    password: Password
    code: Annotated[str | None, Field(max_length=32)] = None


class Code(Asked):
    """A code of the second factor."""

    code: Annotated[str, Field(min_length=1, max_length=32)]


class NewPerson(Asked):
    """Somebody to add."""

    login: Login
    name: Annotated[str, Field(min_length=1, max_length=200)]
    role: Role


class PersonChange(Asked):
    """What to change of an account."""

    role: Role | None = None
    is_active: bool | None = None


class NewToken(Asked):
    """A token to make, for so many days."""

    label: Annotated[str, Field(min_length=1, max_length=200)]
    scopes: Annotated[list[Scope], Field(min_length=1)]
    days: Annotated[float, Field(gt=0, le=365)] = 30.0


class TokenOut(BaseModel):
    """A new token. It is told this once."""

    token: str


class GivenOut(BaseModel):
    """A password that was given out. It is told this once, and must be changed at the first sign-in."""

    password: str


class SecondFactorOut(BaseModel):
    """A secret for an authenticator, and the address that it can read it from."""

    secret: str
    address: str


class RecoveryCodes(BaseModel):
    """One-time codes, told this once."""

    codes: list[str]


# -- one's own --------------------------------------------------------------------------------------------------------


@door.on("POST", "/session", "nobody")
def sign_in(asked: SignIn, request: Request, response: Response) -> SessionOut:
    """Sign in: sets the session's cookie."""
    desk = desk_of(request)
    source = request.client.host if request.client is not None else ""
    return enter(desk.people.sign_in(asked.login, asked.password, asked.code, source), request, response)


def enter(done: SignedIn, request: Request, response: Response) -> SessionOut:
    """Set the cookie of a new session, and say whose it is."""
    response.set_cookie(
        COOKIE,
        done.secret,
        max_age=int(SESSION_S),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    request.state.caller = done.caller
    return _session(request, csrf_of(done.secret))


@door.on("GET", "/session", "stop")
def session(request: Request) -> SessionOut:
    """Who am I?"""
    secret = request.cookies.get(COOKIE)
    return _session(request, csrf_of(secret) if secret and "authorization" not in request.headers else None)


def _session(request: Request, csrf: str | None) -> SessionOut:
    caller = caller_of(request)
    scopes = {s: scopes_of(caller.person.role, simulated=s) for s in (False, True)}
    allowed = {s: sorted(scope for scope in scopes[s] if caller.may(scope, simulated=s)) for s in (False, True)}
    return SessionOut(
        person=PersonOut.of(caller.person),
        scopes=allowed[False],
        scopes_on_simulated=allowed[True],
        is_only_stopping=caller.is_only_stopping,
        csrf=csrf,
    )


@door.on("DELETE", "/session", "stop", status=204)
def sign_out(request: Request, response: Response) -> None:
    """Sign out."""
    if secret := request.cookies.get(COOKIE):
        desk_of(request).people.sign_out(secret)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


@door.on("POST", "/session/password", "own", status=204, is_for_sessions=True)
def change_password(asked: PasswordChange, request: Request) -> None:
    """Change one's own password; one's other sessions end, and, if wanted, one's tokens."""
    login, by = caller_of(request).person.login, caller_of(request).by
    desk_of(request).people.change_password(login, asked.old, asked.new, keep=by, end_tokens=asked.end_tokens)


@door.on("POST", "/session/second-factor", "own", is_for_sessions=True)
def begin_second_factor(asked: Proof, request: Request) -> SecondFactorOut:
    """Get a secret for a second factor; it counts once a code of it was sent."""
    login = caller_of(request).person.login
    secret, address = desk_of(request).people.begin_second_factor(login, asked.password, asked.code)
    return SecondFactorOut(secret=secret, address=address)


@door.on("POST", "/session/second-factor/confirm", "own", is_for_sessions=True)
def confirm_second_factor(asked: Code, request: Request) -> RecoveryCodes:
    """Have the second factor count."""
    return RecoveryCodes(
        codes=desk_of(request).people.confirm_second_factor(caller_of(request).person.login, asked.code)
    )


@door.on("GET", "/tokens", "person")
def tokens(request: Request) -> list[AccessOut]:
    """One's own tokens."""
    return [AccessOut.of(token) for token in desk_of(request).people.tokens(caller_of(request).person.login)]


@door.on("POST", "/tokens", "person", status=201, is_for_sessions=True)
def issue(asked: NewToken, request: Request) -> TokenOut:
    """Make a token for a program; it may do at most what its person may."""
    login = caller_of(request).person.login
    return TokenOut(token=desk_of(request).people.issue(login, asked.label, asked.scopes, asked.days * 86400.0, login))


@door.on("DELETE", "/tokens/{token}", "person", status=204, is_for_sessions=True)
def end_token(token: str, request: Request) -> None:
    """End one of one's own tokens."""
    desk, caller = desk_of(request), caller_of(request)
    if token not in {found.id for found in desk.people.tokens(caller.person.login)}:
        raise Denied(404, "access.none", f"you have no token {token}")
    desk.people.end(token, caller.person.login)


# -- of others --------------------------------------------------------------------------------------------------------


@door.on("GET", "/people", "people.manage")
def people(request: Request) -> list[PersonOut]:
    """Every account."""
    return [PersonOut.of(person) for person in desk_of(request).people.everybody()]


@door.on("POST", "/people", "people.manage", status=201, is_for_sessions=True)
def add(asked: NewPerson, request: Request) -> GivenOut:
    """Add somebody; the answer holds the password."""
    by = caller_of(request).person.login
    return GivenOut(password=desk_of(request).people.add(asked.login, asked.name, asked.role, by))


@door.on("PATCH", "/people/{login}", "people.manage", is_for_sessions=True)
def change(login: str, asked: PersonChange, request: Request) -> PersonOut:
    """Give another role, close an account or open it again."""
    desk, by = desk_of(request), caller_of(request).person.login
    if asked.role is not None:
        desk.people.set_role(login, asked.role, by)
    if asked.is_active is not None:
        desk.people.set_active(login, asked.is_active, by)
    return PersonOut.of(desk.people.person(login))


@door.on("POST", "/people/{login}/password", "people.manage", is_for_sessions=True)
def give_password(login: str, request: Request) -> GivenOut:
    """Give out another password; the person's sessions end."""
    return GivenOut(password=desk_of(request).people.new_password(login, caller_of(request).person.login))


@door.on("DELETE", "/people/{login}/second-factor", "people.manage", status=204, is_for_sessions=True)
def remove_second_factor(login: str, request: Request) -> None:
    """Do without somebody's second factor, as when the device is lost; the person's sessions end."""
    desk_of(request).people.remove_second_factor(login, caller_of(request).person.login)


@door.on("GET", "/sessions", "people.manage")
def sessions(request: Request) -> list[AccessOut]:
    """Every open session and every token."""
    desk = desk_of(request)
    return [AccessOut.of(access) for access in [*desk.people.sessions(), *desk.people.tokens()]]


@door.on("DELETE", "/sessions/{access}", "people.manage", status=204, is_for_sessions=True)
def end(access: str, request: Request) -> None:
    """End somebody's session or token."""
    desk_of(request).people.end(access, caller_of(request).person.login)
