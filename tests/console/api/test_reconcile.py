"""After a crash, over HTTP: what is in doubt, the evidence, and one signed answer for each."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from athanor.console.commands import runs
from athanor.governance.gate import Gate
from athanor.instruments.config import Config
from athanor.instruments.executors import executor_for
from athanor.instruments.laboratory import load
from athanor.instruments.latch import Latch
from athanor.memory.places import keys_dir
from athanor.memory.signing import GateKey
from tests.console.api.site_rig import POINT, Site, code
from tests.instruments.rig import until

WHERE = "/api/v1/instruments/snar-flow"


@pytest.fixture
def doubtful(site: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """An experiment whose worker was killed while it moved."""
    monkeypatch.setattr(runs, "READ_BACK_S", 60.0)
    config = Config(load("snar-flow").profile(), {"time_scale": 1.0})
    config.write(site.place)
    key = GateKey.load_or_create(keys_dir())
    executor = executor_for(config.profile, config.options, site.place, site.ledger.url, keys_dir() / "gate.pub")
    executor.ensure()
    until(lambda: (executor.status() or {"recovery": ""})["recovery"] is None, 60)
    experiment = site.propose_at({**POINT, "temperature": 110.0})
    decision = Gate(site.ledger, key, "tester").approve(
        experiment.id, experiment.revision, Latch(site.place).read().count
    )
    lease = site.ledger.acquire_lease("instrument:snar-flow", f"test:{os.getpid()}", 600)
    executor.dispatch(site.ledger.commit_intent(experiment.id, decision.id, "snar-flow", lease.holder, lease.epoch))
    until(lambda: site.ledger.experiment(experiment.id).state == "running", 60)
    os.kill(int((site.place.sockets / "worker.pid").read_text()), signal.SIGKILL)
    executor.close()
    return experiment.id


def settle(client: Any, experiment: str, **asked: Any) -> Any:
    return client.post(f"/api/v1/experiments/{experiment}/settle", json={"reason": "I looked", **asked})


def test_a_crash_is_taken_in_examined_and_settled_once(site: Site, doubtful: str) -> None:
    client = site.signed_in("operator")
    assert client.get(f"{WHERE}/doubts").json()["items"] == [], "nobody has looked yet"
    swept = client.post(f"{WHERE}/reconcile").json()
    assert swept["in_doubt"] == [doubtful] and swept["trouble"] is None
    assert (doubtful, "in_doubt") in [(one["subject"], one["kind"]) for one in swept["found"]]
    [line] = client.get(f"{WHERE}/doubts").json()["items"]
    assert (line["experiment"]["id"], line["simulated"]) == (doubtful, True)
    assert client.get(f"/api/v1/campaigns/{site.campaign}/doubts").json()["items"] == [line]
    assert client.get(f"{WHERE}/standing").json()["in_doubt"] == [doubtful]
    shown = client.get(f"/api/v1/experiments/{doubtful}/doubt").json()
    assert shown["approved"]["by"] == "tester" and shown["intent_at"] is not None
    [axis] = [one for one in shown["axes"] if one["name"] == "temperature"]
    assert (axis["target"], axis["unit"]) == (110.0, "degC")
    assert shown["outcomes"] is None and shown["no_outcomes"] and "sty" in shown["units"]
    assert "reading" in shown["hint"]
    assert code(settle(client, doubtful, state="completed")) == "outcomes.missing"
    assert code(settle(client, doubtful, state="completed", outcomes={"none": {"mean": 1.0}})) == "outcomes.unknown"
    assert code(settle(client, doubtful, state="failed", outcomes={"sty": {"mean": 1.0}})) == "request.invalid"
    assert code(settle(client, doubtful, state="failed", reason=" ")) == "decision.invalid"
    assert code(settle(site.signed_in("scientist"), doubtful, state="failed")) == "scope.missing"
    answers: list[Any] = []
    others = [site.signed_in(role) for role in ("operator", "owner")]

    def answer(who: Any) -> None:
        answers.append(settle(who, doubtful, state="not_started", again=True))

    threads = [threading.Thread(target=answer, args=(who,)) for who in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won, lost = sorted(answers, key=lambda one: int(one.status_code))
    assert (won.status_code, lost.status_code) == (201, 409)
    winner = won.json()["decision"]["decided_by"]
    assert f"{winner} settled it as not started" in lost.json()["detail"] and "I looked" in lost.json()["detail"]
    following = won.json()["again"]
    assert following["state"] == "proposed" and following["values"] == site.ledger.experiment(doubtful).values
    late = client.get(f"/api/v1/experiments/{doubtful}/doubt")
    assert late.status_code == 409 and winner in late.json()["detail"]
    assert client.post(f"{WHERE}/reconcile").json()["in_doubt"] == []


def test_what_was_measured_is_entered(site: Site, doubtful: str) -> None:
    client = site.signed_in("operator")
    client.post(f"{WHERE}/reconcile")
    units = client.get(f"/api/v1/experiments/{doubtful}/doubt").json()["units"]
    outcomes = {name: {"mean": 1.5, "sem": 0.1} for name in units}
    answer = settle(client, doubtful, state="completed", outcomes=outcomes)
    assert answer.status_code == 201, answer.text
    assert site.ledger.experiment(doubtful).state == "completed"


def test_an_experiment_that_is_not_in_doubt(site: Site) -> None:
    client = site.signed_in("operator")
    answer = client.get(f"/api/v1/experiments/{site.experiment.id}/doubt")
    assert answer.status_code == 409 and "it is proposed" in answer.json()["detail"]
    answer = settle(client, site.experiment.id, state="failed")
    assert answer.status_code == 409 and site.ledger.experiment(site.experiment.id).state == "proposed"
