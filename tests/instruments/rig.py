"""A ledger with a campaign on the SnAr reactor, the gate that signs for it, and what drives it."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from athanor.governance.gate import Gate
from athanor.instruments.executor import LocalExecutor
from athanor.instruments.executors import executor_for
from athanor.instruments.laboratory import load
from athanor.instruments.latch import Latch
from athanor.instruments.profile import Profile
from athanor.memory.canonical import canonical, parse
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace, keys_dir
from athanor.memory.records import Campaign, Decision, Experiment, Intent, Lease, revision_of
from athanor.memory.signing import GateKey

T = TypeVar("T")

PROBLEM = "p" * 64
POINT = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.3, "temperature": 60.0}


@dataclass
class Rig:
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

    def executor(
        self, campaign: str | None = None, options: Mapping[str, Any] | None = None, profile: Profile | None = None
    ) -> LocalExecutor:
        executor = executor_for(
            load(self.laboratory).profile() if profile is None else profile,
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

    def alter(self, statement: str, *parameters: Any) -> None:
        """Change the ledger's file by hand, as somebody without the gate's key could."""
        with contextlib.closing(sqlite3.connect(self.ledger.path, timeout=10)) as connection, connection:
            connection.execute(statement, parameters)

    def resign(self, intent: Intent, **changes: Any) -> None:
        """Replace what the intent's decision says, signed with the gate's own key."""
        decision = self.ledger.decision(intent.decision_id)
        body = canonical({**parse(decision.body), **changes})
        self.alter("UPDATE decision SET body = ?, signature = ? WHERE id = ?", body, self.key.sign(body), decision.id)
        if "revision" in changes:
            self.alter("UPDATE decision SET revision = ? WHERE id = ?", changes["revision"], decision.id)

    def witness(self, *kinds: str) -> list[dict[str, Any]]:
        """What the controller itself has logged."""
        path = self.place.directory / "controller.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if not kinds or line["kind"] in kinds]

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


@contextlib.contextmanager
def rig_maker(home: Path) -> Iterator[Callable[..., Rig]]:
    """Makes rigs, and lets go of them at the end."""
    rigs: list[Rig] = []

    def make(laboratory: str = "snar-flow", **options: Any) -> Rig:
        ledger = Ledger.create(home / "ledger.db")
        campaign = new_campaign(ledger, "camp", laboratory)
        key = GateKey.load_or_create(keys_dir())
        place = InstrumentPlace.of(laboratory, home)
        lease = ledger.acquire_lease(f"instrument:{laboratory}", f"test:{os.getpid()}", 600)
        Latch(place).create()
        rig = Rig(ledger, place, key, campaign.id, lease, options, laboratory)
        rigs.append(rig)
        return rig

    try:
        yield make
    finally:
        for rig in rigs:
            for executor in rig.executors:
                executor.close()
            rig.ledger.close()


@pytest.fixture(name="make_rig")
def make_rig_fixture(home: Path) -> Iterator[Callable[..., Rig]]:
    with rig_maker(home) as make:
        yield make


@pytest.fixture(name="rig")
def rig_fixture(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig()


def until(condition: Callable[[], T], seconds: float = 20.0) -> T:
    """Wait until the condition gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)
    return found


def slow(make_rig: Callable[..., Rig], **options: Any) -> tuple[Rig, LocalExecutor]:
    """An instrument whose motions take their time."""
    rig = make_rig(time_scale=1.0, **options)
    executor = rig.executor()
    executor.ensure()
    return rig, executor


def start(rig: Rig, executor: LocalExecutor) -> Intent:
    """An experiment that is under way and moving."""
    intent = rig.intent({**POINT, "temperature": 110.0})
    executor.dispatch(intent)
    until(lambda: rig.witness("motion") and rig.state(intent) == "running")
    return intent
