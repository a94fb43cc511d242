"""A real browser on a real console, for tests of the pages.

    def test_something(console: Console, browser: Browser) -> None:
        page = console.page(browser, "operator")      # signed in as the account of that role
        page.goto(console.url("/campaigns/x"))
        expect(page.get_by_role("heading", name="...")).to_be_visible()

`console` is a process of its own on the `home` of the test, with an account of every role (password `PASSWORD`).
Whatever the page logs as an error, or loads from elsewhere, fails the test at `console.check()`, which the fixture
calls.
Without Chromium these tests do not run, and pytest says so by name.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import argon2
import httpx
from fastapi import FastAPI
from ruamel.yaml import YAML

from athanor.console.api.app import describe
from athanor.governance.people import PEOPLE, People
from athanor.governance.rights import ROLES
from athanor.instruments.laboratory import load
from athanor.memory.ledger import Ledger
from tests.console.serving import PASSWORD, free_port, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

T = TypeVar("T")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 15_000


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *sandbox])
        try:
            yield found
        finally:
            found.close()


class Console:
    """A console that is running, and pages of it."""

    def __init__(self, port: int, process: subprocess.Popen[bytes] | None = None) -> None:
        self.port = port
        self._process = process
        self.faults: list[str] = []
        self._routes = [
            (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path)))
            for path, methods in describe(FastAPI()).openapi()["paths"].items()
            for method in methods
        ]
        self._contexts: list[BrowserContext] = []

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def visitor(self, browser: Browser, *, dark: bool = False, width: int = 1280, height: int = 900) -> Page:
        """A page of somebody who is not signed in."""
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(PATIENCE_MS)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", self._logged)
        page.on("pageerror", lambda error: self.faults.append(f"{page.url}: {error}"))
        page.on("request", self._asked)
        return page

    def page(self, browser: Browser, login: str, **looks: int | bool) -> Page:
        """A page of somebody who is signed in, on the overview."""
        page = self.visitor(browser, **looks)  # type: ignore[arg-type]
        page.goto(self.url())
        page.get_by_label("Login").fill(login)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Overview").wait_for()
        return page

    def client(self, login: str) -> httpx.Client:
        """The API as a person uses it."""
        client = httpx.Client(base_url=self.url("/api/v1"), timeout=60.0)
        answer = client.post("/session", json={"login": login, "password": PASSWORD}).raise_for_status()
        client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        return client

    def close(self) -> None:
        while self._contexts:
            self._contexts.pop().close()

    def kill(self) -> None:
        """End the console's process, as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def check(self) -> None:
        """Whether no page complained."""
        assert not self.faults, self.faults

    def _logged(self, message: ConsoleMessage) -> None:
        # An answer of 401 or 409 is logged by the browser itself: that is what such tests are about.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.faults.append(f"{message.location['url']}: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.url(), "data:")):
            self.faults.append(f"a page asked for {request.url}")
        path = urlsplit(request.url).path
        if path.startswith("/api/") and not any(
            method == request.method and shape.fullmatch(path) for method, shape in self._routes
        ):
            self.faults.append(f"no route answers {request.method} {path}")


def with_accounts(home: Path) -> None:
    """An account of every role, as if each had changed their password."""
    Ledger.open(home / "ledger.db").close() if (home / "ledger.db").exists() else Ledger.create(
        home / "ledger.db"
    ).close()
    people = People(home / PEOPLE, lambda kind, body: None)
    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(PASSWORD)
    for role in ROLES:
        with people._change() as file:
            file.execute(
                "INSERT INTO person (login, name, role, is_active, added, password, must_change)"
                " VALUES (?, ?, ?, 1, 0, ?, 0)",
                (role, role.title(), role, hashed),
            )


@contextlib.contextmanager
def open_console(home: Path, log: Path) -> Iterator[Console]:
    """A console on this home, in a process of its own."""
    with_accounts(home)
    port = free_port()
    with serving(port, log) as process:
        console = Console(port, process)
        try:
            yield console
        finally:
            console.close()


@contextlib.contextmanager
def campaign_process(
    home: Path, folder: Path, *, laboratory: str = "snar-flow", options: Mapping[str, Any] | None = None, **changed: Any
) -> Iterator[str]:
    """A campaign with the random planner that asks for each approval, driven by the command line; its id.

    `options` are added to the laboratory's; `changed` replaces fields of the campaign file.
    """
    found: Any = load(laboratory)
    spec = YAML(typ="safe").load(found.campaign_file().read_text())
    spec |= {"planner": "random", "policy": {"autonomy": "approve_each", "expires": "1 h"}, **changed}
    spec["laboratory"] = {**spec["laboratory"], "options": {**spec["laboratory"].get("options", {}), **(options or {})}}
    spec.pop("hypotheses", None)
    file = folder / "campaign.yaml"
    with file.open("w") as target:
        YAML(typ="safe").dump(spec, target)
    said = folder / "campaign.log"
    with Ledger.open(home / "ledger.db") as ledger:
        before = {campaign.id for campaign in ledger.campaigns()}
    with said.open("w") as log:
        command = [sys.executable, "-m", "athanor.console", "run", str(file)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with Ledger.open(home / "ledger.db") as ledger:
            yield until(lambda: [c.id for c in ledger.campaigns() if c.id not in before and ledger.experiments(c.id)])[
                0
            ]
    finally:
        process.kill()
        process.wait()


def until(look: Callable[[], T], seconds: float = 90.0) -> T:
    """What a look finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.05)
    return found


def accessible(page: Page) -> None:
    """Fail where axe-core finds something serious on a page; the test puts it in, past the page's policy."""
    source = (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    page.evaluate(source)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:4]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert not serious, f"{page.url}: {serious}"
