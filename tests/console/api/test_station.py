"""What a manual station asks of a person, and the answers, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from athanor.console.commands import station as commands
from athanor.instruments.station import Station
from athanor.memory.places import InstrumentPlace
from tests.console.api.site_rig import Site, code
from tests.instruments.stationing import measurement, setting, sheet, worker

WHERE = "/api/v1/instruments/bench"


@pytest.fixture
def place(site: Site, monkeypatch: pytest.MonkeyPatch) -> InstrumentPlace:
    monkeypatch.setattr(commands, "TAKEN_S", 0.0)  # nobody takes anything here
    found = InstrumentPlace.of("bench", site.ledger.path.parent)
    found.directory.mkdir(parents=True)
    profile = {"outcomes": {"y": {"signal": "yield"}}, "reduction": "mean"}
    (found.directory / "config.json").write_text(json.dumps({"profile": profile}))
    return found


@pytest.fixture
def asking(place: InstrumentPlace) -> Iterator[Station]:
    found = Station(place)
    found.write(sheet(setting(), measurement()))
    with worker(place):
        yield found


def answer(client: TestClient, verb: str, *questions: str, **more: Any) -> Any:
    return client.post(f"{WHERE}/station/answers", json={"verb": verb, "questions": list(questions), **more})


def test_nothing_is_asked(site: Site, place: InstrumentPlace) -> None:
    client = site.signed_in("scientist")
    assert client.get(f"{WHERE}/station").json()["standing"] == "nothing"
    assert code(answer(client, "done", "x")) == "refused"


def test_what_is_asked_is_answered_once(site: Site, asking: Station) -> None:
    client, other = site.signed_in("scientist"), site.signed_in("operator")
    shown = client.get(f"{WHERE}/station").json()
    assert (shown["standing"], shown["experiment"]) == ("waiting", "bench-abcd.3")
    first, second = (one["id"] for one in shown["questions"])
    assert [one["kind"] for one in shown["questions"]] == ["set", "measure"]
    wrong = answer(client, "enter", second, entries={"yield": "9", "purity": "1"})
    assert wrong.status_code == 409 and "plausible" in wrong.json()["detail"]
    done = answer(client, "done", first, note="slow")
    assert (done.status_code, done.json()["taken"]) == (201, "slow"), done.text
    assert [(one["verb"], one["by"], one["note"]) for one in done.json()["answered"]] == [("done", "scientist", "slow")]
    late = answer(other, "done", first)
    assert late.status_code == 409 and "answered already, by scientist" in late.json()["detail"]
    entered = answer(other, "enter", second, entries={"yield": "0.83 g/L", "purity": "0.97"})
    assert entered.json()["answered"][0]["rows"] == [{"yield": 0.83, "purity": 0.97}]
    assert client.get(f"{WHERE}/station").json()["questions"] == []


def test_an_answer_to_an_old_question_is_none_to_the_next(site: Site, asking: Station) -> None:
    client = site.signed_in("scientist")
    seen = measurement().id
    asking.write(sheet(measurement(id="intent-1.003.balance", reading=2)))
    late = answer(client, "enter", seen, entries={"yield": "0.83", "purity": "0.97"})
    assert late.status_code == 409 and "not asked any more" in late.json()["detail"]
    assert asking.answers("intent-1") == []
    assert code(answer(client, "enter", "../../x", entries={"yield": "1"})) == "station.error"


def test_it_cannot_be_done_and_who_may_say_so(site: Site, asking: Station) -> None:
    assert code(answer(site.signed_in("observer"), "cannot", setting().id, reason="no power")) == "scope.missing"
    client = site.signed_in("operator")
    assert answer(client, "cannot", setting().id).status_code == 409, "not without a reason"
    given = answer(client, "cannot", setting().id, reason="no power").json()["answered"]
    assert [(one["verb"], one["reason"], one["by"]) for one in given] == [("cannot", "no power", "operator")]


def test_what_is_answered_after_the_worker_died_is_kept_for_who_settles_it(site: Site, place: InstrumentPlace) -> None:
    Station(place).write(sheet(measurement(of=1), run={"intent": "i", "experiment": "bench-abcd.3", "replicates": 1}))
    client = site.signed_in("operator")
    shown = client.get(f"{WHERE}/station").json()
    assert shown["standing"] == "orphan"
    given = answer(client, "enter", shown["questions"][0]["id"], entries={"yield": "0.8", "purity": "1"}).json()
    assert given["taken"] == "gone"
