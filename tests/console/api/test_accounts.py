"""Accounts over HTTP."""

from __future__ import annotations

import pyotp

from athanor.console.api.door import COOKIE, CSRF
from athanor.governance.people import STEP_S
from tests.console.api.site_rig import PASSWORD, Site, code

NEW = "a kettle full of rain"


def test_sign_in_sets_a_cookie_that_no_script_reads(site: Site) -> None:
    client = site.visitor()
    answer = client.post("/api/v1/session", json={"login": "owner", "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=") and "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert client.cookies[COOKIE] not in answer.text
    me = client.get("/api/v1/session").json()
    assert me["person"]["login"] == "owner" and "people.manage" in me["scopes"]
    client.headers[CSRF] = me["csrf"]
    assert client.delete("/api/v1/session").status_code == 204
    assert code(client.get("/api/v1/session")) in ("sign_in.needed", "session.ended")


def test_wrong_sign_ins_all_look_alike_and_then_wait(site: Site) -> None:
    client = site.visitor()
    answers = [
        client.post("/api/v1/session", json={"login": login, "password": "wrong"}) for login in ("owner", "nobody")
    ]
    assert answers[0].status_code == 401 and answers[0].json() == answers[1].json()
    for _ in range(4):
        client.post("/api/v1/session", json={"login": "owner", "password": "wrong"})
    answer = client.post("/api/v1/session", json={"login": "owner", "password": PASSWORD})
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1


def test_a_second_factor_from_set_up_to_loss(site: Site) -> None:
    client = site.signed_in("operator")
    begun = client.post("/api/v1/session/second-factor", json={"password": PASSWORD}).json()
    totp = pyotp.TOTP(begun["secret"])
    wrong = client.post("/api/v1/session/second-factor/confirm", json={"code": "abc"})
    assert (wrong.status_code, code(wrong)) == (422, "second_factor.wrong")
    confirmed = client.post("/api/v1/session/second-factor/confirm", json={"code": totp.at(int(site.now))})
    assert len(confirmed.json()["codes"]) == 8
    login = {"login": "operator", "password": PASSWORD}
    assert code(site.visitor().post("/api/v1/session", json=login)) == "second_factor.needed"
    site.now += STEP_S
    by_code = site.visitor().post("/api/v1/session", json={**login, "code": totp.at(int(site.now))})
    assert by_code.status_code == 200 and by_code.json()["person"]["has_second_factor"]
    assert site.signed_in("owner").delete("/api/v1/people/operator/second-factor").status_code == 204
    assert site.visitor().post("/api/v1/session", json=login).status_code == 200


def test_an_owner_keeps_the_people(site: Site) -> None:
    owner = site.signed_in("owner")
    made = owner.post("/api/v1/people", json={"login": "ada", "name": "Ada", "role": "observer"})
    assert made.status_code == 201
    ada = site.signed_in("ada", made.json()["password"])
    changed = ada.post("/api/v1/session/password", json={"old": made.json()["password"], "new": NEW})
    assert changed.status_code == 204
    assert owner.patch("/api/v1/people/ada", json={"role": "scientist"}).json()["role"] == "scientist"
    assert "experiment.decide" in ada.get("/api/v1/session").json()["scopes"]
    listed = {person["login"] for person in owner.get("/api/v1/people").json()}
    assert "ada" in listed
    [session] = [access for access in owner.get("/api/v1/sessions").json() if access["login"] == "ada"]
    assert owner.delete(f"/api/v1/sessions/{session['id']}").status_code == 204
    assert code(ada.get("/api/v1/campaigns")) == "session.ended"
    assert owner.patch("/api/v1/people/ada", json={"is_active": False}).json()["is_active"] is False
    refused = owner.patch("/api/v1/people/owner", json={"role": "observer"})
    assert (refused.status_code, code(refused)) == (409, "owner.last")
    assert code(owner.patch("/api/v1/people/eve", json={"role": "observer"})) == "login.unknown"
    assert code(owner.patch("/api/v1/people/ada", json={"role": "king"})) == "request.invalid"
    again = owner.post("/api/v1/people/ada/password").json()["password"]
    assert code(site.visitor().post("/api/v1/session", json={"login": "ada", "password": again})) == "sign_in.wrong"
    assert {body["by"] for body in site.told("person_role_set")} == {"owner"}


def test_tokens_are_made_listed_and_ended_by_their_person(site: Site) -> None:
    client = site.signed_in("scientist")
    made = client.post("/api/v1/tokens", json={"label": "night run", "scopes": ["read"], "days": 1.0})
    program = site.visitor(Authorization=f"Bearer {made.json()['token']}")
    assert program.get("/api/v1/campaigns").status_code == 200
    [listed] = client.get("/api/v1/tokens").json()
    assert (listed["label"], listed["scopes"]) == ("night run", ["read"])
    other = site.signed_in("owner")
    assert code(other.delete(f"/api/v1/tokens/{listed['id']}")) == "access.none", "not one of their own"
    assert client.delete(f"/api/v1/tokens/{listed['id']}").status_code == 204
    assert code(program.get("/api/v1/campaigns")) == "token.ended"
    assert code(client.post("/api/v1/tokens", json={"label": "x", "scopes": []})) == "request.invalid"
