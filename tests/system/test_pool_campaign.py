"""A campaign over a pool: every row once, named for whoever fetches it; then it ends, and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from athanor.agents.campaign import run_campaign
from athanor.agents.nodes import Nodes
from athanor.agents.pools import PoolChanged
from athanor.agents.spec import Spec, SpecError
from athanor.console.commands.campaigns import summarise
from athanor.instruments.laboratory import load

HEAD = "vial,residence_time [min],equivalents,concentration [mol/L],temperature [degC]\n"
ROWS = ["A1,0.5,1.5,0.2,60", "A2,1.0,2.0,0.3,80", "A3,1.5,3.0,0.4,100", "A4,2.0,4.0,0.1,40"]


def opened(bench: Any, folder: Path, **changes: Any) -> str:
    path = folder / "pool.csv"
    path.write_text(HEAD + "\n".join(ROWS) + "\n")
    pool = {"file": str(path), "label": "vial"}
    given = {"experiments": 9, "reasoner": "none", "pool": pool, "options": {"time_scale": 0}, **changes}
    return str(bench.open(**given))


def test_a_pool_that_runs_out_ends_the_campaign(bench: Any, tmp_path: Path) -> None:
    campaign_id = opened(bench, tmp_path)
    spec = Spec.model_validate(bench.ledger.campaign(campaign_id).spec)
    assert spec.pool is not None and spec.pool.rows == 4 and spec.pool.sha256 is not None
    found: Any = load("snar-flow")
    assert dict(summarise(spec, found.profile()))["pool"] == "pool.csv, 4 rows, named by vial, each once at most"

    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    reason = bench.ledger.campaign(campaign_id).reason
    assert reason == "every row of the pool has been tried: of its 4 rows 4 measured"
    experiments = bench.ledger.experiments(campaign_id)
    assert sorted(e.candidate["label"] for e in experiments) == ["A1", "A2", "A3", "A4"]
    for experiment in experiments:
        row = ROWS[int(experiment.candidate["label"][1]) - 1]
        names = ["residence_time", "equivalents", "concentration", "temperature"]
        assert [experiment.values[name] for name in names] == [float(text) for text in row.split(",")[1:]]
        assert experiment.candidate["why"]["detail"].startswith(f"{experiment.candidate['label']} (line ")


def test_a_campaign_does_not_go_on_with_another_pool(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = opened(bench, tmp_path)
    path = tmp_path / "pool.csv"
    was = path.read_text()
    path.write_text(was.replace("A2,1.0", "A2,1.1"))
    with pytest.raises(PoolChanged, match="put the file back as it was, or start another campaign"):
        run_campaign(campaign_id, bench.ledger)
    assert bench.ledger.experiments(campaign_id) == []
    path.write_text(was)

    decide = Nodes.decide

    def changed_meanwhile(nodes: Nodes, state: Any) -> Any:
        path.write_text(was.replace("A2,1.0", "A2,1.1").replace("A1,0.5", "A1,0.6"))
        return decide(nodes, state)

    with monkeypatch.context() as patch:
        patch.setattr(Nodes, "decide", changed_meanwhile)
        assert run_campaign(campaign_id, bench.ledger) == "paused"
    assert "pool.csv is not the file that the campaign is about" in bench.ledger.campaign(campaign_id).reason
    path.write_text(was)
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    assert len(bench.ledger.experiments(campaign_id)) == 4


def test_an_edit_may_leave_the_pool_and_the_row_is_not_put_up_again(bench: Any, tmp_path: Path) -> None:
    campaign_id = opened(bench, tmp_path, grant=False)
    seen: list[str] = []

    def decided(experiment: Any) -> None:
        seen.append(experiment.candidate.get("label", "off the pool"))
        if len(seen) == 1:
            changed = bench.gate.edit(experiment.id, experiment.revision, {"temperature": 55.0}, "not so hot", 0)
            bench.gate.approve(changed.id, changed.revision, 0)
        else:
            bench.gate.approve(experiment.id, experiment.revision, 0)

    waited = "athanor.agents.driver._await_decision"

    def await_decision(context: Any, experiment_id: str) -> bool:
        decided(context.ledger.experiment(experiment_id))
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waited, await_decision)
        assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    experiments = bench.ledger.experiments(campaign_id)
    measured = [e for e in experiments if e.state == "completed"]
    assert [e.state for e in experiments].count("superseded") == 1
    assert len(measured) == 4 and any(e.values["temperature"] == 55.0 for e in measured)
    assert sorted(seen) == ["A1", "A2", "A3", "A4"]
    reason = bench.ledger.campaign(campaign_id).reason
    assert reason == "every row of the pool has been tried: of its 4 rows 3 measured, 1 replaced by an edit"


def test_a_wrong_pool_opens_no_campaign(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(HEAD + ROWS[0].replace("60", "600") + "\n")
    with pytest.raises(SpecError, match=r"pool: .*wrong.csv:2: temperature = 600.0: is above the bounds"):
        opened(bench, tmp_path, pool={"file": str(path), "label": "vial"})
    assert bench.ledger.campaigns() == []


def test_looking_ahead_past_the_last_row_does_not_end_a_campaign_that_may_repeat_it(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text(HEAD + ROWS[0] + "\n")
    pool = {"file": str(path), "label": "vial", "repeats": "allowed"}
    campaign_id = opened(bench, tmp_path, pool=pool, experiments=3, planner="bayesian", look_ahead=1)
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    assert [e.state for e in bench.ledger.experiments(campaign_id)] == ["completed"] * 3


def test_looking_ahead_a_campaign_ends_when_every_row_was_measured(bench: Any, tmp_path: Path) -> None:
    campaign_id = opened(bench, tmp_path, planner="bayesian", look_ahead=1)
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    reason = bench.ledger.campaign(campaign_id).reason
    assert reason == "every row of the pool has been tried: of its 4 rows 4 measured"
