"""An instrument in a browser: look, take over, move with the read-back, hand back; and after a crash, reconcile."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from athanor.instruments.config import Config
from athanor.instruments.laboratory import load
from athanor.instruments.latch import Latch
from athanor.instruments.takeover import TakeOver
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace
from tests.console.pages.browser import Console, accessible, campaign_process, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.slow

BUSY_MS = 60_000
AT = "/instruments/snar-flow"


def instrument(console: Console, page: Page) -> None:
    page.goto(console.url("/instruments/snar-flow"))
    expect(page.get_by_role("heading", name="snar-flow", exact=True)).to_be_visible()


def axis(page: Page, name: str = "temperature") -> str:
    return page.get_by_role("table", name="Axes").get_by_role("row", name=name).inner_text()


def order(page: Page, value: str) -> None:
    page.get_by_role("button", name="Move temperature by hand").click()
    page.get_by_label("Where to").fill(value)
    page.get_by_role("button", name="Look what will happen").click()


def test_take_over_move_and_hand_back(console: Console, browser: Browser, home: Path, tmp_path: Path) -> None:
    with campaign_process(home, tmp_path) as campaign, Ledger.open(home / "ledger.db") as ledger:
        page = console.page(browser, "operator")
        page.get_by_role("link", name="Instruments", exact=True).click()
        page.get_by_role("link", name="snar-flow").click()
        expect(page.get_by_text("Nobody has it in hand")).to_be_visible()
        expect(page.get_by_role("table", name="Axes")).to_contain_text("°C", timeout=BUSY_MS)
        expect(page.get_by_role("table", name="Axes").get_by_role("img").first).to_be_visible(timeout=BUSY_MS)
        move = page.get_by_role("button", name="Move temperature by hand")
        expect(move).to_have_attribute("title", "Take it over first.")
        assert campaign in page.get_by_role("region", name="Reservations").inner_html()

        # Not without a reason; then it is ours, and colleagues see who and why.
        page.get_by_role("button", name="Take over …").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Take over")).to_have_attribute("aria-disabled", "true")
        dialog.get_by_label("Why").fill("new tubing")
        dialog.get_by_role("button", name="Take over").click()
        expect(page.get_by_text("You have it in hand")).to_be_visible(timeout=BUSY_MS)
        other = console.page(browser, "owner")
        instrument(console, other)
        expect(other.get_by_role("region", name="By hand")).to_contain_text("operator has it in hand")
        expect(other.get_by_role("region", name="By hand")).to_contain_text("new tubing")
        expect(other.get_by_role("button", name="Take over …")).to_have_count(0)

        # What may not be is said before anything is ordered.
        move.click()
        page.get_by_label("Where to").fill("500")
        expect(page.get_by_text("Not above 120 °C.")).to_be_visible()
        page.keyboard.press("Escape")
        expect(move).to_be_focused()

        # Where it stands and where it goes is shown and confirmed, and the read-back is shown after.
        order(page, "80")
        expect(dialog.get_by_text(re.compile(r"temperature: .* → 80 °C"))).to_be_visible(timeout=BUSY_MS)
        dialog.get_by_role("button", name="Move it").click()
        moved = page.get_by_role("region", name="Moving temperature by hand")
        expect(moved.get_by_text("arrived")).to_be_visible(timeout=BUSY_MS)
        expect(moved.get_by_text(re.compile(r"temperature: .* → 80 °C"))).to_be_visible()
        expect(page.get_by_role("table", name="Axes").get_by_role("row", name="temperature")).to_contain_text(
            "80 °C", timeout=BUSY_MS
        )
        [event] = ledger.events(kinds=["move_ordered"])
        assert (event.body["by"], event.body["value"]) == ("operator", 80.0)

        page.get_by_role("button", name="Hand back …").click()
        dialog.get_by_role("button", name="Hand back").click()
        expect(dialog.get_by_role("link", name=campaign)).to_be_visible(timeout=BUSY_MS)
        dialog.get_by_role("button", name="Close").last.click()
        expect(page.get_by_text("Nobody has it in hand")).to_be_visible(timeout=BUSY_MS)
        assert TakeOver(InstrumentPlace.of("snar-flow", home)).read().tenure is None
        expect(other.get_by_text("Nobody has it in hand")).to_be_visible()


def test_a_dialog_stays_what_it_was_when_it_opened(console: Console, browser: Browser, home: Path) -> None:
    place = InstrumentPlace.of("snar-flow", home)
    place.directory.mkdir(parents=True)
    Config(load("snar-flow").profile(), {}).write(place)
    with closing(console.client("owner")) as owner:
        page = console.page(browser, "operator")
        instrument(console, page)
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        dialog = page.get_by_role("dialog")

        def changes(title: str, button: str, change: Callable[[], object], told: str) -> None:
            expect(dialog.get_by_role("heading", name=title, exact=True)).to_be_visible()
            dialog.get_by_label("Why").fill("it is safe")
            confirm = dialog.get_by_role("button", name=button, exact=True)
            expect(confirm).not_to_have_attribute("aria-disabled", "true")
            change()
            expect(dialog.get_by_role("alert")).to_contain_text("This changed since you looked", timeout=BUSY_MS)
            expect(dialog.get_by_role("alert")).to_contain_text(told)
            expect(dialog.get_by_role("heading", name=title, exact=True)).to_be_visible()
            expect(confirm).to_have_attribute("aria-disabled", "true")
            confirm.click(force=True)
            confirm.press("Enter")
            accessible(page)
            page.keyboard.press("Escape")
            expect(dialog).to_have_count(0)

        page.get_by_role("button", name="Turn writes off …").click()
        body = {"on": False, "reason": "leak"}
        title, order = "Turn the writes of snar-flow off", "Turn writes off"
        changes(title, order, lambda: owner.post(f"{AT}/writes", json=body), "owner has turned writes off: leak")
        page.get_by_role("button", name="Turn writes on …").click()
        body = {"on": False, "reason": "a worse leak"}
        title, order = "Turn the writes of snar-flow on", "Turn writes on"
        changes(title, order, lambda: owner.post(f"{AT}/writes", json=body), "owner has turned writes off: a worse")

        Latch(place).engage("smoke", "ada")
        page.get_by_role("button", name="Reset …").click()

        def again() -> None:
            Latch(place).reset("steam", "ada")
            Latch(place).engage("fire", "eve")

        changes("Reset Stop All on snar-flow", "Reset", again, "eve has stopped it again: fire")
        page.get_by_role("button", name="Reset …").click()
        changes(
            "Reset Stop All on snar-flow", "Reset", lambda: Latch(place).reset("steam", "ada"), "not latched any more"
        )

        owner.post(f"{AT}/take-over", json={"reason": "new tubing"}).raise_for_status()
        page.get_by_role("button", name="Emergency release …").click()
        renewed = {"reason": "still at it"}
        changes("Release snar-flow", "Release it", lambda: owner.post(f"{AT}/take-over", json=renewed), "still at it")
        assert not [url for url in sent if AT in url], "nothing was asked for"
        page.get_by_role("button", name="Emergency release …").click()
        dialog.get_by_label("Why").fill("gone home")
        dialog.get_by_role("button", name="Release it").click()
        expect(page.get_by_text("Nobody has it in hand")).to_be_visible()
        assert TakeOver(place).read().tenure is None


def test_another_run_than_was_looked_at_is_left_alone(console: Console, browser: Browser, home: Path) -> None:
    place = InstrumentPlace.of("snar-flow", home)
    place.directory.mkdir(parents=True)
    Config(load("snar-flow").profile(), {}).write(place)
    page, run = console.page(browser, "operator"), ["camp.1"]

    def standing(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        found["worker"] |= {"is_running": True, "state": "running", "experiment": run[0]}
        route.fulfill(response=answer, json=found)

    page.route("**/standing", standing)
    instrument(console, page)
    with page.expect_request("**/run/pause") as asked:
        page.get_by_role("button", name="Pause the run").click()
    assert asked.value.post_data_json == {"experiment": "camp.1"}
    page.get_by_role("button", name="Abort the run …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("wrong bottle")
    run[0] = "camp.2"
    expect(dialog.get_by_role("alert")).to_contain_text("camp.2 is being run now", timeout=BUSY_MS)
    expect(dialog.get_by_role("heading", name="Abort camp.1")).to_be_visible()
    abort = dialog.get_by_role("button", name="Abort the run")
    expect(abort).to_have_attribute("aria-disabled", "true")
    run[0] = "camp.1"
    expect(dialog.get_by_role("alert")).to_have_count(0, timeout=BUSY_MS)
    with page.expect_request("**/run/abort") as asked:
        abort.click()
    assert asked.value.post_data_json == {"reason": "wrong bottle", "experiment": "camp.1"}
    page.unroute_all(behavior="ignoreErrors")


def test_who_may_not_sees_why(console: Console, browser: Browser, home: Path, tmp_path: Path) -> None:
    with campaign_process(home, tmp_path):
        page = console.page(browser, "observer")
        instrument(console, page)
        for name, why in (
            ("Take over …", "Your role may not operate this instrument."),
            ("Turn writes off …", "Your role may not operate this instrument."),
            ("Move temperature by hand", "Your role may not operate this instrument."),
        ):
            button = page.get_by_role("button", name=name)
            expect(button).to_have_attribute("title", why, timeout=BUSY_MS)
            button.click(force=True)
            expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_text("Your role may not operate this instrument.").first).to_be_visible()
        expect(page.locator("button.stop")).to_be_enabled()
        page.goto(console.url("/samples"))
        expect(page.get_by_text("Your role may not write samples and consumables.")).to_be_visible()


def test_a_crash_is_reconciled_in_the_page(console: Console, browser: Browser, home: Path, tmp_path: Path) -> None:
    place, slow = InstrumentPlace.of("snar-flow", home), {"time_scale": 10.0}
    with campaign_process(home, tmp_path, options=slow) as campaign, closing(console.client("operator")) as client:
        one = client.get(f"/experiments/{campaign}.1").json()
        client.post(f"/experiments/{one['id']}/approve", json={"revision": one["revision"]}).raise_for_status()
        until(lambda: client.get(f"/experiments/{one['id']}").json()["state"] == "running")
        page = console.page(browser, "operator")
        instrument(console, page)
        expect(page.get_by_role("region", name="Now")).to_contain_text(one["id"])
        os.kill(int((place.sockets / "worker.pid").read_text()), signal.SIGKILL)
    # The campaign's process is dead now, too: the page alone says what is left.
    with Ledger.open(home / "ledger.db") as ledger:
        page.get_by_role("link", name="Reconcile step by step").click(timeout=BUSY_MS)
        page.get_by_role("button", name="Look now").click()
        expect(page.get_by_text("Looked: 1 experiment in doubt.")).to_be_visible(timeout=BUSY_MS)
        evidence = page.get_by_role("region", name=re.compile("2. Evidence"))
        expect(evidence).to_contain_text("by operator", timeout=BUSY_MS)
        expect(evidence.get_by_role("table")).to_contain_text("temperature")
        page.get_by_role("button", name="I have looked at the instrument").click()
        expect(page.get_by_role("heading", name="3. What happened?")).to_be_focused()
        sign = page.get_by_role("button", name="Sign this answer")
        expect(sign).to_have_attribute("aria-disabled", "true")
        page.get_by_label("It never started").check()
        page.get_by_label("Put the same settings up for decision again").check()
        page.get_by_label("How do you know").fill("the pumps are dry")
        expect(page.get_by_text("never started. It cannot be changed afterwards.")).to_be_visible()
        sign.click()
        expect(page.get_by_text("Nothing is in doubt").last).to_be_visible(timeout=BUSY_MS)
        expect(page.get_by_text(f"{one['id']} was settled by operator: the pumps are dry")).to_be_visible()
        settled = ledger.experiment(one["id"])
        assert settled.state == "not_started"
        again = ledger.experiments(campaign, states=["proposed"])
        assert [item.values for item in again] == [settled.values]
        page.get_by_role("link", name="Back to snar-flow").click()
        expect(page.get_by_text("No worker is running")).to_be_visible()
        page.get_by_role("button", name="Connect", exact=True).click()
        expect(page.get_by_role("region", name="Now").get_by_text("idle")).to_be_visible(timeout=BUSY_MS)


def test_samples_and_stock(console: Console, browser: Browser) -> None:
    page = console.page(browser, "scientist")
    page.get_by_role("link", name="Samples", exact=True).click()
    expect(page.get_by_text("No samples yet.")).to_be_visible()
    page.get_by_role("button", name="Add a sample …").click()
    page.get_by_label("Label").fill("w1")
    page.get_by_label("Where it lies").fill("shelf")
    page.get_by_role("button", name="Add", exact=True).click()
    table = page.get_by_role("table", name="Samples")
    expect(table).to_contain_text("shelf")
    page.get_by_role("button", name="Split w1").click()
    page.get_by_label("Labels of its parts").fill("w1a\nw1b")
    page.get_by_role("button", name="Make 2 parts").click()
    expect(table.get_by_role("row")).to_have_count(4)
    page.get_by_role("button", name="Retire w1b").click()
    page.get_by_label("Why").fill("broken")
    page.get_by_role("button", name="Retire it").click()
    expect(table.get_by_role("row")).to_have_count(3)
    page.get_by_role("button", name="Begin a stock …").click()
    page.get_by_label("Name").fill("ethanol")
    page.get_by_label("How much is there").fill("500")
    page.get_by_label("Unit").fill("mL")
    page.get_by_label("People are told at").fill("50")
    page.get_by_role("button", name="Begin it").click()
    stock = page.get_by_role("table", name="Consumables")
    expect(stock).to_contain_text("500 mL")
    page.get_by_role("button", name="Correct ethanol").click()
    page.get_by_label("What is really there").fill("40")
    page.get_by_label("Why").fill("spilt")
    page.get_by_role("button", name="Correct it").click()
    expect(stock).to_contain_text("low")
    page.get_by_role("button", name="ethanol", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("set by scientist: spilt; then 40 mL")


@pytest.mark.parametrize("dark", [False, True])
def test_they_are_accessible_and_fit_a_tablet(
    console: Console, browser: Browser, home: Path, tmp_path: Path, dark: bool
) -> None:
    with campaign_process(home, tmp_path), closing(console.client("operator")) as client:
        client.post("/samples", json={"label": "w1", "location": "shelf"}).raise_for_status()
        client.post("/stock", json={"name": "salt", "amount": 5.0, "unit": "g", "low": 9.0}).raise_for_status()
        client.post("/instruments/snar-flow/writes", json={"on": False, "reason": "leak"}).raise_for_status()
        client.post("/instruments/snar-flow/take-over", json={"reason": "new tubing"}).raise_for_status()
        page = console.page(browser, "operator", dark=dark, width=768, height=1024)
        for address, heading in (
            ("/instruments", "snar-flow"),
            ("/instruments/snar-flow", "What it can do"),
            ("/instruments/snar-flow/reconcile", "1. Take in what is known"),
            ("/samples", "Consumables"),
        ):
            page.goto(console.url(address))
            expect(page.get_by_role("heading", name=heading)).to_be_visible()
            if address == "/instruments/snar-flow":
                expect(page.get_by_role("table", name="Axes").get_by_role("img").first).to_be_visible(timeout=BUSY_MS)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 768, f"{address} is {width} wide"
            accessible(page)
        page.goto(console.url("/instruments/snar-flow"))
        for name in ("Renew …", "Hand back …", "Turn writes on …", "Move temperature by hand"):
            page.get_by_role("button", name=name).click()
            expect(page.get_by_role("dialog")).to_be_visible()
            accessible(page)
            page.keyboard.press("Escape")
            expect(page.get_by_role("button", name=name)).to_be_focused()
