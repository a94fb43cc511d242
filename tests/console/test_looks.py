"""A look again says what a first look says, after every change, and reads what is new alone."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from athanor.console import looks as looks_module
from athanor.console import overview
from athanor.console.looks import TOLD, Looks
from athanor.console.overview import Overview
from athanor.console.report import present
from athanor.memory import remarks
from athanor.memory.errors import NotFound
from athanor.memory.ledger import Ledger
from athanor.memory.records import Experiment, ExperimentState, Observation
from benchmarks.large_ledger import fill
from tests.memory.conftest import Maker


@pytest.fixture(params=["snar-flow", "ald-window"])
def ledger(home: Path, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    made = Ledger.create(home / "ledger.db")
    fill(made, experiments=60, campaigns=2, laboratory=request.param)
    yield made
    made.close()


def same(view: Overview, ledger: Ledger) -> None:
    whole = overview.look(ledger, ledger.campaign(view.campaign.id))
    for field in dataclasses.fields(Overview):
        if field.name not in ("story", "redrawn_at"):
            assert getattr(view, field.name) == getattr(whole, field.name), field.name
    assert list(view.story) == list(whole.story[-TOLD:])


def propose(ledger: Ledger, campaign: str) -> Experiment:
    last = ledger.experiments(campaign)[-1]
    fields = {**last.model_dump(), "id": f"{campaign}.{last.ordinal + 1}", "ordinal": last.ordinal + 1}
    made = Experiment.model_validate({**fields, "state": "proposed", "decision_id": None, "reason": None})
    revision = made.expected_revision(ledger.campaign(campaign).problem_hash)
    return ledger.add_experiment(made.model_copy(update={"revision": revision}))


def observe(ledger: Ledger, campaign: str, experiment: int, revision: int = 2, **outcomes: float) -> None:
    first = next(o for o in ledger.observations(campaign) if o.experiment_id == f"{campaign}.{experiment}")
    measured = {name: {"mean": mean, "sem": None} for name, mean in outcomes.items()}
    fields = {**first.model_dump(), "id": f"{first.id}/{revision}", "revision_number": revision, "outcomes": measured}
    ledger.add_observation(Observation.model_validate({**fields, "status": "completed"}))


def test_a_look_again_is_the_whole_look(ledger: Ledger) -> None:
    looks = Looks(ledger)
    one, two = [campaign.id for campaign in ledger.campaigns()]
    same(looks.at(one), ledger)
    same(looks.at(two), ledger)
    ledger.add_event(one, "best", {"observations": 10**6, "best": []})
    ledger.add_event(one, "resumed", {"after": "a pause"})
    same(looks.at(one), ledger)
    assert looks.at(one).recent[-1] == "resumed"
    names = [objective.name for objective in overview.look(ledger, ledger.campaign(one)).problem.objectives]
    measured = [o.experiment_id for o in ledger.observations(one) if o.experiment_id]
    number = int(measured[0].rpartition(".")[2])
    for revision, mean in enumerate((1e6, -1e6, 0.0), 2):  # the best there ever was, and then it was not
        observe(ledger, one, number, revision, **dict.fromkeys(names, mean))
        same(looks.at(one), ledger)
    proposed = propose(ledger, one)
    same(looks.at(one), ledger)
    assert [item.id for item in looks.at(one).waiting] == [proposed.id]
    ledger.set_experiment_state(proposed.id, "withdrawn")
    same(looks.at(one), ledger)
    ledger.set_campaign_state(one, "paused", reason="a pause")
    assert looks.at(one).campaign.state == "paused"
    same(looks.at(two), ledger)
    with pytest.raises(NotFound):
        looks.at("none")


def test_pictures_are_new_only_where_what_they_show_is(ledger: Ledger) -> None:
    campaign = ledger.campaigns()[0]
    one, instrument = campaign.id, campaign.instrument
    looks = Looks(ledger)
    drawn: dict[int, Any] = {}

    def is_redrawn() -> bool:
        view = looks.at(one)
        new = view.redrawn_at not in drawn
        outcome = view.problem.objectives[0].name
        pictures = (present.progress(view), present.front(view), present.space(view, outcome))
        assert drawn.setdefault(view.redrawn_at, pictures) == pictures
        assert all(at <= view.redrawn_at for at in drawn)
        return new

    assert is_redrawn() and not is_redrawn()
    ledger.add_event(one, "note", {})
    assert not is_redrawn()
    proposed = propose(ledger, one)
    assert not is_redrawn()
    decision = Maker().approve(ledger, proposed)
    assert not is_redrawn()
    lease = ledger.acquire_lease(f"instrument:{instrument}", "p1", 60)
    ledger.commit_intent(proposed.id, decision.id, instrument, "p1", lease.epoch)
    assert is_redrawn()
    states: list[tuple[ExperimentState, bool]] = [("running", False), ("completed", True)]
    for state, expected in states:
        ledger.set_experiment_state(proposed.id, state)
        assert is_redrawn() == expected, state
    measured = [o.experiment_id for o in ledger.observations(one) if o.experiment_id]
    observe(ledger, one, int(measured[0].rpartition(".")[2]), **dict.fromkeys(looks.at(one).problem.outcomes, 1e6))
    assert is_redrawn()
    looks = Looks(ledger)
    ledger.add_event(one, "note", {})
    is_redrawn()


class Tomorrow(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + timedelta(days=1)


def test_what_was_put_off_comes_back_at_its_time(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which nobody writes down."""
    looks, one = Looks(ledger), ledger.campaigns()[0].id
    item = propose(ledger, one)
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = {"experiment": item.id, "revision": item.revision, "by": "Ada", "reason": "later", "until": soon}
    ledger.add_event(one, "deferred", body)
    assert not looks.at(one).waiting and list(looks.at(one).deferred) == [item.id]
    for module in (looks_module, remarks):
        monkeypatch.setattr(module, "datetime", Tomorrow)
    assert [found.id for found in looks.at(one).waiting] == [item.id] and not looks.at(one).deferred
    same(looks.at(one), ledger)


def test_what_could_not_be_taken_in_is_read_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, one = Looks(ledger), ledger.campaigns()[0].id
    same(looks.at(one), ledger)
    last = ledger.observations(one)[-1]
    fields = {**last.model_dump(), "id": f"{last.id}/by-hand", "experiment_id": None, "source": "operator"}
    ledger.add_observation(Observation.model_validate({**fields, "status": "completed"}))
    with monkeypatch.context() as patched:
        patched.setattr(overview.Found, "_take", lambda found, item: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            looks.at(one)
    same(looks.at(one), ledger)


def test_an_idle_campaign_does_not_seek_through_what_others_write(ledger: Ledger) -> None:
    looks = Looks(ledger)
    one, two = [campaign.id for campaign in ledger.campaigns()]
    looks.at(one)
    ledger.add_event(two, "note", {})
    looks.at(one)
    assert looks._kept[one]._position == ledger.changes()
    ledger.add_event(one, "resumed", {})
    assert looks.at(one).recent[-1] == "resumed"


def test_what_is_known_is_not_read_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(ledger)
    [one, two] = [campaign.id for campaign in ledger.campaigns()]
    known = len(ledger.observations(one))
    read: list[int] = []
    observations = Ledger.observations

    def counting(self: Ledger, campaign_id: str, skip: int = 0, since: str | None = None) -> Any:
        found = observations(self, campaign_id, skip, since)
        read.append(len(found))
        return found

    monkeypatch.setattr(Ledger, "observations", counting)
    threads = [threading.Thread(target=looks.at, args=(one,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [known], "of all who ask at once, one reads"
    ledger.add_event(one, "note", {})
    looks.at(one)
    assert read == [known, 0]
    few = Looks(ledger, most=40)
    for campaign in (one, two, one):
        same(few.at(campaign), ledger)
    assert len(few._kept) == 1
