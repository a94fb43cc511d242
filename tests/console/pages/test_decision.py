"""Deciding in a browser, while the campaign runs in another process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from athanor.instruments.latch import Latch
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace
from tests.console.pages.browser import Console, campaign_process, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.slow


def test_a_shift_at_the_console(console: Console, browser: Browser, home: Path, tmp_path: Path) -> None:
    """See what waits, approve by key, edit, reject, propose, pause, stop."""
    with campaign_process(home, tmp_path) as campaign, Ledger.open(home / "ledger.db") as ledger:
        page = console.page(browser, "operator")

        # What waits stands first, and leads to the decision; the page says what it is about.
        page.get_by_role("link", name=f"{campaign}.1").click()
        expect(page.get_by_role("heading", name=f"{campaign}.1")).to_be_visible()
        expect(page.get_by_role("table", name="The settings")).to_contain_text("residence_time")
        approve(page)
        expect(page.get_by_text("Approved. It runs when the instrument is free.")).to_be_visible()
        until(lambda: ledger.experiment(f"{campaign}.1").state == "completed")

        # The next one comes by itself, from the other process.
        page.get_by_role("link", name="Next decision").click()
        expect(page.get_by_role("heading", name=f"{campaign}.2")).to_be_visible()

        # Editing says what is wrong while one types, and puts another experiment in its place.
        page.keyboard.press("e")
        field = page.get_by_label("temperature")
        field.fill("4000")
        expect(page.locator(".wrong").first).to_contain_text("temperature")
        field.fill("77")
        page.get_by_role("textbox", name="Why").fill("warmer than usual")
        page.get_by_role("button", name="Put this in its place").click()
        expect(page.get_by_role("heading", name=f"{campaign}.3")).to_be_visible()
        assert ledger.experiment(f"{campaign}.3").values["temperature"] == 77.0
        page.keyboard.press("r")
        page.get_by_role("textbox", name="Why").fill("on second thoughts")
        page.get_by_role("button", name="✕ Reject", exact=True).click()
        expect(page.get_by_text("It is rejected already.")).to_be_visible()
        assert "on second thoughts" in str(ledger.experiment(f"{campaign}.3").reason)

        # One of one's own, from the campaign's page.
        page.goto(console.url(f"/campaigns/{campaign}"))
        page.get_by_role("button", name="Put up one of your own").click()
        for name, value in {"residence_time": 1, "equivalents": 2, "concentration": 0.3, "temperature": 60}.items():
            page.get_by_role("textbox", name=name).fill(str(value))
        page.get_by_role("button", name="Put it up").click()
        expect(page.get_by_text("put up by operator")).to_be_visible()

        # Pause, from the page; the process that drives it obeys.
        page.goto(console.url(f"/campaigns/{campaign}"))
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text("It pauses as soon as nothing is half done.")).to_be_visible()
        until(lambda: ledger.campaign(campaign).state == "paused")
        expect(page.locator(".head").get_by_text("paused")).to_be_visible()

        # One press stops, and says what became of it.
        page.get_by_role("button", name="Stop All").click()
        expect(page.get_by_role("dialog")).to_contain_text("snar-flow: ✓ stopped")
        assert Latch(InstrumentPlace.of("snar-flow", home)).read().by == "operator"
        page.keyboard.press("Escape")
        page.goto(console.url())
        expect(page.get_by_text("Stop All is latched").first).to_be_visible()


def test_who_comes_second_is_told(console: Console, browser: Browser, home: Path, tmp_path: Path) -> None:
    with campaign_process(home, tmp_path) as campaign, Ledger.open(home / "ledger.db"):
        first, second = console.page(browser, "operator"), console.page(browser, "scientist")
        for page in (first, second):
            page.goto(console.url(f"/experiments/{campaign}.1"))
            expect(page.get_by_role("button", name="Approve")).to_be_enabled()
        first.keyboard.press("r")
        first.get_by_role("textbox", name="Why").fill("not today")
        # While the first one writes, the second decides.
        approve(second)
        expect(second.get_by_text("Approved.")).to_be_visible()
        expect(second.locator(".head").get_by_text("proposed")).to_be_hidden()  # the news of it has come
        expect(second.get_by_text("This is not what you looked at any more.")).to_be_hidden()
        first.get_by_role("button", name="✕ Reject", exact=True).click()
        expect(first.get_by_role("dialog").get_by_role("alert")).to_be_visible()
        first.keyboard.press("Escape")
        expect(first.get_by_text("This is not what you looked at any more.")).to_be_visible()


def test_an_answer_that_the_line_lost_is_asked_for_again_and_decides_once(
    console: Console, browser: Browser, home: Path, tmp_path: Path
) -> None:
    with campaign_process(home, tmp_path) as campaign, Ledger.open(home / "ledger.db") as ledger:
        page = console.page(browser, "operator")
        page.goto(console.url(f"/experiments/{campaign}.1"))
        expect(page.get_by_role("button", name="Approve")).to_be_enabled()
        answers: list[int] = []

        def lose_the_first(route: Route) -> None:
            answer = route.fetch()
            answers.append(answer.status)
            route.abort() if len(answers) == 1 else route.fulfill(response=answer)

        page.route("**/approve", lose_the_first)
        approve(page)
        expect(page.get_by_text("Approved. It runs when the instrument is free.")).to_be_visible()
        assert answers == [201, 201]
        assert len([one for one in ledger.decisions(campaign) if one.kind == "approve"]) == 1


def test_a_browser_that_is_lost_in_the_middle_leaves_one_outcome_for_the_next_to_see(
    console: Console, browser: Browser, home: Path, tmp_path: Path
) -> None:
    with campaign_process(home, tmp_path) as campaign, Ledger.open(home / "ledger.db") as ledger:
        page = console.page(browser, "operator")
        page.goto(console.url(f"/experiments/{campaign}.1"))
        expect(page.get_by_role("button", name="Approve")).to_be_enabled()
        page.keyboard.press("r")
        page.get_by_role("textbox", name="Why").fill("half a rea")
        page.context.close()  # nothing was sent
        assert ledger.experiment(f"{campaign}.1").state == "proposed" and not ledger.decisions(campaign)
        page = console.page(browser, "operator")
        page.goto(console.url(f"/experiments/{campaign}.1"))
        expect(page.get_by_role("button", name="Approve")).to_be_enabled()
        with page.expect_request("**/approve"):
            approve(page)
        page.context.close()  # sent, and nobody there for the answer
        until(lambda: ledger.experiment(f"{campaign}.1").state == "completed")
        assert [one.decided_by for one in ledger.decisions(campaign) if one.kind == "approve"] == ["operator"]
        page = console.page(browser, "scientist")
        page.goto(console.url(f"/experiments/{campaign}.1"))
        expect(page.get_by_text("It is completed already.")).to_be_visible()


def test_everything_is_decided_with_the_keyboard_alone(
    console: Console, browser: Browser, home: Path, tmp_path: Path
) -> None:
    with campaign_process(home, tmp_path) as campaign, Ledger.open(home / "ledger.db") as ledger:
        page = console.page(browser, "operator")
        expect(page.get_by_role("link", name=f"{campaign}.1")).to_be_visible()
        tab_to(page, f"{campaign}.1")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Approve")).to_be_enabled()
        key(page, "m")
        expect(page.get_by_role("textbox", name="Remark")).to_be_focused()
        page.keyboard.type("watch the pump")
        tab_to(page, "Keep it")
        page.keyboard.press("Enter")
        expect(page.get_by_text("watch the pump")).to_be_visible()
        key(page, "d")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        key(page, "e")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Control+a")
        page.keyboard.type("0.4")
        tab_to(page, "Why")
        page.keyboard.type("less of it")
        tab_to(page, "Put this in its place")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=f"{campaign}.2")).to_be_visible()
        key(page, "r")
        expect(page.get_by_role("textbox", name="Why")).to_be_focused()
        page.keyboard.type("no")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_text("It is rejected already.")).to_be_visible()
        until(lambda: ledger.experiments(campaign, ["proposed"]))
        key(page, "n")
        expect(page.get_by_role("heading", name=f"{campaign}.3")).to_be_visible()
        approve(page)
        expect(page.get_by_text("Approved. It runs when the instrument is free.")).to_be_visible()
        tab_to(page, "Stop All", backwards=True)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text("snar-flow: ✓ stopped")


def approve(page: Page) -> None:
    """By key: it leads to the button, and Enter presses it."""
    page.evaluate("new Promise((done) => setTimeout(done, 600))")  # keys right after another count for nothing
    page.keyboard.press("a")
    page.keyboard.press("Enter")


def test_what_is_typed_a_moment_too_early_decides_nothing(
    console: Console, browser: Browser, home: Path, tmp_path: Path
) -> None:
    with campaign_process(home, tmp_path) as campaign, Ledger.open(home / "ledger.db") as ledger:
        page = console.page(browser, "operator")
        page.goto(console.url(f"/experiments/{campaign}.1"))
        expect(page.get_by_role("button", name="Approve")).to_be_enabled()
        page.keyboard.press("m")
        page.keyboard.type("watch an area")  # the dialog opens somewhere in between
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        page.keyboard.type("a remark, and reading it again")  # and nothing is open
        assert not ledger.decisions(campaign) and ledger.experiment(f"{campaign}.1").state == "proposed"


def test_a_key_counts_from_the_moment_its_button_is_there(
    console: Console, browser: Browser, home: Path, tmp_path: Path
) -> None:
    with campaign_process(home, tmp_path) as campaign:
        page = console.page(browser, "operator")
        page.add_init_script("""new MutationObserver((_, watch) => {
          if (!document.getElementById("approve")) return;
          watch.disconnect();
          document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "m", bubbles: true }));
        }).observe(document, { childList: true, subtree: true });""")
        page.goto(console.url(f"/experiments/{campaign}.1"))
        expect(page.get_by_role("textbox", name="Remark")).to_be_focused()


def key(page: Page, name: str) -> None:
    page.evaluate("new Promise((done) => setTimeout(done, 600))")
    page.keyboard.press(name)


def tab_to(page: Page, name: str, *, backwards: bool = False) -> None:
    """Press Tab until what has the focus is called so."""
    for _ in range(80):
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
        said = page.evaluate(
            "(() => { const it = document.activeElement;"
            " return (it.labels && it.labels[0] ? it.labels[0] : it).innerText || ''; })()"
        )
        if name in said and len(said) < 80:
            return
    raise AssertionError(f"Tab does not come to {name!r}")


def test_who_may_not_decide_sees_why(console: Console, browser: Browser, home: Path, tmp_path: Path) -> None:
    with campaign_process(home, tmp_path) as campaign:
        page = console.page(browser, "observer")
        page.goto(console.url(f"/experiments/{campaign}.1"))
        expect(page.get_by_text("Your role may not decide experiments here.")).to_be_visible()
        approve(page)
        expect(page.locator("button.stop")).to_be_enabled()
        with Ledger.open(home / "ledger.db") as ledger:
            assert ledger.experiment(f"{campaign}.1").state == "proposed"
