"""Changes as they happen: a stream of server-sent events, which goes on where it was cut.

Each message has the position of a row of the journal as its id and says what kind of thing changed, in which campaign;
what it is now is read where it is always read. A stream keeps no session awake, and ends with it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Header, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from athanor.console.api.door import Door, caller_of, desk_of, let_in
from athanor.console.api.problems import Denied, problem_of
from athanor.memory.journal import SITE, Line, chain_of

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger

door = Door("live")

LOOK_S = 0.15
"""How often the ledger is looked at, once for all streams."""
CHECK_S = 5.0
"""How often it is asked whether whoever listens still may."""
QUIET_S = 15.0
"""A stream says something at least so often, so that a line that broke is noticed."""
MOST = 1000
"""Who has missed more changes than this is told to read everything anew."""


class Seat:
    """A place for one stream; it is free again when nobody holds this any more, however the stream ended."""

    __slots__ = ("__weakref__",)


class Seats:
    """So many may listen at once. Each takes a file, of which a process has so many."""

    def __init__(self, of_one: int = 12, of_all: int = 300) -> None:
        self._of_one, self._of_all = of_one, of_all
        self._taken: dict[str, weakref.WeakSet[Seat]] = {}

    def take(self, caller: str) -> Seat:
        """Take a place. Raises `Denied`."""
        self._taken = {one: seats for one, seats in self._taken.items() if len(seats)}
        mine = self._taken.setdefault(caller, weakref.WeakSet())
        if len(mine) >= self._of_one or sum(map(len, self._taken.values())) >= self._of_all:
            raise Denied(429, "streams.many", "too many listen already", "close some of the pages", wait_s=5.0)
        seat = Seat()
        mine.add(seat)
        return seat


class Watch:
    """How far the journal goes and what was written last, looked up once for everybody who wants to know."""

    def __init__(self, ledger: Ledger) -> None:
        self.seats = Seats()
        self._ledger = ledger
        self._guard = threading.Lock()
        self._position = 0
        self._start = 0
        self._changed: dict[str, int] = {}
        self._latest: deque[Line] = deque(maxlen=MOST)
        self._looked = -1.0
        self._looking: asyncio.Future[int] | None = None

    def position(self) -> int:
        """As of a moment ago."""
        with self._guard:
            return self._look()

    async def look(self) -> int:
        """As `position`, from the event loop: at most one thread looks, for all who ask."""
        if time.monotonic() - self._looked < LOOK_S:
            return self._position
        if self._looking is None or self._looking.get_loop() is not asyncio.get_running_loop():
            self._looking = asyncio.ensure_future(run_in_threadpool(self.position))
            self._looking.add_done_callback(self._seen)
        return await asyncio.shield(self._looking)

    def _seen(self, done: asyncio.Future[int]) -> None:
        self._looking = None
        if not done.cancelled():
            done.exception()  # told to who waited for it, if they are still there

    def of(self, campaign_id: str) -> int:
        """Where a campaign changed last, as of a moment ago; or where looking began, when that was later."""
        with self._guard:
            self._look()
            return self._changed.get(chain_of(campaign_id), self._start)

    def since(self, position: int) -> tuple[int, list[Line] | None]:
        """How far the journal goes as of a moment ago, and its rows beyond a position; None where they are too many."""
        with self._guard:
            newest = self._look()
            found = self._known(position)
        return found or (newest, self._ledger.lines(position, MOST))  # from before we looked

    def known(self, position: int) -> tuple[int, list[Line] | None] | None:
        """As `since`, of what is known already; None where the ledger has to be read for it."""
        with self._guard:
            return self._known(position)

    def _known(self, position: int) -> tuple[int, list[Line] | None] | None:
        newest = self._position
        if newest == position:
            return newest, []
        if newest < position or newest - position > MOST:
            return newest, None
        first = self._latest[0].position if self._latest else newest + 1
        if position + 1 < first:
            return None
        # From the newest backwards: most who ask have missed a few, of a thousand that are kept.
        missed = itertools.takewhile(lambda line: line.position > position, reversed(self._latest))
        return newest, list(missed)[::-1]

    def _look(self) -> int:
        if time.monotonic() - self._looked >= LOOK_S:
            if self._looked < 0.0:
                self._position = self._start = self._ledger.changes()
            else:
                while found := self._ledger.lines(self._position, MOST):
                    self._latest.extend(found)
                    self._changed |= {line.chain: line.position for line in found}
                    self._position = found[-1].position
                    if len(found) < MOST:
                        break
            self._looked = time.monotonic()
        return self._position


@door.on("GET", "/changes", "read")
async def changes(
    request: Request,
    last_event_id: Annotated[int | None, Header(ge=0, description="Go on after this one.")] = None,
) -> StreamingResponse:
    """Changes as they happen, as `text/event-stream`.

    `change`: `{kind, campaign_id, at}`, of the site where `campaign_id` is null. `reload`: too much was missed.
    `ended`: why nothing more will come.
    """
    watch = desk_of(request).watch
    seat = watch.seats.take(caller_of(request).by)
    start = await run_in_threadpool(watch.position) if last_event_id is None else last_event_id
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(request, start, seat), media_type="text/event-stream", headers=headers)


async def _stream(request: Request, position: int, seat: Seat) -> AsyncIterator[str]:
    watch = desk_of(request).watch
    yield "retry: 2000\n\n"
    said = checked = time.monotonic()
    while not await request.is_disconnected():
        now = time.monotonic()
        try:
            if now - checked >= CHECK_S:
                checked = now
                await run_in_threadpool(let_in, request, "read", touch=False)
            await watch.look()
            if (found := watch.known(position)) is None:
                found = await run_in_threadpool(watch.since, position)
        except Exception as error:
            if (problem := problem_of(error)) is None:
                raise
            yield _message("ended", problem[1].model_dump())
            return
        newest, rows = found
        if rows is None:
            yield _message("reload", {}, newest)
            said, position, rows = now, newest, []
        if rows:
            yield "".join(map(_change, rows))
            said, position = now, rows[-1].position
        if now - said >= QUIET_S:
            yield ": nothing new\n\n"
            said = now
        await asyncio.sleep(LOOK_S)


def _change(row: Line) -> str:
    campaign = None if row.chain == SITE else row.chain.removeprefix("campaign:")
    return _message("change", {"kind": row.kind, "campaign_id": campaign, "at": row.at}, row.position)


def _message(kind: str, body: dict[str, Any], position: int | None = None) -> str:
    identity = "" if position is None else f"id: {position}\n"
    return f"event: {kind}\n{identity}data: {json.dumps(body)}\n\n"
