"""Who is let in where: every route of the OpenAPI file, for every role and every kind of credential."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from athanor.console.api.app import describe
from athanor.console.api.board import WRITING
from athanor.console.api.campaigns import ExperimentOut
from athanor.console.api.door import (
    COOKIE,
    CSRF,
    KEPT_S,
    KEY,
    MOST_KEYS,
    MOST_OWN,
    OPEN,
    Answers,
    Claim,
    Door,
    GuardedRoute,
    csrf_of,
)
from athanor.console.api.problems import Denied
from athanor.console.pages import ADDRESSES
from athanor.governance.people import IDLE_S, SESSION_S
from athanor.governance.rights import ROLES, SCOPES, Role, Scope, scopes_of
from athanor.instruments.latch import Latch
from tests.console.api.site_rig import PASSWORD, Site, code


def routes() -> Iterator[tuple[str, str, str]]:
    """Method, path and what it needs, of every route."""
    for path, methods in describe(FastAPI()).openapi()["paths"].items():
        for method, route in methods.items():
            yield method.upper(), path, route["x-needs"]


ROUTES = list(routes())
EITHER = {
    (method.upper(), path)
    for path, methods in describe(FastAPI()).openapi()["paths"].items()
    for method, route in methods.items()
    if route.get("x-either")
}
"""Routes whose handler asks for the instrument, since it stands in the body."""
NAMED = [route for route in ROUTES if "{campaign_id}" in route[1]]


def ask(client: TestClient, method: str, path: str, site: Site, campaign: str | None = None) -> Any:
    """Ask with a body that nothing can come of."""
    where = path.format(
        campaign_id=campaign or site.campaign,
        experiment_id=site.experiment.id,
        instrument="snar-flow",
        move_id="none",
        sample="none",
        login="nobody",
        token="none",
        access="none",
        provider="none",
        identity="none",
        notification="none",
        handover_id="none",
        alarm_id=site.alarm if "{alarm_id}" in path else "",
        position=1,
        laboratory="none",
        rehearsal="none",
    )
    if path == "/api/v1/changes":
        # A stream never ends for who may listen: one that cannot begin.
        return client.request(method, where, headers={"Last-Event-ID": "not a number"})
    if path.endswith("/report"):
        with WRITING:  # it would take seconds, and one is written at a time
            return client.request(method, where)
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
        ("GET", "/api/v1/session/providers"),
        ("POST", "/api/v1/session/providers/{provider}/begin"),
        ("POST", "/api/v1/session/providers/{provider}/finish"),
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
        named = ("campaign_id", "experiment_id", "instrument", "alarm_id")
        about_simulated = any(f"{{{name}}}" in path for name in named) or (method, path) in EITHER
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


def credentials(site: Site) -> Iterator[tuple[str, TestClient, str]]:
    """Why a credential holds no more, a client that has it, and the code of the refusal; the clock moves meanwhile."""
    owner = site.desk.people

    def token(life_s: float = 3600.0) -> str:
        return owner.issue("owner", "x", list(SCOPES), life_s, "owner")

    yield "nobody", site.visitor(), "sign_in.needed"
    yield "made up", site.visitor(Authorization="Bearer ath_made-up"), "token.none"
    yield "of another kind", site.visitor(Authorization="Basic b3duZXI6b3duZXI="), "authorization.malformed"
    yield "empty", site.visitor(Authorization="Bearer"), "authorization.malformed"
    secret = "made-up"
    yield "a cookie made up", site.visitor(Cookie=f"{COOKIE}={secret}", **{CSRF: csrf_of(secret)}), "session.none"
    client = site.visitor(Authorization=f"Bearer {token()}")
    owner.end(owner.tokens("owner")[0].id, "owner")
    yield "a revoked token", client, "token.ended"
    client = site.signed_in("owner")
    owner.end(owner.sessions("owner")[-1].id, "owner")
    yield "a revoked session", client, "session.ended"
    client = site.signed_in("owner")
    secret = client.cookies[COOKIE]
    assert client.delete("/api/v1/session").status_code == 204
    client.cookies.set(COOKIE, secret)
    yield "signed out", client, "session.ended"
    client = site.signed_in("scientist")
    owner.set_active("scientist", False, "owner")
    yield "a closed account", client, "session.ended"
    client = site.visitor(Authorization=f"Bearer {token(60.0)}")
    site.now += 60.0
    yield "an expired token", client, "token.ended"
    client = site.signed_in("operator")
    site.now += SESSION_S
    yield "an old session", client, "session.ended"


def test_nothing_opens_without_somebody(site: Site) -> None:
    count = 0
    for name, client, expected in credentials(site):
        count += 1
        for method, path, needs in ROUTES:
            if needs != "nobody":
                answer = ask(client, method, path, site)
                assert answer.status_code == 401 and code(answer) == expected, (name, method, path, answer.text)
                assert answer.headers["www-authenticate"] == "Bearer"
    assert count == 11


def test_no_route_is_beside_the_door(site: Site) -> None:
    beside = {
        getattr(route, "path", str(route)) for route in flat(site.app.routes) if not isinstance(route, GuardedRoute)
    }
    public = {"/api/v1/openapi.json", "/static/{name}", *ADDRESSES}
    assert beside == public, "none of which says anything of this site"
    shown = {(method, path) for method, path, _ in ROUTES}
    found = {
        (method, route.path)
        for route in flat(site.app.routes)
        if isinstance(route, GuardedRoute)
        for method in route.methods or ()
    }
    assert found == shown


def flat(routes: Any) -> Iterator[Any]:
    for route in routes:
        inner = getattr(getattr(route, "original_router", None), "routes", None)
        if inner is None:
            yield route
        else:
            yield from flat(inner)


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
    assert client.post("/api/v1/stop-all").status_code == 200
    new = {"old": given, "new": PASSWORD}
    assert client.post("/api/v1/session/password", json=new).status_code == 204
    assert client.get("/api/v1/people").status_code == 200


def test_an_idle_session_stops_and_does_nothing_else(site: Site) -> None:
    client = site.signed_in("observer")
    site.now += IDLE_S
    for method, path, needs in ROUTES:
        if needs not in ("nobody", "stop"):
            assert code(ask(client, method, path, site)) == "session.idle", (method, path)
    assert client.post("/api/v1/stop-all").status_code == 200
    assert client.get("/api/v1/session").json()["is_only_stopping"]


def test_a_change_by_cookie_needs_what_only_our_own_pages_know(site: Site) -> None:
    client = site.signed_in("owner")
    right = client.headers.pop(CSRF)
    for wrong in (None, "", right[:-1], site.signed_in("owner").headers[CSRF], "é"):
        headers = {} if wrong is None else {CSRF: wrong.encode()}
        answer = client.post(f"/api/v1/campaigns/{site.campaign}/pause", headers=headers)  # type: ignore[arg-type]
        assert code(answer) == "csrf"
        assert client.post("/api/v1/stop-all", headers=headers).status_code == 200  # type: ignore[arg-type]
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
    for number in range(MOST_KEYS):
        assert answers.claim(Claim(f"p{number % 20}", f"k{number}", "POST", "/x", b"{}")) is None
    assert answers.claim(claim) is None, "so many are kept, and no more"


def test_nobody_s_keys_are_lost_to_somebody_else_s() -> None:
    answers = Answers()
    mine, first, second = (
        Claim(who, key, "POST", "/x", b"") for who, key in (("ada", "k"), ("bob", "0"), ("bob", "1"))
    )
    for claim in (mine, first, second):
        assert answers.claim(claim) is None
        answers.keep(claim, 200, claim.key)
    for number in range(2, MOST_OWN + 1):
        assert answers.claim(Claim("bob", str(number), "POST", "/x", b"")) is None
    assert answers.claim(mine) == (200, mine.key) and answers.claim(second) == (200, second.key)
    assert answers.claim(first) is None, "their own oldest goes first"


def test_large_answers_are_forgotten_and_their_changes_not_made_again() -> None:
    answers = Answers(most_bytes=10_000)
    claims = [Claim("ada", str(number), "POST", "/x", b"") for number in range(30)]
    for claim in claims:
        assert answers.claim(claim) is None
        answers.keep(claim, 200, "x" * 1000)
        assert answers.size <= 10_000
    assert answers.claim(claims[-1]) == (200, "x" * 1000)
    again = answers.claim(claims[0])
    assert again is not None and again[0] == 409 and "idempotency.unknown" in again[1]
    answers.claim(last := Claim("ada", "large", "POST", "/x", b""))
    answers.keep(last, 200, "x" * 20_000)
    assert answers.size <= 10_000 and (answers.claim(last) or (0,))[0] == 409
    for claim in (*claims, last):
        answers.forget(claim)
    assert answers.size == 0


def test_what_changes_nothing_is_not_kept(site: Site) -> None:
    client = site.signed_in("owner")
    pure = {
        "/api/v1/campaigns/draft": {"profile": "none.yaml"},
        "/api/v1/campaigns/check": {"yaml": "a: 1"},
        "/api/v1/campaigns/compose": {"yaml": "a: 1", "changes": [{"path": ["a"], "value": 2}]},
        f"/api/v1/experiments/{site.experiment.id}/edit/check": {
            "revision": site.experiment.revision,
            "values": site.experiment.values,
        },
        f"/api/v1/campaigns/{site.campaign}/approve-batch/check": {
            "revisions": [{"experiment": site.experiment.id, "revision": site.experiment.revision}],
            "envelope": {"temperature": [0, 100]},
            "max_experiments": 1,
        },
        "/api/v1/instruments/snar-flow/moves/preview": {"targets": {"temperature": 60.0}},
    }
    told = {}
    for path, body in pure.items():
        for _ in range(2):
            answer = client.post(path, json=body, headers={KEY: "one"})
            assert "idempotent-replay" not in answer.headers
            told[path] = (answer.status_code, answer.text[:200])
    assert not site.desk.answers._kept, told
    marked = {
        path for path, route in site.app.openapi()["paths"].items() if any(one.get("x-pure") for one in route.values())
    }
    assert len(marked) == len(pure)


def test_a_stop_is_given_as_often_as_it_is_asked_for(site: Site) -> None:
    client = site.signed_in("observer")
    for _ in range(2):
        for key in ("e-stop", "x" * 500):
            assert client.post("/api/v1/stop-all", headers={KEY: key}).status_code == 200
            assert Latch(site.place).read().engaged
            Latch(site.place).reset("test", "ada")


def test_a_secret_is_told_once(site: Site) -> None:
    client = site.signed_in("owner")
    asked = {"label": "x", "scopes": ["read"]}
    tokens = {client.post("/api/v1/tokens", json=asked, headers={KEY: "k"}).json()["token"] for _ in range(2)}
    assert len(tokens) == 2
    program = site.program("owner", *SCOPES)
    for method, path, body in (
        ("POST", "/api/v1/tokens", asked),
        ("DELETE", f"/api/v1/tokens/{site.desk.people.tokens()[0].id}", None),
        ("POST", "/api/v1/people", {"login": "eve", "name": "Eve", "role": "owner"}),
        ("PATCH", "/api/v1/people/observer", {"role": "owner"}),
        ("POST", "/api/v1/people/owner/password", None),
        ("DELETE", "/api/v1/people/owner/second-factor", None),
    ):
        assert code(program.request(method, path, json=body, headers={KEY: "k"})) == "session.needed", path


def test_what_nobody_knows_the_end_of_is_not_made_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = site.signed_in("scientist")
    where = f"/api/v1/campaigns/{site.campaign}/experiments"
    body = {"values": site.experiment.values}

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("after it was stored")

    with monkeypatch.context() as patch:
        patch.setattr(ExperimentOut, "of", broken)
        assert client.post(where, json=body, headers={KEY: "k"}).status_code == 500
    assert code(client.post(where, json=body, headers={KEY: "k"})) == "idempotency.unknown"
    assert len(site.ledger.experiments(site.campaign)) == 2
