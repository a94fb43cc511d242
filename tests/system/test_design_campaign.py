"""A classical design through the whole loop: every run once, named in the ledger, the summary and the report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from athanor.agents.campaign import run_campaign
from athanor.agents.spec import Spec
from athanor.console.commands.campaigns import summarise
from athanor.console.report.build import build
from athanor.instruments.laboratory import load


@pytest.mark.slow
def test_a_fraction_is_run_in_the_loop_and_reported(bench: Any) -> None:
    campaign_id = bench.open(experiments=9, planner="fractional-factorial", reasoner="none", options={"time_scale": 0})
    spec = Spec.model_validate(bench.ledger.campaign(campaign_id).spec)
    found: Any = load("snar-flow")
    line = dict(summarise(spec, found.profile()))["design"]
    assert line == "fractional-factorial: 8 runs; then again, in a new order"
    assert run_campaign(campaign_id, bench.ledger) == "succeeded"

    experiments = bench.ledger.experiments(campaign_id)
    units = [spec.problem().to_unit(e.values) for e in experiments]
    signs = 2 * np.round(units, 9) - 1
    assert np.array_equal(signs[:8].T @ signs[:8], 8 * np.eye(4))
    assert set(signs.prod(axis=1)) == {1.0}, "the defining relation of the half fraction"
    details = [e.candidate["why"]["detail"] for e in experiments]
    assert details[0].startswith("Run 1 of 8 of a two-level fractional factorial design 2^(4-1)")
    assert "Resolution IV" in details[0]
    assert details[8].startswith("Replicate 2 of the whole design in a new order; run 1 of 8")

    report = build(bench.ledger, campaign_id)
    assert report.planner == "fractional-factorial"
    assert [row.values for row in report.experiments] == [e.values for e in experiments]
