"""A glance says what a whole look at the campaign says, after every change, and reads what is new alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.console import overview
from athanor.console.glance import Glance, Glances
from athanor.memory.errors import NotFound
from athanor.memory.ledger import Ledger
from athanor.memory.records import Observation
from benchmarks.large_ledger import fill


@pytest.fixture(params=["snar-flow", "ald-window"])
def ledger(home: Path, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    made = Ledger.create(home / "ledger.db")
    fill(made, experiments=60, campaigns=2, laboratory=request.param)
    yield made
    made.close()


def same(glance: Glance, ledger: Ledger) -> None:
    view = overview.look(ledger, ledger.campaign(glance.campaign.id))
    for name in ("campaign", "budget", "used", "trace", "recent"):
        assert getattr(glance, name) == getattr(view, name), name
    assert dict(glance.counts) == {state: count for state, count in view.counts.items() if count}
    assert glance.waiting == [item.id for item in view.waiting]
    assert glance.underway == [item.id for item in view.underway]
    assert list(glance.best) == list(view.best)


def observe(ledger: Ledger, campaign: str, experiment: int, revision: int = 2, **outcomes: float) -> None:
    first = next(o for o in ledger.observations(campaign) if o.experiment_id == f"{campaign}.{experiment}")
    measured = {name: {"mean": mean, "sem": None} for name, mean in outcomes.items()}
    fields = {**first.model_dump(), "id": f"{first.id}/{revision}", "revision_number": revision, "outcomes": measured}
    ledger.add_observation(Observation.model_validate({**fields, "status": "completed"}))


def test_a_glance_is_the_whole_look(ledger: Ledger) -> None:
    glances = Glances(ledger)
    one, two = [campaign.id for campaign in ledger.campaigns()]
    same(glances.at(one), ledger)
    same(glances.at(two), ledger)
    ledger.add_event(one, "best", {"observations": 10**6, "best": []})
    ledger.add_event(one, "resumed", {"after": "a pause"})
    same(glances.at(one), ledger)
    assert glances.at(one).recent[-1] == "resumed"
    names = [objective.name for objective in overview.look(ledger, ledger.campaign(one)).problem.objectives]
    measured = [o.experiment_id for o in ledger.observations(one) if o.experiment_id]
    number = int(measured[0].rpartition(".")[2])
    for revision, mean in enumerate((1e6, -1e6, 0.0), 2):  # the best there ever was, and then it was not
        observe(ledger, one, number, revision, **dict.fromkeys(names, mean))
        same(glances.at(one), ledger)
    ledger.set_campaign_state(one, "paused", reason="a pause")
    assert glances.at(one).campaign.state == "paused"
    same(glances.at(two), ledger)
    with pytest.raises(NotFound):
        glances.at("none")


def test_what_is_known_is_not_read_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    glances = Glances(ledger)
    [one, two] = [campaign.id for campaign in ledger.campaigns()]
    known = len(ledger.observations(one))
    read: list[int] = []
    observations = Ledger.observations

    def counting(self: Ledger, campaign_id: str, skip: int = 0) -> Any:
        found = observations(self, campaign_id, skip)
        read.append(len(found))
        return found

    monkeypatch.setattr(Ledger, "observations", counting)
    threads = [threading.Thread(target=glances.at, args=(one,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [known], "of all who ask at once, one reads"
    ledger.add_event(one, "note", {})
    glances.at(one)
    assert read == [known, 0]
    few = Glances(ledger, most=1)
    for campaign in (one, two, one):
        same(few.at(campaign), ledger)
    assert len(few._kept) == 1
