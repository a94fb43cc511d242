"""The facts of a handover are what is so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from athanor.console.shift import MOST, facts
from athanor.governance.alarms import Condition
from athanor.governance.gate import Gate
from athanor.governance.orders import Orders
from athanor.instruments.latch import Latch
from athanor.instruments.takeover import TakeOver
from athanor.instruments.write_switch import WriteSwitch
from athanor.memory.places import keys_dir
from athanor.memory.resources import Consumable
from athanor.memory.signing import GateKey
from tests.console.api.site_rig import Site

HOUR = timedelta(hours=1)


@pytest.fixture
def site(home: Path) -> Iterator[Site]:
    made = Site(home)
    yield made
    made.ledger.close()


def of(site: Site, since: datetime | None = None) -> dict[str, list[str]]:
    found = facts(site.desk, site.desk.alarms, since or datetime.now(UTC) - HOUR)
    return {name: [fact.text for fact in lines] for name, lines in found.items()}


def test_a_quiet_site_says_little(site: Site) -> None:
    found = of(site)
    assert len(found["campaigns"]) == 2 and "snar-flow (simulated): queued, 0 of" in found["campaigns"][0]
    assert len(found["approvals"]) == 1 and "residence_time 1 min" in found["approvals"][0]
    assert site.experiment.id in found["approvals"][0]
    assert found["alarms"] == found["overrides"] == found["doubt"] == found["stock"] == found["decided"] == []


def test_everything_that_the_next_shift_has_to_know(site: Site) -> None:
    key = GateKey.load_or_create(keys_dir())
    orders, gate = Orders(site.ledger, key, "ada"), Gate(site.ledger, key, "ada")
    gate.grant(site.campaign, "snar-flow", 0, {"temperature": {"low": 50, "high": 60}}, 5, 8 * HOUR)
    assert "approves its own experiments until" in of(site)["overrides"][0]
    TakeOver(site.place, key.public).take("ada", lambda: orders.take_over("snar-flow", HOUR, "new {tubing}"))
    WriteSwitch(site.place).off("tubing", "ada")
    site.ledger.add_consumable(Consumable(id="MeCN", unit="mL", amount=10.0, low=20.0))
    gate.reject(site.experiment.id, site.experiment.revision, "too hot")
    for _ in range(2):
        one = site.propose()
        gate.approve(one.id, one.revision, 0)
    shelved = site.desk.alarms.raise_(Condition("stock.low", "MeCN", "10 mL left"))
    assert shelved is not None
    site.desk.alarms.act(shelved.id, "shelved", "ada", "it is ordered", HOUR)
    Latch(site.place).engage("smoke", "bob")
    found = of(site)
    assert found["approvals"] == []
    assert "shelved): 10 mL left; hidden by ada until" in found["alarms"][0] and "it is ordered" in found["alarms"][0]
    latched, off, taken = found["overrides"]
    assert "Stop All is latched: smoke (bob" in latched and "writes are off: tubing (ada, " in off
    assert "ada has it in hand until" in taken, "the grant is void: Stop All was used since"
    assert found["stock"] == ["MeCN: 10 mL left (told at 20 mL)"]
    decided = found["decided"]
    assert decided[0] == f"ada approved 2 experiments of {site.campaign}"
    assert any(f"ada rejected {site.experiment.id}: too hot" in line for line in decided)
    assert any("ada granted autonomy to" in line for line in decided)
    assert any("ada took snar-flow over: new {tubing}" in line for line in decided)
    assert any("ada shelved the alarm stock.low~MeCN: it is ordered" in line for line in decided)
    assert of(site, datetime.now(UTC) + HOUR)["decided"] == [], "of this shift, and of none before"


def test_a_campaign_that_ended_in_the_shift_is_told_and_one_from_before_is_not(site: Site) -> None:
    site.ledger.set_campaign_state(site.real, "failed", reason="no point is possible")
    assert any("failed" in line and "no point is possible" in line for line in of(site)["campaigns"])
    assert len(of(site, datetime.now(UTC) + HOUR)["campaigns"]) == 1


def test_of_very_many_it_says_how_many_more(site: Site) -> None:
    for number in range(MOST + 5):
        site.ledger.add_consumable(Consumable(id=f"s{number:03}", amount=0.0, low=1.0))
    stock = of(site)["stock"]
    assert len(stock) == MOST + 1 and stock[-1].startswith("… and 5 more")
