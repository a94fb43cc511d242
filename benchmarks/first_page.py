"""How long `athanor console` takes to its first page, as who starts it sees it.

    python -m benchmarks first_page [--starts 3]

From the start of the process in a home of its own (the first time without accounts, so that it makes the owner's) until
Chromium shows the fields to sign in with; without Chromium, until the page and the script it asks for are served. Exit
status 1 if any start takes more than ten seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path

MOST_S = 10.0


def main(arguments: list[str]) -> int:
    """Start it a few times, and return 1 where one was too slow."""
    parser = argparse.ArgumentParser(prog="first_page", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--starts", type=int, default=3)
    given = parser.parse_args(arguments)
    import httpx

    from tests.console.pages.browser import CHROMIUM, chromium
    from tests.console.serving import free_port, serving

    slowest = 0.0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ath-first-")))
        for variable in ("ATHANOR_HOME", "ATHANOR_KEYS", "ATHANOR_RUNTIME"):
            (folder / variable).mkdir()
            os.environ[variable] = str(folder / variable)
        browser = stack.enter_context(chromium()) if CHROMIUM else None
        for number in range(1, given.starts + 1):
            port, began = free_port(), time.perf_counter()
            with serving(port, folder / "console.log"):
                address = f"http://127.0.0.1:{port}"
                for path in ("/", "/static/main.js"):
                    httpx.get(address + path).raise_for_status()
                served = time.perf_counter() - began
                if browser is not None:
                    page = browser.new_page()
                    page.goto(address)
                    page.get_by_label("Password").wait_for()
                shown = time.perf_counter() - began
                slowest = max(slowest, shown)
                where = f", shown in Chromium after {shown:.1f} s" if browser is not None else "; no Chromium here"
                print(f"start {number}: first page served after {served:.1f} s{where}", flush=True)
                if browser is not None:
                    page.close()
    print(f"slowest {slowest:.1f} s, at most {MOST_S:g} s: {'ok' if slowest <= MOST_S else 'TOO SLOW'}")
    return int(slowest > MOST_S)
