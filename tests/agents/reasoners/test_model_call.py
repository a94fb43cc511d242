from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from athanor.agents.reasoners.model_call import LiveCaller, estimate_tokens, read_completion, read_usage
from athanor.agents.reasoners.protocol import Situation


def test_a_calling_process_that_dies_is_an_error_and_comes_back(
    endpoint: Any, make_reasoner: Any, caller: LiveCaller, situation: Situation
) -> None:
    endpoint.says(endpoint.answer())
    reasoner = make_reasoner()
    assert reasoner.propose(situation, 2).fallback is None
    process = caller._process
    assert process is not None
    process.kill()
    process.wait()
    assert reasoner.propose(situation, 2).fallback is None


def test_a_frozen_calling_process_is_ended_in_time(
    endpoint: Any, make_reasoner: Any, caller: LiveCaller, situation: Situation
) -> None:
    endpoint.says(endpoint.answer())
    assert make_reasoner().propose(situation, 2).fallback is None
    process = caller._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    result = make_reasoner(timeout_s=0.3).propose(situation, 2)
    assert [call.status for call in result.calls] == ["timeout"] and result.fallback is not None
    assert process.poll() is not None, "the frozen process was left behind"


@pytest.mark.parametrize(
    "usage",
    [None, [], "many", {"prompt_tokens": "5", "completion_tokens": 1}, {"prompt_tokens": -1, "completion_tokens": 1}],
)
def test_nonsense_usage_is_no_usage(usage: object) -> None:
    assert read_usage({"usage": usage}) is None


@pytest.mark.parametrize("raw", ["", "{", "[]", "{}", '{"choices": []}', '{"choices": [null]}', "[" * 50_000])
def test_anything_but_a_completion_is_invalid(raw: str) -> None:
    text, status, _, usage = read_completion(raw)
    assert (text, status, usage) == (None, "invalid", None)


def test_tokens_are_estimated_upwards() -> None:
    assert estimate_tokens({"messages": [{"content": "abcd"}, {"content": ""}]}) == 2
