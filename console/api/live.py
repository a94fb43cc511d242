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
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Annotated, Any, TypeGuard, TypeVar

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
STALE_S = 0.3
"""Who asks for what all share is given it as of so long ago at the most, where nobody is looking just now."""
KEEP_S = 10.0
"""What was not asked for in so long is no longer made before it is asked for."""
MOST_KEPT = 32
RENEW_S = 0.5
"""A change is told after so long, though not all that it changes is made by then."""
TURN_S = 1.0
"""How often a stream looks whether anybody is still there."""
CHECK_S = 5.0
"""How often it is asked whether whoever listens still may."""
QUIET_S = 15.0
"""A stream says something at least so often, so that a line that broke is noticed."""
OF_CAMPAIGN = frozenset({"campaign", "campaign_state", "request"})
"""Kinds of rows that change what the ledger says of a campaign itself."""
HELD = 503
"""Somebody else has the ledger just now."""
MOST = 1000
"""Who has missed more changes than this is told to read everything anew."""


class Seat:
    """A place for one stream; it is free again when that says so, or when nobody holds this any more."""

    __slots__ = ("__weakref__", "_among")

    def __init__(self, among: weakref.WeakSet[Seat]) -> None:
        self._among = among

    def leave(self) -> None:
        """Free it."""
        self._among.discard(self)


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
        seat = Seat(mine)
        mine.add(seat)
        return seat


T = TypeVar("T")
Renew = Callable[[int], Awaitable[Any]]


class Watch:
    """How far the journal goes and what was written last, looked up once for everybody who wants to know.

    What pages ask for again when something has changed is made before they are told of the change: else all of them
    would wait for it together, each time.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.seats = Seats()
        self._ledger = ledger
        self._guard = threading.Lock()
        """Of what is known; never held while the ledger is read."""
        self._reading = threading.Lock()
        self._position = 0
        self._start = 0
        self._changed: dict[str, int] = {}
        self._campaigns = 0
        self._latest: deque[Line] = deque(maxlen=MOST)
        self._looked = -1.0
        self.told = 0
        """How far those who listen have been told, or may be."""
        self._told_at = -1.0
        self._kept: dict[Hashable, tuple[float, str | None, Renew]] = {}
        self._looking: asyncio.Future[None] | None = None
        self._turn: asyncio.Future[None] | None = None

    # -- from a thread -------------------------------------------------------------------------------------------------

    def position(self) -> int:
        """How far the journal goes, as of a moment ago."""
        with self._reading:
            if time.monotonic() - self._looked >= LOOK_S:
                if self._looked < 0.0:
                    self._learn([], start=self._ledger.changes())
                else:
                    while found := self._ledger.lines(self._position, MOST):
                        self._learn(found)
                        if len(found) < MOST:
                            break
                self._looked = time.monotonic()
        return self._position

    def since(self, position: int) -> tuple[int, list[Line] | None]:
        """How far the journal goes as of a moment ago, and its rows beyond a position; None where they are too many."""
        newest = self.position()
        return self.known(position) or (newest, self._ledger.lines(position, MOST))  # from before we looked

    def _learn(self, found: list[Line], start: int | None = None) -> None:
        with self._guard:
            if start is not None:
                self._position = self._start = start
            self._latest.extend(found)
            self._changed |= {line.chain: line.position for line in found}
            of_campaigns = [line.position for line in found if line.kind in OF_CAMPAIGN]
            self._campaigns = of_campaigns[-1] if of_campaigns else self._campaigns
            self._position = found[-1].position if found else self._position

    # -- what is known already -----------------------------------------------------------------------------------------

    @property
    def reached(self) -> int:
        """How far the journal is known."""
        return self._position

    def of(self, campaign_id: str) -> int:
        """Where a campaign changed last; or where looking began, when that was later."""
        with self._guard:
            return self._changed.get(chain_of(campaign_id), self._start)

    def campaigns(self) -> int:
        """Where campaigns were opened, asked for something or changed their state last."""
        with self._guard:
            return max(self._campaigns, self._start)

    def known(self, position: int) -> tuple[int, list[Line] | None] | None:
        """As `since`, of what is known already; None where the ledger has to be read for it."""
        with self._guard:
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

    # -- from the event loop -------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Learn what is new; one looks, for all who ask. What was lately asked for is made before this returns."""
        self._looking = _joined(self._looking, self._look)
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        before = self.told
        position = await run_in_threadpool(self.position)
        if position != before and self._kept:
            await self._renew(before, position)
        self.told, self._told_at = position, time.monotonic()

    async def _renew(self, before: int, position: int) -> None:
        now = time.monotonic()
        self._kept = {key: one for key, one in self._kept.items() if now - one[0] < KEEP_S}
        due: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(make(position))
            for _, campaign_id, make in self._kept.values()
            if campaign_id is None or self.of(campaign_id) > before
        ]
        for one in due:
            one.add_done_callback(_heed)  # whoever asks for it is told why it cannot be made
        if due:
            await asyncio.wait(due, timeout=RENEW_S)

    async def answer(self, key: Hashable, campaign_id: str | None, make: Callable[[int], Awaitable[T]]) -> T:
        """What `make` gives as of a position of the journal: of the last one that anybody was told of, or a later one.

        While it is asked for, it is made anew before a change is told: of a campaign, or any.
        """
        now = time.monotonic()
        self._kept.pop(key, None)
        while len(self._kept) >= MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (now, campaign_id, make)
        if now - self._told_at >= (RENEW_S if _is_going_on(self._looking) else STALE_S):
            await self.look()
        return await make(self.told)

    async def news(self) -> None:
        """Wait until there is something to tell, or for a second."""
        self._turn = _joined(self._turn, self._next)
        await asyncio.shield(self._turn)

    async def _next(self) -> None:
        before, end = self.told, time.monotonic() + TURN_S
        while self.told == before and time.monotonic() < end:
            await asyncio.sleep(LOOK_S)
            await self.look()


def _is_going_on(one: asyncio.Future[None] | None) -> TypeGuard[asyncio.Future[None]]:
    return one is not None and not one.done() and one.get_loop() is asyncio.get_running_loop()


def _joined(one: asyncio.Future[None] | None, begin: Callable[[], Awaitable[None]]) -> asyncio.Future[None]:
    """What goes on already, or has now begun."""
    if _is_going_on(one):
        return one
    begun = asyncio.ensure_future(begin())
    begun.add_done_callback(_heed)
    return begun


def _heed(done: asyncio.Future[Any]) -> None:
    """What failed is told to who waited for it, if they are still there."""
    if not done.cancelled():
        done.exception()


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
    await watch.look()
    start = watch.told if last_event_id is None else last_event_id
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(request, start, seat), media_type="text/event-stream", headers=headers)


async def _stream(request: Request, position: int, seat: Seat) -> AsyncIterator[str]:
    try:
        async for message in _messages(request, position):
            yield message
    finally:
        seat.leave()


async def _messages(request: Request, position: int) -> AsyncIterator[str]:
    watch = desk_of(request).watch
    yield "retry: 2000\n\n"
    said = checked = time.monotonic()
    while not await request.is_disconnected():
        rows: list[Line] | None = []
        try:
            if position >= watch.told:  # else something was told while this one was busy
                await watch.news()
            if time.monotonic() - checked >= CHECK_S:
                checked = time.monotonic()
                await run_in_threadpool(let_in, request, "read", touch=False)
            if (found := watch.known(position)) is None:
                found = await run_in_threadpool(watch.since, position)
            rows = found[1]
        except Exception as error:
            if (problem := problem_of(error)) is None:
                raise
            if problem[0] != HELD:  # else it is read as soon as it can be
                yield _message("ended", problem[1].model_dump())
                return
            await asyncio.sleep(LOOK_S)
        now = time.monotonic()
        if rows is None:
            position = watch.told
            yield _message("reload", {}, position)
            said, rows = now, []
        if rows := [row for row in rows if row.position <= watch.told]:
            yield "".join(map(_change, rows))
            said, position = now, rows[-1].position
        if now - said >= QUIET_S:
            yield ": nothing new\n\n"
            said = now


def _change(row: Line) -> str:
    campaign = None if row.chain == SITE else row.chain.removeprefix("campaign:")
    return _message("change", {"kind": row.kind, "campaign_id": campaign, "at": row.at}, row.position)


def _message(kind: str, body: dict[str, Any], position: int | None = None) -> str:
    identity = "" if position is None else f"id: {position}\n"
    return f"event: {kind}\n{identity}data: {json.dumps(body)}\n\n"
