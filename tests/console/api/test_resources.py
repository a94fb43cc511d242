"""Samples and consumables over HTTP."""

from __future__ import annotations

from tests.console.api.site_rig import Site, code


def test_samples_are_added_moved_split_and_retired(site: Site) -> None:
    client = site.signed_in("scientist")
    assert client.get("/api/v1/samples").json() == {"items": [], "next": None}
    added = client.post("/api/v1/samples", json={"label": "w1", "location": "shelf", "description": "a wafer"})
    assert added.status_code == 201, added.text
    name = added.json()["id"]
    assert code(client.post("/api/v1/samples", json={"label": "w1"})) == "duplicate"
    assert code(client.post("/api/v1/samples", json={"label": "w2", "parent": "none"})) == "not_found"
    moved = client.post(f"/api/v1/samples/{name}/move", json={"location": "glove box", "reason": "dry"}).json()
    assert moved["location"] == "glove box"
    parts = client.post(f"/api/v1/samples/{name}/split", json={"labels": ["w1a", "w1b"]})
    assert parts.status_code == 201 and [one["parent_id"] for one in parts.json()] == [name, name]
    assert code(client.post(f"/api/v1/samples/{name}/split", json={"labels": ["w1a"]})) == "duplicate"
    retired = client.post("/api/v1/samples/w1b/retire", json={"reason": "broken"}).json()
    assert (retired["state"], retired["reason"]) == ("retired", "broken")
    assert code(client.post("/api/v1/samples/w1b/retire", json={"reason": "again"})) == "record.invalid"
    assert [one["label"] for one in client.get("/api/v1/samples").json()["items"]] == ["w1", "w1a"]
    assert len(client.get("/api/v1/samples", params={"retired": True}).json()["items"]) == 3
    history = client.get(f"/api/v1/samples/{name}/history").json()["items"]
    assert [line["kind"] for line in history] == ["sample", "sample_move", "sample", "sample"]
    assert (history[1]["body"]["by"], history[1]["body"]["reason"]) == ("scientist", "dry")
    assert site.told("sample_added")[0]["by"] == "scientist"


def test_stocks_are_begun_added_to_and_corrected(site: Site) -> None:
    client = site.signed_in("scientist")
    begun = client.post("/api/v1/stock", json={"name": "ethanol", "amount": 500, "unit": "mL", "low": 50})
    assert (begun.status_code, begun.json()["available"], begun.json()["is_low"]) == (201, 500.0, False), begun.text
    for asked, expected in (
        ({"name": "ethanol", "amount": 5, "unit": "g"}, "refused"),
        ({"name": "salt", "amount": 5, "unit": "spoons!"}, "value.invalid"),
        ({"name": "salt", "amount": -1}, "request.invalid"),
        ({"name": "ethanol", "amount": 0}, "record.invalid"),
    ):
        assert code(client.post("/api/v1/stock", json=asked)) == expected, asked
    assert client.post("/api/v1/stock", json={"name": "ethanol", "amount": 100, "unit": "ml"}).json()["amount"] == 600.0
    assert code(client.post("/api/v1/stock/set", json={"name": "ethanol", "amount": 40})) == "value.invalid", "why?"
    assert code(client.post("/api/v1/stock/set", json={"name": "ethanol"})) == "value.invalid"
    assert code(client.post("/api/v1/stock/set", json={"name": "none", "low": 1})) == "not_found"
    low = client.post("/api/v1/stock/set", json={"name": "ethanol", "amount": 40, "reason": "spilt"}).json()
    assert (low["amount"], low["is_low"]) == (40.0, True)
    assert client.get("/api/v1/stock").json()["items"] == [low]
    history = client.get("/api/v1/stock/history", params={"name": "ethanol"}).json()["items"]
    assert [line["kind"] for line in history] == ["consumable", "stock", "stock"]
    assert history[-1]["body"]["by"] == "scientist" and history[-1]["body"]["reason"] == "spilt"


def test_what_adds_up_to_no_number_or_is_no_unit_is_refused(site: Site) -> None:
    client = site.signed_in("operator")
    assert client.post("/api/v1/stock", json={"name": "argon", "amount": 1e308}).status_code == 201
    for wrong in ({"amount": 1e308}, {"amount": 1.0, "unit": "((("}, {"amount": 1.0, "unit": "9**9**9**9"}):
        answer = client.post("/api/v1/stock", json={"name": "argon", **wrong})
        assert 400 <= answer.status_code < 500, (wrong, answer.text)
    assert site.ledger.consumable("argon").amount == 1e308


def test_who_may_not_changes_nothing(site: Site) -> None:
    client = site.signed_in("steward")
    assert code(client.post("/api/v1/samples", json={"label": "w1"})) == "scope.missing"
    assert code(client.post("/api/v1/stock", json={"name": "x", "amount": 1})) == "scope.missing"
    assert site.ledger.samples() == [] and site.ledger.levels() == []
