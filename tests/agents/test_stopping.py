from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from athanor.agents.spec import Spec
from athanor.agents.stopping import FAILURES_IN_A_ROW, fault, finished, since_improvement
from athanor.memory.records import Experiment, Observation, now

SPEC: dict[str, Any] = {
    "name": "n",
    "question": "q",
    "laboratory": "snar-flow",
    "parameters": {"t": {"low": 0, "high": 1}},
    "objectives": {"gain": {"goal": "maximize"}},
    "constraints": [{"outcome": "purity", "lower": 0.9}],
    "budget": {"experiments": 20},
}


def observed(gain: float | None, purity: float = 1.0, status: str = "completed") -> Observation:
    outcomes = {} if gain is None else {"gain": {"mean": gain, "sem": None}, "purity": {"mean": purity, "sem": None}}
    return Observation.model_validate(
        {
            "id": "o",
            "campaign_id": "c",
            "values": {"t": 0.5},
            "outcomes": outcomes,
            "status": status,
            "reason": None if outcomes else "no answer",
            "reduction": "mean",
            "reduction_hash": "h",
        }
    )


def end(
    observations: list[Observation], spent: int = 5, seconds: float = 0.0, settled: bool = False, **more: Any
) -> str | None:
    spec = Spec.model_validate({**SPEC, **more})
    return finished(spec, spec.problem(), observations, spent=spent, seconds=seconds, is_settled=settled)


def test_budget_and_wall_time() -> None:
    assert end([], spent=19) is None
    assert "budget of 20" in (end([], spent=20) or "")
    budget = {"experiments": 20, "wall_time": "1 min"}
    assert end([], seconds=59.0, budget=budget) is None
    assert "wall time" in (end([], seconds=60.0, budget=budget) or "")


def test_a_target_counts_only_where_the_constraint_holds() -> None:
    stop = {"target": {"gain": 3.0}}
    assert end([observed(2.9), observed(5.0, purity=0.8), observed(None)], stop=stop) is None
    assert "target" in (end([observed(3.0)], stop=stop) or "")
    minimize = {"gain": {"goal": "minimize"}}
    assert end([observed(3.1)], stop=stop, objectives=minimize) is None
    assert "target" in (end([observed(2.9)], stop=stop, objectives=minimize) or "")


def test_patience_counts_from_the_last_improvement() -> None:
    problem = Spec.model_validate(SPEC).problem()
    rows = [observed(1.0), observed(2.0), observed(1.5), observed(9.0, purity=0.1), observed(None, status="failed")]
    assert since_improvement(problem, rows) == 3
    assert end(rows, stop={"patience": 4}) is None
    assert "no improvement" in (end(rows, stop={"patience": 3}) or "")
    assert since_improvement(problem, [*rows, observed(2.1)]) == 0


def test_settled_hypotheses_end_it_only_where_asked() -> None:
    assert end([], settled=True) is None
    assert "hypothesis" in (end([], settled=True, stop={"hypotheses_settled": True}) or "")


def experiment(state: str) -> Experiment:
    return Experiment.model_validate(
        {
            "id": "c.1",
            "campaign_id": "c",
            "ordinal": 1,
            "revision": "0" * 64,
            "values": {"t": 0.5},
            "state": state,
            "reason": "why",
        }
    )


def never(moment: datetime) -> bool:
    return False


def test_a_refusal_and_a_row_of_failures_pause_until_a_person_has_seen_them() -> None:
    assert fault([], [], never) is None
    assert "refused experiment c.1: why" in (fault([experiment("refused")], [], never) or "")
    resumed = now() + timedelta(seconds=1)
    assert fault([experiment("refused")], [], lambda moment: moment < resumed) is None
    failed = [observed(None, status="failed")] * FAILURES_IN_A_ROW
    assert fault([], failed[1:], never) is None
    assert "no answer" in (fault([], [observed(1.0), *failed], never) or "")
    assert fault([], [*failed, observed(1.0)], never) is None
    assert fault([], failed, lambda moment: moment < resumed) is None


def test_what_was_measured_beside_the_campaign_is_no_experiment_without_improvement() -> None:
    spec = Spec.model_validate(SPEC)
    beside = [
        observed(g).model_copy(update={"source": source}) for g in (1, 1) for source in ("operator", "historical")
    ]
    assert since_improvement(spec.problem(), [observed(2.0), *beside]) == 0
    assert since_improvement(spec.problem(), [observed(2.0), observed(1.0), *beside, observed(1.0)]) == 2
    better = observed(3.0).model_copy(update={"source": "operator"})
    assert since_improvement(spec.problem(), [observed(2.0), observed(1.0), better]) == 0
