"""Every rule, end to end: a ledger in which something happens, a real mail server and webhook, a clock to turn."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from athanor.console.notify import notifier as module
from athanor.console.notify.channels import Message, NotSent, mail, signature
from athanor.console.notify.notifier import MOST_TRIES, Notifier
from athanor.console.notify.quiet import is_quiet
from athanor.console.settings import MailSettings, QuietHours, Recipient
from athanor.memory.errors import LedgerBusy
from tests.console.notify.site import Telling
from tests.console.post import Hook, Post, certificate, posting

APPROVALS = """
    - {name: approvals, when: [approval_waiting], to: [ada], by: [email, browser]}
"""
EVERYTHING = """
    - name: all
      when: [in_doubt, campaign_paused, campaign_failed, campaign_done, stop_all]
      to: [ada]
      by: [email, browser]
"""


# -- what is told -----------------------------------------------------------------------------------------------------


def test_an_approval_that_waits_is_told_once_and_without_settings(telling: Telling) -> None:
    telling.start(APPROVALS)
    experiment = telling.propose()
    telling.look()
    assert telling.subjects() == [], "it may be decided at once"
    telling.look(minutes=1)
    telling.look(minutes=1)
    [sent] = telling.post.taken
    text = sent.get_content()  # type: ignore[attr-defined]
    assert sent["Subject"] == "flow: an experiment waits for a decision" and sent["Auto-Submitted"] == "auto-generated"
    assert f"https://lab.example:8443/experiments/{experiment.id}\n" in text and "decides nothing" in text
    assert "61.5" not in text and "temperature" not in text
    telling.withdraw(experiment)
    telling.look(minutes=1)
    [over] = telling.told("notification_over")
    assert over["why"] == "it is so no longer"
    assert telling.notifier.board.open() == []


def test_details_are_told_where_the_site_says_so(telling: Telling) -> None:
    telling.start(APPROVALS, more="details: true")
    telling.propose()
    telling.look(minutes=1)
    assert "temperature = 61.5" in telling.post.taken[0].get_content()  # type: ignore[attr-defined]


def test_what_is_decided_in_time_is_not_told(telling: Telling) -> None:
    telling.start(APPROVALS)
    experiment = telling.propose()
    telling.look()
    telling.withdraw(experiment)
    telling.look(minutes=1)
    assert telling.post.taken == [] and telling.told("notification") == []


def test_the_course_of_a_campaign(telling: Telling) -> None:
    telling.start(EVERYTHING)
    for state in ("running", "paused", "running", "succeeded"):
        telling.went(state)
        telling.look(minutes=1)
    assert telling.subjects() == ["flow: the campaign is paused", "flow: the campaign is over"]
    assert "42 degC" not in "".join(sent.as_string() for sent in telling.post.taken)


def test_a_campaign_that_fails_and_an_experiment_in_doubt(telling: Telling) -> None:
    telling.start(EVERYTHING)
    telling.went("running")
    experiment = telling.doubt()
    telling.look(minutes=1)
    telling.look(minutes=1)
    telling.went("failed")
    telling.look()
    assert telling.subjects() == ["flow: an experiment is in doubt", "flow: the campaign has failed"]
    assert f"/experiments/{experiment.id}" in telling.post.taken[0].get_content()  # type: ignore[attr-defined]


def test_stop_all_is_told_until_it_is_reset(telling: Telling) -> None:
    telling.start(EVERYTHING.replace("when:", "after_min: 0\n      again_after_min: 0\n      when:"))
    latch = telling.stopped()
    telling.look(minutes=0.1)
    telling.look(minutes=1)
    assert telling.subjects() == ["Stop All is latched on snar-flow"]
    assert "a leak" not in telling.post.taken[0].as_string() and "by bob" in telling.post.taken[0].as_string()
    latch.reset("it is dry", "bob")
    telling.look()
    assert telling.notifier.board.open() == []
    telling.stopped("again")
    telling.look(minutes=0.1)
    assert len(telling.subjects()) == 2, "another stop is another thing"


ALARMS = """
    - name: alarms
      when: [alarm]
      matching: {priority: [critical, high]}
      to: [ada]
      by: [email]
      again_after_min: 10
"""


def alarm(telling: Telling, verb: str, state: str, priority: str = "high", subject: str = "pump") -> None:
    body = {
        "alarm": "flow.low",
        "definition": "flow.low",
        "verb": verb,
        "state": state,
        "why": "3 ml",
        "simulated": False,
    }
    telling.happens("alarm", **body, subject=subject, priority=priority)


def test_an_alarm_is_told_by_its_priority_and_over_when_it_is_acknowledged(telling: Telling) -> None:
    telling.start(ALARMS)
    alarm(telling, "raised", "unacknowledged", priority="low")
    alarm(telling, "raised", "unacknowledged")
    alarm(telling, "raised", "shelved", subject="valve")
    telling.look()
    assert telling.subjects() == ["Alarm, high: flow.low of pump"]
    alarm(telling, "cleared", "returned")
    telling.look()
    assert len(telling.notifier.board.open()) == 1, "nobody has acknowledged it"
    alarm(telling, "acknowledged", "normal")
    telling.look()
    assert telling.notifier.board.open() == []


def test_an_alarm_of_the_plain_kind(telling: Telling) -> None:
    telling.start(ALARMS)
    telling.happens("alarm_raised", alarm="flow.low", subject="pump", priority="critical")
    telling.look()
    assert telling.subjects() == ["Alarm, critical: flow.low of pump"]
    telling.happens("alarm_acknowledged", alarm="flow.low", subject="pump", priority="critical")
    telling.look()
    assert telling.notifier.board.open() == []


def test_an_alarm_that_comes_and_goes_is_not_told_each_time(telling: Telling) -> None:
    telling.start(ALARMS)
    for _ in range(5):
        alarm(telling, "raised", "unacknowledged")
        telling.look(minutes=0.5)
        alarm(telling, "acknowledged", "normal")
        telling.look(minutes=0.5)
    assert len(telling.subjects()) == 1
    alarm(telling, "raised", "unacknowledged")
    telling.look()
    assert len(telling.subjects()) == 1
    telling.look(minutes=10)
    assert len(telling.subjects()) == 2, "it still wants somebody when it may be told again"


def test_any_event_of_the_journal_may_be_told_and_ended(telling: Telling) -> None:
    telling.start("""
    - name: pumps
      when: [event]
      events: [pump_failed, "pump_lost_*"]
      until: [pump_repaired]
      same: [pump]
      to: [ada]
      by: [email]
      escalate: [{after_min: 5, to: [bob]}]
""")
    telling.happens("valve_failed", pump="one")
    telling.happens("pump_failed", pump="one")
    telling.happens("pump_failed", pump="two")
    telling.look()
    assert telling.subjects() == ["pump failed", "pump failed"], "two pumps are two things"
    telling.happens("pump_repaired", pump="one")
    telling.look()
    assert len(telling.notifier.board.open()) == 1
    telling.look(minutes=6)
    assert telling.subjects("bob") == ["pump failed"], "one was repaired"


def test_simulated_campaigns_are_left_out_where_a_rule_says_so(telling: Telling) -> None:
    telling.start(APPROVALS.replace("}", ", simulated: false}"))
    telling.propose()
    telling.look(minutes=1)
    assert telling.post.taken == []


def test_nobody_is_told_of_what_notifications_do(telling: Telling) -> None:
    telling.start("""
    - {name: everything, when: [event], events: ["*"], to: [ada], by: [email]}
""")
    telling.happens("one")
    for _ in range(5):
        telling.look(minutes=20)
    assert telling.subjects() == ["one"]


# -- to whom, and when ------------------------------------------------------------------------------------------------


def test_the_same_is_told_once_while_it_is_so(telling: Telling) -> None:
    telling.start(APPROVALS)
    first = telling.propose()
    telling.look(minutes=1)
    second = telling.propose()
    telling.look(minutes=1)
    telling.look(minutes=30)
    assert len(telling.subjects()) == 1, "she knows that the campaign waits for her"
    telling.withdraw(first)
    telling.look(minutes=1)
    telling.look(minutes=1)
    assert len(telling.subjects()) == 2 and second.id in telling.post.taken[1].get_content()  # type: ignore[attr-defined]


def test_what_nobody_takes_note_of_goes_to_the_next(telling: Telling) -> None:
    telling.start("""
    - name: approvals
      when: [approval_waiting]
      to: [ada]
      by: [email]
      escalate:
        - {after_min: 15, to: [bob]}
        - {after_min: 30, to: [ada, eve], webhooks: [chat]}
""")
    telling.propose()
    telling.look(minutes=1)
    telling.look(minutes=14)
    assert (len(telling.subjects("ada")), len(telling.subjects("bob"))) == (1, 0)
    telling.look(minutes=1)
    assert len(telling.subjects("bob")) == 1 and not telling.hook.taken
    telling.look(minutes=15)
    assert (len(telling.subjects("ada")), len(telling.subjects("eve"))) == (2, 1) and len(telling.hook.taken) == 1
    assert [body["step"] for body in telling.told("notification_step")] == [1, 2]


def test_who_takes_note_ends_the_escalation(telling: Telling) -> None:
    telling.start("""
    - {name: a, when: [approval_waiting], to: [ada], by: [email], escalate: [{after_min: 15, to: [bob]}]}
""")
    telling.propose()
    telling.look(minutes=1)
    board = telling.notifier.board
    board.read(board.of("ada"), "ada")
    telling.look(minutes=60)
    assert telling.subjects("bob") == [] and board.of("bob") == []
    assert len(board.open()) == 1, "it still waits; that somebody knows decides nothing"


def test_quiet_hours_wait_and_urgent_passes(telling: Telling) -> None:
    quiet = ', zone: Europe/Berlin, quiet: {start: "22:00", end: "07:00"}'
    telling.now = datetime.fromisoformat("2026-01-14T21:30:00+00:00")  # half past ten in Berlin
    telling.start(
        """
    - {name: calm, when: [approval_waiting], to: [ada, bob], by: [email, browser]}
    - {name: loud, when: [in_doubt, campaign_paused], to: [ada], by: [email], urgent: true}
""",
        ada=quiet,
    )
    telling.went("running")
    experiment = telling.propose()
    telling.look(minutes=1)
    assert telling.subjects() == [] and len(telling.subjects("bob")) == 1, "bob has no quiet hours"
    assert len(telling.notifier.board.of("ada")) == 1, "the page shows it"
    telling.went("paused")
    telling.look(minutes=1)
    telling.look(minutes=1)
    assert telling.subjects() == ["[urgent] flow: the campaign is paused"]
    telling.look(minutes=8 * 60)
    assert len(telling.subjects()) == 1
    telling.look(minutes=30)
    assert len(telling.subjects()) == 2, "at seven she is told"
    telling.withdraw(experiment)


def test_what_is_over_by_the_morning_is_not_told(telling: Telling) -> None:
    telling.start(APPROVALS, ada=', quiet: {start: "11:00", end: "13:00"}')
    experiment = telling.propose()
    telling.look(minutes=1)
    telling.withdraw(experiment)
    telling.look(minutes=120)
    assert telling.post.taken == []


@pytest.mark.parametrize(
    ("zone", "start", "end", "moment", "expected"),
    [
        ("UTC", "22:00", "06:00", "2026-01-01T22:00:00+00:00", True),
        ("UTC", "22:00", "06:00", "2026-01-01T05:59:59+00:00", True),
        ("UTC", "22:00", "06:00", "2026-01-01T06:00:00+00:00", False),
        ("UTC", "12:00", "13:00", "2026-01-01T12:30:00+00:00", True),
        ("UTC", "12:00", "13:00", "2026-01-01T13:00:00+00:00", False),
        ("America/New_York", "22:00", "06:00", "2026-01-02T04:00:00+00:00", True),
        # The night on which clocks in Berlin go forward from two to three, and the one on which they go back.
        ("Europe/Berlin", "22:00", "06:00", "2026-03-29T03:59:00+00:00", True),
        ("Europe/Berlin", "22:00", "06:00", "2026-03-29T04:00:00+00:00", False),
        ("Europe/Berlin", "22:00", "06:00", "2026-10-25T04:59:00+00:00", True),
        ("Europe/Berlin", "22:00", "06:00", "2026-10-25T05:00:00+00:00", False),
    ],
)
def test_quiet_hours_are_as_the_wall_clock_shows_them(
    zone: str, start: str, end: str, moment: str, expected: bool
) -> None:
    hours = QuietHours.model_validate({"start": start, "end": end})
    assert is_quiet(Recipient(login="ada", zone=zone, quiet=hours), datetime.fromisoformat(moment)) is expected


def test_so_many_mails_in_an_hour_and_no_more_but_for_urgent_ones(telling: Telling) -> None:
    telling.start(
        """
    - {name: calm, when: [event], events: [calm], same: [n], to: [ada], by: [email]}
    - {name: loud, when: [event], events: [loud], same: [n], to: [ada], by: [email], urgent: true}
""",
        more="mails_per_hour: 3",
    )
    for number in range(6):
        telling.happens("calm", n=number)
    telling.look()
    telling.look(minutes=1)
    assert len(telling.subjects()) == 3
    telling.happens("loud", n=1)
    telling.look()
    assert len(telling.subjects()) == 4
    telling.look(minutes=61)
    assert len(telling.subjects()) == 7


def test_who_has_no_account_any_more_is_not_told(telling: Telling) -> None:
    telling.start(APPROVALS)
    telling.desk.people.set_active("ada", False, "owner")
    telling.propose()
    telling.look(minutes=1)
    assert telling.post.taken == []
    assert telling.told("notification_end")[0]["error"] == "the account is closed"
    telling.look(minutes=60)
    assert len(telling.told("notification_end")) == 1, "once is enough"


# -- sending ----------------------------------------------------------------------------------------------------------


def test_a_mail_server_that_refuses_for_now_is_tried_again_later_and_later(telling: Telling) -> None:
    telling.post.says = ["451 busy", "451 busy", "451 busy"]
    telling.start(APPROVALS)
    telling.propose()
    telling.look(minutes=1)
    for seconds, tries in ((29, 1), (1, 2), (59, 2), (1, 3), (119, 3), (1, 4)):
        telling.look(minutes=seconds / 60)
        assert telling.post.tries == tries, seconds
    assert len(telling.subjects()) == 1
    assert [body["error"][:3] for body in telling.told("notification_end")] == ["ada", "ada", "ada", ""]
    telling.look(minutes=60)
    assert telling.post.tries == 4, "it has arrived"


def test_an_address_that_is_refused_for_good_is_not_tried_again(telling: Telling) -> None:
    telling.post.says = ["550 nobody of that name"]
    telling.start(APPROVALS)
    telling.propose()
    telling.look(minutes=1)
    telling.look(minutes=60)
    assert telling.post.tries == 1
    [end] = telling.told("notification_end")
    assert end["done"] and "550" in end["error"]
    assert telling.notifier.board.of("ada")[0].tries["0:email:ada"].error == end["error"]


def test_a_mail_server_that_is_away_is_given_up_after_a_while(telling: Telling, home: Path) -> None:
    telling.start(APPROVALS)
    telling.notifier._settings = telling.settings(APPROVALS).notifications.model_copy(
        update={"mail": MailSettings(host="127.0.0.1", port=1, security="none", sender="athanor@example.org")}
    )
    telling.propose()
    telling.look(minutes=1)
    for _ in range(MOST_TRIES + 3):
        telling.look(minutes=31)
    assert len(telling.told("notification_try")) == MOST_TRIES
    assert "given up" in telling.told("notification_end")[-1]["error"]


@pytest.mark.parametrize("is_tls_at_once", [False, True])
def test_mail_goes_over_tls_with_a_password(home: Path, hook: Hook, is_tls_at_once: bool, tmp_path: Path) -> None:
    certificate_file, key_file = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    made = Post(user="athanor", password="between us", context=context, is_tls_at_once=is_tls_at_once)
    with posting(made) as post:
        telling = Telling(home, post, hook)
        try:
            security = "tls" if is_tls_at_once else "starttls"
            known = f"security: {security}, user: athanor, password_file: mail-secret"
            telling.start(APPROVALS, mail=f"{known}, authority_file: {certificate_file}")
            telling.propose()
            telling.look(minutes=1)
            assert len(post.taken) == 1 and post.was_safe == [True]
            # A certificate that nobody vouches for, and a server without any, get neither mail nor password.
            settings = telling.settings(APPROVALS, mail=known).notifications.mail
            assert settings is not None
            with pytest.raises(NotSent, match=r"(?i)certificate"):
                mail(settings, "ada@example.org", message(telling), telling.now)
            if not is_tls_at_once:
                post.context = None
                with pytest.raises(NotSent, match="STARTTLS"):
                    mail(settings, "ada@example.org", message(telling), telling.now)
            assert len(post.taken) == 1
        finally:
            telling.close()


def message(telling: Telling, **changes: Any) -> Message:
    known: dict[str, Any] = {"id": "event-1.0.email.ada", "title": "x", "text": "y", "link": None, "what": "event"}
    more = {"campaign_id": None, "urgent": False, "since": telling.now, "is_again": False}
    return Message(**{**known, **more, **changes})


def test_a_wrong_password_is_said_and_tried_again(telling: Telling) -> None:
    telling.post.user, telling.post.password = "athanor", "another"
    telling.start(APPROVALS, mail="security: none, user: athanor, password_file: mail-secret")
    telling.propose()
    telling.look(minutes=1)
    [end] = telling.told("notification_end")
    assert "does not let athanor in" in end["error"] and not end["done"] and "between us" not in json.dumps(end)


def test_nobody_writes_headers_by_the_name_of_a_campaign(telling: Telling) -> None:
    settings = telling.settings(APPROVALS).notifications.mail
    assert settings is not None
    title = "x\r\nBcc: eve@example.org\n\nhello"
    mail(settings, "ada@example.org", message(telling, title=title), telling.now)
    [sent] = telling.post.taken
    assert sent["Bcc"] is None and sent["To"] == "ada@example.org" and "Bcc:" in str(sent["Subject"])


def test_a_webhook_is_signed_and_timed(telling: Telling) -> None:
    telling.start("""
    - {name: chat, when: [approval_waiting], webhooks: [chat]}
""")
    telling.propose()
    telling.look(minutes=1)
    [(headers, body)] = telling.hook.taken
    moment = headers["webhook-timestamp"]
    assert int(moment) == int(telling.now.timestamp())
    key = base64.b64decode("c2VzYW1lIG9wZW4=")
    text = f"{headers['webhook-id']}.{moment}.".encode() + body
    expected = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert json.loads(body)["what"] == "approval_waiting" and json.loads(body)["is_again"] is False
    assert signature("plain", "i", "1", b"x") != signature("other", "i", "1", b"x")


@pytest.mark.parametrize(("says", "tries"), [(500, 2), (429, 2), (404, 1), (302, 1)])
def test_a_webhook_that_does_not_take_it(telling: Telling, says: int, tries: int) -> None:
    telling.hook.says = [says]
    telling.start("""
    - {name: chat, when: [approval_waiting], webhooks: [chat]}
""")
    telling.propose()
    telling.look(minutes=1)
    telling.look(minutes=1)
    assert len(telling.hook.taken) == tries
    assert len({headers["webhook-id"] for headers, _ in telling.hook.taken}) == 1, "the same message, the same id"


# -- a console that ends, dies, or is one of two ----------------------------------------------------------------------


def test_a_console_that_starts_anew_tells_nothing_twice_and_forgets_nothing(telling: Telling) -> None:
    rules = APPROVALS + EVERYTHING
    telling.start(rules)
    telling.went("running")
    telling.propose()
    telling.look(minutes=1)
    telling.went("paused")
    telling.look(minutes=1)
    telling.look(minutes=1)
    assert len(telling.subjects()) == 2
    telling.notifier.stop()
    telling.went("running")
    telling.went("succeeded")
    telling.start(rules)
    telling.look(minutes=1)
    assert telling.subjects()[2:] == ["flow: the campaign is over"]
    assert [one.what for one in telling.notifier.board.open()] == [], "the rest is so no longer"


def test_a_pause_that_lasts_is_not_told_again_by_the_next_console(telling: Telling) -> None:
    telling.start(EVERYTHING)
    telling.went("running")
    telling.went("paused")
    telling.look(minutes=1)
    for _ in range(2):
        telling.notifier.stop()
        telling.start(EVERYTHING)
        telling.look(minutes=30)
    assert len(telling.subjects()) == 1 and len(telling.notifier.board.open()) == 1


def test_what_was_cut_off_is_sent_again_and_says_so(telling: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    telling.start(APPROVALS)
    telling.propose()
    telling.now += timedelta(minutes=1)
    monkeypatch.setattr(telling.notifier, "_collect", lambda: None)  # it dies before it can write what came of it
    telling.notifier.look()
    telling.notifier.settle()
    assert len(telling.subjects()) == 1 and telling.told("notification_end") == []
    assert len(telling.told("notification_try")) == 1, "it was written down before it was sent"
    lease = telling.notifier._lease
    assert lease is not None
    telling.ledger.release_lease(lease)
    telling.start(APPROVALS)
    telling.look()
    assert len(telling.subjects()) == 2
    first, second = telling.post.taken
    assert first["Message-ID"] == second["Message-ID"]
    assert "may have had this message before" in second.get_content()  # type: ignore[attr-defined]


def test_a_ledger_that_is_busy_does_not_make_a_second_mail(telling: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    telling.start(APPROVALS)
    telling.propose()
    telling.now += timedelta(minutes=1)
    telling.notifier.look()
    ended = telling.notifier.board.ended

    def busy(*_: Any, **__: Any) -> None:
        raise LedgerBusy("locked")

    monkeypatch.setattr(telling.notifier.board, "ended", busy)
    with pytest.raises(LedgerBusy):
        telling.notifier.settle()
    with pytest.raises(LedgerBusy):
        telling.notifier.look()
    monkeypatch.setattr(telling.notifier.board, "ended", ended)
    telling.look(minutes=1)
    assert len(telling.subjects()) == 1


def test_of_two_consoles_one_tells(telling: Telling) -> None:
    telling.start(APPROVALS)
    found = telling.desk.settings.notifications
    second = Notifier(telling.ledger, telling.desk.people, found, lambda: [telling.place])
    second._me = "another"
    telling.notifiers.append(second)
    assert telling.notifier.look() and not second.look()
    telling.propose()
    telling.now += timedelta(minutes=0.5)
    assert not second.look() and telling.notifier.look()
    telling.notifier.settle()
    assert len(telling.subjects()) == 1
    telling.now += timedelta(minutes=5)  # the first one hangs
    assert second.look()
    second.settle()
    assert not telling.notifier.look(), "and when it wakes up it lets go"
    assert len(telling.subjects()) == 1


def test_it_is_bounded(telling: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OPEN", 5)
    telling.start("""
    - {name: a, when: [event], events: [one], same: [n], to: [ada], by: [email], escalate: [{after_min: 60, to: [bob]}]}
""")
    for number in range(20):
        telling.happens("one", n=number)
    telling.look()
    assert len(telling.notifier.board.open()) == 5


def test_nobody_is_told_of_what_was_before_there_were_rules(telling: Telling) -> None:
    telling.happens("one")
    telling.went("running")
    telling.went("failed")
    telling.start(EVERYTHING + '\n    - {name: e, when: [event], events: ["*"], to: [ada], by: [email]}\n')
    telling.look(minutes=1)
    assert telling.post.taken == []


def test_it_runs_as_a_thread_and_ends(telling: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    telling.start(APPROVALS)
    looked = telling.notifier.look
    seen: list[bool] = []

    def look() -> bool:
        seen.append(True)
        if len(seen) == 2:
            raise ZeroDivisionError("once")
        if len(seen) == 4:
            telling.notifier._ended.set()
        return looked()

    monkeypatch.setattr(telling.notifier, "look", look)
    telling.notifier.start()
    telling.notifier._thread.join(20)
    telling.notifier.stop()
    assert len(seen) == 4, "an error does not end it"
    assert telling.ledger.lease(module.RESOURCE) is None
