from __future__ import annotations

from typing import Any

import pytest

from athanor.agents.reasoners.protocol import Situation
from athanor.agents.reasoners.replay import ReplayMiss, ReplayReasoner


def test_replay_gives_the_same_proposals_and_records(endpoint: Any, make_reasoner: Any, situation: Situation) -> None:
    endpoint.says("garbage", endpoint.Reply("", status=500), endpoint.answer(), endpoint.Reply(stall=True))
    reasoner = make_reasoner(timeout_s=4.0)
    first = reasoner.propose(situation, 2)
    second = reasoner.propose(situation, 1)
    calls = [type(call).model_validate_json(call.model_dump_json()) for call in (*first.calls, *second.calls)]
    replay = ReplayReasoner(calls, settings=reasoner.settings)
    assert replay.propose(situation, 2) == first
    assert replay.propose(situation, 1) == second
    assert replay.caller.unused == 0 and replay.name == reasoner.name
    with pytest.raises(ReplayMiss, match="no recorded call"):
        replay.propose(situation, 2)


def test_replay_of_another_situation_is_an_error(endpoint: Any, make_reasoner: Any, situation: Situation) -> None:
    endpoint.says(endpoint.answer())
    calls = make_reasoner().propose(situation, 2).calls
    with pytest.raises(ReplayMiss):
        ReplayReasoner(calls).propose(situation.model_copy(update={"question": "Another?"}), 2)
    with pytest.raises(ReplayMiss, match="no model call"):
        ReplayReasoner([])
