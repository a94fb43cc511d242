"""What holds for every request: host, origin, size, headers, errors, and the file that describes it all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from athanor.console.api.app import LARGEST_BODY, describe
from athanor.memory.errors import LedgerBusy
from tests.console.api.site_rig import HOST, Site, code

ROOT = Path(__file__).parents[3]


def test_the_file_describes_what_is_served() -> None:
    kept = json.loads((ROOT / "docs" / "openapi.json").read_text())
    assert kept == describe(FastAPI()).openapi(), "python -m athanor.console.api > docs/openapi.json"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:8766", "localhost:8765", "", f"{HOST}@evil"])
def test_a_foreign_host_gets_nothing(site: Site, host: str) -> None:
    answer = site.visitor().get("/api/v1/health", headers={"Host": host})
    assert answer.status_code == 400 and code(answer) == "host.foreign"


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", f"https://{HOST}", "http://127.0.0.1", f"http://{HOST}.evil.example"]
)
def test_a_foreign_origin_gets_nothing(site: Site, origin: str) -> None:
    client = site.signed_in("owner")
    for answer in (
        client.get("/api/v1/people", headers={"Origin": origin}),
        client.post("/api/v1/stop-all", headers={"Origin": origin}),
    ):
        assert answer.status_code == 403 and code(answer) == "origin.foreign"
    assert client.get("/api/v1/people", headers={"Origin": f"http://{HOST}"}).status_code == 200


def test_a_foreign_origin_gets_no_socket(site: Site) -> None:
    client = TestClient(site.app, base_url=f"http://{HOST}")
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect("/api/v1/live", headers={"Origin": "http://evil.example"}),
    ):
        pass
    assert caught.value.code == 1008


def test_every_answer_has_safe_headers(site: Site) -> None:
    client = site.visitor()
    refused = client.post("/api/v1/session", json={"login": "owner", "password": "wrong"})
    unknown = site.program("owner", "read").get("/api/v1/campaigns/none")
    for answer in (
        client.get("/api/v1/health"),
        client.get("/api/v1/campaigns"),
        refused,
        unknown,
        client.get("/nowhere"),
        client.get("/", headers={"Host": "evil"}),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


def test_a_body_beyond_all_measure_is_refused(site: Site) -> None:
    answer = site.visitor().post("/api/v1/session", content=b" " * (LARGEST_BODY + 1))
    assert answer.status_code == 413


def test_every_error_is_a_problem(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = site.signed_in("owner")
    where = f"/api/v1/experiments/{site.experiment.id}/approve"
    found = {
        "no_such_page": client.get("/nowhere"),
        "method.not_allowed": client.put("/api/v1/campaigns"),
        "not_found": client.get("/api/v1/campaigns/none"),
        "request.invalid": client.post(where, json={"revision": "nope"}),
        "page.unknown": client.get("/api/v1/campaigns?after=none"),
    }
    for expected, answer in found.items():
        assert answer.json()["code"] == expected and answer.json()["detail"], answer.text
    malformed = client.post(where, content=b"{", headers={"Content-Type": "application/json"})
    assert code(malformed) == "request.invalid"

    def busy(*_: object, **__: object) -> None:
        raise LedgerBusy("somebody writes")

    monkeypatch.setattr(site.ledger, "campaigns", busy)
    answer = client.get("/api/v1/campaigns")
    assert (answer.status_code, code(answer), answer.headers["retry-after"]) == (503, "ledger.busy", "1")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret of the machine")

    monkeypatch.setattr(site.ledger, "campaigns", broken)
    answer = client.get("/api/v1/campaigns")
    assert (answer.status_code, code(answer)) == (500, "internal") and "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.put("/api/v1/campaigns").headers["allow"]


def test_a_refusal_is_no_error_of_the_console(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    assert site.visitor().get("/api/v1/campaigns").status_code == 401
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"values": {"\\ud800": 1, "temperature": 60}}',
        b'{"values": {"temperature": 1e999}}',
        b'{"values": {"temperature": NaN}}',
        b'{"values": {"temperature": ' + b"9" * 5000 + b"}}",
        b'{"values": {"temperature": "\\u0000"}}',
        b'{"values": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_hostile_bodies_are_problems_of_the_sender(site: Site, body: bytes) -> None:
    client = site.signed_in("scientist")
    for path in (f"/campaigns/{site.campaign}/experiments", f"/experiments/{site.experiment.id}/edit"):
        answer = client.post(f"/api/v1{path}", content=body, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500 and answer.json()["code"], (path, answer.text)


def test_what_was_typed_as_a_password_is_not_said_again(site: Site) -> None:
    answer = site.visitor().post("/api/v1/session", json={"login": "owner", "password": ["hunter2-hunter2"]})
    assert code(answer) == "request.invalid" and "hunter2" not in answer.text
