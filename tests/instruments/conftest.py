"""A ledger with a campaign on the SnAr reactor, the gate that signs for it, and what drives it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from athanor.governance.gate import Gate
from athanor.instruments.executor import LocalExecutor
from athanor.instruments.laboratory import load
from athanor.instruments.latch import Latch
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace, keys_dir
from athanor.memory.records import Campaign, Decision, Experiment, Intent, Lease, revision_of
from athanor.memory.signing import GateKey

PROBLEM = "p" * 64
POINT = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.3, "temperature": 60.0}


@dataclass
class Bench:
    """One campaign on one simulated instrument, with everything needed to run experiments on it."""

    ledger: Ledger
    place: InstrumentPlace
    key: GateKey
    campaign: str
    lease: Lease
    options: dict[str, Any]
    laboratory: str = "snar-flow"
    executors: list[LocalExecutor] = field(default_factory=list)

    @property
    def gate(self) -> Gate:
        return Gate(self.ledger, self.key, "tester")

    def executor(self, campaign: str | None = None, options: Mapping[str, Any] | None = None) -> LocalExecutor:
        profile = load(self.laboratory).profile()
        executor = LocalExecutor(
            profile,
            self.options if options is None else options,
            self.place,
            self.ledger.url,
            keys_dir() / "gate.pub",
            campaign,
        )
        self.executors.append(executor)
        return executor

    def propose(self, values: Mapping[str, Any] | None = None, replicates: int = 1, campaign: str = "") -> Experiment:
        name = campaign or self.campaign
        ordinal = self.ledger.next_ordinal(name)
        point = dict(values or POINT)
        revision = revision_of(
            campaign=name,
            ordinal=ordinal,
            values=point,
            purpose="explore",
            registration_id=None,
            block=None,
            arm=None,
            replicates=replicates,
            problem_hash=PROBLEM,
        )
        return self.ledger.add_experiment(
            Experiment(
                id=f"{name}.{ordinal}",
                campaign_id=name,
                ordinal=ordinal,
                revision=revision,
                values=point,
                replicates=replicates,
            )
        )

    def approve(self, experiment: Experiment, **options: Any) -> Decision:
        return self.gate.approve(experiment.id, experiment.revision, Latch(self.place).read().count, **options)

    def commit(self, experiment: Experiment, decision: Decision) -> Intent:
        return self.ledger.commit_intent(
            experiment.id, decision.id, self.place.name, self.lease.holder, self.lease.epoch
        )

    def intent(self, values: Mapping[str, Any] | None = None, **options: Any) -> Intent:
        experiment = self.propose(values, **options)
        return self.commit(experiment, self.approve(experiment))

    def state(self, intent: Intent) -> str:
        return self.ledger.experiment(intent.experiment_id).state

    def witness(self) -> list[dict[str, Any]]:
        """What the controller itself has logged."""
        import json

        path = self.place.directory / "controller.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def pid(self, name: str) -> int:
        return int((self.place.sockets / f"{name}.pid").read_text())


def new_campaign(ledger: Ledger, name: str, laboratory: str = "snar-flow", **changes: Any) -> Campaign:
    fields: dict[str, Any] = {
        "id": name,
        "name": name,
        "question": "does it run?",
        "spec": {},
        "problem": {"parameters": []},
        "problem_hash": PROBLEM,
        "laboratory": laboratory,
        "instrument": laboratory,
        "simulated": True,
        "seed": 1,
        "autonomy": "approve_each",
        "created_at": datetime.now(UTC),
    }
    campaign = Campaign(**{**fields, **changes})
    ledger.add_campaign(campaign)
    return campaign


@pytest.fixture
def make_bench(home: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def make(laboratory: str = "snar-flow", **options: Any) -> Bench:
        ledger = Ledger.create(home / "ledger.db")
        campaign = new_campaign(ledger, "camp", laboratory)
        key = GateKey.load_or_create(keys_dir())
        place = InstrumentPlace.of(laboratory, home)
        lease = ledger.acquire_lease(f"instrument:{laboratory}", f"test:{os.getpid()}", 600)
        Latch(place).create()
        bench = Bench(ledger, place, key, campaign.id, lease, options, laboratory)
        benches.append(bench)
        return bench

    yield make
    for bench in benches:
        for executor in bench.executors:
            executor.close()
        bench.ledger.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


def expired() -> timedelta:
    return timedelta(seconds=-1)
