"""A provider of OpenID Connect on loopback: real HTTP, real keys, a login page, and every trick that one may play."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import html
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Claims = dict[str, Any]
_KEYS: list[rsa.RSAPrivateKey] = []


def rsa_key(number: int, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One of a few keys: making one takes long, and no test needs one of its own."""
    while len(_KEYS) <= number:
        _KEYS.append(rsa.generate_private_key(65537, bits))
    return _KEYS[number]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@dataclass
class Account:
    password: str
    claims: Claims


@dataclass
class Provider:
    """What it knows and how it misbehaves. Everything may be changed while it runs."""

    accounts: dict[str, Account] = field(default_factory=dict)
    client_id: str = "athanor"
    client_secret: str | None = "between us"
    clock: Callable[[], float] = time.time
    kid: str | None = "one"
    key: Any = field(default_factory=lambda: rsa_key(0))
    algorithm: str = "RS256"
    shown: list[Claims] | None = None
    """Keys to show instead of its own."""
    change: Callable[[Claims], Claims] = field(default=lambda claims: claims)
    """What it does to the claims before it signs them."""
    sign: Callable[[Claims, Claims], str] | None = None
    """How it makes a token of header and claims, instead of properly."""
    describe: Callable[[Claims], Claims] = field(default=lambda found: found)
    says_issuer: bool = True
    status: int = 200
    """What everything is answered with."""
    asked: list[str] = field(default_factory=list)
    codes: dict[str, Claims] = field(default_factory=dict)
    base: str = ""

    @property
    def issuer(self) -> str:
        return f"{self.base}/realm"

    def described(self) -> Claims:
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.base}/authorize",
            "token_endpoint": f"{self.base}/token",
            "jwks_uri": f"{self.base}/keys",
            "end_session_endpoint": f"{self.base}/logout",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": self.says_issuer,
        }
        return self.describe(found)

    def jwk(self) -> Claims:
        common = {"use": "sig"} | ({} if self.kid is None else {"kid": self.kid})
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            point = self.key.public_key().public_numbers()
            return {"kty": "EC", "crv": "P-256", "x": number(point.x), "y": number(point.y), **common}
        public = self.key.public_key().public_numbers()
        return {"kty": "RSA", "n": number(public.n), "e": number(public.e), **common}

    def token(self, claims: Claims) -> str:
        header = {"alg": self.algorithm, "typ": "JWT"} | ({} if self.kid is None else {"kid": self.kid})
        claims = self.change(claims)
        if self.sign is not None:
            return self.sign(header, claims)
        return self.signed(header, claims)

    def signed(self, header: Claims, claims: Claims) -> str:
        text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
            mark = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        else:
            mark = self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{b64(mark)}"

    def give(self, form: dict[str, str], authorization: str) -> tuple[int, Claims]:
        """The token endpoint."""
        known = self.codes.pop(form.get("code", ""), None)  # each once
        if self.client_secret is not None:
            expected = base64.b64encode(f"{self.client_id}:{self.client_secret.replace(' ', '%20')}".encode()).decode()
            in_body = (form.get("client_id"), form.get("client_secret")) == (self.client_id, self.client_secret)
            if not (hmac.compare_digest(authorization, f"Basic {expected}") or in_body):
                return 401, {"error": "invalid_client"}
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if known is None or known["redirect_uri"] != form.get("redirect_uri") or known["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant"}
        now = int(self.clock())
        own: Claims = {"iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 300}
        token = self.token({**own, "nonce": known["nonce"], **self.accounts[known["user"]].claims})
        return 200, {"access_token": secrets.token_urlsafe(8), "token_type": "Bearer", "id_token": token}


class Handler(BaseHTTPRequestHandler):
    provider: Provider

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        me, parts = self.provider, urlsplit(self.path)
        me.asked.append(parts.path)
        if me.status != 200:
            self.say(me.status, "no")
        elif parts.path == "/realm/.well-known/openid-configuration":
            self.say(200, me.described())
        elif parts.path == "/keys":
            self.say(200, {"keys": [me.jwk()] if me.shown is None else me.shown})
        elif parts.path == "/authorize":
            hidden = "".join(
                f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(values[0])}">'
                for name, values in parse_qs(parts.query).items()
            )
            form = '<label>User <input name="user"></label><label>Secret <input name="secret" type="password"></label>'
            page = (
                f'<!doctype html><title>Institute</title><form method="post">{hidden}{form}<button>Go</button></form>'
            )
            self.say(200, page)
        else:
            self.say(404, "no such page")

    def do_POST(self) -> None:
        me = self.provider
        me.asked.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        if me.status != 200:
            self.say(me.status, "no")
        elif self.path == "/token":
            self.say(*me.give(form, unquote(self.headers.get("Authorization", ""))))
        else:
            account = me.accounts.get(form.get("user", ""))
            if account is None or account.password != form.get("secret"):
                self.back(form, {"error": "access_denied"})
                return
            code = secrets.token_urlsafe(16)
            me.codes[code] = form
            self.back(form, {"code": code})

    def back(self, form: dict[str, str], found: dict[str, str]) -> None:
        issuer = {"iss": self.provider.issuer} if self.provider.says_issuer else {}
        self.send_response(303)
        self.send_header("Location", f"{form['redirect_uri']}?{urlencode({**found, 'state': form['state'], **issuer})}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def say(self, status: int, what: Any) -> None:
        data = what.encode() if isinstance(what, str) else json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(what, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def providing(provider: Provider) -> Iterator[Provider]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"provider": provider}))
    server.daemon_threads = True
    provider.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def visit(address: str, user: str, secret: str) -> dict[str, str]:
    """Do at the login page what a person does; what the browser comes back with."""
    parts = urlsplit(address)
    shown = {name: values[0] for name, values in parse_qs(parts.query).items()}
    with httpx.Client(trust_env=False) as browser:
        assert "<form" in browser.get(address).text
        answer = browser.post(
            f"{parts.scheme}://{parts.netloc}{parts.path}", data={**shown, "user": user, "secret": secret}
        )
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(shown["redirect_uri"])
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
