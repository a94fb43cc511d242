"""How often somebody may ask, and that a stop is never too often."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from athanor.console.api.door import CSRF
from athanor.console.api.limits import LOOPBACK, MOST, RATES, SHARED, TOLD_S, Limits, Rate, TooOften, address_of
from athanor.instruments.latch import Latch
from tests.console.api.site_rig import HOST, PASSWORD, Site, code


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limits(clock: Clock, **rates: Rate) -> Limits:
    loose: dict[Any, Rate] = dict.fromkeys(RATES, Rate(1e6, 1e6))
    return Limits({**loose, **rates}, clock)


def wait_of(bucket: Limits, who: str = "ada", kind: Any = "change") -> float:
    with pytest.raises(TooOften) as caught:
        bucket.take(kind, who)
    return caught.value.wait_s


def test_a_bucket_is_emptied_and_fills_up_again(clock: Clock) -> None:
    bucket = Limits({"change": Rate(3, 0.5)}, clock)
    for _ in range(3):
        bucket.take("change", "ada")
    assert wait_of(bucket) == pytest.approx(2.0)
    bucket.take("change", "bob")
    bucket.take("read", "ada")
    clock.now += 1.0
    assert wait_of(bucket) == pytest.approx(1.0)
    clock.now += 1.0
    bucket.take("change", "ada")
    clock.now += 3600.0
    for _ in range(3):
        bucket.take("change", "ada")
    assert wait_of(bucket) > 0, "it holds so many and no more"


def test_who_asks_too_often_is_news_once_a_minute(clock: Clock) -> None:
    bucket = Limits({"change": Rate(1, 1e-9)}, clock)
    bucket.take("change", "ada")
    seen = []
    for step in (0.0, 1.0, TOLD_S - 1.0, 1.0):
        clock.now += step
        with pytest.raises(TooOften) as caught:
            bucket.take("change", "ada")
        seen.append(caught.value.is_news)
    assert seen == [True, False, True, False]


def test_memory_is_bounded(clock: Clock) -> None:
    bucket = Limits(clock=clock)
    bucket.take("change", "first")
    for number in range(MOST + 10):
        bucket.take("address", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert bucket.size() == MOST + 1, "those of one kind do not push out those of another"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", LOOPBACK),
        ("127.8.8.8", LOOPBACK),
        ("::1", LOOPBACK),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_what_an_address_counts_as(host: str, expected: str) -> None:
    assert address_of(host) == expected


def test_pages_with_live_updates_have_room() -> None:
    # 50 screens on one computer that each read ten campaigns at once whenever something changes.
    bucket = Limits(clock=Clock())
    for screen in range(50):
        for _ in range(100):
            bucket.take("address", LOOPBACK)
            bucket.take("read", f"session-{screen}")
    assert SHARED["sign_in"].burst > RATES["sign_in"].burst


# -- at the door ------------------------------------------------------------------------------------------------------


def test_changes_are_kept_waiting_and_reading_and_stopping_are_not(site: Site, clock: Clock) -> None:
    client, program = site.signed_in("scientist"), site.program("scientist", "read", "campaign.steer")
    site.desk.limits = limits(clock, change=Rate(2, 0.1))
    where = f"/api/v1/campaigns/{site.campaign}/pause"
    for _ in range(2):
        assert client.post(where).status_code == 200
    for _ in range(3):
        answer = client.post(where)
        assert (answer.status_code, code(answer), answer.headers["retry-after"]) == (429, "rate.limited", "10")
    assert "Stop All is never" in answer.json()["remedy"]
    assert client.get("/api/v1/campaigns").status_code == 200
    second = site.signed_in("scientist")
    assert second.post(where).status_code == 429, "another session of the same person is no way round it"
    assert program.post(where).status_code == 200, "a program has a bucket of its own"
    assert site.told("rate_limited") == [{"kind": "change", "who": "scientist", "path": where}]
    clock.now += 10.0
    assert client.post(where).status_code == 200


def test_nothing_keeps_a_stop_waiting(site: Site, clock: Clock) -> None:
    clients = [site.signed_in("observer"), site.program("observer", "read")]
    none = dict.fromkeys(RATES, Rate(0, 1e-9))
    site.desk.limits = Limits(none, clock)
    for client in clients:
        assert code(client.get("/api/v1/campaigns")) == "rate.limited"
        for _ in range(50):
            assert client.post("/api/v1/stop-all", json={"instrument": "snar-flow"}).status_code == 200
    assert Latch(site.place).read().engaged


def test_each_screen_reads_for_itself(site: Site, clock: Clock) -> None:
    first, second = site.signed_in("observer"), site.signed_in("observer")
    site.desk.limits = limits(clock, read=Rate(5, 1.0))
    answers = [first.get("/api/v1/campaigns").status_code for _ in range(6)]
    assert answers == [200] * 5 + [429]
    assert second.get("/api/v1/campaigns").status_code == 200


def test_trying_to_sign_in_is_limited_for_an_address(site: Site, clock: Clock) -> None:
    site.desk.limits = limits(clock, sign_in=Rate(3, 0.01))

    def at(address: str) -> TestClient:
        return TestClient(site.app, base_url=f"http://{HOST}", client=(address, 1))

    def attempt(address: str, login: str) -> int:
        body = {"login": login, "password": "wrong"}
        return int(at(address).post("/api/v1/session", json=body).status_code)

    assert [attempt("192.0.2.7", f"guess{n}") for n in range(5)] == [401, 401, 401, 429, 429]
    assert attempt("192.0.2.8", "guess") == 401
    told = len(site.told("sign_in_refused"))
    assert told == 4, "what was not looked at is not written down as a failure"
    assert at("192.0.2.7").get("/api/v1/health").status_code == 200


def test_what_changes_accounts_has_a_bucket_of_its_own(site: Site, clock: Clock) -> None:
    client = site.signed_in("owner")
    site.desk.limits = limits(clock, account=Rate(2, 0.01))
    tries = [client.post("/api/v1/session/password", json={"old": "x", "new": "y"}) for _ in range(3)]
    assert [answer.status_code for answer in tries] == [401, 401, 429]
    assert client.post("/api/v1/people", json={"login": "x", "name": "X", "role": "owner"}).status_code == 429
    assert client.post(f"/api/v1/campaigns/{site.campaign}/pause").status_code == 200


def test_what_a_role_may_not_is_not_written_down_without_end(site: Site, clock: Clock) -> None:
    client = site.signed_in("observer")
    site.desk.limits = limits(clock, refused=Rate(3, 0.01))
    codes = [code(client.get("/api/v1/people")) for _ in range(6)]
    assert codes == ["scope.missing"] * 3 + ["rate.limited"] * 3
    assert len(site.told("api_refused")) == 3 and len(site.told("rate_limited")) == 1


# -- a password changed, and the tokens of before ---------------------------------------------------------------------


@pytest.mark.parametrize("end_tokens", [False, True])
def test_one_s_tokens_end_with_the_password_if_wanted(site: Site, end_tokens: bool) -> None:
    client, other, program = site.signed_in("owner"), site.signed_in("owner"), site.program("owner", "read")
    asked = {"old": PASSWORD, "new": "a kettle full of rain", "end_tokens": end_tokens}
    assert client.post("/api/v1/session/password", json=asked).status_code == 204
    assert client.get("/api/v1/campaigns").status_code == 200
    assert code(other.get("/api/v1/campaigns")) == "session.ended"
    assert program.get("/api/v1/campaigns").status_code == (401 if end_tokens else 200)
    assert site.told("password_changed") == [{"login": "owner", "tokens_ended": end_tokens}]
    assert CSRF in client.headers
