"""Handovers over HTTP: drafted, edited, signed by two people, and what is said to everybody else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.testclient import TestClient

from tests.console.api.site_rig import Site, code

WHERE = "/api/v1/handovers"


def begin(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post(WHERE, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def do(client: TestClient, one: dict[str, Any], what: str, **body: Any) -> Any:
    return client.post(f"{WHERE}/{one['id']}/{what}", json=body)


def sign(client: TestClient, one: dict[str, Any], login: str) -> Any:
    return do(client, one, "sign", revision=one["revision"], sha256=one["sha256"], confirmation=login)


def section(one: dict[str, Any], name: str) -> dict[str, Any]:
    return next(part for part in one["sections"] if part["id"] == name)


def test_drafted_edited_and_signed_by_two_people(site: Site) -> None:
    outgoing, incoming = site.signed_in("operator"), site.signed_in("scientist")
    one = begin(outgoing)
    assert one["outgoing"] == "operator" and one["state"] == "draft"
    assert any(site.campaign in fact["text"] for fact in section(one, "campaigns")["facts"])
    assert section(one, "approvals")["facts"][0]["about"] == site.experiment.id
    one = do(outgoing, one, "note", revision=1, section="approvals", text="ask Eve first").json()
    site.propose()
    one = do(outgoing, one, "refresh", revision=one["revision"]).json()
    assert len(section(one, "approvals")["facts"]) == 2 and section(one, "approvals")["note"] == "ask Eve first"
    one = sign(outgoing, one, "operator").json()
    assert one["state"] == "signed" and one["signed_sha256"] == one["sha256"]
    done = do(incoming, one, "accept", sha256=one["sha256"], confirmation="scientist", remark="read").json()
    assert (done["state"], done["incoming"], done["remark"], done["is_as_signed"]) == (
        "accepted",
        "scientist",
        "read",
        True,
    )
    observer = site.signed_in("observer")
    assert observer.get(f"{WHERE}/{one['id']}").json() == done
    [line] = observer.get(f"{WHERE}?state=accepted").json()["items"]
    assert line["id"] == one["id"] and observer.get(f"{WHERE}?state=draft").json()["items"] == []
    steps = observer.get(f"{WHERE}/{one['id']}/history").json()["items"]
    assert [(step["verb"], step["by"]) for step in steps] == [
        ("drafted", "operator"),
        ("noted", "operator"),
        ("refreshed", "operator"),
        ("signed", "operator"),
        ("accepted", "scientist"),
    ]
    again = begin(outgoing)
    assert again["since"] == done["until"], "the next shift began where this one ended"


def test_who_is_late_is_told_by_whom_it_was_changed(site: Site) -> None:
    one_tab, other = site.signed_in("operator"), site.signed_in("scientist")
    one = begin(one_tab)
    assert do(other, one, "note", revision=1, section="remarks", text="the pump is loud").status_code == 200
    late = do(one_tab, one, "note", revision=1, section="remarks", text="mine")
    assert (
        late.status_code == 409 and code(late) == "revision.stale" and "changed by scientist" in late.json()["detail"]
    )
    assert "not stored" in late.json()["remedy"]
    assert code(sign(one_tab, one, "operator")) == "revision.stale"
    assert section(one_tab.get(f"{WHERE}/{one['id']}").json(), "remarks")["note"] == "the pump is loud"


def test_a_signature_is_a_person_s_own_and_typed(site: Site) -> None:
    client, steward = site.signed_in("operator"), site.signed_in("steward")
    one = begin(client)
    assert "not yours" in sign(client, one, "scientist").json()["detail"]
    assert "to sign first" in sign(steward, one, "steward").json()["detail"]
    program = site.program("operator", "handover.write", "read")
    assert code(sign(program, one, "operator")) == "session.needed"
    signed = sign(client, one, "operator").json()
    own = do(client, signed, "accept", sha256=signed["sha256"], confirmation="operator")
    assert code(own) == "refused" and "two people" in own.json()["detail"]
    assert code(do(program, signed, "accept", sha256=signed["sha256"], confirmation="operator")) == "session.needed"
    edited = do(client, signed, "note", revision=signed["revision"], section="stock", text="x")
    assert code(edited) == "refused" and "signed by operator" in edited.json()["detail"]


def test_sent_back_and_discarded(site: Site) -> None:
    client, other = site.signed_in("operator"), site.signed_in("scientist")
    one = sign(client, begin(client), "operator")
    back = do(other, one.json(), "send-back", reason="what of the pump?").json()
    assert back["state"] == "draft" and back["returned"] == "what of the pump? (scientist)"
    assert code(do(other, back, "send-back", reason="again")) == "refused"
    assert code(client.post(WHERE)) == "refused", "there is one open"
    assert do(client, back, "discard", reason="begun by mistake").json()["state"] == "discarded"
    assert begin(client)["id"] != back["id"]


def test_a_shift_of_one_s_own(site: Site) -> None:
    client = site.signed_in("operator")
    since = datetime.now(UTC) - timedelta(hours=3)
    assert datetime.fromisoformat(begin(client, since=since.isoformat())["since"]) == since
    other = site.signed_in("scientist")
    assert code(other.post(WHERE, json={"since": (datetime.now(UTC) + timedelta(hours=1)).isoformat()})) == "refused"
    for wrong in ("yesterday", "2026-05-04T08:00:00", 7):
        assert code(other.post(WHERE, json={"since": wrong})) == "request.invalid", wrong


def test_kept_as_a_file(site: Site) -> None:
    client = site.signed_in("operator")
    one = begin(client)
    for form, kind, ending in (("markdown", "text/markdown", "md"), ("html", "text/html", "html")):
        answer = client.get(f"{WHERE}/{one['id']}/document?form={form}")
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["content-disposition"] == f'attachment; filename="{one["id"]}.{ending}"'
        assert one["sha256"] in answer.text and site.campaign in answer.text.replace("\\", "")
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert code(client.get(f"{WHERE}/{one['id']}/document?form=pdf")) == "request.invalid"


def test_who_may_not_write_reads(site: Site) -> None:
    one = begin(site.signed_in("operator"))
    for login in ("observer", "developer"):
        client = site.signed_in(login)
        assert client.get(f"{WHERE}/{one['id']}").status_code == 200
        assert code(client.post(WHERE)) == "scope.missing"
        assert code(do(client, one, "note", revision=1, section="remarks", text="x")) == "scope.missing"
    assert code(site.signed_in("observer").get(f"{WHERE}/none")) == "not_found"
