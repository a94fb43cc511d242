"""The next point is chosen while an experiment runs: without its outcome, and the same however long that takes."""

from __future__ import annotations

from typing import Any

import pytest

from athanor.agents.campaign import run_campaign
from athanor.agents.planning import PlannerProcess


@pytest.mark.slow
def test_a_campaign_that_looks_ahead_is_the_same_without_the_head_start(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    hurried: list[bool] = []
    ask = PlannerProcess.ask

    def spied(self: PlannerProcess, request: dict[str, Any], *rest: Any) -> dict[str, Any]:
        asked.append(request)
        before = self._coming, self._ready
        answer = ask(self, request, *rest)
        hurried.append(before != (None, None) and self._ready is None)
        return answer

    monkeypatch.setattr(PlannerProcess, "ask", spied)

    def run() -> list[Any]:
        options = {"time_scale": 0}
        campaign_id = bench.open(experiments=9, planner="bayesian", look_ahead=1, reasoner="none", options=options)
        assert run_campaign(campaign_id, bench.ledger) == "succeeded"
        experiments = bench.ledger.experiments(campaign_id)
        said = [str(e.candidate["why"]["detail"]).endswith(f"{e.ordinal - 1}.") for e in experiments]
        assert said == [False] + 8 * [True], "whose outcome was not known"
        return [e.values for e in experiments]

    first, requests = run(), list(asked)
    assert hurried == [False] + 8 * [True], "all but the first had been begun with"
    for number, request in enumerate(requests, start=1):
        told = [item["status"] for item in request["observations"]]
        assert told == (number - 2) * ["completed"] + min(1, number - 1) * ["running"]
    asked.clear()
    hurried.clear()
    monkeypatch.setattr(PlannerProcess, "prepare", lambda *_: None)
    assert run() == first
    assert hurried == 9 * [False]
    assert asked == requests
