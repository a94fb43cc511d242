"""Alarms over HTTP: every change of state, who may, and what is said to who comes second."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from athanor.console.alarm_watch import RESOURCE, AlarmWatch
from athanor.governance.alarm_catalogue import CATALOGUE, INTERLOCK, SIGN_IN, STOCK, STOP_ALL
from athanor.governance.alarms import Condition
from athanor.instruments.latch import Latch
from tests.console.api.site_rig import Site, code
from tests.instruments.rig import until

WHY = {"reason": "new tubing until noon"}


def do(client: TestClient, alarm: str, what: str, body: Any = WHY) -> Any:
    return client.post(f"/api/v1/alarms/{alarm}/{what}", json=body)


def state(client: TestClient, alarm: str) -> str:
    return str(client.get(f"/api/v1/alarms/{alarm}").json()["state"])


def test_an_alarm_says_what_happens_and_what_to_do(site: Site) -> None:
    client = site.signed_in("observer")
    shown = client.get(f"/api/v1/alarms/{site.alarm}").json()
    assert (shown["definition"], shown["subject"], shown["simulated"]) == ("writes.off", "snar-flow", True)
    assert shown["needs_answer"] and shown["state"] == "unacknowledged" and shown["detail"] == "new tubing"
    assert "refused" in shown["consequence"] and "turn them on again" in shown["response"]
    answer_by = datetime.fromisoformat(shown["answer_by"]) - datetime.fromisoformat(shown["raised_at"])
    assert answer_by == timedelta(seconds=shown["respond_s"]) == timedelta(hours=1)
    assert code(client.get("/api/v1/alarms/writes.off~none")) == "not_found"
    assert code(site.signed_in("operator").post("/api/v1/alarms/none/acknowledge")) == "not_found"


def test_acknowledged_once_and_who_comes_second_is_told(site: Site) -> None:
    one, other = site.signed_in("operator"), site.signed_in("scientist")
    done = do(one, site.alarm, "acknowledge", {"reason": "on my way"}).json()
    assert (done["state"], done["acknowledged_by"], done["needs_answer"]) == ("acknowledged", "operator", False)
    late = do(other, site.alarm, "acknowledge", {})
    assert late.status_code == 409 and code(late) == "refused" and "already, by operator" in late.json()["detail"]
    history = one.get(f"/api/v1/alarms/{site.alarm}/history").json()["items"]
    assert [(line["verb"], line["by"], line["why"]) for line in history] == [
        ("acknowledged", "operator", "on my way"),
        ("raised", "athanor", "new tubing"),
    ]


def test_acknowledging_needs_no_body(site: Site) -> None:
    answer = site.signed_in("operator").post(f"/api/v1/alarms/{site.alarm}/acknowledge")
    assert answer.json()["acknowledged_by"] == "operator"


def test_shelved_with_an_end_and_shown_again(site: Site) -> None:
    client = site.signed_in("operator")
    done = do(client, site.alarm, "shelve", {**WHY, "lasts_s": 3600}).json()
    assert done["state"] == "shelved" and done["longest_shelved_s"] == 24 * 3600
    hidden = done["hidden"]
    lasts = datetime.fromisoformat(hidden["until"]) - datetime.fromisoformat(hidden["since"])
    assert (hidden["by"], hidden["why"]) == ("operator", WHY["reason"])
    assert timedelta(minutes=59) < lasts <= timedelta(hours=1)
    assert "shelved until" in do(client, site.alarm, "acknowledge").json()["detail"]
    assert do(client, site.alarm, "unshelve").json()["state"] == "unacknowledged"
    for wrong in (
        {},
        {**WHY},
        {**WHY, "lasts_s": 0},
        {**WHY, "lasts_s": 1e9},
        {"lasts_s": 60},
        {**WHY, "lasts_s": "1"},
    ):
        assert code(do(client, site.alarm, "shelve", wrong)) == "request.invalid", wrong
    too_long = do(client, site.alarm, "shelve", {**WHY, "lasts_s": 25 * 3600})
    assert code(too_long) == "refused" and "24 h at most" in too_long.json()["detail"] and too_long.json()["remedy"]


def test_suppressed_by_design_and_out_of_service(site: Site) -> None:
    client = site.signed_in("operator")
    for hide, show, name in (
        ("suppress", "unsuppress", "suppressed"),
        ("remove-from-service", "return-to-service", "out_of_service"),
    ):
        assert do(client, site.alarm, hide).json()["state"] == name
        assert code(do(client, site.alarm, hide)) == "refused"
        assert do(client, site.alarm, show).json()["state"] == "unacknowledged"
        assert code(do(client, site.alarm, show)) == "refused"
        assert code(do(client, site.alarm, hide, {})) == "request.invalid", "not without a reason"


def test_a_latched_alarm_stays_until_it_is_reset(site: Site) -> None:
    raised = site.desk.alarms.raise_(Condition(INTERLOCK, "snar-flow", "open", instrument="snar-flow", simulated=True))
    assert raised is not None
    client = site.signed_in("operator")
    assert "still active" in do(client, raised.id, "reset").json()["detail"]
    site.desk.alarms.clear(raised.id)
    assert state(client, raised.id) == "latched_unacknowledged"
    assert "not been acknowledged" in do(client, raised.id, "reset").json()["detail"]
    assert do(client, raised.id, "acknowledge").json()["state"] == "latched_acknowledged"
    assert do(client, raised.id, "reset").json()["state"] == "normal"


def test_who_may_answer_may_not_hide_for_good(site: Site) -> None:
    scientist = site.signed_in("scientist")
    assert do(scientist, site.alarm, "acknowledge").status_code == 200
    for what in ("suppress", "unsuppress", "remove-from-service", "return-to-service"):
        assert code(do(scientist, site.alarm, what)) == "scope.missing"
    observer = site.signed_in("observer")
    for what in ("acknowledge", "reset", "shelve", "unshelve"):
        assert code(do(observer, site.alarm, what)) == "scope.missing"


def test_simulation_s_rights_end_at_a_real_instrument(site: Site) -> None:
    developer = site.signed_in("developer")
    assert do(developer, site.alarm, "acknowledge").status_code == 200
    real = site.desk.alarms.raise_(Condition(STOP_ALL, "reactor-7", "smoke", instrument="reactor-7"))
    everywhere = site.desk.alarms.raise_(Condition(SIGN_IN, "ada", "5 failures"))
    assert real is not None and everywhere is not None
    for alarm in (real.id, everywhere.id):
        assert code(do(developer, alarm, "acknowledge")) == "scope.missing"


def test_the_list_begins_with_what_wants_an_answer(site: Site) -> None:
    client = site.signed_in("operator")
    stock = site.desk.alarms.raise_(Condition(STOCK, "MeCN/a", "19 mL left"))
    stop = site.desk.alarms.raise_(Condition(STOP_ALL, "reactor-7", "smoke", instrument="reactor-7"))
    assert stock is not None and stop is not None
    ids = [one["id"] for one in client.get("/api/v1/alarms").json()["items"]] if site.alarm else []
    assert ids == [stop.id, site.alarm, stock.id]
    do(client, stop.id, "acknowledge")
    do(client, site.alarm, "suppress")
    assert [one["id"] for one in client.get("/api/v1/alarms").json()["items"]] == [stock.id, stop.id, site.alarm]
    assert "/" not in stock.id and state(client, stock.id) == "unacknowledged"

    def ids_of(query: str) -> list[str]:
        return [one["id"] for one in client.get(f"/api/v1/alarms?{query}").json()["items"]]

    assert ids_of("state=suppressed&state=acknowledged") == [stop.id, site.alarm]
    assert ids_of("priority=low") == [stock.id] and ids_of(f"definition={STOP_ALL}") == [stop.id]
    first = client.get("/api/v1/alarms?limit=2").json()
    rest = client.get(f"/api/v1/alarms?limit=2&after={first['next']}").json()
    assert len(first["items"]) == 2 and [one["id"] for one in rest["items"]] == [site.alarm] and rest["next"] is None
    assert code(client.get("/api/v1/alarms?state=sung")) == "request.invalid"


def test_the_catalogue_is_there_for_all_to_read(site: Site) -> None:
    found = site.signed_in("observer").get("/api/v1/alarm-definitions").json()["items"]
    assert [one["id"] for one in found] == list(CATALOGUE)
    assert all(one["consequence"] and one["response"] and one["respond_s"] > 0 for one in found)


def test_figures_and_the_history_of_all(site: Site) -> None:
    client = site.signed_in("observer")
    empty = client.get("/api/v1/alarm-figures").json()
    assert (empty["raised"], empty["is_flood"], empty["floods"]) == (0, False, [])
    for number in range(12):
        site.desk.alarms.raise_(Condition(STOCK, f"s{number}", "low"))
    found = client.get("/api/v1/alarm-figures?hours=1").json()
    assert (found["raised"], found["is_flood"], found["shares"]["low"]) == (12, True, 1.0)
    assert found["floods"][0]["count"] == 12 and found["per_hour"] == pytest.approx(12.0)
    history = client.get("/api/v1/alarm-history?limit=5").json()
    assert [line["subject"] for line in history["items"]] == ["s11", "s10", "s9", "s8", "s7"]
    assert code(client.get("/api/v1/alarm-figures?hours=0")) == "request.invalid"


def test_stop_all_over_http_is_an_alarm_a_moment_later(site: Site) -> None:
    client = site.signed_in("operator")
    watch = AlarmWatch(site.desk, site.desk.alarms)
    client.post("/api/v1/stop-all", json={"reason": "smoke"})
    watch.look()
    [one] = client.get("/api/v1/alarms?priority=critical").json()["items"]
    assert (one["subject"], one["detail"], one["simulated"]) == ("snar-flow", "snar-flow: smoke, by operator", True)
    seen = Latch(site.place).read().count
    client.post("/api/v1/instruments/snar-flow/reset-stop", json={"reason": "steam", "count": seen})
    watch.look()
    assert state(client, one["id"]) == "returned"
    assert do(client, one["id"], "acknowledge").json()["state"] == "normal"


def test_it_watches_for_as_long_as_it_serves(site: Site) -> None:
    Latch(site.place).engage("smoke", "ada")
    with site.visitor() as client:  # runs the application's life, as the server does
        assert client.get("/api/v1/health").status_code == 200
        until(lambda: [alarm.definition for alarm in site.desk.alarms.all()] == [STOP_ALL])
    assert site.ledger.lease(RESOURCE) is None


def test_an_alarm_of_another_release_is_still_shown(site: Site) -> None:
    site.desk.alarms.raise_(Condition("old.thing", "x", "it was so"))
    shown = site.signed_in("observer").get("/api/v1/alarms/old.thing~x").json()
    assert shown["title"] == "old.thing" and "does not know" in shown["consequence"]
