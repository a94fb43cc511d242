"""Asking servers of others, such as a provider of sign-ins or a webhook: bounded in time and size, never redirected."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 10.0
CONNECT_S = 5.0
MOST_BYTES = 1 << 20


class Unreachable(Exception):
    """A server did not answer, or not as a server should."""


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: bytes


def ask(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    authority: Path | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Reply:
    """Ask once; variables of the environment, such as proxies, are not looked at.

    Args:
        method: such as GET.
        url: the whole address.
        headers: to send.
        content: the body to send.
        authority: a PEM file of who signed the server's certificate; None: those that the system knows.
        timeout_s: until the whole answer must be there.

    Raises:
        Unreachable: there was no answer in time, it was too long, or the server is not who it should be.
    """
    import httpx2

    began = time.monotonic()
    host = httpx2.URL(url).host
    try:
        context = ssl.create_default_context(cafile=None if authority is None else str(authority))
        timeout = httpx2.Timeout(min(timeout_s, TIMEOUT_S), connect=min(timeout_s, CONNECT_S))
        with (
            httpx2.Client(verify=context, trust_env=False, timeout=timeout, follow_redirects=False) as client,
            client.stream(method, url, headers=dict(headers or {}), content=content) as answer,
        ):
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > MOST_BYTES:
                    raise Unreachable(f"{host} answers with more than {MOST_BYTES} bytes")
                if time.monotonic() - began > timeout_s:
                    raise Unreachable(f"{host} took longer than {timeout_s:g} s to answer")
            return Reply(
                answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, bytes(body)
            )
    except httpx2.TimeoutException as error:
        raise Unreachable(f"{host} took longer than {timeout_s:g} s to answer") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise Unreachable(f"{host} cannot be reached: {error}") from error
