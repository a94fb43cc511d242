"""What nobody meant to send: Schemathesis makes up, for every route of the OpenAPI file, what fits and what does not.

No answer may be a server's error, and every refusal is of the one shape. Half of the paths name what is really there,
so that what is made up reaches the handlers and not only the door.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from athanor.console.api.problems import Problem
from athanor.memory.records import Hypothesis
from tests.console.api.site_rig import HOST, Site

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode

LEFT_OUT = {
    ("GET", "/api/v1/changes"): "a stream does not end; test_live.py reads it",
    ("DELETE", "/api/v1/session"): "signs out whoever asks for everything else; asked for at the end",
    ("POST", "/api/v1/stop-all"): "latches the instrument, after which most is refused; asked for at the end",
}
MADE_UP_ALONE = {
    ("GET", "/api/v1/campaigns/{campaign_id}/report"): "writes a report, in a process of its own, each time",
    ("POST", "/api/v1/instruments/{instrument}/connect"): "starts the instrument's processes",
    ("PATCH", "/api/v1/people/{login}"): "closes the account that the others are asked about",
    ("DELETE", "/api/v1/sessions/{access}"): "ends the session with which everything else is asked",
}
BUSY = frozenset({"ledger.busy", "file.busy", "report.busy"})
"""Codes of 503: not an error of the server's, but a word about when to ask again."""


@pytest.fixture(scope="module")
def file() -> Any:
    from fastapi import FastAPI

    from athanor.console.api.app import describe

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = schemathesis.openapi.from_dict(describe(FastAPI()).openapi())
    loaded.config.update(base_url=f"http://{HOST}")
    return loaded


class Asked:
    """A site, somebody who may do everything, and what came of what was asked."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.client = site.signed_in("owner")
        self.answers: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []
        sample = self.client.post("/api/v1/samples", json={"id": "s1", "label": "one"})
        stock = self.client.post("/api/v1/stock", json={"name": "ethanol", "amount": 1.0, "unit": "L"})
        handover = self.client.post("/api/v1/handovers", json={})
        site.ledger.add_hypothesis(
            Hypothesis(
                id=f"{site.campaign}.H1",
                campaign_id=site.campaign,
                ordinal=1,
                kind="effect",
                statement="heat helps",
                rationale="",
                claim={},
                proposer="test",
                prior=0.5,
            )
        )
        self.there = {
            "campaign_id": site.campaign,
            "experiment_id": site.experiment.id,
            "instrument": "snar-flow",
            "login": "observer",
            "position": 1,
            "alarm_id": site.alarm,
            "handover_id": handover.json().get("id", "none"),
            "sample": sample.json().get("id", "none"),
            "after": site.experiment.id,
        }
        self.notes = [answer.text for answer in (sample, stock, handover) if answer.status_code >= 400]

    def ask(self, case: Any, is_there: bool) -> None:
        route = (case.method.upper(), case.path)
        if is_there and route not in MADE_UP_ALONE:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = self.there.get(name, case.path_parameters[name])
            if isinstance(case.body, dict) and "revision" in case.body:
                case.body["revision"] = self.site.experiment.revision
        given = {k: v for k, v in case.as_transport_kwargs().items() if v is not None and k != "cookies"}
        given["headers"] = {
            k: v for k, v in (given.get("headers") or {}).items() if k.lower() in ("content-type", "accept")
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = self.client.request(given.pop("method"), given.pop("url"), **given)
        self.judge(route, answer, case)

    def judge(self, route: tuple[str, str], answer: Any, case: Any) -> None:
        status = answer.status_code
        self.answers[" ".join(route), status] += 1
        code = ""
        if status >= 400:
            try:
                code = Problem.model_validate_json(answer.content).code
            except ValueError:
                self.wrong.append(f"{route} {status}: not a problem: {answer.text[:300]}")
        if status >= 500 and not (status == 503 and code in BUSY):
            self.wrong.append(
                f"{route} {status} {answer.text[:300]} for {case.path_parameters} {case.query} {case.body!r:.500}"
            )
        if status == 401 and route[1] != "/api/v1/session":
            self.client = self.site.signed_in("owner")


def operations(file: Any) -> Iterator[Any]:
    for found in file.get_all_operations():
        operation = found.ok()
        if (operation.method.upper(), operation.path) not in LEFT_OUT:
            yield operation


def fuzz(file: Any, site: Site, examples: int) -> Asked:
    asked = Asked(site)
    for operation in operations(file):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                strategy = operation.as_strategy(generation_mode=mode)
            except Exception as error:  # noqa: BLE001 - nothing of this kind can be made for some routes
                asked.notes.append(f"{operation.method} {operation.path}: {error}")
                continue

            @given(case=strategy, is_there=st.booleans())
            @settings(
                max_examples=examples,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def one(case: Any, is_there: bool) -> None:
                asked.ask(case, is_there)

            with contextlib.suppress(Unsatisfiable):  # nothing is wrong with what has no parameter and no body
                one()
    return asked


def check(asked: Asked, file: Any) -> None:
    assert not asked.wrong, f"{len(asked.wrong)} of {sum(asked.answers.values())}:\n" + "\n".join(asked.wrong[:20])
    routes = {f"{operation.method.upper()} {operation.path}" for operation in operations(file)}
    asked_for = {route for route, _ in asked.answers}
    assert asked_for == routes, routes - asked_for
    reached = {route for route, status in asked.answers if status < 400}
    assert len(reached) > len(routes) / 3, "what is made up reaches the handlers"
    for path, body in (("/api/v1/stop-all", b"{"), ("/api/v1/stop-all", b'{"reason": 3, "instrument": []}')):
        assert asked.client.post(path, content=body).status_code < 500
    assert asked.client.post("/api/v1/stop-all").status_code == 200
    assert asked.client.delete("/api/v1/session").status_code == 204


EXAMPLES = int(os.environ.get("ATHANOR_FUZZ_EXAMPLES", "6"))
"""Of each route and kind; 40 take some minutes."""


@pytest.mark.slow
def test_nothing_that_is_sent_is_an_error_of_the_server(file: Any, site: Site) -> None:
    check(fuzz(file, site, EXAMPLES), file)
