"""SIGKILL of the campaign process at each edge of the graph: nothing lost, nothing doubled, nothing in doubt."""

from __future__ import annotations

import json
from datetime import timedelta
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from athanor.agents.campaign import envelope, instrument_place, open_campaign, shut_down_laboratory
from athanor.agents.graph import STEPS
from athanor.agents.spec import Spec
from athanor.governance.gate import Gate
from athanor.memory import places
from athanor.memory.ledger import Ledger
from athanor.memory.signing import GateKey
from athanor.memory.verify import verify

SCRIPT = Path(__file__).with_name("driver_script.py")


def campaign_file(folder: Path, experiments: int, planner: str = "random") -> Path:
    path = folder / "campaign.yaml"
    path.write_text(
        f"""\
name: Kill me
question: Does anything happen twice?
laboratory: {{name: snar-flow, options: {{noise: 0.02, time_scale: 0}}}}
parameters:
  residence_time: {{low: 0.5, high: 2.0, unit: min}}
  equivalents: {{low: 1.0, high: 5.0}}
  concentration: {{low: 0.1, high: 0.5, unit: mol/L}}
  temperature: {{low: 30, high: 120, unit: degC}}
objectives:
  sty: {{goal: maximize, reference: 2957}}
budget: {{experiments: {experiments}}}
hypotheses: {{share: 0.4}}
policy: {{autonomy: auto_within_limits}}
planner: {planner}
seed: 3
"""
    )
    return path


def start(folder: Path, experiments: int, name: str = "ledger") -> tuple[Ledger, str]:
    (folder / name).mkdir()
    ledger = Ledger.create(str(folder / name / "ledger.db"))
    campaign_id = open_campaign(campaign_file(folder, experiments), ledger)
    campaign = ledger.campaign(campaign_id)
    gate = Gate(ledger, GateKey.load_or_create(places.keys_dir()), "tester")
    spec = Spec.model_validate(campaign.spec)
    gate.grant(campaign_id, campaign.instrument, 0, envelope(spec), experiments, timedelta(hours=1))
    return ledger, campaign_id


def run(ledger: Ledger, campaign_id: str, *kill: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), ledger.url, campaign_id, *kill]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def starts(ledger: Ledger, campaign_id: str) -> list[dict[str, Any]]:
    log = instrument_place(ledger.campaign(campaign_id), ledger).directory / "controller.jsonl"
    return [event for event in map(json.loads, log.read_text().splitlines()) if event["event"] == "run"]


def outcome(ledger: Ledger, campaign_id: str) -> list[tuple[Any, ...]]:
    seen = {o.experiment_id: o.outcomes for o in ledger.observations(campaign_id)}
    return [(e.ordinal, e.values, e.state, seen.get(e.id)) for e in ledger.experiments(campaign_id)]


@pytest.mark.slow
def test_killed_at_every_edge_the_campaign_is_the_same(home: Path, tmp_path: Path) -> None:
    kills = [(step, when) for step in STEPS for when in ("before", "after")]
    experiments = len(kills) + 4
    ledger, campaign_id = start(tmp_path, experiments)
    for position, (step, when) in enumerate(kills, 1):
        done = run(ledger, campaign_id, step, when, str(position + 1))
        assert done.returncode == -signal.SIGKILL, (step, when, done.stdout, done.stderr)
        assert not [e for e in ledger.experiments(campaign_id) if e.state == "in_doubt"], (step, when)
    done = run(ledger, campaign_id)
    assert done.stdout.strip() == "succeeded", (done.stdout, done.stderr, ledger.campaign(campaign_id).reason)
    intents = [event["intent"] for event in starts(ledger, campaign_id)]
    assert len(intents) == len(set(intents)) == experiments
    states = {e.state for e in ledger.experiments(campaign_id)}
    assert states == {"completed"}
    report = verify(ledger)
    assert [p for p in report.problems if p.kind != "unanchored"] == []
    shut_down_laboratory(ledger, campaign_id)

    undisturbed, other = start(tmp_path, experiments, "undisturbed")
    assert run(undisturbed, other).stdout.strip() == "succeeded"
    assert outcome(undisturbed, other) == outcome(ledger, campaign_id)
    verdicts = [
        [(h.statement, h.state) for h in book.hypotheses(c)]
        for book, c in ((ledger, campaign_id), (undisturbed, other))
    ]
    assert verdicts[0] == verdicts[1]
    shut_down_laboratory(undisturbed, other)
