"""The application: the routes, and around them what holds for every request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from athanor.console import pages
from athanor.console.alarm_watch import AlarmWatch
from athanor.console.api import (
    accounts,
    alarms,
    audit,
    autonomy,
    board,
    campaigns,
    decisions,
    handover,
    instruments,
    live,
    memory,
    notifications,
    oidc,
    overview,
    reconcile,
    resources,
    site,
    starting,
    station,
)
from athanor.console.api.desk import Desk
from athanor.console.api.problems import KNOWN, Problem, answer, on_error, on_invalid, unforeseen
from athanor.console.notify.notifier import Notifier

TOPICS = (
    accounts,
    alarms,
    audit,
    autonomy,
    board,
    campaigns,
    decisions,
    handover,
    instruments,
    live,
    memory,
    notifications,
    oidc,
    overview,
    reconcile,
    resources,
    site,
    starting,
    station,
)
LARGEST_BODY = 1 << 20
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def create_app(desk: Desk, hosts: Iterable[str]) -> FastAPI:
    """Make the application.

    Args:
        desk: what it works with.
        hosts: the `Host` headers under which it answers, with their ports, such as `127.0.0.1:8765`.
    """
    app = describe(
        FastAPI(  # the documentation's pages load from elsewhere
            openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None, lifespan=_watching
        )
    )
    pages.mount(app)
    app.state.desk = desk
    app.add_exception_handler(RequestValidationError, on_invalid)
    for kind in (HTTPException, *KNOWN):  # what is left is answered by the threshold
        app.add_exception_handler(kind, on_error)
    app.add_middleware(Threshold, hosts=frozenset(hosts))
    return app


@asynccontextmanager
async def _watching(app: FastAPI) -> AsyncIterator[None]:
    """What goes on for as long as the console serves."""
    desk: Desk = app.state.desk
    watch = AlarmWatch(desk, desk.alarms)
    watch.start()
    told = desk.settings.notifications
    notifier = Notifier(desk.ledger, desk.people, told, desk.places, desk.notices)
    if told.rules:
        notifier.start()
    try:
        yield
    finally:
        await run_in_threadpool(watch.stop)
        await run_in_threadpool(notifier.stop)


def describe(app: FastAPI) -> FastAPI:
    """Give an application the routes and what is said of them."""
    app.title, app.version = "Athanor", "1"
    app.description = (
        "Campaigns, decisions, instruments and people of one site. Every route says in `x-needs` what it needs. "
        "Stop All is a software stop, not a safety system."
    )
    # Not by `include_router`, which asks every topic about every request: that took a third of an answer's time.
    for topic in TOPICS:
        app.router.routes.extend(topic.door.routes)
    return app


class Threshold:
    """Before anything else, on HTTP and on sockets: host and origin are ours, bodies are bounded, headers are safe."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        refusal = self._refusal(scope, headers)
        if scope["type"] == "websocket":
            if refusal is not None:
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": refusal[1].detail})
                return
            await self._app(scope, receive, send)
            return

        is_begun = False

        async def safely(message: MutableMapping[str, Any]) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                given = message.get("headers", [])
                names = {name.lower() for name, _ in given}
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*given, *(pair for pair in added if pair[0] not in names)]
            await send(message)

        if refusal is not None:
            await answer(*refusal)(scope, receive, safely)
            return
        taken = 0

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > LARGEST_BODY:
                raise HTTPException(413, f"a body has up to {LARGEST_BODY} bytes")
            return message

        try:
            await self._app(scope, bounded, safely)
        except Exception as error:
            if is_begun:
                raise
            await unforeseen(error)(scope, receive, safely)

    def _refusal(self, scope: Scope, headers: dict[str, list[str]]) -> tuple[int, Problem] | None:
        hosts = headers.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 400, Problem(code="host.foreign", detail="this is not the address of this console")
        secure = scope["scheme"] in ("https", "wss")
        own = f"{'https' if secure else 'http'}://{hosts[0].lower()}"
        if any(origin.lower() != own for origin in headers.get("origin", [])):
            return 403, Problem(code="origin.foreign", detail="a page of another site asks")
        return None
