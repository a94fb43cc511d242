"""People supervise: approve, reject, edit, propose, pause, stop after the step, cancel; never two at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from athanor.agents.campaign import CampaignBusy, CampaignOver, propose_experiment, run_campaign
from athanor.governance.gate import Gate
from athanor.memory import places
from athanor.memory.errors import LedgerError, StaleRevision
from athanor.memory.signing import GateKey

HOUR = timedelta(hours=1)


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen in time")


class Driven:
    """A campaign driven in a thread."""

    def __init__(self, bench: Any, campaign_id: str) -> None:
        self.bench, self.id = bench, campaign_id
        self.result: list[Any] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.result.append(run_campaign(self.id, self.bench.ledger))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.result.append(error)

    def waiting(self) -> Any:
        return until(lambda: (self.bench.ledger.experiments(self.id, states=["proposed"]) or [None])[0])

    def end(self) -> Any:
        self.thread.join(120)
        assert not self.thread.is_alive()
        return self.result[0]


def test_a_person_decides_every_step(bench: Any) -> None:
    ledger, gate = bench.ledger, bench.gate
    campaign_id = bench.open(grant=False, experiments=4)
    driven = Driven(bench, campaign_id)

    first = driven.waiting()
    gate.approve(first.id, first.revision[:8], 0, HOUR)
    until(lambda: ledger.experiment(first.id).state == "completed")

    second = until(
        lambda: next((e for e in ledger.experiments(campaign_id, states=["proposed"]) if e.id != first.id), None)
    )
    gate.reject(second.id, second.revision[:8], "too hot for the seal")
    third = until(
        lambda: next(
            (e for e in ledger.experiments(campaign_id, states=["proposed"]) if e.ordinal > second.ordinal), None
        )
    )
    changed = gate.edit(third.id, third.revision, {**third.values, "temperature": 50.0}, "gentler", 0)
    with pytest.raises(StaleRevision, match="superseded"):
        gate.approve(third.id, third.revision, 0, HOUR)
    gate.approve(changed.id, changed.revision, 0, HOUR)
    until(lambda: ledger.experiment(changed.id).state == "completed")
    assert ledger.experiment(changed.id).values["temperature"] == 50.0

    own = propose_experiment(ledger, campaign_id, {**first.values, "temperature": 77.0}, by="tester")
    gate.approve(own.id, own.revision, 0, HOUR)
    for _ in range(4):
        if ledger.experiment(own.id).state == "completed":
            break
        for e in ledger.experiments(campaign_id, states=["proposed"]):
            gate.approve(e.id, e.revision, 0, HOUR)
        until(lambda: not ledger.experiments(campaign_id, states=["approved", "dispatched", "running"]))
    for _ in range(3):
        found = until(
            lambda: (
                ledger.campaign(campaign_id).state != "running" or ledger.experiments(campaign_id, states=["proposed"])
            )
        )
        if found is True:
            break
        for e in found:
            gate.approve(e.id, e.revision, 0, HOUR)
        until(
            lambda: (
                not ledger.experiments(campaign_id, states=["proposed", "approved", "dispatched", "running"])
                or len(ledger.experiments(campaign_id, states=["proposed"]))
            )
        )
    assert driven.end() == "succeeded"
    states = {e.id: e.state for e in ledger.experiments(campaign_id)}
    assert states[second.id] == "rejected"
    assert states[third.id] == "superseded"
    assert states[own.id] == "completed"
    measured = {o.experiment_id: o for o in ledger.observations(campaign_id)}
    assert second.id not in measured
    assert measured[own.id].source == "operator"
    assert measured[changed.id].values["temperature"] == 50.0


def test_fifty_approvals_make_one_run(bench: Any) -> None:
    campaign_id = bench.open(grant=False, experiments=1)
    driven = Driven(bench, campaign_id)
    waiting = driven.waiting()
    outcomes: list[str] = []
    start = threading.Barrier(50)

    def approve() -> None:
        gate = Gate(bench.ledger, GateKey.load_or_create(places.keys_dir()), "tester")
        start.wait()
        try:
            gate.approve(waiting.id, waiting.revision, 0, HOUR)
            outcomes.append("approved")
        except LedgerError as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=approve) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("approved") == 1
    assert len(outcomes) == 50
    assert driven.end() == "succeeded"
    assert len(bench.witness(campaign_id, "run")) == 1


def test_pause_resume_stop_after_step_and_cancel(bench: Any) -> None:
    ledger = bench.ledger
    campaign_id = bench.open(experiments=40)
    driven = Driven(bench, campaign_id)
    until(lambda: ledger.experiments(campaign_id, states=["completed"]))
    ledger.request(campaign_id, "pause", "tester")
    assert driven.end() == "paused"
    assert "person" in ledger.campaign(campaign_id).reason
    done = len(ledger.experiments(campaign_id, states=["completed"]))
    assert not ledger.experiments(campaign_id, states=["running", "dispatched"])

    driven = Driven(bench, campaign_id)
    until(lambda: len(ledger.experiments(campaign_id, states=["completed"])) > done)
    ledger.request(campaign_id, "stop_after_step", "tester")
    assert driven.end() == "paused"

    driven = Driven(bench, campaign_id)
    until(lambda: ledger.campaign(campaign_id).state == "running")
    ledger.request(campaign_id, "cancel", "tester")
    assert driven.end() == "cancelled"
    with pytest.raises(CampaignOver):
        run_campaign(campaign_id, ledger)


def test_one_driver_and_one_campaign_per_instrument(bench: Any) -> None:
    campaign_id = bench.open(grant=False, experiments=1)
    driven = Driven(bench, campaign_id)
    driven.waiting()
    with pytest.raises(CampaignBusy):
        run_campaign(campaign_id, bench.ledger)
    other = bench.open(experiments=1)
    with pytest.raises(CampaignBusy, match="instrument"):
        run_campaign(other, bench.ledger)
    bench.ledger.request(campaign_id, "cancel", "tester")
    assert driven.end() == "cancelled"
    assert run_campaign(other, bench.ledger) == "succeeded"
