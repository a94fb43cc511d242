"""Signing in at a provider of OpenID Connect, and linking one's account with it.

A browser goes to the provider and comes back to the page `/sign-in`, which hands on what the provider gave it. What
was begun is kept by its state, and belongs to the browser that it began in by a cookie that no script reads.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Request, Response
from pydantic import BaseModel, Field

from athanor.console.api.accounts import Asked, Proof, SessionOut, enter
from athanor.console.api.door import COOKIE, Door, caller_of, desk_of
from athanor.console.api.problems import Denied
from athanor.console.openid import UNDERWAY_S, OpenIdError, Provider, Underway
from athanor.console.settings import SecretError
from athanor.governance.people import Identity

door = Door("people")

BINDING = "athanor-sign-in"
"""The cookie of who is on the way."""
PATH = "/api/v1/session"
BACK = "/sign-in"
"""The page to which a provider sends people back; it must be registered there, with the console's address before it."""

STATUS = {
    "oidc.unreachable": 503,
    "oidc.malformed": 502,
    "oidc.code": 409,
    "oidc.state": 409,
    "oidc.token": 403,
    "oidc.refused": 403,
}


class ProviderOut(BaseModel):
    """Where else one may sign in."""

    name: str
    title: str
    may_link: bool


class BegunOut(BaseModel):
    """Where to send the browser."""

    address: str


class FarewellOut(BaseModel):
    """Where to send the browser to sign out there, too; None where there is no such thing."""

    address: str | None


class Returned(Asked):
    """What the provider gave the browser: a code, or why there is none."""

    state: Annotated[str, Field(min_length=1, max_length=200)]
    code: Annotated[str | None, Field(min_length=1, max_length=4000, repr=False)] = None
    issuer: Annotated[str | None, Field(max_length=2000)] = None
    error: Annotated[str | None, Field(max_length=100, pattern=r"^[A-Za-z0-9_.-]*$")] = None


class IdentityOut(BaseModel):
    """A way to sign in elsewhere that an account has. `is_theirs`: the account was made by it."""

    id: str
    issuer: str
    subject: str
    provider: str | None
    linked: datetime
    is_theirs: bool


# -- signing in -------------------------------------------------------------------------------------------------------


@door.on("GET", "/session/providers", "nobody")
def providers(request: Request) -> list[ProviderOut]:
    """Where else one may sign in."""
    found = desk_of(request).providers.values()
    return [ProviderOut(name=p.settings.name, title=p.settings.title, may_link=p.settings.may_link) for p in found]


@door.on("POST", "/session/providers/{provider}/begin", "nobody")
def begin(provider: str, request: Request, response: Response) -> BegunOut:
    """Begin to sign in at a provider."""
    return _begin(_provider(request, provider), request, response, "in", None)


@door.on("POST", "/session/providers/{provider}/finish", "nobody")
def finish(provider: str, asked: Returned, request: Request, response: Response) -> SessionOut:
    """Finish it: sets the session's cookie."""
    found = _provider(request, provider)
    with _told(request, found):
        underway, code = _back(found, asked, request, response, None)
        proven = found.finish(underway, code, asked.issuer)
    signed_in = desk_of(request).people.sign_in_as(
        proven,
        _source(request),
        makes_accounts=found.settings.makes_accounts,
        trusts_second_factor=found.settings.trusts_second_factor,
    )
    return enter(signed_in, request, response)


@door.on("POST", "/session/providers/{provider}/sign-out", "own", is_for_sessions=True)
def sign_out(provider: str, request: Request, response: Response) -> FarewellOut:
    """Sign out here; the answer says where to sign out at the provider."""
    found = _provider(request, provider)
    if secret := request.cookies.get(COOKIE):
        desk_of(request).people.sign_out(secret)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return FarewellOut(address=found.farewell(_back_to(request)))


# -- linking ----------------------------------------------------------------------------------------------------------


@door.on("GET", "/session/identities", "own")
def identities(request: Request) -> list[IdentityOut]:
    """How one may sign in elsewhere."""
    return _listed(request, caller_of(request).person.login)


@door.on("POST", "/session/identities/{provider}/begin", "own", is_for_sessions=True)
def begin_link(provider: str, asked: Proof, request: Request, response: Response) -> BegunOut:
    """Begin to link one's account with a provider."""
    found, login = _provider(request, provider), caller_of(request).person.login
    if not found.settings.may_link:
        raise Denied(403, "oidc.no_linking", f"accounts are not linked with {found.settings.title} here")
    desk_of(request).people.prove(login, asked.password, asked.code, _source(request))
    return _begin(found, request, response, "link", login)


@door.on("POST", "/session/identities/{provider}/finish", "own", status=204, is_for_sessions=True)
def finish_link(provider: str, asked: Returned, request: Request, response: Response) -> None:
    """Finish it: from now on one may sign in there."""
    found, login = _provider(request, provider), caller_of(request).person.login
    with _told(request, found):
        underway, code = _back(found, asked, request, response, login)
        proven = found.finish(underway, code, asked.issuer)
    desk_of(request).people.link(login, proven)


@door.on("DELETE", "/session/identities/{identity}", "own", status=204, is_for_sessions=True)
def unlink(identity: str, request: Request) -> None:
    """End a way to sign in to one's account."""
    login = caller_of(request).person.login
    desk_of(request).people.unlink(login, identity, login)


@door.on("GET", "/people/{login}/identities", "people.manage")
def identities_of(login: str, request: Request) -> list[IdentityOut]:
    """How somebody may sign in elsewhere."""
    return _listed(request, desk_of(request).people.person(login).login)


@door.on("DELETE", "/people/{login}/identities/{identity}", "people.manage", status=204, is_for_sessions=True)
def unlink_of(login: str, identity: str, request: Request) -> None:
    """End a way to sign in of somebody; who has no other one needs a password given out."""
    desk_of(request).people.unlink(login, identity, caller_of(request).person.login)


# -- the parts --------------------------------------------------------------------------------------------------------


def _provider(request: Request, name: str) -> Provider:
    found = desk_of(request).providers.get(name)
    if found is None:
        raise Denied(404, "oidc.unknown", f"there is no provider {name!r} here", "GET /api/v1/session/providers")
    return found


def _begin(found: Provider, request: Request, response: Response, kind: str, login: str | None) -> BegunOut:
    state = f"{kind}.{secrets.token_urlsafe(32)}"
    with _told(request, found):
        address, underway = found.begin(_back_to(request), state, login)
    desk_of(request).journeys.keep(state, underway)
    response.set_cookie(
        BINDING,
        underway.binding,
        max_age=int(UNDERWAY_S),
        path=PATH,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return BegunOut(address=address)


def _back(
    found: Provider, asked: Returned, request: Request, response: Response, login: str | None
) -> tuple[Underway, str]:
    """What was begun, and the code. Raises `OpenIdError`."""
    underway = desk_of(request).journeys.take(asked.state, request.cookies.get(BINDING, ""), login)
    response.delete_cookie(BINDING, path=PATH, httponly=True, samesite="strict")
    if underway.provider != found.settings.name:
        raise OpenIdError("oidc.state", "this sign-in began at another provider", "begin again")
    if asked.error or asked.code is None:
        said = f" ({asked.error})" if asked.error else ""
        raise OpenIdError("oidc.refused", f"{found.settings.title} did not sign you in{said}", "begin again")
    return underway, asked.code


@contextlib.contextmanager
def _told(request: Request, provider: Provider) -> Iterator[None]:
    """Say and write down why somebody was not signed in."""
    try:
        yield
    except SecretError as error:
        raise Denied(502, "oidc.malformed", str(error), error.remedy) from error
    except OpenIdError as error:
        told = {"login": None, "source": _source(request), "code": error.code, "provider": provider.settings.name}
        desk_of(request).note("sign_in_refused", {**told, "detail": str(error)[:500]})
        wait_s = 5.0 if STATUS[error.code] == 503 else 0.0
        raise Denied(STATUS[error.code], error.code, str(error), error.remedy, wait_s) from error


def _source(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _back_to(request: Request) -> str:
    """The console's own address, as the browser knows it; the threshold has seen that it is ours."""
    return f"{request.url.scheme}://{request.headers['host']}{BACK}"


def _listed(request: Request, login: str) -> list[IdentityOut]:
    desk = desk_of(request)
    names = {provider.settings.issuer: provider.settings.name for provider in desk.providers.values()}

    def shown(found: Identity) -> IdentityOut:
        return IdentityOut(
            id=found.id,
            issuer=found.issuer,
            subject=found.subject,
            provider=names.get(found.issuer),
            linked=datetime.fromtimestamp(found.linked, UTC),
            is_theirs=found.is_theirs,
        )

    return [shown(found) for found in desk.people.identities(login)]
