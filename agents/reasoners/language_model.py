"""The reasoner that asks a language model, and never depends on one.

A model's answer is raw material: it is recorded, validated field by field, sent back at most twice with what is wrong
with it, and where that does not help the statistical reasoner takes the step and the record says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from athanor.agents import prompts
from athanor.agents.reasoners.endpoint import ModelSettings
from athanor.agents.reasoners.model_call import Attempt, Caller, LiveCaller, estimate_tokens
from athanor.agents.reasoners.protocol import ModelCallRecord, Proposal, Proposals, Reasoner, Remaining, Situation
from athanor.agents.reasoners.replies import InvalidReply, parse_reply, reply_schema
from athanor.agents.reasoners.statistical import StatisticalReasoner

if TYPE_CHECKING:
    from athanor.planners.problem import Problem

PURPOSE = "propose hypotheses"
LEAST_ANSWER = 200
"""Tokens that must be left for an answer; below that the model is not asked."""

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
UNSUPPORTED = frozenset({400, 415, 422, 501})
ECHO = 4000
"""Characters of a refused answer that are shown to the model again."""


class Dialect(NamedTuple):
    """How to write a request: what the length limit is called, and what else an endpoint may understand."""

    length: str
    extra: dict[str, Any]


DIALECTS = (
    Dialect("max_tokens", {"temperature": 0.0, "response_format": {"type": "json_object"}}),
    Dialect("max_tokens", {"temperature": 0.0}),
    Dialect("max_completion_tokens", {}),
)
"""Tried in this order: an endpoint that refuses a request as unsupported is asked in the next one from then on."""


class _NoAnswer(Exception):
    """The model gave no usable answer; the message says why."""


class LanguageModelReasoner:
    """Asks a model behind an OpenAI-compatible endpoint for typed hypotheses.

    Args:
        settings: the endpoint; see `ModelSettings.from_environment`.
        fallback: takes the step where the model does not; default: the statistical reasoner.
        should_cancel: asked while waiting; true abandons the call with `ReasoningCancelled`.
        caller: asks the model; default: the live endpoint through a child process.
    """

    def __init__(
        self,
        settings: ModelSettings,
        fallback: Reasoner | None = None,
        should_cancel: Callable[[], bool] | None = None,
        caller: Caller | None = None,
    ) -> None:
        self.settings = settings
        self.fallback = fallback if fallback is not None else StatisticalReasoner()
        self.should_cancel: Callable[[], bool] = should_cancel or (lambda: False)
        self._caller = caller or LiveCaller(settings, self._is_cancelled)
        self._dialect = 0

    @property
    def name(self) -> str:
        """`language-model:` and the model's name."""
        return f"language-model:{self.settings.model}"

    def _is_cancelled(self) -> bool:
        return self.should_cancel()

    def close(self) -> None:
        """End the process that talks to the endpoint."""
        if isinstance(self._caller, LiveCaller):
            self._caller.close()

    def propose(self, situation: Situation, limit: int) -> Proposals:
        """Propose at most `limit` hypotheses; whatever the model does, there is an answer.

        Raises:
            ReasoningCancelled: `should_cancel` turned true while waiting.
        """
        calls: list[ModelCallRecord] = []
        problem = situation.parsed_problem()
        try:
            proposals = self._ask(situation, problem, limit, calls)
        except _NoAnswer as why:
            instead = self.fallback.propose(situation, limit)
            return Proposals(
                proposals=instead.proposals, calls=tuple(calls), fallback=str(why), reasoner=instead.reasoner
            )
        return Proposals(proposals=proposals, calls=tuple(calls), reasoner=self.name)

    def _ask(
        self, situation: Situation, problem: Problem, limit: int, calls: list[ModelCallRecord]
    ) -> tuple[Proposal, ...]:
        if situation.base_point is None:
            raise _NoAnswer("there is no point yet around which to state a claim")
        # Foreign words in the prompt may have shaped every part of the answer: all of it carries their mark.
        tainted = bool(situation.instrument_notes) or any(item.tainted for item in situation.memory)
        text = prompts.situation_text(situation, problem, limit, reply_schema(problem, limit))
        messages = [{"role": "system", "content": prompts.rules()}, {"role": "user", "content": text}]
        wrong = ""
        for _ in range(1 + self.settings.repairs):
            attempt = self._attempt(messages, situation, calls)
            if attempt.text is not None:
                try:
                    return parse_reply(attempt.text, situation, problem, limit, tainted)
                except InvalidReply as error:
                    wrong = str(error)
                    calls[-1] = attempt.record.model_copy(update={"status": "invalid", "detail": wrong})
                    messages.append({"role": "assistant", "content": attempt.text[:ECHO]})
            elif attempt.record.status == "invalid":
                wrong = attempt.record.detail
            else:
                raise _NoAnswer(f"the model gave no answer: {attempt.record.detail}")
            messages.append({"role": "user", "content": prompts.repair_text(wrong)})
        raise _NoAnswer(f"the model's answer stayed invalid after {self.settings.repairs} repairs: {wrong}")

    def _attempt(self, messages: list[dict[str, str]], situation: Situation, calls: list[ModelCallRecord]) -> Attempt:
        """Ask until there is an answer to read, within the bounds on tries; every try is recorded."""
        tries = 0
        while True:
            body = self._body(messages)
            self._check_budget(body, situation.remaining, calls)
            attempt = self._caller.call(body, PURPOSE, self._timeout(situation.remaining, calls))
            calls.append(attempt.record)
            if attempt.http_status in UNSUPPORTED and self._dialect + 1 < len(DIALECTS):
                self._dialect += 1
                continue
            tries += 1
            is_passing = attempt.record.status == "error" and (
                attempt.http_status is None or attempt.http_status in RETRIED
            )
            if not is_passing or tries >= self.settings.attempts:
                return attempt
            wait = self.settings.first_wait_s * 2 ** (tries - 1) if attempt.wait_s is None else attempt.wait_s
            self._caller.pause(min(wait, self.settings.longest_wait_s))

    def _body(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        dialect = DIALECTS[self._dialect]
        return {
            "model": self.settings.model,
            "messages": [dict(message) for message in messages],
            dialect.length: self.settings.max_tokens,
            **dialect.extra,
        }

    def _check_budget(self, body: dict[str, Any], remaining: Remaining, calls: list[ModelCallRecord]) -> None:
        """Refuse the call if it could overdraw a budget; with few tokens left a shorter answer is asked for."""
        prompt, length = estimate_tokens(body), DIALECTS[self._dialect].length
        if remaining.tokens is not None:
            left = remaining.tokens - sum(call.tokens_in + call.tokens_out for call in calls) - prompt
            if left < LEAST_ANSWER:
                raise _NoAnswer("the token budget does not cover another call")
            body[length] = min(body[length], left)
        cost = self.settings.cost(prompt, body[length])
        if remaining.cost is not None and cost is not None:
            spent = math.fsum(call.cost or 0.0 for call in calls)
            if spent + cost > remaining.cost:
                raise _NoAnswer("the cost budget does not cover another call")
        if remaining.seconds is not None and remaining.seconds - sum(call.seconds for call in calls) <= 1.0:
            raise _NoAnswer("the wall time budget does not cover another call")

    def _timeout(self, remaining: Remaining, calls: list[ModelCallRecord]) -> float:
        if remaining.seconds is None:
            return self.settings.timeout_s
        return min(self.settings.timeout_s, remaining.seconds - sum(call.seconds for call in calls))
