"""What one was told, in a browser; told by a console that runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from athanor.console.notify.board import Board
from athanor.console.notify.happenings import Happening
from athanor.memory.ledger import Ledger
from tests.console.pages.browser import Console, accessible, open_console
from tests.console.post import Post, posting

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SETTINGS = """
notifications:
  people:
    - {{login: operator, email: operator@example.org, zone: Europe/Berlin, quiet: {{start: "22:00", end: "06:30"}}}}
    - {{login: scientist}}
  mail: {{host: 127.0.0.1, port: {mail}, sender: athanor@example.org, security: none}}
  rules:
    - name: pumps
      when: [event]
      events: [pump_failed]
      same: [pump]
      to: [operator]
      by: [email, browser]
      urgent: true
    - {{name: later, when: [stop_all], to: [operator], escalate: [{{after_min: 5, to: [scientist]}}]}}
"""


@pytest.fixture
def post() -> Iterator[Post]:
    with posting(Post()) as made:
        yield made


@pytest.fixture
def telling(home: Path, tmp_path: Path, post: Post) -> Iterator[Console]:
    (home / "console.yaml").write_text(SETTINGS.format(mail=post.port))
    with open_console(home, tmp_path / "console.log") as made:
        yield made
        made.check()


def test_what_happens_is_told_in_the_page_and_by_mail_and_taken_note_of(
    telling: Console, browser: Browser, home: Path, post: Post
) -> None:
    page = telling.page(browser, "operator")
    page.context.grant_permissions(["notifications"])
    page.evaluate("""() => {
        window.popped = [];
        window.Notification = class {
            static permission = "granted";
            constructor(title, more) { window.popped.push([title, more.tag]); }
            close() {}
        };
    }""")
    expect(page.get_by_role("link", name="Notifications: nothing new")).to_be_visible()
    with Ledger.open(home / "ledger.db") as ledger:
        ledger.add_event(None, "pump_failed", {"pump": "one", "reason": "it leaks"})
        bell = page.get_by_role("link", name="Notifications: 1 new")
        expect(bell).to_be_visible()
        page.wait_for_function("window.popped.length === 1")
        bell.click()
        expect(page.get_by_role("link", name="pump failed")).to_be_visible()
        expect(page.get_by_text("it leaks")).to_be_visible()
        expect(page.get_by_text("from 22:00 until 06:30, Europe/Berlin")).to_be_visible()
        accessible(page)
        page.get_by_role("button", name="Take note: pump failed").click()
        expect(page.get_by_text("✓ Nothing new.")).to_be_visible()
        expect(page.get_by_role("link", name="Notifications: nothing new")).to_be_visible()
        page.get_by_role("button", name="Show earlier ones, too").click()
        expect(page.get_by_text("✓ You have taken note.")).to_be_visible()
        expect(page.get_by_text("Known to operator.")).to_be_visible()
        [read] = ledger.events(kinds=["notification_read"])
        assert read.body["login"] == "operator"
    assert post.to("operator@example.org") == ["[urgent] pump failed"]


def test_nobody_is_told_where_there_are_no_rules(console: Console, browser: Browser) -> None:
    page = console.page(browser, "observer")
    page.get_by_role("link", name="Notifications: nothing new").click()
    expect(page.get_by_text("This site tells nobody anything yet.")).to_be_visible()
    expect(page.get_by_text("✓ Nothing new.")).to_be_visible()


def test_what_is_told_is_text_whatever_it_says(telling: Console, browser: Browser, home: Path) -> None:
    with Ledger.open(home / "ledger.db") as ledger:
        now = datetime.now(UTC)
        hostile = "<img src=x onerror=alert(1)>"
        one = Happening("k", "g", "stop_all", hostile, hostile, hostile, "/", now, None)
        Board(ledger).tell(
            "later", "g", one, to=("scientist",), webhooks=(), by=("browser",), urgent=False, not_before=now, seen=1
        )
    page = telling.page(browser, "scientist", width=768, dark=True)
    page.goto(telling.url("/notifications"))
    expect(page.get_by_text("if nobody has taken note after 5 min")).to_be_visible()
    page.get_by_role("button", name="Show earlier ones, too").click()
    expect(page.get_by_role("link", name=hostile)).to_be_visible()
    accessible(page)
    assert page.locator("main img").count() == 0
