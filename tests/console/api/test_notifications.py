"""What one was told, over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from athanor.console.notify.board import TOLD
from athanor.console.notify.happenings import Happening
from athanor.console.settings import parse
from athanor.instruments.latch import Latch
from tests.console.api.site_rig import Site, code

RULES = """
notifications:
  people:
    - {login: operator, email: operator@example.org, zone: Europe/Berlin, quiet: {start: "22:00", end: "06:30"}}
    - {login: scientist}
  mail: {host: mail.example.org, sender: athanor@example.org}
  rules:
    - {name: a, when: [approval_waiting, event], events: [pump], to: [operator], by: [email], urgent: true}
    - name: b
      when: [stop_all]
      to: [operator]
      escalate: [{after_min: 5, to: [scientist]}]
"""


def tell(site: Site, number: int = 1, **options: Any) -> str:
    now = datetime.now(UTC)
    one = Happening(
        key=f"k{number}",
        group="g",
        what="approval_waiting",
        title=f"<b>waits {number}</b>",
        text="Experiment 1.",
        detail="temperature = 60",
        path=f"/experiments/{site.experiment.id}",
        at=now,
        position=None,
        campaign_id=site.campaign,
        lasts=True,
    )
    known: dict[str, Any] = {"to": ("operator", "observer"), "webhooks": (), "by": ("browser",), "urgent": False}
    site.desk.notices.tell("a", "g", one, **{**known, "not_before": now, "seen": 1, **options})
    return site.desk.notices.open()[-1].id


def test_one_sees_what_one_was_told_and_takes_note_of_it(site: Site) -> None:
    first, second = tell(site, 1), tell(site, 2)
    client, other = site.signed_in("operator"), site.signed_in("scientist")
    listed = client.get("/api/v1/notifications").json()["items"]
    assert [one["id"] for one in listed] == [second, first]
    assert listed[0]["title"] == "<b>waits 2</b>" and listed[0]["detail"] == "temperature = 60"
    assert listed[0]["path"] == f"/experiments/{site.experiment.id}" and listed[0]["shows"]
    assert other.get("/api/v1/notifications").json()["items"] == []
    assert code(other.post(f"/api/v1/notifications/{first}/read")) == "not_found"
    for _ in range(2):
        assert client.post(f"/api/v1/notifications/{first}/read").json()["is_read"]
    assert len(site.told("notification_read")) == 1
    unread = client.get("/api/v1/notifications", params={"unread": True}).json()["items"]
    assert [one["id"] for one in unread] == [second]
    assert client.get("/api/v1/notifications").json()["items"][1]["read_by"] == ["operator"]
    assert client.post("/api/v1/notifications/read").json() == {"count": 1}
    assert client.post("/api/v1/notifications/read").json() == {"count": 0}
    colleague = site.signed_in("observer").get("/api/v1/notifications", params={"unread": True}).json()["items"]
    assert len(colleague) == 2, "another one's note is not one's own"


def test_to_take_note_decides_nothing(site: Site) -> None:
    site.signed_in("operator").post(f"/api/v1/notifications/{tell(site)}/read")
    assert site.ledger.experiment(site.experiment.id).state == "proposed"
    assert site.ledger.decisions(site.campaign) == []
    assert not Latch(site.place).read().engaged or site.told("latch_reset") == []


def test_what_was_told_is_still_news_to_who_has_not_seen_it(site: Site) -> None:
    first, second = tell(site, 1), tell(site, 2)
    for identifier, why in ((first, TOLD), (second, "it is so no longer")):
        one = site.desk.notices.one(identifier)
        assert one is not None
        site.desk.notices.over(one, why)
    listed = site.signed_in("operator").get("/api/v1/notifications", params={"unread": True}).json()["items"]
    assert [one["over"] for one in listed] == ["it is so no longer", None]


def test_what_is_held_back_is_not_shown_yet(site: Site) -> None:
    tell(site, not_before=datetime.now(UTC) + timedelta(hours=1))
    assert site.signed_in("operator").get("/api/v1/notifications").json()["items"] == []


def test_pages(site: Site) -> None:
    made = [tell(site, number) for number in range(5)]
    client = site.signed_in("operator")
    first = client.get("/api/v1/notifications", params={"limit": 2}).json()
    rest = client.get("/api/v1/notifications", params={"limit": 9, "after": first["next"]}).json()
    assert [one["id"] for one in first["items"] + rest["items"]] == made[::-1] and rest["next"] is None


@pytest.mark.parametrize(("login", "rules"), [("operator", ["a", "b"]), ("scientist", ["b"]), ("observer", [])])
def test_one_sees_how_one_is_told(site: Site, home: Path, login: str, rules: list[str]) -> None:
    assert site.signed_in(login).get("/api/v1/notifications/settings").json()["is_set_up"] is False
    site.desk.settings = parse(RULES, home / "console.yaml")
    found = site.signed_in(login).get("/api/v1/notifications/settings").json()
    assert found["is_set_up"] and [rule["name"] for rule in found["rules"]] == rules
    if login == "operator":
        assert (found["email"], found["zone"]) == ("operator@example.org", "Europe/Berlin")
        assert (found["quiet_from"], found["quiet_until"]) == ("22:00", "06:30")
        assert found["rules"][0] == {
            "name": "a",
            "what": ["approval_waiting", "pump"],
            "by": ["email"],
            "urgent": True,
            "after_min": None,
        }
    if login == "scientist":
        assert found["rules"][0]["after_min"] == 5.0
    assert "mail.example.org" not in str(found), "how the site sends is nobody's business"


def test_what_makes_no_sense_in_the_journal_is_left_out(site: Site) -> None:
    site.ledger.add_event(None, "notification", {"rule": "x"})
    site.ledger.add_event(None, "notification_read", {"notifications": 7, "login": "operator"})
    site.ledger.add_event(None, "notification_try", {"notification": "none", "target": "0:email:x", "attempt": 1})
    identifier = tell(site)
    [listed] = site.signed_in("operator").get("/api/v1/notifications").json()["items"]
    assert listed["id"] == identifier
