"""A campaign read back as plain data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from athanor.agents.opening import open_campaign, propose_experiment
from athanor.agents.results import best, results
from athanor.instruments.laboratory import load
from athanor.memory.canonical import canonical
from athanor.memory.ledger import Ledger

POINT = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.3, "temperature": 80.0}
PAST = (
    "residence_time [min],equivalents,concentration [mol/L],temperature [degC],sty [kg/m^3/h],e_factor\n"
    "1.0,2.0,0.3,80,5000,9.5\n"
    "1.5,2.0,0.3,80,4000,9.9\n"
    "0.6,1.5,0.5,85,9000,9.9\n"
)


@pytest.fixture
def ledger(home: Path) -> Ledger:
    return Ledger.create(home / "ledger.db")


def opened(ledger: Ledger, data: Path | None = None) -> str:
    return open_campaign(load("snar-flow").campaign_file(), ledger, data=data)  # type: ignore[attr-defined]


def test_a_new_campaign_has_its_keys_and_nothing_in_them(ledger: Ledger) -> None:
    campaign = opened(ledger)
    found = json.loads(canonical(results(ledger, campaign)))
    assert {"campaign", "state", "best", "hypotheses", "experiments"} <= set(found)
    assert (found["campaign"], found["state"], found["simulated"]) == (campaign, "queued", True)
    assert found["best"] == found["hypotheses"] == found["experiments"] == []


def test_an_experiment_that_never_ran_is_there_without_run_or_outcomes(ledger: Ledger) -> None:
    campaign = opened(ledger)
    experiment = propose_experiment(ledger, campaign, POINT, by="a person")
    ledger.set_experiment_state(experiment.id, "withdrawn", reason="not today")
    [found] = results(ledger, campaign)["experiments"]
    assert {"id", "values", "outcomes", "state", "source", "run", "why"} <= set(found)
    assert (found["state"], found["reason"], found["run"], found["outcomes"]) == ("withdrawn", "not today", None, {})
    assert found["source"] == "operator"
    assert found["why"]["detail"] == "proposed by a person"


def test_the_best_is_worked_out_once_for_what_is_known(ledger: Ledger, tmp_path: Path) -> None:
    past = tmp_path / "past.csv"
    past.write_text(PAST)
    campaign = opened(ledger, past)
    front = best(ledger, campaign)
    measured = sorted(item["measured"]["sty"]["mean"] for item in front)
    assert measured == [5000.0, 9000.0]  # the second point is worse than the first in both
    rows = ledger.changes()
    assert best(ledger, campaign) == front
    assert ledger.changes() == rows
