"""One campaign with the Bayesian planner, on the simulation and over three real protocols: the same to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.agents.campaign import open_campaign
from athanor.agents.spec import LaboratorySpec, parse
from athanor.instruments.laboratory import load
from tests.sandbox.serving.served import PROTOCOLS, Served

pytestmark = pytest.mark.slow

LABORATORY = "snar-flow"
EXPERIMENTS = 20


@pytest.fixture
def served(home: Path, tmp_path: Path) -> Iterator[dict[str, Served]]:
    every: dict[str, Served] = {}
    try:
        for protocol in PROTOCOLS:
            every[protocol] = Served(tmp_path / "served", protocol, LABORATORY, "--noise", "0")
        yield every
    finally:
        for server in every.values():
            server.kill()


def opened(bench: Any, laboratory: LaboratorySpec) -> str:
    """The laboratory's ready campaign there, granted."""
    found: Any = load(LABORATORY)
    spec = parse(found.campaign_file().read_text())
    budget = spec.budget.model_copy(update={"experiments": EXPERIMENTS})
    campaign: str = open_campaign(spec.model_copy(update={"laboratory": laboratory, "budget": budget}), bench.ledger)
    bench.campaigns.append(campaign)
    bench.grant(campaign)
    return campaign


def told(run: dict[str, Any]) -> tuple[int, ...]:
    """What the controller was told of a run that decides what it measures."""
    return run["ordinal"], run["seed"], run["replicates"]


def finish(bench: Any, campaign: str) -> list[tuple[Any, ...]]:
    """Run the campaign to its end; everything that it did and found, without its names."""
    done = bench.run(campaign)
    assert done.stdout.strip() == "succeeded", done.stderr
    story: list[tuple[Any, ...]] = bench.story(campaign)
    return story


def test_a_campaign_is_the_same_over_every_protocol(make_bench: Any, served: dict[str, Served]) -> None:
    bench = make_bench("in-process")
    simulated = opened(bench, LaboratorySpec(name=LABORATORY, options={"noise": 0.0}))
    expected = finish(bench, simulated)
    assert [row[2] for row in expected if isinstance(row[0], int)] == ["completed"] * EXPERIMENTS
    methods = {str(e.candidate.get("why", {}).get("method", "")) for e in bench.ledger.experiments(simulated)}
    assert any("qLog" in method for method in methods), methods  # the planner has done more than the initial design

    for protocol, server in served.items():
        wired = make_bench(protocol)
        campaign = opened(wired, LaboratorySpec(profile=str(server.path)))
        assert finish(wired, campaign) == expected, protocol
        runs = server.witness("run")
        assert [told(run) for run in runs] == [told(run) for run in bench.witness(simulated, "run")], protocol
        intents = [wired.ledger.intent_for(experiment.id).id for experiment in wired.ledger.experiments(campaign)]
        assert [run["intent"] for run in runs] == intents, protocol
