"""Who is let in where: every route of the OpenAPI file, for every role and every kind of credential."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from starlette.testclient import TestClient

from athanor.console.api.app import describe
from athanor.console.api.door import CSRF, KEPT_S, KEY, OPEN, Answers, Claim, Door
from athanor.console.api.problems import Denied
from athanor.governance.people import IDLE_S, SESSION_S
from athanor.governance.rights import ROLES, SCOPES, Role, Scope, scopes_of
from tests.console.api.site_rig import PASSWORD, Site, code


def routes() -> Iterator[tuple[str, str, str]]:
    """Method, path and what it needs, of every route."""
    from fastapi import FastAPI

    for path, methods in describe(FastAPI()).openapi()["paths"].items():
        for method, route in methods.items():
            yield method.upper(), path, route["x-needs"]


ROUTES = list(routes())
NAMED = [route for route in ROUTES if "{campaign_id}" in route[1]]


def ask(client: TestClient, method: str, path: str, site: Site, campaign: str | None = None) -> Any:
    """Ask with a body that nothing can come of."""
    where = path.format(
        campaign_id=campaign or site.campaign,
        experiment_id=site.experiment.id,
        instrument="snar-flow",
        login="nobody",
        token="none",
        access="none",
    )
    if path == "/api/v1/changes":
        # A stream never ends for who may listen: one that cannot begin.
        return client.request(method, where, headers={"Last-Event-ID": "not a number"})
    if path == "/api/v1/stop-all":
        return client.request(method, where, json={"instrument": "no-such"})
    return client.request(method, where, json={"nothing": "of this"} if method not in ("GET", "DELETE") else None)


def is_denied(answer: Any) -> bool:
    return answer.status_code in (401, 403)


def test_every_route_says_what_it_needs() -> None:
    assert len(ROUTES) > 30
    assert {needs for _, _, needs in ROUTES} <= OPEN | set(get_args(Scope))
    assert {(method, path) for method, path, needs in ROUTES if needs == "nobody"} == {
        ("POST", "/api/v1/session"),
        ("GET", "/api/v1/health"),
    }
    assert [path for method, path, needs in ROUTES if needs == "stop" and method == "POST"] == ["/api/v1/stop-all"]
    with pytest.raises(TypeError, match="does not say"):
        Door("x").get("/open")(lambda: None)


@pytest.mark.parametrize("role", ROLES)
def test_a_session_opens_what_its_role_may(site: Site, role: Role) -> None:
    client = site.signed_in(role)
    for method, path, needs in ROUTES:
        if (method, path) == ("DELETE", "/api/v1/session"):
            continue
        about_simulated = "{" in path and "login" not in path and "token" not in path and "access" not in path
        may = needs in OPEN or needs in scopes_of(role, simulated=about_simulated)
        answer = ask(client, method, path, site)
        if needs == "nobody":
            continue
        assert is_denied(answer) != may, (role, method, path, needs, answer.text)
        if not may:
            assert code(answer) == "scope.missing"
        assert answer.status_code < 500, (method, path, answer.text)


@pytest.mark.parametrize("role", ROLES)
def test_on_a_real_instrument_simulation_s_rights_are_none(site: Site, role: Role) -> None:
    client = site.signed_in(role)
    for method, path, needs in NAMED:
        answer = ask(client, method, path, site, campaign=site.real)
        may = needs in scopes_of(role, simulated=False)
        assert is_denied(answer) != may, (role, method, path, needs, answer.text)


def test_nothing_opens_without_somebody(site: Site) -> None:
    secret = site.desk.people.issue("owner", "x", list(SCOPES), 60.0, "owner")
    visitors = {
        "nobody": site.visitor(),
        "made up": site.visitor(Authorization="Bearer ath_made-up"),
        "malformed": site.visitor(Authorization="Basic b3duZXI6b3duZXI="),
        "empty": site.visitor(Authorization="Bearer"),
        "cookie made up": site.visitor(Cookie="athanor-session=made-up"),
        "expired": site.visitor(Authorization=f"Bearer {secret}"),
    }
    site.now += 60.0
    revoked = site.desk.people.issue("owner", "y", list(SCOPES), 60.0, "owner")
    visitors["revoked"] = site.visitor(Authorization=f"Bearer {revoked}")
    site.desk.people.end(site.desk.people.tokens("owner")[0].id, "owner")
    out, closed = site.signed_in("owner"), site.signed_in("scientist")
    out.delete("/api/v1/session")
    visitors["closed account"] = closed
    site.desk.people.set_active("scientist", False, "owner")
    old = site.signed_in("operator")
    visitors["ended"] = old
    site.now += SESSION_S
    for method, path, needs in ROUTES:
        if needs == "nobody":
            continue
        for name, client in visitors.items():
            answer = ask(client, method, path, site)
            assert is_denied(answer), (name, method, path, answer.text)


def test_a_token_opens_no_more_than_its_scopes(site: Site) -> None:
    client = site.program("owner", "read")
    for method, path, needs in ROUTES:
        answer = ask(client, method, path, site)
        if needs in SCOPES:
            assert is_denied(answer) == (needs != "read"), (method, path, answer.text)
    # It makes no further token, and changes neither password nor second factor.
    wide = site.program("owner", *SCOPES)
    token = wide.post("/api/v1/tokens", json={"label": "x", "scopes": ["read"]})
    password = wide.post("/api/v1/session/password", json={"old": PASSWORD, "new": "a kettle full of rain"})
    factor = wide.post("/api/v1/session/second-factor")
    assert [code(answer) for answer in (token, password, factor)] == ["session.needed"] * 3


def test_a_password_given_out_opens_its_change_and_stop_all_alone(site: Site) -> None:
    given = site.desk.people.add("ada", "Ada", "owner", "setup")
    client = site.signed_in("ada", given)
    for method, path, needs in ROUTES:
        if needs in ("nobody", "own", "stop"):
            continue
        assert code(ask(client, method, path, site)) == "password.given_out", (method, path)
    assert ask(client, "POST", "/api/v1/stop-all", site).status_code == 200
    new = {"old": given, "new": PASSWORD}
    assert client.post("/api/v1/session/password", json=new).status_code == 204
    assert client.get("/api/v1/people").status_code == 200


def test_an_idle_session_stops_and_does_nothing_else(site: Site) -> None:
    client = site.signed_in("observer")
    site.now += IDLE_S
    for method, path, needs in ROUTES:
        if needs not in ("nobody", "stop"):
            assert code(ask(client, method, path, site)) == "session.idle", (method, path)
    assert ask(client, "POST", "/api/v1/stop-all", site).status_code == 200
    assert client.get("/api/v1/session").json()["is_only_stopping"]


def test_a_change_by_cookie_needs_what_only_our_own_pages_know(site: Site) -> None:
    client = site.signed_in("owner")
    right = client.headers.pop(CSRF)
    for wrong in (None, "", right[:-1], site.signed_in("owner").headers[CSRF], "é"):
        headers = {} if wrong is None else {CSRF: wrong.encode()}
        answer = client.post("/api/v1/stop-all", headers=headers)  # type: ignore[arg-type]
        assert code(answer) == "csrf"
    assert client.get("/api/v1/campaigns").status_code == 200
    assert client.get("/api/v1/session").json()["csrf"] == right


def test_what_was_refused_is_in_the_audit(site: Site) -> None:
    client = site.signed_in("observer")
    assert code(client.get("/api/v1/people")) == "scope.missing"
    assert site.told("api_refused") == [{"login": "observer", "needs": "people.manage", "path": "/api/v1/people"}]


# -- the same change twice --------------------------------------------------------------------------------------------


def test_the_same_key_makes_one_change(site: Site) -> None:
    client = site.signed_in("scientist")
    where = f"/api/v1/campaigns/{site.campaign}/experiments"
    body = {"values": site.experiment.values}
    first = client.post(where, json=body, headers={KEY: "one"})
    again = client.post(where, json=body, headers={KEY: "one"})
    assert first.status_code == again.status_code == 201 and first.json() == again.json()
    assert "idempotent-replay" not in first.headers and again.headers["idempotent-replay"] == "true"
    other = {"values": {**site.experiment.values, "temperature": 70.0}}
    assert code(client.post(where, json=other, headers={KEY: "one"})) == "idempotency.reused"
    assert code(client.post(where, json=other, headers={KEY: "x" * 201})) == "idempotency.key"
    mine = site.signed_in("owner").post(where, json=body, headers={KEY: "one"})
    assert mine.json()["id"] != first.json()["id"], "another person's key is another key"
    assert len(site.ledger.experiments(site.campaign)) == 3


def test_what_was_not_done_may_be_tried_again_with_the_same_key(site: Site) -> None:
    client = site.signed_in("scientist")
    where = f"/api/v1/experiments/{site.experiment.id}/reject"
    wrong = client.post(where, json={"revision": "0" * 64, "reason": "no"}, headers={KEY: "k"})
    assert code(wrong) == "revision.stale"
    right = {"revision": site.experiment.revision, "reason": "no"}
    assert client.post(where, json=right, headers={KEY: "k"}).status_code == 201


def test_rights_are_asked_before_an_answer_is_given_again(site: Site) -> None:
    client = site.signed_in("scientist")
    where = f"/api/v1/campaigns/{site.campaign}/experiments"
    body = {"values": site.experiment.values}
    assert client.post(where, json=body, headers={KEY: "one"}).status_code == 201
    site.desk.people.set_role("scientist", "observer", "owner")
    assert code(client.post(where, json=body, headers={KEY: "one"})) == "scope.missing"


def test_answers_are_kept_for_a_day_and_one_is_made_at_a_time() -> None:
    now = 0.0
    answers = Answers(lambda: now)
    claim = Claim("ada", "k", "POST", "/x", b"{}")
    assert answers.claim(claim) is None
    with pytest.raises(Denied, match="being made"):
        answers.claim(claim)
    answers.keep(claim, 200, "done")
    assert answers.claim(claim) == (200, "done")
    now = KEPT_S + 1
    assert answers.claim(claim) is None
    answers.keep(claim, 503, "later")
    assert answers.claim(claim) is None, "what says to try again is not kept"
