"""The process that talks to the model endpoint: `python -m athanor.agents.reasoners.model_child`.

It says when it is ready; then one JSON line in, one JSON line out. Its parent ends it when a call takes too long, so
that nothing an endpoint does can hold the loop. It asks one host only: redirects are not followed, proxies and other
tools' environment variables are not read, and its transport refuses every other address.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

BODY_LIMIT = 1_000_000
"""Bytes of an answer that are read; a longer one is an error, not a memory problem."""

FOREIGN = ("OPENAI_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "LANGSMITH_", "LANGCHAIN_")


def scrub_environment() -> None:
    """Forget the environment variables that other tools use to redirect or record model calls."""
    for name in list(os.environ):
        if name.upper().startswith(FOREIGN):
            del os.environ[name]


def make_http_client(base_url: str, timeout_s: float) -> httpx2.Client:
    """An HTTP client that can reach the endpoint's host and port, and nothing else."""
    import httpx2

    allowed = httpx2.URL(base_url)

    class OneHost(httpx2.HTTPTransport):
        """Refuses every request to another scheme, host or port before a byte leaves."""

        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            target = request.url
            if (target.scheme, target.host, target.port) != (allowed.scheme, allowed.host, allowed.port):
                raise httpx2.ConnectError(f"refused: {target.host} is not the configured endpoint", request=request)
            return super().handle_request(request)

    return httpx2.Client(
        transport=OneHost(trust_env=False),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(timeout_s),
    )


def call(order: dict[str, Any]) -> dict[str, Any]:
    """Make one request.

    Args:
        order: `base_url`, `api_key`, `timeout_s` and `body`, the JSON of a chat completion request.

    Returns:
        `status` (HTTP, or None without an answer), `body` (text, or None), `retry_after` (text or None), `error`.
    """
    import openai

    client = openai.OpenAI(
        base_url=order["base_url"],
        api_key=order["api_key"],
        max_retries=0,
        timeout=order["timeout_s"],
        http_client=make_http_client(order["base_url"], order["timeout_s"]),
    )
    with client:
        try:
            answer = client.chat.completions.with_raw_response.create(**order["body"])
        except openai.APIStatusError as error:
            return _answer(error.response, f"HTTP {error.status_code}")
        except openai.APITimeoutError:
            return {"status": None, "body": None, "retry_after": None, "error": "timeout"}
        except openai.APIConnectionError as error:
            detail = str(error.__cause__ or error)
            return {"status": None, "body": None, "retry_after": None, "error": f"no connection: {detail}"[:500]}
        return _answer(answer.http_response, None)


def _answer(response: httpx2.Response, error: str | None) -> dict[str, Any]:
    return {
        "status": response.status_code,
        "body": response.text[:BODY_LIMIT],
        "retry_after": response.headers.get("retry-after"),
        "error": error,
    }


def without_key(reply: dict[str, Any], key: str) -> dict[str, Any]:
    """Strike the key out of everything that will be recorded: servers and libraries like to echo it."""
    if len(key) < 6:
        return reply
    return {name: text.replace(key, "[key]") if isinstance(text, str) else text for name, text in reply.items()}


def main() -> None:
    """Serve orders until standard input closes."""
    scrub_environment()
    import openai  # noqa: F401 - the slow part of starting, so that it is not charged to the first call

    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()
    for line in sys.stdin:
        order = json.loads(line)
        try:
            reply = call(order)
        except Exception as error:  # noqa: BLE001 - the process boundary: every failure travels as an answer
            text = f"{type(error).__name__}: {error}"[:500]
            reply = {"status": None, "body": None, "retry_after": None, "error": text}
        sys.stdout.write(json.dumps(without_key(reply, order["api_key"])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
