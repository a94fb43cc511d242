"""Replays recorded model calls, bit for bit: the same situations give the same proposals and the same records."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from athanor.agents.reasoners.endpoint import ModelSettings
from athanor.agents.reasoners.language_model import LanguageModelReasoner
from athanor.agents.reasoners.model_call import Attempt, canonical_request, read_completion
from athanor.agents.reasoners.protocol import ModelCallRecord, Proposals, Reasoner, Situation


class ReplayMiss(LookupError):
    """The recording has no such call: situation, prompt or model differ from the recorded ones."""


class RecordedCaller:
    """Answers each request with the recorded attempt for exactly that request, in the order of recording."""

    def __init__(self, calls: Iterable[ModelCallRecord]) -> None:
        self._calls: dict[str, deque[ModelCallRecord]] = defaultdict(deque)
        for call in calls:
            self._calls[call.request_sha256].append(call)

    def call(self, body: dict[str, Any], purpose: str, timeout_s: float) -> Attempt:
        """Give the recorded attempt. Raises ReplayMiss if there is none (left) for this request."""
        key = hashlib.sha256(canonical_request(body).encode()).hexdigest()
        if not self._calls[key]:
            raise ReplayMiss(
                f"no recorded call for {purpose!r} with request {key[:12]}; replay needs the same campaign"
            )
        record = self._calls[key].popleft()
        text = None
        if record.response is not None and record.status in ("ok", "invalid"):
            text, status, _, _ = read_completion(record.response)
            if record.status == "invalid" and status == "ok":
                # What was refused was what the answer said, not how it came: it is judged again from its text.
                record = record.model_copy(update={"status": "ok", "detail": "answered"})
        return Attempt(record, text, _http_status(record))

    def pause(self, seconds: float) -> None:
        """Recorded endpoints need no waiting."""

    @property
    def unused(self) -> int:
        """Recorded calls that were not asked for."""
        return sum(len(queue) for queue in self._calls.values())


class ReplayReasoner:
    """Proposes what a recorded campaign proposed.

    Args:
        calls: the recorded model calls, in order.
        settings: those of the recorded campaign where they differ from the default (attempts, repairs, prices).
        fallback: the fallback of the recorded campaign; default: the statistical reasoner.
    """

    def __init__(
        self, calls: Iterable[ModelCallRecord], settings: ModelSettings | None = None, fallback: Reasoner | None = None
    ) -> None:
        recorded = tuple(calls)
        if settings is None:
            if not recorded:
                raise ReplayMiss("the recording holds no model call, and no settings were given")
            settings = ModelSettings(model=recorded[0].model, base_url=recorded[0].endpoint)
        self.caller = RecordedCaller(recorded)
        self._reasoner = LanguageModelReasoner(settings, fallback, caller=self.caller)

    @property
    def name(self) -> str:
        """The name of the reasoner that was recorded, so that the hypotheses come out the same."""
        return self._reasoner.name

    def propose(self, situation: Situation, limit: int) -> Proposals:
        """Propose again what was proposed then. Raises ReplayMiss where the recording does not fit."""
        return self._reasoner.propose(situation, limit)


def _http_status(record: ModelCallRecord) -> int | None:
    if record.status == "error" and record.detail.startswith("HTTP "):
        return int(record.detail.split()[1])
    return 200 if record.status == "ok" else None
