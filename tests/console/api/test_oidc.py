"""Signing in at a provider: a real one on loopback, and the tricks that it, or somebody between, may play."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.testclient import TestClient

from athanor.console import openid
from athanor.console.api.door import COOKIE, CSRF
from athanor.console.api.oidc import BINDING
from athanor.console.openid import AGAIN_S, LEEWAY_S, MOST_UNDERWAY, OLDEST_S, UNDERWAY_S, Journeys, OpenIdError
from athanor.console.settings import parse
from tests.console.api.site_rig import PASSWORD, Site, code
from tests.console.provider import Account, Provider, b64, number, providing, rsa_key, visit

SECRET = "sesame"


class Rig:
    def __init__(self, site: Site, provider: Provider, home: Path, extra: str = "") -> None:
        self.site, self.provider, self.home = site, provider, home
        secret = home / "oidc-secret"
        secret.write_text(f"{provider.client_secret}\n")
        secret.chmod(0o600)
        self.configure(extra)

    def configure(self, extra: str = "") -> None:
        text = f"""
sign_in:
  providers:
    - name: institute
      title: Institute account
      issuer: {self.provider.issuer}
      client_id: athanor
      client_secret_file: oidc-secret
      roles:
        - {{claim: groups, value: lab-operators, role: operator}}
        - {{claim: groups, value: lab, role: observer}}
        - {{claim: staff, value: "yes", role: observer}}
      {extra}
"""
        [settings] = parse(text, self.home / "console.yaml").sign_in.providers
        self.site.desk.providers = {"institute": openid.Provider(settings, lambda: self.site.now)}
        self.site.desk.journeys = Journeys(lambda: self.site.now)

    def begin(self, client: TestClient) -> str:
        answer = client.post("/api/v1/session/providers/institute/begin")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["address"])

    def returned(self, client: TestClient, user: str = "ada") -> dict[str, str]:
        found = visit(self.begin(client), user, SECRET)
        return {"issuer" if name == "iss" else name: value for name, value in found.items()}

    def finish(self, client: TestClient, returned: dict[str, str]) -> Any:
        return client.post("/api/v1/session/providers/institute/finish", json=returned)

    def sign_in(self, user: str = "ada") -> Any:
        client = self.site.visitor()
        return self.finish(client, self.returned(client, user))

    def client(self, user: str = "ada") -> TestClient:
        client = self.site.visitor()
        answer = self.finish(client, self.returned(client, user))
        assert answer.status_code == 200, answer.text
        client.headers[CSRF] = answer.json()["csrf"]
        return client


@pytest.fixture
def rig(site: Site, home: Path) -> Iterator[Rig]:
    provider = Provider(
        accounts={
            "ada": Account(
                SECRET,
                {"sub": "0001", "preferred_username": "Ada", "name": "Ada L.", "groups": ["x", "lab-operators"]},
            ),
            "bob": Account(SECRET, {"sub": "0002", "preferred_username": "bob", "staff": "yes"}),
            "eve": Account(SECRET, {"sub": "0003", "preferred_username": "eve", "groups": ["visitors"]}),
            "owner": Account(SECRET, {"sub": "0004", "preferred_username": "owner", "groups": ["lab-operators"]}),
        },
        clock=lambda: site.now,
    )
    with providing(provider):
        yield Rig(site, provider, home)


# -- the way it should be ---------------------------------------------------------------------------------------------


def test_somebody_signs_in_and_has_the_role_that_the_rules_give(rig: Rig) -> None:
    client = rig.site.visitor()
    assert client.get("/api/v1/session/providers").json() == [
        {"name": "institute", "title": "Institute account", "may_link": True}
    ]
    answer = rig.finish(client, rig.returned(client))
    me = answer.json()
    assert (me["person"]["login"], me["person"]["name"], me["person"]["role"]) == ("ada", "Ada L.", "operator")
    assert "experiment.decide" in me["scopes"] and not me["person"]["must_change"]
    cookie = answer.headers["set-cookie"]
    assert f"{COOKIE}=" in cookie and "HttpOnly" in cookie and "SameSite=strict" in cookie
    client.headers[CSRF] = me["csrf"]
    assert client.get("/api/v1/campaigns").status_code == 200
    [signed] = rig.site.told("signed_in")
    assert (signed["login"], signed["provider"]) == ("ada", "institute")
    assert {body["by"] for body in rig.site.told("person_added")} == {"provider institute"}
    [listed] = [one for one in rig.site.desk.people.sessions() if one.login == "ada"]
    assert listed.label == "127.0.0.1 by institute"
    # The second time there is an account, and it is the same one.
    assert rig.sign_in().json()["person"]["login"] == "ada"
    assert len(rig.site.told("person_added")) == 1
    assert rig.sign_in("bob").json()["person"]["role"] == "observer", "a claim that is no list"


def test_the_role_follows_the_provider_and_ends_with_it(rig: Rig) -> None:
    client = rig.client()
    token = client.post("/api/v1/tokens", json={"label": "x", "scopes": ["read"]}).json()["token"]
    program = rig.site.visitor(Authorization=f"Bearer {token}")
    rig.provider.accounts["ada"].claims["groups"] = ["lab"]
    assert rig.sign_in().json()["person"]["role"] == "observer"
    assert client.get("/api/v1/session").json()["person"]["role"] == "observer"
    assert rig.site.told("person_role_set")[-1]["by"] == "provider institute"
    rig.provider.accounts["ada"].claims["groups"] = []
    answer = rig.sign_in()
    assert (answer.status_code, code(answer)) == (403, "oidc.no_role")
    assert code(client.get("/api/v1/campaigns")) == "session.ended"
    assert code(program.get("/api/v1/campaigns")) == "token.ended"
    assert rig.site.told("sign_in_refused")[-1]["login"] == "ada"


def test_whom_no_rule_fits_is_nobody(rig: Rig) -> None:
    answer = rig.sign_in("eve")
    assert (answer.status_code, code(answer)) == (403, "oidc.no_role")
    assert "eve" not in {person.login for person in rig.site.desk.people.everybody()}
    rig.configure("makes_accounts: false")
    assert code(rig.sign_in("ada")) == "oidc.no_account"


def test_the_same_name_opens_nobody_s_account(rig: Rig) -> None:
    answer = rig.sign_in("owner")
    assert (answer.status_code, code(answer)) == (409, "oidc.login_taken")
    assert rig.site.desk.people.identities("owner") == []


def test_a_provider_makes_no_owner_and_unmakes_none(rig: Rig, home: Path) -> None:
    with pytest.raises(Exception, match="observer"):
        rig.configure("\n        - {claim: groups, value: x, role: owner}")
    rig.client()
    rig.site.desk.people.set_role("ada", "owner", "owner")
    rig.provider.accounts["ada"].claims["groups"] = []
    assert rig.sign_in().json()["person"]["role"] == "owner", "an owner made her one"


def test_a_closed_account_stays_closed(rig: Rig) -> None:
    rig.client()
    rig.site.desk.people.set_active("ada", False, "owner")
    answer = rig.sign_in()
    assert (answer.status_code, code(answer)) == (403, "oidc.closed")


@pytest.mark.parametrize("login", ["", "a b", "x" * 33, "../etc", "1a"])
def test_a_login_that_none_can_be_is_not_made(rig: Rig, login: str) -> None:
    rig.provider.accounts["ada"].claims["preferred_username"] = login
    assert code(rig.sign_in()) == "oidc.login"


def test_the_secret_may_be_sent_in_the_body_or_there_is_none(rig: Rig) -> None:
    rig.configure("secret_in: body")
    assert rig.sign_in().status_code == 200
    rig.provider.client_secret = "another"
    answer = rig.sign_in()
    assert (answer.status_code, code(answer)) == (502, "oidc.malformed") and "client_secret_file" in answer.text


def test_other_keys_and_no_key_id(rig: Rig) -> None:
    rig.provider.key, rig.provider.algorithm = ec.generate_private_key(ec.SECP256R1()), "ES256"
    assert rig.sign_in().status_code == 200
    rig.configure()
    rig.provider.kid = None
    assert rig.sign_in().status_code == 200, "there is one key, and it fits"
    rig.configure("algorithms: [RS256]")
    assert code(rig.sign_in()) == "oidc.token"


def test_signing_out_there_too(rig: Rig) -> None:
    client = rig.client()
    answer = client.post("/api/v1/session/providers/institute/sign-out")
    assert answer.json()["address"].startswith(f"{rig.provider.base}/logout?client_id=athanor&post_logout")
    assert code(client.get("/api/v1/campaigns")) in ("sign_in.needed", "session.ended")
    rig.provider.describe = lambda found: {k: v for k, v in found.items() if k != "end_session_endpoint"}
    rig.configure()
    assert rig.client().post("/api/v1/session/providers/institute/sign-out").json() == {"address": None}


# -- what is not believed ---------------------------------------------------------------------------------------------


def refused(rig: Rig, expected: str = "oidc.token") -> str:
    answer = rig.sign_in()
    assert code(answer) == expected, answer.text
    assert COOKIE not in answer.headers.get("set-cookie", "")
    assert rig.site.told("sign_in_refused")[-1]["code"] == expected
    assert "ada" not in {person.login for person in rig.site.desk.people.everybody()}
    return str(answer.json()["detail"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nonce": "another"}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"aud": "somebody"}, "somebody else"),
        ({"aud": []}, "somebody else"),
        ({"aud": ["athanor", "other"]}, "given to somebody else"),
        ({"aud": ["athanor", "other"], "azp": "other"}, "given to somebody else"),
        ({"azp": "other"}, "given to somebody else"),
        ({"iss": "http://127.0.0.1:1/realm"}, "another issuer"),
        ({"exp": 1_800_000_000 - int(LEEWAY_S)}, "expired"),
        ({"exp": None}, "'exp'"),
        ({"exp": True}, "'exp'"),
        ({"exp": "9999999999"}, "'exp'"),
        ({"exp": float("inf")}, "'exp'"),
        ({"iat": None}, "'iat'"),
        ({"iat": 1_800_000_000 + 61}, "not of now"),
        ({"iat": 1_800_000_000 - int(OLDEST_S) - 1}, "not of now"),
        ({"nbf": 1_800_000_000 + 61}, "not of now"),
        ({"sub": None}, "of whom"),
        ({"sub": ""}, "of whom"),
        ({"sub": 7}, "of whom"),
    ],
)
def test_an_id_token_in_which_something_is_wrong(rig: Rig, change: dict[str, Any], said: str) -> None:
    rig.provider.change = lambda claims: {k: v for k, v in (claims | change).items() if v is not None}
    assert said in refused(rig)


def test_a_list_of_audiences_with_us_as_the_one_it_was_given_to(rig: Rig) -> None:
    rig.provider.change = lambda claims: claims | {"aud": ["other", "athanor"], "azp": "athanor"}
    assert rig.sign_in().status_code == 200


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{b64(json.dumps({**header, 'alg': 'none'}).encode())}.{b64(json.dumps(claims).encode())}."


def test_a_token_that_nobody_signed(rig: Rig) -> None:
    rig.provider.sign = unsigned
    assert "'none'" in refused(rig)


def test_a_token_signed_with_the_public_key_as_if_it_were_a_secret(rig: Rig) -> None:
    public = rig.provider.jwk()["n"].encode()

    def confused(header: dict[str, Any], claims: dict[str, Any]) -> str:
        text = f"{b64(json.dumps({**header, 'alg': 'HS256'}).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{text}.{b64(hmac.new(public, text.encode(), hashlib.sha256).digest())}"

    rig.provider.sign = confused
    assert "'HS256'" in refused(rig)


def test_a_token_that_was_changed_after_it_was_signed(rig: Rig) -> None:
    def changed(header: dict[str, Any], claims: dict[str, Any]) -> str:
        head, _, mark = rig.provider.signed(header, claims).split(".")
        return f"{head}.{b64(json.dumps({**claims, 'sub': '0004'}).encode())}.{mark}"

    rig.provider.sign = changed
    assert "signature" in refused(rig)


def test_a_token_that_brings_its_own_key(rig: Rig) -> None:
    honest, rig.provider.shown = rig.provider.jwk(), [rig.provider.jwk()]
    assert honest["kid"] == "one"
    rig.provider.key = rsa_key(1)

    def brought(header: dict[str, Any], claims: dict[str, Any]) -> str:
        return rig.provider.signed({**header, "jwk": rig.provider.jwk(), "jku": "http://127.0.0.1:1/"}, claims)

    rig.provider.sign = brought
    assert "signature" in refused(rig)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", ".".join([b64(b"[]")] * 3), "é.é.é"])
def test_what_is_no_token(rig: Rig, token: str) -> None:
    rig.provider.sign = lambda header, claims: token
    refused(rig)


def test_a_key_that_can_be_broken_is_none(rig: Rig) -> None:
    rig.provider.key = rsa.generate_private_key(65537, 1024)
    assert "key that the provider does not show" in refused(rig)


def test_keys_change_and_an_unknown_one_is_not_asked_for_all_the_time(rig: Rig) -> None:
    assert rig.sign_in().status_code == 200
    rig.provider.key, rig.provider.kid = rsa_key(1), "two"
    answer = rig.sign_in()
    assert code(answer) == "oidc.token", "it was asked a moment ago"
    rig.site.now += AGAIN_S
    assert rig.sign_in().status_code == 200, "the new key is found"
    asked = rig.provider.asked.count("/keys")
    assert asked == 2
    # Somebody who makes up keys does not have us ask the provider each time.
    rig.provider.sign = lambda header, claims: rig.provider.signed({**header, "kid": "made up"}, claims)
    for _ in range(3):
        assert code(rig.sign_in()) == "oidc.token"
    assert rig.provider.asked.count("/keys") == asked
    # And one that the provider shows no more is believed no more, once what is known is old.
    rig.provider.sign = None
    rig.provider.shown = []
    rig.site.now += openid.KNOWN_S
    assert code(rig.sign_in()) == "oidc.token"


def test_two_keys_with_one_id_are_none(rig: Rig) -> None:
    other = rsa_key(1).public_key().public_numbers()
    rig.provider.shown = [rig.provider.jwk(), {**rig.provider.jwk(), "n": number(other.n)}]
    refused(rig)


# -- there and back ---------------------------------------------------------------------------------------------------


def test_a_code_is_taken_once(rig: Rig) -> None:
    client = rig.site.visitor()
    returned = rig.returned(client)
    binding = client.cookies[BINDING]
    assert rig.finish(client, returned).status_code == 200
    client.cookies.set(BINDING, binding, path="/api/v1/session")
    again = rig.finish(client, returned)
    assert (again.status_code, code(again)) == (409, "oidc.state")
    # The same code in a sign-in of one's own: the provider gives nothing for it, and the verifier would not fit.
    mine = rig.site.visitor()
    fresh = rig.returned(mine)
    answer = rig.finish(mine, {**fresh, "code": returned["code"]})
    assert (answer.status_code, code(answer)) == (409, "oidc.code")


def test_somebody_else_s_code_that_was_not_used_yet_does_not_fit(rig: Rig) -> None:
    theirs = rig.returned(rig.site.visitor(), "bob")
    mine = rig.site.visitor()
    fresh = rig.returned(mine)
    assert code(rig.finish(mine, {**fresh, "code": theirs["code"]})) == "oidc.code", "PKCE"


def test_a_sign_in_belongs_to_the_browser_that_it_began_in(rig: Rig) -> None:
    client, other = rig.site.visitor(), rig.site.visitor()
    returned = rig.returned(client)
    for guess in (other, rig.site.visitor()):
        assert code(rig.finish(guess, returned)) == "oidc.state"
    rig.begin(other)
    assert code(rig.finish(other, returned)) == "oidc.state", "with a cookie of another sign-in"
    assert code(rig.finish(client, {**returned, "state": "in.made-up"})) == "oidc.state"
    assert rig.finish(client, returned).status_code == 200, "nobody else used it up"


def test_a_sign_in_does_not_take_for_ever(rig: Rig) -> None:
    client = rig.site.visitor()
    returned = rig.returned(client)
    rig.site.now += UNDERWAY_S + 1
    assert code(rig.finish(client, returned)) == "oidc.state"


def test_the_provider_may_say_no(rig: Rig) -> None:
    client = rig.site.visitor()
    found = visit(rig.begin(client), "ada", "wrong")
    answer = rig.finish(client, {"state": found["state"], "error": found["error"]})
    assert (answer.status_code, code(answer)) == (403, "oidc.refused") and "access_denied" in answer.text
    assert code(rig.finish(client, {"state": "x", "error": "<b>"})) == "request.invalid"


@pytest.mark.parametrize("issuer", [None, "http://127.0.0.1:1/realm"])
def test_an_answer_of_another_provider(rig: Rig, issuer: str | None) -> None:
    client = rig.site.visitor()
    returned = {**rig.returned(client), "issuer": issuer}
    assert code(rig.finish(client, returned)) == "oidc.token"  # type: ignore[arg-type]


def test_who_was_on_the_way_is_kept_in_bounds() -> None:
    journeys = Journeys(lambda: 0.0)
    made = openid.Underway("x", "n", "v", "b", "binding", 0.0)
    for one in range(MOST_UNDERWAY + 3):
        journeys.keep(str(one), made)
    with pytest.raises(OpenIdError):
        journeys.take("2", "binding")
    assert journeys.take("3", "binding") is made
    assert len(journeys._kept) == MOST_UNDERWAY - 1


# -- the provider is not well -----------------------------------------------------------------------------------------


def test_a_provider_that_does_not_answer(rig: Rig) -> None:
    base, rig.provider.base = rig.provider.base, "http://127.0.0.1:1"
    rig.configure()
    answer = rig.site.visitor().post("/api/v1/session/providers/institute/begin")
    assert (answer.status_code, code(answer)) == (503, "oidc.unreachable")
    assert "password" in answer.json()["remedy"] and answer.headers["retry-after"]
    rig.provider.base = base
    rig.configure()
    client = rig.site.visitor()
    returned = rig.returned(client)
    rig.provider.status = 500
    assert code(rig.finish(client, returned)) == "oidc.unreachable"
    assert rig.site.signed_in("owner").get("/api/v1/campaigns").status_code == 200, "passwords do without it"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"issuer": "http://127.0.0.1:1/realm"}, "calls itself"),
        ({"token_endpoint": "http://provider.example/token"}, "token_endpoint"),
        ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri"),
        ({"authorization_endpoint": None}, "authorization_endpoint"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint"),
        ({"code_challenge_methods_supported": ["plain"]}, "PKCE"),
    ],
)
def test_a_provider_that_says_what_it_should_not(rig: Rig, change: dict[str, Any], said: str) -> None:
    rig.provider.describe = lambda found: found | change
    answer = rig.site.visitor().post("/api/v1/session/providers/institute/begin")
    assert (answer.status_code, code(answer)) == (502, "oidc.malformed") and said in answer.json()["detail"]


def test_no_such_provider(rig: Rig) -> None:
    answer = rig.site.visitor().post("/api/v1/session/providers/other/begin")
    assert (answer.status_code, code(answer)) == (404, "oidc.unknown")


# -- linking ----------------------------------------------------------------------------------------------------------


def linked(rig: Rig, login: str, user: str, proof: dict[str, str] | None = None) -> tuple[TestClient, Any]:
    client = rig.site.signed_in(login)
    begun = client.post("/api/v1/session/identities/institute/begin", json=proof or {"password": PASSWORD})
    assert begun.status_code == 200, begun.text
    found = visit(begun.json()["address"], user, SECRET)
    returned = {"issuer" if name == "iss" else name: value for name, value in found.items()}
    return client, client.post("/api/v1/session/identities/institute/finish", json=returned)


def test_an_account_is_linked_by_its_person_and_keeps_its_role(rig: Rig) -> None:
    client, answer = linked(rig, "owner", "eve")
    assert answer.status_code == 204
    [identity] = client.get("/api/v1/session/identities").json()
    assert (identity["provider"], identity["subject"], identity["is_theirs"]) == ("institute", "0003", False)
    assert rig.sign_in("eve").json()["person"]["role"] == "owner"
    assert code(linked(rig, "operator", "eve")[1]) == "identity.taken"
    assert client.delete(f"/api/v1/session/identities/{identity['id']}").status_code == 204
    assert code(client.delete(f"/api/v1/session/identities/{identity['id']}")) == "identity.none"
    assert code(rig.sign_in("eve")) == "oidc.no_role"
    assert [body["by"] for body in rig.site.told("identity_unlinked")] == ["owner"]


def test_an_open_session_is_not_enough_to_link(rig: Rig) -> None:
    client = rig.site.signed_in("owner")
    answer = client.post("/api/v1/session/identities/institute/begin", json={"password": "wrong"})
    assert code(answer) == "sign_in.wrong"
    program = rig.site.program("owner", "read")
    for path in ("begin", "finish"):
        assert code(program.post(f"/api/v1/session/identities/institute/{path}", json={})) == "session.needed"


def test_a_sign_in_cannot_be_turned_into_a_link_nor_the_other_way(rig: Rig) -> None:
    client = rig.site.signed_in("owner")
    returned = rig.returned(client, "eve")
    assert code(client.post("/api/v1/session/identities/institute/finish", json=returned)) == "oidc.state"
    begun = client.post("/api/v1/session/identities/institute/begin", json={"password": PASSWORD}).json()
    found = visit(begun["address"], "eve", SECRET)
    link = {"state": found["state"], "code": found["code"], "issuer": found["iss"]}
    assert code(rig.finish(client, link)) == "oidc.state"
    assert rig.site.desk.people.identities("owner") == []


def test_an_account_with_a_second_factor_is_not_entered_without_one(rig: Rig) -> None:
    client, _ = linked(rig, "operator", "eve")
    begun = client.post("/api/v1/session/second-factor", json={"password": PASSWORD}).json()
    totp = pyotp.TOTP(begun["secret"])
    client.post("/api/v1/session/second-factor/confirm", json={"code": totp.at(int(rig.site.now))})
    answer = rig.sign_in("eve")
    assert (answer.status_code, code(answer)) == (403, "oidc.second_factor")
    rig.provider.accounts["eve"].claims["amr"] = ["pwd", "otp"]
    assert rig.sign_in("eve").json()["person"]["login"] == "operator"
    del rig.provider.accounts["eve"].claims["amr"]
    rig.configure("trusts_second_factor: true")
    assert rig.sign_in("eve").status_code == 200


def test_who_has_no_password_keeps_the_way_in_until_an_owner_ends_it(rig: Rig) -> None:
    client = rig.client()
    [identity] = client.get("/api/v1/session/identities").json()
    assert identity["is_theirs"]
    assert code(client.delete(f"/api/v1/session/identities/{identity['id']}")) == "identity.only"
    owner = rig.site.signed_in("owner")
    [seen] = owner.get("/api/v1/people/ada/identities").json()
    assert owner.delete(f"/api/v1/people/ada/identities/{seen['id']}").status_code == 204
    assert code(rig.sign_in()) == "oidc.login_taken", "her account is hers; who comes now may be somebody else"
    given = owner.post("/api/v1/people/ada/password").json()["password"]
    assert rig.site.signed_in("ada", given)


def test_a_site_may_do_without_linking(rig: Rig) -> None:
    rig.configure("may_link: false")
    client = rig.site.signed_in("owner")
    answer = client.post("/api/v1/session/identities/institute/begin", json={"password": PASSWORD})
    assert (answer.status_code, code(answer)) == (403, "oidc.no_linking")
