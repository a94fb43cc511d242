from __future__ import annotations

import pytest
from pydantic import ValidationError

from athanor.agents.hypotheses.claims import Effect
from athanor.agents.reasoners.protocol import Proposal, Proposals, Situation


def test_situations_and_proposals_survive_json(situation: Situation) -> None:
    assert Situation.model_validate_json(situation.model_dump_json()) == situation
    assert situation.parsed_problem().outcomes == ("sty",)
    claim = Effect(outcome="sty", parameter="temperature", low=40.0, high=80.0, direction="increases")
    made = Proposals(
        proposals=(Proposal(kind="effect", statement="S.", rationale="", claim=claim, prior=0.5),), reasoner="x"
    )
    assert Proposals.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize("prior", [0.0, 1.0, float("nan"), 0.995])
def test_nobody_is_certain(prior: float) -> None:
    claim = Effect(outcome="sty", parameter="temperature", low=40.0, high=80.0, direction="increases")
    with pytest.raises(ValidationError):
        Proposal(kind="effect", statement="S.", rationale="", claim=claim, prior=prior)
