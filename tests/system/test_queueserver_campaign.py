"""One campaign, by a worker of our own and through a queue: the same to the bit."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from tests.system.queueing import Queue
from tests.system.test_protocol_campaigns import EXPERIMENTS, LABORATORY, finish, told

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("planner", ["random", "bayesian"])
def test_a_campaign_is_the_same_through_a_queue(make_bench: Any, planner: str) -> None:
    options = {"noise": 0.0}
    what: dict[str, Any] = {"options": options, "experiments": EXPERIMENTS, "planner": planner}
    bench, queued = make_bench("in-process"), make_bench("queued")
    simulated = bench.open(LABORATORY, **what)
    expected = finish(bench, simulated)
    assert [row[2] for row in expected if isinstance(row[0], int)] == ["completed"] * EXPERIMENTS

    campaign = queued.open(LABORATORY, **what)
    with closing(Queue(queued.place(campaign), queued.ledger.path, LABORATORY, options)) as queue:
        queue.start()
        assert finish(queued, campaign) == expected
        queue.idle()
        items = [item["kwargs"]["item"]["intent"] for item in queue.history()]
        assert queue.items() == []
    intents = [queued.ledger.intent_for(experiment.id).id for experiment in queued.ledger.experiments(campaign)]
    assert items == intents
    assert [run["intent"] for run in queued.witness(campaign, "run")] == intents
    assert [told(run) for run in queued.witness(campaign, "run")] == [
        told(run) for run in bench.witness(simulated, "run")
    ]
