"""Memory over HTTP: what is found, in which order, in pages; and campaigns side by side."""

from __future__ import annotations

from typing import Any

import pytest

from athanor.memory.records import Hypothesis
from benchmarks.large_ledger import fill
from tests.console.api.site_rig import Site, code


@pytest.fixture
def campaigns(site: Site) -> list[str]:
    made = fill(site.ledger, experiments=60, campaigns=2)
    site.ledger.add_hypothesis(
        Hypothesis(
            id=f"{made[1]}.H2",
            campaign_id=made[1],
            ordinal=2,
            kind="effect",
            statement="Heating makes more waste",
            rationale="<b>A model said so</b>",
            claim={},
            proposer="some model",
            prior=0.5,
            tainted=True,
        )
    )
    for state in ("reviewed", "registered", "testing"):
        site.ledger.set_hypothesis_state(f"{made[1]}.H2", state)
    site.ledger.set_hypothesis_state(f"{made[1]}.H2", "refuted", reason="no heat effect was seen")
    return made


@pytest.fixture
def reader(site: Site) -> Any:
    return site.program("observer", "read")


def search(client: Any, **asked: Any) -> dict[str, Any]:
    answer = client.get("/api/v1/memory/search", params=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(client: Any, **asked: Any) -> list[str]:
    return [item["id"] for item in search(client, limit=500, **asked)["items"]]


def test_words_are_found_and_marked(reader: Any, campaigns: list[str]) -> None:
    [found] = search(reader, text="heated waste")["items"]
    assert (found["id"], found["state"], found["tainted"], found["who"]) == (
        f"{campaigns[1]}.H2",
        "refuted",
        True,
        "some model",
    )
    pieces = found["texts"]["statement"]
    assert [piece["text"] for piece in pieces if piece["is_match"]] == ["Heating", "waste"]
    assert "".join(piece["text"] for piece in found["texts"]["rationale"]) == "<b>A model said so</b>"
    assert ids(reader, text="effect was seen") == [found["id"]], "a verdict's reason, too"
    assert set(ids(reader, text="made-up", kind="campaign")) == set(campaigns)
    assert ids(reader, text="no such words at all") == []
    assert ids(reader, text=campaigns[0], kind="campaign") == [campaigns[0]]
    assert search(reader, text="!?")["notes"]
    for hostile in ('"', "' OR 1=1 --", "NEAR(", "%", "\\", "*", "a" * 500, "NULL AND"):
        assert search(reader, text=hostile)["total"] >= 0


def test_filters(site: Site, reader: Any, campaigns: list[str]) -> None:
    assert ids(reader, verdict="refuted") == [f"{campaigns[1]}.H2"]
    assert ids(reader, verdict="supported") == []
    assert set(ids(reader, kind="campaign", laboratory="snar-flow")) >= set(campaigns)
    assert ids(reader, kind="campaign", laboratory="none") == []
    failed = ids(reader, kind="experiment", state="failed", campaign=campaigns[0])
    assert failed == [e.id for e in site.ledger.experiments(campaigns[0], ["failed"])][::-1], "the newest first"
    assert ids(reader, who="some model") == [f"{campaigns[1]}.H2"]
    decided = ids(reader, who="made-up person", kind="experiment")
    assert len(decided) == sum(e.state != "expired" for name in campaigns for e in site.ledger.experiments(name))
    assert ids(reader, since="2100-01-01T00:00:00Z") == []
    for wrong in ({"state": "x"}, {"kind": "x"}, {"since": "x"}, {"limit": 0}, {"text": "x" * 501}):
        assert code(reader.get("/api/v1/memory/search", params=wrong)) == "request.invalid", wrong


def test_ranges_in_any_unit(site: Site, reader: Any, campaigns: list[str]) -> None:
    everything = [e for name in campaigns for e in site.ledger.experiments(name)]
    warm = {e.id for e in everything if 60.0 <= float(e.values["temperature"]) <= 80.0} | {site.experiment.id}
    assert warm - {site.experiment.id}
    assert set(ids(reader, parameter="temperature:60..80 degC")) == warm
    assert set(ids(reader, parameter="temperature:333.15..353.15 K")) == warm
    both = ids(reader, parameter=["temperature:60..80", "equivalents:..2"])
    assert set(both) == {e.id for e in everything if e.id in warm and float(e.values["equivalents"]) <= 2} | (
        {site.experiment.id} if float(site.experiment.values["equivalents"]) <= 2 else set()
    )
    measured = {o.experiment_id: o.outcomes for name in campaigns for o in site.ledger.observations(name)}
    high = {e for e, found in measured.items() if found and found["sty"]["mean"] >= 3000}
    assert high and set(ids(reader, outcome="sty:3000..")) == high
    shown = search(reader, outcome="sty:3000..")["items"][0]
    assert shown["observed"]["sty"][0] >= 3000 and shown["units"]["temperature"] == "degC"
    found = search(reader, parameter="temperature:1..2 kg")
    assert found["items"] == [] and "left out" in found["notes"][0]
    assert search(reader, parameter='a"b\\c:1..2')["items"] == []
    answer = reader.get("/api/v1/memory/search", params={"parameter": "hot"})
    assert code(answer) == "range.invalid" and "LOW..HIGH" in answer.json()["remedy"]


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_pages_hold_everything_once(reader: Any, campaigns: list[str], limit: int) -> None:
    whole = ids(reader, kind="experiment", campaign=campaigns[0])
    assert len(whole) == 30
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        found = search(reader, kind="experiment", campaign=campaigns[0], limit=limit, **after)
        assert found["total"] == 30 and not found["is_cut"]
        seen += [item["id"] for item in found["items"]]
        if found["next"] is None:
            break
        after = {"after": found["next"]}
    assert seen == whole
    assert code(reader.get("/api/v1/memory/search?after=x")) == "page.unknown"


def test_campaigns_side_by_side(site: Site, reader: Any, campaigns: list[str]) -> None:
    def compared(*names: str) -> Any:
        return reader.get("/api/v1/memory/compare", params={"campaign": list(names)})

    found = compared(*campaigns, campaigns[0]).json()
    assert [one["id"] for one in found["campaigns"]] == campaigns and found["is_same_problem"]
    assert found["notes"] == [] and "temperature" in found["shared"] and found["picture"].startswith("<svg")
    assert all(name in found["picture"] for name in campaigns) and "style=" not in found["picture"]
    one = found["campaigns"][0]
    assert one["curve"][-1][0] == one["used"] == 30 - one_expired(site, campaigns[0])
    assert one["measured"] == one["used"] - one["failures"]
    assert one["parameters"]["temperature"]["unit"] == "degC" and one["objectives"] and one["best_text"]
    assert found["campaigns"][1]["hypotheses"][1]["state"] == "refuted"
    nothing = compared(site.campaign).json()
    assert nothing["picture"] == "" and nothing["campaigns"][0]["curve"] is None
    assert code(compared("none")) == "not_found" and code(compared()) == "request.invalid"
    assert code(compared(*"abcdefg")) == "request.invalid"
    assert code(compared(site.real)) == "refused", "its problem is none that can be read"


def one_expired(site: Site, campaign: str) -> int:
    return len(site.ledger.experiments(campaign, ["expired"]))
