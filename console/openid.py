"""OpenID Connect: the authorisation code flow with PKCE, at one provider.

Sources: OpenID Connect Core 1.0 (sections 3.1.2, 3.1.3.7), Discovery 1.0, RP-Initiated Logout 1.0, RFC 7636 (PKCE),
RFC 9207 (the issuer in the answer), RFC 9700 (current practice).

Nothing that a provider says is believed before its signature, issuer, audience, time and nonce are right.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from athanor.console.outside import Reply, Unreachable, ask
from athanor.console.settings import ProviderSettings, is_loopback, secret
from athanor.governance.identities import Proven

KNOWN_S = 3600.0
"""How long what a provider says of itself, and its keys, are believed."""
AGAIN_S = 30.0
"""A key that nobody knows is looked for again so long after the last time."""
LEEWAY_S = 60.0
"""How much clocks may differ."""
OLDEST_S = 600.0
"""An ID token is used as soon as it was made."""
UNDERWAY_S = 600.0
"""How long somebody may take at the provider."""
MOST_UNDERWAY = 5000
MANY = frozenset({"mfa", "otp", "hwk", "swk", "fpt", "face", "iris", "retina", "sc", "pop"})
"""Of RFC 8176, what says that more was asked for than a password."""


class OpenIdError(Exception):
    """Somebody could not be signed in at a provider. `code` is stable."""

    def __init__(self, code: str, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy


@dataclass(frozen=True)
class Underway:
    """Somebody who was sent to a provider and is not back yet."""

    provider: str
    nonce: str
    verifier: str
    back: str
    """Where the provider sends them back to."""
    binding: str
    """What only their browser holds."""
    at: float
    login: str | None = None
    """Whose account is to be linked; None: they sign in."""


@dataclass
class _Known:
    document: dict[str, Any]
    at: float


@dataclass
class _Keys:
    keys: list[dict[str, Any]] = field(default_factory=list)
    at: float = float("-inf")


class Provider:
    """One provider.

    Args:
        settings: which, and what its claims stand for.
        clock: Unix time in seconds.
    """

    def __init__(self, settings: ProviderSettings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self._clock = clock
        self._guard = threading.Lock()
        self._known: _Known | None = None
        self._keys = _Keys()

    # -- what it says of itself ----------------------------------------------------------------------------------------

    def described(self) -> dict[str, Any]:
        """What the provider says of itself; kept for an hour.

        Raises:
            OpenIdError: `oidc.unreachable`, or `oidc.malformed` when it is not what it should be.
        """
        now = self._clock()
        with self._guard:
            if self._known is not None and 0 <= now - self._known.at < KNOWN_S:
                return self._known.document
        address = f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        found = self._document(self._ask("GET", address), "what it says of itself")
        if found.get("issuer") != self.settings.issuer:
            raise self._malformed(f"it calls itself {found.get('issuer')!r}, not {self.settings.issuer!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            self._check_address(name, found.get(name))
        methods = found.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" not in methods:
            raise self._malformed("it does not take PKCE with S256")
        with self._guard:
            self._known = _Known(found, now)
        return found

    def _check_address(self, name: str, address: Any) -> None:
        parts = urlsplit(address) if isinstance(address, str) else None
        host = None if parts is None else parts.hostname
        if parts is None or not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
            raise self._malformed(f"its {name} is no address that may be used: {address!r}")

    # -- there and back ------------------------------------------------------------------------------------------------

    def begin(self, back: str, state: str, login: str | None = None) -> tuple[str, Underway]:
        """Where to send a browser, and what to keep until it is back. Raises `OpenIdError`."""
        described = self.described()
        underway = Underway(
            provider=self.settings.name,
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            back=back,
            binding=secrets.token_urlsafe(32),
            at=self._clock(),
            login=login,
        )
        challenge = base64.urlsafe_b64encode(hashlib.sha256(underway.verifier.encode()).digest()).rstrip(b"=")
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.settings.client_id,
                "redirect_uri": back,
                "scope": " ".join(self.settings.scopes),
                "state": state,
                "nonce": underway.nonce,
                "code_challenge": challenge.decode(),
                "code_challenge_method": "S256",
            }
        )
        target = str(described["authorization_endpoint"])
        return f"{target}{'&' if urlsplit(target).query else '?'}{query}", underway

    def finish(self, underway: Underway, code: str, issuer: str | None) -> Proven:
        """Who came back with this code.

        Args:
            underway: what was kept when they left.
            code: what the provider gave them.
            issuer: who, as the answer says, answered (RFC 9207); None where it does not say.

        Raises:
            OpenIdError: `oidc.unreachable`, `oidc.malformed`, `oidc.code` or `oidc.token`.
        """
        described = self.described()
        if issuer is None and described.get("authorization_response_iss_parameter_supported") is True:
            raise _untrue("the answer does not say who gave it")
        if issuer is not None and issuer != self.settings.issuer:
            raise _untrue("another provider answered")
        return self._proven(self._claims(self._token(underway, code, described), underway.nonce))

    def _token(self, underway: Underway, code: str, described: Mapping[str, Any]) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": underway.back,
            "code_verifier": underway.verifier,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        file, client = self.settings.client_secret_file, self.settings.client_id
        if file is not None and self.settings.secret_in == "header":
            pair = f"{quote(client, safe='')}:{quote(secret(file), safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = client
            if file is not None:
                form["client_secret"] = secret(file)
        reply = self._ask("POST", str(described["token_endpoint"]), headers, urlencode(form).encode())
        if reply.status in (400, 401, 403):
            try:
                why = str(json.loads(reply.body).get("error", ""))[:100]
            except (ValueError, AttributeError):
                why = ""
            if why == "invalid_client" or reply.status == 401:
                raise OpenIdError(
                    "oidc.malformed",
                    f"{self.settings.title} does not know this console ({why or reply.status})",
                    "an administrator has to look at client_id and client_secret_file in console.yaml",
                )
            raise OpenIdError(
                "oidc.code", f"{self.settings.title} does not take its own code any more ({why})", "sign in again"
            )
        token = self._document(reply, "its answer").get("id_token")
        if not isinstance(token, str):
            raise self._malformed("its answer has no ID token")
        return token

    # -- the ID token --------------------------------------------------------------------------------------------------

    def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token in which everything is right. Raises `OpenIdError`."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        header = _header(token)
        algorithm = header.get("alg")
        if algorithm not in self.settings.algorithms:
            raise _untrue(f"its ID token is signed with {algorithm!r}, which is not one of the settings' algorithms")
        try:
            claims = jwt.decode(token, self._key(header.get("kid"), str(algorithm)), algorithms=[str(algorithm)]).claims
        except (JoseError, ValueError, TypeError) as error:
            raise _untrue("the signature of its ID token is not right") from error
        now = self._clock()
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if claims.get("iss") != self.settings.issuer:
            raise _untrue("its ID token is of another issuer")
        if self.settings.client_id not in audiences:
            raise _untrue("its ID token is for somebody else")
        if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != self.settings.client_id:
            raise _untrue("its ID token was given to somebody else")
        expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
        if now >= expires + LEEWAY_S:
            raise _untrue("its ID token has expired")
        if issued > now + LEEWAY_S or now > issued + OLDEST_S or _moment(claims, "nbf", issued) > now + LEEWAY_S:
            raise _untrue("its ID token is not of now", "set the clocks of both computers")
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise _untrue("its ID token is of another sign-in")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise _untrue("its ID token does not say of whom it is")
        return claims

    def _key(self, kid: Any, algorithm: str) -> Any:
        """The key with this id; one that is not known is asked for, but not all the time."""
        now = self._clock()
        with self._guard:
            known = self._keys
        is_fresh = 0 <= now - known.at < KNOWN_S
        found = _fitting(known.keys, kid, algorithm) if is_fresh else []
        if not found and not 0 <= now - known.at < AGAIN_S:
            answer = self._document(self._ask("GET", str(self.described()["jwks_uri"])), "its keys").get("keys")
            if not isinstance(answer, list):
                raise self._malformed("its keys are none")
            keys = [key for key in answer[:100] if isinstance(key, dict)]
            with self._guard:
                self._keys = _Keys(keys, now)
            found = _fitting(keys, kid, algorithm)
        if len(found) != 1:
            raise _untrue("its ID token is signed with a key that the provider does not show")
        return found[0]

    def _proven(self, claims: Mapping[str, Any]) -> Proven:
        settings = self.settings
        methods = claims.get("amr")
        login, name = claims.get(settings.login_claim), claims.get(settings.name_claim)
        return Proven(
            provider=settings.name,
            issuer=settings.issuer,
            subject=str(claims["sub"]),
            login=str(login).strip().lower() if isinstance(login, str) else "",
            name="".join(c for c in str(name) if c.isprintable()).strip()[:200] if isinstance(name, str) else "",
            role=next((rule.role for rule in settings.roles if _has(claims.get(rule.claim), rule.value)), None),
            is_multi_factor=isinstance(methods, list) and any(isinstance(m, str) and m in MANY for m in methods),
        )

    def farewell(self, back: str) -> str | None:
        """Where to send a browser whose person signs out there, too; None where the provider knows no such thing."""
        try:
            target = self.described().get("end_session_endpoint")
            if target is None:
                return None
            self._check_address("end_session_endpoint", target)
        except OpenIdError:
            return None
        query = urlencode({"client_id": self.settings.client_id, "post_logout_redirect_uri": back})
        return f"{target}{'&' if urlsplit(str(target)).query else '?'}{query}"

    # -- asking --------------------------------------------------------------------------------------------------------

    def _ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Reply:
        try:
            reply = ask(method, url, headers, content, self.settings.authority_file)
        except Unreachable as error:
            raise OpenIdError(
                "oidc.unreachable",
                f"{self.settings.title} does not answer: {error}",
                "try again, or sign in with a password",
            ) from error
        if reply.status >= 500 or reply.status == 429:
            raise OpenIdError(
                "oidc.unreachable",
                f"{self.settings.title} is not well ({reply.status})",
                "try again, or sign in with a password",
            )
        return reply

    def _document(self, reply: Reply, what: str) -> dict[str, Any]:
        try:
            found = json.loads(reply.body) if reply.status == 200 else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._malformed(f"{what} cannot be read (status {reply.status})")
        return found

    def _malformed(self, why: str) -> OpenIdError:
        return OpenIdError(
            "oidc.malformed",
            f"{self.settings.title} does not answer as OpenID Connect asks: {why}",
            "an administrator has to look at console.yaml and at the provider",
        )


class Journeys:
    """People who were sent to a provider and are not back yet: in memory, for ten minutes, each state once."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._kept: dict[str, Underway] = {}

    def keep(self, state: str, underway: Underway) -> None:
        """Keep one; the oldest go when there are too many."""
        now = self._clock()
        with self._guard:
            while self._kept:
                oldest = next(iter(self._kept))
                if len(self._kept) < MOST_UNDERWAY and 0 <= now - self._kept[oldest].at <= UNDERWAY_S:
                    break
                del self._kept[oldest]
            self._kept[state] = underway

    def take(self, state: str, binding: str, login: str | None = None) -> Underway:
        """The one with this state, for the browser that it began in; it is used up with that.

        Raises:
            OpenIdError: there is none, it took too long, or it began in another browser or for another account.
        """
        with self._guard:
            found = self._kept.get(state)
            if found is None or not hmac.compare_digest(found.binding.encode(), binding.encode()):
                # It stays: who does not hold what the browser holds cannot use up the sign-in of somebody else.
                raise _lost()
            del self._kept[state]
        if not 0 <= self._clock() - found.at <= UNDERWAY_S or found.login != login:
            raise _lost()
        return found


def _lost() -> OpenIdError:
    return OpenIdError(
        "oidc.state",
        "this sign-in did not begin in this browser, is over, or took too long",
        "begin again",
    )


def _untrue(why: str, remedy: str = "sign in again; if it stays so, tell an administrator") -> OpenIdError:
    return OpenIdError("oidc.token", f"what the provider says is not believed: {why}", remedy)


def _header(token: str) -> dict[str, Any]:
    part = token.partition(".")[0]
    try:
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error):
        found = None
    if not isinstance(found, dict):
        raise _untrue("its ID token cannot be read")
    return found


def _moment(claims: Mapping[str, Any], name: str, default: float | None = None) -> float:
    found = claims.get(name, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 1e12:
        raise _untrue(f"its ID token says nothing that can be read for {name!r}")
    return float(found)


def _has(claim: Any, value: str) -> bool:
    """Whether a claim is this value, or a list that has it."""
    return claim == value or (isinstance(claim, list) and value in claim)


_FAMILIES = {"R": "RSA", "P": "RSA", "E": "EC"}


def _fitting(keys: list[dict[str, Any]], kid: Any, algorithm: str) -> list[Any]:
    """The keys that this may have been signed with; where no id is given, there must be one that fits."""
    from joserfc import jwk
    from joserfc.errors import JoseError

    family = "OKP" if algorithm == "EdDSA" else _FAMILIES[algorithm[0]]
    found: list[Any] = []
    for key in keys:
        fits = key.get("kty") == family and key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
        if not fits or (kid is not None and key.get("kid") != kid):
            continue
        if family == "RSA" and len(str(key.get("n", "")).lstrip("A")) * 6 < 2048:  # short ones can be broken
            continue
        try:
            plain = {name: value for name, value in key.items() if name not in ("key_ops", "use", "alg")}
            found.append(jwk.import_key(plain))
        except (JoseError, ValueError, TypeError):
            continue
    return found
