"""What runs need, as their campaign's file says it: reserved before dispatch, waited for, named where it runs short."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.agents.campaign import open_campaign, run_campaign
from athanor.agents.needs import BadNeed, check_needs, needs_of
from athanor.agents.spec import ConsumableSpec, Spec, SpecError, load, parse
from athanor.instruments.laboratory import load as laboratory
from athanor.memory.errors import NotFound
from athanor.memory.ledger import Ledger
from athanor.memory.records import Lease
from athanor.memory.resources import Consumable, Sample
from athanor.memory.verify import verify

POINT = {"residence_time": 1.5, "equivalents": 2.0, "concentration": 0.3, "temperature": 60.0}
HEAD = """
name: n
question: q?
laboratory: snar-flow
parameters:
  residence_time: {low: 0.5, high: 2.0, unit: min}
  solvent: {values: [EtOH, MeCN]}
objectives: {sty: {goal: maximize}}
budget: {experiments: 3}
"""


def ready(**changes: Any) -> Spec:
    spec = load(laboratory("snar-flow").campaign_file())  # type: ignore[attr-defined]
    return Spec.model_validate({**spec.model_dump(), **changes})


@pytest.fixture
def ledger(home: Path) -> Any:
    with Ledger.create(home / "ledger.db") as opened:
        opened.add_consumable(Consumable(id="ethanol", unit="mL", amount=100.0))
        opened.add_consumable(Consumable(id="vial", amount=10.0))
        opened.add_sample(Sample(id="sample-w1", label="w1"))
        yield opened


@pytest.mark.parametrize(
    ("consumable", "amount"),
    [
        ("5 mL", 5.0),
        ("0.005 L", 5.0),
        ("2e3 uL", 2.0),
        ({"amount": "2 * residence_time + 1", "unit": "mL"}, 4.0),
        ({"amount": "concentration * residence_time", "unit": "L"}, 450.0),
    ],
)
def test_an_amount_is_worked_out_in_the_stock_s_unit(ledger: Ledger, consumable: Any, amount: float) -> None:
    spec = ready(consumables={"ethanol": consumable, "vial": 1}, sample="w1", devices=["oven", "oven"])
    needs = needs_of(spec, ledger, POINT)
    assert needs.amounts == {"ethanol": pytest.approx(amount), "vial": 1.0}
    assert (needs.samples, needs.devices) == (("w1",), ("oven",))
    assert check_needs(spec, ledger, "snar-flow") == []


@pytest.mark.parametrize(
    ("consumable", "words"),
    [
        ({"amount": "residence_time - 2", "unit": "mL"}, "cannot use -0.5 of ethanol"),
        ({"amount": "1 / (residence_time - 1.5)", "unit": "mL"}, "nobody can say"),
        ("5 kg", "cannot be made that"),
        (5, "kept in mL, and the campaign says no unit"),
    ],
)
def test_an_amount_that_makes_no_sense_is_named(ledger: Ledger, consumable: Any, words: str) -> None:
    with pytest.raises(BadNeed, match=words):
        needs_of(ready(consumables={"ethanol": consumable}), ledger, POINT)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("consumables: {ethanol: lots}", "is no amount; write '5 mL'"),
        ("consumables: {ethanol: -5}", "greater than or equal to 0"),
        ("consumables: {ethanol: {amount: 2 * flow}}", "consumable ethanol: there is no parameter 'flow'"),
        ("consumables: {ethanol: {amount: residence_time > 1}}", "is a truth, where a number is needed"),
        ("consumables: {ethanol: {amount: 2 * solvent}}", "is a word, where a number is needed"),
        ("consumables: {ethanol: {amount: open('x')}}", "an expression such as"),
        ("consumables: {ethanol: {volume: 5}}", "is no field"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_with_its_line(line: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse(HEAD + line)


@given(number=st.floats(0, 1e12, allow_nan=False), unit=st.sampled_from([None, "mL", "g", "kg/m^3"]))
def test_the_short_form_says_the_same_as_the_long_one(number: float, unit: str | None) -> None:
    short = ConsumableSpec.model_validate(f"{number!r} {unit or ''}")
    assert short == ConsumableSpec(amount=number, unit=unit)
    assert ConsumableSpec.model_validate(short.model_dump()) == short


def test_what_the_ledger_does_not_know_is_named_before_anything_starts(ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    text = laboratory("snar-flow").campaign_file().read_text()  # type: ignore[attr-defined]
    file.write_text(text + "\nconsumables:\n  acetone: 3 mL\n  ethanol: 2 g\nsample: w9\ndevices: [snar-flow]\n")
    with pytest.raises(SpecError) as caught:
        open_campaign(file, ledger)
    said = str(caught.value)
    assert "no such stock" in said and "athanor stock add acetone AMOUNT --unit mL" in said
    assert "consumables.ethanol" in said and "athanor samples add w9" in said and "own instrument" in said
    line = text.count("\n") + 3
    assert f"{file}:{line}: consumables.acetone" in said
    ledger.retire_sample("w1", "Ada", "broken")
    assert [item[1] for item in check_needs(ready(sample="w1"), ledger, "snar-flow")] == ["w1 is retired"]
    with pytest.raises(NotFound):
        needs_of(ready(consumables={"acetone": 1}), ledger, POINT)


def test_a_campaign_pauses_before_it_runs_dry_and_goes_on_when_refilled(bench: Any) -> None:
    ledger = bench.ledger
    ledger.add_consumable(Consumable(id="ethanol", unit="mL", amount=12.0, low=4.0))
    ledger.add_sample(Sample(id="sample-w1", label="w1"))
    campaign = bench.open(experiments=3, consumables={"ethanol": "5 mL"}, sample="w1")
    assert run_campaign(campaign, ledger) == "paused"
    reason = ledger.campaign(campaign).reason
    assert "ethanol runs short: 5 mL are needed, 2 mL are left" in reason and "athanor stock add ethanol" in reason
    assert [e.state for e in ledger.experiments(campaign)] == ["completed", "completed", "approved"]
    assert len(bench.witness(campaign, "run")) == 2
    assert len(ledger.events(kinds=("stock_low",))) == 1
    ledger.refill("ethanol", 10.0, "Ada")
    assert run_campaign(campaign, ledger) == "succeeded", ledger.campaign(campaign).reason
    assert ledger.consumable("ethanol").amount == pytest.approx(7.0)
    assert [r.state for r in ledger.reservations(campaign)] == ["drawn"] * 3
    used = [change.body["used_by"] for change in ledger.sample_history("w1") if change.body.get("used_by")]
    assert used == [e.id for e in ledger.experiments(campaign)]
    assert verify(ledger).is_clean


def test_a_campaign_waits_while_another_has_the_device(bench: Any) -> None:
    ledger = bench.ledger
    campaign = bench.open(experiments=1, devices=["oven"])
    lease: Lease = ledger.acquire_lease("instrument:oven", "somebody", 600)
    ended: list[str] = []
    thread = threading.Thread(target=lambda: ended.append(run_campaign(campaign, ledger)))
    thread.start()
    deadline = time.monotonic() + 60
    while not ledger.events(campaign, kinds=("waiting",)):
        assert time.monotonic() < deadline and thread.is_alive()
        time.sleep(0.02)
    [event] = ledger.events(campaign, kinds=("waiting",))
    assert "somebody drives it" in event.body["for"]
    assert not ledger.reservations()
    ledger.release_lease(lease)
    thread.join(60)
    assert ended == ["succeeded"]
    assert [r.devices for r in ledger.reservations(campaign)] == [["oven"]]


@pytest.mark.parametrize(("request_", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_who_waits_still_listens(bench: Any, request_: Any, state: str) -> None:
    ledger = bench.ledger
    campaign = bench.open(experiments=1, devices=["oven"])
    ledger.acquire_lease("instrument:oven", "somebody", 600)
    ended: list[str] = []
    thread = threading.Thread(target=lambda: ended.append(run_campaign(campaign, ledger)))
    thread.start()
    deadline = time.monotonic() + 60
    while not ledger.events(campaign, kinds=("waiting",)):
        assert time.monotonic() < deadline and thread.is_alive()
        time.sleep(0.02)
    ledger.request(campaign, request_, "Ada")
    thread.join(60)
    assert ended == [state], ledger.campaign(campaign).reason
    assert not ledger.reservations() and not bench.ledger.experiments(campaign, states=["dispatched"])
