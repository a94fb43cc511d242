"""A campaign at one look, and its report."""

from __future__ import annotations

from typing import Any

from athanor.console.api.board import WRITING
from tests.console.api.site_rig import Site, code


def board(site: Site) -> Any:
    answer = site.signed_in("observer").get(f"/api/v1/campaigns/{site.campaign}/board")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_board_says_what_there_is_and_what_is_wanted(site: Site) -> None:
    found = board(site)
    assert found["parameters"][0]["name"] == "residence_time"
    [temperature] = [one for one in found["parameters"] if one["name"] == "temperature"]
    assert (temperature["unit"], temperature["high"]) == ("degC", 120.0)
    assert {one["name"]: one["goal"] for one in found["objectives"]} == {"sty": "maximize", "e_factor": "minimize"}
    assert [row["id"] for row in found["rows"]] == [site.experiment.id]
    assert found["progress"] == "" and found["space"] == [], "nothing was measured"
    assert "no process drives it" in found["now"] or "person" in found["now"]


def test_what_was_decided_stands_in_the_log(site: Site) -> None:
    client = site.signed_in("operator")
    where = f"/api/v1/experiments/{site.experiment.id}/reject"
    assert client.post(where, json={"revision": site.experiment.revision, "reason": "too hot"}).status_code == 201
    site.desk.watch._looked = site.desk.watch._told_at = 0.0
    assert any("rejected by operator" in line["text"] for line in board(site)["log"])


def test_a_report_is_written_one_at_a_time_and_is_a_file(site: Site) -> None:
    client = site.signed_in("observer")
    where = f"/api/v1/campaigns/{site.campaign}/report"
    answer = client.get(where)
    assert answer.status_code == 200 and answer.text.startswith("<!doctype html>")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    with WRITING:
        assert code(client.get(where)) == "report.busy"
