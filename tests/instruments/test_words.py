from __future__ import annotations

import threading

import pytest

from athanor.instruments.words import FINISHED, TRANSIENT, Refused, Tally
from athanor.memory.transitions import EXPERIMENT


def test_only_refusals_that_concern_the_experiment_are_final() -> None:
    assert Refused("decision.signature", "").final
    assert Refused("latch.engaged", "").final
    assert not Refused("ledger.unavailable", "").final
    assert all(not Refused(code, "").final for code in TRANSIENT)


@pytest.mark.parametrize("state", sorted(FINISHED))
def test_nothing_a_worker_does_follows_a_finished_state(state: str) -> None:
    assert state in EXPERIMENT
    assert not EXPERIMENT[state] & {"running", "dispatched"}


def test_what_says_nothing_of_the_experiment_leaves_it_as_it_is() -> None:
    for code in ("interlock.tripped", "interlock.stale", "interlock.unknown", "writes.off", "config.changed"):
        assert not Refused(code, "").final, code
    for code in ("limit.above", "limit.rate", "limit.unknown"):
        assert Refused(code, "").final, code


def test_refusals_are_counted_from_any_thread() -> None:
    tally = Tally()
    threads = [threading.Thread(target=lambda: [tally.add("b") for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    tally.add("a")
    for thread in threads:
        thread.join()
    assert tally.counts() == {"a": 1, "b": 4000}
