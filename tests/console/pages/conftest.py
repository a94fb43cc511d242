from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.console.api.site_rig import Site
from tests.console.pages.browser import CHROMIUM, Console, chromium, open_console

if TYPE_CHECKING:
    from playwright.sync_api import Browser


# Of a module, not of the session: while Playwright is open an event loop runs in this thread, and no other test could
# start one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt install chromium)")
    with chromium() as found:
        yield found


@pytest.fixture
def console(home: Path, tmp_path: Path) -> Iterator[Console]:
    with open_console(home, tmp_path / "console.log") as made:
        yield made
        made.check()


@pytest.fixture
def site(home: Path) -> Iterator[Site]:
    made = Site(home)
    yield made
    made.ledger.close()
