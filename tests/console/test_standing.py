"""How an instrument stands, as far as the API's own tests do not show it: what it says of a queue and a crash."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from athanor.console import standing
from athanor.instruments.queueserver import settings
from athanor.instruments.wire import Server
from athanor.memory.resources import Consumable, Needs, Sample
from tests.instruments.rig import Rig, make_rig_fixture, rig_fixture  # noqa: F401 - fixtures


def test_a_queue_that_is_silent_says_so(rig: Rig, monkeypatch: Any) -> None:
    assert standing.queue_of(rig.place) is None
    folder = settings.folder_of(rig.place)
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"redis": "x", "key": "y"}))
    rig.place.sockets.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(standing, "ANSWER_S", 0.05)
    queue = standing.queue_of(rig.place)
    assert queue is not None and queue.state is None and "no answer" in str(queue.trouble)


def test_what_a_crash_left_behind_and_what_it_keeps_from_others(rig: Rig) -> None:
    rig.ledger.add_sample(Sample(id="s1", label="w1"))
    rig.ledger.add_consumable(Consumable(id="salt", unit="g", amount=5.0))
    experiment = rig.propose()
    decision = rig.approve(experiment)
    rig.ledger.commit_intent(
        experiment.id,
        decision.id,
        rig.place.name,
        rig.lease.holder,
        rig.lease.epoch,
        needs=Needs(samples=("s1",), amounts={"salt": 2.0}),
    )
    view = standing.look(rig.ledger, rig.place)
    assert [one.id for one in view.unattended] == [experiment.id] and not view.worker.is_running
    [held] = view.reservations
    assert (held.samples, held.reservation.amounts) == (("w1",), {"salt": 2.0})
    assert view.lease is not None and view.lease.holder == rig.lease.holder
    assert [(campaign.id, is_driven) for campaign, is_driven in view.campaigns] == [("camp", False)]


def test_a_worker_that_refuses_everything_says_why(rig: Rig) -> None:
    rig.place.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts: dict[str, Any] = {
        "state": "idle",
        "experiment": "elsewhere.1",
        "campaign": "elsewhere",
        "is_pausing": False,
        "is_preparing": False,
        "recovery": "the recovery process is missing",
        "writes": "writes.off: leak",
        "ledger": "the disk is full",
        "unstored": {"camp.1": "refused"},
        "refusals": {"writes.off": 2},
        "held_by": ["camp"],
        "pid": 7,
    }
    answer: Callable[..., dict[str, Any]] = lambda *_: facts  # noqa: E731
    server = Server(rig.place.sockets / "worker.sock", answer)
    try:
        view = standing.look(rig.ledger, rig.place)
    finally:
        server.close()
    assert view.worker.troubles == (
        "the recovery process is missing",
        "writes.off: leak",
        "the ledger: the disk is full",
        "camp.1: the ledger does not take its documents: refused",
    )
    assert (view.worker.held_by, view.worker.refusals, view.in_hand) == (("camp",), {"writes.off": 2}, None)
