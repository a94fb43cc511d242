"""SIGKILL of the campaign process at each edge of the graph: nothing lost, nothing doubled, nothing in doubt."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from athanor.agents.graph import STEPS
from athanor.memory.verify import verify


@pytest.mark.slow
def test_killed_at_every_edge_the_campaign_is_the_same(make_bench: Any) -> None:
    bench = make_bench("killed")
    kills = [(step, when) for step in STEPS for when in ("before", "after")]
    experiments = len(kills) + 4
    changes = {"experiments": experiments, "hypotheses": {"share": 0.4}, "seed": 3}
    campaign_id = bench.open(**changes)
    for position, (step, when) in enumerate(kills, 1):
        done = bench.run(campaign_id, step, when, str(position + 1))
        assert done.returncode == -signal.SIGKILL, (step, when, done.stdout, done.stderr)
        assert not bench.ledger.experiments(campaign_id, states=["in_doubt"]), (step, when)
    done = bench.run(campaign_id)
    assert done.stdout.strip() == "succeeded", (done.stderr, bench.ledger.campaign(campaign_id).reason)
    intents = [event["intent"] for event in bench.witness(campaign_id, "run")]
    assert len(intents) == len(set(intents)) == experiments
    assert {e.state for e in bench.ledger.experiments(campaign_id)} == {"completed"}
    assert [p for p in verify(bench.ledger).problems if p.kind != "unanchored"] == []

    undisturbed = make_bench("undisturbed")
    other = undisturbed.open(**changes)
    assert undisturbed.run(other).stdout.strip() == "succeeded"
    assert undisturbed.story(other) == bench.story(campaign_id)


@pytest.mark.slow
def test_the_model_based_planner_goes_on_as_if_nothing_had_happened(make_bench: Any) -> None:
    changes = {"experiments": 22, "hypotheses": {"share": 0.4}, "seed": 1, "planner": "bayesian"}
    bench = make_bench("killed")
    campaign_id = bench.open(**changes)
    for step, when, ordinal in (
        ("plan", "after", 8),
        ("hypothesise", "after", 10),
        ("test", "before", 13),
        ("plan", "before", 18),
    ):
        assert bench.run(campaign_id, step, when, str(ordinal)).returncode == -signal.SIGKILL
    assert bench.run(campaign_id).stdout.strip() == "succeeded", bench.ledger.campaign(campaign_id).reason
    assert bench.ledger.hypotheses(campaign_id)

    undisturbed = make_bench("undisturbed")
    other = undisturbed.open(**changes)
    assert undisturbed.run(other).stdout.strip() == "succeeded"
    assert undisturbed.story(other) == bench.story(campaign_id)
