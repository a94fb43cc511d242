"""Pictures of every page, of a site on which something happened.

    make screenshots                                        # into build/screenshots
    python -m tests.console.pages.screenshots FOLDER        # the same, elsewhere

A campaign with hypotheses runs to its end on a simulated laboratory, another waits for a decision, an instrument is in
somebody's hands, a handover is begun. Each page is taken light, dark, and at the width of a tablet.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.memory.ledger import Ledger
from tests.conftest import end_processes
from tests.console.pages.browser import Console, campaign_process, chromium, open_console, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

LOOKS: dict[str, dict[str, Any]] = {"": {}, "-dark": {"dark": True}, "-tablet": {"width": 768, "height": 1024}}
SETTLE_MS = 1500
TALLEST = 1800


def main() -> None:
    """Take them."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/screenshots").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ath-shots-") as made, contextlib.ExitStack() as stack:
        place = Path(made)
        for name in ("home", "keys", "run"):
            (place / name).mkdir()
            os.environ[f"ATHANOR_{'RUNTIME' if name == 'run' else name.upper()}"] = str(place / name)
        stack.callback(end_processes, place)
        home = place / "home"
        console = stack.enter_context(open_console(home, place / "console.log"))
        ledger = stack.enter_context(Ledger.open(home / "ledger.db"))
        stack.enter_context(something(home, place, ledger, console))
        pages = addresses(ledger)
        with chromium() as browser:
            for look, options in LOOKS.items():
                page = console.visitor(browser, **options)
                page.goto(console.url())
                page.get_by_label("Login").wait_for()
                page.screenshot(path=folder / f"sign-in{look}.png")
                page = console.page(browser, "owner", **options)
                for name, address in pages.items():
                    take(page, console.url(address), folder / f"{name}{look}.png")
            console.close()
    sys.stdout.write(f"{len(list(folder.glob('*.png')))} pictures in {folder}\n")


@contextlib.contextmanager
def something(home: Path, place: Path, ledger: Ledger, console: Console) -> Any:
    """A finished campaign, one that waits, a take-over and a handover."""
    from ruamel.yaml import YAML

    from athanor.instruments.laboratory import load

    found: Any = load("ald-window")
    policy = YAML(typ="safe").load(found.campaign_file().read_text())["policy"]
    one, other = place / "one", place / "other"
    one.mkdir()
    other.mkdir()
    again = {"planner": "bayesian", "hypotheses": {"share": 0.3, "alpha": 0.05}, "policy": policy}
    with campaign_process(home, one, laboratory="ald-window", **again) as campaign:
        until(lambda: ledger.campaign(campaign).state == "succeeded", 600.0)
    with (
        campaign_process(home, other, laboratory="snar-flow", planner="bayesian") as campaign,
        contextlib.closing(console.client("operator")) as client,
    ):
        for _ in range(8):
            [waits] = until(lambda: ledger.experiments(campaign, ["proposed"]))
            client.post(f"/experiments/{waits.id}/approve", json={"revision": waits.revision}).raise_for_status()
            until(lambda: ledger.experiment(waits.id).state == "completed")  # noqa: B023
        until(lambda: ledger.experiments(campaign, ["proposed"]))
        why = {"reason": "cleaning the cell"}
        client.post("/instruments/ald-window/take-over", json=why).raise_for_status()
        client.post("/handovers", json={}).raise_for_status()
        yield


def addresses(ledger: Ledger) -> dict[str, str]:
    """Where to look, by the picture's name."""
    done, waiting = ledger.campaigns()[0].id, ledger.campaigns()[-1].id
    return {
        "overview": "/",
        "new-campaign": "/new",
        "campaign": f"/campaigns/{done}",
        "decision": f"/experiments/{ledger.experiments(waiting, ['proposed'])[0].id}",
        "instruments": "/instruments",
        "instrument": "/instruments/snar-flow",
        "reconcile": "/instruments/snar-flow/reconcile",
        "samples": "/samples",
        "alarms": "/alarms",
        "handovers": "/handover",
        "memory": "/memory",
        "audit": "/audit",
        "people": "/people",
        "account": "/account",
        "notifications": "/notifications",
    }


def take(page: Page, url: str, file: Path) -> None:
    """Take one page, of which the first screens are enough."""
    page.goto(url)
    page.get_by_role("heading", level=1).first.wait_for()
    page.wait_for_timeout(SETTLE_MS)
    size = page.viewport_size
    assert size is not None
    height = min(page.evaluate("document.documentElement.scrollHeight"), TALLEST)
    page.set_viewport_size({"width": size["width"], "height": height})
    page.screenshot(path=file)
    page.set_viewport_size(size)


if __name__ == "__main__":
    main()
