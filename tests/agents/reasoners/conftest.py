"""A fake OpenAI-compatible endpoint on loopback, a situation to reason about, and settings with short patience."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from athanor.agents.reasoners.endpoint import ModelSettings
from athanor.agents.reasoners.language_model import LanguageModelReasoner
from athanor.agents.reasoners.model_call import LiveCaller
from athanor.agents.reasoners.protocol import Known, Recalled, Remaining, Seen, Situation
from athanor.planners.problem import Continuous, Integer, Objective, Problem

CLAIM = {
    "kind": "effect",
    "outcome": "sty",
    "parameter": "temperature",
    "low": 40.0,
    "high": 110.0,
    "direction": "increases",
}


def answer(hypotheses: list[dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    """One hypothesis item as a well-behaved model writes it, or a whole answer."""
    item = {"claim": CLAIM, "rationale": "Arrhenius.", "prior": 0.8, "cites": ["s.1"], **fields}
    return {"hypotheses": [item] if hypotheses is None else hypotheses}


def completion(content: Any, *, finish: str = "stop", usage: bool = True, refusal: str | None = None) -> dict[str, Any]:
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    body: dict[str, Any] = {
        "id": "c1",
        "object": "chat.completion",
        "created": 0,
        "model": "fake",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": text, "refusal": refusal},
            }
        ],
    }
    if usage:
        body["usage"] = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    return body


@dataclass
class Reply:
    """One scripted HTTP answer; `stall` never answers until the test is over."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    stall: bool = False


class FakeEndpoint:
    """Answers requests from a script, the last line for ever; keeps what it was asked."""

    CLAIM = CLAIM
    Reply = Reply
    answer = staticmethod(answer)
    completion = staticmethod(completion)

    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()
        self.began = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers.get("content-length", 0))
                endpoint.requests.append(json.loads(self.rfile.read(size) or b"{}"))
                endpoint.headers.append({k.lower(): v for k, v in self.headers.items()})
                endpoint.began.set()
                index = min(len(endpoint.requests), len(endpoint.script)) - 1
                reply = endpoint.script[index]
                if reply.stall:
                    endpoint.over.wait()
                    return
                text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
                data = text.encode()
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def says(self, *replies: Any) -> None:
        """Script the answers: a `Reply`, or content that a well-formed completion carries."""
        self.script = [r if isinstance(r, Reply) else Reply(completion(r)) for r in replies]

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    fake = FakeEndpoint()
    yield fake
    fake.close()


@pytest.fixture
def elsewhere() -> Iterator[FakeEndpoint]:
    """Another host, which must never be asked."""
    fake = FakeEndpoint()
    fake.says(answer())
    yield fake
    fake.close()


@pytest.fixture(scope="module")
def caller() -> Iterator[LiveCaller]:
    """One calling process for a module's tests: starting one takes a second."""
    live = LiveCaller(ModelSettings(model="none", base_url="http://127.0.0.1:1/v1"))
    yield live
    live.close()


@pytest.fixture
def make_reasoner(endpoint: FakeEndpoint, caller: LiveCaller) -> Callable[..., LanguageModelReasoner]:
    """A reasoner on the fake endpoint, patient as given."""

    def make(**changes: Any) -> LanguageModelReasoner:
        fields: dict[str, Any] = {
            "model": "fake",
            "base_url": endpoint.url,
            "api_key": "sk-very-secret",
            "price_in": 1.0,
            "price_out": 10.0,
            "timeout_s": 20.0,
            "first_wait_s": 0.0,
            "longest_wait_s": 0.05,
        }
        caller.settings = ModelSettings(**{**fields, **changes})
        return LanguageModelReasoner(caller.settings, caller=caller)

    return make


PROBLEM = Problem(
    [Continuous("temperature", 30.0, 120.0, "degC"), Continuous("time", 0.5, 2.0, "min"), Integer("stages", 1, 5)],
    [Objective("sty", "maximize", unit="kg/m^3/h")],
)


@pytest.fixture
def situation() -> Situation:
    seen = [
        Seen(id=f"s.{i}", values={"temperature": t, "time": 1.0, "stages": 3}, outcomes={"sty": 50.0 * t})
        for i, t in enumerate((40.0, 60.0, 80.0, 100.0), start=1)
    ]
    return Situation(
        campaign_id="s",
        ordinal=5,
        question="What makes the most product?",
        problem=PROBLEM.model_dump(mode="json"),
        base_point={"temperature": 100.0, "time": 1.0, "stages": 3},
        effects={
            "changes": [
                {
                    "outcome": "sty",
                    "parameter": "temperature",
                    "low": 30.0,
                    "high": 120.0,
                    "change": 4000.0,
                    "sd": 300.0,
                    "importance": 0.8,
                },
                {
                    "outcome": "sty",
                    "parameter": "time",
                    "low": 0.5,
                    "high": 2.0,
                    "change": -300.0,
                    "sd": 400.0,
                    "importance": 0.1,
                },
            ]
        },
        noise={"sty": 60.0},
        observations=tuple(seen),
        hypotheses=(
            Known(
                id="s.H1",
                kind="effect",
                statement="",
                claim={**CLAIM, "parameter": "time", "low": 0.5, "high": 2.0},
                state="refuted",
            ),
        ),
        memory=(Recalled(id="m1", campaign_id="old", text="Heat helps."),),
        remaining=Remaining(experiments=30, tokens=100_000, cost=1.0),
    )
