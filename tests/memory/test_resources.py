"""Samples, stocks and reservations: all or nothing, nothing used twice or lost, and nothing left behind by a death."""

from __future__ import annotations

import contextlib
import math
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import ValidationError

from athanor.memory.errors import (
    Duplicate,
    IllegalTransition,
    InvalidRecord,
    LeaseHeld,
    LeaseLost,
    NotFound,
    ResourceShort,
    ResourceTaken,
)
from athanor.memory.ledger import Ledger
from athanor.memory.resources import Consumable, Level, Needs, Reservation, Sample
from athanor.memory.rows import record_from, row_from
from athanor.memory.verify import verify
from tests.memory.conftest import Maker

ENDS = ("completed", "failed", "aborted", "stopped_early", "in_doubt", "refused")
amounts = st.floats(0, 1e9, allow_nan=False)


@pytest.fixture
def stocked(ledger: Ledger, make: Maker) -> Ledger:
    """Two samples, 10 mL of ethanol of which people are told at 3, a campaign with the instrument."""
    ledger.add_campaign(make.campaign())
    for label in ("w1", "w2"):
        ledger.add_sample(Sample(id=f"sample-{label}", label=label, location="shelf"))
    ledger.add_consumable(Consumable(id="ethanol", unit="mL", amount=10.0, low=3.0))
    ledger.acquire_lease("instrument:reactor", "p1", 600)
    return ledger


def commit(ledger: Ledger, make: Maker, ordinal: int, needs: Needs | None, campaign: str = "c1") -> str:
    """Take an experiment to dispatched, with what it needs; its id."""
    experiment = make.experiment(ordinal, campaign)
    ledger.add_experiment(experiment)
    decision = make.approve(ledger, experiment)
    lease = ledger.lease("instrument:reactor")
    assert lease is not None
    ledger.commit_intent(experiment.id, decision.id, "reactor", "p1", lease.epoch, needs)
    return experiment.id


def end(ledger: Ledger, make: Maker, experiment: str, state: str) -> None:
    if state in ("refused", "in_doubt"):
        ledger.set_experiment_state(experiment, state, "test")  # type: ignore[arg-type]
        return
    ledger.set_experiment_state(experiment, "running")
    ledger.set_experiment_state(experiment, state, "test")  # type: ignore[arg-type]


@pytest.mark.parametrize("state", ["completed", "failed", "aborted", "stopped_early"])
def test_what_ran_is_drawn_whatever_came_of_it(stocked: Ledger, make: Maker, state: str) -> None:
    name = commit(stocked, make, 1, Needs(("w1",), {"ethanol": 4.0}))
    assert stocked.levels()[0].available == 6.0 and stocked.consumable("ethanol").amount == 10.0
    assert stocked.sample("w1").experiment_id == name
    end(stocked, make, name, state)
    reservation = stocked.reservation_for(name)
    assert reservation is not None and (reservation.state, reservation.reason) == ("drawn", state)
    assert stocked.consumable("ethanol").amount == stocked.levels()[0].available == 6.0
    assert (stocked.sample("w1").state, stocked.sample("w1").experiment_id) == ("free", None)
    assert verify(stocked).is_clean


def test_what_did_not_start_is_released(stocked: Ledger, make: Maker) -> None:
    refused = commit(stocked, make, 1, Needs(("w1",), {"ethanol": 4.0}))
    end(stocked, make, refused, "refused")
    assert stocked.consumable("ethanol").amount == stocked.levels()[0].available == 10.0
    doubtful = commit(stocked, make, 2, Needs(("w1",), {"ethanol": 4.0}))
    end(stocked, make, doubtful, "in_doubt")
    assert stocked.levels()[0].available == 6.0, "nobody knows yet: it stays promised"
    assert stocked.sample("w1").state == "reserved"
    experiment = stocked.experiment(doubtful)
    stocked.decide(experiment.id, experiment.revision, make.decision(experiment, "settle", **{"as": "not_started"}))
    assert stocked.consumable("ethanol").amount == stocked.levels()[0].available == 10.0
    assert stocked.sample("w1").state == "free"
    assert stocked.reservations(is_open=True) == []
    assert verify(stocked).is_clean


@pytest.mark.parametrize(
    ("needs", "error"),
    [
        (Needs(("w2", "w1"), {"ethanol": 1.0}), ResourceTaken),
        (Needs(("w2",), {"ethanol": 6.1}), ResourceShort),
        (Needs(("w2",), {"ethanol": 1.0, "acetone": 1.0}), NotFound),
        (Needs(("w3",), {}), NotFound),
        (Needs(("w2",), {"ethanol": -1.0}), InvalidRecord),
        (Needs(("w2",), {"ethanol": math.nan}), InvalidRecord),
        (Needs(("w2", "w2"), {}), IllegalTransition),
        (Needs(("w2",), {}, ("oven",)), ResourceTaken),
    ],
)
def test_all_or_nothing(stocked: Ledger, make: Maker, needs: Needs, error: type[Exception]) -> None:
    first = commit(stocked, make, 1, Needs(("w1",), {"ethanol": 4.0}, ("oven",)))
    journal = len(stocked.journal())
    with pytest.raises(error):
        commit(stocked, make, 2, needs)
    written = [row.kind for row in stocked.journal()[journal:]]
    assert written == ["experiment", "decision", "experiment_state"], "no intent, no reservation, not a part of one"
    assert stocked.experiment("c1.2").state == "approved"
    assert stocked.sample("w2").state == "free" and stocked.levels()[0].available == 6.0
    end(stocked, make, first, "refused")
    assert verify(stocked).is_clean


def test_errors_name_what_is_missing_and_the_remedy(stocked: Ledger, make: Maker) -> None:
    commit(stocked, make, 1, Needs(("w1",), {"ethanol": 4.0}))
    with pytest.raises(ResourceShort, match=r"ethanol runs short: 7 mL are needed, 6 mL are left") as short:
        commit(stocked, make, 2, Needs((), {"ethanol": 7.0}))
    assert short.value.remedy == "athanor stock add ethanol AMOUNT"
    with pytest.raises(ResourceTaken, match=r"sample w1 is not free: experiment c1\.1 has it") as taken:
        commit(stocked, make, 3, Needs(("w1",)))
    assert taken.value.waits
    stocked.retire_sample("w2", "Ada", "broken")
    with pytest.raises(ResourceTaken, match="it is retired") as gone:
        commit(stocked, make, 4, Needs(("w2",)))
    assert not gone.value.waits


def test_a_device_is_one_experiment_s_at_a_time_and_nobody_drives_it_meanwhile(stocked: Ledger, make: Maker) -> None:
    name = commit(stocked, make, 1, Needs(devices=("oven",)))
    with pytest.raises(LeaseHeld, match=r"instrument:oven is held by experiment c1\.1"):
        stocked.acquire_lease("instrument:oven", "p2", 60)
    with pytest.raises(ResourceTaken, match=r"experiment c1\.1 has it"):
        commit(stocked, make, 2, Needs(devices=("oven",)))
    end(stocked, make, name, "failed")
    stocked.acquire_lease("instrument:oven", "p2", 60)
    with pytest.raises(ResourceTaken, match="p2 drives it"):
        commit(stocked, make, 3, Needs(devices=("furnace", "oven")))


def test_who_drove_a_device_and_went_silent_is_fenced_off(
    home: Path, make: Maker, opening: Callable[..., Ledger]
) -> None:
    moment = [datetime(2026, 1, 1, tzinfo=UTC)]
    ledger = opening(home / "ledger.db", create=True, clock=lambda: moment[0])
    for name, instrument in (("c1", "reactor"), ("c2", "oven")):
        ledger.add_campaign(make.campaign(name, instrument=instrument))
    reactor = ledger.acquire_lease("instrument:reactor", "p1", 600)
    oven = ledger.acquire_lease("instrument:oven", "p2", 10)
    other = make.experiment(1, "c2")
    ledger.add_experiment(other)
    decision = make.approve(ledger, other)
    moment[0] += timedelta(seconds=20)  # p2 is frozen, or its ledger was locked: nobody can tell
    name = commit(ledger, make, 1, Needs(devices=("oven",)))
    with pytest.raises(LeaseLost):
        ledger.commit_intent(other.id, decision.id, "oven", "p2", oven.epoch)
    with pytest.raises(LeaseLost):
        ledger.renew_lease(oven)
    end(ledger, make, name, "completed")
    again = ledger.acquire_lease("instrument:oven", "p2", 10)
    ledger.commit_intent(other.id, decision.id, "oven", "p2", again.epoch)
    moment[0] += timedelta(seconds=20)
    with pytest.raises(ResourceTaken, match=r"experiment c2\.1 is being run on it"):
        commit(ledger, make, 2, Needs(devices=("oven",)))
    ledger.renew_lease(reactor)
    assert verify(ledger).is_clean


def test_the_same_intent_again_reserves_nothing_more(stocked: Ledger, make: Maker) -> None:
    needs = Needs(("w1",), {"ethanol": 4.0})
    name = commit(stocked, make, 1, needs)
    experiment = stocked.experiment(name)
    lease = stocked.lease("instrument:reactor")
    assert experiment.decision_id is not None and lease is not None
    stocked.commit_intent(name, experiment.decision_id, "reactor", "p1", lease.epoch, needs)
    assert len(stocked.reservations()) == 1 and stocked.levels()[0].available == 6.0


def test_people_are_told_once_when_a_stock_runs_low(stocked: Ledger, make: Maker) -> None:
    for ordinal in (1, 2, 3):
        end(stocked, make, commit(stocked, make, ordinal, Needs((), {"ethanol": 3.0})), "completed")
    assert stocked.levels()[0].is_low
    [told] = stocked.events(kinds=("stock_low",))
    assert told.body == {"consumable": "ethanol", "available": 1.0, "low": 3.0, "unit": "mL"}
    stocked.refill("ethanol", 20.0, "Ada", "a new bottle")
    assert not stocked.levels()[0].is_low
    end(stocked, make, commit(stocked, make, 4, Needs((), {"ethanol": 19.0})), "completed")
    assert len(stocked.events(kinds=("stock_low",))) == 2
    stocked.set_stock("ethanol", "Ada", "counted", low=0.0)
    assert not stocked.levels()[0].is_low
    assert [change.body["how"] for change in stocked.stock_history("ethanol")[1:]] == [
        *["drawn"] * 3, "added", "drawn", "set",
    ]  # fmt: skip
    assert verify(stocked).is_clean


def test_a_sample_has_a_place_a_parent_and_a_history(stocked: Ledger, make: Maker) -> None:
    stocked.move_sample("w1", "glove box", "Ada", "for the coating")
    left, right = stocked.split_sample("w1", ["w1a", "w1b"], "Ada")
    assert {left.parent_id, right.parent_id} == {"sample-w1"} and left.location == "glove box"
    with pytest.raises(Duplicate, match="retire it, or take another label"):
        stocked.split_sample("w1", ["w1c", "w2"], "Ada")
    assert [sample.label for sample in stocked.samples()] == ["w1", "w2", "w1a", "w1b"], "all parts or none"
    name = commit(stocked, make, 1, Needs(("w1a",)))
    for refused in (
        lambda: stocked.move_sample("w1a", "bench", "Ada"),
        lambda: stocked.split_sample("w1a", ["x"], "Ada"),
        lambda: stocked.retire_sample("w1a", "Ada", "lost"),
    ):
        with pytest.raises(InvalidRecord, match=r"c1\.1 has it"):
            refused()
    end(stocked, make, name, "completed")
    stocked.retire_sample("w1a", "Ada", "used up")
    with pytest.raises(InvalidRecord, match="retired"):
        stocked.move_sample("w1a", "bin", "Ada")
    history = stocked.sample_history(left.id)
    assert [change.kind for change in history] == ["sample", "sample_state", "sample_state", "sample_state"]
    assert [change.body.get("used_by") for change in history[1:]] == [None, name, None]
    assert [change.body["id"] for change in stocked.sample_history("w1") if change.kind == "sample"] == [
        "sample-w1", left.id, right.id,
    ]  # fmt: skip
    again = stocked.add_sample(Sample(id="sample-new", label="w1a"))
    assert stocked.sample("w1a") == again, "a label of a retired sample may be used again"
    assert verify(stocked).is_clean


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE consumable SET amount = amount + 1",
        "UPDATE sample SET location = 'elsewhere' WHERE label = 'w1'",
        "UPDATE sample SET state = 'retired' WHERE label = 'w2'",
        "UPDATE reservation SET state = 'released'",
        "UPDATE reservation SET amounts = '{}'",
        "DELETE FROM consumable",
    ],
)
def test_what_is_changed_by_hand_is_found(stocked: Ledger, make: Maker, statement: str) -> None:
    commit(stocked, make, 1, Needs(("w1",), {"ethanol": 4.0}))
    assert verify(stocked).is_clean
    with contextlib.closing(sqlite3.connect(stocked.path)) as connection, connection:
        connection.execute(statement)
    assert not verify(stocked).is_clean


@given(amount=amounts, low=amounts | st.none(), reserved=amounts, unit=st.text("mLg", max_size=3) | st.none())
def test_a_stock_comes_back_from_its_row(amount: float, low: float | None, reserved: float, unit: str | None) -> None:
    stock = Consumable(id="ethanol", unit=unit, amount=amount, low=low)
    assert record_from(Consumable, row_from(stock, 1)) == stock
    level = Level(stock, reserved)
    assert 0.0 <= level.available <= amount
    assert level.is_low == (low is not None and level.available <= low)


@given(
    samples=st.lists(st.text("abc", min_size=1), max_size=3),
    given_amounts=st.dictionaries(st.text("xyz", min_size=1), amounts, max_size=3),
)
def test_a_reservation_comes_back_from_its_row(samples: list[str], given_amounts: dict[str, float]) -> None:
    made = Reservation(id="r", experiment_id="e", campaign_id="c", samples=samples, amounts=given_amounts)
    assert record_from(Reservation, row_from(made, 1)) == made


@pytest.mark.parametrize("amount", [math.nan, math.inf, -1.0, "much", True])
def test_no_stock_has_an_amount_that_is_none(amount: Any) -> None:
    with pytest.raises(ValidationError):
        Consumable(id="ethanol", amount=amount)


class Shelf(RuleBasedStateMachine):
    """Experiments that reserve, run and end in any order, refills and moves between them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.make = Maker()
        path = Path(self.folder.name)
        self.ledger = Ledger.create(path / "ledger.db", keys=path / "keys")
        self.ledger.add_campaign(self.make.campaign())
        self.ledger.acquire_lease("instrument:reactor", "p1", 86400)
        self.ledger.add_consumable(Consumable(id="ethanol", amount=10.0, low=2.0))
        for label in ("w1", "w2"):
            self.ledger.add_sample(Sample(id=label, label=label))
        self.added, self.used, self.ordinal = 10.0, 0.0, 0
        self.under_way: dict[str, float] = {}

    @rule(amount=st.floats(0, 8), samples=st.lists(st.sampled_from(["w1", "w2"]), unique=True, max_size=2))
    def begin(self, amount: float, samples: list[str]) -> None:
        self.ordinal += 1
        free = all(self.ledger.sample(label).state == "free" for label in samples)
        enough = amount <= self.ledger.levels()[0].available
        try:
            name = commit(self.ledger, self.make, self.ordinal, Needs(tuple(samples), {"ethanol": amount}))
        except (ResourceShort, ResourceTaken):
            assert not (free and enough)
            return
        assert free and amount <= 10.0 + self.added
        self.under_way[name] = amount

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), state=st.sampled_from(["completed", "failed", "aborted", "stopped_early", "refused"]))
    def finish(self, data: st.DataObject, state: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.under_way)))
        end(self.ledger, self.make, name, state)
        amount = self.under_way.pop(name)
        self.used += 0.0 if state == "refused" else amount

    @rule(amount=st.floats(0.01, 5))
    def refill(self, amount: float) -> None:
        self.ledger.refill("ethanol", amount, "Ada")
        self.added += amount

    @invariant()
    def nothing_is_lost_or_made(self) -> None:
        [level] = self.ledger.levels()
        assert level.consumable.amount == pytest.approx(self.added - self.used, abs=1e-6)
        assert level.reserved == pytest.approx(sum(self.under_way.values()), abs=1e-9)
        assert level.available >= 0
        holders = Counter(s.experiment_id for s in self.ledger.samples() if s.state == "reserved")
        assert set(holders) <= set(self.under_way)
        assert {r.experiment_id for r in self.ledger.reservations(is_open=True)} == set(self.under_way)

    def teardown(self) -> None:
        assert verify(self.ledger).is_clean
        self.ledger.close()
        self.folder.cleanup()


TestShelf = Shelf.TestCase
TestShelf.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)

KILLED = """
import os, signal, sys
from pathlib import Path
from athanor.memory import _resources
from athanor.memory._store import Store, Writer
from athanor.memory.ledger import Ledger
from athanor.memory.resources import Needs
from tests.memory.conftest import Maker
from tests.memory.test_resources import commit, end

left = int(sys.argv[2])
def moment():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
for owner, name in ((Writer, "change_state"), (Writer, "insert")):
    def dying(*args, original=getattr(owner, name), **options):
        moment()
        result = original(*args, **options)
        moment()
        return result
    setattr(owner, name, dying)
ledger, make = Ledger.open(sys.argv[1]), Maker()
for ordinal in range(ledger.next_ordinal("c1"), 100):
    name = commit(ledger, make, ordinal, Needs(("w1",), {"ethanol": 0.5}))
    end(ledger, make, name, ("completed", "failed", "refused")[ordinal % 3])
"""


@pytest.mark.parametrize("moment", range(1, 32, 3))
def test_killed_between_reserving_and_releasing_nothing_is_left_behind(
    stocked: Ledger, make: Maker, moment: int
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(stocked.path), str(moment)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    under_way = {e.id for e in stocked.experiments("c1", states=["dispatched", "running"])}
    assert {r.experiment_id for r in stocked.reservations(is_open=True)} == under_way
    used = sum(e.state in ("completed", "failed") for e in stocked.experiments("c1"))
    assert stocked.consumable("ethanol").amount == pytest.approx(10.0 - 0.5 * used)
    holder = stocked.sample("w1").experiment_id
    assert ({holder} if holder else set()) == under_way
    assert [p for p in verify(stocked).problems if p.kind != "unanchored"] == []
    for name in under_way:  # whoever comes next ends it, and it is free
        stocked.set_experiment_state(name, "in_doubt")
        experiment = stocked.experiment(name)
        stocked.decide(name, experiment.revision, make.decision(experiment, "settle", **{"as": "not_started"}))
    assert stocked.sample("w1").state == "free" and stocked.levels()[0].reserved == 0.0
