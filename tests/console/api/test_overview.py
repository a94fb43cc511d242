"""The site at one look."""

from __future__ import annotations

from typing import Any

from athanor.instruments.latch import Latch
from tests.console.api.site_rig import Site


def overview(site: Site, role: str = "observer") -> Any:
    answer = site.signed_in(role).get("/api/v1/overview")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_campaigns_what_waits_and_instruments_are_there(site: Site) -> None:
    found = overview(site)
    lines = {line["id"]: line for line in found["campaigns"]}
    assert lines[site.campaign]["waiting"] == 1 and lines[site.campaign]["budget"] == 40
    [waiting] = [one for one in found["waiting"] if one["campaign_id"] == site.campaign]
    assert (waiting["what"], waiting["experiment_id"], waiting["revision"]) == (
        "decision",
        site.experiment.id,
        site.experiment.revision,
    )
    assert "temperature 60 °C" in waiting["settings"]
    assert "snar-flow" in {one["name"] for one in found["instruments"]}


def test_a_campaign_that_cannot_be_read_hides_no_other(site: Site) -> None:
    """The rig's campaign on a real instrument has a problem without parameters."""
    lines = {line["id"]: line for line in overview(site)["campaigns"]}
    assert "could not be read" in lines[site.real]["trouble"] and lines[site.campaign]["trouble"] is None


def test_what_holds_an_instrument_is_said_where_it_matters(site: Site) -> None:
    Latch(site.place).engage("spill", "operator")
    found = overview(site)
    [line] = [line for line in found["campaigns"] if line["id"] == site.campaign]
    assert "Stop All is latched: spill" in line["halted"]
    [place] = [one for one in found["instruments"] if one["name"] == "snar-flow"]
    assert place["latch"]["engaged"] and place["latch"]["reason"] == "spill"


def test_a_change_is_seen_and_the_same_is_not_read_twice(site: Site) -> None:
    now = [0.0]
    site.desk.shared._clock = lambda: now[0]
    client = site.signed_in("observer")
    before = client.get("/api/v1/overview").content
    assert client.get("/api/v1/overview").content == before
    site.propose()
    site.desk.watch._looked = site.desk.watch._told_at = 0.0
    waiting = client.get("/api/v1/overview").json()["waiting"]
    assert len([one for one in waiting if one["campaign_id"] == site.campaign]) == 2


def test_of_what_is_over_the_newest_are_shown_and_the_others_counted(site: Site) -> None:
    from athanor.console.api.overview import OVER_SHOWN
    from tests.instruments.rig import new_campaign

    for index in range(OVER_SHOWN + 3):
        made = new_campaign(site.ledger, f"old-{index}", simulated=True)
        site.ledger.set_campaign_state(made.id, "cancelled", reason="test")
    found = overview(site)
    assert found["more_over"] == 3
    assert len([line for line in found["campaigns"] if line["state"] == "cancelled"]) == OVER_SHOWN
