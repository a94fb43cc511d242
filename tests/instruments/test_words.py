from __future__ import annotations

import pytest

from athanor.instruments.words import FINISHED, TRANSIENT, Refused
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
