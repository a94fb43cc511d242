"""One attempt to ask the model, from this side of the process boundary: bounded in time, recorded whole."""

from __future__ import annotations

import hashlib
import json
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from athanor.agents.reasoners.endpoint import ModelSettings
from athanor.agents.reasoners.protocol import CallStatus, ModelCallRecord

POLL_S = 0.1
START_S = 30.0
"""What the calling process may take to start on a busy machine; a call's own time begins after that."""

GRACE_S = 0.5
"""What the calling process gets on top of a call's timeout to say itself that the time is up, before it is ended."""


class ReasoningCancelled(RuntimeError):
    """A model call was abandoned because the campaign is to pause or stop."""


class Attempt(NamedTuple):
    """What came of one attempt. `text` is the model's answer; `wait_s` what the endpoint asks us to wait."""

    record: ModelCallRecord
    text: str | None
    http_status: int | None = None
    wait_s: float | None = None


class Caller(Protocol):
    """Asks the model once: the live endpoint, or a recording."""

    def call(self, body: dict[str, Any], purpose: str, timeout_s: float) -> Attempt:
        """Send one chat completion request and wait for its answer at most `timeout_s` seconds."""

    def pause(self, seconds: float) -> None:
        """Wait between attempts."""


class LiveCaller:
    """Asks the configured endpoint through a child process that is ended when it takes too long."""

    def __init__(self, settings: ModelSettings, should_cancel: Callable[[], bool] = lambda: False) -> None:
        self.settings = settings
        self.should_cancel = should_cancel
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, body: dict[str, Any], purpose: str, timeout_s: float) -> Attempt:
        """Send one request.

        Raises:
            ReasoningCancelled: `should_cancel` turned true; the process is ended.
        """
        order = {
            "base_url": self.settings.base_url,
            "api_key": self.settings.api_key.get_secret_value(),
            "timeout_s": timeout_s,
            "body": body,
        }
        if not self._start():
            self.close()
            return self._failed(body, purpose, "error", "the calling process did not start", 0.0)
        start = time.monotonic()
        line = self._ask(json.dumps(order).encode() + b"\n", start + timeout_s + GRACE_S)
        seconds = time.monotonic() - start
        if line is None:
            self.close()
            return self._failed(body, purpose, "timeout", f"no answer within {timeout_s:g} s", seconds)
        if not line:
            self.close()
            return self._failed(body, purpose, "error", "the calling process ended without an answer", seconds)
        return interpret(json.loads(line), body, purpose, self.settings, seconds)

    def pause(self, seconds: float) -> None:
        """Wait, giving way to a cancellation. Raises ReasoningCancelled."""
        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0:
            if self.should_cancel():
                raise ReasoningCancelled("the wait for the model endpoint was abandoned")
            time.sleep(min(POLL_S, rest))

    def close(self) -> None:
        """End the process; a later call starts a new one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass

    def _start(self) -> bool:
        """Have a process that is ready; false if none comes up."""
        if self._process is not None and self._process.poll() is None:
            return True
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "athanor.agents.reasoners.model_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in the terminal is for the campaign, which then ends us in order
        )
        return bool(self._read_line(time.monotonic() + START_S))

    def _ask(self, line: bytes, deadline: float) -> bytes | None:
        """The child's answer, empty if it died, None if the time is up."""
        assert self._process is not None and self._process.stdin is not None
        view = memoryview(line)
        try:
            while view:
                view = view[self._process.stdin.write(view) or 0 :]
        except OSError:
            return b""
        return self._read_line(deadline)

    def _read_line(self, deadline: float) -> bytes | None:
        assert self._process is not None and self._process.stdout is not None
        stream = self._process.stdout
        received = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while (rest := deadline - time.monotonic()) > 0:
                if self.should_cancel():
                    self.close()
                    raise ReasoningCancelled("the model call was abandoned")
                if not selector.select(min(POLL_S, rest)):
                    continue
                chunk = stream.read(65536)
                if not chunk:
                    return b""
                received += chunk
                if received.endswith(b"\n"):
                    return bytes(received)
        return None

    def _failed(self, body: dict[str, Any], purpose: str, status: CallStatus, detail: str, seconds: float) -> Attempt:
        # What a lost call cost is unknown: the prompt is charged to the budget as an estimate.
        tokens = estimate_tokens(body) if status == "timeout" else 0
        detail = f"{detail}; tokens are an estimate" if tokens else detail
        return Attempt(make_record(self.settings, body, purpose, None, status, detail, tokens, 0, seconds), None)


def canonical_request(body: dict[str, Any]) -> str:
    """The exact text that stands for a request in the record."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def estimate_tokens(body: dict[str, Any]) -> int:
    """A cautious estimate of the prompt's tokens: one per three characters."""
    return -(-sum(len(str(message.get("content", ""))) for message in body["messages"]) // 3)


def make_record(
    settings: ModelSettings,
    body: dict[str, Any],
    purpose: str,
    response: str | None,
    status: CallStatus,
    detail: str,
    tokens_in: int,
    tokens_out: int,
    seconds: float,
) -> ModelCallRecord:
    """Record one attempt."""
    request = canonical_request(body)
    return ModelCallRecord(
        purpose=purpose,
        model=settings.model,
        endpoint=settings.base_url,
        request=request,
        request_sha256=hashlib.sha256(request.encode()).hexdigest(),
        response=response,
        status=status,
        detail=detail,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=settings.cost(tokens_in, tokens_out),
        seconds=round(seconds, 3),
    )


def interpret(
    answer: dict[str, Any], body: dict[str, Any], purpose: str, settings: ModelSettings, seconds: float
) -> Attempt:
    """Turn the child's answer into an attempt: the raw text and the usage are kept whatever they contain."""
    http, raw, error = answer["status"], answer["body"], answer["error"]
    wait = _seconds(answer["retry_after"])
    if http is None:
        late = error == "timeout"
        tokens = estimate_tokens(body) if late else 0
        detail = "the endpoint did not answer in time; tokens are an estimate" if late else str(error)
        record = make_record(settings, body, purpose, raw, "timeout" if late else "error", detail, tokens, 0, seconds)
        return Attempt(record, None)
    if 300 <= http < 400:
        detail = f"HTTP {http}: the endpoint redirects elsewhere; redirects are not followed"
        return Attempt(make_record(settings, body, purpose, raw, "redirect", detail, 0, 0, seconds), None, http)
    if error is not None or http != 200:
        record = make_record(settings, body, purpose, raw, "error", f"HTTP {http}", 0, 0, seconds)
        return Attempt(record, None, http, wait)
    text, status, detail, usage = read_completion(raw or "")
    if usage is None:
        usage = (estimate_tokens(body), -(-len(raw or "") // 3))
        detail = f"{detail}; the endpoint gave no usage, tokens are an estimate"
    record = make_record(settings, body, purpose, raw, status, detail, *usage, seconds)
    return Attempt(record, text if status == "ok" else None, http)


def read_completion(raw: str) -> tuple[str | None, CallStatus, str, tuple[int, int] | None]:
    """Read a chat completion: the answer's text, a status with detail, and the usage (tokens in, out) where given."""
    try:
        data = json.loads(raw)
        choice = data["choices"][0]
        message = choice["message"]
        text, refusal, finish = message.get("content"), message.get("refusal"), choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        usage = None
        try:
            usage = read_usage(json.loads(raw))
        except (ValueError, RecursionError):
            pass
        return None, "invalid", "the answer is not a chat completion", usage
    usage = read_usage(data)
    if refusal or finish == "content_filter":
        return None, "refused", f"the model refused: {str(refusal or finish)[:200]}", usage
    if not isinstance(text, str) or not text.strip():
        return None, "invalid", "the answer is empty", usage
    if finish == "length":
        return None, "invalid", "the answer was cut off at the token limit", usage
    return text, "ok", "answered", usage


def read_usage(data: Any) -> tuple[int, int] | None:
    """The tokens in and out of an answer, None where it does not say or says nonsense."""
    usage = data.get("usage") if isinstance(data, dict) else None
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 10**9 for n in counts):
        return None
    return counts[0], counts[1]  # type: ignore[return-value]


def _seconds(text: str | None) -> float | None:
    """Seconds of a Retry-After header; dates and nonsense give None, so that the usual wait applies."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0.0 <= value < 1e6 else None
