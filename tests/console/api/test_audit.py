"""The audit over HTTP: who did what, in pages; the record verified; a copy that others can check."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import Any

import pytest

from athanor.memory.journal import GENESIS, row_hash
from tests.console.api.site_rig import Site, code


@pytest.fixture
def auditor(site: Site) -> Any:
    return site.program("steward", "audit.read")


def alter(site: Site, statement: str, *parameters: Any) -> None:
    with contextlib.closing(sqlite3.connect(site.ledger.path)) as file, file:
        file.execute(statement, parameters)


def everything(client: Any, query: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after = ""
    while True:
        answer = client.get(f"/api/v1/audit/rows?limit=7{query}{after}")
        assert answer.status_code == 200, answer.text
        rows += answer.json()["items"]
        if answer.json()["next"] is None:
            return rows
        after = f"&after={answer.json()['next']}"


def test_the_journal_in_pages_both_ways(site: Site, auditor: Any) -> None:
    newest, oldest = everything(auditor), everything(auditor, "&order=oldest")
    assert newest == oldest[::-1]
    assert [row["position"] for row in oldest] == [row.position for row in site.ledger.journal()]
    assert all(row["is_whole"] and row["is_linked"] and row["what"] for row in oldest)
    by_position = {row["position"]: row for row in oldest}
    for row in oldest:
        before = by_position[row["before"]]["hash"] if row["before"] else GENESIS
        assert row["previous"] == before


def test_filters(site: Site, auditor: Any) -> None:
    assert code(site.signed_in("observer").get("/api/v1/people")) == "scope.missing"
    [row] = everything(auditor, "&refusals=true")
    assert (row["who"], row["is_refused"], row["kind"]) == ("observer", True, "api_refused")
    assert "people.manage" in row["what"]
    assert row in everything(auditor, "&who=observer") and everything(auditor, "&who=nobody") == []
    assert {r["campaign_id"] for r in everything(auditor, f"&campaign={site.campaign}")} == {site.campaign}
    assert {r["campaign_id"] for r in everything(auditor, "&site=true")} == {None}
    assert {r["kind"] for r in everything(auditor, "&kind=campaign&kind=api_refused")} == {"campaign", "api_refused"}
    assert {r["campaign_id"] for r in everything(auditor, "&instrument=reactor-7")} == {"real"}
    assert everything(auditor, "&since=2100-01-01T00:00:00Z") == []
    assert len(everything(auditor, "&until=2100-01-01T00:00:00Z")) == len(everything(auditor))
    for wrong in (
        "since=yesterday",
        "since=2026-01-01",
        "limit=0",
        "after=x",
        "order=best",
        "after=-1",
        f"after={2**70}",
    ):
        assert code(auditor.get(f"/api/v1/audit/rows?{wrong}")) == "request.invalid", wrong


def test_one_row_holds_what_its_hash_covers(site: Site, auditor: Any) -> None:
    last = site.ledger.journal()[-1]
    row = auditor.get(f"/api/v1/audit/rows/{last.position}").json()
    fields = [row[name] for name in ("position", "chain", "seq", "kind")]
    assert row["body"] == last.body and row["hash"] == last.hash
    assert row_hash(*fields[:3], last.kind, row["body"], row["previous"], row["at"]) == row["hash"]
    for wrong in (0, 10**6, -1, 10**30):
        assert code(auditor.get(f"/api/v1/audit/rows/{wrong}")) in ("page.unknown", "not_found"), wrong


def test_a_row_that_somebody_changed_is_shown_and_marked(site: Site, auditor: Any) -> None:
    rows = [row for row in site.ledger.journal() if row.chain == f"campaign:{site.campaign}"]
    alter(site, "UPDATE journal SET body = ? WHERE position = ?", "nothing at all", rows[0].position)
    alter(site, "UPDATE journal SET hash = ? WHERE position = ?", "0" * 64, rows[1].position)
    shown = {row["position"]: row for row in everything(auditor)}
    assert not shown[rows[0].position]["is_whole"] and "cannot be read" in shown[rows[0].position]["what"]
    assert not shown[rows[1].position]["is_whole"] and shown[rows[1].position]["is_linked"]


def test_a_copy_holds_every_row_and_is_written_down(site: Site, auditor: Any) -> None:
    before = site.ledger.journal()
    answer = auditor.get("/api/v1/audit/export")
    assert answer.status_code == 200 and "attachment" in answer.headers["content-disposition"]
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[:-1] == [row.model_dump() for row in before]
    assert "audit_exported" in lines[-1]["body"], "that it is taken stands there before its first line"
    for line in lines:
        hashed = {name: line[name] for name in ("position", "chain", "seq", "kind", "body", "previous", "at")}
        assert row_hash(**hashed) == line["hash"]
    assert site.told("audit_exported") == [{"by": "steward", "filters": {}}]
    taken = auditor.get("/api/v1/audit/export?kind=audit_exported").text.splitlines()
    assert len(taken) == 2 and all("audit_exported" in line for line in taken)
    assert auditor.get("/api/v1/audit/export?who=nobody").text == ""


def verified(site: Site, client: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/audit/verify")
    assert answer.status_code == 202 and answer.json()["state"] == "running", answer.text
    site.desk.verification.wait(120.0)
    found: dict[str, Any] = client.get("/api/v1/audit/verify").json()
    return found


def test_a_whole_record_is_found_whole(site: Site, auditor: Any) -> None:
    assert auditor.get("/api/v1/audit/verify").json()["state"] == "none"
    found = verified(site, auditor)
    assert (found["state"], found["by"], found["count"], found["first"]) == ("whole", "steward", 0, None), found
    assert found["rows"] == found["of"] > 3 and found["chains"] == 3
    [told] = site.told("audit_verified")
    assert (told["by"], told["ok"], told["rows"]) == ("steward", True, found["rows"])


def test_the_first_broken_row_is_named(site: Site, auditor: Any) -> None:
    rows = [row for row in site.ledger.journal() if row.kind == "campaign"]
    for row in rows:
        alter(site, "UPDATE journal SET body = replace(body, 'snar', 'SNAR') || ' ' WHERE position = ?", row.position)
    found = verified(site, auditor)
    assert found["state"] == "broken" and found["count"] >= 2
    assert found["first"]["position"] == min(row.position for row in rows) and found["first"]["kind"] == "altered"
    # What a job said is not the truth for ever: it is read anew.
    assert site.told("audit_verified")[0]["first"] == found["first"]
