"""Alarms in a browser: they come by themselves, are answered, hidden and shown again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from athanor.governance.alarm_catalogue import CATALOGUE, INTERLOCK
from athanor.governance.alarm_history import Alarms
from athanor.governance.alarms import Condition
from athanor.instruments.latch import Latch
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace
from athanor.memory.resources import Consumable
from tests.console.pages.browser import Console, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

STOP = "stop-all.engaged~reactor"


def test_alarms_come_are_answered_and_hidden(console: Console, browser: Browser, home: Path) -> None:
    place = InstrumentPlace.of("reactor", home)
    place.directory.mkdir(parents=True)
    with Ledger.open(home / "ledger.db") as ledger:
        alarms = Alarms(ledger, CATALOGUE)
        page = console.page(browser, "operator")
        page.get_by_role("link", name="Alarms").click()
        expect(page.get_by_text("No alarm wants an answer.")).to_be_visible()
        expect(page.get_by_text("No alarm is hidden.")).to_be_visible()

        # It comes by itself, with what happens and what to do.
        Latch(place).engage("smoke", "ada")
        group = page.get_by_role("region", name="Stop All is engaged")
        until(lambda: [alarm.id for alarm in alarms.all()] == [STOP])
        expect(group).to_contain_text("every approval from before is void")
        expect(group).to_contain_text("release the latch with a reason")
        expect(group).to_contain_text("smoke, by ada")
        expect(group).to_contain_text("left to respond")

        # Acknowledged with the keyboard alone; the focus goes on with what is left.
        button = page.get_by_role("button", name="Acknowledge: Stop All is engaged, reactor")
        button.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_text("Acknowledged: Stop All is engaged, reactor.")).to_be_visible()
        expect(page.get_by_role("heading", name="Want an answer (0)")).to_be_focused()
        expect(group).to_contain_text("acknowledged by operator")
        assert alarms.one(STOP).acknowledged_by == "operator"

        # Shelved for no longer than its priority lets it, with a reason; Escape leaves everything as it is.
        dialog = page.get_by_role("dialog")
        page.get_by_role("button", name="Shelve: Stop All").click()
        expect(dialog).to_be_visible()
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        assert alarms.one(STOP).state == "acknowledged"
        page.get_by_role("button", name="Shelve: Stop All").click()
        assert dialog.get_by_label("For how long").locator("option").all_inner_texts() == ["15 minutes", "1 hour"]
        expect(dialog.get_by_role("button", name="Shelve", exact=True)).to_be_disabled()
        dialog.get_by_label("For how long").select_option("1 hour")
        dialog.get_by_label("Reason").fill("the smoke is being looked for")
        dialog.get_by_role("button", name="Shelve", exact=True).click()
        hidden = page.get_by_role("table", name="Hidden alarms")
        expect(hidden).to_contain_text("the smoke is being looked for")
        expect(hidden).to_contain_text(re.compile(r"in (59|60) min|in 1 h"))
        expect(hidden).to_contain_text("it is so")
        expect(page.get_by_text("Stop All is engaged, reactor: shelved.")).to_be_visible()

        # Shown again before its time, as a new one.
        page.get_by_role("button", name="Show again: Stop All").click()
        dialog.get_by_label("Reason").fill("found it")
        dialog.get_by_role("button", name="Show again", exact=True).click()
        expect(button).to_be_visible()

        # Suppressed by design, and taken out of service, each until somebody says otherwise.
        for name, back in (("Suppress by design", "Show again"), ("Take out of service", "Return to service")):
            page.get_by_role("button", name=f"{name}: Stop All").click()
            dialog.get_by_label("Reason").fill("the reactor is taken apart")
            dialog.get_by_role("button", name=name, exact=True).click()
            expect(hidden).to_contain_text("never by itself")
            page.get_by_role("button", name=f"{back}: Stop All").click()
            dialog.get_by_label("Reason").fill("put together")
            dialog.get_by_role("button", name=back, exact=True).click()
            expect(button).to_be_visible()

        # It goes by itself, and still wants to be seen.
        Latch(place).reset("steam", "ada")
        until(lambda: alarms.one(STOP).state == "returned")
        expect(group).to_contain_text("over, not acknowledged")
        page.get_by_role("button", name="History: Stop All").click()
        expect(dialog.get_by_role("table")).to_contain_text("put together")
        expect(dialog.get_by_role("row")).to_have_count(len(alarms.history(STOP)) + 1)
        page.keyboard.press("Escape")
        button.click()
        expect(page.get_by_text("No alarm wants an answer.")).to_be_visible()
        assert alarms.one(STOP).state == "normal"


def test_who_comes_second_is_told_and_who_may_not_sees(console: Console, browser: Browser, home: Path) -> None:
    with Ledger.open(home / "ledger.db") as ledger:
        alarms = Alarms(ledger, CATALOGUE)
        raised = alarms.raise_(Condition(INTERLOCK, "reactor", "the door", instrument="reactor"))
        assert raised is not None
        alarms.clear(raised.id)
        page = console.page(browser, "operator")
        expect(page.get_by_role("heading", name="1 alarm wants an answer")).to_be_visible()
        page.get_by_role("link", name="See to them").click()
        expect(page.get_by_text("over, kept until it is reset")).to_be_visible()

        # Somebody else is faster; this page has not heard of it yet.
        page.route("**/api/v1/alarms?*", lambda route: route.abort())
        page.route("**/api/v1/changes", lambda route: route.abort())
        alarms.act(raised.id, "acknowledged", "eve", "seen")
        page.get_by_role("button", name="Acknowledge: An interlock").click()
        expect(page.get_by_role("alert").filter(has_text="acknowledged already, by eve")).to_be_visible()
        page.unroute_all()
        page.reload()

        # What is latched is reset by a person, with a reason.
        page.get_by_role("button", name="Reset: An interlock").click()
        page.get_by_role("dialog").get_by_label("Reason").fill("the door is closed")
        page.get_by_role("dialog").get_by_role("button", name="Reset", exact=True).click()
        expect(page.get_by_text("An interlock has refused or stopped something, reactor: reset.")).to_be_visible()
        assert alarms.one(raised.id).state == "normal"

        alarms.raise_(Condition(INTERLOCK, "reactor", "the door", instrument="reactor"))
        observer = console.page(browser, "observer")
        observer.goto(console.url("/alarms"))
        expect(observer.get_by_text("To be answered by somebody whose role may.")).to_be_visible()
        expect(observer.get_by_role("button", name="Acknowledge")).to_have_count(0)
        scientist = console.page(browser, "scientist")
        scientist.goto(console.url("/alarms"))
        expect(scientist.get_by_role("button", name="Acknowledge")).to_have_count(1)
        expect(scientist.get_by_role("button", name="Suppress")).to_have_count(0)


def test_a_flood_is_said_and_grouped_and_the_figures_count_it(console: Console, browser: Browser, home: Path) -> None:
    with Ledger.open(home / "ledger.db") as ledger:
        for number in range(14):
            ledger.add_consumable(Consumable(id=f"bottle {number:02}", unit="mL", amount=1.0, low=5.0))
        alarms = Alarms(ledger, CATALOGUE)
        until(lambda: len(alarms.all()) == 14)
    page = console.page(browser, "operator", width=768)
    expect(page.get_by_role("heading", name="14 alarms want an answer")).to_be_visible()
    page.get_by_role("link", name="See to them").click()
    expect(page.get_by_text("A flood of alarms:")).to_be_visible()
    group = page.get_by_role("region", name="A stock runs low (14)")
    expect(group.get_by_role("listitem")).to_have_count(8)
    group.get_by_role("button", name="Show 6 more").click()
    expect(group.get_by_role("listitem")).to_have_count(14)
    page.get_by_role("button", name="Figures").click()
    expect(page.get_by_text("✕ a flood")).to_be_visible()
    expect(page.get_by_role("table", name="Floods")).to_contain_text("14")
    page.get_by_role("button", name="History").click()
    expect(page.get_by_role("table", name="What happened to all alarms").get_by_role("row")).to_have_count(15)
    page.get_by_role("button", name="Catalogue").click()
    expect(page.get_by_role("table", name="Catalogue of alarms").get_by_role("row")).to_have_count(len(CATALOGUE) + 1)
    wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert not wide, "the page itself does not scroll sideways on a tablet"
