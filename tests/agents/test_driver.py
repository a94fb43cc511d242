"""Who drives a campaign, and in what state it is left: never alone, never past a doubt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from athanor.agents import driver
from athanor.agents.campaign import run_campaign
from athanor.agents.nodes import Nodes
from athanor.instruments.latch import Latch
from athanor.memory.errors import LedgerBusy
from athanor.memory.verify import verify


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen in time")


def in_doubt(bench: Any, campaign_id: str) -> Any:
    """Leave one experiment of the campaign in doubt, as a worker's death does."""
    ledger = bench.ledger
    decided = []

    def stop(nodes: Nodes, state: Any) -> Any:
        experiment = ledger.experiment(state["experiment"])
        decided.append(experiment)
        ledger.set_experiment_state(experiment.id, "in_doubt", reason="the worker died")
        nodes.context.pause("the worker died")
        return {"route": "stop"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Nodes, "dispatch", stop)
        assert run_campaign(campaign_id, ledger) == "paused"
    return decided[0]


def test_nothing_is_run_while_an_experiment_is_in_doubt(bench: Any) -> None:
    campaign_id = bench.open(experiments=2)
    doubtful = in_doubt(bench, campaign_id)
    assert run_campaign(campaign_id, bench.ledger) == "paused"
    assert f"reconcile {doubtful.id}" in bench.ledger.campaign(campaign_id).reason
    assert [e.id for e in bench.ledger.experiments(campaign_id)] == [doubtful.id]
    bench.gate.settle(doubtful.id, "not_started", "the controller's log shows no motion")
    bench.grant(campaign_id)  # the first grant covered two starts, and one may have been made
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    assert verify(bench.ledger).is_clean


def test_another_campaign_waits_until_the_instrument_is_out_of_doubt(bench: Any) -> None:
    first = bench.open(experiments=2)
    doubtful = in_doubt(bench, first)
    other = bench.open(experiments=1)
    assert run_campaign(other, bench.ledger) == "paused"
    assert f"reconcile {doubtful.id}" in bench.ledger.campaign(other).reason
    assert not bench.ledger.experiments(other)
    bench.gate.settle(doubtful.id, "not_started", "the controller's log shows no motion")
    assert run_campaign(other, bench.ledger) == "succeeded"


def test_who_has_lost_the_campaign_leaves_it_to_the_other(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = bench.ledger
    campaign_id = bench.open(experiments=2)

    def taken_over(nodes: Nodes, state: Any) -> Any:
        # What a process finds that was frozen for longer than its leases.
        for resource in (nodes.context.lease.resource, nodes.context.instrument_lease.resource):
            ledger.acquire_lease(resource, "other", 600, is_gone=lambda holder: True)
        experiment = ledger.experiment(state["experiment"])
        nodes.context.commit_intent(experiment, nodes.context.grant(experiment))
        raise AssertionError("an intent was committed without the lease")

    monkeypatch.setattr(Nodes, "commit_intent", taken_over)
    with pytest.raises(Exception, match="is held by other"):
        run_campaign(campaign_id, ledger)
    assert ledger.campaign(campaign_id).state == "running"
    assert ledger.lease(f"campaign:{campaign_id}").holder == "other"


def test_a_ledger_that_was_busy_costs_no_lease(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = bench.ledger
    campaign_id = bench.open(grant=False, experiments=1)
    renew, calls = ledger.renew_lease, []

    def busy_at_first(lease: Any) -> Any:
        calls.append(lease.resource)
        if len(calls) <= 2:
            raise LedgerBusy("held by somebody else")
        return renew(lease)

    monkeypatch.setattr(ledger, "renew_lease", busy_at_first)
    monkeypatch.setattr(driver, "LEASE_SECONDS", 0.4)
    wanted = threading.Event()
    thread = threading.Thread(target=run_campaign, args=(campaign_id, ledger), kwargs={"should_stop": wanted.is_set})
    thread.start()
    try:
        until(lambda: len(calls) > 6)
        assert {f"campaign:{campaign_id}", "instrument:snar-flow"} <= set(calls)
    finally:
        wanted.set()
        thread.join(60)
    assert ledger.campaign(campaign_id).state == "paused"


def test_an_interrupted_notebook_leaves_the_campaign_paused(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign_id = bench.open(experiments=1)

    def interrupted(nodes: Nodes, state: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Nodes, "plan", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_campaign(campaign_id, bench.ledger)
    campaign = bench.ledger.campaign(campaign_id)
    assert campaign.state == "paused" and "interrupted" in campaign.reason
    assert bench.ledger.lease("instrument:snar-flow") is None


def test_stop_all_is_seen_while_a_person_is_waited_for(bench: Any) -> None:
    ledger = bench.ledger
    campaign_id = bench.open(grant=False, experiments=1)
    thread = threading.Thread(target=run_campaign, args=(campaign_id, ledger))
    thread.start()
    until(lambda: ledger.experiments(campaign_id, states=["proposed"]))
    Latch(bench.place(campaign_id)).engage("smoke", "tester")
    thread.join(30)
    assert not thread.is_alive()
    campaign = ledger.campaign(campaign_id)
    assert campaign.state == "paused" and "smoke" in campaign.reason


def test_an_approval_from_before_a_stop_expires_and_the_next_is_asked_for(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = bench.open(experiments=1)
    latch = Latch(bench.place(campaign_id))
    commit = Nodes.commit_intent

    def stopped_and_reset(nodes: Nodes, state: Any) -> Any:
        if latch.read().count == 0:
            latch.engage("smoke", "tester")
            latch.reset("it was steam", "tester")
            bench.grant(campaign_id, latch.read().count)
        return commit(nodes, state)

    monkeypatch.setattr(Nodes, "commit_intent", stopped_and_reset)
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    first, second = bench.ledger.experiments(campaign_id)
    assert (first.state, second.state) == ("expired", "completed")
    assert "Stop All" in first.reason
