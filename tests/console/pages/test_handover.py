"""A handover in two browsers: drafted, edited by two at once, signed by both, shown afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from athanor.governance.handover import Handovers
from athanor.instruments.latch import Latch
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace
from athanor.memory.resources import Consumable
from tests.console.pages.browser import Console

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow


def test_from_the_draft_to_the_second_signature(console: Console, browser: Browser, home: Path, tmp_path: Path) -> None:
    place = InstrumentPlace.of("reactor", home)
    place.directory.mkdir(parents=True)
    Latch(place).engage("smoke", "ada")
    with Ledger.open(home / "ledger.db") as ledger:
        ledger.add_consumable(Consumable(id="MeCN", unit="mL", amount=1.0, low=5.0))
        handovers = Handovers(ledger)
        page, other = console.page(browser, "operator"), console.page(browser, "scientist")
        page.get_by_role("link", name="Handover").click()
        expect(page.get_by_text("Begin the first at the end of your shift.")).to_be_visible()
        page.get_by_role("button", name="Begin a handover").click()
        expect(page.get_by_role("region", name="Overrides in force")).to_contain_text("Stop All is latched: smoke")
        expect(page.get_by_role("region", name="Stocks that run low")).to_contain_text("MeCN: 1 mL left")
        [made] = handovers.all()

        # A note; while it is open nothing is signed.
        page.get_by_role("button", name="Write a note: Overrides in force").click()
        note = page.get_by_role("textbox", name="Note: Overrides in force")
        expect(note).to_be_focused()
        note.fill("the extraction is being mended\nask Ada first")
        expect(page.get_by_text("save or drop the note that is open: Overrides in force")).to_be_visible()
        page.get_by_role("button", name="Save the note: Overrides in force").click()
        expect(page.get_by_text("ask Ada first")).to_be_visible()

        # Two write on one note: the slower one is told, nothing is lost, and it is theirs to say which stands.
        other.goto(console.url(f"/handover/{made.id}"))
        for one, text in ((page, "from operator"), (other, "from scientist")):
            one.get_by_role("button", name="Write a note: Remarks").click()
            one.get_by_role("textbox", name="Note: Remarks").fill(text)
        other.get_by_role("button", name="Save the note: Remarks").click()
        told = page.get_by_role("alert").filter(has_text="scientist has changed this note since you began")
        expect(told).to_contain_text("from scientist")
        expect(page.get_by_role("textbox", name="Note: Remarks")).to_have_value("from operator")
        expect(page.get_by_role("button", name="Save the note: Remarks")).to_be_disabled()
        page.get_by_role("button", name="Keep both").click()
        page.get_by_role("button", name="Save the note: Remarks").click()
        expect(other.get_by_role("region", name="Remarks")).to_contain_text("from operator")
        expect(other.get_by_role("region", name="Remarks")).to_contain_text("from scientist")

        # The facts are refreshed, not edited; notes stay.
        ledger.refill("MeCN", 100.0, "ada")
        page.get_by_role("button", name="Refresh the facts").click()
        expect(page.get_by_role("region", name="Stocks that run low")).to_contain_text("Nothing.")
        expect(page.get_by_text("ask Ada first")).to_be_visible()

        # The first signature is one's own login, typed.
        expect(other.get_by_role("button", name="Sign, and")).to_have_count(0)
        page.get_by_role("button", name="Sign, and hand over").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Your login").fill("scientist")
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("button", name="Sign", exact=True)).to_be_disabled()
        assert handovers.one(made.id).state == "draft"
        dialog.get_by_label("Your login").fill("operator")
        dialog.get_by_role("button", name="Sign", exact=True).click()
        expect(page.get_by_text("Now somebody else has to read and sign it.")).to_be_visible()
        expect(page.get_by_role("button", name="take over")).to_have_count(0)
        expect(page.get_by_role("button", name="note")).to_have_count(0)

        # Sent back once, signed anew, then signed by the second.
        other.get_by_role("button", name="Send back").click()
        other.get_by_role("dialog").get_by_label("Reason").fill("what of the pump?")
        other.get_by_role("dialog").get_by_role("button", name="Send back", exact=True).click()
        expect(page.get_by_text("what of the pump? (scientist)")).to_be_visible()
        page.get_by_role("button", name="Sign, and hand over").click()
        dialog.get_by_label("Your login").fill("operator")
        page.keyboard.press("Enter")
        other.goto(console.url("/handover"))
        expect(other.get_by_role("heading", name="operator hands over to you?")).to_be_visible()
        other.get_by_role("link", name="Open it").click()
        other.get_by_role("button", name="Sign, and take over").click()
        taking = other.get_by_role("dialog")
        taking.get_by_label("Remark").fill("I have read it")
        taking.get_by_label("Your login").fill("scientist")
        taking.get_by_role("button", name="Sign", exact=True).click()
        expect(other.get_by_text("Signed by both. The shift is yours.")).to_be_visible()
        done = handovers.one(made.id)
        assert (done.state, done.outgoing, done.incoming, done.is_as_signed) == (
            "accepted",
            "operator",
            "scientist",
            True,
        )

        # Afterwards everybody reads it, and keeps it as a file.
        reader = console.page(browser, "observer")
        reader.goto(console.url("/handover"))
        reader.get_by_role("link", name="Open the handover of operator").click()
        expect(reader.get_by_text("I have read it")).to_be_visible()
        expect(reader.get_by_role("table", name="What was done to this handover")).to_contain_text("signed, taken over")
        with reader.expect_download() as coming:
            reader.get_by_role("link", name="Save as HTML").click()
        kept = tmp_path / "kept.html"
        coming.value.save_as(kept)
        assert done.sha256 in kept.read_text() and "ask Ada first" in kept.read_text()


def test_a_draft_is_discarded_with_a_reason(console: Console, browser: Browser, home: Path) -> None:
    page = console.page(browser, "operator", width=768)
    page.goto(console.url("/handover"))
    page.get_by_role("button", name="Begin a handover").click()
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("begun by mistake")
    page.get_by_role("dialog").get_by_role("button", name="Discard", exact=True).click()
    expect(page.get_by_text("begun by mistake (operator)")).to_be_visible()
    wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert not wide
    observer = console.page(browser, "observer")
    observer.goto(console.url("/handover"))
    expect(observer.get_by_role("button", name="Begin a handover")).to_have_count(0)
