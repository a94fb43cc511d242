"""The frame of the pages: signing in, the menu, Stop All, what is said when the console goes away."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pyotp
import pytest
from playwright.sync_api import expect

from athanor.console.pages import ADDRESSES, POLICY
from athanor.governance.people import PEOPLE, People
from athanor.governance.rights import ROLES
from athanor.instruments.config import Config
from athanor.instruments.laboratory import load
from athanor.instruments.latch import Latch
from athanor.memory.places import InstrumentPlace
from tests.console.pages.browser import PASSWORD, Console, accessible, campaign_process
from tests.console.serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

PLAIN = [address for address in ADDRESSES if "{" not in address]


def sign_in(page: Page, login: str, password: str = PASSWORD) -> None:
    page.get_by_label("Login").fill(login)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def instrument(home: Path) -> InstrumentPlace:
    place = InstrumentPlace.of("snar-flow", home)
    place.directory.mkdir(parents=True, exist_ok=True)
    Config(load("snar-flow").profile(), {}).write(place)
    return place


def test_the_first_page_asks_who_one_is_and_an_empty_site_says_so(console: Console, browser: Browser) -> None:
    page = console.visitor(browser)
    page.goto(console.url())
    sign_in(page, "operator", "not this one at all")
    expect(page.get_by_role("alert")).to_contain_text("login or password is wrong")
    accessible(page)
    sign_in(page, "operator")
    expect(page.get_by_text("There is no campaign yet.")).to_be_visible()
    expect(page.get_by_text("Nothing waits for a decision.")).to_be_visible()
    expect(page.get_by_text("● live")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Login")).to_be_visible()


def test_a_second_factor_is_set_up_and_asked_for(console: Console, browser: Browser) -> None:
    page = console.page(browser, "scientist")
    page.goto(console.url("/account"))
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Set it up").click()
    secret = page.locator(".secret").inner_text()
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Code").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("Keep these recovery codes.")).to_be_visible()
    recovery = page.locator(".secret").inner_text().split()[0]
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, "scientist")
    expect(page.get_by_text("One more step")).to_be_visible()
    page.get_by_label("Code").fill(recovery)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()


@pytest.mark.slow
def test_every_role_sees_its_menu_and_every_page_can_be_used_by_all(
    console: Console, browser: Browser, home: Path
) -> None:
    """No page breaks for a role that may not do what it is for, none fails axe-core's rules, in light and in dark."""
    instrument(home)
    for number, role in enumerate(ROLES):
        page = console.page(browser, role, dark=number % 2 == 0)
        expect(page.get_by_role("link", name="People")).to_have_count(1 if role == "owner" else 0)
        for address in PLAIN:
            page.goto(console.url(address))
            page.get_by_role("heading", level=1).first.wait_for()
            page.wait_for_load_state("networkidle") if address == "/sign-in" else None
            expect(page.get_by_text("This page failed")).to_have_count(0)
            expect(page.locator("button.stop")).to_be_visible()
            accessible(page)


def test_a_password_that_was_given_out_is_changed_first(console: Console, browser: Browser, home: Path) -> None:
    given = People(home / PEOPLE, lambda kind, body: None).add("ada", "Ada", "operator", "owner")
    page = console.visitor(browser)
    page.goto(console.url())
    sign_in(page, "ada", given)
    expect(page.get_by_text("Your password was given out by somebody else.")).to_be_visible()
    page.get_by_label("Present password").fill(given)
    page.get_by_label("New password", exact=True).fill("nine grey herons wade")
    page.get_by_label("New password again").fill("nine grey herons wade")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_a_session_that_is_ended_meanwhile_ends_on_the_open_page(
    console: Console, browser: Browser, home: Path
) -> None:
    page = console.page(browser, "operator")
    with contextlib.closing(console.client("owner")) as owner:
        [session] = [s for s in owner.get("/sessions").json() if s["login"] == "operator"]
        owner.delete(f"/sessions/{session['id']}").raise_for_status()
    # Nobody presses anything: the stream of changes says so.
    expect(page.get_by_label("Login")).to_be_visible(timeout=15_000)
    expect(page.get_by_text("this session has ended")).to_be_visible()


def test_an_action_after_the_role_was_taken_is_refused(console: Console, browser: Browser, home: Path) -> None:
    page = console.page(browser, "owner")
    page.goto(console.url("/people"))
    page.get_by_role("button", name="Add somebody").click()
    people = People(home / PEOPLE, lambda kind, body: None)
    people.add("second", "Second", "owner", "test")
    people.set_role("owner", "observer", "second")
    page.get_by_label("Login").fill("mallory")
    page.get_by_label("Name").fill("Mallory")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("may not")
    assert "mallory" not in {person.login for person in people.everybody()}


@pytest.mark.slow
def test_stop_all_while_the_console_is_away_says_so_and_is_done_when_it_is_back(
    home: Path, tmp_path: Path, browser: Browser
) -> None:
    """A press that no console heard is not lost without a word: the page says so, and asks until it is heard."""
    from tests.console.pages.browser import free_port, with_accounts

    place = instrument(home)
    with_accounts(home)
    port, log = free_port(), tmp_path / "log"
    console = Console(port)
    try:
        with serving(port, log):
            page = console.page(browser, "observer")
        page.get_by_role("button", name="Stop All").click()
        expect(page.get_by_text("NOT STOPPED")).to_be_visible()
        expect(page.get_by_text("✕ not live")).to_be_visible()
        assert not Latch(place).read().engaged
        page.keyboard.press("Escape")  # which gives up; who presses again meanwhile means it
        page.get_by_role("button", name="Stop All").click()
        expect(page.get_by_text("NOT STOPPED")).to_be_visible()
        with serving(port, log):
            expect(page.get_by_role("dialog")).to_contain_text("snar-flow")
            assert Latch(place).read().by == "observer"
            page.keyboard.press("Escape")
            expect(page.get_by_text("● live")).to_be_visible(timeout=15_000)
    finally:
        console.close()


def test_a_stream_that_was_ended_or_refused_is_asked_for_again(console: Console, browser: Browser) -> None:
    page = console.page(browser, "operator")
    ended = 'event: ended\ndata: {"code": "unforeseen", "detail": "a fault of the ledger", "remedy": null}\n\n'
    answers = [(200, "text/event-stream", ended), (503, "application/json", "{}")]

    def fail(route: Route) -> None:
        if not answers:
            route.continue_()
            return
        status, kind, body = answers.pop(0)
        route.fulfill(status=status, content_type=kind, body=body)

    page.route("**/api/v1/changes", fail)
    page.goto(console.url())
    expect(page.get_by_text("✕ not live")).to_be_visible()
    expect(page.get_by_text("● live")).to_be_visible(timeout=30_000)
    assert answers == []
    console.faults.clear()  # the refusal is one, and was wanted


def test_what_could_not_be_read_just_now_is_read_again(console: Console, browser: Browser) -> None:
    page = console.page(browser, "owner")
    answers = [503, 429]

    def fail(route: Route) -> None:
        if answers:
            route.fulfill(
                status=answers.pop(0), content_type="application/json", body='{"code": "busy", "detail": "x"}'
            )
        else:
            route.continue_()

    page.route("**/api/v1/people", fail)
    page.goto(console.url("/people"))
    expect(page.get_by_role("cell", name="scientist").first).to_be_visible(timeout=30_000)
    assert answers == []
    console.faults.clear()  # the refusals were wanted


def test_a_pages_policy_lets_nothing_in_that_was_injected(console: Console, browser: Browser) -> None:
    page = console.visitor(browser)
    answer = page.goto(console.url())
    assert answer is not None and answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY and "frame-ancestors 'none'" in POLICY
    ran = page.evaluate(
        """() => new Promise((done) => {
            window.ran = [];
            const script = document.createElement('script'); script.textContent = "window.ran.push('script')";
            document.head.append(script);
            const image = document.createElement('img'); image.setAttribute('onerror', "window.ran.push('handler')");
            image.src = '/none.png'; document.body.append(image);
            setTimeout("window.ran.push('eval')");
            setTimeout(() => done(window.ran), 300);
        })"""
    )
    assert ran == []
    console.faults.clear()  # the browser said so, as it should


@pytest.mark.slow
def test_at_the_size_of_a_tablet_nothing_runs_over(
    console: Console, browser: Browser, home: Path, tmp_path: Path
) -> None:
    with campaign_process(home, tmp_path) as campaign:
        page = console.page(browser, "operator", width=768, height=1024)
        for address in ("/", f"/campaigns/{campaign}", f"/experiments/{campaign}.1", "/account"):
            page.goto(console.url(address))
            page.get_by_role("heading", level=1).first.wait_for()
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 768, f"{address} is {width} wide"
            accessible(page)
