"""Memory in a browser: a search with its matches, ranges with units, and campaigns side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from athanor.memory.ledger import Ledger
from benchmarks.large_ledger import fill
from tests.console.pages.browser import Console, accessible

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_an_empty_memory_says_what_to_do(console: Console, browser: Browser) -> None:
    page = console.page(browser, "observer")
    page.get_by_role("link", name="Memory").click()
    expect(page.get_by_text("Search for a word")).to_be_visible()
    expect(page.get_by_text("There is no campaign yet.")).to_be_visible()
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("Nothing was found.")).to_be_visible()
    accessible(page)


def test_searching_and_comparing(console: Console, browser: Browser, home: Path) -> None:
    with Ledger.open(home / "ledger.db") as ledger:
        one, two = fill(ledger, experiments=160, campaigns=2)
        [other] = fill(ledger, experiments=20, campaigns=1, laboratory="ald-window")
        warm = sum(60.0 <= float(e.values["temperature"]) <= 80.0 for c in (one, two) for e in ledger.experiments(c))
    page = console.page(browser, "observer")
    page.goto(console.url("/memory"))
    page.get_by_label("Words").fill("raising temp")
    page.keyboard.press("Enter")
    expect(page.get_by_text("3 hits.")).to_be_visible()
    hits = page.locator(".hits > li")
    expect(hits.first.locator("mark")).to_have_text(["Raising", "temperature"])
    expect(hits.first).to_contain_text("by made-up person")
    page.get_by_label("Words").fill("")
    page.get_by_text("More filters").click()
    page.get_by_label("Parameter ranges").fill("temperature:333.15..353.15 K")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"{warm} hits.")).to_be_visible()
    expect(hits.first).to_contain_text("°C")
    page.get_by_label("Parameter ranges").fill("temperature 60")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("NAME:LOW..HIGH UNIT")
    page.get_by_label("Parameter ranges").fill("")
    page.get_by_label("Among").select_option("experiments")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Search").click()
    expect(hits).to_have_count(50)
    page.get_by_role("button", name="Show more").click()
    expect(hits).to_have_count(100)

    page.get_by_label("Among").select_option("campaigns")
    page.get_by_role("button", name="Search").click()
    expect(hits).to_have_count(3)
    for campaign in (one, two):
        page.get_by_role("button", name=f"Compare {campaign}").click()
    expect(page.get_by_text("One and the same problem")).to_be_visible()
    table = page.get_by_role("table", name="Campaigns side by side")
    expect(table).to_contain_text("temperature")
    picture = page.get_by_role("img", name="hypervolume")
    expect(picture).to_be_visible()
    accessible(page)
    page.get_by_label("Campaign", exact=True).select_option(other)
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("note")).to_contain_text(f"{other} cannot be held against that of {one}")
    page.reload()  # the address says what is compared
    expect(table).to_contain_text(other)
    page.get_by_role("button", name=f"Do not compare {other}").click()
    expect(page.get_by_text("One and the same problem")).to_be_visible()
