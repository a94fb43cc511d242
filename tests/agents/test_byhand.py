"""Measurements by a person: checked, recorded as theirs, learned from, and evidence for nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from athanor.agents.byhand import NotAMeasurement, by_hand, observe, observe_file
from athanor.agents.history import DataError
from athanor.agents.observing import BY_HAND
from athanor.agents.opening import open_campaign
from athanor.agents.results import results
from athanor.agents.spec import Spec
from athanor.instruments.laboratory import load
from athanor.memory.ledger import Ledger
from athanor.memory.verify import verify

POINT: dict[str, Any] = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.3, "temperature": 80.0}
MEASURED: dict[str, Any] = {"sty": {"mean": 5000.0, "sem": 20.0}}


@pytest.fixture
def ledger(home: Path) -> Any:
    with Ledger.create(str(home / "ledger.db")) as opened:
        yield opened


@pytest.fixture
def campaign(ledger: Ledger) -> str:
    from athanor.agents.spec import load as read

    found: Any = load("snar-flow")
    return open_campaign(read(found.campaign_file()), ledger)


def test_it_is_recorded_as_the_persons_and_journalled(ledger: Ledger, campaign: str) -> None:
    first = observe(ledger, campaign, POINT, MEASURED, by="anna", note="old analyser")
    second = observe(ledger, campaign, {**POINT, "temperature": 90}, MEASURED, by="ben", note="again", source="x.csv:2")
    assert [o.id for o in ledger.observations(campaign)] == [f"{campaign}/m1", f"{campaign}/m2"]
    assert (first.source, first.reduction, first.experiment_id) == ("operator", BY_HAND, None)
    assert first.reason == f"{BY_HAND} by anna: old analyser"
    assert first.reduction_hash != second.reduction_hash
    kinds = [row.kind for row in ledger.journal(f"campaign:{campaign}")]
    assert kinds.count("observation") == 2
    assert verify(ledger).problems == []
    [one, two] = by_hand(ledger, campaign)
    assert (one["by"], one["note"], one["source"]) == ("anna", "old analyser", "operator")
    assert two["values"]["temperature"] == 90.0
    assert results(ledger, campaign)["by_hand"] == [one, two]


@pytest.mark.parametrize(
    ("values", "outcomes", "words"),
    [
        ({**POINT, "temperature": 500.0}, MEASURED, "temperature"),
        ({k: v for k, v in POINT.items() if k != "temperature"}, MEASURED, "temperature.*missing"),
        ({**POINT, "stirring": 3.0}, MEASURED, "stirring"),
        ({**POINT, "temperature": math.nan}, MEASURED, "temperature"),
        (POINT, {}, "give at least one of: sty, e_factor"),
        (POINT, {"yield": {"mean": 1.0, "sem": None}}, "yield is no outcome"),
        (POINT, {"sty": {"mean": math.inf, "sem": None}}, "sty = inf is no measurement"),
        (POINT, {"sty": {"mean": 1.0, "sem": -1.0}}, "no standard error"),
        (POINT, {"sty": {"mean": 1.0, "sem": math.nan}}, "no standard error"),
    ],
)
def test_what_is_no_measurement_is_refused(
    ledger: Ledger, campaign: str, values: Any, outcomes: Any, words: str
) -> None:
    with pytest.raises(NotAMeasurement, match=words) as refused:
        observe(ledger, campaign, values, outcomes, by="anna", note="n")
    assert refused.value.remedy
    assert ledger.observations(campaign) == []


def test_it_needs_a_note_and_a_campaign_that_goes_on(ledger: Ledger, campaign: str) -> None:
    with pytest.raises(NotAMeasurement, match="give a note"):
        observe(ledger, campaign, POINT, MEASURED, by="anna", note=" ")
    ledger.set_campaign_state(campaign, "cancelled", reason="enough")
    with pytest.raises(NotAMeasurement, match="is over"):
        observe(ledger, campaign, POINT, MEASURED, by="anna", note="n")


def test_a_file_counts_whole_or_not_at_all(ledger: Ledger, campaign: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    head = "residence_time [min],equivalents,concentration [mol/L],temperature [degC],sty [kg/m^3/h],sty sem\n"
    path.write_text(f"{head}1,2,0.3,80,5000,20\n1,2,0.3,800,6000,\n")
    with pytest.raises(DataError, match=r"own.csv:3: .*temperature"):
        observe_file(ledger, campaign, path, by="anna", note="n")
    assert ledger.observations(campaign) == []
    path.write_text(f"{head}1,2,0.3,80,5000,20\n1,2,0.3,90,6000,\n")
    found = observe_file(ledger, campaign, path, by="anna", note="bench 2")
    assert [one.outcomes["sty"] for one in found] == [{"mean": 5000.0, "sem": 20.0}, {"mean": 6000.0, "sem": None}]
    events = ledger.events(campaign, kinds=("observed_by_hand",))
    assert [event.body["source"].split(" ")[0] for event in events] == ["own.csv:2", "own.csv:3"]


def context_of(ledger: Ledger, campaign_id: str) -> Any:
    """What the loop reads of the campaign; the rest of its context is not needed for that."""
    from athanor.agents.context import Context

    campaign = ledger.campaign(campaign_id)
    spec = Spec.model_validate(campaign.spec)
    parts = dict.fromkeys(("profile", "place", "executor", "planner", "reasoner", "lease", "instrument_lease"))
    return Context(ledger=ledger, campaign=campaign, spec=spec, problem=spec.problem(), **parts)  # type: ignore[arg-type]


def test_the_loop_finds_it_at_its_next_step_in_the_ledgers_order(ledger: Ledger, campaign: str) -> None:
    context = context_of(ledger, campaign)
    assert context.planner_observations() == []
    with Ledger.open(ledger.url) as other:  # as another process would
        observe(other, campaign, POINT, MEASURED, by="anna", note="n")
        observe(other, campaign, {**POINT, "temperature": 90.0}, MEASURED, by="anna", note="n")
    seen = context.planner_observations()
    assert [item["values"]["temperature"] for item in seen] == [80.0, 90.0]
    assert seen[0]["outcomes"] == MEASURED
    assert seen[0]["status"] == "completed"
    assert context_of(ledger, campaign).planner_observations() == seen  # a process that resumes sees the same
    assert context.spent() == 0


def test_it_is_evidence_for_no_registered_test(ledger: Ledger, campaign: str) -> None:
    from athanor.agents.inquiry import Inquiry

    context = context_of(ledger, campaign)
    observe(ledger, campaign, POINT, MEASURED, by="anna", note="n")
    assert Inquiry(context)._runs() == []
    assert ledger.evidence(campaign=campaign) == []
