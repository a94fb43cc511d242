"""Instruments and Stop All over HTTP."""

from __future__ import annotations

from athanor.instruments.latch import Latch
from tests.console.api.site_rig import Site, code


def test_instruments_say_what_is_the_matter(site: Site) -> None:
    client = site.signed_in("observer")
    [shown] = client.get("/api/v1/instruments").json()
    assert (shown["name"], shown["simulated"], shown["writes"], shown["latch"]["engaged"]) == (
        "snar-flow",
        True,
        True,
        False,
    )
    assert client.get("/api/v1/instruments/snar-flow").json() == shown
    assert code(client.get("/api/v1/instruments/none")) == "not_found"
    (site.place.directory / "config.json").write_text("{")
    assert client.get("/api/v1/instruments/snar-flow").json()["simulated"] is False, "what nobody can tell is real"
    developer = site.signed_in("developer")
    assert code(developer.post("/api/v1/instruments/snar-flow/reset-stop", json={"reason": "x"})) == "scope.missing"


def test_anybody_stops_and_who_may_resets(site: Site) -> None:
    observer = site.signed_in("observer")
    stopped = observer.post("/api/v1/stop-all", json={"reason": "smoke"}).json()
    assert (stopped["running"], stopped["confirmed"]) == (0, False) and "not a safety system" in stopped["notice"]
    state = Latch(site.place).read()
    assert (state.engaged, state.reason, state.by) == (True, "smoke", "observer")
    where = "/api/v1/instruments/snar-flow/reset-stop"
    assert code(observer.post(where, json={"reason": "it is safe"})) == "scope.missing"
    operator = site.signed_in("operator")
    assert code(operator.post(where, json={"reason": ""})) == "request.invalid"
    released = operator.post(where, json={"reason": "the smoke was steam"}).json()
    assert released["engaged"] is False and Latch(site.place).read().by == "operator"
    assert code(operator.post(where, json={"reason": "again"})) == "refused"


def test_stop_all_needs_no_body(site: Site) -> None:
    assert site.signed_in("steward").post("/api/v1/stop-all").status_code == 200
    assert Latch(site.place).read().engaged


def test_health_is_for_everybody_and_says_little(site: Site) -> None:
    assert set(site.visitor().get("/api/v1/health").json()) == {"status", "version"}
