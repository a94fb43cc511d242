"""A new campaign in the browser: from a challenge to a campaign that runs, faults, rehearsal, grants and batches."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from athanor.agents.campaign import open_campaign, propose_experiment
from athanor.agents.spec import parse
from athanor.memory.ledger import Ledger
from tests.console.api.site_rig import POINT
from tests.console.api.test_starting import ASKING, SHORT
from tests.console.pages.browser import Console, accessible, until
from tests.console.serving import end_campaigns

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SLOW_MS = 60_000


@pytest.fixture
def ledger(console: Console, home: Path) -> Iterator[Ledger]:
    """The site's ledger; what was started in it ends with the test."""
    with Ledger.open(home / "ledger.db") as opened:
        yield opened
        end_campaigns(opened)


def begin(page: Page, console: Console, text: str | None = None) -> None:
    page.goto(console.url("/new"))
    if text is None:
        page.get_by_role("button", name="Start from snar-flow").click()
    else:
        page.get_by_label("A campaign file from this computer").set_input_files(
            {"name": "campaign.yaml", "mimeType": "text/yaml", "buffer": text.encode()}
        )
    expect(page.get_by_role("heading", name="Form")).to_be_visible()


def file_of(page: Page) -> str:
    return page.get_by_role("textbox", name="The file").input_value()


def test_a_challenge_becomes_a_campaign_that_outlives_the_console(
    console: Console, browser: Browser, ledger: Ledger
) -> None:
    page = console.page(browser, "operator")
    page.get_by_role("link", name="New campaign").click()
    expect(page.get_by_text("Nothing starts before you say so")).to_be_visible()
    begin(page, console)
    expect(page.get_by_text("✓ can run")).to_be_visible()
    accessible(page)
    # The form writes into the file, and its comments stay.
    experiments = page.get_by_label("Experiments at most")
    experiments.fill("4")
    experiments.press("Enter")
    expect(page.get_by_role("textbox", name="The file")).to_have_value(re.compile(r"experiments: 4\}"))
    assert "# 2 % error on every reading" in file_of(page)
    box = page.get_by_role("textbox", name="The file")
    box.fill(file_of(page) + "planner: random\nreasoner: none\n")
    expect(page.get_by_text("4 experiments")).to_be_visible()
    page.get_by_role("button", name="Start …").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("simulated instrument snar-flow will be moved")
    expect(dialog).to_contain_text("approve its own experiments")
    accessible(page)
    dialog.get_by_role("button", name="Start it").click()
    page.wait_for_url("**/campaigns/*")
    expect(page.get_by_role("heading", name="Fast, clean SnAr conditions")).to_be_visible()
    console.kill()
    [campaign] = ledger.campaigns()
    until(lambda: ledger.campaign(campaign.id).state == "succeeded")
    assert len(ledger.experiments(campaign.id, ["completed"])) == 4
    assert ledger.decisions(campaign.id)[0].decided_by == "operator"


def test_a_faulty_file_is_explained_at_its_place(console: Console, browser: Browser) -> None:
    page = console.page(browser, "scientist")
    wrong = SHORT.replace("unit: degC", "unit: K").replace("planner: random", "planer: random")
    begin(page, console, wrong)
    expect(page.get_by_text("✕ 2 faults")).to_be_visible()
    faults = page.locator("#faults li")
    expect(faults.nth(0)).to_contain_text("unit K is not the instrument's")
    expect(faults.nth(0)).to_contain_text("write unit: degC")
    expect(page.get_by_role("button", name="Start …")).to_have_count(0)
    accessible(page)
    faults.nth(1).get_by_role("button", name="Show line 13").click()
    chosen = page.evaluate("(b => b.value.slice(b.selectionStart, b.selectionEnd))(document.getElementById('yaml'))")
    assert chosen == "planer: random"
    page.get_by_role("textbox", name="The file").fill("a: [")
    expect(page.get_by_text("The file cannot be read as YAML yet")).to_be_visible()
    page.get_by_role("textbox", name="The file").fill(SHORT)
    expect(page.get_by_text("✓ can run")).to_be_visible()
    low = page.get_by_role("group", name="temperature").get_by_label("Low")
    low.fill("warm")
    low.press("Tab")
    expect(page.get_by_text("This is not a number.")).to_be_visible()
    low.fill("500")
    low.press("Enter")
    expect(page.locator("#faults li").first).to_contain_text("must be below high")
    assert "low: 500" in file_of(page)
    page.reload()
    expect(page.get_by_role("textbox", name="The file")).to_have_value(re.compile("low: 500"))


def test_a_rehearsal_shows_how_far_it_is_and_what_it_found(console: Console, browser: Browser, ledger: Ledger) -> None:
    page = console.page(browser, "developer")
    begin(page, console, ASKING)
    page.get_by_label("Experiments", exact=True).fill("2")
    page.get_by_role("button", name="Rehearse").click()
    expect(page.get_by_text("Rehearsal on snar-flow")).to_be_visible()
    expect(page.get_by_text("✓ done")).to_be_visible(timeout=SLOW_MS)
    expect(page.locator(".rehearsed")).to_contain_text("2/2")
    expect(page.locator(".rehearsed")).to_contain_text("sty ")
    accessible(page)
    assert not ledger.campaigns()


def test_who_may_not_is_told(console: Console, browser: Browser) -> None:
    page = console.page(browser, "observer")
    expect(page.get_by_role("link", name="New campaign")).to_have_count(0)
    begin(page, console, SHORT)
    expect(page.get_by_role("alert").first).to_contain_text("may not start and rehearse campaigns")


def opened(ledger: Ledger) -> str:
    return open_campaign(parse(ASKING), ledger)


def proposed(ledger: Ledger, campaign: str, **values: float) -> Any:
    return propose_experiment(ledger, campaign, {**POINT, **values}, by="test")


def test_a_batch_at_its_edge_and_just_outside(console: Console, browser: Browser, ledger: Ledger) -> None:
    name = opened(ledger)
    at_edge = proposed(ledger, name, temperature=90.0)
    beyond = proposed(ledger, name, temperature=math.nextafter(90.0, 100.0))
    page = console.page(browser, "scientist")
    page.goto(console.url(f"/campaigns/{name}"))
    page.get_by_role("button", name="Approve several at once").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("group", name="temperature").get_by_label("High").fill("90")
    expect(dialog.get_by_text(f"Nothing would be approved: {beyond.id}.")).to_be_visible()
    accessible(page)
    both = dialog.get_by_role("button", name="Approve 2 experiments")
    expect(both).to_be_disabled()
    both.click(force=True)
    assert {ledger.experiment(one.id).state for one in (at_edge, beyond)} == {"proposed"}
    dialog.get_by_role("checkbox", name=f"Approve {beyond.id}").uncheck()
    expect(dialog.get_by_text("✓ inside")).to_be_visible()
    dialog.get_by_role("button", name="Approve 1 experiment").click()
    expect(dialog.get_by_text("✓ 1 experiment approved.")).to_be_visible()
    assert ledger.experiment(at_edge.id).state == "approved" and ledger.experiment(beyond.id).state == "proposed"


def test_autonomy_is_granted_and_ended(console: Console, browser: Browser, ledger: Ledger) -> None:
    name = opened(ledger)
    page = console.page(browser, "operator")
    page.goto(console.url(f"/campaigns/{name}"))
    panel = page.locator("section", has=page.get_by_role("heading", name="Autonomy"))
    expect(panel).to_contain_text("each experiment waits for a person")
    panel.get_by_role("button", name="Let it run by itself").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("for the night")
    dialog.get_by_role("group", name="temperature").get_by_label("High").fill("500")
    dialog.get_by_role("button", name="Sign the grant").click()
    expect(dialog.get_by_role("alert")).to_contain_text("is not inside the campaign's own")
    dialog.get_by_role("group", name="temperature").get_by_label("High").fill("90")
    accessible(page)
    dialog.get_by_role("button", name="Sign the grant").click()
    expect(panel).to_contain_text("runs by itself within its grant")
    expect(panel).to_contain_text("granted by operator")
    panel.get_by_role("button", name="Have each wait for a person").click()
    page.get_by_role("dialog").get_by_label("Why").fill("shift ends")
    page.get_by_role("dialog").get_by_role("button", name="End it").click()
    expect(panel).to_contain_text("ended by operator")


def test_a_campaign_nobody_drives_goes_on_and_is_cancelled(console: Console, browser: Browser, ledger: Ledger) -> None:
    name = opened(ledger)
    page = console.page(browser, "scientist")
    page.goto(console.url(f"/campaigns/{name}"))
    panel = page.locator("section", has=page.get_by_role("heading", name="Process"))
    expect(panel).to_contain_text("No process drives it.")
    panel.get_by_role("button", name="Begin").click()
    expect(panel).to_contain_text("A process drives it. Started by scientist.", timeout=SLOW_MS)
    until(lambda: ledger.experiments(name, ["proposed"]))
    panel.get_by_role("button", name="Cancel the campaign").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("To stop motion now, use Stop All")
    accessible(page)
    dialog.get_by_label("Why").fill("a test")
    dialog.get_by_role("button", name="Cancel it for good").click()
    until(lambda: ledger.campaign(name).state == "cancelled")
    expect(page.get_by_role("heading", name="Process")).to_have_count(0, timeout=SLOW_MS)
