"""What came of an experiment: its documents, or a person's signed word; a forged word counts for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from athanor.agents.doubt import settle
from athanor.memory.canonical import canonical, parse
from tests.agents.test_doubt import BEGUN, Case, case_fixture, reading  # noqa: F401 - fixture


def test_outcomes_that_the_gate_has_not_signed_count_for_nothing(case: Case) -> None:
    experiment = case.doubtful(BEGUN)
    decision = settle(case.ledger, case.gate, experiment, "completed", "r", {"sty": {"mean": 7.0, "sem": None}})
    body = parse(decision.body)
    body["outcomes"]["sty"]["mean"] = 9e9
    case.alter("UPDATE decision SET body = ? WHERE id = ?", canonical(body), decision.id)
    observed = case.observe(experiment)
    assert observed.outcomes == {} and observed.status == "failed" and "signature" in str(observed.reason)


@pytest.mark.parametrize("state", ["failed", "aborted", "not_started"])
def test_any_other_answer_has_no_outcomes(case: Case, state: Any) -> None:
    experiment = case.doubtful([*BEGUN, reading(1, 4000.0)])
    settle(case.ledger, case.gate, experiment, state, "looked")
    assert case.observe(experiment).outcomes == {}
