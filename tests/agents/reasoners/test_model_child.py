from __future__ import annotations

import os
from typing import Any

import httpx2
import pytest

from athanor.agents.reasoners.model_child import make_http_client, scrub_environment, without_key


def test_the_transport_refuses_every_other_host(endpoint: Any, elsewhere: Any) -> None:
    endpoint.says("hello")
    with make_http_client(endpoint.url, 5.0) as client:
        assert client.post(f"{endpoint.url}/chat/completions", json={}).status_code == 200
        for url in (elsewhere.url, "http://example.org/v1", endpoint.url.replace("http:", "https:")):
            with pytest.raises(httpx2.ConnectError, match="not the configured endpoint"):
                client.post(url, json={})
    assert elsewhere.requests == [] and len(endpoint.requests) == 1


def test_other_tools_variables_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "https_proxy", "LANGSMITH_API_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("ATHANOR_MODEL", "kept")
    scrub_environment()
    assert not {"OPENAI_BASE_URL", "https_proxy", "LANGSMITH_API_KEY"} & set(os.environ)
    assert os.environ["ATHANOR_MODEL"] == "kept"


def test_the_key_is_struck_out_but_short_words_are_left_alone() -> None:
    assert without_key({"body": "bad key sk-123456", "status": 401}, "sk-123456")["body"] == "bad key [key]"
    assert without_key({"body": "none of these"}, "none")["body"] == "none of these"
