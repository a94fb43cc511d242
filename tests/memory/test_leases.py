from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from athanor.memory.errors import InvalidRecord, LeaseHeld, LeaseLost
from athanor.memory.ledger import Ledger
from athanor.memory.records import now
from athanor.memory.verify import verify
from tests.memory.conftest import Maker


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = now()

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock(ledger: Ledger) -> Clock:
    ledger._clock = clock = Clock()
    return clock


def test_one_holder_at_a_time(ledger: Ledger, clock: Clock) -> None:
    lease = ledger.acquire_lease("instrument:reactor", "p1", 30)
    with pytest.raises(LeaseHeld, match="p1") as refused:
        ledger.acquire_lease("instrument:reactor", "p2", 30)
    assert refused.value.expires_at == lease.expires_at == clock.time + timedelta(seconds=30)
    assert ledger.acquire_lease("instrument:reactor", "p1", 30).epoch == lease.epoch
    assert ledger.acquire_lease("instrument:furnace", "p2", 30).epoch == 1


def test_the_epoch_grows_with_every_change_of_holder(ledger: Ledger, clock: Clock) -> None:
    first = ledger.acquire_lease("campaign:c1", "p1", 30)
    clock.time += timedelta(seconds=31)
    second = ledger.acquire_lease("campaign:c1", "p2", 30)
    ledger.release_lease(second)
    assert ledger.lease("campaign:c1") is None
    third = ledger.acquire_lease("campaign:c1", "p2", 30)
    assert [first.epoch, second.epoch, third.epoch] == [1, 2, 3]
    assert verify(ledger).is_clean


def test_a_lease_past_its_time_is_ours_until_somebody_takes_it(ledger: Ledger, clock: Clock) -> None:
    lease = ledger.acquire_lease("campaign:c1", "p1", 30)
    clock.time += timedelta(seconds=300)
    renewed = ledger.renew_lease(lease)
    assert (renewed.epoch, renewed.expires_at) == (1, clock.time + timedelta(seconds=30))
    clock.time += timedelta(seconds=31)
    taken = ledger.acquire_lease("campaign:c1", "p2", 30)
    with pytest.raises(LeaseLost, match="p2"):
        ledger.renew_lease(renewed)
    ledger.release_lease(renewed)
    assert ledger.lease("campaign:c1") == taken


@pytest.mark.parametrize(
    ("resource", "holder", "ttl"),
    [("x", "p", 1), ("campaign:c", "", 1), ("campaign:c", "p", 0), ("campaign:c", "p", 1e9)],
)
def test_what_makes_no_sense_is_refused(ledger: Ledger, resource: str, holder: str, ttl: float) -> None:
    with pytest.raises(InvalidRecord):
        ledger.acquire_lease(resource, holder, ttl)


TAKER = """
import sys
from athanor.memory.errors import LeaseHeld
from athanor.memory.ledger import Ledger
ledger = Ledger.open(sys.argv[1])
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
try:
    sys.stdout.write(f"{ledger.acquire_lease('instrument:reactor', sys.argv[2], 600).epoch}")
except LeaseHeld:
    sys.stdout.write("held")
"""


def test_of_many_processes_one_takes_the_instrument_and_the_old_holder_is_fenced(
    ledger: Ledger, clock: Clock, make: Maker
) -> None:
    ledger.add_campaign(make.campaign())
    experiment = ledger.add_experiment(make.experiment())
    decision = make.approve(ledger, experiment)
    clock.time -= timedelta(hours=1)
    old = ledger.acquire_lease("instrument:reactor", "frozen", 60)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER, ledger.url, f"p{n}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for n in range(4)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = sorted(process.communicate(timeout=60)[0] for process in processes)
    assert answers == [str(old.epoch + 1), "held", "held", "held"]
    with pytest.raises(LeaseLost, match="stop driving"):
        ledger.commit_intent(experiment.id, decision.id, "reactor", "frozen", old.epoch)
    with pytest.raises(LeaseLost):
        ledger.renew_lease(old)
