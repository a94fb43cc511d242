"""The site at one look."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from athanor.agents.campaign import open_campaign
from athanor.agents.spec import parse
from athanor.console.api import overview as module
from athanor.instruments.laboratory import load
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


def test_what_holds_an_instrument_is_in_no_journal_and_said_at_once(site: Site) -> None:
    def halted() -> Any:
        site.ledger.add_event(None, "note", {})
        site.desk.watch._looked = site.desk.watch._told_at = 0.0
        return next(line["halted"] for line in overview(site)["campaigns"] if line["id"] == site.campaign)

    site.desk.summaries._clock = lambda: 0.0
    assert halted() is None
    Latch(site.place).engage("spill", "operator")
    assert "spill" in halted()


def test_what_changes_while_one_looks_is_seen_by_the_next_look(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The overview is of one moment: what is learned of while it is made is not in it, and not held to be."""
    desk, read, done = site.desk, module._read, list[str]()

    def read_and_change(*given: Any) -> Any:
        found = read(*given)
        if not done:
            done.append(site.propose().id)
            desk.watch._looked = 0.0
            with ThreadPoolExecutor(1) as threads:
                threads.submit(desk.watch.position).result(30)
        return found

    other = open_campaign(parse(load("snar-flow").campaign_file().read_text()), site.ledger)  # which is looked at first
    desk.summaries._clock = lambda: 0.0  # nothing grows old
    monkeypatch.setattr(module, "_read", read_and_change)
    assert overview(site)["campaigns"][0]["id"] == other and len(done) == 1
    site.desk.watch._looked = site.desk.watch._told_at = 0.0
    assert done[0] in {one["experiment_id"] for one in overview(site)["waiting"]}


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
