"""The audit in a browser: rows, filters, a row in full, the record verified, a copy taken."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from athanor.memory.ledger import Ledger
from benchmarks.large_ledger import fill
from tests.console.pages.browser import Console, accessible

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def campaign(console: Console, home: Path) -> str:
    with Ledger.open(home / "ledger.db") as ledger:
        return fill(ledger, experiments=40, campaigns=1)[0]


def test_who_did_what_is_found(console: Console, browser: Browser, home: Path, campaign: str) -> None:
    with contextlib.closing(console.client("observer")) as client:
        assert client.get("/people").status_code == 403
    page = console.page(browser, "steward")
    page.get_by_role("link", name="Audit").click()
    table = page.get_by_role("table", name="Rows of the journal")
    expect(table).to_contain_text("signed in from 127.0.0.1")
    rows = table.locator("tbody tr")
    expect(rows).to_have_count(100)
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(200)
    accessible(page)
    page.get_by_label("Refusals only").check()
    page.get_by_label("Who", exact=True).fill("observer")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("refused")
    expect(rows).to_contain_text("was refused /api/v1/people, which needs people.manage")
    page.reload()  # the address says what was asked for
    expect(rows).to_have_count(1)
    with page.expect_download() as loading:
        page.get_by_role("link", name="Copy of these rows").click()
    [line] = Path(loading.value.path()).read_text().splitlines()
    assert json.loads(line)["kind"] == "event" and len(json.loads(line)["hash"]) == 64
    page.get_by_label("Who", exact=True).fill("nobody at all")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_text("There is no such row.")).to_be_visible()
    page.get_by_role("button", name="Show everything").click()
    page.get_by_label("Kind").fill("decision, audit exported")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("took a copy of the journal")
    expect(rows.last).to_contain_text("granted autonomy to")

    # One row in full, and on to the one before it, by keyboard alone.
    rows.last.get_by_role("button").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("✓ that of this text")
    expect(dialog).to_contain_text("made-up person")
    dialog.get_by_role("button", name="Row before").press("Enter")
    expect(dialog).to_contain_text("opened the campaign")
    accessible(page)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_the_record_is_verified_and_what_is_broken_is_shown(
    console: Console, browser: Browser, home: Path, campaign: str
) -> None:
    page = console.page(browser, "owner")
    page.goto(console.url("/audit"))
    expect(page.get_by_text("Not verified since this console was started.")).to_be_visible()
    page.get_by_role("button", name="Verify the record").click()
    expect(page.get_by_text("all as they were written")).to_be_visible(timeout=60_000)
    with contextlib.closing(sqlite3.connect(home / "ledger.db")) as file, file:
        position = file.execute("SELECT position FROM journal WHERE kind = 'observation' LIMIT 1").fetchone()[0]
        file.execute(
            "UPDATE journal SET body = replace(body, '\"mean\":', '\"mean\":9') WHERE position = ?", (position,)
        )
    page.get_by_role("button", name="Verify the record").click()
    expect(page.get_by_text("The record is not whole")).to_be_visible(timeout=60_000)
    accessible(page)
    page.get_by_role("button", name=f"Show row {position}").click()
    expect(page.get_by_role("dialog")).to_contain_text("not that of this text: the row was altered")
    page.keyboard.press("Escape")
    page.get_by_label("Campaign").fill(campaign)
    page.get_by_label("Kind").fill("observation")
    page.get_by_label("Order").select_option("oldest")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("table", name="Rows of the journal").locator("tbody tr").first).to_contain_text("altered")


def test_who_may_not_see_it_is_told(console: Console, browser: Browser) -> None:
    for role in ("scientist", "developer"):
        page = console.page(browser, role)
        page.goto(console.url("/audit"))
        expect(page.get_by_text("Your role may not see the audit")).to_be_visible()
