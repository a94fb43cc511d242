from __future__ import annotations

import pytest

from athanor.memory.canonical import canonical, digest_text
from athanor.memory.errors import Duplicate, InvalidRecord, LedgerBusy, NotFound, Overtaken
from athanor.memory.ledger import Ledger
from athanor.memory.records import SpooledDocument, now
from athanor.memory.verify import verify
from tests.memory.conftest import Maker


@pytest.fixture
def started(ledger: Ledger, make: Maker) -> Ledger:
    ledger.add_campaign(make.campaign())
    intent = make.dispatch(ledger, make.experiment())
    ledger.start_run(make.run("c1.1", intent))
    return ledger


def test_a_spool_may_be_sent_again(started: Ledger, make: Maker) -> None:
    documents = make.documents(count=4)
    assert started.ingest_documents(documents[:2]) == 2
    assert started.ingest_documents(documents) == 2
    assert started.ingest_documents(documents) == 0
    stored = started.documents("run-1")
    assert [document.position for document in stored] == [0, 1, 2, 3]
    assert all(document.sha256 == digest_text(document.body) for document in stored)
    assert verify(started).is_clean


def test_a_gap_or_other_contents_are_refused(started: Ledger, make: Maker) -> None:
    documents = make.documents(count=4)
    with pytest.raises(InvalidRecord, match="document 0 is missing"):
        started.ingest_documents(documents[1:])
    started.ingest_documents(documents[:2])
    with pytest.raises(InvalidRecord, match="other contents"):
        started.ingest_documents([documents[0].model_copy(update={"body": canonical({"x": 1})})])
    with pytest.raises(InvalidRecord):
        started.ingest_documents([documents[2], documents[2].model_copy(update={"position": 9})])
    assert len(started.documents("run-1")) == 2
    with pytest.raises(NotFound):
        started.ingest_documents([SpooledDocument(run_uid="other", position=0, name="start", body="{}")])


def test_starting_and_stopping_again_is_the_same(started: Ledger, make: Maker) -> None:
    run = started.run("run-1")
    started.start_run(run)
    with pytest.raises(InvalidRecord):
        started.start_run(run.model_copy(update={"experiment_id": "c1.2"}))
    moment = now()
    started.stop_run("run-1", moment, "success", None, 3)
    started.stop_run("run-1", moment, "success", None, 3)
    with pytest.raises(InvalidRecord, match="ended as success"):
        started.stop_run("run-1", moment, "fail", "late", 3)
    stopped = started.run_for("c1.1")
    assert stopped is not None and (stopped.exit_status, stopped.num_events) == ("success", 3)
    assert started.runs("c1") == [stopped]
    assert started.run_for("c1.2") is None
    with pytest.raises(NotFound):
        started.stop_run("none", moment, "success", None, 0)
    assert verify(started).is_clean


def test_an_observation_is_stored_once_for_each_reduction(started: Ledger, make: Maker) -> None:
    first = started.add_observation(make.observation())
    with pytest.raises(Duplicate):
        started.add_observation(make.observation())
    second = started.add_observation(make.observation(revision_number=2))
    past = [started.add_observation(make.observation(None, source="historical")) for _ in range(2)]
    assert started.observations("c1") == [first, second, *past]


def test_a_hostile_reply_is_stored_and_its_text_is_not_doubled(started: Ledger, make: Maker) -> None:
    call = started.add_model_call(make.model_call(response="x\x00y\ud800" + "z" * 5000, status="invalid"))
    assert started.model_calls("c1") == [call]
    assert call.response is not None and call.response.startswith("x\\u0000y\\ud800")
    line = started.journal("campaign:c1")[-1]
    assert digest_text(call.response) in line.body and len(line.body) < 1000
    assert verify(started).is_clean


def test_events_after_an_event(started: Ledger) -> None:
    made = [started.add_event("c1" if n % 2 else None, f"k{n}", {"n": n}) for n in range(6)]
    assert started.events() == made
    assert started.events("c1") == made[1::2]
    assert started.events(after=made[3].id) == made[4:]
    assert started.events("c1", after=made[1].id, kinds=["k5"]) == [made[5]]
    with pytest.raises(NotFound):
        started.events(after="none")


def test_a_history_is_continued_only_by_who_has_read_it(started: Ledger) -> None:
    first = started.add_event_after("story", {"n": 1}, None)
    with pytest.raises(Overtaken):
        started.add_event_after("story", {"n": 2}, None)
    started.add_event(None, "other", {})
    second = started.add_event_after("story", {"n": 2}, first.id)
    with pytest.raises(Overtaken, match="story"):
        started.add_event_after("story", {"n": 3}, first.id)
    assert [event.id for event in started.events(kinds=("story",))] == [first.id, second.id]
    assert isinstance(Overtaken("x"), LedgerBusy), "it may be tried again"
