"""Instruments and Stop All over HTTP."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.latch import Latch
from athanor.memory.errors import LedgerFull
from athanor.memory.places import InstrumentPlace
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
    assert (
        code(developer.post("/api/v1/instruments/snar-flow/reset-stop", json={"reason": "x", "count": 1}))
        == "scope.missing"
    )


def test_anybody_stops_and_who_may_resets(site: Site) -> None:
    observer = site.signed_in("observer")
    stopped = observer.post("/api/v1/stop-all", json={"reason": "smoke"}).json()
    assert (stopped["running"], stopped["confirmed"]) == (0, False) and "not a safety system" in stopped["notice"]
    state = Latch(site.place).read()
    assert (state.engaged, state.reason, state.by) == (True, "smoke", "observer")
    where = "/api/v1/instruments/snar-flow/reset-stop"
    assert code(observer.post(where, json={"reason": "it is safe", "count": state.count})) == "scope.missing"
    operator = site.signed_in("operator")
    assert code(operator.post(where, json={"reason": "", "count": state.count})) == "request.invalid"
    unseen = operator.post(where, json={"reason": "the smoke was steam"})
    assert code(unseen) == "request.invalid" and "count" in unseen.json()["detail"], "what was looked at is named"
    assert Latch(site.place).read().engaged
    released = operator.post(where, json={"reason": "the smoke was steam", "count": state.count}).json()
    assert released["engaged"] is False and Latch(site.place).read().by == "operator"
    assert code(operator.post(where, json={"reason": "again", "count": state.count})) == "refused"


def test_stop_all_needs_no_body(site: Site) -> None:
    assert site.signed_in("steward").post("/api/v1/stop-all").status_code == 200
    assert Latch(site.place).read().engaged


def test_health_is_for_everybody_and_says_little(site: Site) -> None:
    assert set(site.visitor().get("/api/v1/health").json()) == {"status", "version", "instance"}


@pytest.mark.parametrize(
    "body",
    [{"reason": ""}, {"reason": "x" * 5000}, {"reason": None}, {"reason": 7, "colour": "red"}, {"reason": "\udc80"}],
)
def test_no_stop_is_refused_for_its_reason(site: Site, body: dict[str, Any]) -> None:
    content = json.dumps(body)
    answer = site.signed_in("observer").post(
        "/api/v1/stop-all", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 200 and Latch(site.place).read().engaged


def test_a_stop_of_what_is_not_there_says_so_loudly(site: Site) -> None:
    answer = site.signed_in("observer").post("/api/v1/stop-all", json={"instrument": "snar_flow"})
    assert answer.status_code == 404 and "NOTHING WAS STOPPED" in answer.json()["detail"]


def test_anybody_stops_while_nothing_can_be_written(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = site.signed_in("observer")
    site.now += 60.0

    def full(*_: Any) -> None:
        raise LedgerFull("no room")

    monkeypatch.setattr(site.ledger, "add_event", full)
    with contextlib.closing(sqlite3.connect(site.desk.people._path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert client.post("/api/v1/stop-all").status_code == 200
        other.execute("ROLLBACK")
    assert Latch(site.place).read().engaged


def test_folders_that_are_no_instruments_are_passed_over(site: Site) -> None:
    (site.place.directory.parent / "lost+found").mkdir()
    for content in ("[]", "null", '{"profile": 3}'):
        (site.place.directory / "config.json").write_text(content)
        [shown] = site.signed_in("observer").get("/api/v1/instruments").json()
        assert (shown["name"], shown["simulated"]) == ("snar-flow", False)


def test_of_two_instruments_with_one_name_it_is_this_ledger_s(site: Site, tmp_path: Path) -> None:
    other = InstrumentPlace.of("snar-flow", tmp_path / "elsewhere")
    other.directory.mkdir(parents=True)
    other.sockets.mkdir(parents=True, exist_ok=True)
    note = {"name": other.name, "directory": str(other.directory)}
    (other.sockets / "place.json").write_text(json.dumps(note))
    client = site.signed_in("operator")
    assert len(client.post("/api/v1/stop-all").json()["instruments"]) == 2
    seen = {"reason": "it is safe", "count": Latch(site.place).read().count}
    answer = client.post("/api/v1/instruments/snar-flow/reset-stop", json=seen)
    assert answer.status_code == 200 and not Latch(site.place).read().engaged and Latch(other).read().engaged


def test_who_stops_everything_does_not_queue_behind_those_who_stop_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many stops of one instrument as there are threads for hang; Stop All is answered all the same."""
    from athanor.console.api.door import STOP_THREADS
    from athanor.instruments import stop

    go, hanging = threading.Event(), threading.Semaphore(0)

    def stop_all(_: Any, instrument: str | None, *__: Any, **___: Any) -> list[Any]:
        if instrument is not None:
            hanging.release()
            assert go.wait(60)
        return []

    monkeypatch.setattr(stop, "stop_all", stop_all)
    with site.signed_in("observer") as client, ThreadPoolExecutor(2 * STOP_THREADS["one"]) as threads:
        many = [
            threads.submit(client.post, "/api/v1/stop-all", json={"instrument": "snar-flow"})
            for _ in range(2 * STOP_THREADS["one"])
        ]
        try:
            for _ in range(STOP_THREADS["one"]):
                assert hanging.acquire(timeout=60)
            answer = client.post("/api/v1/stop-all")
            assert answer.status_code == 200 and not any(one.done() for one in many)
        finally:
            go.set()
