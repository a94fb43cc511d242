"""How far a campaign may go by itself, over HTTP: it counts at once, and ends at once."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from athanor.agents.campaign import open_campaign, run_campaign, shut_down_laboratory
from athanor.agents.spec import parse
from athanor.console.commands.autonomy import Autonomy
from athanor.instruments.latch import Latch
from tests.console.api.site_rig import Site, code
from tests.console.api.test_starting import ASKING, until

WIDE = {
    "residence_time": {"low": 0.5, "high": 2.0},
    "equivalents": {"low": 1.0, "high": 5.0},
    "concentration": {"low": 0.1, "high": 0.5},
    "temperature": {"low": 30.0, "high": 120.0},
}


def asked(**changes: Any) -> dict[str, Any]:
    return {"envelope": WIDE, "max_experiments": 5, "expires_s": 3600.0, "reason": "for the night", **changes}


def test_a_grant_is_signed_and_can_be_ended(site: Site) -> None:
    client = site.signed_in("operator")
    where = f"/api/v1/campaigns/{site.campaign}/autonomy"
    before = client.get(where).json()
    assert (before["asked"], before["now"], before["grants"]) == ("auto_within_limits", "approve_each", [])
    assert before["default_envelope"] == WIDE and before["units"]["temperature"] == "degC"
    made = client.post(f"{where}/grants", json=asked())
    assert made.status_code == 201 and made.json()["kind"] == "grant", made.text
    found = client.get(where).json()
    assert found["now"] == "auto_within_limits"
    [grant] = found["grants"]
    assert (grant["by"], grant["standing"], grant["most"], grant["used"]) == ("operator", "in force", 5, 0)
    assert client.post(f"{where}/end", json={"reason": "shift ends"}).json() == {"ended": 1}
    found = client.get(where).json()
    assert found["now"] == "approve_each" and found["grants"][0]["standing"] == "ended"
    assert found["grants"][0]["ended_by"] == "operator"
    assert code(client.post(f"{where}/end", json={"reason": "again"})) == "refused"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"envelope": {**WIDE, "temperature": {"low": 30.0, "high": math.nextafter(120.0, 200.0)}}}, "not inside"),
        ({"envelope": {name: WIDE[name] for name in WIDE if name != "temperature"}}, "says nothing of temperature"),
        ({"envelope": {**WIDE, "colour": {"low": 1.0, "high": 2.0}}}, "no parameter colour"),
        ({"envelope": {**WIDE, "temperature": {"low": 60.0, "high": 50.0}}}, "no range"),
        ({"max_experiments": 0}, "max_experiments"),
        ({"expires_s": 0.0}, "expires_s"),
        ({"reason": ""}, "reason"),
    ],
)
def test_a_grant_is_no_wider_than_its_campaign(site: Site, changes: dict[str, Any], said: str) -> None:
    client = site.signed_in("operator")
    answer = client.post(f"/api/v1/campaigns/{site.campaign}/autonomy/grants", json=asked(**changes))
    assert answer.status_code in (409, 422) and said in answer.json()["detail"], answer.text
    assert not site.ledger.decisions(site.campaign)


def test_a_stop_voids_a_grant_and_none_is_given_while_stopped(site: Site) -> None:
    client = site.signed_in("operator")
    where = f"/api/v1/campaigns/{site.campaign}/autonomy"
    client.post(f"{where}/grants", json=asked())
    Latch(site.place).engage("smoke", "ada")
    assert client.get(where).json()["grants"][0]["standing"] == "void"
    refused = client.post(f"{where}/grants", json=asked())
    assert refused.status_code == 409 and "smoke" in refused.json()["detail"]
    assert code(site.signed_in("scientist").post(f"{where}/grants", json=asked())) == "scope.missing"


def test_a_running_campaign_is_let_go_and_held_again(site: Site) -> None:
    """Waiting for a person, it goes on by itself when it is granted to; outside the envelope, or ended, it asks."""
    client = site.signed_in("operator")
    name = open_campaign(parse(ASKING.replace("experiments: 2", "experiments: 30")), site.ledger)
    where = f"/api/v1/campaigns/{name}/autonomy"
    Autonomy(site.ledger, "test").gate()  # its key: the worker checks decisions against it
    enough = threading.Event()
    thread = threading.Thread(target=lambda: run_campaign(name, site.ledger, should_stop=enough.is_set))
    thread.start()
    try:
        [first] = until(lambda: site.ledger.experiments(name, ["proposed"]), "it asks")
        assert client.post(f"{where}/grants", json=asked(max_experiments=3)).status_code == 201
        until(lambda: len(site.ledger.experiments(name, ["completed"])) == 3, "three run by themselves")
        until(lambda: site.ledger.experiments(name, ["proposed"]), "then it asks again")
        assert site.ledger.experiment(first.id).state == "completed"
        assert client.get(where).json()["grants"][0]["standing"] == "used up"
        # One that covers no point that is proposed: it goes on asking.
        narrow = {**WIDE, "temperature": {"low": 30.0, "high": math.nextafter(30.0, 31.0)}}
        assert client.post(f"{where}/grants", json=asked(envelope=narrow)).status_code == 201
        [waiting] = site.ledger.experiments(name, ["proposed"])
        seen = {"revision": waiting.revision[:8]}
        assert client.post(f"/api/v1/experiments/{waiting.id}/approve", json=seen).status_code == 201
        until(lambda: site.ledger.experiment(waiting.id).state == "completed", "what a person approved runs")
        [outside] = until(lambda: site.ledger.experiments(name, ["proposed"]), "it asks")
        assert outside.values["temperature"] > 31.0
        assert client.post(f"{where}/end", json={"reason": "enough"}).json() == {"ended": 1}
        assert len(site.ledger.experiments(name, ["completed"])) == 4
    finally:
        enough.set()
        thread.join()
        shut_down_laboratory(site.ledger, name)
    assert site.ledger.campaign(name).state == "paused"
