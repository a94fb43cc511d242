"""When a reference is due, what its charts say, what a person makes of an alarm: all of it from the ledger."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from athanor.agents import references
from athanor.agents.context import propose
from athanor.agents.spec import Spec, SpecError, parse
from athanor.memory.records import Experiment, Observation

POINT = {"residence_time": 1.2, "equivalents": 2.0, "concentration": 0.3, "temperature": 70.0}


class Watched:
    """A campaign whose experiments end as the test says, with no instrument."""

    def __init__(self, bench: Any, **changes: Any) -> None:
        wanted = {"values": POINT, "every": 3, "baseline": 5, "outcomes": ["sty"], **changes}
        self.ledger, self.gate = bench.ledger, bench.gate
        self.id = bench.open(experiments=40, reference=wanted, grant=False)
        self.spec = Spec.model_validate(self.ledger.campaign(self.id).spec)
        bench.campaigns.remove(self.id)  # it has no laboratory to end

    def look(self) -> references.References:
        found = references.look(self.ledger, self.id, self.spec)
        assert found is not None
        return found

    @property
    def is_due(self) -> bool:
        return self.look().is_due(self.ledger.experiments(self.id))

    def add(self, sty: float | None, purpose: Any = "reference", state: str = "completed") -> Experiment:
        """An experiment that has ended, with its observation."""
        if purpose == "reference":
            references.begin_chart(self.look(), self.ledger, self.id, self.spec, 0)
        campaign = self.ledger.campaign(self.id)
        source = "reference" if purpose == "reference" else "planner"
        made = propose(
            self.ledger, campaign, values=dict(POINT), purpose=purpose, source=source, candidate={}, replicates=1
        )
        self.ledger.add_experiment(made)
        if state == "rejected":
            self.gate.reject(made.id, made.revision[:8], "not now")
            return self.ledger.experiment(made.id)
        decision = self.gate.approve(made.id, made.revision[:8], 0)
        lease = self.ledger.acquire_lease(f"instrument:{campaign.instrument}", "test", 600.0)
        self.ledger.commit_intent(made.id, decision.id, campaign.instrument, "test", lease.epoch)
        for step in ("running", state):
            self.ledger.set_experiment_state(made.id, step)
        self.ledger.add_observation(
            Observation(
                id=f"{made.id}/o1",
                campaign_id=self.id,
                experiment_id=made.id,
                values=made.values,
                outcomes={} if sty is None else {"sty": {"mean": sty, "sem": None}},
                status=state,  # type: ignore[arg-type]
                reduction="mean",
                reduction_hash="none",
            )
        )
        return self.ledger.experiment(made.id)


def readings(count: int, seed: int = 1) -> list[float]:
    return [float(v) for v in 9000.0 + 100.0 * np.random.default_rng(seed).standard_normal(count)]


def test_a_baseline_comes_first_and_then_one_reference_after_every_so_many(bench: Any) -> None:
    watched = Watched(bench)
    for value in readings(5):
        assert watched.is_due
        watched.add(value)
    for _ in range(3):
        assert not watched.is_due
        watched.add(5000.0, "explore")
    assert watched.is_due
    watched.add(9010.0)
    assert not watched.is_due
    watched.add(None, "explore", "failed")  # a run that failed used the instrument
    assert not watched.is_due
    [chart] = watched.look().current
    assert chart.is_ready
    assert [p.ordinal for p in chart.points] == [1, 2, 3, 4, 5, 9]


def test_a_reference_that_failed_is_due_again_and_one_that_was_rejected_has_had_its_turn(bench: Any) -> None:
    watched = Watched(bench)
    watched.add(None, state="failed")
    assert watched.is_due
    watched.add(None, state="rejected")
    assert not watched.is_due
    for _ in range(3):
        watched.add(1.0, "explore")
    assert watched.is_due


def test_an_alarm_is_latched_until_a_person_decides_and_a_new_level_gets_a_new_baseline(bench: Any) -> None:
    watched = Watched(bench, sd={"sty": 100.0})
    for value in readings(5):
        watched.add(value)
    assert references.cause(watched.look(), watched.id) is None
    with pytest.raises(references.NoAlarm):
        references.decide(watched.ledger, watched.id, watched.spec, references.ACCEPTED, by="me", reason="so")
    watched.add(9700.0)
    said = references.cause(watched.look(), watched.id)
    assert said is not None
    assert "sty 7." in said or "sty 6." in said
    assert "above its baseline at reference 6 (it read 9700, against" in said
    with pytest.raises(ValueError, match="reason"):
        references.decide(watched.ledger, watched.id, watched.spec, references.ACCEPTED, by="me", reason=" ")
    references.decide(watched.ledger, watched.id, watched.spec, references.ACCEPTED, by="me", reason="a new lamp")
    assert watched.is_due
    assert references.cause(watched.look(), watched.id) is None
    for value in readings(3, seed=2):
        assert watched.is_due
        watched.add(value + 700.0)
    assert not watched.is_due
    assert len(watched.look().charts) == 2
    assert references.cause(watched.look(), watched.id) is None


def test_after_a_recalibration_the_references_since_the_change_are_void_and_the_old_limits_hold(bench: Any) -> None:
    watched = Watched(bench, sd={"sty": 100.0})
    values = readings(5)
    for value in values:
        watched.add(value)
    void = watched.add(9700.0)
    references.decide(watched.ledger, watched.id, watched.spec, references.RECALIBRATED, by="me", reason="cleaned")
    assert watched.is_due
    assert watched.look().dropped == {void.id}
    watched.add(9720.0)  # it was not put right
    assert references.cause(watched.look(), watched.id) is not None
    references.decide(watched.ledger, watched.id, watched.spec, references.RECALIBRATED, by="me", reason="again")
    watched.add(float(np.mean(values)))
    assert references.cause(watched.look(), watched.id) is None
    assert not watched.is_due
    assert len(references.void_points(watched.ledger, watched.id, watched.look(), "sty")) == 2


def test_what_a_chart_begins_with_is_written_down_once(bench: Any) -> None:
    watched = Watched(bench)
    for value in readings(5):
        watched.add(value)
    [event] = watched.ledger.events(watched.id, kinds=(references.CHART,))
    assert event.body["planned"] == 5 + 9
    [chart] = watched.look().current
    assert chart.top == event.body["spread"]["sty"]["limit"]


def test_an_observation_gets_what_drift_adds_in_quadrature_and_its_parts_are_told(bench: Any) -> None:
    watched = Watched(bench, sd={"sty": 100.0})
    for value in readings(5):
        watched.add(value)
    steady = watched.add(5000.0, "explore")
    [made] = [o for o in watched.ledger.observations(watched.id) if o.experiment_id == steady.id]
    assert references.widened(watched.look(), steady, made) == (made, None)
    watched.add(9360.0)  # within its limits, and more than repeatability alone
    after = watched.add(5000.0, "explore")
    made = made.model_copy(update={"experiment_id": after.id})
    wider, parts = references.widened(watched.look(), after, made)
    assert parts is not None
    said = parts["sem"]["sty"]
    assert said["measured"] is None
    assert said["repeatability"] == 100.0
    assert wider.outcomes["sty"]["sem"] == pytest.approx((100.0**2 + said["drift"] ** 2) ** 0.5)
    assert wider.reduction == "mean + drift"
    own = made.model_copy(update={"outcomes": {"sty": {"mean": 5000.0, "sem": 30.0}}})
    wider, _ = references.widened(watched.look(), after, own)
    assert wider.outcomes["sty"]["sem"] == pytest.approx((30.0**2 + said["drift"] ** 2) ** 0.5)
    assert references.since_last(watched.look(), watched.ledger.experiments(watched.id)) == [steady]


def test_a_planner_gets_either_no_sem_or_all(bench: Any) -> None:
    watched = Watched(bench, sd={"sty": 100.0})
    for value in readings(5):
        watched.add(value)

    def items(*sems: float | None) -> list[dict[str, Any]]:
        return [{"outcomes": {"sty": {"mean": 1.0, "sem": sem}}} for sem in sems]

    assert references.filled(watched.look(), items(None, None)) == items(None, None)
    assert references.filled(watched.look(), items(None, 120.0)) == items(100.0, 120.0)
    assert references.filled(None, items(None, 120.0)) == items(None, 120.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("{values: {residence_time: 1.2}}", "equivalents"),
        ("{values: {residence_time: 9, equivalents: 2, concentration: 0.3, temperature: 70}}", "residence_time"),
        (f"{{values: {POINT}, outcomes: [purity]}}", "purity is no outcome"),
        (f"{{values: {POINT}, sd: {{sty: 0}}}}", "greater than 0"),
        (f"{{values: {POINT}, baseline: 40}}", "leaves nothing of the budget"),
        (f"{{values: {POINT}, often: 3}}", "is no field"),
    ],
)
def test_a_wrong_reference_is_refused_with_its_remedy(change: str, words: str) -> None:
    from athanor.instruments.laboratory import load

    lab: Any = load("snar-flow")
    text = lab.campaign_file().read_text() + f"\nreference: {change}\n"
    with pytest.raises(SpecError, match=words):
        parse(text)


def test_without_a_stated_spread_more_references_come_first(bench: Any) -> None:
    lab_file = bench.open(experiments=40, grant=False)
    spec = Spec.model_validate(bench.ledger.campaign(lab_file).spec)
    bench.campaigns.remove(lab_file)
    assert spec.reference is None
    assert references.look(bench.ledger, lab_file, spec) is None
    for more, first in (({}, 12), ({"sd": {"sty": 90.0}}, 5), ({"baseline": 7}, 7)):
        with_one = Spec.model_validate({**spec.model_dump(), "reference": {"values": POINT, **more}})
        assert with_one.reference is not None
        assert with_one.reference.first == first
