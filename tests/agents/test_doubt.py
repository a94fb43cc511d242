"""An experiment in doubt: everything that is known of it is shown, and only a person's signed word ends it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from athanor.agents import observing
from athanor.agents.campaign import open_campaign, propose_experiment
from athanor.agents.doubt import NoOutcomes, NoProfile, connect, doubtful, examine, note, places_of, settle
from athanor.agents.fitting import resolve
from athanor.agents.spec import Spec, load
from athanor.governance.gate import Gate
from athanor.instruments.laboratory import load as laboratory
from athanor.instruments.reductions import ReductionFailed
from athanor.memory import places
from athanor.memory.canonical import canonical, digest_text
from athanor.memory.errors import StaleRevision
from athanor.memory.ledger import Ledger
from athanor.memory.records import Experiment, Run, SpooledDocument, now
from athanor.memory.signing import GateKey

POINT = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.3, "temperature": 60.0}


class Case:
    """A campaign with one experiment in doubt."""

    def __init__(self, home: Path) -> None:
        self.ledger = Ledger.create(home / "ledger.db")
        self.gate = Gate(self.ledger, GateKey.load_or_create(places.keys_dir()), "tester")
        spec = load(laboratory("snar-flow").campaign_file())  # type: ignore[attr-defined]
        self.campaign = self.ledger.campaign(open_campaign(spec, self.ledger))
        self.profile = resolve(Spec.model_validate(self.campaign.spec))[1]
        self.lease = self.ledger.acquire_lease("instrument:snar-flow", "p1", 60)

    def doubtful(self, documents: list[tuple[str, dict[str, Any]]] | None = None) -> Experiment:
        experiment = propose_experiment(self.ledger, self.campaign.id, POINT, by="tester")
        approval = self.gate.approve(experiment.id, experiment.revision, 0, reason="go")
        intent = self.ledger.commit_intent(experiment.id, approval.id, "snar-flow", "p1", self.lease.epoch)
        if documents:
            uid = f"run-{experiment.ordinal}"
            run = Run(
                uid=uid,
                experiment_id=experiment.id,
                intent_id=intent.id,
                instrument="snar-flow",
                simulated=True,
                started_at=now(),
            )
            self.ledger.start_run(run)
            batch = [
                SpooledDocument(run_uid=uid, position=n, name=name, body=canonical(body))
                for n, (name, body) in enumerate(documents)
            ]
            self.ledger.ingest_documents(batch)
        self.ledger.set_experiment_state(experiment.id, "in_doubt", reason="the worker died")
        return self.ledger.experiment(experiment.id)

    def observe(self, experiment: Experiment) -> Any:
        return observing.observation(self.ledger, self.profile, self.ledger.experiment(experiment.id))

    def alter(self, statement: str, *values: Any) -> None:
        with contextlib.closing(sqlite3.connect(self.ledger.path, timeout=10)) as connection, connection:
            connection.execute(statement, values)


def reading(number: int, sty: float) -> tuple[str, dict[str, Any]]:
    return "event", {"descriptor": "d", "seq_num": number, "time": 2.0, "data": {"sty": sty, "e_factor": 2.0}}


BEGUN: list[tuple[str, dict[str, Any]]] = [
    ("start", {"uid": "u", "time": 1.0, "replicates": 1}),
    ("descriptor", {"uid": "d", "name": "primary", "data_keys": {"sty": {}, "e_factor": {}}}),
]


@pytest.fixture(name="case")
def case_fixture(home: Path) -> Any:
    made = Case(home)
    yield made
    made.ledger.close()


def test_documents_that_arrived_may_be_called_complete(case: Case) -> None:
    experiment = case.doubtful([*BEGUN, reading(1, 4000.0), reading(2, 4100.0)])
    known = examine(case.ledger, experiment)
    assert known.run is not None and (known.run.readings, known.run.due) == (2, 1)
    assert known.run.last_event == {"sty": 4100.0, "e_factor": 2.0}
    assert known.outcomes is not None and known.outcomes["sty"]["mean"] == 4050.0
    assert "only the end is missing" in known.hint
    assert known.approval is not None and known.approval.reason == "go"
    canonical(known.to_json())
    settle(case.ledger, case.gate, experiment, "completed", "the display says done")
    observed = case.observe(experiment)
    assert observed.outcomes["sty"]["mean"] == 4050.0 and observed.reduction == "mean"
    with pytest.raises(StaleRevision):
        settle(case.ledger, case.gate, case.ledger.experiment(experiment.id), "completed", "again")


def test_without_readings_completed_takes_outcomes(case: Case) -> None:
    experiment = case.doubtful(BEGUN)
    assert examine(case.ledger, experiment).outcomes is None
    with pytest.raises(NoOutcomes, match="no reading") as caught:
        settle(case.ledger, case.gate, experiment, "completed", "r")
    assert "--outcomes sty=" in caught.value.remedy
    with pytest.raises(ReductionFailed, match="yield is no outcome of snar-flow: sty, e_factor"):
        settle(case.ledger, case.gate, experiment, "completed", "r", {"yield": {"mean": 1.0, "sem": None}})
    decision = settle(case.ledger, case.gate, experiment, "completed", "r", {"sty": {"mean": 7.0, "sem": 1.0}})
    observed = case.observe(experiment)
    assert observed.outcomes == {"sty": {"mean": 7.0, "sem": 1.0}}
    assert (observed.source, observed.reduction, observed.status) == ("operator", observing.BY_HAND, "completed")
    assert observed.reduction_hash == digest_text(decision.body)


def test_a_profile_that_is_gone_hides_nothing_else(case: Case) -> None:
    experiment = case.doubtful([*BEGUN, reading(1, 4000.0)])
    spec = {**case.campaign.spec, "laboratory": {"name": "no-such-laboratory", "options": {}}}
    case.alter("UPDATE campaign SET spec = ? WHERE id = ?", canonical(spec), case.campaign.id)
    known = examine(case.ledger, experiment)
    assert known.outcomes is None and "cannot be read" in str(known.no_outcomes)
    assert known.run is not None and known.run.readings == 1
    assert "cannot be read" in str(connect(case.ledger, case.ledger.campaign(case.campaign.id)))
    with pytest.raises(NoProfile):
        settle(case.ledger, case.gate, experiment, "completed", "r")
    settle(case.ledger, case.gate, experiment, "failed", "r")
    assert doubtful(case.ledger, case.ledger.campaigns()) == []


def test_a_doubt_is_noted_once(case: Case) -> None:
    experiment = case.doubtful()
    for _ in range(2):
        note(case.ledger, case.ledger.campaigns())
    [event] = case.ledger.events(case.campaign.id, kinds=("doubt",))
    assert event.body["experiment"] == experiment.id and event.body["run"] is None
    assert [place.name for place in places_of(case.ledger, case.ledger.campaigns() * 2).values()] == ["snar-flow"]
