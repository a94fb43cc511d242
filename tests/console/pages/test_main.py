"""The frame of the pages: signing in, the menu, Stop All, what is said when the console goes away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.console.pages.browser import Console

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_the_first_page_asks_who_one_is_and_an_empty_site_says_so(console: Console, browser: Browser) -> None:
    page = console.visitor(browser)
    page.goto(console.url())
    page.get_by_label("Login").fill("operator")
    page.get_by_label("Password").fill("not this one at all")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("login or password is wrong")
    page = console.page(browser, "operator")
    expect(page.get_by_text("There is no campaign yet.")).to_be_visible()
    expect(page.get_by_text("Nothing waits for a decision.")).to_be_visible()
    expect(page.get_by_text("● live")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Login")).to_be_visible()
