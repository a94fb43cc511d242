"""Opening a campaign: all of it or nothing, and nothing moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from athanor.agents.history import DataError
from athanor.agents.opening import check_instrument, envelope, instrument_place, open_campaign, propose_experiment
from athanor.agents.spec import Spec, SpecError, load
from athanor.instruments import laboratory
from athanor.instruments.limits import LimitViolation
from athanor.memory.ledger import Ledger
from athanor.planners.problem import ConstraintViolated, InvalidPoint, Problem

POINT = {"residence_time": 1.0, "equivalents": 2.0, "concentration": 0.3, "temperature": 80.0}
HEAD = "residence_time [min],equivalents,concentration [mol/L],temperature [K],sty [kg/m^3/h],e_factor\n"


@pytest.fixture
def ledger(home: Path) -> Ledger:
    return Ledger.create(home / "ledger.db")


def ready() -> Path:
    path: Path = laboratory.load("snar-flow").campaign_file()  # type: ignore[attr-defined]
    return path


def test_a_campaign_is_written_whole_and_nothing_starts(ledger: Ledger, home: Path) -> None:
    identifier = open_campaign(ready(), ledger, seed=7, budget=3)
    campaign = ledger.campaign(identifier)
    assert (campaign.state, campaign.seed, campaign.simulated) == ("queued", 7, True)
    spec = Spec.model_validate(campaign.spec)
    assert (spec.seed, spec.budget.experiments) == (7, 3)
    assert campaign.problem_hash == Problem.model_validate(campaign.problem).digest()
    assert identifier.startswith("snar-flow-")
    assert instrument_place(campaign, ledger).directory == home / "instruments" / "snar-flow"
    assert not (home / "instruments" / "snar-flow" / "config.json").exists()


def test_earlier_measurements_come_in_with_the_problems_units(ledger: Ledger, tmp_path: Path) -> None:
    data = tmp_path / "past.csv"
    data.write_text(HEAD + "1.0,2.0,0.3,353.15,5000,9.5\n1.0,2.0,0.3,343.15,,\n")
    identifier = open_campaign(ready(), ledger, data=data)
    [observation] = ledger.observations(identifier)
    assert observation.source == "historical"
    assert observation.values["temperature"] == pytest.approx(80.0)
    assert observation.outcomes["sty"]["mean"] == 5000.0
    assert ledger.experiments(identifier) == []


def test_what_is_wrong_leaves_no_campaign_behind(ledger: Ledger, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(ready().read_text().replace("high: 120", "high: 500"))
    with pytest.raises(SpecError, match=r"wrong.yaml:\d+: parameters.temperature: 30 … 500 leaves the limits"):
        open_campaign(wrong, ledger)
    data = tmp_path / "past.csv"
    data.write_text(HEAD + "1.0,2.0,0.3,900,5000,9.5\n")
    with pytest.raises(DataError, match=r"past\.csv:2"):
        open_campaign(ready(), ledger, data=data)
    assert ledger.campaigns() == []


def test_a_budget_too_small_for_the_design_is_said_of_the_planner(ledger: Ledger, tmp_path: Path) -> None:
    asked = tmp_path / "design.yaml"
    asked.write_text(ready().read_text() + "planner: {design: d-optimal, model: quadratic}\n")
    with pytest.raises(SpecError, match=r"planner: .*15 coefficients.* that the budget leaves"):
        open_campaign(asked, ledger, budget=10)
    assert ledger.campaigns() == []


def test_a_grant_covers_the_campaigns_own_ranges() -> None:
    spec = load(ready())
    ranges = envelope(spec)
    assert set(ranges) == set(spec.parameters)
    assert ranges["temperature"] == {"low": 30, "high": 120}


def test_an_operators_point_keeps_to_the_instrument_not_to_the_problem(ledger: Ledger, tmp_path: Path) -> None:
    narrow = tmp_path / "narrow.yaml"
    narrow.write_text(ready().read_text().replace("{low: 30, high: 120", "{low: 30, high: 60"))
    identifier = open_campaign(narrow, ledger)
    experiment = propose_experiment(ledger, identifier, POINT, by="a person")
    assert (experiment.state, experiment.purpose, experiment.source) == ("proposed", "operator", "operator")
    with pytest.raises(LimitViolation, match="temperature"):
        propose_experiment(ledger, identifier, {**POINT, "temperature": 500.0}, by="a person")
    with pytest.raises(LimitViolation, match="pressure"):
        propose_experiment(ledger, identifier, {**POINT, "pressure": 1.0}, by="a person")
    with pytest.raises(InvalidPoint, match="temperature"):
        propose_experiment(ledger, identifier, {k: v for k, v in POINT.items() if k != "temperature"}, by="a person")
    assert [e.id for e in ledger.experiments(identifier)] == [experiment.id]
    with pytest.raises(LimitViolation, match="temperature"):
        check_instrument(ledger, identifier, {"temperature": 20.0})


def test_what_the_problem_excludes_binds_people_with_the_same_words(ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "campaign.yaml"
    file.write_text(
        ready().read_text() + "constraints:\n  - {excluded: {temperature: {above: 90}, residence_time: {above: 1.5}}}\n"
    )
    identifier = open_campaign(file, ledger)
    problem = Problem.model_validate(ledger.campaign(identifier).problem)
    forbidden = {**POINT, "temperature": 95.0, "residence_time": 1.75}
    with pytest.raises(ConstraintViolated) as planned:
        problem.validate_point(forbidden)
    for refuse in (
        lambda: propose_experiment(ledger, identifier, forbidden, by="ada"),
        lambda: check_instrument(ledger, identifier, forbidden),
    ):
        with pytest.raises(ConstraintViolated, match="Change residence_time or temperature") as told:
            refuse()
        assert str(told.value) == str(planned.value)
    assert ledger.experiments(identifier) == []
    check_instrument(ledger, identifier, {**forbidden, "residence_time": 1.5})
    propose_experiment(ledger, identifier, {**forbidden, "temperature": 90.0}, by="ada")
