"""Campaigns over HTTP: what is read is what the ledger has, and decisions are the gate's."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from athanor.governance.rights import SCOPES
from athanor.instruments.latch import Latch
from athanor.memory.places import keys_dir
from athanor.memory.signing import GateKey, verify
from tests.console.api.site_rig import POINT, Site, code


def test_campaigns_and_what_is_in_them(site: Site) -> None:
    client = site.program("observer", "read")
    lines = client.get("/api/v1/campaigns").json()["items"]
    assert [line["id"] for line in lines] == ["real", site.campaign]
    assert [line["simulated"] for line in lines] == [False, True]
    assert client.get("/api/v1/campaigns?state=running").json()["items"] == []
    found = client.get(f"/api/v1/campaigns/{site.campaign}").json()
    assert (found["state"], found["used"], found["waiting"]) == ("queued", 0, [site.experiment.id])
    [experiment] = client.get(f"/api/v1/campaigns/{site.campaign}/experiments?state=proposed").json()["items"]
    assert experiment == client.get(f"/api/v1/experiments/{site.experiment.id}").json()
    assert experiment["values"] == POINT and experiment["revision"] == site.experiment.revision
    for part in ("hypotheses", "decisions", "events"):
        assert client.get(f"/api/v1/campaigns/{site.campaign}/{part}").status_code == 200
        assert code(client.get(f"/api/v1/campaigns/none/{part}")) == "not_found"


@pytest.mark.parametrize("limit", [1, 2, 7, 8, 500])
def test_pages_hold_everything_once_and_in_order(site: Site, limit: int) -> None:
    for _ in range(6):
        site.propose()
    client = site.program("observer", "read")
    seen: list[str] = []
    after = ""
    while True:
        answer = client.get(f"/api/v1/campaigns/{site.campaign}/experiments?limit={limit}{after}").json()
        assert len(answer["items"]) <= limit
        seen += [item["id"] for item in answer["items"]]
        if answer["next"] is None:
            break
        after = f"&after={answer['next']}"
    assert seen == [experiment.id for experiment in site.ledger.experiments(site.campaign)] and len(seen) == 7
    for wrong in ("0", "501", "x"):
        assert code(client.get(f"/api/v1/campaigns?limit={wrong}")) == "request.invalid"


def test_a_page_goes_on_after_what_has_changed_meanwhile(site: Site) -> None:
    last = [site.propose() for _ in range(3)][-1]
    client = site.signed_in("scientist")
    where = f"/api/v1/campaigns/{site.campaign}/experiments?state=proposed&limit=2"
    first = client.get(where).json()
    assert len(first["items"]) == 2
    rejected = {"revision": first["items"][1]["revision"], "reason": "no"}
    assert client.post(f"/api/v1/experiments/{first['next']}/reject", json=rejected).status_code == 201
    second = client.get(f"{where}&after={first['next']}").json()
    assert [item["ordinal"] for item in second["items"]] == [3, 4] and second["next"] is None
    for part in ("experiments", "hypotheses", "decisions", "events"):
        for wrong in ("none", site.real):
            assert code(client.get(f"/api/v1/campaigns/{site.campaign}/{part}?after={wrong}")) == "page.unknown"
    elsewhere = client.get(f"/api/v1/campaigns/{site.real}/experiments?after={last.id}")
    assert code(elsewhere) == "page.unknown", "what another campaign has is not in this list"
    lines = client.get("/api/v1/campaigns?limit=1").json()
    rest = client.get(f"/api/v1/campaigns?limit=1&after={lines['next']}").json()
    assert [line["id"] for line in lines["items"] + rest["items"]] == ["real", site.campaign] and rest["next"] is None
    assert code(client.get("/api/v1/campaigns?after=none")) == "page.unknown"


def test_an_approval_is_signed_in_the_person_s_name(site: Site) -> None:
    client = site.signed_in("scientist")
    where = f"/api/v1/experiments/{site.experiment.id}/approve"
    answer = client.post(where, json={"revision": site.experiment.revision[:8], "expires_s": 60.0})
    assert answer.status_code == 201 and answer.json()["decided_by"] == "scientist"
    decision = site.ledger.decision(answer.json()["id"])
    assert verify(GateKey.load_or_create(keys_dir()).public, decision.body, decision.signature)
    assert site.ledger.experiment(site.experiment.id).state == "approved"
    again = client.post(where, json={"revision": site.experiment.revision[:8]})
    assert again.status_code == 409, "decided already"


def test_of_two_who_decide_at_once_one_is_told_why_not(site: Site) -> None:
    answers: list[Any] = []
    clients = [site.signed_in(login) for login in ("scientist", "operator", "owner")]
    paths = [("approve", {}), ("reject", {"reason": "no"}), ("edit", {"reason": "x", "values": {"temperature": 70.0}})]
    start = threading.Barrier(len(clients))

    def decide(client: Any, verb: str, body: dict[str, Any]) -> None:
        start.wait()
        where = f"/api/v1/experiments/{site.experiment.id}/{verb}"
        answers.append(client.post(where, json={"revision": site.experiment.revision, **body}))

    threads = [
        threading.Thread(target=decide, args=(client, verb, body))
        for client, (verb, body) in zip(clients, paths, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409], [a.text for a in answers]
    assert all(answer.json()["detail"] for answer in answers if answer.status_code == 409)
    assert len(site.ledger.decisions(site.campaign)) == 1


def test_edits_and_proposals_keep_to_the_limits(site: Site) -> None:
    client = site.signed_in("scientist")
    where = f"/api/v1/experiments/{site.experiment.id}/edit"
    seen = {"revision": site.experiment.revision, "reason": "try warmer"}
    wrong = client.post(where, json={**seen, "values": {"temperature": 1e6}})
    assert (wrong.status_code, code(wrong)) == (422, "limit.violated") and "temperature" in wrong.json()["detail"]
    assert code(client.post(where, json={**seen, "values": {"colour": 1.0}})) in ("decision.invalid", "limit.violated")
    assert client.post(where, content=b'{"values": {"temperature": NaN}}').status_code == 422
    right = client.post(where, json={**seen, "values": {"temperature": 70.0}}).json()
    assert right["parent_id"] == site.experiment.id and right["values"]["temperature"] == 70.0
    assert site.ledger.experiment(site.experiment.id).state == "superseded"
    points = f"/api/v1/campaigns/{site.campaign}/experiments"
    made = client.post(points, json={"values": POINT})
    assert made.status_code == 201 and made.json()["source"] == "operator"
    assert code(client.post(points, json={"values": {**POINT, "temperature": -300.0}})) == "limit.violated"
    assert code(client.post(points, json={"values": {"temperature": 60.0}})) == "refused"
    assert client.post(points, json={"values": {**POINT, "temperature": True}}).status_code == 422


def test_while_stop_all_is_latched_nothing_is_approved(site: Site) -> None:
    Latch(site.place).engage("smoke", "ada")
    client = site.signed_in("scientist")
    answer = client.post(
        f"/api/v1/experiments/{site.experiment.id}/approve", json={"revision": site.experiment.revision}
    )
    assert (answer.status_code, code(answer)) == (409, "refused")
    assert "smoke" in answer.json()["detail"] and "reset-stop" in answer.json()["remedy"]
    assert site.ledger.experiment(site.experiment.id).state == "proposed"


def test_steering_says_whether_anybody_drives(site: Site) -> None:
    client = site.program("scientist", *SCOPES)
    where = f"/api/v1/campaigns/{site.campaign}"
    assert client.post(f"{where}/pause").json() == {"is_driven": False}
    site.ledger.acquire_lease(f"campaign:{site.campaign}", "elsewhere:1", 600)
    assert client.post(f"{where}/stop-after-step").json() == {"is_driven": True}
    assert site.ledger.campaign(site.campaign).requested == "stop_after_step"
    site.ledger.set_campaign_state(site.campaign, "cancelled", reason="test")
    assert code(client.post(f"{where}/pause")) == "refused"
