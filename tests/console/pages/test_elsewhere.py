"""Signing in at a provider, in a browser: there, its login page, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.console.pages.browser import PASSWORD, Console, accessible, open_console
from tests.console.provider import Account, Provider, providing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SETTINGS = """
sign_in:
  providers:
    - name: institute
      title: Institute account
      issuer: {issuer}
      client_id: athanor
      roles: [{{claim: groups, value: lab, role: operator}}]
"""


@pytest.fixture
def provider() -> Iterator[Provider]:
    accounts = {
        "ada": Account("sesame", {"sub": "1", "preferred_username": "ada", "name": "Ada L.", "groups": ["lab"]}),
        "eve": Account("sesame", {"sub": "2", "preferred_username": "eve"}),
    }
    with providing(Provider(accounts=accounts, client_secret=None)) as made:
        yield made


@pytest.fixture
def linked(home: Path, tmp_path: Path, provider: Provider) -> Iterator[Console]:
    (home / "console.yaml").write_text(SETTINGS.format(issuer=provider.issuer))
    with open_console(home, tmp_path / "console.log") as made:
        yield made
        made.faults[:] = [fault for fault in made.faults if f"asked for {provider.base}" not in fault]
        made.check()


def at_the_provider(page: Page, user: str, secret: str = "sesame") -> None:
    page.get_by_label("User").fill(user)
    page.get_by_label("Secret").fill(secret)
    page.get_by_role("button", name="Go").click()


def test_somebody_signs_in_there_and_is_here(linked: Console, browser: Browser) -> None:
    page = linked.visitor(browser)
    page.goto(linked.url())
    button = page.get_by_role("button", name="Continue with Institute account")
    expect(button).to_be_visible()
    accessible(page)
    button.click()
    at_the_provider(page, "ada")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(page.get_by_text("(operator)")).to_be_visible()
    assert page.url == linked.url("/") and "code=" not in page.evaluate("document.referrer")
    page.go_back()
    assert "code=" not in page.url, "what the provider gave is not kept in the history"


def test_who_is_not_let_in_is_told_why(linked: Console, browser: Browser, provider: Provider) -> None:
    page = linked.visitor(browser)
    page.goto(linked.url())
    page.get_by_role("button", name="Continue with Institute account").click()
    at_the_provider(page, "ada", "wrong")
    expect(page.get_by_role("alert")).to_contain_text("did not sign you in (access_denied)")
    page.get_by_role("button", name="Continue with Institute account").click()
    at_the_provider(page, "eve")
    expect(page.get_by_role("alert")).to_contain_text("no rule of this site gives you a role")
    provider.status = 500
    page.goto(linked.url("/sign-in?code=stolen&state=in.made-up"))
    expect(page.get_by_role("alert")).to_contain_text("did not begin in this tab")
    assert "code=" not in page.url


def test_one_s_account_is_linked_and_unlinked(linked: Console, browser: Browser) -> None:
    page = linked.page(browser, "owner")
    page.goto(linked.url("/account"))
    page.get_by_role("button", name="Link with Institute account").click()
    page.get_by_label("Your password here").fill("not this one")
    page.get_by_role("button", name="Go there and link").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    page.get_by_label("Your password here").fill(PASSWORD)
    page.get_by_role("button", name="Go there and link").click()
    at_the_provider(page, "eve")
    expect(page.get_by_text("Linked: from now on")).to_be_visible()
    page.get_by_role("link", name="Go to your account").click()
    accessible(page)
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_role("button", name="Continue with Institute account").click()
    at_the_provider(page, "eve")
    expect(page.get_by_text("(owner)")).to_be_visible()
    page.goto(linked.url("/account"))
    page.get_by_role("button", name="Unlink").click()
    expect(page.get_by_text("Your account is linked with nothing.")).to_be_visible()
