"""A campaign watches its instrument: it pauses when a reference leaves its limits, and at no other time."""

from __future__ import annotations

from typing import Any

import pytest

from athanor.agents import references
from athanor.agents.campaign import run_campaign
from athanor.agents.spec import Spec
from athanor.instruments.laboratory import load
from athanor.memory.verify import verify

POINT = {"residence_time": 1.2, "equivalents": 2.0, "concentration": 0.3, "temperature": 70.0}
BASELINE, EVERY = 5, 2
STEP = {"kind": "drift", "at": 7, "count": 2, "signal": "sty", "size": 0.2}
"""In the experiments 7 and 8 the analyser reads a fifth, then two fifths more: ten and twenty times its noise."""


def watched(bench: Any, faults: list[dict[str, Any]], experiments: int, **more: Any) -> Any:
    lab: Any = load("snar-flow")
    reference = {
        "values": POINT,
        "every": EVERY,
        "baseline": BASELINE,
        "outcomes": ["sty"],
        "sd": {"sty": 0.02 * lab.truth(POINT)["sty"]},
    }
    settings = {"seed": 3, "hypotheses": {"share": 0.0}, "stop": {}, **more}
    options = {"noise": 0.02, "time_scale": 0, "faults": faults}
    return bench.open(experiments=experiments, options=options, reference=reference, **settings)


def purposes(bench: Any, campaign_id: str) -> str:
    """One letter for each experiment: R for a reference."""
    return "".join("R" if e.purpose == "reference" else "x" for e in bench.ledger.experiments(campaign_id))


def look(bench: Any, campaign_id: str) -> references.References:
    found = references.look(bench.ledger, campaign_id, Spec.model_validate(bench.ledger.campaign(campaign_id).spec))
    assert found is not None
    return found


def decide(bench: Any, campaign_id: str, kind: str) -> None:
    spec = Spec.model_validate(bench.ledger.campaign(campaign_id).spec)
    references.decide(bench.ledger, campaign_id, spec, kind, by="operator", reason="the lamp was changed")


def test_a_steady_instrument_does_not_pause_the_campaign(bench: Any) -> None:
    campaign_id = watched(bench, [], 11)
    assert run_campaign(campaign_id, bench.ledger) == "succeeded", bench.ledger.campaign(campaign_id).reason
    assert purposes(bench, campaign_id) == "RRRRRxxRxxR"
    assert not look(bench, campaign_id).alarms()
    [chart] = look(bench, campaign_id).current
    assert all(r.low < r.value < r.high for r in chart.readings[BASELINE:] if r.low is not None and r.high is not None)
    assert verify(bench.ledger).is_clean


def test_a_drift_pauses_it_until_a_person_accepts_the_new_level(bench: Any) -> None:
    campaign_id = watched(bench, [STEP], 14)
    assert run_campaign(campaign_id, bench.ledger) == "paused"
    reason = bench.ledger.campaign(campaign_id).reason
    assert "reference sty" in reason
    assert "sd above its baseline at reference 6" in reason
    assert f"athanor resume {campaign_id} --accept-reference" in reason
    assert purposes(bench, campaign_id) == "RRRRRxxR"

    assert run_campaign(campaign_id, bench.ledger) == "paused"  # latched: resuming alone changes nothing
    assert purposes(bench, campaign_id) == "RRRRRxxR"
    assert bench.ledger.campaign(campaign_id).reason == reason

    # What was measured since the reference before says so in its sem, and the parts of it stand in the ledger.
    observed = {o.experiment_id: o for o in bench.ledger.observations(campaign_id)}
    found = observed[f"{campaign_id}.7"]
    assert found.revision_number == 2
    assert found.reduction == "mean + drift"
    parts = bench.ledger.events(campaign_id, kinds=("drift",))[-1].body
    assert parts["observation"] == found.id
    said = parts["sem"]["sty"]
    assert found.outcomes["sty"]["sem"] == pytest.approx((said["repeatability"] ** 2 + said["drift"] ** 2) ** 0.5)
    assert said["drift"] > 3 * said["repeatability"]

    decide(bench, campaign_id, references.ACCEPTED)
    with pytest.raises(references.NoAlarm):
        decide(bench, campaign_id, references.ACCEPTED)
    assert run_campaign(campaign_id, bench.ledger) == "succeeded", bench.ledger.campaign(campaign_id).reason
    assert purposes(bench, campaign_id) == "RRRRRxxR" + "RRRxxR"  # a new baseline, of half as many
    assert len(look(bench, campaign_id).charts) == 2
    [event] = bench.ledger.events(campaign_id, kinds=(references.ACCEPTED,))
    assert event.body["by"] == "operator"
    assert event.body["reason"] == "the lamp was changed"
    assert verify(bench.ledger).is_clean


@pytest.mark.slow
def test_a_shift_of_four_sd_pauses_it_within_three_references(bench: Any) -> None:
    """In 98 of 100 campaigns (`tests/agents/test_drift.py`); of these six, whose noise differs, one may be missed."""
    shift = [{"kind": "drift", "at": at, "signal": "sty", "size": 0.08} for at in range(6, 15)]
    told = {}
    for seed in range(1, 7):
        campaign_id = watched(bench, shift, 14, seed=seed)
        is_paused = run_campaign(campaign_id, bench.ledger) == "paused"
        done = purposes(bench, campaign_id)
        told[seed] = is_paused and done.startswith("RRRRR") and done.count("R") <= BASELINE + 3
        if is_paused:
            assert "reference sty" in bench.ledger.campaign(campaign_id).reason
            assert "x" in done, "not before the shift"
    assert sum(told.values()) >= 5, told


@pytest.mark.slow
def test_after_a_recalibration_the_next_reference_must_be_within_the_old_limits(bench: Any) -> None:
    campaign_id = watched(bench, [{**STEP, "count": 3}], 12)
    assert run_campaign(campaign_id, bench.ledger) == "paused"
    decide(bench, campaign_id, references.RECALIBRATED)
    assert run_campaign(campaign_id, bench.ledger) == "paused"  # it was said to be right, and is not
    assert purposes(bench, campaign_id) == "RRRRRxxRR"
    decide(bench, campaign_id, references.RECALIBRATED)
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    assert purposes(bench, campaign_id) == "RRRRRxxRRRxx"
    assert verify(bench.ledger).is_clean


@pytest.mark.slow
def test_a_reference_that_fails_is_no_point_and_is_measured_again(bench: Any) -> None:
    campaign_id = watched(bench, [{"kind": "nan", "at": 3, "signal": "sty"}], 7)
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    assert purposes(bench, campaign_id) == "RRRRRRx"
    [chart] = look(bench, campaign_id).current
    assert f"{campaign_id}.3" not in {p.experiment for p in chart.points}
    assert verify(bench.ledger).is_clean


@pytest.mark.slow
def test_killed_anywhere_it_is_the_same_campaign(make_bench: Any) -> None:
    stories = []
    for name in ("whole", "killed"):
        bench = make_bench(name)
        campaign_id = watched(bench, [{**STEP, "count": 4, "size": 0.03}], 13)
        if name == "killed":
            for step, when, ordinal in (("plan", "after", "2"), ("ingest", "after", "8")):
                assert bench.run(campaign_id, step, when, ordinal).returncode != 0
        while run_campaign(campaign_id, bench.ledger) == "paused":
            decide(bench, campaign_id, references.ACCEPTED)
        charts = [e.body for e in bench.ledger.events(campaign_id, kinds=("chart",))]
        stories.append((bench.story(campaign_id), purposes(bench, campaign_id), charts))
        assert verify(bench.ledger).is_clean
    # Experiments are named after their campaign, and nothing else differs.
    assert stories[0] == stories[1]
