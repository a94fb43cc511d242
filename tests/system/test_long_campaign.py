"""A thousand experiments in one run: it completes, and late checkpoints are as small as early ones."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from athanor.agents.campaign import run_campaign
from athanor.agents.graph import STEPS

EXPERIMENTS = 1000
LARGEST = 70_000
"""Bytes of checkpoints per experiment, file overhead included."""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_thousand_experiments(bench: Any) -> None:
    campaign_id = bench.open(experiments=EXPERIMENTS, hypotheses={"share": 0.0})
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"
    assert len(bench.ledger.experiments(campaign_id, states=["completed"])) == EXPERIMENTS
    assert len(bench.ledger.observations(campaign_id)) == EXPERIMENTS
    assert len(bench.witness(campaign_id, "run")) == EXPERIMENTS

    [file] = (bench.place(campaign_id).directory / "checkpoints").glob("*.db")
    assert file.stat().st_size / EXPERIMENTS <= LARGEST
    with sqlite3.connect(file) as connection:
        rows = connection.execute(
            "select length(checkpoint) + length(metadata) + coalesce((select sum(length(value)) from writes w "
            "where w.checkpoint_id = c.checkpoint_id), 0) from checkpoints c order by checkpoint_id"
        ).fetchall()
    connection.close()
    assert len(rows) >= len(STEPS) * EXPERIMENTS
    hundred = 100 * len(STEPS)
    first, last = sum(n for (n,) in rows[:hundred]), sum(n for (n,) in rows[-hundred:])
    assert last <= 1.1 * first, (first, last)
