"""A bench for tests that need several processes: a ledger, a gate, a campaign on a simulated laboratory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from athanor.agents.campaign import envelope, instrument_place, open_campaign, shut_down_laboratory
from athanor.agents.spec import Spec, parse
from athanor.governance.gate import Gate
from athanor.instruments.laboratory import InstrumentUnavailable, load
from athanor.memory import places
from athanor.memory.ledger import Ledger
from athanor.memory.signing import GateKey

SCRIPT = Path(__file__).parent / "system" / "driver_script.py"


class Bench:
    """One ledger in a folder of its own, and what a test does with it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ledger = Ledger.create(str(folder / "ledger.db"))
        self.gate = Gate(self.ledger, GateKey.load_or_create(places.keys_dir()), "tester")
        self.campaigns: list[str] = []

    def open(
        self,
        laboratory: str = "snar-flow",
        *,
        grant: bool = True,
        options: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """Open the laboratory's ready campaign with some fields changed; grant it autonomy unless told otherwise."""
        found: Any = load(laboratory)
        spec = parse(found.campaign_file().read_text())
        place = {"name": laboratory, "options": {**spec.laboratory.options, **(options or {})}}
        budget = {"experiments": changes.pop("experiments", 6)}
        if not grant:
            changes.setdefault("policy", {"autonomy": "approve_each"})
        changes.setdefault("planner", "random")
        spec = Spec.model_validate({**spec.model_dump(), "laboratory": place, "budget": budget, **changes})
        campaign_id = open_campaign(spec, self.ledger)
        self.campaigns.append(campaign_id)
        if grant:
            self.grant(campaign_id)
        return campaign_id

    def grant(self, campaign_id: str, latch: int = 0) -> None:
        """Let the campaign run by itself."""
        campaign = self.ledger.campaign(campaign_id)
        spec = Spec.model_validate(campaign.spec)
        ranges, most = envelope(spec), spec.budget.experiments
        self.gate.grant(campaign_id, campaign.instrument, latch, ranges, most, timedelta(hours=1))

    def command(self, campaign_id: str, *kill: str) -> list[str]:
        """The command that drives the campaign in a process of its own."""
        return [sys.executable, str(SCRIPT), self.ledger.url, campaign_id, *kill]

    def run(self, campaign_id: str, *kill: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Drive the campaign to its next stop."""
        return subprocess.run(
            self.command(campaign_id, *kill),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, **environment},
        )

    def place(self, campaign_id: str) -> places.InstrumentPlace:
        """Where the campaign's instrument keeps its files."""
        return instrument_place(self.ledger.campaign(campaign_id), self.ledger)

    def witness(self, campaign_id: str, *events: str) -> list[dict[str, Any]]:
        """What the laboratory's controller logged."""
        lines = (self.place(campaign_id).directory / "controller.jsonl").read_text().splitlines()
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return [row for row in rows if not events or row["kind"] in events]

    def story(self, campaign_id: str) -> list[tuple[Any, ...]]:
        """Values, states and outcomes of every experiment, and every verdict."""
        seen = {o.experiment_id: (o.outcomes, o.status) for o in self.ledger.observations(campaign_id)}
        rows: list[tuple[Any, ...]] = [
            (e.ordinal, e.values, e.state, seen.get(e.id)) for e in self.ledger.experiments(campaign_id)
        ]
        rows += [(h.statement, h.state, h.prior) for h in self.ledger.hypotheses(campaign_id)]
        return rows

    def close(self) -> None:
        """End every laboratory of this bench."""
        for campaign_id in self.campaigns:
            with suppress(InstrumentUnavailable):
                shut_down_laboratory(self.ledger, campaign_id)
        self.ledger.close()


@pytest.fixture
def make_bench(home: Path, tmp_path: Path) -> Iterator[Any]:
    """Make benches by name; each has its own ledger and its own instruments."""
    benches: list[Bench] = []

    def make(name: str = "bench") -> Bench:
        benches.append(Bench(tmp_path / name))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def bench(make_bench: Any) -> Any:
    """One bench."""
    return make_bench()
